// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemons follow their configuration, the target, and what others do to their connections.

use std::time::Duration;

use super::world::{self, LIMIT, NQNS, PORT, World};
use super::{Guest, Kernel, Needs, Scenario};
use crate::fakedc::{Entry, Fake, Persona};
use crate::inside::stas::{self, Role};
use crate::inside::{
    Outcome, bus, controllers, digest, ensure, ensure_eq, nvmet, process, say, wait,
};

const WITH_BUS: Needs = Needs { stas: true, bus: true, ..Needs::BARE };
const WITHOUT_BUS: Needs = Needs { stas: true, ..Needs::BARE };

/// From one configured discovery controller to disks, over the bus.
pub const ONE_DC: Scenario = Scenario {
    name: "one-dc",
    about: "one configured discovery controller: its subsystems become disks, over the bus",
    needs: WITH_BUS,
    kernels: &Kernel::ALL,
    seconds: 120,
    run: |_| one_dc(true),
};

/// The same over the control socket.
pub const ONE_DC_NO_BUS: Scenario = Scenario {
    name: "one-dc-no-bus",
    about: "one configured discovery controller: its subsystems become disks, without a bus",
    needs: WITHOUT_BUS,
    kernels: &Kernel::ALL,
    seconds: 120,
    run: |_| one_dc(false),
};

fn one_dc(with_bus: bool) -> Outcome {
    world::follow(3)?;
    let mut world = World::start(with_bus)?;
    let spent = controllers::await_storage(&NQNS, LIMIT)?;
    say::value("connected_ms", &spent.as_millis());
    controllers::await_discovery(1, LIMIT)?;
    stas::await_announced(&NQNS, LIMIT)?;
    ensure_eq("controllers of stafd", &stas::list(Role::Finder)?.len(), &1)?;
    ensure_eq("controllers of stacd", &stas::list(Role::Connector)?.len(), &3)?;
    for nqn in NQNS {
        wait::until("a disk", LIMIT, || controllers::disks(nqn).len() == 1)?;
        digest::travels(&controllers::disks(nqn)[0], &nvmet::backing(nqn, 1), 7)?;
    }
    let log = world.finder.log();
    ensure(log.contains("Connection established!"), "stafd does not log the connection")?;
    ensure(log.contains("(num records=4)"), "stafd does not log the log page's size")?;
    if with_bus {
        over_the_bus()?;
    }
    world::say_resident(&world.finder, &world.connector)?;

    world.recorder.await_counts(4, 0, LIMIT)?;
    world.stop()?;
    ensure_eq("live storage after the stop", &controllers::live_nqns().len(), &3)?;
    ensure_eq("discovery after the stop", &controllers::discovery().len(), &1)?;
    say::step("stopped, connections kept");

    // The fields are dropped before the new ones are made: two daemons never run at once.
    drop(world);
    let mut world = World::start(with_bus)?;
    wait::until("all connections are known again", LIMIT, || {
        stas::list(Role::Connector).is_ok_and(|list| list.len() == 3)
    })?;
    stas::await_announced(&NQNS, LIMIT)?;
    let calm = Duration::from_secs(4);
    let recorder = world.recorder.clone();
    wait::throughout("nothing is made or removed", calm, || recorder.made_and_removed() == (0, 0))?;
    world.stop()
}

/// The same answers over the bus, in the documented shapes.
fn over_the_bus() -> Outcome {
    let client = bus::Client::connect()?;
    let found = client.list_controllers(Role::Connector, true)?;
    ensure_eq("controllers on the bus", &found.len(), &3)?;
    for controller in &found {
        ensure_eq("connected", &controller["connected"].as_str(), &"True")?;
        ensure_eq("trsvcid", &controller["trsvcid"].as_str(), &"8009")?;
        ensure_eq("cntrltype", &controller["cntrltype"].as_str(), &"io")?;
    }
    let pages = client.all_log_pages(true)?;
    let records = pages[0]["log-pages"].as_array().map_or(0, Vec::len);
    ensure_eq("records of the log page", &records, &4)?;
    for role in [Role::Finder, Role::Connector] {
        let text = client.introspect(role)?;
        for interface in ["", ".debug"] {
            let name = format!("interface name=\"{}{interface}\"", role.bus_name());
            ensure(text.contains(&name), format_args!("no {name} in {text}"))?;
        }
        let info = client.process_info(role)?;
        ensure_eq("tron", &info["tron"].as_bool(), &Some(true))?;
        ensure_eq("hostnqn", &info["hostnqn"].as_str(), &Some(controllers::HOST_NQN))?;
    }
    Ok(())
}

