// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tries TCP connections without waiting for them, and closes them again.
//!
//! Owns the sockets. Tells only whether something accepts connections; what follows from that is
//! the core's matter. At most [`RUNNING_MAX`] attempts run at once, the rest wait in order; the
//! limit of an attempt begins when it does.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use plinth::event::{Direction, Loop, TimerId, WatchId};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::key::Key;
use crate::core::port::OpId;

/// Attempts that run at the same time.
pub const RUNNING_MAX: usize = 64;
/// Attempts that wait; beyond it one fails at once with `EAGAIN`.
pub const WAITING_MAX: usize = 8192;

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The portal.
    pub to: (IpAddr, u16),
    /// Source address.
    pub source: Option<IpAddr>,
    /// Interface to leave by.
    pub iface: Option<String>,
    /// Limit for the attempt.
    pub limit: Duration,
}

/// How an attempt ended: nothing, or its errno.
pub type Probed = (OpId, Result<(), i32>);

struct Running {
    op: OpId,
    socket: OwnedFd,
    watch: WatchId,
    limit: TimerId,
}

/// All attempts of a daemon.
#[derive(Default)]
pub struct Prober {
    running: BTreeMap<u64, Running>,
    waiting: VecDeque<(OpId, Probe)>,
    next: u64,
    done: Vec<Probed>,
}

impl Prober {
    /// Queues an attempt. Its result comes from [`Prober::take_done`] later, exactly once.
    pub fn submit(&mut self, op: OpId, probe: Probe) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back((op, probe));
        } else {
            self.done.push((op, Err(Errno::AGAIN.raw_os_error())));
        }
    }

    /// The results since the last call.
    pub fn take_done(&mut self) -> Vec<Probed> {
        std::mem::take(&mut self.done)
    }

    /// Attempts that wait or run.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    /// Starts what there is room for. To be called once a turn.
    pub fn settle(&mut self, lp: &mut Loop<Key>) {
        while self.running.len() < RUNNING_MAX {
            let Some((op, probe)) = self.waiting.pop_front() else { break };
            match self.start(lp, op, &probe) {
                Ok(()) => {}
                Err(errno) => self.done.push((op, Err(errno.raw_os_error()))),
            }
        }
    }

    /// The socket of attempt `number` has news.
    ///
    /// # Errors
    /// The loop cannot forget a descriptor.
    pub fn ready(&mut self, lp: &mut Loop<Key>, number: u64) -> io::Result<()> {
        let Some(running) = self.running.get(&number) else { return Ok(()) };
        let result = match sockopt::socket_error(&running.socket) {
            Ok(Ok(())) => match rustix::net::getpeername(&running.socket) {
                Ok(_) => Ok(()),
                Err(_) => return Ok(()), // a spurious call: not connected yet
            },
            Ok(Err(errno)) | Err(errno) => Err(errno.raw_os_error()),
        };
        self.end(lp, number, result)
    }

    /// The limit of attempt `number` has passed.
    ///
    /// # Errors
    /// The loop cannot forget a descriptor.
    pub fn expired(&mut self, lp: &mut Loop<Key>, number: u64) -> io::Result<()> {
        self.end(lp, number, Err(Errno::TIMEDOUT.raw_os_error()))
    }

    fn end(&mut self, lp: &mut Loop<Key>, number: u64, result: Result<(), i32>) -> io::Result<()> {
        let Some(running) = self.running.remove(&number) else { return Ok(()) };
        lp.cancel(running.limit);
        self.done.push((running.op, result));
        lp.unwatch(running.watch)
    }

    fn start(&mut self, lp: &mut Loop<Key>, op: OpId, probe: &Probe) -> Result<(), Errno> {
        let (ip, port) = probe.to;
        let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        let mut scope = 0;
        if let Some(iface) = &probe.iface {
            plinth::sys::socket::bind_to_device(socket.as_fd(), iface)
                .map_err(|error| errno_of(&error))?;
            scope = rustix::net::netdevice::name_to_index(&socket, iface)?;
        }
        if let Some(source) = probe.source {
            rustix::net::bind(&socket, &address(source, 0, scope))?;
        }
        match rustix::net::connect(&socket, &address(ip, port, scope)) {
            Ok(()) => {
                self.done.push((op, Ok(())));
                return Ok(());
            }
            Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno),
        }
        let number = self.next;
        self.next += 1;
        let watch = lp
            .watch_for(socket.as_fd(), Direction::Write, Key::Probe(number))
            .map_err(|error| errno_of(&error))?;
        let limit = lp.set_timer(lp.now() + probe.limit, Key::ProbeLimit(number));
        self.running.insert(number, Running { op, socket, watch, limit });
        Ok(())
    }
}

