// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a description to a machine of this host: build, decide, act.

use std::path::{Path, PathBuf};

use plinth::err::Failure;
use plinth::file::Lock;

use super::change::{self, Action, CURRENT, OLD, Outcome, Wanted};
use super::profile::Profile;
use super::seen::{Id, Seen};
use super::{Builder, Built, Difference, Hands, Host, HostError, Name, Request, difference};
use crate::package::{Place, Tree};
use crate::validate::used_cid;

/// What is noted of a machine besides its package.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Where its description is; `None` leaves that as it is.
    pub source: Option<String>,
    /// Whether `host apply` manages it.
    pub declarative: bool,
    /// Whether it starts at boot; `None` leaves that as it is.
    pub autostart: Option<bool>,
}

/// What an installation came to.
#[derive(Clone, Debug)]
pub struct Written {
    /// Whether the machine is new or changed.
    pub outcome: Outcome,
    /// The package that it has now.
    pub id: Id,
    /// What was there before.
    pub before: Seen,
    /// How the options differ from before.
    pub differences: Vec<Difference>,
}

impl Host<'_> {
    /// Builds the machine `name` of the description at `path`, with what is asked for.
    ///
    /// A description of one machine is that machine, whatever it is called there.
    ///
    /// # Errors
    /// It cannot be built, or does not describe the machine.
    pub fn built(&self, name: &Name, path: &Path, request: &Request) -> Result<Built, Failure> {
        built(self.build, name, path, request)
    }

    /// The absolute path of a description that a person named.
    ///
    /// # Errors
    /// There is no such file.
    pub fn source(&self, path: &Path) -> Result<PathBuf, Failure> {
        path.canonicalize().map_err(|error| {
            Failure::new(crate::cli::NOT_FOUND, HostError::Io("read", path.to_owned(), error))
        })
    }
}

