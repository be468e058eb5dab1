// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon's side of the kernel helper: queues jobs, keeps the process, collects outcomes.
//!
//! Owns the helper's process and socket. Jobs of one kind keep their order; the kinds do not wait
//! for each other. Only a bounded number of jobs is handed over at a time, the rest waits here. A
//! helper that dies takes the jobs it was given with it: they end with `EINTR`, which means "try
//! again", and the next helper is started after a pause that grows. Nothing here blocks.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use plinth::backoff::Backoff;
use plinth::event::{Direction, Loop, Progress, TimerId, WatchId};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::helper::{ARGUMENT, QUEUE_MAX};
use super::wire::{self, Job, Outcome};
use crate::core::port::{AdminError, OpId};
use crate::shell::children::{Children, Started};
use crate::shell::key::Key;

/// Jobs of one kind that wait here; beyond it a job fails at once with `EAGAIN`.
pub const WAITING_MAX: usize = 8192;
/// Connects handed over at a time: the kernel takes one, and one waits behind it.
const CONNECTS_MAX: usize = 2;
/// A helper without work for this long is let go, where nothing is lost by starting another.
pub const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// Outcomes read in one turn.
const TURN_MAX: usize = 64;
const RESTART_STEPS: &[Duration] = &[
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Connect,
    Admin,
    Delete,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Connect, Self::Admin, Self::Delete];

    const fn of(job: &Job) -> Self {
        match job {
            Job::Connect { .. } => Self::Connect,
            Job::Admin { .. } => Self::Admin,
            Job::Delete { .. } => Self::Delete,
        }
    }

    const fn under_way_max(self) -> usize {
        match self {
            Self::Connect => CONNECTS_MAX,
            Self::Admin | Self::Delete => QUEUE_MAX,
        }
    }
}

struct Running {
    socket: OwnedFd,
    watch: WatchId,
    writing: bool,
}

/// The helper as the daemon sees it.
pub struct Client {
    program: String,
    running: Option<Running>,
    /// Helpers whose end was not seen yet: the running one and those let go.
    children: Children,
    waiting: BTreeMap<Kind, VecDeque<(OpId, Job)>>,
    under_way: BTreeMap<OpId, Kind>,
    done: Vec<(OpId, Outcome)>,
    backoff: Backoff,
    restart: Option<TimerId>,
    idle: Option<TimerId>,
    /// How long a helper without work is kept; none is for ever.
    patience: Option<Duration>,
}

impl Client {
    /// A client that has not started its helper; `program` is the helper's visible name, `patience`
    /// is how long it is kept without work (for ever, when there is none).
    #[must_use]
    pub fn new(program: &str, patience: Option<Duration>) -> Self {
        Self {
            program: program.to_owned(),
            running: None,
            children: Children::new(Key::HelperExit),
            waiting: BTreeMap::new(),
            under_way: BTreeMap::new(),
            done: Vec::new(),
            backoff: Backoff::new(RESTART_STEPS),
            restart: None,
            idle: None,
            patience,
        }
    }

    /// Queues a job. Its outcome comes from [`Client::take_done`] later, exactly once.
    pub fn submit(&mut self, op: OpId, job: Job) {
        let waiting = self.waiting.entry(Kind::of(&job)).or_default();
        if waiting.len() < WAITING_MAX {
            waiting.push_back((op, job));
        } else {
            self.done.push((op, failed(Errno::AGAIN)));
        }
    }

    /// The outcomes collected since the last call.
    pub fn take_done(&mut self) -> Vec<(OpId, Outcome)> {
        std::mem::take(&mut self.done)
    }

