// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Waiting for the signals that end a command.

use std::io;
use std::time::Duration;

use plinth::event::{Handler, Loop, Progress};
use plinth::sys::signal::{Signal, Signals};
use plinth::time::Time;

/// What ends a command that would go on.
pub(super) const ENDING: &[Signal] = &[Signal::TERM, Signal::INT];

struct Waiter {
    signals: Signals,
    has_ended: bool,
}

impl Handler for Waiter {
    type Key = ();

    fn ready(&mut self, lp: &mut Loop<()>, (): ()) -> io::Result<Progress> {
        while self.signals.next().is_some() {
            self.has_ended = true;
            lp.stop(0);
        }
        Ok(Progress::Drained)
    }

    fn timer(&mut self, lp: &mut Loop<()>, (): ()) -> io::Result<()> {
        lp.stop(0);
        Ok(())
    }

    fn settle(&mut self, _: &mut Loop<()>) -> io::Result<()> {
        Ok(())
    }
}

/// Sleeps that a signal ends.
pub(super) struct Pauses(Waiter);

impl Pauses {
    /// From now on the ending signals are waited for, and no longer end the process.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Waiter { signals: Signals::new(ENDING)?, has_ended: false }))
    }

    /// Sleeps for this time; `true` when a signal has ended the command.
    pub(super) fn ended_within(&mut self, time: Duration) -> io::Result<bool> {
        self.sleep(Some(time))?;
        Ok(self.0.has_ended)
    }

    fn sleep(&mut self, time: Option<Duration>) -> io::Result<()> {
        let mut lp = Loop::new()?;
        lp.watch(self.0.signals.fd(), ())?;
        if let Some(time) = time {
            lp.set_timer(Time::monotonic() + time, ());
        }
        lp.run(&mut self.0).map(drop)
    }
}

/// Sleeps until SIGINT or SIGTERM comes.
pub(super) fn for_signal() -> io::Result<()> {
    Pauses::new()?.sleep(None)
}
