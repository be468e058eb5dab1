// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A kernel for tests: ids, pins, links that exclude each other, a state file, and a process that
//! may die at any time, whereupon only what is pinned stays.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Loaded, Outcome, Plan, Report, Run, Source};
use crate::hook::Hook;
use crate::manifest::decide::{Facts, Pinned, decide, orphans, watched};
use crate::manifest::state::{PinKind, State};
use crate::manifest::wanted::{MapShape, Wanted};
use crate::manifest::{Mount, OnError, paths};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Thing {
    Map { shape: MapShape, filled: usize, frozen: bool },
    Program { tag: [u8; 8] },
    Link { hook: String, program: u32 },
}

impl Thing {
    fn kind(&self) -> PinKind {
        match self {
            Self::Map { .. } => PinKind::Map,
            Self::Program { .. } => PinKind::Program,
            Self::Link { .. } => PinKind::Link,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Kernel {
    next: u32,
    pub(super) things: BTreeMap<u32, Thing>,
    pub(super) pins: BTreeMap<String, u32>,
    pub(super) directories: BTreeSet<String>,
    mounted: BTreeSet<Mount>,
    /// The state file's text.
    pub(super) file: Option<String>,
    /// Objects that were loaded, ever.
    pub(super) loads: usize,
    /// What the process holds: programs and maps by object and name.
    held: BTreeMap<(String, PinKind, String), u32>,
    /// Interfaces and the like that do not exist, by hook.
    pub(super) absent: BTreeSet<String>,
}

/// What programs of an object's version hash to.
pub(super) fn tag(wanted: &Wanted) -> [u8; 8] {
    let mut tag = [0; 8];
    for (to, from) in tag.iter_mut().zip(wanted.digests.object.bytes()) {
        *to = from;
    }
    tag
}

impl Kernel {
    fn make(&mut self, thing: Thing) -> u32 {
        self.next += 1;
        self.things.insert(self.next, thing);
        self.next
    }

    /// Things that nothing refers to any more go.
    fn sweep(&mut self) {
        let mut alive: BTreeSet<u32> =
            self.pins.values().chain(self.held.values()).copied().collect();
        let programs = |it: &Thing| match it {
            Thing::Link { program, .. } => Some(*program),
            _ => None,
        };
        alive.extend(
            self.things
                .iter()
                .filter(|it| alive.contains(it.0))
                .filter_map(|it| programs(it.1))
                .collect::<Vec<_>>(),
        );
        self.things.retain(|id, _| alive.contains(id));
    }

    /// The process dies.
    pub(super) fn kill(&mut self) {
        self.held.clear();
        self.sweep();
    }

    pub(super) fn state(&self) -> State {
        self.file.as_deref().and_then(State::decode).unwrap_or_default()
    }

    pub(super) fn facts(&self, objects: &[Wanted]) -> Facts {
        let pinned = |path: &String| {
            let id = *self.pins.get(path)?;
            Some(match &self.things[&id] {
                Thing::Map { shape, frozen, .. } => {
                    Pinned::Map { id, shape: *shape, is_frozen: *frozen }
                }
                Thing::Program { tag } => Pinned::Program { id, tag: *tag },
                Thing::Link { program, .. } => Pinned::Link { id, program: *program },
            })
        };
        let watched = watched(objects, &self.state());
        Facts {
            pins: watched
                .into_iter()
                .filter_map(|path| Some((path.clone(), pinned(&path)?)))
                .collect(),
            directories: self.directories.clone(),
            mounted: self.mounted.clone(),
            kernel: (6, 1, 0),
        }
    }

    fn pin(&mut self, path: &str, id: u32) -> Result<Outcome, String> {
        let parent = path.rsplit_once('/').map_or("", |it| it.0);
        if !self.directories.contains(parent) {
            return Err(format!("{parent} does not exist"));
        }
        if path.contains('.') {
            return Err("dots".to_owned());
        }
        match self.pins.insert(path.to_owned(), id) {
            None => Ok(Outcome::Id(id)),
            Some(old) => {
                self.pins.insert(path.to_owned(), old);
                Err(format!("{path} exists"))
            }
        }
    }

    fn source(&self, source: &Source) -> Result<u32, String> {
        let found = match source {
            Source::Loaded { object, program } => {
                self.held.get(&(object.clone(), PinKind::Program, program.clone()))
            }
            Source::Pinned(path) => self.pins.get(path),
        };
        let id = *found.ok_or_else(|| format!("no program {source:?}"))?;
        match self.things[&id] {
            Thing::Program { .. } => Ok(id),
            _ => Err(format!("no program {source:?}")),
        }
    }

    fn load(&mut self, wanted: &Wanted, reuse: &[(String, String)]) -> Result<Outcome, String> {
        self.loads += 1;
        let mut loaded = Loaded::default();
        for map in &wanted.maps {
            let from = reuse.iter().find(|it| it.0 == map.name);
            let id = match from {
                Some((_, path)) => *self.pins.get(path).ok_or_else(|| format!("no map {path}"))?,
                None => self.make(Thing::Map { shape: map.shape, filled: 0, frozen: false }),
            };
            let Thing::Map { shape, .. } = &self.things[&id] else {
                return Err("no map".to_owned());
            };
            if let Some(difference) = map.shape.difference(shape) {
                return Err(difference);
            }
            loaded.maps.insert(map.name.clone(), id);
            self.held.insert((wanted.name.clone(), PinKind::Map, map.name.clone()), id);
        }
        for program in &wanted.programs {
            let id = self.make(Thing::Program { tag: tag(wanted) });
            loaded.tags.insert(program.name.clone(), tag(wanted));
            self.held.insert((wanted.name.clone(), PinKind::Program, program.name.clone()), id);
        }
        Ok(Outcome::Loaded(loaded))
    }

    fn attach(&mut self, program: &Source, hook: &Hook, path: &str) -> Result<Outcome, String> {
        let program = self.source(program)?;
        if self.absent.contains(&hook.to_string()) {
            return Err(format!("{hook} does not exist"));
        }
        let excludes = |it: &Thing| match it {
            Thing::Link { hook: other, .. } => {
                other.parse::<Hook>().is_ok_and(|it| it.excludes(hook))
            }
            _ => false,
        };
        if self.things.values().any(excludes) {
            return Err(format!("{hook} is busy"));
        }
        let id = self.make(Thing::Link { hook: hook.to_string(), program });
        self.pin(path, id)
    }

    fn held_map(&mut self, object: &str, map: &str) -> Result<&mut Thing, String> {
        let id = self.held.get(&(object.to_owned(), PinKind::Map, map.to_owned()));
        let id = id.ok_or("no such map")?;
        self.things.get_mut(id).ok_or_else(|| "no such map".to_owned())
    }

    pub(super) fn perform(
        &mut self,
        objects: &[Wanted],
        action: &Action,
    ) -> Result<Outcome, String> {
        let result = self.perform_inner(objects, action);
        self.sweep();
        result
    }

    fn perform_inner(&mut self, objects: &[Wanted], action: &Action) -> Result<Outcome, String> {
        match action {
            Action::Mount(mount) => {
                self.mounted.insert(*mount);
            }
            Action::Write(state) => self.file = Some(state.encode()),
            Action::MakeDirectory(path) => {
                self.directories.insert(path.clone());
            }
            Action::RemoveDirectory(path) => {
                let below = format!("{path}/");
                let is_inside = |it: &String| it.starts_with(&below);
                if !self.pins.keys().any(is_inside) && !self.directories.iter().any(is_inside) {
                    self.directories.remove(path);
                }
            }
            Action::Load { object, reuse } => {
                let wanted =
                    objects.iter().find(|it| it.name == *object).ok_or("no such object")?;
                return self.load(wanted, reuse);
            }
            Action::Fill { object, map } => match self.held_map(object, map)? {
                Thing::Map { frozen: false, filled, .. } => *filled = 1,
                _ => return Err("frozen".to_owned()),
            },
            Action::Freeze { object, map } => {
                if let Thing::Map { frozen, .. } = self.held_map(object, map)? {
                    *frozen = true;
                }
            }
            Action::Pin { object, kind, name, path } => {
                let id = self.held.get(&(object.clone(), *kind, name.clone()));
                let id = *id.ok_or("nothing to pin")?;
                return self.pin(path, id);
            }
            Action::Attach { program, hook, path } => return self.attach(program, hook, path),
            Action::Update { link, program } => {
                let new = self.source(program)?;
                let id = *self.pins.get(link).ok_or("no link")?;
                match self.things.get_mut(&id) {
                    Some(Thing::Link { program, .. }) => *program = new,
                    _ => return Err("no link".to_owned()),
                }
            }
            Action::Remove { path, kind } => {
                if let Some(id) = self.pins.get(path) {
                    assert_eq!(self.things[id].kind(), *kind, "{path}");
                }
                self.pins.remove(path);
            }
            Action::Rename { from, to } => {
                let id = self.pins.remove(from).ok_or("nothing to rename")?;
                self.pins.insert(to.clone(), id);
            }
            Action::Close(object) => self.held.retain(|it, _| it.0 != *object),
        }
        Ok(Outcome::Done)
    }

    /// What is there, without numbers: pins with what they hold, directories, the state's gist.
    pub(super) fn gist(&self) -> Vec<String> {
        let shown = |id: &u32| match &self.things[id] {
            Thing::Map { shape, filled, frozen } => {
                format!("map {} {filled} {frozen}", shape.value_size)
            }
            Thing::Program { tag } => format!("program {tag:?}"),
            Thing::Link { hook, program } => format!("link {hook} of {:?}", self.things[program]),
        };
        let pins = self.pins.iter().map(|(path, id)| format!("{path}: {}", shown(id)));
        let directories = self.directories.iter().cloned();
        let state = self.state();
        let records = state.objects.iter().map(|(name, it)| {
            assert!(
                it.pins
                    .iter()
                    .all(|(path, pin)| { !it.is_done || self.pins.get(path).copied() == pin.id })
            );
            format!("{name} {} {} {:?}", it.digests.object, it.is_done, it.directories)
        });
        pins.chain(directories).chain(records).collect()
    }
}

/// What is to be.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) objects: Vec<Wanted>,
    pub(super) on_error: OnError,
}

/// When something happens to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    /// The process dies before its nth action.
    Kill(usize),
    /// The nth action fails.
    Fail(usize),
}

impl World {
    pub(super) fn start(&self, kernel: &Kernel) -> Run {
        let (state, facts) = (kernel.state(), kernel.facts(&self.objects));
        let orphans = orphans(&state, "/m.toml", &self.objects);
        let objects = decide(self.objects.clone(), "/m.toml", &state, &facts);
        let plan = Plan {
            manifest: "/m.toml".to_owned(),
            on_error: self.on_error,
            mounts: vec![Mount::Bpf],
            objects,
            orphans,
        };
        Run::apply(plan, state, facts)
    }

