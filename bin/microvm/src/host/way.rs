// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The way from a machine's link to its package, of which every step must be root's.
//!
//! A hypervisor may write into its machine's directory, and in a share of a machine a guest may
//! make files of root's. So it is not enough whose a link is: inside of the directory a package is
//! in `gen` and nowhere else, and outside nobody but root may have made a step of the way.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::change::GENERATIONS;
use super::look::is_foreign;
use super::{Host, HostError, Name};

/// As many links as the kernel follows on one way.
const LINKS_MAX: usize = 40;
/// Who makes a name in a directory with this bit cannot take away those of others.
const STICKY: u32 = 0o1000;

impl Host<'_> {
    /// Goes the way of one of a machine's links; it is no error if it ends early.
    ///
    /// # Errors
    /// A step belongs to somebody who must not decide what is run.
    pub(super) fn way(&self, name: &Name, link: &str) -> Result<(), HostError> {
        let at = self.directory(name);
        let path = at.join(link);
        if is_foreign(&path) {
            return Err(HostError::Foreign(path));
        }
        let Ok(target) = fs::read_link(&path) else { return Ok(()) };
        let packages = self.packages(name);
        if target.is_absolute() {
            let end = self.walk(&self.root.join(&target))?;
            let state = self.state();
            let state = state.canonicalize().unwrap_or(state);
            let packages = packages.canonicalize().unwrap_or(packages);
            let is_kept = !end.starts_with(&state) || end.parent() == Some(&packages);
            return if is_kept { Ok(()) } else { Err(HostError::Astray(path)) };
        }
        let mut steps = target.components();
        let is_generation = steps.next() == Some(Component::Normal(GENERATIONS.as_ref()))
            && matches!(steps.next(), Some(Component::Normal(_)))
            && steps.next().is_none();
        let generations = at.join(GENERATIONS);
        if !is_generation || generations.is_symlink() {
            return Err(HostError::Astray(path));
        }
        for step in [generations, at.join(target)] {
            let found = step.symlink_metadata();
            if found.is_ok_and(|found| !self.is_roots(&found)) {
                return Err(HostError::Foreign(step));
            }
        }
        Ok(())
    }

    /// Goes an absolute way over links, as the kernel would; where it ends.
    fn walk(&self, path: &Path) -> Result<PathBuf, HostError> {
        let mut left: Vec<OsString> = steps(path).collect();
        let (mut at, mut links) = (PathBuf::from("/"), 0);
        while let Some(step) = left.pop() {
            if step == ".." {
                at.pop();
                continue;
            }
            at.push(step);
            let Ok(found) = at.symlink_metadata() else { continue };
            if !self.is_roots(&found) || links > LINKS_MAX {
                return Err(HostError::Foreign(at));
            }
            if found.is_symlink() {
                links += 1;
                let target = fs::read_link(&at).map_err(HostError::io("read", &at))?;
                at.pop();
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                left.extend(steps(&target));
            }
        }
        Ok(at)
    }

    /// Whether nobody else than root, or whoever asks, has made it or can exchange what is in it.
    fn is_roots(&self, found: &Metadata) -> bool {
        let own = rustix::process::geteuid().as_raw();
        let group = if Some(found.gid()) == self.group() { 0o020 } else { 0 };
        let is_open = found.is_dir() && found.mode() & (0o002 | group) != 0;
        [0, own].contains(&found.uid()) && (!is_open || found.mode() & STICKY != 0)
    }
}

/// The steps of a path, the last first.
fn steps(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    let is_step = |it: &Component<'_>| matches!(it, Component::Normal(_) | Component::ParentDir);
    path.components().rev().filter(is_step).map(|it| it.as_os_str().to_owned())
}
