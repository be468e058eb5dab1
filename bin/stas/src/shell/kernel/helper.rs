// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The helper process: takes jobs from its standard input, makes the calls, sends the outcomes.
//!
//! One thread connects, because the kernel makes connections one after the other anyway; a few
//! serve admin commands and a few deletions. When the daemon goes away, the calls in progress are
//! awaited, those behind them are dropped, and the process ends: an interrupted connect would leave
//! the target with a half-open session. Signals that stop the daemon's whole process group do not
//! reach it for the same reason.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use plinth::event::{Direction, Handler, Loop, Progress, WatchId};
use plinth::pool::Pool;
use plinth::sys::signal::{Signal, Signals};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::calls::{self, Places};
use super::wire::{self, Job, Outcome};
use crate::core::port::{AdminError, OpId};

/// The first argument that makes a daemon's executable a helper.
pub const ARGUMENT: &str = "--kernel-helper";

/// Jobs of one kind that wait for a thread. The daemon never has more than this under way.
pub const QUEUE_MAX: usize = 64;
const CONNECT_THREADS: usize = 1;
const ADMIN_THREADS: usize = 4;
const DELETE_THREADS: usize = 4;
/// Jobs read from the socket in one turn.
const TURN_MAX: usize = 32;

/// Set once the daemon is gone; jobs that have not begun by then are dropped.
static CLOSING: AtomicBool = AtomicBool::new(false);
static PLACES: OnceLock<Places> = OnceLock::new();

type Work = Pool<(OpId, Job), (OpId, Outcome)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Socket,
    Pool(usize),
}

struct Helper {
    socket: OwnedFd,
    watch: WatchId,
    pools: [Work; 3],
    /// Jobs submitted to a pool whose outcome has not come back.
    under_way: usize,
    unsent: VecDeque<Vec<u8>>,
    writing: bool,
}

/// Runs the helper until the daemon at the other end of standard input goes away.
///
/// # Errors
/// Standard input is not such a socket, or the system lacks descriptors or threads.
pub fn run() -> io::Result<()> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    if rustix::net::sockopt::socket_type(&socket)? != rustix::net::SocketType::SEQPACKET {
        return Err(io::Error::new(ErrorKind::InvalidInput, "standard input is not a daemon"));
    }
    rustix::io::ioctl_fionbio(&socket, true)?;
    let _blocked = Signals::new(&[Signal::TERM, Signal::INT, Signal::HUP])?;
    PLACES.get_or_init(Places::system);
    let pools = [
        Pool::new("connect", CONNECT_THREADS, QUEUE_MAX, work)?,
        Pool::new("admin", ADMIN_THREADS, QUEUE_MAX, work)?,
        Pool::new("delete", DELETE_THREADS, QUEUE_MAX, work)?,
    ];
    let mut lp = Loop::new()?;
    for (index, pool) in pools.iter().enumerate() {
        lp.watch(pool.fd(), Key::Pool(index))?;
    }
    let watch = lp.watch(socket.as_fd(), Key::Socket)?;
    let mut helper =
        Helper { socket, watch, pools, under_way: 0, unsent: VecDeque::new(), writing: false };
    lp.run(&mut helper).map(drop)
}

fn work((op, job): (OpId, Job)) -> (OpId, Outcome) {
    if CLOSING.load(Ordering::Relaxed) {
        return (op, failed(Errno::CANCELED));
    }
    (op, calls::carry_out(PLACES.get_or_init(Places::system), &job))
}

const fn failed(errno: Errno) -> Outcome {
    Outcome::Failed(AdminError::Errno(errno.raw_os_error()))
}

impl Helper {
    fn take_jobs(&mut self) -> io::Result<Progress> {
        let mut packet = [0; wire::PACKET_LEN_MAX];
        for _ in 0..TURN_MAX {
            let len = match rustix::net::recv(&self.socket, &mut packet, RecvFlags::empty()) {
                Ok((_, 0)) | Err(Errno::CONNRESET) => {
                    CLOSING.store(true, Ordering::Relaxed);
                    return Ok(Progress::Drained);
                }
                Ok((_, len)) => len.min(packet.len()),
                Err(Errno::AGAIN) => return Ok(Progress::Drained),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let (op, job) = wire::decode_job(packet.get(..len).unwrap_or_default())
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            self.begin(op, job);
        }
        Ok(Progress::More)
    }

    fn begin(&mut self, op: OpId, job: Job) {
        let [connects, admins, deletes] = &mut self.pools;
        let pool = match job {
            Job::Connect { .. } => connects,
            Job::Admin { .. } => admins,
            Job::Delete { .. } => deletes,
        };
        if pool.submit((op, job)).is_ok() {
            self.under_way += 1;
        } else {
            self.unsent.push_back(wire::encode_outcome(op, &failed(Errno::AGAIN)));
        }
    }

    fn send(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        while let Some(packet) = self.unsent.front() {
            match rustix::net::send(&self.socket, packet, SendFlags::NOSIGNAL) {
                Ok(_) => drop(self.unsent.pop_front()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    // Nobody listens any more; what is under way is still awaited.
                    CLOSING.store(true, Ordering::Relaxed);
                    self.unsent.clear();
                }
            }
        }
        let wanted = !self.unsent.is_empty();
        if wanted != self.writing {
            self.writing = wanted;
            lp.rearm(self.watch, if wanted { Direction::Both } else { Direction::Read })?;
        }
        Ok(())
    }
}

impl Handler for Helper {
    type Key = Key;

    fn ready(&mut self, _: &mut Loop<Key>, key: Key) -> io::Result<Progress> {
        match key {
            Key::Socket => return self.take_jobs(),
            Key::Pool(index) => {
                if let Some(pool) = self.pools.get_mut(index) {
                    while let Some((op, outcome)) = pool.next_result() {
                        self.under_way -= 1;
                        self.unsent.push_back(wire::encode_outcome(op, &outcome));
                    }
                }
            }
        }
        Ok(Progress::Drained)
    }

    fn timer(&mut self, _: &mut Loop<Key>, _: Key) -> io::Result<()> {
        Ok(())
    }

    fn settle(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        self.send(lp)?;
        if CLOSING.load(Ordering::Relaxed) && self.under_way == 0 {
            lp.stop(0);
        }
        Ok(())
    }
}
