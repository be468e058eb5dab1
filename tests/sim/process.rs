// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The processes of the simulated world: one real core each.
//!
//! Owns what is the same for both daemons; the [`world`](crate::world) starts and ends them.

use plinth::time::Time;
use stas::core::api::Sysfs;
use stas::core::connector::Connector;
use stas::core::finder::Finder;
use stas::core::port::{Action, Input};
use stas::core::settings::Role;

/// Which daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Daemon {
    /// stafd.
    Finder,
    /// stacd.
    Connector,
}

impl Daemon {
    /// Both of them.
    pub(crate) const BOTH: [Self; 2] = [Self::Finder, Self::Connector];

    /// The role of its core.
    pub(crate) const fn role(self) -> Role {
        match self {
            Self::Finder => Role::Finder,
            Self::Connector => Role::Connector,
        }
    }
}

/// A running core.
pub(crate) enum Core {
    /// stafd's.
    Finder(Finder),
    /// stacd's.
    Connector(Connector),
}

impl Core {
    /// Takes one input and adds what is to be done.
    pub(crate) fn step(&mut self, now: Time, input: Input, out: &mut Vec<Action>) {
        match self {
            Self::Finder(core) => core.step(now, input, out),
            Self::Connector(core) => core.step(now, input, out),
        }
    }

    /// When it wants to be woken.
    pub(crate) fn next_wake(&self) -> Option<Time> {
        match self {
            Self::Finder(core) => core.next_wake(),
            Self::Connector(core) => core.next_wake(),
        }
    }

    /// The invariants of its fleet.
    pub(crate) fn assert_invariants(&self) {
        match self {
            Self::Finder(core) => core.fleet().assert_invariants(),
            Self::Connector(core) => core.fleet().assert_invariants(),
        }
    }
}

/// A running process.
pub(crate) struct Process {
    /// Tells it from its predecessors.
    pub(crate) generation: u64,
    /// Its core.
    pub(crate) core: Core,
}

/// No attribute can be read.
pub(crate) struct NoSysfs;

impl Sysfs for NoSysfs {
    fn attribute(&self, _device: &str, _name: &str) -> Option<String> {
        None
    }
}
