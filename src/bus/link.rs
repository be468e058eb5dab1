// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The socket side: opening a connection in the background, and driving libdbus without blocking.
//!
//! Owns the libdbus connection and one `epoll` descriptor that stays the same over every reconnect;
//! the program watches that one. Messages mean nothing here.
//!
//! Three properties of libdbus decide the shape. Connecting can block for as long as the bus is
//! frozen, so a thread does it, one at a time. Registering blocks too, under a lock that is shared
//! by all connections of the process, so nobody calls that function: the `Hello` is an ordinary
//! call, sent by [`super::machine`]. And libdbus closes its descriptor by itself when the peer is
//! gone, so a duplicate of it is watched, which is ours to close.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use dbus::Message;
use dbus::channel::Channel;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};

use crate::sys::fd::duplicate;

/// Enough for connecting to a socket.
const THREAD_STACK: usize = 256 << 10;

/// An opened connection, with the descriptor that is watched in place of libdbus' own.
#[derive(Debug)]
struct Open {
    channel: Channel,
    watched: OwnedFd,
    wants: (bool, bool),
    /// Messages handed to libdbus since its queue was last seen empty.
    queued: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Link {
    address: Option<String>,
    epoll: OwnedFd,
    bell: Arc<OwnedFd>,
    results: Receiver<Result<Channel, String>>,
    sender: Sender<Result<Channel, String>>,
    open: Option<Open>,
}

impl Link {
    /// A link to nowhere yet. Without an address, opening always fails.
    pub(super) fn new(address: Option<String>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(&epoll, &*bell, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        let (sender, results) = channel();
        Ok(Self { address, epoll, bell, results, sender, open: None })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Starts to connect; [`Link::opened`] has the outcome, which the descriptor announces.
    pub(super) fn start(&self) -> io::Result<()> {
        let address = self.address.clone().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let (sender, bell) = (self.sender.clone(), Arc::clone(&self.bell));
        let work = move || {
            // The receiver may be gone: then the connection is dropped here.
            if sender.send(open(&address)).is_ok() {
                // A full counter would be as good an announcement as this one.
                rustix::io::write(&*bell, &1_u64.to_ne_bytes()).map(drop).unwrap_or_default();
            }
        };
        thread::Builder::new().name("bus-open".to_owned()).stack_size(THREAD_STACK).spawn(work)?;
        Ok(())
    }

    /// What became of [`Link::start`], if that is known.
    pub(super) fn opened(&mut self) -> Option<Result<(), String>> {
        let mut count = [0; 8];
        rustix::io::read(&*self.bell, &mut count).map(drop).unwrap_or_default();
        match self.results.try_recv().ok()? {
            Ok(channel) => Some(self.adopt(channel).map_err(|error| error.to_string())),
            Err(text) => Some(Err(text)),
        }
    }

    fn adopt(&mut self, mut channel: Channel) -> io::Result<()> {
        channel.set_watch_enabled(true);
        let watched = duplicate(channel.watch().fd)?;
        let wants = (true, true);
        epoll::add(&self.epoll, &watched, epoll::EventData::new_u64(1), flags(wants))?;
        self.open = Some(Open { channel, watched, wants, queued: 0 });
        Ok(())
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Drops the connection.
    pub(super) fn close(&mut self) {
        if let Some(open) = self.open.take() {
            // Our own descriptor is in the set as long as it is open: this cannot fail.
            epoll::delete(&self.epoll, &open.watched).unwrap_or_default();
        }
    }

    /// Hands a message to libdbus; its serial, or `None` when there is no connection.
    pub(super) fn send(&mut self, message: Message) -> Option<u32> {
        let open = self.open.as_mut()?;
        let serial = open.channel.send(message).ok()?;
        open.queued += 1;
        open.count();
        Some(serial)
    }

    /// Messages not yet taken by the bus; counted from above.
    pub(super) fn queued(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.queued)
    }

    pub(super) fn pop(&self) -> Option<Message> {
        self.open.as_ref()?.channel.pop_message()
    }

    /// Reads and writes a little; `false` when the connection is gone.
    pub(super) fn exchange(&mut self) -> bool {
        let Some(open) = self.open.as_mut() else { return false };
        let alive = open.channel.read_write(Some(Duration::ZERO)).is_ok();
        open.count();
        alive && open.channel.is_connected()
    }

    /// Whether there is more to read or write right now. When not, the descriptor will tell.
    pub(super) fn is_ready(&mut self) -> bool {
        let Some(open) = self.open.as_mut() else { return false };
        let watch = open.channel.watch();
        let wants = (watch.read, watch.write);
        if wants != open.wants {
            let data = epoll::EventData::new_u64(1);
            if epoll::modify(&self.epoll, &open.watched, data, flags(wants)).is_ok() {
                open.wants = wants;
            }
        }
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, wants.0);
        events.set(PollFlags::OUT, wants.1);
        let mut fds = [PollFd::new(&open.watched, events)];
        // An interrupted poll counts as ready: the next turn looks again.
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

impl Open {
    fn count(&mut self) {
        if !self.channel.has_messages_to_send() {
            self.queued = 0;
        }
    }
}

fn flags(wants: (bool, bool)) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    flags.set(epoll::EventFlags::IN, wants.0);
    flags.set(epoll::EventFlags::OUT, wants.1);
    flags
}

/// Connects; may block. Registration is left to the caller.
pub(super) fn open(address: &str) -> Result<Channel, String> {
    Channel::open_private(address)
        .map_err(|error| error.message().unwrap_or("cannot connect").to_owned())
}
