// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Child processes that end some time, of which the loop tells.
//!
//! Owns the processes and the descriptors that announce their ends, so that none stays a zombie.
//! What they are for, and what is said of one that failed, is left to who started them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};

use plinth::event::{Loop, WatchId};
use rustix::process::{Pid, PidfdFlags};

use super::key::Key;

/// A process that was started and is not watched yet.
pub struct Started {
    child: Child,
    pidfd: OwnedFd,
}

impl Started {
    /// Starts a process.
    ///
    /// # Errors
    /// It cannot be started, or its end could not be told.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        let pidfd = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        Ok(Self { child, pidfd })
    }
}

struct Watched {
    child: Child,
    _pidfd: OwnedFd,
    watch: WatchId,
}

/// The processes of one owner.
pub struct Children {
    key: Key,
    list: Vec<Watched>,
}

impl Children {
    /// None yet; the loop tells of their ends with `key`.
    #[must_use]
    pub const fn new(key: Key) -> Self {
        Self { key, list: Vec::new() }
    }

    /// How many have not ended.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Takes a process in.
    ///
    /// # Errors
    /// The loop cannot watch a descriptor.
    pub fn watch(&mut self, lp: &mut Loop<Key>, started: Started) -> io::Result<()> {
        let Started { child, pidfd } = started;
        let watch = lp.watch(pidfd.as_fd(), self.key)?;
        self.list.push(Watched { child, _pidfd: pidfd, watch });
        Ok(())
    }

    /// A process ended. `failed` hears of each that did so without success.
    ///
    /// # Errors
    /// The loop cannot forget a descriptor.
    pub fn exited(&mut self, lp: &mut Loop<Key>, failed: impl Fn(ExitStatus)) -> io::Result<()> {
        let mut remaining = Vec::new();
        for mut watched in std::mem::take(&mut self.list) {
            match watched.child.try_wait() {
                Ok(None) => remaining.push(watched),
                Ok(Some(status)) => {
                    lp.unwatch(watched.watch)?;
                    if !status.success() {
                        failed(status);
                    }
                }
                Err(_) => lp.unwatch(watched.watch)?,
            }
        }
        self.list = remaining;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use plinth::event::{Handler, Progress};

    use super::*;

    struct World {
        children: Children,
        failures: RefCell<Vec<Option<i32>>>,
    }

    impl Handler for World {
        type Key = Key;

        fn ready(&mut self, lp: &mut Loop<Key>, _key: Key) -> io::Result<Progress> {
            let failures = &self.failures;
            self.children.exited(lp, |status| failures.borrow_mut().push(status.code()))?;
            Ok(Progress::Drained)
        }

        fn timer(&mut self, _lp: &mut Loop<Key>, _key: Key) -> io::Result<()> {
            panic!("the processes did not end");
        }

        fn settle(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
            if self.children.count() == 0 {
                lp.stop(0);
            }
            Ok(())
        }
    }

    #[test]
    fn all_are_reaped_and_failures_are_told() {
        let mut lp = Loop::new().unwrap();
        lp.set_timer(lp.now() + Duration::from_secs(20), Key::StopLimit);
        let children = Children::new(Key::UnitExit);
        let mut world = World { children, failures: RefCell::default() };
        for script in ["exit 0", "exit 3", "kill -KILL $$"] {
            let started = Started::spawn(Command::new("sh").args(["-c", script])).unwrap();
            world.children.watch(&mut lp, started).unwrap();
        }
        assert_eq!(world.children.count(), 3);
        lp.run(&mut world).unwrap();
        let mut failures = world.failures.into_inner();
        failures.sort_unstable();
        assert_eq!(failures, [None, Some(3)]);
        assert!(Started::spawn(&mut Command::new("/nonexistent")).is_err());
    }
}
