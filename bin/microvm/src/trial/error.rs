// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why a machine did not do what it should.

use std::error::Error;
use std::fmt;
use std::io;

/// What went wrong with a machine on trial.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrialError {
    /// Something of this host's: what was done, and why it failed.
    Io(String, io::Error),
    /// The package is not what it should be.
    Package(String),
    /// Somebody listens on these ports already.
    Ports(Vec<u16>),
    /// It did not happen in time.
    TimedOut(String),
    /// The machine ended before it happened.
    Ended(String),
    /// A server in the guest answered, but not what it should.
    Answer(String),
}

impl fmt::Display for TrialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(what, _) => write!(f, "cannot {what}"),
            Self::Package(text) => f.write_str(text),
            Self::Ports(ports) => {
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                write!(f, "ports in use: {}", ports.join(", "))
            }
            Self::TimedOut(what) => write!(f, "timed out waiting for {what}"),
            Self::Ended(what) => write!(f, "the machine ended before {what}"),
            Self::Answer(text) => f.write_str(text),
        }
    }
}

impl Error for TrialError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            _ => None,
        }
    }
}
