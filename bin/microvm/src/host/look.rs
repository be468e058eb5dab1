// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Looks at the state directory.
//!
//! Nothing here takes a lock or changes anything: each link is read once, and is the old one or the
//! new one. A hypervisor may write into its machine's directory, so that of the names by which root
//! decides what it runs only those count that root has put there, or whoever asks.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::change::{
    AUTOSTART, BOOTED, CURRENT, DECLARATIVE, GENERATIONS, OLD, OURS, PENDING, SOURCE,
};
use super::profile::{Profile, identity};
use super::seen::{Generation, Id, Link, Seen};
use super::{Host, HostError, Name, units};
use crate::package::{RUNNER_MAX, Tree};

/// The names by which a command decides what it does. `booted` says what runs, and counts as far as
/// scripts are concerned only when it can be trusted ([`Host::package`]).
const DECIDE: &[&str] = &[CURRENT, OLD, GENERATIONS, SOURCE, DECLARATIVE, AUTOSTART];

/// Whether a name is there and belongs to somebody who must not decide what is run: root may for
/// root, and everybody for themselves.
pub(super) fn is_foreign(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| is_somebody_elses(it.uid()))
}

/// Whether the owner of a file is neither root nor who asks.
pub(super) fn is_somebody_elses(owner: u32) -> bool {
    ![0, rustix::process::geteuid().as_raw()].contains(&owner)
}

/// Reads files of the package at `at`, of which none is longer than its description may be.
fn reader(at: &Path) -> impl Fn(&str) -> Option<Vec<u8>> + '_ {
    move |path| plinth::file::read(&at.join(path), RUNNER_MAX).ok()
}

/// Reads files of a package in memory.
pub(super) fn from_tree(tree: &Tree) -> impl Fn(&str) -> Option<Vec<u8>> + '_ {
    move |path| tree.get(path).map(|entry| entry.bytes().to_vec())
}

/// The identity of the package in the directory `at`.
#[must_use]
pub(super) fn id_at(at: &Path) -> Option<Id> {
    let name = at.file_name().unwrap_or_default().to_string_lossy();
    identity(&name, &reader(at), &|path| {
        fs::read_link(at.join(path)).ok().map(|it| it.to_string_lossy().into_owned())
    })
}

