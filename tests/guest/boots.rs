// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The scenarios as tests, one for each scenario and kernel it names.
//!
//! The names begin with `root_`: what they show happens with all privileges, inside a guest. On the
//! host they need none, only what `tests/setup.sh` brings.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use rig::host::run::{Options, run};
use rig::inside::wait::{until, until_found};
use rig::scenarios::{Kernel, find};

/// Runs one scenario and panics with its whole story when it fails.
fn boot(name: &str, kernel: Kernel) {
    let scenario = find(name).expect("the test names a scenario");
    if let Err(error) = run(scenario, kernel, Options::default()) {
        panic!("{error}");
    }
}

macro_rules! scenarios {
    ($($test:ident: $name:literal on $kernel:ident;)*) => {
        $(#[test]
        fn $test() {
            boot($name, Kernel::$kernel);
        })*
    };
}

scenarios! {
    root_connects_6_1: "connects" on V6_1;
    root_connects_6_12: "connects" on V6_12;
    root_fake_dc_6_1: "fake-dc" on V6_1;
    root_fake_dc_6_12: "fake-dc" on V6_12;
    root_reference_6_12: "reference" on V6_12;
}

/// The children of a process, over all its threads.
fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let lists = threads.flatten().map(|thread| thread.path().join("children"));
    let text: String = lists.filter_map(|list| fs::read_to_string(list).ok()).collect();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// The command name and the state letter of a process that is there.
fn name_and_state(process: u32) -> Option<(String, char)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
    Some((name.to_owned(), rest.trim_start().chars().next()?))
}

#[test]
fn no_emulator_outlives_a_runner_that_is_killed() {
    let mut runner = Command::new(env!("CARGO_BIN_EXE_guest"))
        .args(["run", "connects", "--kernel", "6.1", "--quiet"])
        .stdout(Stdio::null())
        .spawn()
        .expect("the runner starts");
    // It may have to build first.
    let (emulator, _) = until_found("the emulator runs", Duration::from_secs(600), || {
        let is_emulator =
            |child: &u32| name_and_state(*child).is_some_and(|(name, _)| name.starts_with("qemu"));
        Ok(children(runner.id()).into_iter().find(is_emulator))
    })
    .expect("the runner starts an emulator");
    runner.kill().expect("the runner can be killed");
    runner.wait().expect("the runner is ours");
    until("the emulator is gone", Duration::from_secs(10), || {
        name_and_state(emulator).is_none_or(|(_, state)| state == 'Z')
    })
    .expect("the emulator goes with its runner");
}
