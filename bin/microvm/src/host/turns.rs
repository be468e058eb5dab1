// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whose turn it is, where machines hand on to each other what only one can have: an address in the
//! kernel of the host.
//!
//! Pure. Whoever waits for an address comes behind the machine that has it; where all wait in a
//! circle, one of them has to begin.

use std::collections::BTreeMap;

use super::Name;

/// What can be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// This machine changes, and nobody is in its way.
    Free(Name),
    /// This machine waits for one that waits for it, be it by way of others.
    Circle(Name),
    /// This machine cannot change, since the other one has its address and keeps it.
    Behind(Name, Name),
}

/// Machines that have an address, and machines that are to change.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    held: BTreeMap<Name, u32>,
    waiting: BTreeMap<Name, Option<u32>>,
}

impl Turns {
    /// `held` has the addresses that are taken; `waiting` those that machines are to have.
    #[must_use]
    pub const fn new(held: BTreeMap<Name, u32>, waiting: BTreeMap<Name, Option<u32>>) -> Self {
        Self { held, waiting }
    }

    /// Takes the next machine out of those that wait. Those that nothing keeps come in the order of
    /// their names.
    pub fn take(&mut self) -> Option<Turn> {
        let first = self.waiting.keys().next()?.clone();
        let free = self.waiting.keys().find(|name| self.in_the_way(name).is_none()).cloned();
        let stuck = || {
            self.waiting.keys().find_map(|name| {
                let other = self.in_the_way(name).filter(|it| !self.waiting.contains_key(*it))?;
                Some(Turn::Behind(name.clone(), other.clone()))
            })
        };
        let turn = free.map(Turn::Free).or_else(stuck).unwrap_or_else(|| {
            // Each waits for another one that waits: so many steps lead into the circle.
            let step = |at: Name, _| self.in_the_way(&at).cloned().unwrap_or(at);
            Turn::Circle((0..self.waiting.len()).fold(first, step))
        });
        let (Turn::Free(name) | Turn::Circle(name) | Turn::Behind(name, _)) = &turn;
        self.waiting.remove(name);
        Some(turn)
    }

    /// Writes down that a machine has this address now, and no other.
    pub fn took(&mut self, name: &Name, cid: Option<u32>) {
        match cid {
            Some(cid) => self.held.insert(name.clone(), cid),
            None => self.held.remove(name),
        };
    }

    /// Lets a machine wait, again.
    pub fn wait(&mut self, name: &Name, cid: Option<u32>) {
        self.waiting.insert(name.clone(), cid);
    }

    /// Who has what this machine waits for; one that keeps it, before one that goes.
    fn in_the_way(&self, name: &Name) -> Option<&Name> {
        let cid = (*self.waiting.get(name)?)?;
        let others = || self.held.iter().filter(|(it, held)| **held == cid && *it != name);
        let keeps = others().find(|(it, _)| !self.waiting.contains_key(*it));
        keeps.or_else(|| others().next()).map(|(it, _)| it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    /// Its name, the address that it has, and the one that it waits for, if it waits.
    type Machine = (&'static str, Option<u32>, Option<Option<u32>>);

    fn turns(machines: &[Machine]) -> Turns {
        let mut turns = Turns::default();
        for (text, held, waits) in machines {
            turns.took(&name(text), *held);
            if let Some(cid) = waits {
                turns.wait(&name(text), *cid);
            }
        }
        turns
    }

    /// Lets everybody take what they wait for; a word for each turn.
    fn run(mut turns: Turns) -> Vec<String> {
        let mut told = Vec::new();
        let wanted = turns.waiting.clone();
        while let Some(turn) = turns.take() {
            told.push(match turn {
                Turn::Free(it) => {
                    turns.took(&it, wanted[&it]);
                    it.to_string()
                }
                Turn::Circle(it) => {
                    turns.took(&it, wanted[&it]);
                    format!("({it})")
                }
                Turn::Behind(it, other) => format!("{it}!{other}"),
            });
        }
        told
    }

    #[test]
    fn an_address_is_free_before_it_is_taken() {
        let chain = [
            ("a", Some(10), Some(Some(11))),
            ("b", Some(11), Some(Some(12))),
            ("c", None, Some(None)),
            ("d", None, Some(Some(10))),
        ];
        assert_eq!(run(turns(&chain)), ["b", "a", "c", "d"]);
    }

    #[test]
    fn a_circle_begins_somewhere() {
        let circle = [
            ("a", Some(10), Some(Some(11))),
            ("b", Some(11), Some(Some(12))),
            ("c", Some(12), Some(Some(10))),
            ("d", Some(13), Some(None)),
        ];
        assert_eq!(run(turns(&circle)), ["d", "(a)", "c", "b"]);
    }

    #[test]
    fn who_keeps_an_address_is_in_the_way_for_good() {
        let kept =
            [("a", Some(10), Some(Some(11))), ("b", Some(11), None), ("c", None, Some(None))];
        assert_eq!(run(turns(&kept)), ["c", "a!b"]);
        // It is its own already.
        assert_eq!(run(turns(&[("a", Some(10), Some(Some(10)))])), ["a"]);
    }
}
