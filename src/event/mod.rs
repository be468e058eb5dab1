// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The event loop: descriptors and timers in, one handler call each, then one `settle` per turn.
//!
//! Owns the `epoll` instance (through mio), the registrations and the timers. Descriptors belong to
//! whoever watches them, and are unwatched before they are closed. There is one thread, one loop
//! and one [`Loop::run`]; there are no callbacks.
//!
//! mio arms descriptors edge-triggered: a descriptor that was left half read stays silent. So a
//! handler either drains what it was called for ([`Progress::Drained`]) or says that more is
//! waiting ([`Progress::More`]), on which the loop arms the descriptor again so that the same event
//! comes back next turn, after every other source had its chance. Spurious calls happen.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::time::Time;

/// Events taken from the kernel in one turn; the rest stays for the next.
const EVENTS_PER_TURN: usize = 64;

/// How far a handler got with the descriptor it was called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Read until it would block; the next edge announces news.
    Drained,
    /// Stopped early, to give others a turn; call again.
    More,
}

/// What the descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Readable, or closed by the peer.
    Read,
    /// Writable.
    Write,
    /// Either.
    Both,
}

impl Direction {
    const fn interest(self) -> Interest {
        match self {
            Self::Read => Interest::READABLE,
            Self::Write => Interest::WRITABLE,
            Self::Both => Interest::READABLE.add(Interest::WRITABLE),
        }
    }
}

/// The program that lives on the loop.
pub trait Handler {
    /// Names a descriptor or timer in the program's own words.
    type Key: Copy + Debug;

    /// The descriptor watched under `key` has news. Does a bounded amount of work.
    ///
    /// # Errors
    /// An error ends [`Loop::run`]; what can be survived is survived inside.
    fn ready(&mut self, lp: &mut Loop<Self::Key>, key: Self::Key) -> io::Result<Progress>;

    /// The timer set under `key` is due. It was removed before the call.
    ///
    /// # Errors
    /// As for [`Handler::ready`].
    fn timer(&mut self, lp: &mut Loop<Self::Key>, key: Self::Key) -> io::Result<()>;

    /// Called once per turn, after every event and once before the first: run the cores and carry
    /// out their actions here.
    ///
    /// # Errors
    /// As for [`Handler::ready`].
    fn settle(&mut self, lp: &mut Loop<Self::Key>) -> io::Result<()>;
}

/// Names one registration. Never reused, so that an event for a watch removed in the same turn is
/// dropped instead of reaching its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchId(usize);

/// Names one timer. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId(Time, u64);

struct Watch<K> {
    fd: RawFd,
    interest: Interest,
    key: K,
}

/// The loop: see the module's documentation.
pub struct Loop<K> {
    poll: Poll,
    watches: BTreeMap<usize, Watch<K>>,
    next_watch: usize,
    timers: BTreeMap<(Time, u64), K>,
    next_timer: u64,
    now: Time,
    exit: Option<u8>,
    longest_turn: Duration,
}

