// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Carries actions out.
//!
//! Every change of a link or file is one rename, made durable before the next action begins.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use plinth::file::{put_atomic, replace_atomic};
use rustix::fs::{CWD, Gid, RenameFlags, Uid, chown, renameat_with};

use super::change::{Action, CURRENT, GENERATIONS, OLD};
use super::look::is_foreign;
use super::{Host, HostError, Manager, Name, units};
use crate::package::{Place, StoreError, Tree};

/// Set-group-ID and sticky: what the hypervisor makes there belongs to the group, and what root put
/// there is safe from it.
const DIRECTORY_MODE: u32 = 0o3775;
/// The directory of all machines: what is made there belongs to the group, but only root makes
/// something there. Whoever could would make machines of their own, whose scripts run as root.
const STATE_MODE: u32 = 0o2755;
/// A package on its way out.
const TRASH: &str = "trash-";

/// Does to one machine what was decided.
pub struct Hands<'a> {
    host: &'a Host<'a>,
    name: &'a Name,
}

impl<'a> Hands<'a> {
    /// Those for the machine `name`.
    #[must_use]
    pub fn new(host: &'a Host<'a>, name: &'a Name) -> Self {
        Self { host, name }
    }

    /// Carries out `actions` in their order; `tree` is the package that they speak of.
    ///
    /// # Errors
    /// The first that failed. What was done stays; the same change later does the rest.
    pub fn carry_out(&self, actions: &[Action], tree: Option<&Tree>) -> Result<(), HostError> {
        for action in actions {
            self.act(action, tree)?;
            (self.host.after_action)();
        }
        Ok(())
    }

    fn act(&self, action: &Action, tree: Option<&Tree>) -> Result<(), HostError> {
        let at = self.host.directory(self.name);
        match action {
            Action::MakeDirectory => self.make_directory(&at),
            Action::WritePackage(generation) => {
                let packages = self.make_packages(&at)?;
                tree.map_or(Ok(()), |tree| write(&packages, generation, tree))
            }
            Action::WriteFile(name, text) => {
                let text = if text.is_empty() { String::new() } else { format!("{text}\n") };
                let path = at.join(name);
                put_atomic(&path, text.as_bytes(), 0o644).map_err(HostError::io("write", path))
            }
            // A directory of that name is somebody else's, and no mark or link.
            Action::Remove(name) if is_directory(&at.join(name)) => Ok(()),
            Action::Remove(name) => remove_file(&at.join(name)),
            Action::Link(name, target) => link(&at, name, target),
            Action::Exchange => exchange(&at),
            Action::WriteDropIn(text) => {
                let path = self.host.root.join(units::drop_in_path(&self.name.unit()));
                make(path.parent().unwrap_or(&at))?;
                replace_atomic(&path, text.as_bytes(), 0o644).map_err(HostError::io("write", path))
            }
            Action::RemoveDropIn => {
                let path = self.host.root.join(units::drop_in_path(&self.name.unit()));
                remove_file(&path)?;
                // Others may have drop-ins there too.
                path.parent().map_or(Ok(()), |directory| match fs::remove_dir(directory) {
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                        Err(HostError::io("remove", directory)(error))
                    }
                    _ => Ok(()),
                })
            }
            Action::Reload => match self.host.manager {
                Manager::Systemd => self.host.reload(),
                Manager::Own => Ok(()),
            },
            Action::RemoveGeneration(name) => discard(&self.host.packages(self.name), name),
            Action::RemoveData(name) => remove_tree(&at.join(name)),
            Action::RemoveDirectory => {
                if self.host.settings.package_dir.is_some() {
                    remove_tree(&self.host.packages(self.name))?;
                }
                remove_tree(&at)
            }
        }
    }

    fn make_directory(&self, at: &Path) -> Result<(), HostError> {
        self.host.make_state()?;
        make(at)?;
        // What decides is there before anybody else may make names.
        self.make_packages(at)?;
        self.host.own(at, DIRECTORY_MODE)
    }

    /// Makes the directory of packages; what somebody else has put in its place is none.
    fn make_packages(&self, at: &Path) -> Result<PathBuf, HostError> {
        let packages = self.host.packages(self.name);
        for path in [at.join(GENERATIONS), packages.clone()] {
            make(path.parent().unwrap_or(at))?;
            match DirBuilder::new().mode(0o755).create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => made.map_err(HostError::io("create", &path))?,
            }
            let is_directory = path.symlink_metadata().is_ok_and(|it| it.is_dir());
            if !is_directory || is_foreign(&path) {
                return Err(HostError::Foreign(path));
            }
        }
        Ok(packages)
    }
}

