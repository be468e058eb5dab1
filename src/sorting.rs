// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sorting and gathering for short lists, with one copy of the algorithm in the program.
//!
//! The standard library's sort is compiled anew for each type, 4 to 5 KB each time, and so is what
//! collecting into a sorted map does, since it sorts first. That pays where many values are sorted;
//! programs that sort twenty kinds of short lists take these. The order is the same, and stable.

use std::cmp::Ordering;

/// Sorts by the values' own order.
pub fn sort<T: Ord>(items: &mut [T]) {
    sort_with(items, Ord::cmp);
}

/// Sorts by a key, which is made anew for each comparison.
pub fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    sort_with(items, |left, right| key(left).cmp(&key(right)));
}

/// Collects what `items` yields, one after the other.
pub fn gather<A, T: Default + Extend<A>>(items: impl IntoIterator<Item = A>) -> T {
    let mut all = T::default();
    all.extend(items);
    all
}

fn sort_with<T>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    let places = places(items.len(), &|left, right| match (items.get(left), items.get(right)) {
        (Some(left), Some(right)) => compare(left, right),
        _ => Ordering::Equal,
    });
    // The item of place `to` is where it was, or where an earlier swap has put it.
    for (to, mut from) in places.iter().copied().enumerate() {
        while from < to {
            from = places.get(from).copied().unwrap_or(to);
        }
        items.swap(to, from);
    }
}

/// Where the item of each place of the sorted list is now.
fn places(len: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut places: Vec<usize> = (0..len).collect();
    places.sort_by(|left, right| compare(*left, *right));
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_order_is_that_of_the_standard_library(
            mut items in proptest::collection::vec((0_u8..8, any::<u8>()), 0..200)
        ) {
            let mut expected = items.clone();
            expected.sort_by_key(|it| it.0);
            sort_by_key(&mut items, |it| it.0);
            prop_assert_eq!(&items, &expected);
            expected.sort();
            sort(&mut items);
            prop_assert_eq!(&items, &expected);
        }

        #[test]
        fn nothing_is_lost_when_gathering(items in proptest::collection::vec(any::<u8>(), 0..50)) {
            prop_assert_eq!(
                gather::<_, BTreeSet<u8>>(items.clone()),
                items.into_iter().collect::<BTreeSet<u8>>()
            );
        }
    }
}
