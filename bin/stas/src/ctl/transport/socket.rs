// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The way over the control socket.
//!
//! Owns the descriptor and its deadlines; the bytes are [`crate::core::control`]'s. The descriptor
//! does not block, since a daemon that stopped reading would hold its client for ever: already in
//! `connect(2)`, once its backlog is full.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use plinth::time::Time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde_json::Value;

use super::{CallError, Connection};
use crate::core::control::{Call, Lines, Message, REPLY_BYTES_MAX, Request};

/// Bytes taken from the socket at once.
const READ_BYTES: usize = 64 * 1024;

/// A connection to a daemon's control socket.
#[derive(Debug)]
pub struct Socket {
    daemon: &'static str,
    fd: OwnedFd,
    lines: Lines,
    last_id: u64,
    signalled: bool,
}

impl Socket {
    /// Connects to the socket at `path`, where `daemon` is expected.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn connect(daemon: &'static str, path: &Path) -> Result<Self, CallError> {
        let broken = |errno: Errno| CallError::Broken {
            daemon,
            text: format!("{}: {}", path.display(), std::io::Error::from(errno)),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(broken)?;
        let address = SocketAddrUnix::new(path).map_err(broken)?;
        loop {
            return match net::connect(&fd, &address) {
                Ok(()) => {
                    let lines = Lines::new(REPLY_BYTES_MAX);
                    Ok(Self { daemon, fd, lines, last_id: 0, signalled: false })
                }
                Err(Errno::INTR) => continue,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::CONNREFUSED) => {
                    Err(CallError::NotRunning { daemon, way: path.display().to_string() })
                }
                Err(Errno::ACCESS | Errno::PERM) => Err(CallError::Denied {
                    daemon,
                    text: format!("{} may not be used", path.display()),
                }),
                // The backlog is full: whoever listens takes no one in.
                Err(Errno::AGAIN) => Err(CallError::Silent { daemon, limit: Duration::ZERO }),
                Err(errno) => Err(broken(errno)),
            };
        }
    }

    fn broken(&self, text: impl Into<String>) -> CallError {
        CallError::Broken { daemon: self.daemon, text: text.into() }
    }

    fn failed(&self, errno: Errno) -> CallError {
        match errno {
            Errno::PIPE | Errno::CONNRESET => self.broken("closed by the daemon"),
            errno => self.broken(std::io::Error::from(errno).to_string()),
        }
    }

    fn send(&self, mut bytes: &[u8], deadline: Deadline) -> Result<(), CallError> {
        while !bytes.is_empty() {
            match net::send(&self.fd, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.until(PollFlags::OUT, deadline)?,
                Err(errno) => return Err(self.failed(errno)),
            }
        }
        Ok(())
    }

    /// Waits until the socket can be read or written, or the deadline has passed.
    fn until(&self, what: PollFlags, deadline: Deadline) -> Result<(), CallError> {
        loop {
            let left = deadline.left();
            if left.is_zero() {
                return Err(CallError::Silent { daemon: self.daemon, limit: deadline.limit });
            }
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&self.fd, what)], timeout.as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(self.failed(errno)),
            }
        }
    }

    /// Reads once. False when nothing is there to be read.
    fn fill(&mut self) -> Result<bool, CallError> {
        let mut buffer = vec![0; READ_BYTES];
        match net::recv(&self.fd, buffer.as_mut_slice(), RecvFlags::empty()) {
            Ok((_, 0)) => Err(self.broken("closed by the daemon")),
            Ok((_, len)) => {
                self.lines.push(buffer.get(..len).unwrap_or_default());
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(errno) => Err(self.failed(errno)),
        }
    }

    /// The next message that was received whole.
    fn message(&mut self) -> Result<Option<Message>, CallError> {
        let line = self.lines.next_line().map_err(|error| self.broken(error.to_string()))?;
        line.map(|line| Message::decode(&line).map_err(|text| self.broken(text))).transpose()
    }
}

impl Connection for Socket {
    fn call(&mut self, call: &Call, limit: Duration) -> Result<Value, CallError> {
        let deadline = Deadline::new(limit);
        self.last_id += 1;
        let id = self.last_id;
        let request = Request { id: Some(id), call: call.clone() };
        self.send(request.encode().as_bytes(), deadline)?;
        loop {
            match self.message()? {
                Some(Message::Result { id: Some(of), value }) if of == id => return Ok(value),
                // An error without number is about a line that the daemon could not read: ours.
                Some(Message::Error { id: of, name, text }) if of.is_none_or(|of| of == id) => {
                    return Err(CallError::from_reply(self.daemon, name, text));
                }
                Some(Message::Signal(_)) => self.signalled = true,
                // The late answer to a call that was given up.
                Some(Message::Result { .. } | Message::Error { .. } | Message::Unknown) => {}
                None => {
                    if !self.fill()? {
                        self.until(PollFlags::IN, deadline)?;
                    }
                }
            }
        }
    }

    fn subscribe(&mut self, limit: Duration) -> Result<(), CallError> {
        self.call(&Call::Subscribe, limit).map(drop)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn take_signals(&mut self) -> Result<bool, CallError> {
        let mut more = true;
        while more {
            more = self.fill()?;
            while let Some(message) = self.message()? {
                self.signalled |= matches!(message, Message::Signal(_));
            }
        }
        Ok(std::mem::take(&mut self.signalled))
    }

    fn peer(&mut self) -> Option<u32> {
        let credentials = net::sockopt::socket_peercred(&self.fd).ok()?;
        u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()
    }
}

/// When a call is given up.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Time,
    limit: Duration,
}

impl Deadline {
    fn new(limit: Duration) -> Self {
        Self { at: Time::monotonic() + limit, limit }
    }

    fn left(self) -> Duration {
        Time::monotonic().until(self.at)
    }
}
