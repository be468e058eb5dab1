// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal notify-relay`: hears the guest's service manager, and tells ours.
//!
//! A guest connects for each message, says it, and waits until the connection is closed; during a
//! boot it does so several times a second, and waits with everything else. So a connection is
//! closed as soon as its end is seen. Some hypervisors do not pass that end on: then silence behind
//! the first words is the end. The guest is not trusted: lines by which a service speaks of
//! processes and descriptors stay here.
//!
//! Standards: sd_notify(3).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use plinth::err::{Failure, tell};
use plinth::event::{Handler, Loop, Progress, TimerId, WatchId};
use plinth::service::Notifier;
use plinth::sys::vsock;
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::{Call, usage};
use crate::cli::World;
use crate::ctl::CtlError;

/// The longest message, in bytes; service managers take no longer one.
pub const MESSAGE_MAX: usize = 4096;
/// So long after its last byte a message has ended.
const SILENCE: Duration = Duration::from_millis(200);
/// So long the first byte may take: a guest that is emulated, or starved, is slow between its
/// connection and its words.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most connections at a time.
const CONNECTIONS_MAX: usize = 64;
/// Connections that wait in the kernel.
const BACKLOG: i32 = 16;

/// What a guest must not say in our name: assignments to these speak of the host's processes.
const OURS: [&str; 8] = [
    "MAINPID",
    "MAINPIDFDID",
    "FDSTORE",
    "FDSTOREREMOVE",
    "FDNAME",
    "FDPOLL",
    "NOTIFYACCESS",
    "BARRIER",
];

/// What of a guest's message is passed on: all bytes, but for lines that are not the guest's to
/// say.
#[must_use]
pub fn passable(message: &[u8]) -> Cow<'_, [u8]> {
    let is_ours = |line: &&[u8]| {
        let name = line.split(|&byte| byte == b'=').next().unwrap_or_default();
        OURS.iter().any(|ours| ours.as_bytes() == name)
    };
    let lines = || message.split(|&byte| byte == b'\n');
    if !lines().any(|line| is_ours(&line)) {
        return Cow::Borrowed(message);
    }
    let kept: Vec<&[u8]> = lines().filter(|line| !is_ours(line)).collect();
    Cow::Owned(kept.join(&b'\n'))
}

pub(super) fn run(call: &Call<'_>, world: &World<'_>) -> Result<u8, Failure> {
    call.at_most(0)?;
    // Nobody wants to know: the guest finds nobody, and goes on.
    let Some(notifier) = Notifier::from_env(world.env) else { return Ok(0) };
    let options = call.options;
    let listener = match (&options.unix, options.vsock) {
        (Some(path), None) => {
            listen(path).map_err(|error| CtlError::Connect(path.clone(), error).failure())?
        }
        (None, Some(port)) => vsock::listen(port, BACKLOG).map_err(|error| {
            CtlError::Connect(format!("vsock port {port}").into(), error).failure()
        })?,
        _ => return Err(usage("one of --unix and --vsock is needed")),
    };
    let guest = options.cid.filter(|_| options.vsock.is_some());
    let mut relay = Relay { listener, guest, notifier, open: BTreeMap::new(), next: 0 };
    let mut lp = Loop::new()?;
    lp.watch(relay.listener.as_fd(), Key::Listener)?;
    Ok(lp.run(&mut relay)?)
}

fn listen(path: &Path) -> io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}

#[derive(Clone, Copy, Debug)]
enum Key {
    Listener,
    Connection(u64),
}

struct Connection {
    fd: OwnedFd,
    watch: WatchId,
    bytes: Vec<u8>,
    timer: TimerId,
}

struct Relay {
    listener: OwnedFd,
    /// The only context that is heard.
    guest: Option<u32>,
    notifier: Notifier,
    open: BTreeMap<u64, Connection>,
    next: u64,
}

