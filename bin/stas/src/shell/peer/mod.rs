// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How stacd hears of stafd: over the bus when stafd is there, else over its control socket.
//!
//! Owns the choice between the two, the connection to the socket, and the questions under way. The
//! bus itself is [`super::bus`]. Every question ends in exactly one answer, within
//! [`ANSWER_LIMIT`]; nothing is polled: the bus tells of stafd's coming and going, and where there
//! is none, the directory of the socket does.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use plinth::bus::Token;
use plinth::event::{Loop, Progress, TimerId, WatchId};
use plinth::time::Time;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::bus::{ANSWER_LIMIT, Front};
use super::key::Key;
use crate::core::control::{Call, Lines, Message, REPLY_BYTES_MAX, Request, Signal};
use crate::core::port::{OpId, StafdEvent};

/// How long the bus may take to tell of stafd before the socket is tried as well.
const PATIENCE: Duration = Duration::from_secs(1);
/// The number of the subscription; questions have those of their operations, and one more.
const SUBSCRIPTION: u64 = 0;
/// Bytes read in one turn.
const TURN_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Via {
    Nothing,
    Bus,
    Socket,
}

struct Link {
    socket: OwnedFd,
    watch: WatchId,
    lines: Lines,
}

struct Query {
    op: OpId,
    token: Option<Token>,
    deadline: Time,
}

/// The way to stafd.
pub struct Peer {
    path: PathBuf,
    via: Via,
    owner: Option<String>,
    link: Option<Link>,
    /// Tells when the socket appears, while there is no way to stafd.
    directory: Option<(OwnedFd, WatchId)>,
    queries: Vec<Query>,
    wake: Option<(Time, TimerId)>,
    patience: Option<Time>,
    events: Vec<StafdEvent>,
}

