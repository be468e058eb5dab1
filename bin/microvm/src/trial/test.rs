// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The test of one example: its steps, from ports that are free to a machine that is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plinth::time::Time;
use serde_json::Value;

use super::TrialError;
use super::check::{Check, check};
use super::constants::{Example, Times, constants, plain};
use super::machine::{Running, directory};
use super::probe::{Console, is_open, wait_for_port};
use crate::package::{RUNNER, RUNNER_MAX};

/// What a guest without consoles on ports prints when it is up.
const LOGIN: &str = "login:";
/// How long a guest may take to go after it was told to.
const POWEROFF: Duration = Duration::from_secs(2);
/// Lines of the log that are shown when a test failed.
const TAIL: usize = 30;

/// A package of an example.
#[derive(Clone, Debug)]
pub struct Package {
    /// Where it is; absolute.
    pub path: PathBuf,
    /// The example's name.
    pub name: String,
    /// What is known of the example.
    pub example: Example,
    /// How long things may take.
    pub times: Times,
}

impl Package {
    /// The package at `path`.
    ///
    /// # Errors
    /// It is none.
    pub fn open(path: &Path) -> Result<Self, TrialError> {
        let path = fs::canonicalize(path)
            .map_err(|error| TrialError::Io(format!("find {}", path.display()), error))?;
        let bytes = plinth::file::read(&path.join(RUNNER), RUNNER_MAX).map_err(|error| {
            TrialError::Io(format!("read {}", path.join(RUNNER).display()), error)
        })?;
        let runner: Value = serde_json::from_slice(&bytes)
            .map_err(|error| TrialError::Package(format!("{}: {error}", path.display())))?;
        let text = |pointer: &str| runner.pointer(pointer).and_then(Value::as_str);
        let name = text("/name").unwrap_or_default().to_owned();
        let known = constants().map_err(TrialError::Package)?.examples.remove(&name);
        let example = known.unwrap_or_else(plain);
        let is_emulated = text("/config/qemu/accel") == Some("tcg");
        let times = example.times(is_emulated);
        Ok(Self { path, name, example, times })
    }
}

/// How a test came out.
#[derive(Debug)]
pub struct Verdict {
    /// What was seen, a line for each step.
    pub steps: Vec<String>,
    /// What went wrong, and the end of the machine's own output.
    pub failure: Option<(TrialError, Vec<String>)>,
}

impl Verdict {
    /// Did everything go well?
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.failure.is_none()
    }

    /// The lines for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text: String = self.steps.iter().map(|step| format!("  {step}\n")).collect();
        if let Some((error, tail)) = &self.failure {
            text.push_str(&format!("  failed: {}\n", plinth::err::chain(error)));
            for line in tail {
                text.push_str(&format!("  | {}\n", plinth::text::escape_control(line)));
            }
        }
        text.push_str(if self.passed() { "All tests passed!\n" } else { "Some tests failed.\n" });
        text
    }
}

/// Tests the machine of a package. It is gone afterwards, whatever happened.
#[must_use]
pub fn test(package: &Package) -> Verdict {
    let mut steps = Vec::new();
    let mut machine = match start(package) {
        Ok(machine) => machine,
        Err(error) => return Verdict { steps, failure: Some((error, Vec::new())) },
    };
    let result = examine(package, &mut machine, &mut steps);
    let stopped = machine.stop(package.times.command);
    let failure = match (result, stopped) {
        (Err(error), _) | (Ok(()), Err(error)) => Some(error),
        (Ok(()), Ok(true)) => {
            steps.push("stopped".to_owned());
            None
        }
        (Ok(()), Ok(false)) => Some(TrialError::TimedOut("the machine to stop".to_owned())),
    };
    let failure = failure.map(|error| {
        let log = machine.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default();
        (error, tail.iter().map(|&line| line.to_owned()).collect())
    });
    Verdict { steps, failure }
}

fn start(package: &Package) -> Result<Running, TrialError> {
    let taken: Vec<u16> =
        package.example.ports().into_iter().filter(|port| is_open(*port)).collect();
    if !taken.is_empty() {
        return Err(TrialError::Ports(taken));
    }
    Running::start(&package.path, &directory(&package.name)?, None)
}

