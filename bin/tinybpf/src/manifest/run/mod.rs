// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machine that applies a manifest: it says what to do next and hears how it went.
//!
//! A run has two halves. In the first, everything new comes to be beside what is old: loaded,
//! filled, pinned under a staged name where the place is taken, attached. All of it can be undone.
//! In the second, staged pins take their places by renaming, which drops what was there, and what
//! nobody wants any more goes. A manifest that rolls back does the first half of all objects before
//! the second of any.
//!
//! An object's record is written before its first change, with every pin that it may come to have,
//! and again when it is done. A run that finds a record which is not done removes what that run had
//! begun and replaces the rest; so it does not matter between which two actions the other run died.

mod build;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use super::decide::{Decision, Facts};
use super::state::{PinKind, PinRecord, Record, State};
use super::wanted::Wanted;
use super::{Mount, OnError};
use crate::hook::Hook;

/// A program that is to be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// One that this run loaded.
    Loaded {
        /// The object.
        object: String,
        /// The program.
        program: String,
    },
    /// One that is pinned.
    Pinned(String),
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Mount a file system where it belongs.
    Mount(Mount),
    /// Replace the state file, and make it durable.
    Write(State),
    /// Make a directory for pins, of mode 0700. It is no error if it exists.
    MakeDirectory(String),
    /// Remove a directory. It is no error if it is gone or not empty.
    RemoveDirectory(String),
    /// Open, set up and load an object, with these maps taken from their pins; the loader pins
    /// nothing by itself. Answered with [`Outcome::Loaded`].
    Load {
        /// The object.
        object: String,
        /// Maps and pins.
        reuse: Vec<(String, String)>,
    },
    /// Write the entries that the manifest has for a map.
    Fill {
        /// The object.
        object: String,
        /// The map.
        map: String,
    },
    /// Freeze a map.
    Freeze {
        /// The object.
        object: String,
        /// The map.
        map: String,
    },
    /// Pin a map or a program. Answered with [`Outcome::Id`].
    Pin {
        /// The object.
        object: String,
        /// What.
        kind: PinKind,
        /// Its name in the object.
        name: String,
        /// Where.
        path: String,
    },
    /// Attach a program and pin the link. Answered with [`Outcome::Id`].
    Attach {
        /// The program.
        program: Source,
        /// Where it is attached.
        hook: Hook,
        /// Where the link is pinned.
        path: String,
    },
    /// Put a program into a link that is pinned.
    Update {
        /// The link's pin.
        link: String,
        /// The program.
        program: Source,
    },
    /// Remove a pin, and drop what this run holds of it. It is no error if it is gone.
    Remove {
        /// What it holds.
        kind: PinKind,
        /// Where.
        path: String,
    },
    /// Give a pin another name; what had that name goes.
    Rename {
        /// The staged name.
        from: String,
        /// The final one.
        to: String,
    },
    /// Let go of an object: only what is pinned stays.
    Close(String),
}

/// How an action went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is nothing to tell.
    Done,
    /// The kernel's number of what was pinned.
    Id(u32),
    /// What an object has that was loaded.
    Loaded(Loaded),
}

/// What is known of an object only once it is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The tags of its programs, by name.
    pub tags: BTreeMap<String, [u8; 8]>,
    /// The kernel's numbers of its maps, by name.
    pub maps: BTreeMap<String, u32>,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Objects that were loaded or attached.
    pub applied: Vec<String>,
    /// Objects that were taken over as they are.
    pub adopted: Vec<String>,
    /// Objects that were as they should be.
    pub unchanged: Vec<String>,
    /// Objects that are not wanted here, and why.
    pub skipped: Vec<(String, String)>,
    /// Objects that were removed.
    pub removed: Vec<String>,
    /// What is odd and was got over.
    pub warnings: Vec<String>,
    /// What failed.
    pub errors: Vec<String>,
    /// What could not be undone or cleaned up.
    pub leftovers: Vec<String>,
}

impl Report {
    /// The exit status: 0 done, 1 failed and all undone, 8 partly applied.
    #[must_use]
    pub fn exit(&self) -> u8 {
        let is_changed = !self.applied.is_empty() || !self.removed.is_empty();
        match (self.leftovers.is_empty(), self.errors.is_empty()) {
            (false, _) => 8,
            (true, true) => 0,
            (true, false) if is_changed => 8,
            (true, false) => 1,
        }
    }
}

