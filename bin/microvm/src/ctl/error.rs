// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why a hypervisor could not be talked to.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use plinth::err::{FAILED, Failure, USAGE};
use plinth::text::quote;

use crate::cli::{NO_PROGRAM, TIMED_OUT};

/// Why a hypervisor could not be talked to.
#[derive(Debug)]
#[non_exhaustive]
pub enum CtlError {
    /// Nobody listens on the socket, or it cannot be reached.
    Connect(PathBuf, io::Error),
    /// The system refused an operation.
    Io(&'static str, io::Error),
    /// The peer closed the connection before it had answered.
    Closed,
    /// The peer said something that the protocol does not have.
    Malformed(&'static str),
    /// A message was longer than any that the protocol needs.
    TooLong,
    /// The hypervisor refused, in its own words.
    Refused(String),
    /// It did not happen in time.
    TimedOut(&'static str),
    /// A program is not installed.
    NoProgram(String),
    /// The hypervisor has no such operation.
    Unsupported(String, &'static str),
}

impl CtlError {
    /// The exit status that stands for it.
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::TimedOut(_) => TIMED_OUT,
            Self::NoProgram(_) => NO_PROGRAM,
            Self::Unsupported(..) => USAGE,
            _ => FAILED,
        }
    }

    /// Makes an error of `what`, which the system refused.
    pub(crate) fn io<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Io(what, error.into())
    }
}

impl fmt::Display for CtlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(path, _) => write!(f, "cannot connect to {}", path.display()),
            Self::Io(what, _) => write!(f, "cannot {what}"),
            Self::Closed => f.write_str("the hypervisor closed the connection without an answer"),
            Self::Malformed(what) => write!(f, "the hypervisor's answer is not {what}"),
            Self::TooLong => f.write_str("the hypervisor's answer is too long"),
            Self::Refused(words) => write!(f, "the hypervisor refused: {words}"),
            Self::TimedOut(what) => write!(f, "timed out while {what}"),
            Self::NoProgram(name) => write!(f, "{name} not found"),
            Self::Unsupported(hypervisor, what) => {
                write!(f, "{} has no {what}", quote(hypervisor))
            }
        }
    }
}

impl Error for CtlError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect(_, error) | Self::Io(_, error) => Some(error),
            _ => None,
        }
    }
}

impl CtlError {
    /// What `main` reports, with the status that stands for the error.
    #[must_use]
    pub fn failure(self) -> Failure {
        Failure::new(self.status(), self)
    }
}
