// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names that were probably meant: those at the smallest edit distance.

use crate::sorting;

/// Characters of a name that are compared; longer ones are no typing mistakes.
const COMPARED_MAX: usize = 64;

/// Up to `max` of the candidates that are nearest to `name`, the nearest first and equals in
/// alphabetical order. Those that have less than two thirds in common with it are no candidates.
pub fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    max: usize,
) -> Vec<&'a str> {
    let wanted: Vec<char> = name.chars().take(COMPARED_MAX).collect();
    let limit = (wanted.len() / 3).max(2);
    let mut found: Vec<(usize, &str)> = Vec::new();
    for candidate in candidates {
        let other: Vec<char> = candidate.chars().take(COMPARED_MAX).collect();
        if other.len().abs_diff(wanted.len()) > limit {
            continue;
        }
        let distance = distance(&wanted, &other);
        if distance <= limit && distance < wanted.len().max(other.len()) {
            found.push((distance, candidate));
        }
    }
    sorting::sort(&mut found);
    found.dedup();
    found.into_iter().take(max).map(|(_, name)| name).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that make one text of the other;
/// letters of the other case count as equal.
fn distance(left: &[char], right: &[char]) -> usize {
    let same = |a: Option<&char>, b: Option<&char>| match (a, b) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
        _ => false,
    };
    let get = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let cost = usize::from(!same(left.get(i - 1), right.get(j - 1)));
            let mut best = (get(&last, j) + 1).min(get(&row, j - 1) + 1);
            best = best.min(get(&last, j - 1) + cost);
            let is_swap = i > 1
                && j > 1
                && same(left.get(i - 1), right.get(j - 2))
                && same(left.get(i - 2), right.get(j - 1));
            if is_swap {
                best = best.min(get(&before, j - 2) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    get(&last, right.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn typing_mistakes_find_what_was_meant() {
        let names = ["event", "events", "exec_event", "config", "Event", "e"];
        assert_eq!(nearest("evnet", names, 5), ["Event", "event", "events"]);
        assert_eq!(nearest("event", ["evt", "event"], 1), ["event"]);
        assert_eq!(nearest("confg", names, 5), ["config"]);
        assert!(nearest("unrelated", names, 5).is_empty());
        assert!(nearest("x", ["y", "zz"], 5).is_empty(), "nothing in common");
        assert_eq!(nearest("abcdef", ["abcdeg", "abcdeh", "abcdei"], 2), ["abcdeg", "abcdeh"]);
    }

    proptest! {
        #[test]
        fn distance_is_a_distance(a in "[ab]{0,6}", b in "[ab]{0,6}") {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
            prop_assert!(distance(&a, &b) <= a.len().max(b.len()));
        }
    }
}
