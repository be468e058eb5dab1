// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Gives the look-ups of [`crate::core::names`] their files, sockets and timers.
//!
//! Each server of each look-up has a socket of its own, connected, so that only that server's
//! packets arrive, on a port that the kernel chose at random, and so that a host without a name
//! server says so at once. The two files are read anew for each look-up.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};

use plinth::event::{Loop, Progress, TimerId, WatchId};
use plinth::file::Root;
use plinth::rand::Rng;
use plinth::time::Time;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::key::Key;
use crate::core::names::files::Server;
use crate::core::names::{Input, Lookup, Output};
use crate::core::port::OpId;

/// Look-ups that run at the same time; the rest wait in order.
pub const RUNNING_MAX: usize = 32;
/// Look-ups that wait; beyond it one fails at once.
pub const WAITING_MAX: usize = 8192;
/// The longest answer without extensions (RFC 1035, 2.3.4), and then some.
const PACKET_LEN_MAX: usize = 1500;
const PORT: u16 = 53;

/// The result of one look-up.
pub type Found = (OpId, Result<Vec<IpAddr>, String>);

struct Running {
    op: OpId,
    lookup: Lookup,
    sockets: BTreeMap<usize, (OwnedFd, WatchId)>,
    wake: Option<(Time, TimerId)>,
}

/// All look-ups of a daemon.
pub struct Resolver {
    root: Root,
    port: u16,
    rng: Rng,
    running: BTreeMap<u64, Running>,
    waiting: VecDeque<(OpId, String)>,
    next: u64,
    done: Vec<Found>,
}

impl Resolver {
    /// A resolver that reads its files under `root`.
    #[must_use]
    pub fn new(root: Root, rng: Rng) -> Self {
        Self {
            root,
            port: PORT,
            rng,
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            next: 0,
            done: Vec::new(),
        }
    }

    /// Queues a look-up. Its result comes from [`Resolver::take_done`] later, exactly once.
    pub fn submit(&mut self, op: OpId, host: String) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back((op, host));
        } else {
            self.done.push((op, Err("too many names at once".to_owned())));
        }
    }

    /// The results since the last call.
    pub fn take_done(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.done)
    }

    /// Look-ups that wait or run.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    /// Starts what there is room for. To be called once a turn.
    ///
    /// # Errors
    /// The loop cannot forget a descriptor.
    pub fn settle(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        while self.running.len() < RUNNING_MAX {
            let Some((op, host)) = self.waiting.pop_front() else { break };
            let text = |path| self.root.read_text(path).unwrap_or_default();
            let rng = Rng::seeded(self.rng.next_u64());
            let (hosts, conf) = (text("/etc/hosts"), text("/etc/resolv.conf"));
            let lookup = Lookup::new(&host, &hosts, &conf, rng, lp.now());
            let number = self.next;
            self.next += 1;
            let running = Running { op, lookup, sockets: BTreeMap::new(), wake: None };
            self.running.insert(number, running);
            self.feed(lp, number, Input::Wake)?;
        }
        Ok(())
    }

    /// The socket of look-up `number` to its server `server` has news.
    ///
    /// # Errors
    /// The loop cannot forget a descriptor.
    pub fn ready(
        &mut self,
        lp: &mut Loop<Key>,
        number: u64,
        server: usize,
    ) -> io::Result<Progress> {
        let mut packet = [0; PACKET_LEN_MAX];
        let socket = self.running.get(&number).and_then(|running| running.sockets.get(&server));
        let Some((socket, _)) = socket else { return Ok(Progress::Drained) };
        match rustix::net::recv(socket, &mut packet, RecvFlags::empty()) {
            Ok((_, len)) => {
                let bytes = packet.get(..len).unwrap_or_default();
                self.feed(lp, number, Input::Packet(server, bytes))?;
            }
            Err(Errno::AGAIN) => return Ok(Progress::Drained),
            Err(Errno::INTR) => {}
            Err(_) => self.feed(lp, number, Input::Unreachable(server))?,
        }
        Ok(Progress::More)
    }

    /// The look-up `number` wanted to be woken now.
    ///
    /// # Errors
    /// The loop cannot forget a descriptor.
    pub fn woken(&mut self, lp: &mut Loop<Key>, number: u64) -> io::Result<()> {
        if let Some(running) = self.running.get_mut(&number) {
            running.wake = None;
        }
        self.feed(lp, number, Input::Wake)
    }

    fn feed(&mut self, lp: &mut Loop<Key>, number: u64, input: Input<'_>) -> io::Result<()> {
        let Some(running) = self.running.get_mut(&number) else { return Ok(()) };
        let (mut inputs, mut first, mut out) = (VecDeque::new(), Some(input), Vec::new());
        while let Some(input) = first.take().or_else(|| inputs.pop_front()) {
            running.lookup.step(lp.now(), input, &mut out);
            for output in out.drain(..) {
                match output {
                    Output::Send(server, bytes) => {
                        if send(lp, running, self.port, number, server, &bytes).is_err() {
                            inputs.push_back(Input::Unreachable(server));
                        }
                    }
                    Output::Done(result) => self.done.push((running.op, result)),
                }
            }
        }
        let wake = running.lookup.next_wake();
        if wake != running.wake.map(|(at, _)| at) {
            running.wake.take().map(|(_, timer)| lp.cancel(timer));
            running.wake = wake.map(|at| (at, lp.set_timer(at, Key::LookupWake(number))));
        }
        if wake.is_none() {
            if let Some(over) = self.running.remove(&number) {
                for (_, watch) in over.sockets.values() {
                    lp.unwatch(*watch)?;
                }
            }
        }
        Ok(())
    }
}

fn send(
    lp: &mut Loop<Key>,
    running: &mut Running,
    port: u16,
    number: u64,
    server: usize,
    bytes: &[u8],
) -> io::Result<()> {
    let socket = match running.sockets.get(&server) {
        Some((socket, _)) => socket,
        None => {
            let to = running.lookup.servers().get(server).ok_or(Errno::INVAL)?;
            let socket = connected(to, port)?;
            let watch = lp.watch(socket.as_fd(), Key::Lookup(number, server))?;
            &running.sockets.entry(server).or_insert((socket, watch)).0
        }
    };
    rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn connected(server: &Server, port: u16) -> io::Result<OwnedFd> {
    let family = if server.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    let to = match (server.address, &server.zone) {
        (IpAddr::V6(v6), Some(zone)) => {
            let scope = match zone.parse() {
                Ok(number) => number,
                Err(_) => rustix::net::netdevice::name_to_index(&socket, zone)?,
            };
            SocketAddrV6::new(v6, port, 0, scope).into()
        }
        (ip, _) => SocketAddr::new(ip, port),
    };
    rustix::net::connect(&socket, &to)?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
