// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What goes wrong on a host, and with which status a command ends for it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use plinth::err::{FAILED, USAGE};

use super::name::Name;
use crate::cli::{CONFLICT, INVALID, NO_PROGRAM, NOT_FOUND, TIMED_OUT};
use crate::diag::Diagnostic;
use crate::package::StoreError;

/// Why something could not be done to a machine.
#[derive(Debug)]
pub enum HostError {
    /// A word that can name no machine.
    BadName(String),
    /// There is no such machine.
    NotFound(Name),
    /// Its link to the package of the next start leads nowhere.
    NoPackage(Name),
    /// There is such a machine already.
    Exists(Name),
    /// `host apply` manages it.
    Declarative(Name),
    /// It runs.
    Running(Name),
    /// It does not run.
    NotRunning(Name),
    /// Another command works on it.
    Locked(Name),
    /// Another command takes an image.
    ImagesLocked,
    /// It has no description here.
    NoSource(Name),
    /// Something that decides what root runs is not root's.
    Foreign(PathBuf),
    /// A link that decides what root runs leads to where no packages are kept.
    Astray(PathBuf),
    /// Its description has no machine of this name.
    NotDescribed(Name, PathBuf),
    /// It has no earlier package.
    NoOld(Name),
    /// It has nothing to connect to; says what the description lacks.
    Lacks(Name, &'static str),
    /// It has no volume with this image.
    NoVolume(Name, String),
    /// There is no such image.
    NoImage(PathBuf),
    /// A program is not installed.
    NoProgram(String, &'static str),
    /// A program ended in error: which, and its last words.
    Failed(String, String),
    /// It took too long.
    TimedOut(String),
    /// A package could not be read or written.
    Store(StoreError),
    /// An operation on a file failed.
    Io(&'static str, PathBuf, io::Error),
    /// The machine cannot be beside another one of this host.
    Refused(Box<Diagnostic>),
    /// Something from outside is not what it should be.
    Bad(String),
}

impl HostError {
    /// The exit status of a command that ends with it.
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::BadName(_) => USAGE,
            Self::NotFound(_)
            | Self::NoPackage(_)
            | Self::NotDescribed(..)
            | Self::NoSource(_)
            | Self::NoOld(_)
            | Self::NoVolume(..)
            | Self::NoImage(_) => NOT_FOUND,
            Self::Exists(_)
            | Self::Declarative(_)
            | Self::Running(_)
            | Self::Locked(_)
            | Self::ImagesLocked => CONFLICT,
            Self::Refused(_) => INVALID,
            Self::NoProgram(..) => NO_PROGRAM,
            Self::TimedOut(_) => TIMED_OUT,
            _ => FAILED,
        }
    }

    /// Makes an error of `what` on `path`.
    pub fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io(what, path, error)
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(word) => {
                write!(f, "{} is no name of a machine", plinth::text::quote(word))
            }
            Self::NotFound(name) => write!(f, "there is no MicroVM {name}"),
            Self::NoPackage(name) => write!(
                f,
                "the package of MicroVM {name} is gone; microvm update {name} makes it anew"
            ),
            Self::Exists(name) => write!(f, "{name} exists already"),
            Self::Declarative(name) => write!(
                f,
                "{name} is managed declaratively; edit /etc/microvm/vms.d/{name}.toml and run \
                 microvm host apply"
            ),
            Self::Running(name) => write!(f, "MicroVM {name} is running"),
            Self::NotRunning(name) => write!(f, "MicroVM {name} is not running"),
            Self::Locked(name) => write!(f, "another command works on {name}"),
            Self::ImagesLocked => f.write_str("another command takes an image"),
            Self::NoSource(name) => write!(f, "{name} has no description on this host"),
            Self::Foreign(path) => write!(
                f,
                "{} belongs neither to root nor to you, and would decide what you run; remove it \
                 or give it to root",
                path.display()
            ),
            Self::Astray(path) => {
                write!(f, "{} leads to where no packages are kept", path.display())
            }
            Self::NotDescribed(name, path) => {
                write!(f, "{} describes no machine {name}", path.display())
            }
            Self::NoOld(name) => write!(f, "{name} has no earlier package"),
            Self::Lacks(name, what) => write!(f, "MicroVM {name} has no {what}"),
            Self::NoVolume(name, image) => write!(f, "MicroVM {name} has no volume {image}"),
            Self::NoImage(path) => write!(f, "there is no image {}", path.display()),
            Self::NoProgram(program, why) => write!(f, "{program} not found, needed {why}"),
            Self::Failed(program, said) if said.is_empty() => write!(f, "{program} failed"),
            Self::Failed(program, said) => write!(f, "{program} failed: {said}"),
            Self::TimedOut(what) => write!(f, "{what} took too long"),
            Self::Store(error) => error.fmt(f),
            Self::Io(what, path, _) => write!(f, "cannot {what} {}", path.display()),
            Self::Refused(it) => write!(f, "error[{}]: {}", it.code, it.message),
            Self::Bad(text) => f.write_str(text),
        }
    }
}

impl Error for HostError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(_, _, error) => Some(error),
            Self::Store(error) => error.source(),
            _ => None,
        }
    }
}

impl From<StoreError> for HostError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
