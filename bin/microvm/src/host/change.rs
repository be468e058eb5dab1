// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What to do: from what is there and what is wanted to a list of actions.
//!
//! Pure. The order of the actions makes a change safe against a power cut between any two of
//! them: a package lies in its place before a link leads to it, one rename of `current` is the
//! change, and what comes behind it (the unit's drop-in, the reload) stands under a mark that is
//! set before and taken away at the end. A later run that finds the mark does the rest; a later run
//! of the same change finds out by looking how far the first one came.

use std::collections::BTreeSet;

use super::seen::{Id, Seen};

/// The package of the next start.
pub const CURRENT: &str = "current";
/// The package that runs.
pub const BOOTED: &str = "booted";
/// The package that was current before.
pub const OLD: &str = "old";
/// The directory of packages, in the machine's own.
pub const GENERATIONS: &str = "gen";
/// Where the description is.
pub const SOURCE: &str = "source";
/// The mark of those that `host apply` manages.
pub const DECLARATIVE: &str = "declarative";
/// The mark of those that start at boot.
pub const AUTOSTART: &str = "autostart";
/// The mark of a change that the service manager may not know of.
pub const PENDING: &str = ".pending";
/// The lock.
pub const LOCK: &str = ".lock";
/// The process that runs the machine, where no service manager does.
pub const PROCESS: &str = ".process";

/// All names in a machine's directory that are ours.
pub const OURS: &[&str] =
    &[CURRENT, BOOTED, OLD, GENERATIONS, SOURCE, DECLARATIVE, AUTOSTART, PENDING, LOCK, PROCESS];

/// Something to do to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the machine's directory, with its mode and owner.
    MakeDirectory,
    /// Put the package where packages are kept, under this name.
    WritePackage(String),
    /// Replace a small file.
    WriteFile(&'static str, String),
    /// Remove a file or link. It is no error if it is gone.
    Remove(&'static str),
    /// Make a link lead here, at once.
    Link(&'static str, String),
    /// Swap `current` and `old`, at once.
    Exchange,
    /// Replace the drop-in of the unit.
    WriteDropIn(String),
    /// Remove the drop-in. It is no error if it is gone.
    RemoveDropIn,
    /// Have the service manager read its files.
    Reload,
    /// Remove a package, or what is left of one.
    RemoveGeneration(String),
    /// Remove the data of the machine, by its name.
    RemoveData(String),
    /// Remove the machine's directory.
    RemoveDirectory,
}

/// What a machine is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The package.
    pub package: Id,
    /// The name under which it is kept.
    pub directory: String,
    /// What links to it say.
    pub target: String,
    /// Where its description is; `None` leaves that as it is.
    pub source: Option<String>,
    /// Whether `host apply` manages it.
    pub declarative: bool,
    /// Whether it starts at boot; `None` leaves that as it is.
    pub autostart: Option<bool>,
    /// The drop-in; `None` on a host without our units.
    pub drop_in: Option<String>,
    /// How many packages to keep.
    pub keep: usize,
}

/// What a change comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A machine that was not there.
    Created,
    /// Another package for the next start.
    Changed,
    /// The package is what it was.
    Same,
}

/// Makes a machine what it is to be.
#[must_use]
pub fn install(seen: &Seen, wanted: &Wanted) -> (Outcome, Vec<Action>) {
    let outcome = match seen.current_id() {
        Some(id) if *id == wanted.package => Outcome::Same,
        _ if seen.is_machine() => Outcome::Changed,
        _ => Outcome::Created,
    };
    let mut actions = Vec::new();
    if !seen.directory {
        actions.push(Action::MakeDirectory);
    }
    if outcome != Outcome::Same {
        actions.push(Action::WritePackage(wanted.directory.clone()));
    }
    if let Some(source) = wanted.source.as_ref().filter(|it| seen.source.as_ref() != Some(it)) {
        actions.push(Action::WriteFile(SOURCE, source.clone()));
    }
    actions.extend(mark(DECLARATIVE, seen.declarative, wanted.declarative));
    actions.extend(wanted.autostart.and_then(|it| mark(AUTOSTART, seen.autostart, it)));
    let is_stale = seen.drop_in != wanted.drop_in;
    let is_moved = outcome != Outcome::Same;
    if is_moved || is_stale {
        actions.push(Action::WriteFile(PENDING, String::new()));
    }
    if is_moved {
        // One that is gone or damaged is nothing to go back to.
        if let Some(current) = seen.current.as_ref().filter(|it| it.package.is_some()) {
            // A killed run may have come as far as this; then `old` is the truth already.
            if seen.old.as_ref() != Some(current) {
                actions.push(Action::Link(OLD, current.target.clone()));
            }
        }
        actions.push(Action::Link(CURRENT, wanted.target.clone()));
    }
    if is_stale {
        actions.push(match &wanted.drop_in {
            Some(text) => Action::WriteDropIn(text.clone()),
            None => Action::RemoveDropIn,
        });
    }
    if is_moved || is_stale || seen.pending {
        actions.extend([Action::Reload, Action::Remove(PENDING)]);
    }
    if is_moved {
        let links =
            [Some(&wanted.target), target(seen.booted.as_ref()), target(seen.current.as_ref())];
        let kept: Vec<&String> = links.into_iter().flatten().collect();
        actions.extend(collect(seen, &kept, wanted.keep, Some(&wanted.directory)));
    }
    (outcome, actions)
}