impl Host<'_> {
    /// Makes a machine from the description at the absolute `path`.
    ///
    /// # Errors
    /// There is such a machine; it cannot be built; as for [`install`].
    pub fn create(
        &self,
        name: &Name,
        path: &Path,
        autostart: bool,
    ) -> Result<(Built, Written), Failure> {
        let is_free = |seen: Seen| {
            if seen.is_machine() { Err(fail(HostError::Exists(name.clone()))) } else { Ok(seen) }
        };
        is_free(self.trusted(name).map_err(fail)?)?;
        // What cannot be built leaves no trace.
        let built = self.built(name, path, &Request::default())?;
        self.may_have(name, &built.tree).map_err(fail)?;
        let (_lock, seen) = prepare(self, name).map_err(fail)?;
        let seen = is_free(seen)?;
        let source = Some(path.to_string_lossy().into_owned());
        let marks = Marks { source, autostart: autostart.then_some(true), ..Marks::default() };
        let written = install(self, name, seen, &built.tree, marks).map_err(fail)?;
        Ok((built, written))
    }

    /// Builds the description of a machine anew.
    ///
    /// # Errors
    /// There is no such machine, or no description; `host apply` manages it; it cannot be built; as
    /// for [`install`].
    pub fn update(&self, name: &Name) -> Result<(Built, Written), Failure> {
        let seen = self.machine(name).map_err(fail)?;
        if seen.declarative {
            return Err(fail(HostError::Declarative(name.clone())));
        }
        let source = seen.source.ok_or_else(|| fail(HostError::NoSource(name.clone())))?;
        let built = self.built(name, Path::new(&source), &Request::default())?;
        let _lock = self.lock(name).map_err(fail)?;
        let seen = self.machine(name).map_err(fail)?;
        let marks = Marks { declarative: seen.declarative, ..Marks::default() };
        let written = install(self, name, seen, &built.tree, marks).map_err(fail)?;
        Ok((built, written))
    }

    /// As [`Host::stands_beside_others`], for a package that the machine may have already.
    pub(super) fn may_have(&self, name: &Name, tree: &Tree) -> Result<(), HostError> {
        let id = Id::new(tree.hash().to_string());
        let has = self.trusted(name)?.current_id() == Some(&id);
        if has { Ok(()) } else { self.stands_beside_others(name, &Profile::of_tree(tree)) }
    }

    /// Does no other machine have what only one can have: an address in the kernel?
    fn stands_beside_others(&self, name: &Name, profile: &Profile) -> Result<(), HostError> {
        let Some(cid) = profile.kernel_cid() else { return Ok(()) };
        let others = self.names()?.into_iter().filter(|other| other != name);
        let used = others.filter_map(|other| {
            Some((self.profile(&other, CURRENT)?.kernel_cid()?, other.to_string()))
        });
        match used_cid(name.as_str(), Some(cid), &used.collect()) {
            Some(it) => Err(HostError::Refused(Box::new(it))),
            None => Ok(()),
        }
    }

    /// Goes back to the package that was current before.
    ///
    /// # Errors
    /// There is none; it cannot be beside the other machines any more.
    pub fn rollback(&self, name: &Name) -> Result<Seen, Failure> {
        self.machine(name).map_err(fail)?;
        let _lock = self.lock(name).map_err(fail)?;
        let seen = self.machine(name).map_err(fail)?;
        let profile = self.profile(name, OLD);
        let drop_in = profile.as_ref().and_then(|profile| self.drop_in(profile));
        let actions =
            change::rollback(&seen, drop_in).ok_or_else(|| fail(HostError::NoOld(name.clone())))?;
        profile.map_or(Ok(()), |it| self.stands_beside_others(name, &it)).map_err(fail)?;
        Hands::new(self, name).carry_out(&actions, None).map_err(fail)?;
        self.machine(name).map_err(fail)
    }

    /// Removes packages that nothing needs, but `keep`; their names.
    ///
    /// # Errors
    /// There is no such machine; a package cannot be removed.
    pub fn collect(&self, name: &Name, keep: usize) -> Result<Vec<String>, Failure> {
        self.machine(name).map_err(fail)?;
        let _lock = self.lock(name).map_err(fail)?;
        let actions = change::gc(&self.machine(name).map_err(fail)?, keep);
        Hands::new(self, name).carry_out(&actions, None).map_err(fail)?;
        let gone = |action| match action {
            Action::RemoveGeneration(name) => Some(name),
            _ => None,
        };
        Ok(actions.into_iter().filter_map(gone).collect())
    }

    /// Marks a machine to start at boot, or not.
    ///
    /// # Errors
    /// There is no such machine.
    pub fn mark(&self, name: &Name, autostart: bool) -> Result<(), Failure> {
        self.machine(name).map_err(fail)?;
        let _lock = self.lock(name).map_err(fail)?;
        let seen = self.machine(name).map_err(fail)?;
        let actions = change::autostart(&seen, autostart);
        Hands::new(self, name).carry_out(&actions, None).map_err(fail)
    }

    /// What a removal does to a machine that does not run.
    ///
    /// # Errors
    /// It runs, or there is nothing.
    pub fn removal(&self, name: &Name, keep_data: bool) -> Result<Vec<Action>, Failure> {
        let seen = self.look(name).map_err(fail)?;
        if !seen.directory {
            return Err(fail(HostError::NotFound(name.clone())));
        }
        if self.activity(name).map_err(fail)?.active {
            return Err(fail(HostError::Running(name.clone())));
        }
        Ok(change::remove(&seen, keep_data))
    }

    /// Removes a machine, and what is left of its last start; with `keep_data` what it made itself
    /// stays.
    ///
    /// # Errors
    /// As for [`Host::removal`]; something cannot be ended or removed.
    pub fn remove(&self, name: &Name, keep_data: bool) -> Result<(), Failure> {
        self.removal(name, keep_data)?;
        let _lock = self.lock(name).map_err(fail)?;
        self.removal(name, keep_data)?;
        self.clear(name).map_err(fail)?;
        let actions = self.removal(name, keep_data)?;
        Hands::new(self, name).carry_out(&actions, None).map_err(fail)
    }
}