fn examine(
    package: &Package,
    machine: &mut Running,
    steps: &mut Vec<String>,
) -> Result<(), TrialError> {
    let Package { example, times, .. } = package;
    let Some(serial) = example.serial else { return log_in(package, machine, steps) };
    let stream = wait_for_port(machine, serial, times.poll, times.port)?;
    steps.push(format!("serial console on port {serial}"));
    if let Some(virtio) = example.virtio {
        wait_for_port(machine, virtio, times.poll, times.port)?;
        steps.push(format!("virtio console on port {virtio}"));
    }
    let failed = |error| TrialError::Io("use the console".to_owned(), error);
    let mut console = Console::new(machine, stream).map_err(failed)?;
    let mark = format!("BOOT_TEST_{}", std::process::id());
    console.run("uname -r", &mark, times.command, times.boot)?;
    let release = console.run("uname -r", "RELEASE_IS", times.command, times.command * 3)?;
    steps.push(format!("the guest runs Linux {release}"));
    if let Some(gateway) = &example.gateway {
        let command = format!("ping -c 1 -W 9 {gateway} >/dev/null && echo yes");
        let time = times.command * 3;
        if console.run(&command, "REACHES_HOST", time, time)? != "yes" {
            return Err(TrialError::Answer(format!("the guest does not reach {gateway}")));
        }
        steps.push(format!("the guest reaches {gateway}"));
    }
    own_checks(package, machine, steps)?;
    console.send("poweroff")?;
    // A machine that is gone by itself was asked to be.
    drop(machine.pause(POWEROFF, "it was stopped"));
    Ok(())
}

fn own_checks(
    package: &Package,
    machine: &Running,
    steps: &mut Vec<String>,
) -> Result<(), TrialError> {
    let Package { example, times, .. } = package;
    let service = example.service.as_deref().and_then(Check::by_name).zip(example.host);
    let display = example.vnc.map(|port| (Check::Vnc, port));
    for (what, port) in service.into_iter().chain(display) {
        let deadline = Time::monotonic() + times.port;
        steps.extend(until_up(
            deadline,
            || check(what, port, times.command),
            || machine.pause(times.poll, "its server answered"),
        )?);
    }
    Ok(())
}

/// Asks until there is an answer: the console may be there before the server is.
fn until_up(
    deadline: Time,
    mut ask: impl FnMut() -> Result<Vec<String>, TrialError>,
    mut pause: impl FnMut() -> Result<(), TrialError>,
) -> Result<Vec<String>, TrialError> {
    loop {
        match ask() {
            Err(TrialError::Io(..)) if Time::monotonic() < deadline => pause()?,
            result => return result,
        }
    }
}

/// A guest whose console is the output of its hypervisor.
fn log_in(package: &Package, machine: &Running, steps: &mut Vec<String>) -> Result<(), TrialError> {
    let deadline = Time::monotonic() + package.times.boot;
    while !machine.log().contains(LOGIN) {
        if Time::monotonic() >= deadline {
            return Err(TrialError::TimedOut(format!("\"{LOGIN}\" on the console")));
        }
        machine.pause(package.times.poll, "it was up")?;
    }
    steps.push("the guest is up".to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_server_may_come_up_after_the_console_and_may_not_be_wrong() {
        let late = Time::monotonic() + Duration::from_secs(600);
        let silent = || TrialError::Io("ask".to_owned(), io::ErrorKind::UnexpectedEof.into());
        let mut answers = vec![Ok(vec!["up".to_owned()]), Err(silent()), Err(silent())];
        let mut pauses = 0;
        let seen = until_up(
            late,
            || answers.pop().expect("one more"),
            || {
                pauses += 1;
                Ok(())
            },
        );
        assert_eq!((seen.expect("an answer"), pauses), (vec!["up".to_owned()], 2));

        let wrong = || Err(TrialError::Answer("/: 500".to_owned()));
        let error = until_up(late, wrong, || panic!("it waits")).expect_err("a wrong answer");
        assert_eq!(error.to_string(), "/: 500");

        let over = until_up(Time::monotonic(), || Err(silent()), || panic!("it waits"));
        assert!(matches!(over, Err(TrialError::Io(..))));
    }
}