impl Peer {
    /// No way yet; `path` is stafd's control socket.
    #[must_use]
    pub fn new(path: &Path, now: Time) -> Self {
        Self {
            path: path.to_owned(),
            via: Via::Nothing,
            owner: None,
            link: None,
            directory: None,
            queries: Vec::new(),
            wake: None,
            patience: Some(now + PATIENCE),
            events: Vec::new(),
        }
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<StafdEvent> {
        std::mem::take(&mut self.events)
    }

    /// The bus says who owns stafd's name.
    ///
    /// # Errors
    /// The loop cannot change a watch.
    pub fn owner(&mut self, lp: &mut Loop<Key>, owner: Option<String>) -> io::Result<()> {
        self.patience = None;
        let before = std::mem::replace(&mut self.owner, owner);
        match (self.via, &self.owner) {
            (Via::Bus, Some(now)) if before.as_ref() != Some(now) => {
                self.events.extend([StafdEvent::Vanished, StafdEvent::Appeared]);
            }
            (Via::Bus, Some(_)) | (Via::Socket, None) => {}
            (Via::Nothing, Some(_)) => {
                self.via = Via::Bus;
                self.forget_directory(lp)?;
                self.close(lp, "stafd came to the message bus")?;
                self.events.push(StafdEvent::Appeared);
            }
            (Via::Socket, Some(_)) => {
                self.via = Via::Bus;
                self.forget_directory(lp)?;
                self.close(lp, "stafd came to the message bus")?;
                self.events.push(StafdEvent::LogPagesChanged);
            }
            (Via::Bus, None) => {
                self.via = Via::Nothing;
                self.events.push(StafdEvent::Vanished);
                self.try_socket(lp)?;
            }
            (Via::Nothing, None) => self.try_socket(lp)?,
        }
        Ok(())
    }

    /// A signal of stafd came over the bus.
    pub fn heard(&mut self, event: StafdEvent) {
        if self.via == Via::Bus {
            self.events.push(event);
        }
    }

    /// A question over the bus has ended.
    pub fn answered(&mut self, token: Token, result: Result<String, String>) {
        if let Some(at) = self.queries.iter().position(|query| query.token == Some(token)) {
            let op = self.queries.swap_remove(at).op;
            self.events.push(StafdEvent::Answer { op, result });
        }
    }

    /// Asks stafd for all log pages. The answer is an event.
    ///
    /// # Errors
    /// The loop cannot change a watch.
    pub fn query(
        &mut self,
        lp: &mut Loop<Key>,
        front: Option<&mut Front>,
        op: OpId,
    ) -> io::Result<()> {
        let mut token = None;
        match (self.via, front) {
            (Via::Bus, Some(front)) => token = Some(front.query(lp.now())),
            (Via::Socket, _) => {
                let call = Call::GetAllLogPages { detailed: true };
                if !self.send(&Request { id: Some(op.0.saturating_add(1)), call }) {
                    self.fail(op, "cannot write to stafd's control socket");
                    return self.lost(lp);
                }
            }
            _ => {
                self.fail(op, "stafd is not running");
                return Ok(());
            }
        }
        self.queries.push(Query { op, token, deadline: lp.now() + ANSWER_LIMIT });
        Ok(())
    }

    fn fail(&mut self, op: OpId, text: &str) {
        self.events.push(StafdEvent::Answer { op, result: Err(text.to_owned()) });
    }

    /// The time asked for has come.
    ///
    /// # Errors
    /// The loop cannot change a watch.
    pub fn woken(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        self.wake = None;
        let now = lp.now();
        if self.patience.is_some_and(|at| at <= now) {
            self.patience = None;
            self.try_socket(lp)?;
        }
        // The bus ends its questions itself.
        let (late, rest) = std::mem::take(&mut self.queries)
            .into_iter()
            .partition::<Vec<_>, _>(|query| query.token.is_none() && query.deadline <= now);
        self.queries = rest;
        for query in late {
            self.fail(query.op, "no answer from stafd in time");
        }
        Ok(())
    }

    /// Arms the timer. To be called once a turn.
    pub fn settle(&mut self, lp: &mut Loop<Key>) {
        let own = self.queries.iter().filter(|query| query.token.is_none());
        let wanted = own.map(|query| query.deadline).chain(self.patience).min();
        if wanted != self.wake.map(|(at, _)| at) {
            self.wake.take().map(|(_, timer)| lp.cancel(timer));
            self.wake = wanted.map(|at| (at, lp.set_timer(at, Key::PeerWake)));
        }
    }

    /// Something happened in the directory of the socket.
    ///
    /// # Errors
    /// The loop cannot change a watch.
    pub fn directory_changed(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while let Some((directory, _)) = &self.directory {
            match rustix::io::read(directory, &mut buffer) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.try_socket(lp)
    }

    /// The socket has news.
    ///
    /// # Errors
    /// The loop cannot change a watch.
    pub fn ready(&mut self, lp: &mut Loop<Key>) -> io::Result<Progress> {
        let mut buffer = [0; 16 << 10];
        for _ in 0..TURN_BYTES_MAX / buffer.len() {
            let Some(link) = &mut self.link else { return Ok(Progress::Drained) };
            match rustix::net::recv(&link.socket, &mut buffer, RecvFlags::empty()) {
                Ok((_, 0)) => return self.lost(lp).map(|()| Progress::Drained),
                Ok((_, len)) => link.lines.push(buffer.get(..len).unwrap_or_default()),
                Err(Errno::AGAIN) => return Ok(Progress::Drained),
                Err(Errno::INTR) => continue,
                Err(_) => return self.lost(lp).map(|()| Progress::Drained),
            }
            loop {
                let Some(link) = &mut self.link else { return Ok(Progress::Drained) };
                match link.lines.next_line() {
                    Ok(Some(line)) => self.message(lp, &line)?,
                    Ok(None) => break,
                    Err(error) => {
                        log::warn!("stafd's control socket: {error}");
                        return self.lost(lp).map(|()| Progress::Drained);
                    }
                }
            }
        }
        Ok(Progress::More)
    }

    fn message(&mut self, lp: &mut Loop<Key>, line: &[u8]) -> io::Result<()> {
        match Message::decode(line) {
            Ok(Message::Result { id: Some(SUBSCRIPTION), .. }) if self.via == Via::Nothing => {
                self.via = Via::Socket;
                self.forget_directory(lp)?;
                self.events.push(StafdEvent::Appeared);
            }
            Ok(Message::Result { id: Some(id), value }) => self.end(id, Ok(value.to_string())),
            Ok(Message::Error { id: Some(id), text, .. }) => self.end(id, Err(text)),
            Ok(Message::Signal(Signal::LogPagesChanged { .. })) => {
                self.events.push(StafdEvent::LogPagesChanged);
            }
            Ok(Message::Signal(Signal::DcRemoved)) => self.events.push(StafdEvent::DcRemoved),
            Ok(_) => {}
            Err(error) => {
                log::warn!("stafd's control socket: {error}");
                self.lost(lp)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, id: u64, result: Result<String, String>) {
        let found = self
            .queries
            .iter()
            .position(|query| query.token.is_none() && query.op.0.checked_add(1) == Some(id));
        if let Some(at) = found {
            let op = self.queries.swap_remove(at).op;
            self.events.push(StafdEvent::Answer { op, result });
        }
    }

    fn try_socket(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        if self.via != Via::Nothing || self.link.is_some() {
            return Ok(());
        }
        // Watching begins before the attempt, so that no appearance falls between the two.
        self.watch_directory(lp)?;
        if let Ok(socket) = connected(&self.path) {
            let watch = lp.watch(socket.as_fd(), Key::Peer)?;
            self.link = Some(Link { socket, watch, lines: Lines::new(REPLY_BYTES_MAX) });
            if !self.send(&Request { id: Some(SUBSCRIPTION), call: Call::Subscribe }) {
                return self.close(lp, "");
            }
        }
        Ok(())
    }

    /// Watches the directory of the socket, and the one above it where that does not exist yet.
    fn watch_directory(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        let Some(directory) = self.path.parent() else { return Ok(()) };
        if self.directory.is_none() {
            let Ok(fd) = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) else {
                return Ok(());
            };
            let watch = lp.watch(fd.as_fd(), Key::PeerDirectory)?;
            self.directory = Some((fd, watch));
        }
        let Some((fd, _)) = &self.directory else { return Ok(()) };
        let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        if inotify::add_watch(fd, directory, flags).is_err() {
            if let Some(above) = directory.parent() {
                // Without either there is nothing to wait for but the bus.
                let _ = inotify::add_watch(fd, above, flags);
                let _ = inotify::add_watch(fd, directory, flags);
            }
        }
        Ok(())
    }

    fn forget_directory(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        match self.directory.take() {
            Some((_, watch)) => lp.unwatch(watch),
            None => Ok(()),
        }
    }

    /// The connection is gone: wait for the next socket.
    fn lost(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        self.close(lp, "stafd's control socket was closed")?;
        if self.via == Via::Socket {
            self.via = Via::Nothing;
            self.events.push(StafdEvent::Vanished);
            self.try_socket(lp)?;
        }
        Ok(())
    }

    /// Closes the socket and ends the questions that went over it.
    fn close(&mut self, lp: &mut Loop<Key>, why: &str) -> io::Result<()> {
        let Some(link) = self.link.take() else { return Ok(()) };
        lp.unwatch(link.watch)?;
        let (over, rest) = std::mem::take(&mut self.queries)
            .into_iter()
            .partition::<Vec<_>, _>(|query| query.token.is_none());
        self.queries = rest;
        for query in over {
            self.fail(query.op, why);
        }
        Ok(())
    }

    fn send(&self, request: &Request) -> bool {
        let Some(link) = &self.link else { return false };
        let line = request.encode();
        // A request is short: a socket that does not take it whole is not being read at all.
        rustix::net::send(&link.socket, line.as_bytes(), SendFlags::NOSIGNAL) == Ok(line.len())
    }
}

fn connected(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