/// As [`Host::built`], where there is no host at hand.
///
/// # Errors
/// As there.
pub fn built(
    build: &Builder<'_>,
    name: &Name,
    path: &Path,
    request: &Request,
) -> Result<Built, Failure> {
    let not_there = || fail(HostError::NotDescribed(name.clone(), path.to_owned()));
    built_if_meant(build, name, path, request)?.ok_or_else(not_there)
}

/// As [`built`], and nothing where the description says that there is to be no machine (`enable`).
///
/// # Errors
/// As there.
pub fn built_if_meant(
    build: &Builder<'_>,
    name: &Name,
    path: &Path,
    request: &Request,
) -> Result<Option<Built>, Failure> {
    let mut all = build(path, request)?;
    let at = match all.as_slice() {
        [] => return Ok(None),
        [_] => Some(0),
        many => many.iter().position(|it| it.name == name.as_str()),
    };
    match at {
        Some(at) => Ok(Some(all.swap_remove(at))),
        None => Err(fail(HostError::NotDescribed(name.clone(), path.to_owned()))),
    }
}

/// The failure with the status of its kind.
pub(super) fn fail(error: HostError) -> Failure {
    Failure::new(error.status(), error)
}

/// Makes `tree` the package of the machine's next start.
///
/// `seen` is what is there, under the lock.
///
/// # Errors
/// Another machine has what this one is to have alone; as for [`install_anyway`].
pub fn install(
    host: &Host<'_>,
    name: &Name,
    seen: Seen,
    tree: &Tree,
    marks: Marks,
) -> Result<Written, HostError> {
    if seen.current_id() != Some(&Id::new(tree.hash().to_string())) {
        host.stands_beside_others(name, &Profile::of_tree(tree))?;
    }
    install_anyway(host, name, seen, tree, marks)
}

/// As [`install`], for somebody who knows what the other machines are going to be.
///
/// # Errors
/// Something could not be written. The machine has the old package or the new one.
pub fn install_anyway(
    host: &Host<'_>,
    name: &Name,
    mut seen: Seen,
    tree: &Tree,
    marks: Marks,
) -> Result<Written, HostError> {
    let Marks { source, declarative, autostart } = marks;
    let hash = tree.hash();
    let profile = Profile::of_tree(tree);
    let wanted = Wanted {
        package: Id::new(hash.to_string()),
        directory: hash.directory(),
        target: host.target(name, &hash.directory()),
        source,
        declarative,
        autostart,
        drop_in: host.drop_in(&profile),
        keep: host.settings.keep_generations,
    };
    if seen.current_id() == Some(&wanted.package) && !is_whole(host, name, tree) {
        // It only says that it is this package.
        seen.current.iter_mut().for_each(|it| it.package = None);
    }
    let (outcome, actions) = change::install(&seen, &wanted);
    let differences = match (outcome, host.package(name, CURRENT)) {
        (Outcome::Changed, Some(before)) => {
            Place(before).read().map(|before| difference(&before, tree)).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    Hands::new(host, name).carry_out(&actions, Some(tree))?;
    Ok(Written { outcome, id: wanted.package, before: seen, differences })
}

/// Whether the current package of a machine is `tree`, file by file.
fn is_whole(host: &Host<'_>, name: &Name, tree: &Tree) -> bool {
    let at = host.package(name, CURRENT).map(Place);
    at.and_then(|at| at.read().ok()).is_some_and(|it| it == *tree)
}

/// Makes the directory of a machine that is about to be, and locks it; what is there.
///
/// # Errors
/// Somebody else has put a hand to the directory; another command works on it.
pub(crate) fn prepare(host: &Host<'_>, name: &Name) -> Result<(Lock, Seen), HostError> {
    host.trusted(name)?;
    if !host.directory(name).is_dir() {
        Hands::new(host, name).carry_out(&[Action::MakeDirectory], None)?;
    }
    let lock = host.lock(name)?;
    Ok((lock, host.trusted(name)?))
}