    /// Jobs that wait or are under way.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.under_way.len() + self.waiting.values().map(VecDeque::len).sum::<usize>()
    }

    /// Hands over what can be handed over; starts the helper when there is work. To be called once
    /// a turn.
    ///
    /// # Errors
    /// The loop cannot watch a descriptor.
    pub fn settle(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        let work = self.busy() > 0;
        if work {
            self.idle.take().map(|timer| lp.cancel(timer));
        } else if self.running.is_some() && self.idle.is_none() {
            self.idle =
                self.patience.map(|patience| lp.set_timer(lp.now() + patience, Key::HelperIdle));
        }
        if work && self.running.is_none() && self.restart.is_none() {
            if let Err(error) = self.start(lp) {
                log::error!("Cannot start the kernel helper: {error}");
                self.later(lp);
            }
        }
        self.send(lp)
    }

    /// The socket has news.
    ///
    /// # Errors
    /// The loop cannot forget a descriptor.
    pub fn ready(&mut self, lp: &mut Loop<Key>) -> io::Result<Progress> {
        let mut packet = [0; wire::PACKET_LEN_MAX];
        for _ in 0..TURN_MAX {
            let Some(running) = &self.running else { return Ok(Progress::Drained) };
            let len = match rustix::net::recv(&running.socket, &mut packet, RecvFlags::empty()) {
                Ok((_, len)) => len,
                Err(Errno::AGAIN) => return Ok(Progress::Drained),
                Err(Errno::INTR) => continue,
                Err(_) => 0,
            };
            if len == 0 {
                return self.lost(lp).map(|()| Progress::Drained);
            }
            match wire::decode_outcome(packet.get(..len).unwrap_or_default()) {
                Ok((op, outcome)) => {
                    if self.under_way.remove(&op).is_some() {
                        self.backoff.reset();
                        self.done.push((op, outcome));
                    }
                }
                Err(error) => {
                    log::error!("Kernel helper: {error}");
                    return self.lost(lp).map(|()| Progress::Drained);
                }
            }
        }
        Ok(Progress::More)
    }

    /// A helper's process ended.
    ///
    /// # Errors
    /// The loop cannot forget a descriptor.
    pub fn exited(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        self.children.exited(lp, |status| log::error!("The kernel helper ended: {status}"))
    }

    /// One of the timers [`Key::HelperRestart`] and [`Key::HelperIdle`] is due.
    ///
    /// # Errors
    /// The loop cannot forget a descriptor.
    pub fn timer(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<()> {
        if key == Key::HelperRestart {
            self.restart = None;
        } else if key == Key::HelperIdle {
            self.idle = None;
            if self.busy() == 0 {
                self.let_go(lp)?;
            }
        }
        Ok(())
    }

    fn start(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let started = Started::spawn(
            Command::new("/proc/self/exe")
                .arg0(&self.program)
                .arg(ARGUMENT)
                .stdin(Stdio::from(theirs))
                .stdout(Stdio::null()),
        )?;
        self.children.watch(lp, started)?;
        let watch = lp.watch(ours.as_fd(), Key::Helper)?;
        self.running = Some(Running { socket: ours, watch, writing: false });
        Ok(())
    }

    fn send(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let mut full = false;
        'kinds: for kind in Kind::ALL {
            let Some(waiting) = self.waiting.get_mut(&kind) else { continue };
            let mut room = kind
                .under_way_max()
                .saturating_sub(self.under_way.values().filter(|of| **of == kind).count());
            while let Some((op, job)) = waiting.front().filter(|_| room > 0) {
                let packet = wire::encode_job(*op, job);
                match rustix::net::send(&running.socket, &packet, SendFlags::NOSIGNAL) {
                    Ok(_) => {
                        self.under_way.insert(*op, kind);
                        waiting.pop_front();
                        room -= 1;
                    }
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => {
                        full = true;
                        break 'kinds;
                    }
                    Err(_) => return self.lost(lp),
                }
            }
        }
        if full != running.writing {
            running.writing = full;
            lp.rearm(running.watch, if full { Direction::Both } else { Direction::Read })?;
        }
        Ok(())
    }

    /// The helper is gone, or not to be trusted: its jobs end, another is started later.
    fn lost(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        self.let_go(lp)?;
        for (op, _) in std::mem::take(&mut self.under_way) {
            self.done.push((op, failed(Errno::INTR)));
        }
        self.later(lp);
        Ok(())
    }

    fn later(&mut self, lp: &mut Loop<Key>) {
        if self.restart.is_none() {
            let pause = self.backoff.next();
            self.restart = Some(lp.set_timer(lp.now() + pause, Key::HelperRestart));
        }
    }

    /// Closes the socket, on which the helper ends by itself.
    fn let_go(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        self.idle.take().map(|timer| lp.cancel(timer));
        match self.running.take() {
            Some(running) => lp.unwatch(running.watch),
            None => Ok(()),
        }
    }
}

const fn failed(errno: Errno) -> Outcome {
    Outcome::Failed(AdminError::Errno(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use plinth::event::Handler;

    use super::*;
    use crate::core::port::DeviceId;

    /// A daemon whose helper cannot live: the test's own executable knows no such argument.
    struct World {
        client: Client,
        done: Vec<(OpId, Outcome)>,
        wanted: usize,
        restarts: usize,
    }

    impl Handler for World {
        type Key = Key;

        fn ready(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<Progress> {
            match key {
                Key::Helper => return self.client.ready(lp),
                Key::HelperExit => self.client.exited(lp)?,
                _ => {}
            }
            Ok(Progress::Drained)
        }

        fn timer(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<()> {
            match key {
                Key::StopLimit => Err(io::ErrorKind::TimedOut.into()),
                Key::HelperRestart => {
                    self.restarts += 1;
                    self.client.timer(lp, key)
                }
                _ => self.client.timer(lp, key),
            }
        }

        fn settle(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
            self.client.settle(lp)?;
            self.done.extend(self.client.take_done());
            if self.done.len() >= self.wanted && self.client.children.count() == 0 {
                lp.stop(0);
            }
            Ok(())
        }
    }

    fn connect() -> Job {
        Job::Connect { options: "nqn=x,transport=tcp".to_owned() }
    }

    #[test]
    fn jobs_of_a_helper_that_dies_end_and_it_is_started_again() {
        let mut client = Client::new("stafd", None);
        for op in 0..4 {
            client.submit(OpId(op), connect()); // two are handed over at a time
        }
        let device = DeviceId { name: "nvme0".to_owned(), instance: 1 };
        client.submit(OpId(4), Job::Delete { device });
        let mut world = World { client, done: Vec::new(), wanted: 5, restarts: 0 };
        let mut lp = Loop::new().expect("a loop");
        lp.set_timer(lp.now() + Duration::from_secs(20), Key::StopLimit);
        lp.run(&mut world).expect("all jobs end");
        let mut ended: Vec<u64> = world.done.iter().map(|(op, _)| op.0).collect();
        ended.sort_unstable();
        assert_eq!(ended, [0, 1, 2, 3, 4], "each job ends once");
        assert!(world.done.iter().all(|(_, outcome)| *outcome == failed(Errno::INTR)));
        assert!(world.restarts >= 1);
        assert_eq!(world.client.busy(), 0);
    }

    #[test]
    fn too_many_jobs_are_refused_at_once() {
        let mut client = Client::new("stafd", None);
        let last = u64::try_from(WAITING_MAX).unwrap_or(u64::MAX);
        for op in 0..=last {
            client.submit(OpId(op), connect());
        }
        assert_eq!(client.take_done(), [(OpId(last), failed(Errno::AGAIN))]);
        assert_eq!(client.busy(), WAITING_MAX);
    }
}
