// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The processes of the simulated world: one real core each.
//!
//! Owns what is the same for both daemons; the [`world`](crate::world) starts and ends them.

use std::collections::BTreeMap;

use stas::core::api::Sysfs;
use stas::core::connector::Connector;
use stas::core::finder::Finder;
use stas::core::machine::{Machine, Start};
use stas::core::port::Action;
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
    /// A new one.
    pub(crate) fn start(daemon: Daemon, start: Start<'_>, out: &mut Vec<Action>) -> Self {
        match daemon {
            Daemon::Finder => Self::Finder(Finder::start(start, out)),
            Daemon::Connector => Self::Connector(Connector::start(start, out)),
        }
    }

    /// What both are.
    pub(crate) fn machine(&self) -> &dyn Machine {
        match self {
            Self::Finder(core) => core,
            Self::Connector(core) => core,
        }
    }

    /// What both are, for steps.
    pub(crate) fn machine_mut(&mut self) -> &mut dyn Machine {
        match self {
            Self::Finder(core) => core,
            Self::Connector(core) => core,
        }
    }
}

/// stafd's core, while it runs.
pub(crate) fn finder(processes: &BTreeMap<Daemon, Process>) -> Option<&Finder> {
    match &processes.get(&Daemon::Finder)?.core {
        Core::Finder(finder) => Some(finder),
        Core::Connector(_) => None,
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