impl Host<'_> {
    /// Makes the directory with all machines, where there is none.
    pub(super) fn make_state(&self) -> Result<(), HostError> {
        if self.state().is_dir() { Ok(()) } else { self.own_state() }
    }

    /// Makes the directory with all machines, or mends its owner and mode.
    ///
    /// # Errors
    /// The system refused.
    pub fn own_state(&self) -> Result<(), HostError> {
        let state = self.state();
        make(&state)?;
        self.own(&state, STATE_MODE)
    }

    /// Gives a directory to the group of the hypervisors, where there is such a group.
    fn own(&self, path: &Path, mode: u32) -> Result<(), HostError> {
        if let Some(group) = self.group() {
            let changed = chown(path, Some(Uid::ROOT), Some(Gid::from_raw(group)));
            match changed {
                Ok(()) | Err(rustix::io::Errno::PERM) => {}
                Err(error) => return Err(HostError::io("change the group of", path)(error.into())),
            }
        }
        let mode = Permissions::from_mode(mode);
        fs::set_permissions(path, mode).map_err(HostError::io("change the mode of", path))
    }
}

pub(super) fn make(path: &Path) -> Result<(), HostError> {
    let mut builder = DirBuilder::new();
    // Whatever the mask is: who can write there decides what root runs.
    builder.recursive(true).mode(0o755).create(path).map_err(HostError::io("create", path))
}

pub(super) fn sync(directory: &Path) -> Result<(), HostError> {
    File::open(directory)
        .and_then(|it| it.sync_all())
        .map_err(HostError::io("synchronise", directory))
}

/// Makes the link `name` in `at` lead to `target`, in one step.
pub(super) fn link(at: &Path, name: &str, target: &str) -> Result<(), HostError> {
    // Nobody can guess the name and put something in the way.
    let draft = at.join(format!(".{name}.{}.new", plinth::rand::uuid_v4()));
    symlink(target, &draft).map_err(HostError::io("create", &draft))?;
    let moved = fs::rename(&draft, at.join(name));
    if moved.is_err() {
        drop(fs::remove_file(&draft)); // the error that counts is the first
    }
    moved.map_err(HostError::io("rename", &draft))?;
    sync(at)
}

/// Swaps `current` and `old`.
fn exchange(at: &Path) -> Result<(), HostError> {
    let (current, old) = (at.join(CURRENT), at.join(OLD));
    match renameat_with(CWD, &current, CWD, &old, RenameFlags::EXCHANGE) {
        Ok(()) => sync(at),
        // The file system cannot swap: then what is current goes first, as the one that counts.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            let read = |path: &Path| {
                fs::read_link(path)
                    .map(|it| it.to_string_lossy().into_owned())
                    .map_err(HostError::io("read", path))
            };
            let (was, wanted) = (read(&current)?, read(&old)?);
            link(at, CURRENT, &wanted)?;
            link(at, OLD, &was)
        }
        Err(error) => Err(HostError::io("rename", current)(error.into())),
    }
}

/// Puts a package in its place. What has its name and another content is damaged, and goes: in one
/// step, unless it cannot even be read.
fn write(packages: &Path, name: &str, tree: &Tree) -> Result<(), HostError> {
    let place = Place(packages.join(name));
    if place.0.symlink_metadata().is_ok() && place.read().is_err() {
        discard(packages, name)?;
    }
    match place.write(tree, true) {
        // The file system cannot swap.
        Err(StoreError::Io(_, _, error))
            if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) =>
        {
            discard(packages, name)?;
            Ok(place.write(tree, false).map(drop)?)
        }
        written => Ok(written.map(drop)?),
    }
}

/// Removes a package: it loses its name first, so that none stays in part under its own.
fn discard(packages: &Path, name: &str) -> Result<(), HostError> {
    let path = packages.join(name);
    if name.starts_with(TRASH) {
        return remove_tree(&path);
    }
    let trash = packages.join(format!("{TRASH}{name}"));
    remove_tree(&trash)?;
    match fs::rename(&path, &trash) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(HostError::io("rename", path))?,
    }
    remove_tree(&trash)
}

pub(super) fn remove_file(path: &Path) -> Result<(), HostError> {
    gone(fs::remove_file(path)).map_err(HostError::io("remove", path))
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| it.is_dir())
}

fn remove_tree(path: &Path) -> Result<(), HostError> {
    let removed = if is_directory(path) { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    gone(removed).map_err(HostError::io("remove", path))
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
