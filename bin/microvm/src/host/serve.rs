// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Makes the directories that a machine's daemons serve, where they are missing.
//!
//! Root does so, below a directory in which the hypervisor's account may put names: no link is
//! followed on the way, so that what is made is where the description says. The directory stays
//! root's, with the right to write for the group: the daemon that serves it is root, and its owner
//! could put a link in its place.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, mkdirat, openat};
use rustix::io::Errno;

use super::change::CURRENT;
use super::hands::make;
use super::{Host, HostError, Name};

/// Who is in the group may write there, too.
const SERVED_MODE: Mode = Mode::from_raw_mode(0o775);
/// What is made on the way there.
const WAY_MODE: Mode = Mode::from_raw_mode(0o755);

impl Host<'_> {
    /// Makes what is missing of the directories that the current package of `name` serves.
    ///
    /// # Errors
    /// A path leads out of the machine's directory, or through a link; the system refused.
    pub fn serve(&self, name: &Name) -> Result<(), HostError> {
        let Some(profile) = self.profile(name, CURRENT) else { return Ok(()) };
        for source in &profile.served {
            let source = Path::new(source);
            let (from, way) = match source.strip_prefix(&self.settings.state_dir) {
                _ if !source.is_absolute() => (self.directory(name), source),
                Ok(way) => (self.state(), way),
                // Elsewhere nobody but administrators puts links.
                Err(_) => {
                    let parent = self.root.join(source.parent().unwrap_or(source));
                    make(&parent)?;
                    (parent, Path::new(source.file_name().unwrap_or_default()))
                }
            };
            let path = from.join(way);
            let user = self.user();
            let is_users = || path.symlink_metadata().is_ok_and(|it| Some(it.uid()) == user);
            if !path.exists() || is_users() {
                self.make_served(&from, way, &path)?;
            }
        }
        Ok(())
    }

    fn make_served(&self, from: &Path, way: &Path, path: &Path) -> Result<(), HostError> {
        let at = |errno: Errno| HostError::io("create", path)(errno.into());
        let mut directory = enter(CWD, from).map_err(at)?;
        for component in way.components() {
            directory = match component {
                Component::Normal(step) => match enter(&directory, Path::new(step)) {
                    Err(Errno::NOENT) => {
                        mkdirat(&directory, step, WAY_MODE).map_err(at)?;
                        enter(&directory, Path::new(step)).map_err(at)?
                    }
                    entered => entered.map_err(at)?,
                },
                Component::CurDir => continue,
                _ => {
                    let text = format!("{} is not made: it goes back by '..'", path.display());
                    return Err(HostError::Bad(text));
                }
            };
        }
        if let Some(group) = self.group() {
            match fchown(&directory, Some(Uid::ROOT), Some(Gid::from_raw(group))) {
                Ok(()) | Err(Errno::PERM) => {}
                Err(errno) => return Err(at(errno)),
            }
        }
        fchmod(&directory, SERVED_MODE).map_err(at)
    }
}

/// Opens the directory `step` of another, if it is no link.
fn enter(directory: impl AsFd, step: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    openat(directory, step, flags, Mode::empty())
}
