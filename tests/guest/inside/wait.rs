// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Waiting for a condition, bounded.
//!
//! Much of what a scenario waits for (a sysfs attribute, a line in a log) announces itself to
//! nobody, so this looks again every few milliseconds. An emulated processor is slow: limits are
//! generous, and what must be quick is measured instead.

use std::time::Duration;

use plinth::time::Time;
use rustix::event::{Timespec, poll};

use super::{Outcome, Trouble};

/// Between the first looks, and the part of the time spent so far that a later pause takes: whoever
/// watches for long must not take the processor from those that are watched.
const STEP: Duration = Duration::from_millis(20);
const STEP_PART: u32 = 20;

/// Lets `span` pass.
pub fn pause(span: Duration) {
    let end = Time::monotonic() + span;
    loop {
        let left = Time::monotonic().until(end);
        if left.is_zero() {
            return;
        }
        let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        // Interrupted or not, the clock decides.
        let _ = poll(&mut [], Some(&left));
    }
}

/// Looks until `look` finds something, and tells how long that took.
///
/// # Errors
/// What `look` reports, or a finding that names `what` when `limit` has passed.
pub fn until_found<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Outcome<Option<T>>,
) -> Outcome<(T, Duration)> {
    let start = Time::monotonic();
    loop {
        let found = look().map_err(|trouble| trouble.during(what))?;
        let spent = start.until(Time::monotonic());
        match found {
            Some(found) => return Ok((found, spent)),
            None if spent > limit => {
                let seconds = limit.as_secs_f64();
                return Err(Trouble::new(format!("not within {seconds:.1} s: {what}")));
            }
            None => pause(STEP.max(spent / STEP_PART)),
        }
    }
}

/// Looks until `holds`, and tells how long that took.
///
/// # Errors
/// A finding that names `what` when `limit` has passed.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Outcome<Duration> {
    until_found(what, limit, || Ok(holds().then_some(()))).map(|((), spent)| spent)
}

/// Looks for all of `span` that `holds` stays true.
///
/// # Errors
/// A finding that names `what` as soon as it does not.
pub fn throughout(what: &str, span: Duration, mut holds: impl FnMut() -> bool) -> Outcome {
    let end = Time::monotonic() + span;
    while Time::monotonic() < end {
        if !holds() {
            return Err(Trouble::new(format!("did not stay so: {what}")));
        }
        pause(STEP);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_holds_is_named() {
        let trouble = until("pigs fly", Duration::ZERO, || false).unwrap_err();
        assert_eq!(trouble.to_string(), "not within 0.0 s: pigs fly");
    }

    #[test]
    fn the_first_look_may_do() {
        let (found, _) = until_found("a number", Duration::ZERO, || Ok(Some(7))).unwrap();
        assert_eq!(found, 7);
    }

    #[test]
    fn a_condition_that_breaks_is_named() {
        let mut looks = 0;
        let broken = throughout("calm", Duration::from_secs(60), || {
            looks += 1;
            looks < 3
        });
        assert_eq!(broken.unwrap_err().to_string(), "did not stay so: calm");
    }
}
