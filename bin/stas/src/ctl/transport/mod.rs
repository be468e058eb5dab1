// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a client reaches its daemon: over the message bus, or over the daemon's control socket.
//!
//! Owns the choice between the two and the common form of their failures. A client tries the bus
//! first; a daemon that is not on the bus, or no bus at all, leads to the socket. Every call has a
//! deadline: a daemon that hangs is reported, never waited for without end.

mod bus;
mod socket;

use std::error::Error;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

pub use self::bus::Bus;
pub use self::socket::Socket;
use crate::core::control::{ACCESS_DENIED, Call, STACD_SOCKET, STAFD_SOCKET, UNKNOWN_METHOD};

/// What daemons answer that lack something.
const UNKNOWN: [&str; 2] = [UNKNOWN_METHOD, "org.freedesktop.DBus.Error.UnknownInterface"];

/// How the bus is called in messages.
const BUS_WAY: &str = "D-Bus";

/// A daemon, as its clients know it.
#[derive(Debug)]
pub struct Daemon {
    /// Its program.
    pub name: &'static str,
    /// Its name on the bus, which is also the name of its interface.
    pub bus_name: &'static str,
    /// Its object.
    pub object: &'static str,
    /// The interface for debugging.
    pub debug: &'static str,
    /// Its control socket.
    pub socket: &'static str,
}

/// The finder.
pub static STAFD: Daemon = Daemon {
    name: "stafd",
    bus_name: "org.nvmexpress.staf",
    object: "/org/nvmexpress/staf",
    debug: "org.nvmexpress.staf.debug",
    socket: STAFD_SOCKET,
};

/// The connector.
pub static STACD: Daemon = Daemon {
    name: "stacd",
    bus_name: "org.nvmexpress.stac",
    object: "/org/nvmexpress/stac",
    debug: "org.nvmexpress.stac.debug",
    socket: STACD_SOCKET,
};

/// Why a daemon did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Nobody is there.
    NotRunning {
        /// The daemon's program.
        daemon: &'static str,
        /// Where it was looked for.
        way: String,
    },
    /// The caller may not do that.
    Denied {
        /// The daemon's program.
        daemon: &'static str,
        /// Who said so, and how.
        text: String,
    },
    /// The daemon answered with an error.
    Refused {
        /// The daemon's program.
        daemon: &'static str,
        /// Name of the error, as on the bus.
        name: String,
        /// What the daemon says about it.
        text: String,
    },
    /// No answer came in time.
    Silent {
        /// The daemon's program.
        daemon: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// The connection failed, or what came over it made no sense.
    Broken {
        /// The daemon's program.
        daemon: &'static str,
        /// In what way.
        text: String,
    },
}

impl CallError {
    /// An error reply, told apart by its name.
    fn from_reply(daemon: &'static str, name: String, text: String) -> Self {
        if name == ACCESS_DENIED {
            return Self::Denied { daemon, text };
        }
        Self::Refused { daemon, name, text }
    }

    /// Does the daemon lack the method? (Older daemons lack newer members.)
    #[must_use]
    pub fn is_unknown_method(&self) -> bool {
        matches!(self, Self::Refused { name, .. } if UNKNOWN.contains(&name.as_str()))
    }

    /// May the same succeed once a daemon (or a new one) is there?
    #[must_use]
    pub const fn is_absence(&self) -> bool {
        matches!(self, Self::NotRunning { .. } | Self::Broken { .. } | Self::Silent { .. })
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Scripts look for these words.
            Self::NotRunning { daemon, way } => {
                write!(f, "Unable to communicate with {daemon} over {way}. Is {daemon} running?")
            }
            Self::Denied { daemon, text } => {
                write!(f, "access denied, root is needed ({daemon}: {text})")
            }
            Self::Refused { daemon, name, text } => write!(f, "{daemon} answered {name}: {text}"),
            Self::Silent { daemon, limit } => {
                write!(f, "no answer from {daemon} within {} s", limit.as_secs_f64())
            }
            Self::Broken { daemon, text } => write!(f, "connection to {daemon} failed: {text}"),
        }
    }
}

impl Error for CallError {}

/// An open way to a daemon.
pub trait Connection {
    /// Asks, and waits for the answer, at most for `limit`. The answer has the form that
    /// [`crate::core::control`] describes, whatever the way.
    ///
    /// # Errors
    /// See [`CallError`].
    fn call(&mut self, call: &Call, limit: Duration) -> Result<Value, CallError>;

    /// Asks for signals: from now on [`Connection::fd`], where there is one, becomes readable when
    /// something happens.
    ///
    /// # Errors
    /// See [`CallError`].
    fn subscribe(&mut self, limit: Duration) -> Result<(), CallError>;

    /// What to poll for reading; nothing for a way without signals.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// Takes in what can be read without waiting: was a signal among it?
    ///
    /// # Errors
    /// The connection is gone.
    fn take_signals(&mut self) -> Result<bool, CallError>;

    /// The daemon's process, where it can be known.
    fn peer(&mut self) -> Option<u32>;
}

/// Opens a way to `daemon` within `limit`: over `socket` where one is given, else over the bus,
/// else over the daemon's own socket.
///
/// # Errors
/// See [`CallError`]; where both ways fail, the error of the one that got further.
pub fn open(
    daemon: &'static Daemon,
    socket: Option<&Path>,
    limit: Duration,
) -> Result<Box<dyn Connection>, CallError> {
    if let Some(path) = socket {
        return Ok(Box::new(Socket::connect(daemon.name, path)?));
    }
    match Bus::connect(daemon, limit) {
        Ok(bus) => Ok(Box::new(Either { daemon, way: Box::new(bus), is_sure: false })),
        Err(absent) => instead(daemon, absent),
    }
}

/// The daemon's own socket, where `absent` is what the bus says.
fn instead(daemon: &'static Daemon, absent: CallError) -> Result<Box<dyn Connection>, CallError> {
    match Socket::connect(daemon.name, Path::new(daemon.socket)) {
        Ok(socket) => Ok(Box::new(socket)),
        // The bus is where people look first.
        Err(CallError::NotRunning { .. }) => Err(absent),
        Err(error) => Err(error),
    }
}

/// The bus as long as the daemon is on it, which the first answer shows: asking the bus beforehand
/// would cost every command one more round.
struct Either {
    daemon: &'static Daemon,
    way: Box<dyn Connection>,
    /// The daemon was met there.
    is_sure: bool,
}

impl Either {
    /// Does `what`; when that shows that the daemon is not on the bus, again over its socket.
    fn try_both<T>(
        &mut self,
        mut what: impl FnMut(&mut dyn Connection) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        match what(self.way.as_mut()) {
            Err(absent @ CallError::NotRunning { .. }) if !self.is_sure => {
                self.way = instead(self.daemon, absent)?;
                self.is_sure = true;
                what(self.way.as_mut())
            }
            result => {
                self.is_sure |= !matches!(result, Err(CallError::NotRunning { .. }));
                result
            }
        }
    }
}

impl Connection for Either {
    fn call(&mut self, call: &Call, limit: Duration) -> Result<Value, CallError> {
        self.try_both(|way| way.call(call, limit))
    }

    fn subscribe(&mut self, limit: Duration) -> Result<(), CallError> {
        self.try_both(|way| way.subscribe(limit))
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.way.fd()
    }

    fn take_signals(&mut self) -> Result<bool, CallError> {
        self.way.take_signals()
    }

    fn peer(&mut self) -> Option<u32> {
        self.way.peer()
    }
}

#[cfg(test)]
mod tests;
