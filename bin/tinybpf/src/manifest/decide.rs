// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What has to be done with each object, judged by what is wanted, remembered and there.

use std::collections::{BTreeMap, BTreeSet};

use plinth::sorting;

use super::run::Planned;
use super::state::{PinKind, Record, State};
use super::wanted::{MapShape, Wanted, WantedMap};
use super::{Mount, Reuse, paths};
use crate::hook::Hook;

/// The first kernel whose attachments to perf events are links, and so can be pinned.
const PERF_LINKS: (u32, u32, u32) = (5, 15, 0);

/// What a pin holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// A map.
    Map {
        /// The kernel's number.
        id: u32,
        /// What it is like.
        shape: MapShape,
        /// Whether nobody may write it from user space.
        is_frozen: bool,
    },
    /// A program.
    Program {
        /// The kernel's number.
        id: u32,
        /// What its instructions hash to.
        tag: [u8; 8],
    },
    /// A link.
    Link {
        /// The kernel's number.
        id: u32,
        /// The number of its program.
        program: u32,
    },
    /// Something else, or what cannot be opened.
    Other,
}

impl Pinned {
    /// The kernel's number, and what it is.
    #[must_use]
    pub const fn identity(&self) -> Option<(PinKind, u32)> {
        match self {
            Self::Map { id, .. } => Some((PinKind::Map, *id)),
            Self::Program { id, .. } => Some((PinKind::Program, *id)),
            Self::Link { id, .. } => Some((PinKind::Link, *id)),
            Self::Other => None,
        }
    }
}

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Those of [`watched`] that exist.
    pub pins: BTreeMap<String, Pinned>,
    /// Those directories of the objects that exist.
    pub directories: BTreeSet<String>,
    /// What is mounted where it belongs.
    pub mounted: BTreeSet<Mount>,
    /// The kernel's version.
    pub kernel: (u32, u32, u32),
}

/// Every path that has to be looked at for a decision.
#[must_use]
pub fn watched<'a>(
    objects: impl IntoIterator<Item = &'a Wanted>,
    state: &State,
) -> BTreeSet<String> {
    let wanted = objects.into_iter().flat_map(Wanted::pins).map(|(path, _)| path.to_owned());
    let known = state.objects.values().flat_map(|it| it.pins.keys().cloned());
    sorting::gather(wanted.chain(known).flat_map(|path| [paths::staged(&path), path]))
}

/// What has to be done with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it is as it should be.
    Unchanged,
    /// Nothing: its conditions do not hold.
    Skipped(String),
    /// Only these of its attachments are missing, by their place in the list.
    Attach(Vec<usize>),
    /// It is there, and nobody remembers it: to be compared after loading, and taken over if equal.
    Adopt,
    /// It is to be loaded, and takes the place of what is there.
    Replace(String),
    /// It cannot be done.
    Refused(String),
}

impl Decision {
    /// Whether an apply would change anything.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        !matches!(self, Self::Unchanged | Self::Skipped(_))
    }
}

/// Judges objects in their order. `manifest` is the path that names whose they are.
#[must_use]
pub fn decide(objects: Vec<Wanted>, manifest: &str, state: &State, facts: &Facts) -> Vec<Planned> {
    let mut provided = BTreeMap::new();
    let judge = |wanted: Wanted| {
        let decision = judge(&wanted, manifest, state, facts, &provided);
        if !matches!(decision, Decision::Refused(_)) {
            let maps = wanted.maps.iter().filter_map(|it| Some((it.pin.clone()?, it.shape)));
            provided.extend(maps);
        }
        Planned { wanted, decision }
    };
    objects.into_iter().map(judge).collect()
}

/// Objects that this manifest once wanted and does not want now: they are removed by an apply.
#[must_use]
pub fn orphans(state: &State, manifest: &str, wanted: &[Wanted]) -> Vec<String> {
    let is_gone = |name: &String| !wanted.iter().any(|it| it.name == *name);
    let own = state.objects.iter().filter(|(name, it)| it.manifest == manifest && is_gone(name));
    own.map(|(name, _)| name.clone()).collect()
}

/// Judges one. `provided` are the maps that objects before it will have pinned.
fn judge(
    wanted: &Wanted,
    manifest: &str,
    state: &State,
    facts: &Facts,
    provided: &BTreeMap<String, MapShape>,
) -> Decision {
    let record = state.objects.get(&wanted.name);
    if let Some(why) = obstacle(wanted, manifest, record, facts, provided) {
        return Decision::Refused(why);
    }
    let Some(record) = record else {
        return if is_all_there(wanted, facts) {
            Decision::Adopt
        } else {
            Decision::Replace("new".to_owned())
        };
    };
    if !record.is_done {
        return Decision::Replace("the last run did not finish".to_owned());
    }
    let digests = [
        ("the object file", &record.digests.object, &wanted.digests.object),
        ("the manifest", &record.digests.table, &wanted.digests.table),
        ("the type information", &record.digests.btf, &wanted.digests.btf),
    ];
    if let Some((what, ..)) = digests.iter().find(|it| it.1 != it.2) {
        return Decision::Replace(format!("{what} changed"));
    }
    missing(wanted, record, facts)
}

