// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A blocking client for command-line tools: connect, call, done, each within a time limit.
//!
//! Owns its own connection; daemons use [`super::Bus`]. A frozen bus costs the time limit and
//! nothing more: the thread that then hangs in connecting ends with the process.

use std::env;
use std::error::Error;
use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use dbus::channel::Channel;

use super::endpoint::{outcome, request_of};
use super::link::open;
use super::machine::Ask;
use super::value::Value;
use super::wire::Request;
use super::{Address, CallError};
use crate::time::Time;

/// Why a connection could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The environment names no such bus.
    NoAddress,
    /// Nobody listens, or we are not let in.
    Refused {
        /// The address tried.
        address: String,
        /// What libdbus says.
        reason: String,
    },
    /// The bus did not answer in time.
    TimedOut {
        /// The address tried.
        address: String,
    },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("there is no message bus"),
            Self::Refused { address, reason } => {
                write!(f, "cannot connect to the message bus at {address}: {reason}")
            }
            Self::TimedOut { address } => {
                write!(f, "the message bus at {address} did not answer in time")
            }
        }
    }
}

impl Error for ConnectError {}

/// A connection of a tool.
#[derive(Debug)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Connects within `limit`.
    ///
    /// # Errors
    /// There is no bus, it does not let us in, or it does not answer in time.
    pub fn connect(address: &Address, limit: Duration) -> Result<Self, ConnectError> {
        let deadline = Time::monotonic() + limit;
        let address = address.resolve(|name| env::var_os(name)).ok_or(ConnectError::NoAddress)?;
        let refused = |reason: String| ConnectError::Refused { address: address.clone(), reason };
        let timed_out = || ConnectError::TimedOut { address: address.clone() };
        let (sender, receiver) = sync_channel(1);
        let target = address.clone();
        thread::Builder::new()
            .name("bus-open".to_owned())
            .spawn(move || sender.send(open(&target)).unwrap_or_default())
            .map_err(|error| refused(error.to_string()))?;
        let channel = match receiver.recv_timeout(limit) {
            Ok(opened) => opened.map_err(refused)?,
            Err(RecvTimeoutError::Timeout) => return Err(timed_out()),
            Err(RecvTimeoutError::Disconnected) => return Err(refused("no reason".to_owned())),
        };
        let client = Self { channel };
        match client.call(&request_of(&Ask::Hello), Time::monotonic().until(deadline)) {
            Ok(_) => Ok(client),
            Err(CallError::TimedOut) => Err(timed_out()),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// Calls, and waits for the answer up to `limit`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call(&self, request: &Request, limit: Duration) -> Result<Vec<Value>, CallError> {
        let deadline = Time::monotonic() + limit;
        let message = request.message()?;
        let serial = self.channel.send(message).map_err(|()| CallError::Disconnected)?;
        loop {
            while let Some(message) = self.channel.pop_message() {
                if message.get_reply_serial() == Some(serial) {
                    return outcome(&message);
                }
                // Nobody has business calling a tool; other news is not for us.
            }
            let left = Time::monotonic().until(deadline);
            if left.is_zero() {
                return Err(CallError::TimedOut);
            }
            // Rounded up, so that the last wait is not a busy one.
            let wait = left.min(Duration::from_secs(3600)) + Duration::from_millis(1);
            let alive = self.channel.read_write(Some(wait)).is_ok();
            if !alive || !self.channel.is_connected() {
                return self.last_word(serial);
            }
        }
    }

    /// The connection is gone: perhaps the answer arrived before.
    fn last_word(&self, serial: u32) -> Result<Vec<Value>, CallError> {
        while let Some(message) = self.channel.pop_message() {
            if message.get_reply_serial() == Some(serial) {
                return outcome(&message);
            }
        }
        Err(CallError::Disconnected)
    }
}

/// Connects, calls once, and disconnects, all within `limit`.
///
/// # Errors
/// [`OnceError`] says which of the two steps failed.
pub fn call_blocking(
    address: &Address,
    request: &Request,
    limit: Duration,
) -> Result<Vec<Value>, OnceError> {
    let deadline = Time::monotonic() + limit;
    let client = Client::connect(address, limit).map_err(OnceError::Connect)?;
    client.call(request, Time::monotonic().until(deadline)).map_err(OnceError::Call)
}

/// Why [`call_blocking`] failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnceError {
    /// There was no connection.
    Connect(ConnectError),
    /// There was one, but the call failed.
    Call(CallError),
}

impl fmt::Display for OnceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "{error}"),
            Self::Call(error) => write!(f, "{error}"),
        }
    }
}

impl Error for OnceError {}
