// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is there of a machine, as a value.
//!
//! Pure: `look` makes it from the disk, [`super::change`] decides by it.

use std::fmt;

/// What tells two packages apart: the hash of ours; of another tool's, the directory of the system
/// in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(String);

impl Id {
    /// The identity with this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The whole of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What people see: the first eight characters.
    #[must_use]
    pub fn short(&self) -> String {
        self.0.chars().take(8).collect()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A link to a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it leads, as written in it.
    pub target: String,
    /// The package there; `None` when there is none.
    pub package: Option<Id>,
}

/// A directory in which a package is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its name: sixteen digits of the hash, if it is whole; leftovers have others.
    pub name: String,
    /// When it got there, in nanoseconds; only the order counts.
    pub since: i64,
}

impl Generation {
    /// Whether this is a package, and not what a killed process left.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.name.len() == 16 && self.name.bytes().all(|c| c.is_ascii_hexdigit())
    }
}

/// What is there of a machine. The default is: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its directory.
    pub directory: bool,
    /// The package of the next start.
    pub current: Option<Link>,
    /// The package that runs.
    pub booted: Option<Link>,
    /// The package that was current before.
    pub old: Option<Link>,
    /// What lies where packages are kept.
    pub generations: Vec<Generation>,
    /// Where its description is.
    pub source: Option<String>,
    /// Whether `host apply` manages it.
    pub declarative: bool,
    /// Whether it is marked to start at boot.
    pub autostart: bool,
    /// Whether a change may not have reached the service manager.
    pub pending: bool,
    /// The drop-in of its unit.
    pub drop_in: Option<String>,
    /// Other names in its directory: disk images, sockets.
    pub data: Vec<String>,
    /// Names of ours that somebody else has put there; they do not count.
    pub foreign: Vec<String>,
}

impl Seen {
    /// Whether there is a machine: what a creation that was cut short left is none.
    #[must_use]
    pub const fn is_machine(&self) -> bool {
        self.current.is_some()
    }

    /// The package of the next start, if it can be read.
    #[must_use]
    pub fn current_id(&self) -> Option<&Id> {
        self.current.as_ref()?.package.as_ref()
    }

    /// The package that runs, if it can be read.
    #[must_use]
    pub fn booted_id(&self) -> Option<&Id> {
        self.booted.as_ref()?.package.as_ref()
    }
}
