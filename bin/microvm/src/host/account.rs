// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The account that hypervisors run as.
//!
//! Units name it, and systemd changes to it; without systemd a start does, with the same groups and
//! limits. Accounts are those of the files of the host.

use std::process::Command;

use plinth::sys::exec;
use rustix::process::{Resource, Rlimit, geteuid, setrlimit};

use super::settings::Settings;
use super::{Host, Name, warn};
use crate::helper::accounts::{groups, number};

/// The limits of the unit.
const LIMITS: [(Resource, Option<u64>); 2] =
    [(Resource::Nofile, Some(1 << 20)), (Resource::Memlock, None)];

impl Host<'_> {
    /// The number of the hypervisors' group, if it exists.
    #[must_use]
    pub fn group(&self) -> Option<u32> {
        number(&self.root.read_text("/etc/group").ok()?, &self.settings.group)
    }

    /// The number of the hypervisors' account, if it exists.
    #[must_use]
    pub fn user(&self) -> Option<u32> {
        number(&self.root.read_text("/etc/passwd").ok()?, &self.settings.user)
    }

    /// Has `command`, the hypervisor of `name`, run as a unit would have it.
    pub(super) fn as_hypervisor(&self, name: &Name, command: &mut Command) {
        // Who is not root starts what is theirs.
        if !geteuid().is_root() {
            return;
        }
        let (Some(user), Some(group)) = (self.user(), self.group()) else {
            let Settings { user, group, .. } = &self.settings;
            warn(&format!("{name} runs as root: user {user} or group {group} does not exist"));
            return;
        };
        for (resource, limit) in LIMITS {
            // Where it may not be raised, what there is has to do.
            let _ = setrlimit(resource, Rlimit { current: limit, maximum: limit });
        }
        let file = self.root.read_text("/etc/group").unwrap_or_default();
        exec::as_account(command, user, group, &groups(&file, &self.settings.user));
        command.env("USER", &self.settings.user).env("LOGNAME", &self.settings.user);
        command.env("HOME", self.directory(name));
    }
}