fn target(link: Option<&super::seen::Link>) -> Option<&String> {
    link.map(|link| &link.target)
}

/// Sets or takes away a mark.
fn mark(name: &'static str, is: bool, wanted: bool) -> Option<Action> {
    match (is, wanted) {
        (false, true) => Some(Action::WriteFile(name, String::new())),
        (true, false) => Some(Action::Remove(name)),
        _ => None,
    }
}

/// Sets or takes away the mark of those that start at boot.
#[must_use]
pub fn autostart(seen: &Seen, wanted: bool) -> Vec<Action> {
    mark(AUTOSTART, seen.autostart, wanted).into_iter().chain([Action::Reload]).collect()
}

/// Goes back to the package that was current before; `None` when there is none.
///
/// `drop_in` is the one for that package.
#[must_use]
pub fn rollback(seen: &Seen, drop_in: Option<String>) -> Option<Vec<Action>> {
    let old = seen.old.as_ref()?;
    let is_possible = old.package.is_some() && seen.current.as_ref() != Some(old);
    if !is_possible {
        return None;
    }
    let mut actions = vec![Action::WriteFile(PENDING, String::new()), Action::Exchange];
    if seen.drop_in != drop_in {
        actions.push(drop_in.map_or(Action::RemoveDropIn, Action::WriteDropIn));
    }
    actions.extend([Action::Reload, Action::Remove(PENDING)]);
    Some(actions)
}

/// Removes the packages that are not among the `keep` newest, and which no link needs; also what
/// killed processes left.
#[must_use]
pub fn gc(seen: &Seen, keep: usize) -> Vec<Action> {
    let links = [&seen.current, &seen.booted, &seen.old];
    let kept: Vec<&String> = links.into_iter().filter_map(|link| target(link.as_ref())).collect();
    collect(seen, &kept, keep, None)
}

/// `kept` are the targets of links; `fresh` is a package that is about to be there.
fn collect(seen: &Seen, kept: &[&String], keep: usize, fresh: Option<&String>) -> Vec<Action> {
    let kept: BTreeSet<&str> =
        kept.iter().map(|target| target.rsplit('/').next().unwrap_or(target)).collect();
    let mut found: Vec<_> = seen.generations.iter().collect();
    found.sort_by(|a, b| (b.since, &b.name).cmp(&(a.since, &a.name)));
    let is_new = |it: &String| !seen.generations.iter().any(|there| there.name == *it);
    let mut room = keep.saturating_sub(usize::from(fresh.is_some_and(is_new)));
    let mut actions = Vec::new();
    for generation in found {
        let is_kept =
            generation.is_whole() && (room > 0 || kept.contains(generation.name.as_str()));
        if generation.is_whole() {
            room = room.saturating_sub(1);
        }
        if !is_kept {
            actions.push(Action::RemoveGeneration(generation.name.clone()));
        }
    }
    actions
}

/// Removes a machine; with `keep_data` what the machine itself made stays.
///
/// The link `current` goes first: what is then cut short is no machine any more.
#[must_use]
pub fn remove(seen: &Seen, keep_data: bool) -> Vec<Action> {
    let mut actions = vec![Action::Remove(CURRENT)];
    if seen.drop_in.is_some() {
        actions.push(Action::RemoveDropIn);
    }
    actions.push(Action::Reload);
    actions.extend([BOOTED, OLD, SOURCE, DECLARATIVE, AUTOSTART, PROCESS].map(Action::Remove));
    actions.extend(seen.generations.iter().map(|it| Action::RemoveGeneration(it.name.clone())));
    actions.push(Action::Remove(PENDING));
    if !keep_data {
        actions.extend(seen.data.iter().cloned().map(Action::RemoveData));
        actions.push(Action::RemoveDirectory);
    }
    actions
}