/// `ip` and `port` as a socket address; only a link-local address needs the interface.
fn address(ip: IpAddr, port: u16, scope: u32) -> SocketAddr {
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, port, 0, scope).into()
        }
        _ => SocketAddr::new(ip, port),
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use plinth::event::{Handler, Progress};

    use super::*;

    /// Runs attempts on a loop of their own until all are over.
    struct World {
        prober: Prober,
        results: Vec<Probed>,
        most: usize,
    }

    impl Handler for World {
        type Key = Key;

        fn ready(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<Progress> {
            if let Key::Probe(number) = key {
                self.prober.ready(lp, number)?;
            }
            Ok(Progress::Drained)
        }

        fn timer(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<()> {
            match key {
                Key::ProbeLimit(number) => self.prober.expired(lp, number),
                _ => Err(io::ErrorKind::TimedOut.into()),
            }
        }

        fn settle(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
            self.prober.settle(lp);
            self.most = self.most.max(self.prober.running.len());
            self.results.extend(self.prober.take_done());
            if self.prober.busy() == 0 {
                lp.stop(0);
            }
            Ok(())
        }
    }

    fn results(probes: Vec<Probe>) -> (Vec<Probed>, usize) {
        let mut world = World { prober: Prober::default(), results: Vec::new(), most: 0 };
        for (op, probe) in (0..).zip(probes) {
            world.prober.submit(OpId(op), probe);
        }
        let mut lp = Loop::new().unwrap();
        lp.set_timer(lp.now() + Duration::from_secs(20), Key::StopLimit);
        lp.run(&mut world).unwrap();
        world.results.sort_by_key(|(op, _)| *op);
        (world.results, world.most)
    }

    fn probe(to: (IpAddr, u16)) -> Probe {
        Probe { to, source: None, iface: None, limit: Duration::from_secs(10) }
    }

    /// A loopback port that nobody listens on.
    fn closed_port() -> u16 {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn open_and_closed_ports_are_told_apart() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let open = (Ipv4Addr::LOCALHOST.into(), listener.local_addr().unwrap().port());
        let closed = (Ipv4Addr::LOCALHOST.into(), closed_port());
        let (results, _) = results(vec![
            probe(open),
            probe(closed),
            Probe { source: Some("127.0.0.9".parse().unwrap()), ..probe(open) },
            Probe { source: Some("192.0.2.1".parse().unwrap()), ..probe(open) },
            Probe { iface: Some("no-such-iface".to_owned()), ..probe(open) },
        ]);
        let results: Vec<_> = results.into_iter().map(|(_, result)| result).collect();
        assert_eq!(
            results,
            [
                Ok(()),
                Err(Errno::CONNREFUSED.raw_os_error()),
                Ok(()),
                Err(Errno::ADDRNOTAVAIL.raw_os_error()),
                Err(Errno::NODEV.raw_os_error()),
            ]
        );
    }

    #[test]
    fn many_attempts_wait_for_their_turn_and_all_end() {
        let closed = (Ipv4Addr::LOCALHOST.into(), closed_port());
        let (results, most) = results(vec![probe(closed); 3 * RUNNING_MAX]);
        assert_eq!(results.len(), 3 * RUNNING_MAX);
        assert!(most <= RUNNING_MAX, "{most} ran at once");
    }

    #[test]
    fn too_many_attempts_are_refused_at_once() {
        let mut prober = Prober::default();
        for op in 0..=u64::try_from(WAITING_MAX).unwrap() {
            prober.submit(OpId(op), probe((Ipv4Addr::LOCALHOST.into(), 1)));
        }
        let last = OpId(u64::try_from(WAITING_MAX).unwrap());
        assert_eq!(prober.take_done(), [(last, Err(Errno::AGAIN.raw_os_error()))]);
    }

    #[test]
    fn a_link_local_address_carries_its_interface() {
        let local: IpAddr = "fe80::1".parse().unwrap();
        assert_eq!(address(local, 4420, 7).to_string(), "[fe80::1%7]:4420");
        let global: IpAddr = "fd00::1".parse().unwrap();
        assert_eq!(address(global, 4420, 7).to_string(), "[fd00::1]:4420");
    }
}