/// An object with what was decided of it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What is wanted.
    pub wanted: Wanted,
    /// What has to be done.
    pub decision: Decision,
}

/// What a run is made from.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The manifest's path.
    pub manifest: String,
    /// What a failure does to the other objects.
    pub on_error: OnError,
    /// What is to be mounted if it is not.
    pub mounts: Vec<Mount>,
    /// The objects in their order.
    pub objects: Vec<Planned>,
    /// Objects that are remembered of this manifest, and are not in it any more or not wanted here.
    pub orphans: Vec<String>,
}

/// A piece of work.
#[derive(Clone, Debug)]
struct Item {
    /// The object by its place in the plan; `None` for what concerns none of them.
    object: Option<usize>,
    work: Work,
    /// Whether a failure is only a warning.
    is_optional: bool,
    /// Whether it belongs to the second half, which is not undone.
    is_commit: bool,
}

#[derive(Clone, Debug)]
enum Work {
    /// Do this; the second takes it back.
    Do(Action, Option<Action>),
    /// Compare what was loaded with what is pinned.
    Load(Action, bool),
    /// Write the record of an object that is begun.
    Begin(Record),
    /// Write the record of an object that is done.
    Finish,
    /// Forget an object that was removed.
    Forget(String),
    /// Put back the record of an object that was undone, or none.
    Restore(String),
    /// Take something back.
    Undo(Action),
}

/// A run.
#[derive(Debug)]
pub struct Run {
    plan: Plan,
    facts: Facts,
    /// What the file says now.
    state: State,
    /// What the file said before the run.
    before: State,
    queue: VecDeque<Item>,
    current: Option<Item>,
    /// What takes back what was done, the last at the end.
    undo: Vec<(Option<usize>, Action)>,
    /// What each object's record will be.
    records: BTreeMap<usize, Record>,
    /// Objects of which something could not be removed.
    stuck: Vec<String>,
    report: Report,
}

impl Run {
    /// A run that applies `plan`.
    #[must_use]
    pub fn apply(plan: Plan, state: State, facts: Facts) -> Self {
        let mut run = Self::new(plan, state, facts);
        build::apply(&mut run);
        run
    }

    /// A run that removes objects: all that is recorded as theirs, maps only if asked for.
    #[must_use]
    pub fn remove(objects: &[String], keep_maps: bool, state: State, facts: Facts) -> Self {
        let mut run = Self::new(Plan::default(), state, facts);
        for name in objects {
            build::removal(&mut run, name, keep_maps);
        }
        run
    }

    fn new(plan: Plan, state: State, facts: Facts) -> Self {
        Self {
            plan,
            facts,
            before: state.clone(),
            state,
            queue: VecDeque::new(),
            current: None,
            undo: Vec::new(),
            records: BTreeMap::new(),
            stuck: Vec::new(),
            report: Report::default(),
        }
    }

    /// What to do next; `None` at the end. To be answered with [`Run::succeeded`] or
    /// [`Run::failed`] before it is asked again; else the action is given again.
    pub fn next_action(&mut self) -> Option<Action> {
        loop {
            if self.current.is_none() {
                self.current = Some(self.queue.pop_front()?);
            }
            match self.prepare() {
                Some(action) => return Some(action),
                None => self.current = None,
            }
        }
    }

    /// The action of the current item; `None` if there is nothing to do for it after all.
    fn prepare(&mut self) -> Option<Action> {
        let item = self.current.clone()?;
        match item.work {
            Work::Do(action, _) | Work::Load(action, _) | Work::Undo(action) => Some(action),
            Work::Begin(record) => {
                let name = self.name(item.object?)?;
                self.state.objects.insert(name, record);
                Some(Action::Write(self.state.clone()))
            }
            Work::Finish => {
                let at = item.object?;
                let mut record = self.records.get(&at)?.clone();
                record.is_done = true;
                let name = self.name(at)?;
                if self.state.objects.get(&name) == Some(&record) {
                    return None;
                }
                self.state.objects.insert(name, record);
                Some(Action::Write(self.state.clone()))
            }
            Work::Forget(name) => {
                if self.stuck.contains(&name) {
                    return None;
                }
                self.state.objects.remove(&name)?;
                self.report.removed.push(name);
                Some(Action::Write(self.state.clone()))
            }
            Work::Restore(name) => {
                let is_change = match self.before.objects.get(&name).cloned() {
                    Some(record) => self.state.objects.insert(name, record.clone()) != Some(record),
                    None => self.state.objects.remove(&name).is_some(),
                };
                is_change.then(|| Action::Write(self.state.clone()))
            }
        }
    }

