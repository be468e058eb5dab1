// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tinybpf map watch`: what changed in a map since the last look.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::super::wait::Pauses;
use super::super::words::Words;
use super::super::{Args, World};
use super::dump::snapshot;
use super::{Done, opened_alone};

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// `tinybpf map watch`: until a signal comes, or `--count` looks.
pub(super) fn watch(words: Words, args: &Args, world: &mut World<'_>) -> Done {
    let (map, elements) = opened_alone(words, args)?;
    let mut pauses = Pauses::new()?;
    let mut before = BTreeMap::new();
    let mut looks = 0;
    loop {
        let now = snapshot(&map, &elements)?;
        let mut text = String::new();
        differences(&before, &now, args.json, &mut text);
        if !text.is_empty() {
            world.print(&text)?;
        }
        before = now;
        looks += 1;
        let is_last = args.count.is_some_and(|count| looks >= count);
        if is_last || pauses.ended_within(args.interval.unwrap_or(INTERVAL))? {
            return Ok(0);
        }
    }
}

type Snapshot = BTreeMap<String, String>;

/// A line for each element that came, went or changed.
fn differences(before: &Snapshot, now: &Snapshot, json: bool, out: &mut String) {
    let mut line = |word: &str, sign: char, key: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = if json {
            writeln!(out, "{{\"change\":\"{word}\",\"key\":{key},\"value\":{value}}}")
        } else {
            writeln!(out, "{sign} {key} {value}")
        };
    };
    for (key, value) in now {
        match before.get(key) {
            None => line("added", '+', key, value),
            Some(old) if old != value => line("changed", '~', key, value),
            Some(_) => {}
        }
    }
    for (key, value) in before.iter().filter(|(key, _)| !now.contains_key(*key)) {
        line("removed", '-', key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_a_line() {
        let of = |pairs: &[(&str, &str)]| -> Snapshot {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let (before, now) =
            (of(&[("1", "1"), ("2", "2"), ("3", "3")]), of(&[("1", "1"), ("2", "9"), ("4", "4")]));
        let mut text = String::new();
        differences(&before, &now, false, &mut text);
        assert_eq!(text, "~ 2 9\n+ 4 4\n- 3 3\n");
        let mut text = String::new();
        differences(&before, &before, true, &mut text);
        assert_eq!(text, "");
    }
}
