// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A connection to a hypervisor's socket on which nothing waits beyond a deadline.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use plinth::time::Time;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Pid;

use super::CtlError;

/// The shortest time that a system call is given: zero would mean for ever.
const LEAST: Duration = Duration::from_millis(1);

/// A connected hypervisor.
#[derive(Debug)]
pub struct Peer {
    stream: UnixStream,
    deadline: Time,
}

impl Peer {
    /// Connects to the socket at `path`; everything on the connection is over by `deadline`.
    ///
    /// # Errors
    /// [`CtlError::Connect`], also when the path is too long for a socket; [`CtlError::TimedOut`].
    pub fn connect(path: &Path, deadline: Time) -> Result<Self, CtlError> {
        let fd = connected(path, SocketType::STREAM, deadline)?;
        Ok(Self { stream: fd.into(), deadline })
    }

    /// When all that is done here is over.
    #[must_use]
    pub const fn deadline(&self) -> Time {
        self.deadline
    }

    /// Moves that moment.
    pub(super) fn set_deadline(&mut self, deadline: Time) {
        self.deadline = deadline;
    }

    /// The process that opened the socket, when it can be named.
    #[must_use]
    pub fn process(&self) -> Option<Pid> {
        peer(self.stream.as_fd())
    }

    /// Sends `bytes`, all of them.
    ///
    /// # Errors
    /// [`CtlError::Closed`], [`CtlError::TimedOut`], [`CtlError::Io`].
    pub fn send(&mut self, mut bytes: &[u8]) -> Result<(), CtlError> {
        while !bytes.is_empty() {
            let left = self.left("sending to the hypervisor")?;
            self.stream
                .set_write_timeout(Some(left))
                .map_err(CtlError::io("talk to the hypervisor"))?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(CtlError::Closed),
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) => Self::judge(error)?,
            }
        }
        Ok(())
    }

    /// Waits for bytes and takes what is there; zero at the end of the connection.
    ///
    /// # Errors
    /// [`CtlError::TimedOut`], [`CtlError::Io`]. A connection that was reset has ended.
    pub fn receive(&mut self, into: &mut [u8]) -> Result<usize, CtlError> {
        loop {
            let left = self.left("waiting for the hypervisor's answer")?;
            self.stream
                .set_read_timeout(Some(left))
                .map_err(CtlError::io("talk to the hypervisor"))?;
            match self.stream.read(into) {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(0),
                Err(error) => Self::judge(error)?,
            }
        }
    }

    /// What is left until the deadline, for `what`. It is asked for before each call: a peer that
    /// always has something to say never lets one wait.
    fn left(&self, what: &'static str) -> Result<Duration, CtlError> {
        let left = Time::monotonic().until(self.deadline);
        if left.is_zero() { Err(CtlError::TimedOut(what)) } else { Ok(left.max(LEAST)) }
    }

    /// Passes over errors after which to try again.
    fn judge(error: std::io::Error) -> Result<(), CtlError> {
        match error.kind() {
            ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(()),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Err(CtlError::Closed),
            _ => Err(CtlError::Io("talk to the hypervisor", error)),
        }
    }

    /// The connection itself, for what comes after the handshake; it blocks without limit.
    ///
    /// # Errors
    /// [`CtlError::Io`].
    pub fn into_stream(self) -> Result<UnixStream, CtlError> {
        let free = |()| self.stream.set_write_timeout(None);
        self.stream
            .set_read_timeout(None)
            .and_then(free)
            .map_err(CtlError::io("talk to the hypervisor"))?;
        Ok(self.stream)
    }
}

/// The process that listens on `path`, a socket of this type, when it can be named.
///
/// # Errors
/// As for [`Peer::connect`].
pub fn listener(path: &Path, kind: SocketType, deadline: Time) -> Result<Option<Pid>, CtlError> {
    Ok(peer(connected(path, kind, deadline)?.as_fd()))
}

/// A socket of this type that is connected to the one at `path`.
fn connected(path: &Path, kind: SocketType, deadline: Time) -> Result<OwnedFd, CtlError> {
    let failed = |errno: rustix::io::Errno| match errno {
        rustix::io::Errno::AGAIN => CtlError::TimedOut("connecting to the hypervisor"),
        errno => CtlError::Connect(path.to_owned(), errno.into()),
    };
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    let fd = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
        .map_err(failed)?;
    // A server whose queue is full lets a connect wait: for as long as a send may.
    let left = Time::monotonic().until(deadline).max(LEAST);
    set_socket_timeout(&fd, Timeout::Send, Some(left)).map_err(failed)?;
    rustix::net::connect(&fd, &address).map_err(failed)?;
    Ok(fd)
}

fn peer(socket: BorrowedFd<'_>) -> Option<Pid> {
    let number = plinth::sys::socket::peer_pid(socket).ok()?;
    Pid::from_raw(number.max(0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_peer_that_never_stops_talking_has_no_more_time_than_others() {
        let path = std::env::temp_dir().join(format!("microvm-peer-{}", plinth::rand::uuid_v4()));
        let listener = UnixListener::bind(&path).expect("a socket");
        let mut peer = Peer::connect(&path, Time::monotonic()).expect("connected");
        let (mut other, _) = listener.accept().expect("a client");
        other.write_all(&[b'x'; 4096]).expect("said");
        let error = peer.receive(&mut [0; 16]).expect_err("it is too late");
        assert!(matches!(error, CtlError::TimedOut(_)), "{error}");
        let error = peer.send(b"x").expect_err("it is too late");
        assert!(matches!(error, CtlError::TimedOut(_)), "{error}");
        std::fs::remove_file(path).expect("removed");
    }
}
