// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The packages of a host: which machines there are, what each is to be at its next start, what
//! runs.
//!
//! Owns the state directory (`/var/lib/microvms`), the units, and starting and stopping with a
//! service manager or without. Decisions are pure: [`change`] (what to do to a machine), [`list`]
//! (what to say of it), [`apply`] (what the declared machines come to), [`turns`] (in which order),
//! [`units`] and [`generator`] (texts). [`Host`] looks and acts. How a description becomes a
//! package is told to it, as a [`Builder`].

mod account;
pub mod apply;
pub mod change;
mod deploy;
mod difference;
mod doctor;
mod error;
mod filesystem;
pub mod generator;
mod hands;
mod images;
mod install;
pub mod list;
mod look;
mod name;
mod own;
mod process;
pub mod profile;
pub mod seen;
mod serve;
mod service;
pub mod settings;
mod ssh;
#[cfg(test)]
mod tests;
pub mod turns;
pub mod units;
mod volume;
mod way;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plinth::err::{Failure, tell};
use plinth::file::{Lock, Root};
use plinth::time::{Time, pause};

use crate::package::Tree;
pub use deploy::{Deployment, import};
pub(crate) use deploy::{pack, path_in};
pub use difference::{Difference, difference};
pub use doctor::{Finding, Level, doctor};
pub use error::HostError;
pub use hands::Hands;
pub(crate) use images::hash_of;
pub(crate) use install::prepare;
pub use install::{Marks, Written, built, built_if_meant, install, install_anyway};
pub use name::Name;
pub(crate) use service::become_program;
pub use service::{Activity, Manager};
use settings::Settings;
pub use ssh::{Target, has_proxy, words as ssh_words};
pub use volume::{Growth, grow};

/// How long between two looks at a lock.
const LOOK: Duration = Duration::from_millis(50);
/// How long another command may take that works on a machine: the growth of a file system.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(600);

/// A package that was made from a description.
#[derive(Clone, Debug)]
pub struct Built {
    /// The machine's name in the description.
    pub name: String,
    /// Its files.
    pub tree: Tree,
    /// Warnings, each a line.
    pub warnings: Vec<String>,
}

/// What is asked for besides a description.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `KEY=VALUE` over the description.
    pub set: Vec<String>,
    /// The path of this program where the package will be; by default that of the running one.
    pub helper: Option<String>,
    /// Whether the description is one of those that `host apply` manages.
    pub declarative: bool,
}

/// Makes packages from the description at a path.
pub type Builder<'a> = dyn Fn(&Path, &Request) -> Result<Vec<Built>, Failure> + Sync + 'a;

/// A host.
pub struct Host<'a> {
    /// The directory that stands for `/`.
    pub root: Root,
    /// Its settings.
    pub settings: Settings,
    /// The absolute path of this program, for units.
    pub program: String,
    /// Who starts and stops.
    pub manager: Manager,
    /// A directory whose programs go before those on `PATH`; for tests.
    pub tools: Option<PathBuf>,
    /// Makes packages.
    pub build: &'a Builder<'a>,
    /// Called behind each change to the disk.
    pub after_action: &'a dyn Fn(),
}

/// Tells what is odd and was got over.
fn warn(text: &str) {
    tell(format_args!("microvm: {}", plinth::text::escape_control(text)));
}

impl Host<'_> {
    /// The directory with all machines.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join(&self.settings.state_dir)
    }

    /// The directory of a machine.
    #[must_use]
    pub fn directory(&self, name: &Name) -> PathBuf {
        self.state().join(name.as_str())
    }

    /// Where packages of a machine are kept.
    #[must_use]
    pub fn packages(&self, name: &Name) -> PathBuf {
        match &self.settings.package_dir {
            Some(directory) => self.root.join(directory).join(name.as_str()),
            None => self.directory(name).join(change::GENERATIONS),
        }
    }

    /// What a link to a package says.
    #[must_use]
    pub fn target(&self, name: &Name, generation: &str) -> String {
        match &self.settings.package_dir {
            Some(directory) => format!("{directory}/{name}/{generation}"),
            None => format!("{}/{generation}", change::GENERATIONS),
        }
    }

    /// A program, to be started.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let own = self.tools.as_ref().map(|tools| tools.join(program)).filter(|path| path.exists());
        Command::new(own.map_or_else(|| OsString::from(program), PathBuf::into_os_string))
    }

    /// Keeps other commands away from a machine as long as it is held.
    ///
    /// # Errors
    /// Another command holds it; the directory is missing.
    pub fn lock(&self, name: &Name) -> Result<Lock, HostError> {
        let path = self.directory(name).join(change::LOCK);
        match Lock::try_exclusive(&path) {
            Ok(Some(lock)) => Ok(lock),
            Ok(None) => Err(HostError::Locked(name.clone())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(HostError::NotFound(name.clone()))
            }
            Err(error) => Err(HostError::io("lock", path)(error)),
        }
    }

    /// As [`Host::lock`], and waits as long as `patience` says for another command to end.
    ///
    /// # Errors
    /// As there.
    pub fn lock_within(&self, name: &Name, patience: Duration) -> Result<Lock, HostError> {
        let deadline = Time::monotonic() + patience;
        loop {
            match self.lock(name) {
                Err(HostError::Locked(_)) if Time::monotonic() < deadline => pause(LOOK),
                done => return done,
            }
        }
    }

    /// Whether our units are installed, so that drop-ins have something to add to.
    #[must_use]
    pub fn has_units(&self) -> bool {
        self.root.exists(format!("{}/microvm@.service", units::UNITS))
    }

    /// The drop-in that a package wants on this host.
    #[must_use]
    pub fn drop_in(&self, profile: &profile::Profile) -> Option<String> {
        self.has_units().then(|| units::drop_in(&self.settings, profile))
    }
}
