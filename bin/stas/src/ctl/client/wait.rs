// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `wait`: blocks until a number of controllers is connected.
//!
//! Owns when to look: at once, whenever the daemon signals, and a little later again, since a
//! signal may be ahead of what it is about. A daemon that is not there yet is waited for as well:
//! boot scripts start this beside the daemons.

use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use plinth::backoff::Backoff;
use plinth::err::{FAILED, Failure};
use plinth::time::Time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

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

/// Between two looks after a signal. The last is for news that nothing announces.
const LOOK_STEPS: &[Duration] =
    &[Duration::from_millis(200), Duration::from_millis(800), Duration::from_secs(10)];

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
        let seen = transport::open(daemon, args.socket.as_deref())
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
        sleep(None, reach.next().min(left))?;
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
        if connection.take_signals()? {
            looks.reset(); // what came while the list was on its way
            continue;
        }
        let readable = sleep(Some(connection.fd()), looks.next().min(left));
        if readable.unwrap_or(false) && connection.take_signals()? {
            looks.reset();
        }
    }
}

fn answer_within(deadline: Time) -> Duration {
    Time::monotonic().until(deadline).clamp(ANSWER_WITHIN_MIN, ANSWER_WITHIN)
}

/// Sleeps for `span`, or until `fd` can be read: can it?
fn sleep(fd: Option<BorrowedFd<'_>>, span: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(span).ok();
    let mut fds: Vec<PollFd<'_>> = fd.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