/// Many configurations in a second; only the last one counts.
pub const RELOAD_BURST: Scenario = Scenario {
    name: "reload-burst",
    about: "the configuration changes ten times in a second: only the last one takes effect",
    needs: WITHOUT_BUS,
    kernels: &[Kernel::V6_1],
    seconds: 90,
    run: reload_burst,
};

fn reload_burst(_: &Guest) -> Outcome {
    let fakes = (0..10)
        .map(|n| Fake::start(&format!("127.0.0.1:{}", 9000 + n), Persona::default(), Vec::new()))
        .collect::<Result<Vec<_>, _>>()?;
    stas::configure(Role::Finder, &world::finder(&[9000]))?;
    let mut finder = stas::start(Role::Finder)?;
    wait::until("the first is connected", LIMIT, || !fakes[0].seen().hosts.is_empty())?;
    controllers::await_discovery(1, LIMIT)?;
    for port in 9001..9010 {
        stas::configure(Role::Finder, &world::finder(&[port]))?;
        stas::reload(&finder)?;
        wait::pause(Duration::from_millis(80));
    }
    wait::until("the last is connected", LIMIT, || !fakes[9].seen().hosts.is_empty())?;
    let only_last = || {
        let found = controllers::discovery();
        found.len() == 1 && found[0].part("trsvcid") == "9009"
    };
    wait::until("only the last is left", LIMIT, only_last)?;
    wait::throughout("it stays so", Duration::from_secs(4), only_last)?;
    for fake in &fakes[1..9] {
        let seen = fake.seen().hosts.len();
        ensure_eq(&format!("connections to {}", fake.address()), &seen, &0)?;
    }
    finder.stop(world::STOP).map(drop)
}

/// The target changes what it offers.
pub const TARGET_CHANGES: Scenario = Scenario {
    name: "target-changes",
    about: "subsystems and namespaces come and go at the target: the event, the page, the disks",
    needs: WITH_BUS,
    kernels: &Kernel::ALL,
    seconds: 120,
    run: target_changes,
};

fn target_changes(_: &Guest) -> Outcome {
    world::follow(3)?;
    let mut world = World::start(true)?;
    let signals = bus::Signals::start()?;
    controllers::await_storage(&NQNS, LIMIT)?;
    let before = signals.count("log_pages_changed");

    nvmet::unlink(1, NQNS[2])?;
    let spent = stas::await_announced(&NQNS[..2], LIMIT)?;
    say::value("refetched_ms", &spent.as_millis());
    world.finder.says("Received AEN: 0x70f002", LIMIT)?;
    ensure(signals.count("log_pages_changed") > before, "no signal announced the new page")?;
    let spent = controllers::await_withdrawn(NQNS[2], LIMIT)?;
    say::value("disconnected_ms", &spent.as_millis());
    controllers::await_storage(&NQNS[..2], LIMIT)?;

    nvmet::link(1, NQNS[2])?;
    let spent = controllers::await_storage(&NQNS, LIMIT)?;
    say::value("connected_again_ms", &spent.as_millis());

    // Namespaces are the kernel's business: nothing is connected or disconnected for them.
    let recorder = world.recorder.clone();
    wait::until("the events of what is there are in", LIMIT, || {
        let (made, removed) = recorder.made_and_removed();
        made - removed == 4
    })?;
    let made = world.recorder.made_and_removed();
    nvmet::namespace(NQNS[0], 2)?;
    wait::until("a second disk", LIMIT, || controllers::disks(NQNS[0]).len() == 2)?;
    nvmet::remove_namespace(NQNS[0], 2)?;
    wait::until("the second disk goes", LIMIT, || controllers::disks(NQNS[0]).len() == 1)?;
    ensure_eq("controllers made and removed", &world.recorder.made_and_removed(), &made)?;
    world.stop()
}

