// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The fate of what travels through a simulated network, socket or queue.

use std::time::Duration;

use crate::rand::Rng;

/// What becomes of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives after this time.
    Arrives(Duration),
    /// It is lost.
    Lost,
}

/// How a link treats what travels over it. Delays differ from message to message, so that messages
/// overtake each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Most messages take at least this long.
    pub delay_min: Duration,
    /// And at most this long.
    pub delay_max: Duration,
    /// Of a thousand messages, so many are lost.
    pub loss_per_mille: u64,
    /// Of a thousand messages, so many take ten times as long.
    pub late_per_mille: u64,
}

impl Link {
    /// A link that delivers everything at once, in order.
    pub const PERFECT: Self = Self {
        delay_min: Duration::ZERO,
        delay_max: Duration::ZERO,
        loss_per_mille: 0,
        late_per_mille: 0,
    };

    /// Draws the fate of one message.
    pub fn draw(&self, rng: &mut Rng) -> Fate {
        if rng.chance(self.loss_per_mille, 1000) {
            return Fate::Lost;
        }
        Fate::Arrives(self.delay(rng))
    }

    /// Draws a delay, for what cannot be lost.
    pub fn delay(&self, rng: &mut Rng) -> Duration {
        let spread = self.delay_max.saturating_sub(self.delay_min);
        let spread = u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX - 1);
        let delay = self.delay_min + Duration::from_nanos(rng.below(spread + 1));
        if rng.chance(self.late_per_mille, 1000) { delay * 10 } else { delay }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_link_delivers_at_once() {
        let mut rng = Rng::seeded(1);
        for _ in 0..100 {
            assert_eq!(Link::PERFECT.draw(&mut rng), Fate::Arrives(Duration::ZERO));
        }
    }

    #[test]
    fn delays_stay_in_bounds_and_losses_happen() {
        let (min, max) = (Duration::from_millis(1), Duration::from_millis(5));
        let link = Link { delay_min: min, delay_max: max, loss_per_mille: 500, late_per_mille: 0 };
        let mut rng = Rng::seeded(2);
        let fates: Vec<Fate> = (0..1000).map(|_| link.draw(&mut rng)).collect();
        let lost = fates.iter().filter(|fate| **fate == Fate::Lost).count();
        assert!((400..600).contains(&lost), "{lost} of 1000 lost");
        let in_bounds = |fate: &Fate| match fate {
            Fate::Arrives(delay) => (min..=max).contains(delay),
            Fate::Lost => true,
        };
        assert!(fates.iter().all(in_bounds));
    }
}
