// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From lines to a sink: waiting for a place, moving to a better one, surviving the loss of one.
//!
//! Time is an argument and places are a trait, so that everything here is tested without a system.
//! Lines keep their order. When the wanted places are missing, lines are held for at most
//! [`GRACE`]; then the last resort takes them, and a better place takes over whenever it appears.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::Duration;

use ::log::Level;

use super::places::Places;
use super::repeat::Repeat;
use super::{Line, Sink, Target};
use crate::time::Time;

/// How long lines are held for a place that does not exist yet.
const GRACE: Duration = Duration::from_secs(5);

/// How often places are looked for while lines are held.
const RETRY_HELD: Duration = Duration::from_millis(100);

/// How often a better place is looked for while a worse one serves; only lines trigger it.
const RETRY: Duration = Duration::from_secs(1);

/// How many lines are held; the oldest make room.
const HELD_MAX: usize = 1000;

/// The rank of the last resort: after all others.
const LAST: usize = usize::MAX;

/// Routes lines; see the module's documentation.
pub struct Router<P> {
    places: P,
    target: Target,
    sink: Option<(usize, Box<dyn Sink>)>,
    held: VecDeque<Line>,
    held_since: Time,
    look_at: Time,
    lost: u64,
    repeat: Repeat,
}

impl<P> std::fmt::Debug for Router<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("target", &self.target).finish_non_exhaustive()
    }
}

impl<P: Places> Router<P> {
    /// A router that starts at `now`.
    pub fn new(now: Time, target: Target, places: P) -> Self {
        Self {
            places,
            target,
            sink: None,
            held: VecDeque::new(),
            held_since: now,
            look_at: now,
            lost: 0,
            repeat: Repeat::default(),
        }
    }

    /// Takes one line.
    pub fn log(&mut self, now: Time, line: Line) {
        let mut out = Vec::new();
        self.repeat.offer(now, line, &mut out);
        self.hold(out);
        self.deliver(now);
    }

    /// Does what is due at `now`; returns when to come back.
    pub fn tick(&mut self, now: Time) -> Option<Time> {
        let mut out = Vec::new();
        self.repeat.expire(now, &mut out);
        self.hold(out);
        if !self.held.is_empty() {
            self.deliver(now);
        }
        let held = (!self.held.is_empty()).then_some(self.look_at);
        [held, self.repeat.due()].into_iter().flatten().min()
    }

    /// Delivers everything now, to the last resort if there is nothing better.
    pub fn finish(&mut self, now: Time) {
        let mut out = Vec::new();
        self.repeat.drain(&mut out);
        self.hold(out);
        self.look_at = now;
        self.deliver(now);
        if !self.held.is_empty() {
            self.sink = Some((LAST, self.places.last_resort(self.target)));
            self.flush(now);
        }
    }

    fn hold(&mut self, lines: Vec<Line>) {
        for line in lines {
            if self.held.len() >= HELD_MAX {
                self.held.pop_front();
                self.lost += 1;
            }
            self.held.push_back(line);
        }
    }

    fn deliver(&mut self, now: Time) {
        // A sink that fails makes room for another look, which may find one that fails again.
        for _ in 0..2 {
            self.choose(now);
            if self.flush(now) {
                return;
            }
        }
    }

    fn choose(&mut self, now: Time) {
        let rank = self.sink.as_ref().map_or(LAST, |(rank, _)| *rank);
        if rank == 0 || now < self.look_at {
            return;
        }
        let better = self.places.better_than(self.target, rank);
        let found = better.is_some();
        if found {
            self.sink = better;
        } else if self.sink.is_none() {
            let patient = self.places.worth_waiting(self.target);
            if !patient || self.held_since + GRACE <= now {
                self.sink = Some((LAST, self.places.last_resort(self.target)));
            }
        }
        self.look_at = now + if self.sink.is_some() { RETRY } else { RETRY_HELD };
    }

    /// Writes what is held; `false` when the sink turned out to be gone.
    fn flush(&mut self, now: Time) -> bool {
        while let (Some((_, sink)), Some(line)) = (&mut self.sink, self.held.front()) {
            if self.lost > 0 {
                let text = format!("{} lines of this log were lost", self.lost);
                if sink.write(&Line::new(Level::Warn, text)).is_ok() {
                    self.lost = 0;
                }
            }
            match sink.write(line) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.lost += 1,
                Err(_) => {
                    self.sink = None;
                    (self.held_since, self.look_at) = (now, now);
                    return false;
                }
            }
            self.held.pop_front();
        }
        true
    }
}

#[cfg(test)]
mod tests;
