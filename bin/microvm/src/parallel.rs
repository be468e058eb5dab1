// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The same work on many things, on several threads, the results in their order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Runs `work` on all `items`, on `jobs` threads or as many as there are processors.
pub(crate) fn parallel<T: Sync, R: Send>(
    items: &[T],
    jobs: Option<usize>,
    work: &(dyn Fn(&T) -> R + Sync),
) -> Vec<R> {
    let most = || thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = jobs.unwrap_or_else(most).min(items.len());
    if jobs <= 1 {
        return items.iter().map(work).collect();
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(items.len())));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((at, item)) = pick(items, &next) {
                    let result = work(item);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

fn pick<'a, T>(items: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    items.get(at).map(|item| (at, item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<usize> = (0..100).collect();
        let double: Vec<usize> = items.iter().map(|n| n * 2).collect();
        for jobs in [None, Some(1), Some(3), Some(1000)] {
            assert_eq!(parallel(&items, jobs, &|n| n * 2), double);
        }
        assert!(parallel(&[] as &[u8], None, &|n| *n).is_empty());
    }
}
