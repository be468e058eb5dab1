// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the shell sees of a core: the same four questions for finder and connector.

use plinth::time::{Time, Wall};

use crate::core::api::{Reply, Request, Sysfs};
use crate::core::connector::Connector;
use crate::core::finder::Finder;
use crate::core::port::{Action, Configuration, Input};
use crate::core::settings::Role;

/// What a core is made from.
pub struct Start<'a> {
    /// The files' content.
    pub configuration: Configuration,
    /// The text of the state file.
    pub restored: Option<&'a str>,
    /// For whatever the core leaves to chance.
    pub seed: u64,
    /// The monotonic time.
    pub now: Time,
    /// The time of day.
    pub wall: Wall,
}

/// A machine that decides.
pub trait Core: Sized {
    /// Which daemon it is.
    const ROLE: Role;

    /// Starts; what is to be done first is added to `out`.
    fn start(start: Start<'_>, out: &mut Vec<Action>) -> Self;

    /// Takes one input and adds what is to be done.
    fn step(&mut self, now: Time, input: Input, out: &mut Vec<Action>);

    /// When [`Input::Wake`] is due.
    fn next_wake(&self) -> Option<Time>;

    /// Answers a client.
    fn answer(
        &mut self,
        now: Time,
        request: &Request,
        sysfs: &dyn Sysfs,
        out: &mut Vec<Action>,
    ) -> Reply;

    /// One line for the service manager.
    fn status(&self) -> String;
}

macro_rules! core {
    ($core:ident, $role:expr) => {
        impl Core for $core {
            const ROLE: Role = $role;

            fn start(start: Start<'_>, out: &mut Vec<Action>) -> Self {
                let Start { configuration, restored, seed, now, wall } = start;
                Self::new(configuration, restored, seed, now, wall, out)
            }

            fn step(&mut self, now: Time, input: Input, out: &mut Vec<Action>) {
                self.step(now, input, out);
            }

            fn next_wake(&self) -> Option<Time> {
                self.next_wake()
            }

            fn answer(
                &mut self,
                now: Time,
                request: &Request,
                sysfs: &dyn Sysfs,
                out: &mut Vec<Action>,
            ) -> Reply {
                self.answer(now, request, sysfs, out)
            }

            fn status(&self) -> String {
                self.status()
            }
        }
    };
}

core!(Finder, Role::Finder);
core!(Connector, Role::Connector);
