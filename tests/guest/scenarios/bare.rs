// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hosts on which something is missing: no bus, no configuration, no place for state.

use std::fs;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::world::{self, LIMIT, NQNS, STOP, World};
use super::{Guest, Kernel, Needs, Scenario};
use crate::inside::stas::{self, Role};
use crate::inside::{
    Outcome, bus, controllers, ensure, ensure_eq, process, say, uevents::Recorder, wait,
};

const BOTH: [Role; 2] = [Role::Finder, Role::Connector];

/// Both daemons start without bus, mDNS and configuration, answer, and stop.
pub const BARE_START: Scenario = Scenario {
    name: "bare-start",
    about: "both daemons without bus, configuration and mDNS: start, answer, stop",
    needs: Needs { stas: true, ..Needs::BARE },
    kernels: &Kernel::ALL,
    seconds: 120,
    run: bare_start,
};

fn bare_start(_: &Guest) -> Outcome {
    let recorder = Recorder::start()?;
    for role in BOTH {
        let name = role.daemon();
        let mut daemon = stas::start_with(role, &[], &[])?;
        let spent = stas::ready(role, &mut daemon)?;
        say::value(&format!("{name}_start_ms"), &spent.as_millis());
        ensure_eq("the list of controllers", &stas::list(role)?, &Vec::new())?;
        let said = stas::client(role, &["ls"])?;
        ensure_eq("the client's list", &(said.code, said.out.as_str()), &(0, "[]\n"))?;
        let idle = Duration::from_secs(3);
        wait::throughout("the daemon lives", idle, || daemon.alive())?;
        let before = daemon.switches()?;
        wait::pause(idle);
        let woken = daemon.switches()? - before;
        say::value(&format!("{name}_idle_switches"), &woken);
        ensure(woken <= 2, format_args!("{name} woke {woken} times in 3 idle seconds"))?;
        say::value(&format!("{name}_resident_kib"), &daemon.resident_kib()?);
        let spent = daemon.stop(STOP)?;
        say::value(&format!("{name}_stop_ms"), &spent.as_millis());
        let said = stas::client(role, &["ls"])?;
        ensure_eq("the client's exit without a daemon", &said.code, &1)?;
    }
    ensure_eq("controllers made and removed", &recorder.made_and_removed(), &(0, 0))?;
    refusals()
}

/// What must end a daemon at once, with words and status.
fn refusals() -> Outcome {
    for role in BOTH {
        let program = format!("/usr/sbin/{}", role.daemon());
        let said = process::run_as(65534, &[&program])?;
        let wanted =
            format!("Permission denied. You need root privileges to run {}.", role.daemon());
        ensure_eq("the exit of an unprivileged start", &said.code, &1)?;
        ensure(said.err.contains(&wanted), format_args!("it said '{}'", said.err))?;
        let said = process::run(&[&program, "--nonsense"])?;
        ensure_eq("the exit of a wrong option", &said.code, &2)?;
        let said = process::run(&[&program, "--version"])?;
        ensure_eq("the exit of --version", &said.code, &0)?;
        ensure(said.out.starts_with("nvme-stas "), format_args!("it said '{}'", said.out))?;
    }
    Ok(())
}

/// A state directory that cannot be written, and one with a damaged file.
pub const NO_STATE: Scenario = Scenario {
    name: "no-state",
    about: "the state directory is read-only, is damaged, is missing: the daemons work on",
    needs: Needs { stas: true, bus: true, ..Needs::BARE },
    kernels: &[Kernel::V6_1],
    seconds: 120,
    run: no_state,
};

fn no_state(_: &Guest) -> Outcome {
    world::follow(1)?;
    let _bus = bus::start()?;
    let client = bus::Client::connect()?;

    for place in ["/run/stafd", "/run/stacd"] {
        fs::create_dir_all(place)?;
        mount("none", place, "tmpfs", MountFlags::RDONLY, None)?;
    }
    let mut finder = stas::start_with(Role::Finder, &[], &[])?;
    let mut connector = stas::start_with(Role::Connector, &[], &[])?;
    controllers::await_storage(&NQNS[..1], LIMIT)?;
    ensure_eq("stafd's controllers", &client.list_controllers(Role::Finder, false)?.len(), &1)?;
    connector.stop(STOP)?;
    finder.stop(STOP)?;
    say::step("worked on a read-only directory");

    for place in ["/run/stafd", "/run/stacd"] {
        unmount(place, UnmountFlags::empty())?;
    }
    for garbage in ["{\"version\":1,", "{\"version\":99}", "[]", ""] {
        for role in BOTH {
            fs::write(format!("/run/{}/last-known-config.json", role.daemon()), garbage)?;
        }
        let mut world = World::start(false)?;
        wait::until("the connection is used again", LIMIT, || {
            stas::list(Role::Connector).is_ok_and(|list| list.len() == 1)
        })?;
        ensure_eq("controllers made", &world.recorder.made_and_removed(), &(0, 0))?;
        world.stop()?;
    }
    say::step("survived damaged files");

    for place in ["/run/stafd", "/run/stacd"] {
        fs::remove_dir_all(place)?;
    }
    let mut world = World::start(false)?;
    wait::until("the connection is used again", LIMIT, || {
        stas::list(Role::Connector).is_ok_and(|list| list.len() == 1)
    })?;
    world.stop()?;
    for role in BOTH {
        let path = format!("/run/{}/last-known-config.json", role.daemon());
        let text = fs::read_to_string(&path)?;
        ensure(text.contains("127.0.0.1"), format_args!("{path} holds '{text}'"))?;
    }
    Ok(())
}