    /// Applies; returns the report, the actions, and whether the run came to its end.
    pub(super) fn apply(
        &self,
        kernel: &mut Kernel,
        trouble: Trouble,
    ) -> (Report, Vec<Action>, bool) {
        let run = self.start(kernel);
        drive(run, kernel, &self.objects, trouble)
    }
}

pub(super) fn drive(
    mut run: Run,
    kernel: &mut Kernel,
    objects: &[Wanted],
    trouble: Trouble,
) -> (Report, Vec<Action>, bool) {
    let mut actions = Vec::new();
    while let Some(action) = run.next_action() {
        if trouble == Trouble::Kill(actions.len()) {
            kernel.kill();
            return (run.report().clone(), actions, false);
        }
        let result = if trouble == Trouble::Fail(actions.len()) {
            Err("injected".to_owned())
        } else {
            kernel.perform(objects, &action)
        };
        actions.push(action);
        assert!(actions.len() < 10_000, "the run does not end");
        match result {
            Ok(outcome) => run.succeeded(outcome),
            Err(why) => run.failed(&why),
        }
    }
    kernel.kill();
    (run.report().clone(), actions, true)
}

/// No pin has a staged name.
pub(super) fn is_clean(kernel: &Kernel) -> bool {
    !kernel.pins.keys().any(|path| path.ends_with(paths::STAGED))
}