impl<K: Copy + Debug> Loop<K> {
    /// A loop that watches nothing.
    ///
    /// # Errors
    /// The process is out of descriptors, or memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            watches: BTreeMap::new(),
            next_watch: 0,
            timers: BTreeMap::new(),
            next_timer: 0,
            now: Time::monotonic(),
            exit: None,
            longest_turn: Duration::ZERO,
        })
    }

    /// Watches `fd` for reading. The descriptor stays the caller's, must be non-blocking, and is
    /// unwatched before it is closed.
    ///
    /// # Errors
    /// What `epoll_ctl(2)` says: the descriptor is watched already, or cannot be polled.
    pub fn watch(&mut self, fd: BorrowedFd<'_>, key: K) -> io::Result<WatchId> {
        self.watch_for(fd, Direction::Read, key)
    }

    /// Watches `fd` for `direction`; otherwise as [`Loop::watch`].
    ///
    /// # Errors
    /// As for [`Loop::watch`].
    pub fn watch_for(
        &mut self,
        fd: BorrowedFd<'_>,
        direction: Direction,
        key: K,
    ) -> io::Result<WatchId> {
        let (id, interest) = (self.next_watch, direction.interest());
        self.poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), Token(id), interest)?;
        self.next_watch += 1;
        self.watches.insert(id, Watch { fd: fd.as_raw_fd(), interest, key });
        Ok(WatchId(id))
    }

    /// Changes what a watch waits for, and arms it again.
    ///
    /// # Errors
    /// `NotFound` for a watch that was removed; else what `epoll_ctl(2)` says.
    pub fn rearm(&mut self, id: WatchId, direction: Direction) -> io::Result<()> {
        let watch = self.watches.get_mut(&id.0).ok_or(ErrorKind::NotFound)?;
        watch.interest = direction.interest();
        self.poll.registry().reregister(&mut SourceFd(&watch.fd), Token(id.0), watch.interest)
    }

    /// Stops watching. Removing a watch twice is harmless.
    ///
    /// # Errors
    /// What `epoll_ctl(2)` says, when the descriptor was closed too early.
    pub fn unwatch(&mut self, id: WatchId) -> io::Result<()> {
        match self.watches.remove(&id.0) {
            Some(watch) => self.poll.registry().deregister(&mut SourceFd(&watch.fd)),
            None => Ok(()),
        }
    }

    /// Calls [`Handler::timer`] with `key` at `at`, or in the next turn when that has passed.
    pub fn set_timer(&mut self, at: Time, key: K) -> TimerId {
        let id = (at, self.next_timer);
        self.next_timer += 1;
        self.timers.insert(id, key);
        TimerId(id.0, id.1)
    }

    /// Forgets a timer; `false` when it fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> bool {
        self.timers.remove(&(id.0, id.1)).is_some()
    }

    /// The monotonic time, read once per turn.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Leaves [`Loop::run`] with `code` once this turn is settled.
    pub const fn stop(&mut self, code: u8) {
        self.exit = Some(code);
    }

    /// The longest that one turn kept the loop from waiting, so far.
    #[must_use]
    pub const fn longest_turn(&self) -> Duration {
        self.longest_turn
    }

    /// Runs `app` until [`Loop::stop`]; returns the code given there.
    ///
    /// # Errors
    /// The first error of the handler, or of `epoll_wait(2)`.
    pub fn run<H: Handler<Key = K>>(&mut self, app: &mut H) -> io::Result<u8> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        self.now = Time::monotonic();
        loop {
            app.settle(self)?;
            if let Some(code) = self.exit {
                return Ok(code);
            }
            self.longest_turn = self.longest_turn.max(self.now.until(Time::monotonic()));
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            self.now = Time::monotonic();
            for event in &events {
                self.dispatch(app, event.token())?;
            }
            self.expire(app)?;
        }
    }

    fn dispatch<H: Handler<Key = K>>(&mut self, app: &mut H, token: Token) -> io::Result<()> {
        let Some(key) = self.watches.get(&token.0).map(|watch| watch.key) else { return Ok(()) };
        if app.ready(self, key)? == Progress::Drained {
            return Ok(());
        }
        match self.watches.get(&token.0) {
            // Arming again makes epoll look at the descriptor afresh: what is left is an event.
            Some(watch) => {
                self.poll.registry().reregister(&mut SourceFd(&watch.fd), token, watch.interest)
            }
            None => Ok(()), // the handler removed it
        }
    }

    fn expire<H: Handler<Key = K>>(&mut self, app: &mut H) -> io::Result<()> {
        // Timers set by a handler in this turn wait for the next one, even when already due.
        let newest = self.next_timer;
        while let Some((&id, &key)) =
            self.timers.iter().take_while(|(id, _)| id.0 <= self.now).find(|(id, _)| id.1 < newest)
        {
            self.timers.remove(&id);
            app.timer(self, key)?;
        }
        Ok(())
    }

    /// mio rounds up to whole milliseconds, so that no timer is early.
    fn timeout(&self) -> Option<Duration> {
        let (first, _) = self.timers.first_key_value()?;
        Some(Time::monotonic().until(first.0))
    }
}

#[cfg(test)]
mod tests;
