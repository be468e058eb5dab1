// SPDX-License-Identifier: Apache-2.0 OR MIT
//! D-Bus without callbacks: serve objects, call others, follow names and signals, from one loop.
//!
//! [`Bus`] is one connection that looks after itself: it connects in the background, owns its name,
//! subscribes, and does all of it again after the bus was gone. The program watches one descriptor
//! for as long as the [`Bus`] lives and takes [`Event`]s:
//!
//! ```no_run
//! # use plinth::bus::{self, Bus, Event, Operation};
//! # use plinth::event::{Handler, Loop, Progress};
//! # struct Daemon { bus: Bus }
//! # impl Handler for Daemon {
//! # type Key = ();
//! fn ready(&mut self, lp: &mut Loop<()>, _key: ()) -> std::io::Result<Progress> {
//!     Ok(self.bus.ready(lp.now())) // for the descriptor Bus::fd, watched once at the start
//! }
//!
//! fn timer(&mut self, lp: &mut Loop<()>, _key: ()) -> std::io::Result<()> {
//!     self.bus.wake(lp.now());
//!     Ok(())
//! }
//!
//! fn settle(&mut self, lp: &mut Loop<()>) -> std::io::Result<()> {
//!     while let Some(event) = self.bus.next_event() {
//!         if let Event::Call(call) = event {
//!             match call.operation {
//!                 Operation::Method { name: "Echo", args } => self.bus.reply(call.id, &args),
//!                 _ => self.bus.fail(call.id, bus::error::FAILED, "not today"),
//!             }
//!         }
//!     }
//!     if let Some(at) = self.bus.next_wake() {
//!         lp.set_timer(at, ()); // a real program keeps the id and cancels the one before
//!     }
//!     Ok(())
//! }
//! # }
//! ```
//!
//! Owns the protocol above the socket; which calls exist is said by [`Object`] tables. An answer is
//! given whenever it is ready: a [`CallId`] stays valid until then, and is harmless after the
//! connection it came from is gone. Nothing blocks; command-line tools use [`client`], which does.
//!
//! Invariants: every call of ours ends in exactly one [`Event::Reply`]; every call that reached the
//! program names a member of its tables and carries arguments of the signature given there; all
//! queues are bounded by the constants of this module, and a flood waits in the socket.
//! Implements the D-Bus Specification, revision 0.38, by way of libdbus.

mod address;
pub mod client;
mod dispatch;
mod endpoint;
mod link;
mod machine;
mod object;
mod signature;
mod value;
mod wire;

use std::error::Error;
use std::fmt;

pub use address::Address;
pub use dispatch::{Operation, error};
pub use endpoint::{
    Bus, EVENT_BYTES_MAX, EVENTS_MAX, MESSAGES_PER_TURN, OUTGOING_MAX, SERVING_MAX,
    SERVING_PER_SENDER_MAX,
};
pub use machine::{CALLS_MAX, CREDENTIALS_WAIT_MAX, RECONNECT_STEPS, Token};
pub use object::{Access, Arg, Interface, Method, Object, Property, Signal};
pub use signature::{NESTING_MAX, SIGNATURE_LEN_MAX};
pub use value::{Args, Array, ObjectPath, Typed, Value, signature_of};
pub use wire::{BODY_LEN_MAX, Request};

/// What a connection is to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which bus.
    pub address: Address,
    /// The name to own, or `None` for now: [`Bus::own_name`] asks for one later.
    pub own_name: Option<&'static str>,
    /// What is served.
    pub objects: &'static [Object],
    /// Names whose owners are told by [`Event::OwnerChanged`]; the senders of `matches` are too.
    pub watch_names: &'static [&'static str],
    /// Signals to receive.
    pub matches: &'static [Match],
}

/// Signals to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The well-known name they must come from; `None` takes them from anyone.
    pub sender: Option<&'static str>,
    /// The object they must come from.
    pub path: Option<&'static str>,
    /// Their interface.
    pub interface: &'static str,
    /// Their name; `None` takes all of the interface.
    pub member: Option<&'static str>,
}

