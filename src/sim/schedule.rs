// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What will happen, and when: the clock of a simulation.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Time;

/// Things that will happen, in order of time; those of one moment in the order they were added.
#[derive(Clone, Debug)]
pub struct Schedule<E> {
    now: Time,
    serial: u64,
    coming: BTreeMap<(Time, u64), E>,
}

impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Self { now: Time::ZERO, serial: 0, coming: BTreeMap::new() }
    }
}

impl<E> Schedule<E> {
    /// The present.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Lets `event` happen at `at`, or at once when that has passed.
    pub fn at(&mut self, at: Time, event: E) {
        self.serial += 1;
        self.coming.insert((at.max(self.now), self.serial), event);
    }

    /// Lets `event` happen after `span`.
    pub fn after(&mut self, span: Duration, event: E) {
        self.at(self.now + span, event);
    }

    /// When the next thing happens.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        self.coming.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets time pass until `at`, which nothing scheduled may precede.
    ///
    /// # Panics
    /// When something was to happen before, or `at` has passed: the world forgot to look.
    pub fn advance(&mut self, at: Time) {
        assert!(self.next_at().is_none_or(|next| next >= at), "time jumps over an event");
        assert!(at >= self.now, "time goes backwards");
        self.now = at;
    }

    /// Takes the next thing, and lets time pass until then.
    pub fn take_next(&mut self) -> Option<E> {
        let ((at, _), event) = self.coming.pop_first()?;
        self.now = at;
        Some(event)
    }

    /// Forgets everything that `keep` is false for.
    pub fn retain(&mut self, mut keep: impl FnMut(&E) -> bool) {
        self.coming.retain(|_, event| keep(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_in_order_and_ties_in_the_order_added() {
        let mut schedule = Schedule::default();
        schedule.after(Duration::from_secs(2), 'c');
        schedule.after(Duration::from_secs(1), 'a');
        schedule.after(Duration::from_secs(1), 'b');
        assert_eq!(schedule.next_at(), Some(Time::ZERO + Duration::from_secs(1)));
        let order: String = std::iter::from_fn(|| schedule.take_next()).collect();
        assert_eq!(order, "abc");
        assert_eq!(schedule.now(), Time::ZERO + Duration::from_secs(2));
        schedule.at(Time::ZERO, 'd');
        assert_eq!(schedule.next_at(), Some(schedule.now()), "the past is now");
    }

    #[test]
    #[should_panic(expected = "time jumps over an event")]
    fn time_does_not_jump_over_events() {
        let mut schedule = Schedule::default();
        schedule.after(Duration::from_secs(1), ());
        schedule.advance(Time::ZERO + Duration::from_secs(2));
    }
}
