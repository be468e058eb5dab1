// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who starts and stops machines: systemd where it is process 1, else we ourselves.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use plinth::file::Root;
use plinth::proc::{Ending, Limits, Output, run};

use super::{Host, HostError, Name};

/// A question to a service manager, or an order that returns at once.
const SHORT: Limits = Limits { time: Duration::from_secs(60), output: 8 << 20 };
/// A start or a stop, which a manager has limits for itself.
const LONG: Limits = Limits { time: Duration::from_secs(3600), output: 1 << 20 };

/// Who starts and stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// systemd, through systemctl.
    Systemd,
    /// This program.
    Own,
}

impl Manager {
    /// The one of the host below `root`, found as sd_booted(3) does.
    #[must_use]
    pub fn of(root: &Root) -> Self {
        if root.exists("/run/systemd/system") { Self::Systemd } else { Self::Own }
    }
}

/// Whether a machine runs, and as what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// It runs, or is about to.
    pub active: bool,
    /// The process.
    pub pid: Option<u32>,
}

impl Host<'_> {
    /// What runs, by name; what is missing does not.
    ///
    /// # Errors
    /// systemctl cannot be asked.
    pub fn activities(&self) -> Result<BTreeMap<Name, Activity>, HostError> {
        let mut found = match self.manager {
            Manager::Systemd => {
                let properties = "--property=Id,ActiveState,MainPID";
                // A pattern matches loaded units only, and those are all that can be active.
                let words = ["show", properties, "microvm@*.service"];
                parse(&self.systemctl(&words, SHORT)?)
            }
            Manager::Own => BTreeMap::new(),
        };
        let names = self.names()?.into_iter();
        found.extend(names.filter_map(|name| Some((name.clone(), self.of_ours(&name)?))));
        Ok(found)
    }

    /// Whether a machine runs that we have started, so that no service manager knows of it.
    #[must_use]
    pub fn is_ours(&self, name: &Name) -> bool {
        self.process(name).is_some()
    }

    /// What runs of a machine that we have started, of which no service manager knows.
    fn of_ours(&self, name: &Name) -> Option<Activity> {
        self.process(name).map(|pid| Activity { active: true, pid: Some(pid) })
    }

    /// Whether a machine runs.
    ///
    /// # Errors
    /// As for [`Host::activities`].
    pub fn activity(&self, name: &Name) -> Result<Activity, HostError> {
        match (self.of_ours(name), self.manager) {
            (Some(activity), _) => Ok(activity),
            (None, Manager::Systemd) => {
                let unit = name.unit();
                let words = ["show", "--property=Id,ActiveState,MainPID", &unit];
                let found = parse(&self.systemctl(&words, SHORT)?);
                Ok(found.get(name).copied().unwrap_or_default())
            }
            (None, Manager::Own) => Ok(Activity::default()),
        }
    }

    /// Has systemd start, stop or restart units.
    ///
    /// # Errors
    /// systemctl failed; what it said is in the error.
    pub fn order(&self, verb: &str, names: &[Name], wait: bool) -> Result<(), HostError> {
        let units: Vec<String> = names.iter().map(Name::unit).collect();
        let mut words = vec![verb];
        if !wait {
            words.push("--no-block");
        }
        words.extend(units.iter().map(String::as_str));
        self.systemctl(&words, LONG).map(drop)
    }

    /// Has systemd read its files.
    ///
    /// # Errors
    /// As for [`Host::order`].
    pub fn reload(&self) -> Result<(), HostError> {
        self.systemctl(&["daemon-reload"], SHORT).map(drop)
    }

    fn systemctl(&self, words: &[&str], limits: Limits) -> Result<String, HostError> {
        let mut command = self.command("systemctl");
        command.args(words);
        self.run(command, "to start and stop machines", limits)
    }

    /// Runs a program to its end; its standard output.
    pub(super) fn run(
        &self,
        command: Command,
        why: &'static str,
        limits: Limits,
    ) -> Result<String, HostError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let output = self.output(command, why, limits)?;
        match output.ending {
            Ending::Exited(0) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            Ending::TimedOut => Err(HostError::TimedOut(program)),
            _ => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(HostError::Failed(program, said.trim().to_owned()))
            }
        }
    }

    /// Runs a program to its end, whatever that is.
    pub(super) fn output(
        &self,
        command: Command,
        why: &'static str,
        limits: Limits,
    ) -> Result<Output, HostError> {
        let program = command.get_program().to_string_lossy().into_owned();
        run(command, limits).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => HostError::NoProgram(program, why),
            _ => HostError::io("start", program)(error),
        })
    }
}

/// Replaces this process by `command`.
pub(crate) fn become_program(mut command: Command, why: &'static str) -> HostError {
    let program = command.get_program().to_string_lossy().into_owned();
    let error = command.exec();
    if error.kind() == std::io::ErrorKind::NotFound {
        HostError::NoProgram(program, why)
    } else {
        HostError::io("start", program)(error)
    }
}

/// Reads what `systemctl show` printed: blocks of `KEY=VALUE`.
fn parse(text: &str) -> BTreeMap<Name, Activity> {
    let mut found = BTreeMap::new();
    for block in text.split("\n\n") {
        let get =
            |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let Some(name) = get("Id").and_then(Name::of_unit) else { continue };
        let state = get("ActiveState").unwrap_or_default();
        let active = matches!(state, "active" | "activating" | "reloading" | "deactivating");
        let pid = get("MainPID").and_then(|pid| pid.parse().ok()).filter(|pid| *pid != 0);
        found.insert(name, Activity { active, pid });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_shows_is_read_by_blocks() {
        let text = "MainPID=12\nId=microvm@a.service\nActiveState=active\n\n\
                    MainPID=0\nId=microvm@b.service\nActiveState=failed\n\n\
                    Id=other.service\nActiveState=active\n";
        let name = |text| Name::parse(text).expect("a name");
        let want = BTreeMap::from([
            (name("a"), Activity { active: true, pid: Some(12) }),
            (name("b"), Activity { active: false, pid: None }),
        ]);
        assert_eq!(parse(text), want);
        assert!(parse("").is_empty());
    }
}
