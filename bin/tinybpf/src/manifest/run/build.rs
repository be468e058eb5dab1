// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Decisions to work: what each object needs, in which order, and what takes each step back.

use std::collections::{BTreeMap, BTreeSet};

use plinth::sorting;

use super::{Action, Item, Run, Source, Work};
use crate::hook::Hook;
use crate::manifest::decide::{Decision, Facts, Pinned};
use crate::manifest::state::{PinKind, PinRecord, Record};
use crate::manifest::wanted::{Wanted, WantedLink, WantedMap};
use crate::manifest::{OnError, Reuse, paths};

/// Fills the queue of a run that applies.
pub(super) fn apply(run: &mut Run) {
    let refused = refusals(run);
    if refused && run.plan.on_error == OnError::Rollback {
        return;
    }
    for &mount in run.plan.mounts.iter().filter(|it| !run.facts.mounted.contains(it)) {
        run.queue.push_back(plain(None, Work::Do(Action::Mount(mount), None)));
    }
    let mut provided = BTreeMap::new();
    let mut later = Vec::new();
    for at in 0..run.plan.objects.len() {
        let (first, second) = halves(run, at, &mut provided);
        run.queue.extend(first);
        match run.plan.on_error {
            OnError::Rollback => later.extend(second),
            OnError::Continue => run.queue.extend(second),
        }
    }
    run.queue.extend(later);
    for name in run.plan.orphans.clone() {
        removal(run, &name, false);
    }
}

/// Reports what is decided already; returns whether something required cannot be done.
fn refusals(run: &mut Run) -> bool {
    let mut is_refused = false;
    for planned in &run.plan.objects {
        let name = &planned.wanted.name;
        match &planned.decision {
            Decision::Refused(why) => {
                let message = format!("object '{name}': {why}");
                if planned.wanted.required {
                    is_refused = true;
                    run.report.errors.push(message);
                } else {
                    run.report.warnings.push(message);
                }
            }
            Decision::Unchanged => run.report.unchanged.push(name.clone()),
            Decision::Skipped(why) => run.report.skipped.push((name.clone(), why.clone())),
            _ => {}
        }
    }
    is_refused
}

fn plain(object: Option<usize>, work: Work) -> Item {
    Item { object, work, is_optional: false, is_commit: false }
}

/// The two halves of an object's work. `provided` has the maps of earlier objects, and where they
/// are pinned at the moment.
fn halves(
    run: &mut Run,
    at: usize,
    provided: &mut BTreeMap<String, String>,
) -> (Vec<Item>, Vec<Item>) {
    let Some(planned) = run.plan.objects.get(at).cloned() else { return (vec![], vec![]) };
    let before = run.before.objects.get(&planned.wanted.name).cloned();
    let wanted = planned.wanted;
    let mut builder = Builder {
        at,
        facts: &run.facts,
        before: believed(before.unwrap_or_default(), &run.facts),
        ours: sorting::gather(run.before.objects.values().flat_map(|it| it.directories.clone())),
        is_staging: run.plan.on_error == OnError::Rollback,
        provided,
        occupied: BTreeSet::new(),
        record: Record {
            manifest: run.plan.manifest.clone(),
            digests: wanted.digests.clone(),
            ..Record::default()
        },
        reuse: Vec::new(),
        first: Vec::new(),
        second: Vec::new(),
    };
    match planned.decision {
        Decision::Attach(links) => builder.attach(&wanted, &links),
        Decision::Replace(_) => {
            let taken = conflicts(run, &wanted);
            builder.replace(&wanted, false, &taken);
        }
        Decision::Adopt => builder.replace(&wanted, true, &[]),
        Decision::Unchanged | Decision::Skipped(_) | Decision::Refused(_) => {
            return (vec![], vec![]);
        }
    }
    let Builder { record, first, second, .. } = builder;
    run.records.insert(at, record);
    (first, second)
}

/// Links of objects that go away which keep new ones from being attached.
fn conflicts(run: &Run, wanted: &Wanted) -> Vec<(String, PinRecord)> {
    let records = run.plan.orphans.iter().filter_map(|name| run.before.objects.get(name));
    let pins = records.flat_map(|it| believed(it.clone(), &run.facts).pins);
    pins.filter(|(_, pin)| excludes(pin, wanted)).collect()
}

