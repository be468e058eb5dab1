// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Walking a map key by key while others change it.
//!
//! The kernel gives the first key again when the key it is asked to go on from was deleted, so that
//! a naive walk may never end. This one fetches the next key before it hands out the current
//! element (which the caller may thus delete), skips elements that vanish meanwhile, and gives up
//! after a bounded number of steps. An element may be seen twice, or not at all, when the map
//! changes; one that stays is seen at least once.

use super::Map;
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};

/// Steps of a walk beyond twice the most elements.
pub const STEPS_EXTRA: u64 = 64;

/// The keys of a map, one after the other, over an abstract map so that the rule can be tested.
pub(super) struct Walk {
    next: Option<Vec<u8>>,
    steps: u64,
    steps_max: u64,
}

/// One step of a walk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The next key.
    Key(Vec<u8>),
    /// There are no more.
    End,
    /// The walk went on for too long.
    Aborted,
}

impl Walk {
    /// A walk over at most `max_entries` elements, beginning with `first`.
    pub(super) fn new(first: Option<Vec<u8>>, max_entries: u32) -> Self {
        let steps_max = u64::from(max_entries) * 2 + STEPS_EXTRA;
        Self { next: first, steps: 0, steps_max }
    }

    /// The current key, after `successor` was asked for the one behind it.
    pub(super) fn step<E>(
        &mut self,
        successor: impl FnOnce(&[u8]) -> std::result::Result<Option<Vec<u8>>, E>,
    ) -> std::result::Result<Step, E> {
        let Some(key) = self.next.take() else { return Ok(Step::End) };
        if self.steps == self.steps_max {
            return Ok(Step::Aborted);
        }
        self.steps += 1;
        self.next = successor(&key)?;
        Ok(Step::Key(key))
    }

    pub(super) const fn steps(&self) -> u64 {
        self.steps
    }
}

/// The elements of a map; see [`Map::iter`].
pub struct Iter<'a> {
    map: &'a Map,
    walk: Option<Walk>,
}

impl Map {
    /// The elements, as keys and values; values of per-CPU maps with all their slots.
    ///
    /// Keys and values are those of a moment each. The caller may change the map meanwhile.
    #[must_use]
    pub const fn iter(&self) -> Iter<'_> {
        Iter { map: self, walk: None }
    }

    /// The keys alone.
    pub fn keys(&self) -> impl Iterator<Item = Result<Vec<u8>>> {
        let mut iter = self.iter();
        std::iter::from_fn(move || iter.next_key().transpose())
    }

    /// The key after `key`, or the first.
    fn key_after(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.key_size()];
        match self.elements.next_key(key, &mut next) {
            Ok(()) => Ok(Some(next)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::INVAL) => {
                let detail = format!("maps of type {} cannot be walked", self.map_type());
                Err(Error::from_errno(Errno::INVAL, Op::Iterate, self.name.clone())
                    .with_kind(Kind::Unsupported)
                    .with_detail(detail))
            }
            Err(errno) => Err(self.error(errno, Op::Iterate)),
        }
    }
}

impl Iter<'_> {
    fn next_key(&mut self) -> Result<Option<Vec<u8>>> {
        let map = self.map;
        let mut walk = match self.walk.take() {
            Some(walk) => walk,
            None => Walk::new(map.key_after(None)?, map.max_entries()),
        };
        let step = walk.step(|key| map.key_after(Some(key)));
        let visited = walk.steps();
        // After an error or the end, `next` is None: the iterator stays at its end.
        self.walk = Some(walk);
        match step? {
            Step::Key(key) => Ok(Some(key)),
            Step::End => Ok(None),
            Step::Aborted => {
                let detail =
                    format!("gave up after {visited} elements, since the map kept changing");
                Err(Error::new(Kind::IterationAborted, Op::Iterate, map.name.clone())
                    .with_detail(detail))
            }
        }
    }
}

impl Iterator for Iter<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let key = match self.next_key() {
                Ok(Some(key)) => key,
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            };
            let mut value = vec![0; self.map.elements.value_size()];
            match self.map.elements.lookup(&key, &mut value, 0) {
                Ok(()) => return Some(Ok((key, value))),
                // Deleted meanwhile.
                Err(Errno::NOENT) => {}
                Err(errno) => return Some(Err(self.map.error(errno, Op::Lookup))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The kernel's rule: the key behind, or the first again when the key is gone.
    fn after(keys: &BTreeSet<u8>, key: &[u8]) -> Option<Vec<u8>> {
        let key = key[0];
        let found =
            if keys.contains(&key) { keys.range(key + 1..).next() } else { keys.iter().next() };
        found.map(|key| vec![*key])
    }

    #[test]
    fn every_element_may_be_deleted_as_it_is_seen() {
        let mut keys: BTreeSet<u8> = (1..100).collect();
        let mut walk = Walk::new(Some(vec![1]), 100);
        let mut seen = Vec::new();
        loop {
            let step = walk.step(|key| Ok::<_, ()>(after(&keys, key))).expect("no errors");
            let Step::Key(key) = step else { break };
            keys.remove(&key[0]);
            seen.push(key[0]);
        }
        assert!(seen.iter().copied().eq(1..100));
    }

    #[test]
    fn a_map_that_never_settles_ends_the_walk() {
        // Somebody deletes the key that the walk goes on from, and adds it again.
        let mut walk = Walk::new(Some(vec![1]), 10);
        let mut steps = 0;
        let last = loop {
            match walk.step(|_| Ok::<_, ()>(Some(vec![1]))).expect("no errors") {
                Step::Key(_) => steps += 1,
                other => break other,
            }
        };
        assert_eq!((last, steps), (Step::Aborted, 10 * 2 + STEPS_EXTRA));
    }

    #[test]
    fn an_error_ends_the_walk() {
        let mut walk = Walk::new(Some(vec![1]), 10);
        assert_eq!(walk.step(|_| Err("broken")), Err("broken"));
        assert_eq!(walk.step(|_| Ok::<_, &str>(None)), Ok(Step::End));
    }
}