    fn name(&self, at: usize) -> Option<String> {
        self.plan.objects.get(at).map(|it| it.wanted.name.clone())
    }

    /// The action that was given last has been done.
    pub fn succeeded(&mut self, outcome: Outcome) {
        let Some(item) = self.current.take() else { return };
        match (item.work, outcome) {
            (Work::Load(action, is_adoption), Outcome::Loaded(loaded)) => {
                let Some(at) = item.object else { return };
                if let Action::Load { object, reuse } = action {
                    self.undo.push((item.object, Action::Close(object)));
                    self.note_reused(at, &reuse, &loaded);
                }
                if is_adoption && self.is_equal(at, &loaded.tags) {
                    self.adopt(at);
                }
            }
            (Work::Do(action, undo), outcome) => {
                if let (Outcome::Id(id), Some(at)) = (outcome, item.object) {
                    self.note(at, &action, id);
                }
                if let Some(undo) = undo.filter(|_| !item.is_commit) {
                    self.undo.push((item.object, undo));
                }
            }
            (Work::Undo(Action::Attach { path, .. }), Outcome::Id(id)) => self.revived(&path, id),
            (Work::Finish, _) => {
                let name = item.object.and_then(|at| self.name(at));
                let known = |it: &String| self.report.adopted.contains(it);
                self.report.applied.extend(name.filter(|it| !known(it)));
            }
            _ => {}
        }
    }

    /// Notes the number of what was pinned, under its final name.
    fn note(&mut self, at: usize, action: &Action, id: u32) {
        let (path, hook, kind) = match action {
            Action::Pin { path, kind, .. } => (path, None, *kind),
            Action::Attach { path, hook, .. } => (path, Some(hook.to_string()), PinKind::Link),
            _ => return,
        };
        let path = path.strip_suffix(super::paths::STAGED).unwrap_or(path).to_owned();
        if let Some(record) = self.records.get_mut(&at) {
            record.pins.insert(path, PinRecord { kind, id: Some(id), hook, is_ours: true });
        }
    }

    /// A link that had to go is there again, under a new number.
    fn revived(&mut self, path: &str, id: u32) {
        for state in [&mut self.before, &mut self.state] {
            let pins = state.objects.values_mut().filter_map(|it| it.pins.get_mut(path));
            pins.for_each(|pin| pin.id = Some(id));
        }
    }

    /// Notes the numbers of maps that were not there when the run was planned.
    fn note_reused(&mut self, at: usize, reuse: &[(String, String)], loaded: &Loaded) {
        let Some(record) = self.records.get_mut(&at) else { return };
        for (map, path) in reuse {
            let path = path.strip_suffix(super::paths::STAGED).unwrap_or(path);
            if let (Some(pin), Some(id)) = (record.pins.get_mut(path), loaded.maps.get(map)) {
                pin.id = Some(*id);
            }
        }
    }

    fn is_equal(&self, at: usize, tags: &BTreeMap<String, [u8; 8]>) -> bool {
        let Some(planned) = self.plan.objects.get(at) else { return false };
        build::is_equal(&planned.wanted, &self.facts, tags)
    }

    /// Takes an object over as it is: nothing is left to do but to remember it.
    fn adopt(&mut self, at: usize) {
        let Some(planned) = self.plan.objects.get(at) else { return };
        let record = build::adopted(&planned.wanted, &self.plan.manifest, &self.facts);
        self.report.adopted.push(planned.wanted.name.clone());
        self.records.insert(at, record);
        self.queue.retain(|it| {
            it.object != Some(at) || matches!(it.work, Work::Finish | Work::Do(Action::Close(_), _))
        });
    }