/// Whether a link keeps one that is wanted from being attached. One of which nobody knows where it
/// is attached may do so.
fn excludes(pin: &PinRecord, wanted: &Wanted) -> bool {
    let hook = pin.hook.as_ref().and_then(|it| it.parse::<Hook>().ok());
    let mut links = wanted.links.iter();
    pin.kind == PinKind::Link
        && links.any(|it| hook.as_ref().unwrap_or(&it.hook).excludes(&it.hook))
}

/// The record as far as it is true: of a pin that holds something else by now, as after a run that
/// was cut short, nobody knows where it is attached.
fn believed(mut record: Record, facts: &Facts) -> Record {
    for (path, pin) in &mut record.pins {
        let there = facts.pins.get(path).and_then(Pinned::identity).map(|it| it.1);
        if there.is_some() && there != pin.id {
            pin.hook = None;
        }
    }
    record
}

struct Builder<'a> {
    at: usize,
    facts: &'a Facts,
    before: Record,
    /// Directories that this manifest or another one has made.
    ours: BTreeSet<String>,
    /// Whether maps of this run may have staged names when later objects use them.
    is_staging: bool,
    provided: &'a mut BTreeMap<String, String>,
    /// Places that hold something which stays until the second half.
    occupied: BTreeSet<String>,
    /// What the record will be.
    record: Record,
    reuse: Vec<(String, String)>,
    first: Vec<Item>,
    second: Vec<Item>,
}