impl Relay {
    /// Takes one connection; `false` when none waits.
    fn accept(&mut self, lp: &mut Loop<Key>) -> io::Result<bool> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = match rustix::net::accept_with(&self.listener, flags) {
            Ok(fd) => fd,
            Err(Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR | Errno::CONNABORTED | Errno::CONNRESET) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        };
        let is_guest = |cid: u32| vsock::peer(fd.as_fd()).is_ok_and(|peer| peer == cid);
        if self.open.len() < CONNECTIONS_MAX && self.guest.is_none_or(is_guest) {
            let (id, at) = (self.next, lp.now() + PATIENCE);
            self.next += 1;
            let watch = lp.watch(fd.as_fd(), Key::Connection(id))?;
            let timer = lp.set_timer(at, Key::Connection(id));
            self.open.insert(id, Connection { fd, watch, bytes: Vec::new(), timer });
        }
        Ok(true)
    }

    /// Reads once; `None` when the connection is over.
    fn read(&mut self, lp: &mut Loop<Key>, id: u64) -> Option<Progress> {
        let connection = self.open.get_mut(&id)?;
        let mut chunk = [0; MESSAGE_MAX];
        match rustix::io::read(&connection.fd, &mut chunk) {
            Ok(count @ 1..) => {
                connection.bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
                if connection.bytes.len() > MESSAGE_MAX {
                    return None;
                }
                lp.cancel(connection.timer);
                connection.timer = lp.set_timer(lp.now() + SILENCE, Key::Connection(id));
                Some(Progress::More)
            }
            Err(Errno::INTR) => Some(Progress::More),
            Err(Errno::AGAIN) => Some(Progress::Drained),
            _ => None,
        }
    }

    /// Closes a connection, having told what was said.
    fn end(&mut self, lp: &mut Loop<Key>, id: u64) -> io::Result<()> {
        let Some(connection) = self.open.remove(&id) else { return Ok(()) };
        lp.cancel(connection.timer);
        lp.unwatch(connection.watch)?;
        let message = passable(&connection.bytes);
        if message.len() > MESSAGE_MAX {
            tell("microvm: a message of the guest was too long, and is not passed on");
        } else if !message.is_empty() {
            if let Err(error) = self.notifier.forward(&message) {
                tell(format_args!("microvm: cannot notify the service manager: {error}"));
            }
        }
        Ok(())
    }
}

impl Handler for Relay {
    type Key = Key;

    fn ready(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<Progress> {
        match key {
            Key::Listener => {
                let more = self.accept(lp)?;
                Ok(if more { Progress::More } else { Progress::Drained })
            }
            Key::Connection(id) => match self.read(lp, id) {
                Some(progress) => Ok(progress),
                None => self.end(lp, id).map(|()| Progress::Drained),
            },
        }
    }

    fn timer(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<()> {
        match key {
            Key::Listener => Ok(()),
            Key::Connection(id) => self.end(lp, id),
        }
    }

    fn settle(&mut self, _: &mut Loop<Key>) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_guest_speaks_for_itself_only() {
        let text =
            |message: &str| String::from_utf8_lossy(&passable(message.as_bytes())).into_owned();
        let same = "READY=1\nSTATUS=MAINPID=7\nX_SYSTEMD_UNIT_ACTIVE=a.target\n";
        assert_eq!(text(same), same);
        assert!(matches!(passable(same.as_bytes()), Cow::Borrowed(_)));
        assert_eq!(text("MAINPID=1\nREADY=1\nFDSTORE=1"), "READY=1");
        assert_eq!(text("BARRIER"), "");
    }

    proptest! {
        #[test]
        fn whatever_is_said_no_such_line_passes(
            parts in proptest::collection::vec("(MAINPID|FDNAME|X|=|\n|1){0,6}", 0..9),
        ) {
            let message = parts.concat();
            let passed = passable(message.as_bytes()).into_owned();
            let passed = String::from_utf8(passed).expect("text");
            for line in passed.lines() {
                let name = line.split('=').next().unwrap_or_default();
                prop_assert!(!OURS.contains(&name), "{}", line);
                prop_assert!(message.lines().any(|said| said == line));
            }
        }
    }
}
