// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counting lines that repeat within a second instead of writing them again.
//!
//! Remembers the last [`DISTINCT_MAX`] different lines for one second each. The first of a kind
//! passes at once; when its second is over, one more line says how many followed it.

use std::collections::VecDeque;
use std::time::Duration;

use super::Line;
use crate::time::Time;

/// How long a line is remembered.
const WINDOW: Duration = Duration::from_secs(1);

/// How many different lines are remembered; the oldest makes room for a new one.
const DISTINCT_MAX: usize = 32;

/// The lines of the last second.
#[derive(Debug, Default)]
pub(super) struct Repeat {
    recent: VecDeque<Seen>,
}

#[derive(Debug)]
struct Seen {
    line: Line,
    at: Time,
    again: u64,
}

impl Repeat {
    /// Takes `line`, and pushes to `out` what is to be written now.
    pub(super) fn offer(&mut self, now: Time, line: Line, out: &mut Vec<Line>) {
        self.expire(now, out);
        if let Some(seen) = self.recent.iter_mut().find(|seen| seen.line == line) {
            seen.again += 1;
            return;
        }
        if self.recent.len() >= DISTINCT_MAX {
            out.extend(self.recent.pop_front().and_then(Seen::summary));
        }
        out.push(line.clone());
        self.recent.push_back(Seen { line, at: now, again: 0 });
    }

    /// Pushes the summaries of lines whose second is over.
    pub(super) fn expire(&mut self, now: Time, out: &mut Vec<Line>) {
        while self.recent.front().is_some_and(|seen| seen.at + WINDOW <= now) {
            out.extend(self.recent.pop_front().and_then(Seen::summary));
        }
    }

    /// Pushes all summaries, and forgets everything.
    pub(super) fn drain(&mut self, out: &mut Vec<Line>) {
        out.extend(self.recent.drain(..).filter_map(Seen::summary));
    }

    /// When the next summary is due.
    pub(super) fn due(&self) -> Option<Time> {
        self.recent.iter().find(|seen| seen.again > 0).map(|seen| seen.at + WINDOW)
    }
}

impl Seen {
    fn summary(self) -> Option<Line> {
        let times = match self.again {
            0 => return None,
            1 => "once more".to_owned(),
            n => format!("{n} times more"),
        };
        Some(Line { text: format!("{} (repeated {times})", self.line.text), ..self.line })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn offer(repeat: &mut Repeat, millis: u64, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        repeat.offer(at(millis), Line::new(Level::Info, text), &mut out);
        out.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn repeated_lines_are_counted_for_a_second() {
        let mut repeat = Repeat::default();
        assert_eq!(offer(&mut repeat, 0, "down"), ["down"]);
        assert_eq!(repeat.due(), None);
        for millis in [1, 500, 999] {
            assert!(offer(&mut repeat, millis, "down").is_empty());
        }
        assert_eq!(repeat.due(), Some(at(1000)));
        assert_eq!(offer(&mut repeat, 1000, "down"), ["down (repeated 3 times more)", "down"]);
        assert_eq!(offer(&mut repeat, 2500, "down"), ["down"]);
    }

    #[test]
    fn alternating_lines_are_counted_each() {
        let mut repeat = Repeat::default();
        for (millis, text) in [(0, "a"), (10, "b"), (20, "a"), (30, "b"), (40, "b")] {
            offer(&mut repeat, millis, text);
        }
        let mut out = Vec::new();
        repeat.expire(at(1005), &mut out);
        assert_eq!(out, [Line::new(Level::Info, "a (repeated once more)")]);
        repeat.drain(&mut out);
        assert_eq!(out[1..], [Line::new(Level::Info, "b (repeated 2 times more)")]);
        assert_eq!(repeat.due(), None);
    }

    #[test]
    fn level_and_fields_make_a_difference() {
        let (mut repeat, mut out) = (Repeat::default(), Vec::new());
        let one = Line::new(Level::Info, "down");
        let two = Line { level: Level::Warn, ..one.clone() };
        let three = Line { fields: vec![("device".into(), "nvme1".into())], ..one.clone() };
        for line in [&one, &two, &three, &one] {
            repeat.offer(at(0), line.clone(), &mut out);
        }
        assert_eq!(out, [one, two, three]);
    }

    #[test]
    fn memory_is_bounded_and_no_count_is_lost() {
        let mut repeat = Repeat::default();
        offer(&mut repeat, 0, "first");
        offer(&mut repeat, 0, "first");
        let mut texts = Vec::new();
        for n in 0..DISTINCT_MAX * 3 {
            texts.extend(offer(&mut repeat, 1, &n.to_string()));
        }
        assert!(repeat.recent.len() <= DISTINCT_MAX);
        assert!(texts.contains(&"first (repeated once more)".to_owned()));
    }
}
