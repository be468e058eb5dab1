// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Too much at once: events that nobody asked for, targets that are not there.

use std::fs;
use std::time::Duration;

use plinth::time::Time;

use super::world::{self, FINDER, LIMIT, NQNS, PORT, World};
use super::{Guest, Kernel, Needs, Scenario};
use crate::inside::stas::{self, Role};
use crate::inside::{Outcome, controllers, ensure, ensure_eq, nvmet, process, say, wait};

const EVENTS: usize = 20_000;

/// Twenty thousand uevents, and a change in the middle of them.
pub const EVENT_STORM: Scenario = Scenario {
    name: "event-storm",
    about: "20 000 foreign uevents with changes among them: the daemons end where the kernel is",
    needs: Needs { stas: true, ..Needs::BARE },
    kernels: &[Kernel::V6_12],
    seconds: 180,
    run: event_storm,
};

fn storm() -> Outcome<Duration> {
    let begin = Time::monotonic();
    for _ in 0..EVENTS {
        fs::write("/sys/devices/virtual/mem/null/uevent", "change")?;
    }
    Ok(begin.until(Time::monotonic()))
}

fn event_storm(_: &Guest) -> Outcome {
    world::follow(3)?;
    let mut world = World::start(false)?;
    controllers::await_storage(&NQNS, LIMIT)?;
    let victims = controllers::all();
    let before = world.connector.resident_kib()?;

    // While they are stopped, their sockets overflow: the removals among the events are lost to
    // them.
    for daemon in [&world.finder, &world.connector] {
        daemon.signal(rustix::process::Signal::STOP)?;
    }
    let spent = storm()?;
    say::value("storm_ms", &spent.as_millis());
    for victim in &victims {
        controllers::delete(&victim.name)?;
    }
    let spent = storm()?;
    say::value("storm_ms", &spent.as_millis());
    for daemon in [&world.finder, &world.connector] {
        daemon.signal(rustix::process::Signal::CONT)?;
    }
    let spent = controllers::await_storage(&NQNS, LIMIT)?;
    say::value("back_ms", &spent.as_millis());
    controllers::await_discovery(1, LIMIT)?;

    nvmet::unlink(1, NQNS[2])?;
    let removed = victims.len() + 1;
    let recorder = world.recorder.clone();
    wait::until("it is removed", LIMIT, || recorder.made_and_removed().1 == removed)?;
    let grown = world.connector.resident_kib()?.saturating_sub(before);
    say::value("grown_kib", &grown);
    ensure(grown < 1024, format_args!("stacd grew by {grown} KiB"))?;

    // Foreign events that it can keep up with wake a daemon, and change nothing.
    let made = world.recorder.made_and_removed();
    storm()?;
    wait::pause(Duration::from_secs(1));
    ensure_eq("controllers made and removed", &world.recorder.made_and_removed(), &made)?;
    world.stop()
}

const DEAD: u8 = 32;

/// Many targets that swallow every packet, and one that is there.
pub const DEAD_TARGETS: Scenario = Scenario {
    name: "dead-targets",
    about: "32 targets that swallow packets and one that answers: the one is connected soon",
    needs: Needs { stas: true, modules: &["dummy"], ..Needs::BARE },
    kernels: &[Kernel::V6_12],
    seconds: 180,
    run: dead_targets,
};

fn dead_targets(_: &Guest) -> Outcome {
    process::busybox(&["ip", "link", "add", "void0", "type", "dummy"])?;
    process::busybox(&["ip", "addr", "add", "192.0.2.254/24", "dev", "void0"])?;
    process::busybox(&["ip", "link", "set", "void0", "up"])?;
    world::target(1)?;
    let dead = |nqn: Option<&str>, port| -> String {
        (1..=DEAD).map(|n| stas::line(&format!("192.0.2.{n}"), port, nqn)).collect()
    };
    let finder = format!(
        "{FINDER}[Controllers]\n{}{}",
        dead(None, PORT),
        stas::line("127.0.0.1", PORT, None)
    );
    stas::configure(Role::Finder, &finder)?;
    let mut connector = world::connector("", &[]);
    connector.push_str(&dead(Some(NQNS[0]), PORT));
    stas::configure(Role::Connector, &connector)?;
    let mut world = World::start(false)?;
    let spent = controllers::await_discovery(1, LIMIT)?;
    say::value("discovery_ms", &spent.as_millis());
    // Soak times of both daemons and the emulator's slowness; one dead target alone costs 3 s.
    let limit = Duration::from_secs(12);
    let spent = controllers::await_storage(&NQNS[..1], limit)?;
    say::value("storage_ms", &spent.as_millis());
    ensure_eq("controllers of stafd", &stas::list(Role::Finder)?.len(), &(usize::from(DEAD) + 1))?;
    world.stop()
}

/// An address that comes after the daemon has stopped to expect anything soon.
pub const ADDRESS_COMES: Scenario = Scenario {
    name: "address-comes",
    about: "a target that no address leads to is connected as soon as there is one",
    needs: Needs { stas: true, modules: &["dummy"], ..Needs::BARE },
    kernels: &[Kernel::V6_12],
    seconds: 180,
    run: address_comes,
};

fn address_comes(_: &Guest) -> Outcome {
    nvmet::port(1, "0.0.0.0", PORT)?;
    nvmet::subsystem(NQNS[0], 1)?;
    nvmet::link(1, NQNS[0])?;
    let mut text = world::connector("", &[]);
    text.push_str(&stas::line("192.0.2.1", PORT, Some(NQNS[0])));
    stas::configure(Role::Connector, &text)?;
    let mut daemon = stas::start_with(Role::Connector, &[], &[])?;
    stas::ready(Role::Connector, &mut daemon)?;
    let attempts = || -> Outcome<u32> {
        let list = stas::list(Role::Connector)?;
        let count = list.first().and_then(|c| c.get("connect attempts")?.parse().ok());
        Ok(count.unwrap_or(0))
    };
    wait::until("two attempts have failed", LIMIT, || attempts().is_ok_and(|count| count == 2))?;
    wait::throughout("no third one follows soon", Duration::from_secs(5), || {
        attempts().is_ok_and(|count| count == 2)
    })?;
    for words in [
        &["ip", "link", "add", "late0", "type", "dummy"][..],
        &["ip", "link", "set", "late0", "up"],
        &["ip", "addr", "add", "192.0.2.1/24", "dev", "late0"],
    ] {
        process::busybox(words)?;
    }
    // Without the news of the address it would be another 49 s at least.
    let spent = controllers::await_storage(&NQNS[..1], Duration::from_secs(10))?;
    say::value("connected_after_ms", &spent.as_millis());
    daemon.stop(world::STOP)?;
    Ok(())
}