impl Match {
    /// The rule as text.
    fn text(&self) -> String {
        let mut text = format!("type='signal',interface='{}'", self.interface);
        for (key, value) in [("sender", self.sender), ("path", self.path), ("member", self.member)]
        {
            if let Some(value) = value {
                text.push_str(&format!(",{key}='{value}'"));
            }
        }
        text
    }
}

/// What happened, for the program.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The connection is usable.
    Up,
    /// It is gone, and will be back. Events before this one ended our calls and forgot the owners.
    Down,
    /// Our name is ours.
    NameAcquired,
    /// It is not. When its owner vanishes, it is asked for again.
    NameRefused(Refusal),
    /// It was taken from us. When its owner vanishes, it is asked for again.
    NameLost,
    /// A watched name has this owner now (a unique name). Told once for every name after each
    /// [`Event::Up`], and then for each change.
    OwnerChanged {
        /// The name, as configured.
        name: &'static str,
        /// Its owner.
        owner: Option<String>,
    },
    /// Somebody calls us.
    Call(Call),
    /// A call of ours has ended.
    Reply {
        /// Which.
        token: Token,
        /// How.
        result: Result<Vec<Value>, CallError>,
    },
    /// A signal that was asked for.
    Signal(Received),
}

/// Why a name was not given to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another process owns it.
    Taken,
    /// The bus does not let us, or could not be asked.
    Denied(CallError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("another process owns the name"),
            Self::Denied(error) => write!(f, "{error}"),
        }
    }
}

/// Names one incoming call. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(u64);

/// An incoming call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// For the answer.
    pub id: CallId,
    /// The caller's unique name.
    pub sender: String,
    /// The object.
    pub path: &'static str,
    /// The interface.
    pub interface: &'static str,
    /// What is to be done.
    pub operation: Operation,
}

/// A received signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// The unique name of who sent it (or the name of the bus).
    pub sender: String,
    /// The object it comes from.
    pub path: String,
    /// Its interface.
    pub interface: String,
    /// Its name.
    pub member: String,
    /// What it carries. The sender decides on the types: check them.
    pub args: Vec<Value>,
}

/// Why a call of ours failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// There is no connection, or it was lost before the answer.
    Disconnected,
    /// [`CALLS_MAX`] calls are pending, or [`OUTGOING_MAX`] messages wait for the bus to read.
    Busy,
    /// No answer in time.
    TimedOut,
    /// The answer holds a type that is not supported.
    Unreadable,
    /// Our own request is not valid: a name, a path, or a value.
    Malformed,
    /// Our own request is larger than [`BODY_LEN_MAX`].
    TooLarge,
    /// The peer, or the bus on its behalf, answered with an error.
    Remote {
        /// Its name, with dots.
        name: String,
        /// What it says about itself.
        text: String,
    },
}

impl CallError {
    /// Whether the bus or the peer denied it for lack of permission.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Remote { name, .. } if name == error::ACCESS_DENIED)
    }

    /// Whether nobody owns the destination's name.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        const ABSENT: [&str; 2] = [
            "org.freedesktop.DBus.Error.ServiceUnknown",
            "org.freedesktop.DBus.Error.NameHasNoOwner",
        ];
        matches!(self, Self::Remote { name, .. } if ABSENT.contains(&name.as_str()))
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str("not connected to the message bus"),
            Self::Busy => f.write_str("too many calls on the message bus at once"),
            Self::TimedOut => f.write_str("no answer on the message bus in time"),
            Self::Unreadable => f.write_str("the answer is of an unsupported type"),
            Self::Malformed => f.write_str("the call is not valid"),
            Self::TooLarge => f.write_str("the call is too large for the message bus"),
            Self::Remote { name, text } if text.is_empty() => f.write_str(name),
            Self::Remote { name, text } => write!(f, "{text} ({name})"),
        }
    }
}

impl Error for CallError {}

#[cfg(test)]
mod tests;
