// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A restartable timer with a stored interval: soak timers (debounce) and retry timers.
//!
//! Owns an interval and, while running, a deadline. Asking for the wake-up is left to the owner,
//! who passes [`Timer::deadline`] on, and calls [`Timer::take_expired`] when time has moved.
//! The text form is part of the daemons' interface (`process_info`, `controller_info`).

use std::fmt::Write as _;
use std::time::Duration;

use plinth::time::Time;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    interval: Duration,
    deadline: Option<Time>,
}

impl Timer {
    /// A stopped timer.
    #[must_use]
    pub const fn new(interval: Duration) -> Self {
        Self { interval, deadline: None }
    }

    /// The stored interval.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// Stores an interval for the next start; a running timer keeps its deadline.
    pub const fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// Starts, or restarts, with the stored interval.
    pub fn start(&mut self, now: Time) {
        self.deadline = Some(now + self.interval);
    }

    /// Stores `interval` and starts with it, as [`Timer::start`].
    pub fn start_with(&mut self, now: Time, interval: Duration) {
        self.interval = interval;
        self.start(now);
    }

    /// Starts with a deadline of its own, `span` from now; the stored interval stays.
    pub fn start_spread(&mut self, now: Time, span: Duration) {
        self.deadline = Some(now + span);
    }

    /// Makes a running timer expire at once; does nothing to a stopped one.
    pub fn clear(&mut self, now: Time) {
        if let Some(deadline) = &mut self.deadline {
            *deadline = (*deadline).min(now);
        }
    }

    /// Stops without expiring.
    pub const fn stop(&mut self) {
        self.deadline = None;
    }

    /// Whether the timer runs.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.deadline.is_some()
    }

    /// When a running timer expires.
    #[must_use]
    pub const fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Stops the timer and returns `true` if it has expired.
    pub fn take_expired(&mut self, now: Time) -> bool {
        let expired = self.deadline.is_some_and(|deadline| deadline <= now);
        if expired {
            self.deadline = None;
        }
        expired
    }

    /// `60.0s [off]` when stopped, `3.0s [2.9s]` when running.
    #[must_use]
    pub fn text(&self, now: Time) -> String {
        let mut text = format!("{:?}s ", self.interval.as_secs_f64());
        let written = match self.deadline.map(|deadline| now.until(deadline)) {
            None => write!(text, "[off]"),
            Some(Duration::ZERO) => write!(text, "[0s]"),
            Some(left) => write!(text, "[{:?}s]", (left.as_secs_f64() * 10.0).round() / 10.0),
        };
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    // R008
    #[test]
    fn text_shows_interval_and_remaining_time() {
        let (mut timer, now) = (Timer::new(5 * SECOND), Time::from_nanos(7));
        assert_eq!((timer.interval(), timer.deadline()), (5 * SECOND, None));
        assert_eq!(timer.text(now), "5.0s [off]");
        timer.set_interval(18 * SECOND);
        assert_eq!(timer.text(now), "18.0s [off]");
        timer.start(now);
        assert_eq!(timer.text(now + Duration::from_millis(100)), "18.0s [17.9s]");
        timer.clear(now);
        assert_eq!(timer.text(now), "18.0s [0s]");
        assert!(timer.take_expired(now));
        assert!(!timer.take_expired(now));
        assert_eq!(timer.text(now), "18.0s [off]");
    }

    // R008
    #[test]
    fn a_restart_moves_the_one_deadline() {
        let (mut timer, now) = (Timer::new(SECOND), Time::ZERO);
        timer.start(now);
        timer.start_with(now + SECOND / 2, 3 * SECOND);
        assert!(!timer.take_expired(now + SECOND));
        assert!(timer.take_expired(now + SECOND * 7 / 2));
        assert_eq!(timer.deadline(), None);
    }

    // R008
    #[test]
    fn clearing_a_stopped_timer_does_nothing() {
        let mut timer = Timer::new(SECOND);
        timer.clear(Time::from_nanos(1));
        assert!(!timer.take_expired(Time::from_nanos(u64::MAX)));
    }
}