/// Whether a pin holds what is remembered of it.
fn is_same(path: &str, record: &Record, facts: &Facts) -> bool {
    let have = facts.pins.get(path).and_then(Pinned::identity);
    let want = record.pins.get(path).and_then(|it| Some((it.kind, it.id?)));
    want.is_some() && have == want
}

fn missing(wanted: &Wanted, record: &Record, facts: &Facts) -> Decision {
    let others = wanted.pins().filter(|it| it.1 != PinKind::Link);
    for (path, kind) in others {
        if !is_same(path, record, facts) {
            return Decision::Replace(format!(
                "the {} at {path} is gone or another one",
                kind.name()
            ));
        }
    }
    let mut lost = Vec::new();
    for (at, link) in wanted.links.iter().enumerate() {
        if is_same(&link.pin, record, facts) {
            continue;
        }
        if facts.pins.contains_key(&link.pin) || link.hook == Hook::Auto {
            return Decision::Replace(format!("the link at {} is gone or another one", link.pin));
        }
        lost.push(at);
    }
    if lost.is_empty() { Decision::Unchanged } else { Decision::Attach(lost) }
}

/// Whether all pins are there, and the links belong to the programs.
fn is_all_there(wanted: &Wanted, facts: &Facts) -> bool {
    let program = |name: &str| {
        let pin = &wanted.programs.iter().find(|it| it.name == name)?.pin;
        match facts.pins.get(pin)? {
            Pinned::Program { id, .. } => Some(*id),
            _ => None,
        }
    };
    let has = |path: &str, kind| {
        facts.pins.get(path).and_then(Pinned::identity).is_some_and(|it| it.0 == kind)
    };
    let links = wanted.links.iter().all(|link| match facts.pins.get(&link.pin) {
        Some(Pinned::Link { program: id, .. }) => program(&link.program) == Some(*id),
        Some(_) => false,
        None => link.optional,
    });
    let others = wanted.pins().filter(|it| it.1 != PinKind::Link);
    links && wanted.pins().next().is_some() && others.into_iter().all(|it| has(it.0, it.1))
}

/// What makes it impossible.
fn obstacle(
    wanted: &Wanted,
    manifest: &str,
    record: Option<&Record>,
    facts: &Facts,
    provided: &BTreeMap<String, MapShape>,
) -> Option<String> {
    if let Some(other) = record.map(|it| &it.manifest).filter(|it| *it != manifest) {
        return Some(format!("the object belongs to the manifest {other}"));
    }
    for (path, kind) in wanted.pins() {
        match facts.pins.get(path).map(Pinned::identity) {
            Some(Some((found, _))) if found != kind => {
                return Some(format!("{path} is a {}, not a {}", found.name(), kind.name()));
            }
            Some(None) => return Some(format!("{path} cannot be opened as a {}", kind.name())),
            _ => {}
        }
    }
    if facts.kernel < PERF_LINKS {
        let is_perf = |hook: &Hook| {
            matches!(
                hook,
                Hook::Kprobe { .. }
                    | Hook::Kretprobe { .. }
                    | Hook::Ksyscall { .. }
                    | Hook::Tracepoint { .. }
                    | Hook::Uprobe { .. }
                    | Hook::Perf(_)
            )
        };
        if let Some(link) = wanted.links.iter().find(|it| is_perf(&it.hook)) {
            let hook = &link.hook;
            return Some(format!(
                "{hook} cannot be pinned before Linux 5.15; attach it with 'run'"
            ));
        }
    }
    // What an unfinished run left behind is not kept, and need not fit.
    let is_left = |path: &str| {
        let pin = record.filter(|it| !it.is_done).and_then(|it| it.pins.get(path));
        pin.is_some_and(|it| it.id.is_none())
    };
    let maps = wanted.maps.iter().filter(|it| !it.pin.as_deref().is_some_and(is_left));
    maps.into_iter().find_map(|map| unusable(map, facts, provided))
}

fn unusable(
    map: &WantedMap,
    facts: &Facts,
    provided: &BTreeMap<String, MapShape>,
) -> Option<String> {
    let path = map.pin.as_ref()?;
    let there = match facts.pins.get(path) {
        Some(Pinned::Map { shape, .. }) => Some(shape),
        _ => provided.get(path),
    };
    match (map.reuse, there) {
        (Reuse::Require, None) => {
            Some(format!("map '{}': there is no map at {path} to reuse", map.name))
        }
        (Reuse::Require | Reuse::Keep, Some(shape)) => {
            let difference = map.shape.difference(shape)?;
            Some(format!("map '{}': the map at {path} is incompatible: {difference}", map.name))
        }
        _ => None,
    }
}

/// How a pin that is remembered is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It holds what it held.
    Ok,
    /// It holds something else, or is of a run that did not finish.
    Changed,
    /// It is gone.
    Missing,
}

/// Every pin of every object that is remembered, and how it is doing.
#[must_use]
pub fn health(state: &State, facts: &Facts) -> Vec<(String, String, Health)> {
    let mut found = Vec::new();
    for (name, record) in &state.objects {
        for path in record.pins.keys() {
            let health = match facts.pins.get(path) {
                None => Health::Missing,
                Some(_) if record.is_done && is_same(path, record, facts) => Health::Ok,
                Some(_) => Health::Changed,
            };
            found.push((name.clone(), path.clone(), health));
        }
    }
    found
}