/// Whether it says that there is no such directory.
fn is_none(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

impl Host<'_> {
    /// The names of all machines, and of directories that could be some, sorted.
    ///
    /// # Errors
    /// The state directory cannot be read.
    pub fn names(&self) -> Result<Vec<Name>, HostError> {
        let directory = |name: &Name| self.directory(name).is_dir();
        match self.root.list(&self.settings.state_dir) {
            Ok(names) => {
                let names = names.iter().filter_map(|name| Name::parse(name));
                Ok(names.filter(directory).collect())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(HostError::io("read", self.state())(error)),
        }
    }

    /// What is there of a machine.
    ///
    /// # Errors
    /// Its directory cannot be read.
    pub fn look(&self, name: &Name) -> Result<Seen, HostError> {
        let at = self.directory(name);
        let names = match fs::read_dir(&at) {
            Ok(entries) => entries
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect::<Vec<String>>(),
            // A file of that name is no machine either.
            Err(error) if is_none(&error) => Vec::new(),
            Err(error) => return Err(HostError::io("read", at)(error)),
        };
        let decide = DECIDE.iter().filter(|it| is_foreign(&at.join(it)));
        let foreign: Vec<String> = decide.map(|it| (*it).to_owned()).collect();
        let has =
            |name: &str| names.iter().any(|it| it == name) && !foreign.iter().any(|it| it == name);
        let source =
            has(SOURCE).then(|| plinth::file::read(&at.join(SOURCE), 1 << 16).ok()).flatten();
        let mut data: Vec<String> =
            names.iter().filter(|it| !OURS.contains(&it.as_str())).cloned().collect();
        data.sort_unstable();
        Ok(Seen {
            directory: at.is_dir(),
            current: self.link(name, CURRENT),
            booted: self.link(name, BOOTED),
            old: has(OLD).then(|| self.link(name, OLD)).flatten(),
            generations: self.generations(name)?,
            source: source
                .map(|bytes| String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned())
                .filter(|text| !text.is_empty()),
            declarative: has(DECLARATIVE),
            autostart: has(AUTOSTART),
            pending: has(PENDING) && !is_foreign(&at.join(PENDING)),
            drop_in: self.root.read_text(units::drop_in_path(&name.unit())).ok(),
            data,
            foreign,
        })
    }

    /// What is there of a machine that must be there.
    ///
    /// # Errors
    /// There is none, or somebody else has put a hand to it.
    pub fn machine(&self, name: &Name) -> Result<Seen, HostError> {
        let seen = self.trusted(name)?;
        if seen.is_machine() { Ok(seen) } else { Err(HostError::NotFound(name.clone())) }
    }

    /// As [`Host::look`], for a command that goes by what it sees.
    ///
    /// # Errors
    /// As there; somebody else has put a hand to it.
    pub fn trusted(&self, name: &Name) -> Result<Seen, HostError> {
        let seen = self.look(name)?;
        match seen.foreign.first() {
            Some(file) => Err(HostError::Foreign(self.directory(name).join(file))),
            None => Ok(seen),
        }
    }

    /// Whether there is a machine, whatever somebody else has put there: it can be stopped.
    ///
    /// # Errors
    /// There is none; its directory cannot be read.
    pub fn exists(&self, name: &Name) -> Result<(), HostError> {
        let is_there = self.look(name)?.is_machine() || self.activity(name)?.active;
        if is_there { Ok(()) } else { Err(HostError::NotFound(name.clone())) }
    }

    fn link(&self, name: &Name, link: &str) -> Option<Link> {
        let target = fs::read_link(self.directory(name).join(link)).ok()?;
        // One that leads nowhere is there all the same.
        let package = self.leads_to(name, link).and_then(|at| id_at(&at));
        Some(Link { target: target.to_string_lossy().into_owned(), package })
    }

    /// The directory that one of a machine's links leads to, if the link may decide what is run.
    #[must_use]
    pub fn package(&self, name: &Name, link: &str) -> Option<PathBuf> {
        match self.way(name, link) {
            Ok(()) => self.leads_to(name, link),
            Err(error) => {
                super::warn(&error.to_string());
                None
            }
        }
    }

    fn leads_to(&self, name: &Name, link: &str) -> Option<PathBuf> {
        let target = fs::read_link(self.directory(name).join(link)).ok()?;
        // An absolute link is meant below our root.
        let is_absolute = target.is_absolute();
        let path =
            if is_absolute { self.root.join(&target) } else { self.directory(name).join(target) };
        path.is_dir().then_some(path)
    }

    /// What a host has to know of the package behind one of a machine's links.
    #[must_use]
    pub fn profile(&self, name: &Name, link: &str) -> Option<Profile> {
        Some(Profile::of(&reader(&self.package(name, link)?)))
    }

    fn generations(&self, name: &Name) -> Result<Vec<Generation>, HostError> {
        let at = self.packages(name);
        // What lies behind a link, or in a directory of somebody else, is no package of ours.
        if is_foreign(&at) || at.is_symlink() {
            return Ok(Vec::new());
        }
        let entries = match fs::read_dir(&at) {
            Ok(entries) => entries,
            Err(error) if is_none(&error) => return Ok(Vec::new()),
            Err(error) => return Err(HostError::io("read", at)(error)),
        };
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Packages are dated to the beginning of time; the change of the inode is their own.
            let since = entry
                .metadata()
                .map_or(0, |it| it.ctime().saturating_mul(1_000_000_000) + it.ctime_nsec());
            found.push(Generation { name, since });
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}
