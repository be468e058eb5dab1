// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Keeps a controller that fails again and again from filling the log.
//!
//! Warnings and errors about one controller that say the same are told once in ten minutes; the
//! next one that is told says how many were not. Those in between become debug messages. Changes of
//! state are no errors, and always told.

use std::collections::BTreeMap;
use std::time::Duration;

use log::Level;
use plinth::time::Time;

use super::port::{Action, Record};

/// How long an error is not repeated.
const PAUSE: Duration = Duration::from_secs(600);
/// Errors that are remembered; beyond, the oldest is forgotten.
const KNOWN_MAX: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Told {
    at: Time,
    suppressed: u32,
}

/// What was told, by controller and text.
#[derive(Clone, Debug, Default)]
pub(super) struct Quiet {
    told: BTreeMap<(String, String), Told>,
}

/// What a line says, without the names in front: a controller's device may change its name.
fn kind(record: &Record) -> Option<(String, String)> {
    let controller = record.controller.as_ref().filter(|_| record.level <= Level::Warn)?;
    let text = record.text.strip_prefix(controller.as_str()).unwrap_or(&record.text);
    let device = record.device.as_ref().map(|device| format!(" | {device} - "));
    let text = device.and_then(|device| text.strip_prefix(&device)).unwrap_or(text);
    Some((controller.clone(), text.to_owned()))
}

impl Quiet {
    /// Quietens what is said again among `actions`.
    pub(super) fn judge(&mut self, now: Time, actions: &mut [Action]) {
        for action in actions {
            if let Action::Log(record) = action {
                self.line(now, record);
            }
        }
    }

    fn line(&mut self, now: Time, record: &mut Record) {
        let Some(kind) = kind(record) else { return };
        match self.told.get_mut(&kind) {
            Some(told) if told.at.until(now) < PAUSE => {
                told.suppressed = told.suppressed.saturating_add(1);
                record.level = Level::Debug;
                return;
            }
            Some(Told { suppressed, .. }) if *suppressed > 0 => {
                record.text.push_str(&format!(" (and {suppressed} times since it was last told)"));
            }
            _ => self.forget_one_if_full(),
        }
        self.told.insert(kind, Told { at: now, suppressed: 0 });
    }

    fn forget_one_if_full(&mut self) {
        if self.told.len() >= KNOWN_MAX {
            let oldest = self.told.iter().min_by_key(|(_, told)| told.at).map(|(kind, _)| kind);
            if let Some(oldest) = oldest.cloned() {
                self.told.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::connector::Connector;
    use super::super::testing::{ECONNREFUSED, NQN, SECOND, SOAK, World, io, wants_io};
    use super::*;

    const ETIMEDOUT: i32 = 110;
    const TARGET: &str = "10.0.0.5";

    /// A connection that is lost and refused twice before it comes back, as `device`.
    fn flap(world: &mut World<Connector>, device: &str, errno: i32) {
        world.refused(errno);
        world.pass(3 * SECOND);
        world.refused(errno);
        world.pass(66 * SECOND);
        world.connected(io(device, TARGET, NQN));
        world.vanish(device);
        world.pass(3 * SECOND);
    }

    // R250
    #[test]
    fn an_error_that_repeats_itself_is_counted_and_told_every_ten_minutes() {
        let mut world = World::connector(&wants_io(TARGET, ""));
        world.pass(SOAK);
        for round in 0..8 {
            flap(&mut world, &format!("nvme{round}"), ECONNREFUSED); // 72 seconds
        }
        assert_eq!(world.logged(Level::Error, "ECONNREFUSED"), 1);
        // Another error is another line, and changes of state are told each time.
        flap(&mut world, "nvme8", ETIMEDOUT);
        assert_eq!(world.logged(Level::Error, "ETIMEDOUT"), 1);
        assert_eq!(world.logged(Level::Info, "Connection established!"), 9);
        assert_eq!(world.logged(Level::Info, "Received \"remove\" event"), 9);
        flap(&mut world, "nvme9", ECONNREFUSED);
        assert_eq!(world.logged(Level::Error, "ECONNREFUSED"), 2);
        assert_eq!(world.logged(Level::Error, "(and 7 times since it was last told)"), 1);
    }

    fn record(level: Level, controller: Option<&str>, device: Option<&str>, text: &str) -> Action {
        let (controller, device) = (controller.map(str::to_owned), device.map(str::to_owned));
        Action::Log(Record { level, text: text.to_owned(), controller, device })
    }

    /// The levels that these lines are told with, one after the other at one time.
    fn levels(quiet: &mut Quiet, mut lines: Vec<Action>) -> Vec<Level> {
        quiet.judge(Time::ZERO, &mut lines);
        let level = |action: &Action| match action {
            Action::Log(record) => record.level,
            other => panic!("{other:?}"),
        };
        lines.iter().map(level).collect()
    }

    // R250
    #[test]
    fn an_error_is_the_same_whatever_the_device_is_called() {
        use Level::{Debug, Error, Info, Warn};
        let mut quiet = Quiet::default();
        let lines = vec![
            record(Error, Some("(a)"), Some("nvme1"), "(a) | nvme1 - bad"),
            record(Error, Some("(a)"), Some("nvme2"), "(a) | nvme2 - bad"),
            record(Error, Some("(a)"), Some("nvme2"), "(a) | nvme2 - worse"),
            record(Warn, Some("(b)"), None, "(b) bad"),
            record(Warn, Some("(b)"), None, "(b) bad"),
            record(Info, Some("(b)"), None, "(b) changed"),
            record(Info, Some("(b)"), None, "(b) changed"),
            record(Error, None, None, "of the daemon"),
            record(Error, None, None, "of the daemon"),
        ];
        let expected = [Error, Debug, Error, Warn, Debug, Info, Info, Error, Error];
        assert_eq!(levels(&mut quiet, lines), expected);
    }

    // R250
    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut quiet = Quiet::default();
        for number in 0..KNOWN_MAX + 10 {
            let line = record(Level::Error, Some("(a)"), None, &format!("(a) {number}"));
            quiet.judge(Time::from_nanos(number as u64), &mut [line]);
        }
        assert_eq!(quiet.told.len(), KNOWN_MAX);
        let last = record(Level::Error, Some("(a)"), None, &format!("(a) {KNOWN_MAX}"));
        assert_eq!(levels(&mut quiet, vec![last]), [Level::Debug]);
    }
}