impl Builder<'_> {
    fn first(&mut self, action: Action, undo: Option<Action>) {
        self.first.push(plain(Some(self.at), Work::Do(action, undo)));
    }

    fn second(&mut self, action: Action) {
        let work = Work::Do(action, None);
        self.second.push(Item { is_commit: true, ..plain(Some(self.at), work) });
    }

    fn finish(&mut self) {
        self.second.push(Item { is_commit: true, ..plain(Some(self.at), Work::Finish) });
    }

    /// Attaches what is missing of an object whose programs are pinned.
    fn attach(&mut self, wanted: &Wanted, links: &[usize]) {
        self.record = Record { is_done: false, ..self.before.clone() };
        let links: Vec<&WantedLink> =
            links.iter().filter_map(|&link| wanted.links.get(link)).collect();
        let mut begin = self.record.clone();
        for link in &links {
            self.record.pins.remove(&link.pin);
            begin.pins.insert(link.pin.clone(), unknown(PinKind::Link, Some(&link.hook)));
        }
        self.first.push(plain(Some(self.at), Work::Begin(begin)));
        for link in links {
            let program = wanted.programs.iter().find(|it| it.name == link.program);
            let Some(program) = program else { continue };
            self.connect(link, Source::Pinned(program.pin.clone()), &link.pin);
        }
        self.finish();
    }

    fn connect(&mut self, link: &WantedLink, program: Source, path: &str) {
        let action = Action::Attach { program, hook: link.hook.clone(), path: path.to_owned() };
        let undo = Action::Remove { kind: PinKind::Link, path: path.to_owned() };
        let work = Work::Do(action, Some(undo));
        self.first.push(Item { is_optional: link.optional, ..plain(Some(self.at), work) });
    }

    /// Loads an object and puts it in the place of what is there.
    fn replace(&mut self, wanted: &Wanted, is_adoption: bool, taken: &[(String, PinRecord)]) {
        let leftovers = self.leftovers(wanted);
        let is_kept = |path: &&String| !leftovers.iter().any(|it| it.1 == **path);
        self.occupied = sorting::gather(self.facts.pins.keys().filter(is_kept).cloned());
        let maps: Vec<(WantedMap, bool)> =
            wanted.maps.iter().map(|map| (map.clone(), self.is_kept(map))).collect();
        let reuse = self.reuse.clone();
        let load = Action::Load { object: wanted.name.clone(), reuse };
        self.first.push(plain(Some(self.at), Work::Load(load, is_adoption)));
        let begin = self.begin(wanted);
        self.first.push(plain(Some(self.at), Work::Begin(begin)));
        for (kind, path) in leftovers {
            self.first(Action::Remove { kind, path }, None);
        }
        for path in wanted.directories.iter().filter(|it| !self.facts.directories.contains(*it)) {
            let undo = Action::RemoveDirectory(path.clone());
            self.first.push(plain(
                Some(self.at),
                Work::Do(Action::MakeDirectory(path.clone()), Some(undo)),
            ));
        }
        for (map, is_kept) in &maps {
            self.fill(&wanted.name, map, *is_kept);
        }
        for (map, _) in maps.iter().filter(|it| !it.1) {
            self.pin(&wanted.name, PinKind::Map, &map.name, map.pin.as_deref());
        }
        for program in &wanted.programs {
            self.pin(&wanted.name, PinKind::Program, &program.name, Some(&program.pin));
        }
        let stale = self.stale(wanted);
        for (path, pin) in stale.iter().chain(taken).filter(|it| excludes(&it.1, wanted)) {
            self.detach(path, pin.hook.as_deref());
        }
        for link in &wanted.links {
            self.link(wanted, link);
        }
        for (path, pin) in stale {
            self.second(Action::Remove { kind: pin.kind, path });
        }
        let gone: Vec<String> = self
            .before
            .directories
            .iter()
            .rev()
            .filter(|it| !wanted.directories.contains(it))
            .cloned()
            .collect();
        for path in gone {
            self.second(Action::RemoveDirectory(path));
        }
        self.second(Action::Close(wanted.name.clone()));
        self.finish();
    }

    /// What a run that did not finish has left: whatever has a staged name, and whatever is where
    /// nothing was before that run. Links first.
    fn leftovers(&self, wanted: &Wanted) -> Vec<(PinKind, String)> {
        let known = self.before.pins.keys().map(String::as_str);
        let all: BTreeSet<&str> = sorting::gather(wanted.pins().map(|it| it.0).chain(known));
        let mut found = Vec::new();
        for path in all {
            let staged = paths::staged(path);
            if let Some(pinned) = self.facts.pins.get(&staged) {
                let kind = pinned.identity().map_or(PinKind::Map, |it| it.0);
                found.push((kind, staged));
            }
            let record = self.before.pins.get(path).filter(|_| !self.before.is_done);
            if record.is_some_and(|it| it.id.is_none() && it.is_ours) {
                if let Some((kind, _)) = self.facts.pins.get(path).and_then(Pinned::identity) {
                    found.push((kind, path.to_owned()));
                }
            }
        }
        sorting::sort(&mut found);
        found
    }

    /// Decides whether a map is taken from its pin; notes it if so.
    fn is_kept(&mut self, map: &WantedMap) -> bool {
        let Some(path) = map.pin.as_ref().filter(|_| map.reuse != Reuse::Replace) else {
            return false;
        };
        let was_ours = self.before.pins.get(path).is_some_and(|it| it.is_ours);
        let id = match (self.occupied.contains(path), self.facts.pins.get(path)) {
            (true, Some(Pinned::Map { id, .. })) => Some(*id),
            _ if self.provided.contains_key(path) => None,
            _ => return false,
        };
        let place = self.provided.get(path).unwrap_or(path).clone();
        self.reuse.push((map.name.clone(), place));
        let is_ours = map.is_own || was_ours;
        let pin = PinRecord { kind: PinKind::Map, id, hook: None, is_ours };
        self.record.pins.insert(path.clone(), pin);
        true
    }

    /// The record while the work is going on: what was, and what may come to be.
    fn begin(&mut self, wanted: &Wanted) -> Record {
        let mut directories = self.before.directories.clone();
        let is_ours =
            |it: &&String| self.ours.contains(*it) || !self.facts.directories.contains(*it);
        directories.extend(wanted.directories.iter().filter(is_ours).cloned());
        sorting::sort(&mut directories);
        directories.dedup();
        let is_needed = |it: &&String| wanted.directories.contains(it);
        self.record.directories = directories.iter().filter(is_needed).cloned().collect();
        let mut begin = Record { directories, ..self.record.clone() };
        begin.pins.extend(self.before.pins.clone());
        for (path, kind) in wanted.pins() {
            let hook = wanted.links.iter().find(|it| it.pin == path).map(|it| &it.hook);
            let there = self.facts.pins.get(path).filter(|_| self.occupied.contains(path));
            let id = there.and_then(Pinned::identity).map(|it| it.1);
            // Of what is there, the hook is only known if it is remembered.
            let hook = if id.is_none() { hook } else { None };
            let pin = PinRecord { id, ..unknown(kind, hook) };
            begin.pins.entry(path.to_owned()).or_insert(pin);
        }
        begin
    }

    fn fill(&mut self, object: &str, map: &WantedMap, is_kept: bool) {
        let pinned = map.pin.as_ref().and_then(|path| self.facts.pins.get(path));
        let is_frozen = is_kept && matches!(pinned, Some(Pinned::Map { is_frozen: true, .. }));
        let (object, name) = (object.to_owned(), map.name.clone());
        if !map.entries.is_empty() && !is_frozen {
            self.first(Action::Fill { object: object.clone(), map: name.clone() }, None);
        }
        if map.freeze && !is_frozen {
            self.first(Action::Freeze { object, map: name }, None);
        }
    }

    /// Pins a map or a program: at its place, or beside it until the second half.
    fn pin(&mut self, object: &str, kind: PinKind, name: &str, path: Option<&str>) {
        let Some(path) = path else { return };
        let place = self.place(path);
        if kind == PinKind::Map {
            let current = if self.is_staging { place.clone() } else { path.to_owned() };
            self.provided.insert(path.to_owned(), current);
        }
        let action = Action::Pin {
            object: object.to_owned(),
            kind,
            name: name.to_owned(),
            path: place.clone(),
        };
        self.first(action, Some(Action::Remove { kind, path: place }));
    }

    /// Where something new goes; if that is beside its place, it is put there later.
    fn place(&mut self, path: &str) -> String {
        if !self.occupied.contains(path) {
            return path.to_owned();
        }
        let staged = paths::staged(path);
        self.second(Action::Rename { from: staged.clone(), to: path.to_owned() });
        staged
    }

    /// Pins of the object that nobody wants any more, links first.
    fn stale(&self, wanted: &Wanted) -> Vec<(String, PinRecord)> {
        let is_wanted = |path: &str| wanted.pins().any(|it| it.0 == path);
        let pins = self.before.pins.iter();
        let mut found: Vec<(String, PinRecord)> = pins
            .filter(|(path, pin)| pin.is_ours && self.occupied.contains(*path) && !is_wanted(path))
            .map(|(path, pin)| (path.clone(), pin.clone()))
            .collect();
        sorting::sort_by_key(&mut found, |it| it.1.kind);
        found
    }

    /// The pin of the program that a link runs now. Where there is none, taking back what is done
    /// to the link is bound to fail, and so is told.
    fn old_program(&self, link: &str) -> Source {
        let mut pins = self.facts.pins.iter();
        let found = match self.facts.pins.get(link) {
            Some(Pinned::Link { program, .. }) => {
                pins.find(|(_, it)| matches!(it, Pinned::Program { id, .. } if id == program))
            }
            _ => None,
        };
        Source::Pinned(found.map_or(link, |(path, _)| path.as_str()).to_owned())
    }

    /// Removes a link before its successor comes.
    fn detach(&mut self, path: &str, hook: Option<&str>) {
        if !self.occupied.remove(path) {
            return;
        }
        let hook = hook.and_then(|it| it.parse::<Hook>().ok()).unwrap_or(Hook::Auto);
        let undo = Action::Attach { program: self.old_program(path), hook, path: path.to_owned() };
        self.first(Action::Remove { kind: PinKind::Link, path: path.to_owned() }, Some(undo));
    }

    fn link(&mut self, wanted: &Wanted, link: &WantedLink) {
        let program = Source::Loaded { object: wanted.name.clone(), program: link.program.clone() };
        let old = self.before.pins.get(&link.pin).and_then(|it| it.hook.clone());
        let old_hook = old.as_ref().and_then(|it| it.parse::<Hook>().ok());
        let is_there = self.occupied.contains(&link.pin);
        if is_there && old_hook.as_ref() == Some(&link.hook) && link.hook.can_be_updated() {
            let action = Action::Update { link: link.pin.clone(), program };
            let old = self.old_program(&link.pin);
            let undo = Some(Action::Update { link: link.pin.clone(), program: old });
            let id = self.facts.pins.get(&link.pin).and_then(Pinned::identity).map(|it| it.1);
            let pin = PinRecord { id, ..unknown(PinKind::Link, Some(&link.hook)) };
            self.record.pins.insert(link.pin.clone(), pin);
            return self.first(action, undo);
        }
        // Nobody knows what an unknown link excludes; then the old one goes first, to be safe.
        let is_exclusive = match &old_hook {
            Some(old) => old.excludes(&link.hook),
            None => link.hook.excludes(&link.hook),
        };
        if is_there && (link.gap || is_exclusive) {
            self.detach(&link.pin, old.as_deref());
        }
        let place = self.place(&link.pin);
        self.connect(link, program, &place);
    }
}

