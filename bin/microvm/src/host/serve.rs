// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Makes the directories that a machine's daemons serve, where they are missing.
//!
//! Root does so, below a directory in which the hypervisor's account may put names: no link is
//! followed on the way, so that what is made and given away is where the description says.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, mkdirat, openat};
use rustix::io::Errno;

use super::change::CURRENT;
use super::hands::make;
use super::{Host, HostError, Name};

/// The group may write, as its daemons do.
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
            if !path.exists() {
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
        fchmod(&directory, SERVED_MODE).map_err(at)?;
        let (Some(user), Some(group)) = (self.user(), self.group()) else { return Ok(()) };
        fchown(&directory, Some(Uid::from_raw(user)), Some(Gid::from_raw(group))).map_err(at)
    }
}

/// Opens the directory `step` of another, if it is no link.
fn enter(directory: impl AsFd, step: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    openat(directory, step, flags, Mode::empty())
}
