// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `wait`: blocks until a number of controllers is connected.
//!
//! Owns when to look: at once, whenever the daemon signals or the kernel tells of a controller, and
//! a little later again, since the news may be ahead of the daemon. A daemon that is not there yet
//! is waited for as well: boot scripts start this beside the daemons.

use std::error::Error;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use plinth::backoff::Backoff;
use plinth::err::{FAILED, Failure};
use plinth::time::Time;
use plinth::udev::{DeviceEvents, Group, Lost, Monitor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::ANSWER_WITHIN;
use crate::core::control::Call;
use crate::ctl::args::Args;
use crate::ctl::table;
use crate::ctl::transport::{self, CallError, Connection, Daemon};

/// Between two attempts to reach the daemon.
const REACH_STEPS: &[Duration] = &[
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
];

/// Between two looks after news. The last is for what nothing announces.
const LOOK_STEPS: &[Duration] = &[
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_secs(2),
];

/// The longest time between two looks where there is no source of news.
const BLIND_LOOK: Duration = Duration::from_secs(1);

/// A daemon gets at least this long to answer, however little time is left.
const ANSWER_WITHIN_MIN: Duration = Duration::from_millis(250);

/// The time has passed, and not enough controllers are connected.
#[derive(Debug)]
struct TooFew {
    connected: usize,
    count: usize,
    limit: Duration,
}

impl fmt::Display for TooFew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connected, count, limit } = self;
        let seconds = limit.as_secs_f64();
        write!(f, "{connected} of {count} controllers connected after {seconds} s")
    }
}

impl Error for TooFew {}

/// Waits until `args.count` controllers of `daemon` are connected, for `args.timeout`.
pub(super) fn wait(daemon: &'static Daemon, args: &Args) -> Result<(), Failure> {
    let (count, limit) = (args.count, args.timeout);
    let deadline = Time::monotonic() + limit;
    let mut reach = Backoff::new(REACH_STEPS);
    loop {
        let seen = transport::open(daemon, args.socket.as_deref(), answer_within(deadline))
            .and_then(|mut connection| watch(connection.as_mut(), count, deadline));
        let error = match seen {
            Ok(connected) if connected >= count => return Ok(()),
            Ok(connected) => {
                return Err(Failure::new(FAILED, TooFew { connected, count, limit }));
            }
            Err(error) => error,
        };
        let left = Time::monotonic().until(deadline);
        if left.is_zero() || !error.is_absence() {
            return Err(super::failure(error));
        }
        sleep(&[], reach.next().min(left));
    }
}

/// Looks until there are `count` connections or the deadline has passed; the last number seen.
fn watch(
    connection: &mut dyn Connection,
    count: usize,
    deadline: Time,
) -> Result<usize, CallError> {
    match connection.subscribe(answer_within(deadline)) {
        // A daemon that signals nothing is looked at from time to time.
        Err(error) if !error.is_unknown_method() => return Err(error),
        _ => {}
    }
    let mut kernel = Monitor::open(Group::Kernel, &["nvme"]).ok();
    let mut looks = Backoff::new(LOOK_STEPS);
    loop {
        let list = Call::ListControllers { detailed: true };
        let list = connection.call(&list, answer_within(deadline))?;
        let list = list.as_array().map_or(&[][..], Vec::as_slice);
        let connected = list.iter().filter(|item| table::is_connected(item)).count();
        let left = Time::monotonic().until(deadline);
        if connected >= count || left.is_zero() {
            return Ok(connected);
        }
        // A signal that came while the list was on its way is news as well.
        let mut news = connection.take_signals()?;
        if !news {
            let fds: Vec<_> =
                connection.fd().into_iter().chain(kernel.as_ref().map(Monitor::fd)).collect();
            let pause = looks.next().min(left);
            let pause = if fds.is_empty() { pause.min(BLIND_LOOK) } else { pause };
            if sleep(&fds, pause) {
                news = connection.take_signals()? | take_events(&mut kernel);
            }
        }
        if news {
            looks.reset();
        }
    }
}

/// Takes in what the kernel tells; a monitor that failed is given up. Was there anything?
fn take_events(kernel: &mut Option<Monitor>) -> bool {
    let mut any = false;
    while let Some(monitor) = kernel {
        match monitor.next() {
            Ok(None) => break,
            Ok(Some(_)) => {}
            Err(Lost::Broken(_)) => *kernel = None,
            Err(_) => {}
        }
        any = true;
    }
    any
}

fn answer_within(deadline: Time) -> Duration {
    Time::monotonic().until(deadline).clamp(ANSWER_WITHIN_MIN, ANSWER_WITHIN)
}

/// Sleeps for `span`, or until one of `fds` can be read: can it?
fn sleep(fds: &[BorrowedFd<'_>], span: Duration) -> bool {
    let timeout = Timespec::try_from(span).ok();
    let mut fds: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0)
}
