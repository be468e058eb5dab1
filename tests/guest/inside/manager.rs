// SPDX-License-Identifier: Apache-2.0 OR MIT
//! systemd as process 1 of a process namespace, so that a host can be booted, watched and booted
//! again from outside.
//!
//! The file system is the guest's own and stays from one boot to the next; `/run` begins anew, as
//! on a machine. Commands are run inside.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};

use super::process::{self, Process, Said};
use super::trouble::Naming;
use super::{Outcome, Trouble, ensure, wait};

/// For a boot or a shutdown on an emulated processor.
const LIMIT: Duration = Duration::from_secs(120);
/// What the new process 1 does before it becomes systemd.
const BEFORE: &str = "mount -t proc proc /proc && mount -t tmpfs run /run && \
                      exec /lib/systemd/systemd";

/// A booted host.
#[derive(Debug)]
pub struct Manager {
    child: Child,
    /// Its process 1, as this side counts.
    pid: u32,
}

impl Manager {
    /// Boots; returns when the default target is reached.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn boot() -> Outcome<Self> {
        let child = Command::new("/bin/busybox")
            .args(["unshare", "-m", "-p", "-f", "/bin/busybox", "sh", "-c", BEFORE])
            .env_clear()
            .env("PATH", "/bin:/usr/bin:/sbin:/usr/sbin")
            .env("container", "guest")
            .stdin(Stdio::null())
            .spawn()
            .named("systemd")?;
        let path = format!("/proc/{0}/task/{0}/children", child.id());
        let (pid, _) = wait::until_found("process 1 starts", LIMIT, || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            Ok(text.split_whitespace().next().and_then(|pid| pid.parse().ok()))
        })?;
        let manager = Self { child, pid };
        wait::until("the host is up", LIMIT, || {
            let said = manager.run(&["systemctl", "is-active", "multi-user.target"]);
            said.is_ok_and(|said| said.out.trim() == "active")
        })?;
        Ok(manager)
    }

    /// Runs a program inside.
    ///
    /// # Errors
    /// As [`process::run`].
    pub fn run(&self, words: &[&str]) -> Outcome<Said> {
        let pid = self.pid.to_string();
        process::run(&entering(&pid, words))
    }

    /// Starts a program inside that runs beside the scenario.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start(&self, name: &str, words: &[&str]) -> Outcome<Process> {
        let pid = self.pid.to_string();
        Process::start(name, &entering(&pid, words), &[])
    }

    /// Runs a program inside that must succeed; its standard output.
    ///
    /// # Errors
    /// Its standard error, when it fails.
    pub fn output(&self, words: &[&str]) -> Outcome<String> {
        let Said { code, out, err } = self.run(words)?;
        ensure(code == 0, format_args!("'{}' ended with {code}: {err}{out}", words.join(" ")))?;
        Ok(out)
    }

    /// A property of a unit.
    ///
    /// # Errors
    /// As [`Manager::output`].
    pub fn property(&self, unit: &str, property: &str) -> Outcome<String> {
        let words = ["systemctl", "show", "--value", "--property", property, unit];
        Ok(self.output(&words)?.trim().to_owned())
    }

    /// Waits until a unit is in this state, as `systemctl is-active` says it.
    ///
    /// # Errors
    /// When it is not within the limit.
    pub fn until(&self, unit: &str, state: &str) -> Outcome<Duration> {
        let what = format!("{unit} is {state}");
        wait::until(&what, LIMIT, || self.property(unit, "ActiveState").is_ok_and(|it| it == state))
    }

    /// Shuts the host down in order, and boots it again.
    ///
    /// # Errors
    /// When it does not go down, or does not come up.
    pub fn reboot(mut self) -> Outcome<Self> {
        self.run(&["systemctl", "reboot"])?;
        wait::until_found("the host goes down", LIMIT, || {
            self.child.try_wait().map_err(Trouble::from)
        })?;
        Self::boot()
    }
}

/// The words that run `words` beside the process 1 that has this number out here.
fn entering<'a>(pid: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["/bin/busybox", "nsenter", "-t", pid, "-m", "-p", "--"];
    all.extend(words);
    all
}

/// The children of this process, which is process 1, that live in another namespace of numbers:
/// nobody was started there from here, but whoever loses a parent comes to process 1.
fn cut_off() -> Vec<Pid> {
    let lists = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = lists.filter_map(|it| fs::read_to_string(it.path().join("children")).ok());
    let is_inside = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        numbers.is_some_and(|numbers| numbers.split_whitespace().count() > 1)
    };
    let children = lists.collect::<String>();
    let numbers = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    numbers.filter(is_inside).filter_map(Pid::from_raw).collect()
}

impl Drop for Manager {
    fn drop(&mut self) {
        // Its process 1 goes with it, and with that everything inside.
        drop(process::busybox(&["kill", "-KILL", &self.pid.to_string()]));
        if !matches!(self.child.try_wait(), Ok(None)) {
            return; // rebooted, and reaped
        }
        // Its namespace ends when all are reaped; those whose way in was cut off are ours to reap.
        let over = || {
            for pid in cut_off() {
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
            !matches!(self.child.try_wait(), Ok(None))
        };
        drop(wait::until("the host is gone", LIMIT, over));
    }
}