/// The announcement vanishes while the storage itself stays reachable.
pub const WITHDRAWN: Scenario = Scenario {
    name: "withdrawn",
    about: "a discovery controller withdraws records, then dies: what stays connected",
    needs: WITH_BUS,
    kernels: &[Kernel::V6_1],
    seconds: 150,
    run: withdrawn,
};

fn withdrawn(_: &Guest) -> Outcome {
    world::target(3)?;
    let entries = |count: usize| -> Vec<Entry> {
        NQNS[..count].iter().map(|nqn| Entry::storage(nqn, "127.0.0.1", PORT)).collect()
    };
    let fake = Fake::start("127.0.0.1:9000", Persona::default(), entries(3))?;
    stas::configure(Role::Finder, &world::finder(&[9000]))?;
    stas::configure(Role::Connector, &world::connector("", &[]))?;
    let mut world = World::start(true)?;
    controllers::await_storage(&NQNS, LIMIT)?;

    fake.announce(entries(2));
    let spent = controllers::await_storage(&NQNS[..2], LIMIT)?;
    say::value("disconnected_ms", &spent.as_millis());
    ensure(fake.seen().log_reads_that_rearm > 0, "no read of the log arms the next event")?;
    fake.announce(entries(3));
    controllers::await_storage(&NQNS, LIMIT)?;
    say::step("followed the records");

    // The page is lost, not empty: what it announced stays connected.
    world.recorder.await_counts(5, 1, LIMIT)?;
    let made = world.recorder.made_and_removed();
    drop(fake);
    let calm = Duration::from_secs(8);
    world::storage_stays("storage stays without its announcer", 3, calm)?;
    world.finder.stop(world::STOP)?;
    world::storage_stays("storage stays without stafd", 3, Duration::from_secs(12))?;
    let storage_made = world.recorder.made_and_removed();
    ensure_eq("controllers made and removed", &storage_made, &made)?;
    world.connector.stop(world::STOP).map(drop)
}

/// Somebody disconnects what the daemons hold.
pub const TAKEN_AWAY: Scenario = Scenario {
    name: "taken-away",
    about: "nvme-cli disconnects a discovery and a storage controller: both return in 3 to 4 s",
    needs: Needs { nvme_cli: true, ..WITH_BUS },
    kernels: &Kernel::ALL,
    seconds: 120,
    run: taken_away,
};

fn taken_away(_: &Guest) -> Outcome {
    world::follow(2)?;
    let mut world = World::start(true)?;
    controllers::await_storage(&NQNS[..2], LIMIT)?;
    controllers::await_discovery(1, LIMIT)?;
    stas::await_announced(&NQNS[..2], LIMIT)?;

    let victim = controllers::discovery()[0].name.clone();
    process::output(&["nvme", "disconnect", "-d", &victim])?;
    let spent = controllers::await_discovery(1, LIMIT)?;
    returned("discovery", spent)?;
    ensure_eq("the cached page", &stas::announced()?.len(), &2)?;
    ensure_eq("storage meanwhile", &controllers::live_nqns().len(), &2)?;

    let victim = controllers::storage()[0].name.clone();
    process::output(&["nvme", "disconnect", "-d", &victim])?;
    let spent = controllers::await_storage(&NQNS[..2], LIMIT)?;
    returned("storage", spent)?;
    world.connector.says("Received \"remove\" event", LIMIT)?;
    world.recorder.await_counts(5, 2, LIMIT)?;
    world.stop()
}

/// Three seconds after the loss, give or take the emulator's.
fn returned(what: &str, spent: Duration) -> Outcome {
    say::value(&format!("{what}_returned_ms"), &spent.as_millis());
    let span = Duration::from_millis(2500)..Duration::from_secs(6);
    ensure(span.contains(&spent), format_args!("{what} returned after {spent:?}"))
}
