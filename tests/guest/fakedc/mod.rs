// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A discovery controller in user space that announces whatever it is told and misbehaves on
//! request.
//!
//! The kernel's own target announces only what it serves itself. This one speaks just enough NVMe
//! over TCP (NVM Express TCP Transport Specification; Base Specification for Connect, Property Get
//! and Set, Identify, Get Log Page, Asynchronous Event Request, Keep Alive, Discovery Information
//! Management) for the kernel's initiator, on an address of its own, with no privilege and no
//! device.
//!
//! [`Fake`] is the handle: it changes the log while hosts are connected, raises the event that says
//! so, switches a [`Fault`] on and off, and tells what hosts have asked. Byte layouts are in
//! [`wire`]; one connection is served by [`session`] on a thread of its own.

pub mod session;
#[cfg(test)]
mod tests;
pub mod wire;

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use plinth::time::Time;

pub use wire::Entry;

/// Status of a command that names something this controller does not do: invalid field, do not
/// retry.
pub const STATUS_INVALID_FIELD: u16 = 0x4002;

/// What the controller does wrong, until told otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Accepts connections, then never answers a word.
    Mute,
    /// Answers the transport's greeting, then nothing.
    MuteAfterGreeting,
    /// Answers everything but Get Log Page.
    MuteOnLog,
    /// Closes each connection as soon as it is made.
    Refuse,
    /// Closes the connection when asked for the log.
    DropOnLog,
    /// Another generation counter in each header that is read.
    EverChanging,
    /// Answers Get Log Page with this status.
    LogStatus(u16),
    /// Claims this many records, whatever the log holds.
    RecordCount(u64),
}

/// How the controller presents itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persona {
    /// Discovery controller type: 0 not reported, 1 direct, 2 central.
    pub dctype: u8,
    /// The subsystem name it reports.
    pub nqn: String,
    /// Whether the log descriptor says that port-local entries can be asked for.
    pub port_local: bool,
}

impl Default for Persona {
    fn default() -> Self {
        let nqn = "nqn.2014-08.org.nvmexpress.discovery".to_owned();
        Self { dctype: 0, nqn, port_local: false }
    }
}

/// What hosts have asked so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Accepted TCP connections.
    pub connections: u32,
    /// Connect commands, with the host name of each.
    pub hosts: Vec<String>,
    /// Reads of the log from its start (its header).
    pub log_headers: u32,
    /// Reads of the log with the "retain event" bit clear.
    pub log_reads_that_rearm: u32,
    /// Values of the log-specific field of reads of the discovery log.
    pub log_specific: Vec<u8>,
    /// Discovery Information Management commands: task and parameter data.
    pub registrations: Vec<(u8, Vec<u8>)>,
    /// Keep-alive commands.
    pub keep_alives: u32,
    /// When events were sent.
    pub events_sent: Vec<Time>,
    /// When the log was asked for from its start.
    pub log_headers_at: Vec<Time>,
}

/// What all connections of one controller share.
#[derive(Debug, Default)]
pub struct State {
    pub(super) persona: Persona,
    pub(super) entries: Vec<Entry>,
    pub(super) generation: u64,
    pub(super) fault: Fault,
    pub(super) seen: Seen,
    /// A change of the log that is to be announced; a session takes its own share.
    pub(super) changes: u64,
    streams: Vec<TcpStream>,
    stopped: bool,
}

/// The state, shared by the handle and the sessions.
pub type Shared = Arc<Mutex<State>>;

pub(super) fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    // A session that panicked has been reported; the state is whole between statements.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running discovery controller; it stops when dropped.
#[derive(Debug)]
pub struct Fake {
    address: SocketAddr,
    shared: Shared,
}

impl Fake {
    /// Listens on `address` (`127.0.0.1:8009`; port 0 picks a free one) and announces `entries`.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub fn start(address: &str, persona: Persona, entries: Vec<Entry>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let state = State { persona, entries, generation: 1, ..State::default() };
        let fake = Self { address: listener.local_addr()?, shared: Arc::new(Mutex::new(state)) };
        let shared = Arc::clone(&fake.shared);
        thread::spawn(move || accept(&listener, &shared));
        Ok(fake)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the log and tells the hosts that it changed.
    pub fn announce(&self, entries: Vec<Entry>) {
        self.announce_silently(entries);
        self.raise_event();
    }

    /// Replaces the log and tells nobody.
    pub fn announce_silently(&self, entries: Vec<Entry>) {
        let mut state = lock(&self.shared);
        state.entries = entries;
        state.generation += 1;
    }

    /// Tells the hosts that the log changed, whether or not it did.
    pub fn raise_event(&self) {
        lock(&self.shared).changes += 1;
        self.forget_the_gone();
    }

    /// Behaves as told from now on.
    pub fn misbehave(&self, fault: Fault) {
        lock(&self.shared).fault = fault;
    }

    /// Closes every connection; hosts may come back.
    pub fn hang_up(&self) {
        for stream in lock(&self.shared).streams.drain(..) {
            // Fails for a connection that its host has closed before.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// What hosts have asked so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        lock(&self.shared).seen.clone()
    }

    /// Lets go of connections that have ended. The others see the change themselves: their reads
    /// have a time limit.
    fn forget_the_gone(&self) {
        let mut state = lock(&self.shared);
        state.streams.retain(|stream| stream.peer_addr().is_ok());
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        lock(&self.shared).stopped = true;
        self.hang_up();
        // The accepting thread sleeps in accept; one connection lets it see that it is over.
        drop(TcpStream::connect(self.address));
    }
}

fn accept(listener: &TcpListener, shared: &Shared) {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let mut state = lock(shared);
        if state.stopped {
            return;
        }
        state.seen.connections += 1;
        if state.fault == Fault::Refuse {
            continue;
        }
        if let Ok(copy) = stream.try_clone() {
            state.streams.push(copy);
        }
        drop(state);
        let shared = Arc::clone(shared);
        thread::spawn(move || session::serve(stream, &shared));
    }
}