/// A pin that may come to be.
fn unknown(kind: PinKind, hook: Option<&Hook>) -> PinRecord {
    PinRecord { kind, id: None, hook: hook.map(ToString::to_string), is_ours: true }
}

/// Whether what was loaded has the programs that are pinned; maps and links were compared before.
pub(super) fn is_equal(wanted: &Wanted, facts: &Facts, tags: &BTreeMap<String, [u8; 8]>) -> bool {
    wanted.programs.iter().all(|program| match facts.pins.get(&program.pin) {
        Some(Pinned::Program { tag, .. }) => tags.get(&program.name) == Some(tag),
        _ => false,
    })
}

/// The record of an object that is taken over as it is.
pub(super) fn adopted(wanted: &Wanted, manifest: &str, facts: &Facts) -> Record {
    let own = wanted.directories.iter().filter(|it| it.starts_with(&wanted.home));
    let mut record = Record {
        manifest: manifest.to_owned(),
        digests: wanted.digests.clone(),
        directories: own.cloned().collect(),
        ..Record::default()
    };
    for (path, kind) in wanted.pins() {
        let hook = wanted.links.iter().find(|it| it.pin == path).map(|it| &it.hook);
        let is_foreign = wanted.maps.iter().any(|it| it.pin.as_deref() == Some(path) && !it.is_own);
        if let Some((_, id)) = facts.pins.get(path).and_then(Pinned::identity) {
            let pin = PinRecord { id: Some(id), is_ours: !is_foreign, ..unknown(kind, hook) };
            record.pins.insert(path.to_owned(), pin);
        }
    }
    record
}