    /// The action that was given last could not be done.
    pub fn failed(&mut self, why: &str) {
        let Some(item) = self.current.take() else { return };
        let action = match &item.work {
            Work::Do(action, _) | Work::Load(action, _) | Work::Undo(action) => action.clone(),
            _ => Action::Write(State::default()),
        };
        let name = item.object.and_then(|at| self.name(at));
        if let (Work::Begin(_), Some(name)) = (&item.work, &name) {
            // The file is replaced whole or not at all.
            match self.before.objects.get(name).cloned() {
                Some(record) => drop(self.state.objects.insert(name.clone(), record)),
                None => drop(self.state.objects.remove(name)),
            }
        }
        let subject = name.as_ref().map_or(String::new(), |name| format!("object '{name}': "));
        let is_required = item
            .object
            .and_then(|at| self.plan.objects.get(at))
            .is_none_or(|it| it.wanted.required);
        if item.is_optional {
            self.report.warnings.push(format!("{subject}{why}"));
        } else if item.is_commit || matches!(item.work, Work::Undo(_) | Work::Restore(_)) {
            self.report.leftovers.push(format!("{subject}{}: {why}", describe(&action)));
            self.stuck.extend(name.or_else(|| self.orphan(&action)));
            // Without its last step the record says that the object is not done.
            self.queue.retain(|it| {
                it.object != item.object
                    || item.object.is_none()
                    || !matches!(it.work, Work::Finish)
            });
        } else if let (Some(at), true) =
            (item.object, !is_required || self.plan.on_error == OnError::Continue)
        {
            let list =
                if is_required { &mut self.report.errors } else { &mut self.report.warnings };
            list.push(format!("{subject}{why}"));
            self.queue.retain(|it| it.object != Some(at));
            self.take_back(|object| object == Some(at), &[at]);
        } else {
            self.report.errors.push(format!("{subject}{why}"));
            self.queue.clear();
            let all: Vec<usize> = (0..self.plan.objects.len()).collect();
            self.take_back(|_| true, &all);
            self.report.applied.clear();
        }
    }

    /// The object that is being removed when a pin of it cannot be.
    fn orphan(&self, action: &Action) -> Option<String> {
        let Action::Remove { path, .. } = action else { return None };
        let mut records = self.state.objects.iter();
        records.find(|(_, it)| it.pins.contains_key(path)).map(|(name, _)| name.clone())
    }

    /// Puts what takes back the work on some objects before everything else, the last first, and
    /// then their records.
    fn take_back(&mut self, is_meant: impl Fn(Option<usize>) -> bool, objects: &[usize]) {
        let (meant, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.undo).into_iter().partition(|(object, _)| is_meant(*object));
        self.undo = kept;
        let item = |object, work| Item { object, work, is_optional: false, is_commit: false };
        let mut items: Vec<Item> = meant
            .into_iter()
            .rev()
            .map(|(object, action)| item(object, Work::Undo(action)))
            .collect();
        for &at in objects {
            let Some(name) = self.name(at) else { continue };
            items.push(item(Some(at), Work::Restore(name)));
        }
        for item in items.into_iter().rev() {
            self.queue.push_front(item);
        }
    }

    /// What came of it; complete when [`Run::next_action`] gives nothing more.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// What the state file holds, as far as all writes that were asked for were done.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }
}

/// An action in a few words.
fn describe(action: &Action) -> String {
    match action {
        Action::Mount(mount) => format!("mount {}", mount.name()),
        Action::Write(_) => "write the state".to_owned(),
        Action::MakeDirectory(path) => format!("make directory {path}"),
        Action::RemoveDirectory(path) => format!("remove directory {path}"),
        Action::Load { object, .. } => format!("load {object}"),
        Action::Fill { map, .. } => format!("fill map {map}"),
        Action::Freeze { map, .. } => format!("freeze map {map}"),
        Action::Pin { path, .. } => format!("pin {path}"),
        Action::Attach { hook, .. } => format!("attach {hook}"),
        Action::Update { link, .. } => format!("update {link}"),
        Action::Remove { path, .. } => format!("remove {path}"),
        Action::Rename { to, .. } => format!("rename to {to}"),
        Action::Close(object) => format!("close {object}"),
    }
}
