// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Waiting longer after each failure.
//!
//! Owns the position in a table of spans. Leaves the clock and the timer to the caller. The last
//! span repeats for ever; an empty table means not to wait at all.

use std::time::Duration;

use crate::rand::Rng;

/// The position in a table of waiting times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    steps: &'static [Duration],
    taken: usize,
}

impl Backoff {
    /// Starts at the first of `steps`.
    #[must_use]
    pub const fn new(steps: &'static [Duration]) -> Self {
        Self { steps, taken: 0 }
    }

    /// How long to wait now; the answer grows along the table, whose last span repeats.
    #[expect(clippy::should_implement_trait, reason = "endless: there is no None to end a loop")]
    pub fn next(&mut self) -> Duration {
        let last = self.steps.last().copied().unwrap_or(Duration::ZERO);
        let span = self.steps.get(self.taken).copied().unwrap_or(last);
        self.taken = self.taken.saturating_add(1);
        span
    }

    /// Starts over, after a success.
    pub const fn reset(&mut self) {
        self.taken = 0;
    }

    /// How many times [`Backoff::next`] was asked since the start or the last reset.
    #[must_use]
    pub const fn taken(&self) -> usize {
        self.taken
    }
}

/// `span`, made up to `percent` per cent longer or shorter, so that many hosts do not retry
/// together.
///
/// More than 100 per cent counts as 100: a span never becomes negative.
#[must_use]
pub fn jitter(span: Duration, percent: u8, rng: &mut Rng) -> Duration {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let reach = nanos / 100 * u64::from(percent.min(100));
    let shift = rng.below(reach.saturating_mul(2).saturating_add(1));
    Duration::from_nanos((nanos - reach).saturating_add(shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[Duration] =
        &[Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5)];

    #[test]
    fn the_last_step_repeats_until_reset() {
        let mut backoff = Backoff::new(STEPS);
        let seconds: Vec<u64> = (0..5).map(|_| backoff.next().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 5, 5, 5]);
        assert_eq!(backoff.taken(), 5);
        backoff.reset();
        assert_eq!(backoff.next(), Duration::from_secs(1));
    }

    #[test]
    fn an_empty_table_does_not_wait() {
        assert_eq!(Backoff::new(&[]).next(), Duration::ZERO);
    }

    #[test]
    fn jitter_stays_within_its_percentage_and_reaches_both_sides() {
        let (mut rng, span) = (Rng::seeded(1), Duration::from_secs(100));
        let spans: Vec<Duration> = (0..200).map(|_| jitter(span, 10, &mut rng)).collect();
        assert!(spans.iter().all(|s| (90..=110).contains(&s.as_secs())));
        assert!(spans.iter().any(|s| *s < span));
        assert!(spans.iter().any(|s| *s > span));
        assert_eq!(jitter(span, 0, &mut rng), span);
        assert!(jitter(span, 255, &mut rng) <= span * 2);
        assert!(jitter(Duration::MAX, 100, &mut rng) <= Duration::from_nanos(u64::MAX));
    }
}
