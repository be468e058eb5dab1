// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The scenarios as tests, one for each scenario and kernel it names.
//!
//! The names begin with `root_`: what they show happens with all privileges, inside a guest. On the
//! host they need none, only what `tests/setup.sh` brings.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use plinth::proc::{self, Ending, Limits};
use rig::host::kinds;
use rig::host::run::{Options, run};
use rig::inside::wait::{until, until_found};
use rig::scenarios::{Kernel, find};

/// Runs one scenario and panics with its whole story when it fails.
fn boot(name: &str, kernel: Kernel) {
    let scenario = find(name).expect("the test names a scenario");
    match run(scenario, kernel, Options::default()) {
        Ok(values) => kinds::record(kernel, &values).expect("the target directory is writable"),
        Err(error) => panic!("{error}"),
    }
}

macro_rules! scenarios {
    ($($test:ident: $name:literal on $kernel:ident;)*) => {
        $(#[test]
        fn $test() {
            boot($name, Kernel::$kernel);
        })*

        #[test]
        fn every_scenario_and_kernel_is_a_test() {
            let listed = [$(($name, Kernel::$kernel)),*];
            for scenario in rig::scenarios::ALL {
                for kernel in scenario.kernels {
                    let wanted = (scenario.name, *kernel);
                    assert!(listed.contains(&wanted), "{wanted:?} is not listed here");
                }
            }
        }
    };
}

scenarios! {
    root_demo_6_1: "demo" on V6_1;
    root_machines_6_1: "machines" on V6_1;
    root_machines_6_12: "machines" on V6_12;
    root_kernel_6_1: "kernel" on V6_1;
    root_nested_6_1: "nested" on V6_1;
    root_connects_6_1: "connects" on V6_1;
    root_connects_6_12: "connects" on V6_12;
    root_fake_dc_6_1: "fake-dc" on V6_1;
    root_fake_dc_6_12: "fake-dc" on V6_12;
    root_bare_start_6_1: "bare-start" on V6_1;
    root_bare_start_6_12: "bare-start" on V6_12;
    root_one_dc_6_1: "one-dc" on V6_1;
    root_one_dc_6_12: "one-dc" on V6_12;
    root_one_dc_no_bus_6_1: "one-dc-no-bus" on V6_1;
    root_one_dc_no_bus_6_12: "one-dc-no-bus" on V6_12;
    root_target_changes_6_1: "target-changes" on V6_1;
    root_target_changes_6_12: "target-changes" on V6_12;
    root_taken_away_6_1: "taken-away" on V6_1;
    root_taken_away_6_12: "taken-away" on V6_12;
    root_hostile_log_6_1: "hostile-log" on V6_1;
    root_hostile_log_6_12: "hostile-log" on V6_12;
    root_not_connected_6_12: "not-connected" on V6_12;
    root_reported_twice_6_12: "reported-twice" on V6_12;
    root_event_storm_6_12: "event-storm" on V6_12;
    root_dead_targets_6_12: "dead-targets" on V6_12;
    root_address_comes_6_12: "address-comes" on V6_12;
    root_audit_waits_6_1: "audit-waits" on V6_1;
    root_reference_6_1: "reference" on V6_1;
    root_no_state_6_1: "no-state" on V6_1;
    root_bus_lost_6_1: "bus-lost" on V6_1;
    root_bus_signals_6_1: "bus-signals" on V6_1;
    root_clients_6_1: "clients" on V6_1;
    root_clients_no_bus_6_1: "clients-no-bus" on V6_1;
    root_cost_6_1: "cost" on V6_1;
    root_reload_burst_6_1: "reload-burst" on V6_1;
    root_withdrawn_6_1: "withdrawn" on V6_1;
    root_stalling_dc_6_1: "stalling-dc" on V6_1;
    root_mute_dc_6_1: "mute-dc" on V6_1;
    root_names_6_1: "names" on V6_1;
    root_bpf_boot_6_1: "bpf-boot" on V6_1;
    root_bpf_boot_6_12: "bpf-boot" on V6_12;
    root_bpf_boot_sid: "bpf-boot" on Sid;
    root_bpf_failures_6_1: "bpf-failures" on V6_1;
    root_bpf_failures_sid: "bpf-failures" on Sid;
    root_bpf_command_6_1: "bpf-command" on V6_1;
    root_bpf_command_6_12: "bpf-command" on V6_12;
    root_bpf_command_sid: "bpf-command" on Sid;
    root_bpf_kinds_6_1: "bpf-kinds" on V6_1;
    root_bpf_kinds_6_12: "bpf-kinds" on V6_12;
    root_bpf_kinds_sid: "bpf-kinds" on Sid;
    root_bpf_programs_6_1: "bpf-programs" on V6_1;
    root_bpf_programs_sid: "bpf-programs" on Sid;
    root_scope_own_6_1: "scope-own" on V6_1;
    root_scope_all_6_1: "scope-all" on V6_1;
    root_scope_none_6_1: "scope-none" on V6_1;
    root_many_6_1: "many" on V6_1;
    root_mixed_finder_6_1: "mixed-finder" on V6_1;
    root_mixed_connector_6_1: "mixed-connector" on V6_1;
    root_upgrade_6_1: "upgrade" on V6_1;
}

#[test]
fn root_the_demonstration_ends_with_the_table_and_ok() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guest"));
    command.args(["demo", "--kernel", "6.12"]);
    let limits = Limits { time: Duration::from_secs(1200), output: 8 << 20 };
    let shown = proc::run(command, limits).expect("the demonstration starts");
    let text = String::from_utf8_lossy(&shown.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let (last, table) = lines.split_last().expect("it says something");
    let rows: Vec<&&str> = table.iter().rev().take_while(|line| line.starts_with("nvme")).collect();
    assert_eq!((*last, rows.len(), shown.ending), ("demo: ok", 4, Ending::Exited(0)), "{text}");
    assert!(table[table.len() - 5].starts_with("DEVICE"), "{text}");
    assert!(rows.iter().any(|row| row.contains(":epsilon")), "{text}");
    assert!(!rows.iter().any(|row| row.contains(":beta")), "{text}");
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