/// Removes what is recorded as an object's, links first.
pub(super) fn removal(run: &mut Run, name: &str, keep_maps: bool) {
    let Some(record) = run.before.objects.get(name) else { return };
    let item = |work| Item { is_commit: true, ..plain(None, work) };
    let mut pins: Vec<(PinKind, String)> = Vec::new();
    for (path, pin) in record.pins.iter().filter(|it| it.1.is_ours) {
        if pin.kind == PinKind::Map && keep_maps {
            continue;
        }
        for path in [paths::staged(path), path.clone()] {
            match run.facts.pins.get(&path).map(Pinned::identity) {
                None => {}
                Some(found)
                    if record.is_done
                        && pin.id.is_some()
                        && found != pin.id.map(|id| (pin.kind, id)) =>
                {
                    run.report.warnings.push(format!("{path} is not what was pinned, and stays"));
                }
                Some(_) => pins.push((pin.kind, path)),
            }
        }
    }
    sorting::sort(&mut pins);
    for (kind, path) in pins {
        run.queue.push_back(item(Work::Do(Action::Remove { kind, path }, None)));
    }
    for path in record.directories.iter().rev() {
        run.queue.push_back(item(Work::Do(Action::RemoveDirectory(path.clone()), None)));
    }
    run.queue.push_back(item(Work::Forget(name.to_owned())));
}
