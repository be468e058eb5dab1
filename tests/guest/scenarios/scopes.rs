// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who may be disconnected: each `disconnect-scope` with a connection that somebody made by hand.

use std::time::Duration;

use super::world::{self, LIMIT, NQNS, PORT, World};
use super::{Guest, Kernel, Needs, Scenario};
use crate::fakedc::{Entry, Fake, Persona};
use crate::inside::stas::{self, Role};
use crate::inside::uevents::Recorder;
use crate::inside::{Outcome, controllers, ensure, ensure_eq, say, wait};

const NEEDS: Needs = Needs { stas: true, bus: true, ..Needs::BARE };
/// Longer than any soak time of an audit.
const CALM: Duration = Duration::from_secs(6);
const SECTION: &str = "[I/O controller connection management]\n";

/// Only what stacd itself connected.
pub const SCOPE_OWN: Scenario = Scenario {
    name: "scope-own",
    about: "disconnect-scope=only-stas-connections: a foreign connection stays",
    needs: NEEDS,
    kernels: &[Kernel::V6_1],
    seconds: 120,
    run: scope_own,
};

/// Starts with one foreign connection, one wanted subsystem and the scope of the day.
fn begin(scope: &str) -> Outcome<World> {
    world::target(3)?;
    controllers::connect_tcp(NQNS[1], PORT)?;
    controllers::await_storage(&[NQNS[1]], LIMIT)?;
    stas::configure(Role::Finder, world::FINDER)?;
    want(scope, &NQNS[..1])?;
    World::start(true)
}

fn want(scope: &str, nqns: &[&str]) -> Outcome {
    let settings = format!("{SECTION}disconnect-scope={scope}\n");
    stas::configure(Role::Connector, &world::connector(&settings, nqns))
}

fn scope_own(_: &Guest) -> Outcome {
    let scope = "only-stas-connections";
    let mut world = begin(scope)?;
    controllers::await_storage(&NQNS[..2], LIMIT)?;
    let both = || controllers::live_nqns().len() == 2;
    wait::throughout("the foreign connection stays", CALM, both)?;
    want(scope, &[])?;
    stas::reload(&world.connector)?;
    controllers::await_storage(&[NQNS[1]], LIMIT)?;
    wait::throughout("the foreign connection still stays", CALM, || {
        controllers::live_nqns() == [NQNS[1]]
    })?;
    say::step("only its own");

    // What it connected before a restart is its own after it.
    want(scope, &NQNS[..1])?;
    stas::reload(&world.connector)?;
    controllers::await_storage(&NQNS[..2], LIMIT)?;
    world.connector.stop(world::STOP)?;
    want(scope, &[])?;
    world.connector = stas::start(Role::Connector)?;
    controllers::await_storage(&[NQNS[1]], LIMIT)?;
    world.stop()
}

/// Everything that nobody wants.
pub const SCOPE_ALL: Scenario = Scenario {
    name: "scope-all",
    about: "disconnect-scope=all-...: a foreign connection goes, unless it is wanted",
    needs: NEEDS,
    kernels: &[Kernel::V6_1],
    seconds: 120,
    run: scope_all,
};

fn scope_all(_: &Guest) -> Outcome {
    let scope = "all-connections-matching-disconnect-trtypes";
    // The hand-made connection to the second, and one to the first, which is wanted.
    world::target(3)?;
    controllers::connect_tcp(NQNS[0], PORT)?;
    controllers::connect_tcp(NQNS[1], PORT)?;
    controllers::await_storage(&NQNS[..2], LIMIT)?;
    stas::configure(Role::Finder, world::FINDER)?;
    want(scope, &NQNS[..1])?;
    let mut world = World::start(true)?;
    let spent = controllers::await_storage(&NQNS[..1], LIMIT)?;
    say::value("foreign_disconnected_ms", &spent.as_millis());
    wait::until("one controller was removed and none made", LIMIT, || {
        world.recorder.made_and_removed() == (0, 1)
    })?;
    let device = controllers::storage()[0].name.clone();
    let list = stas::list(Role::Connector)?;
    ensure_eq("the controllers of stacd", &list.len(), &1)?;
    ensure_eq("the adopted device", &list[0]["device"].as_str(), &device.as_str())?;

    controllers::connect_tcp(NQNS[2], PORT)?;
    let spent = wait::until("a later foreign connection goes", LIMIT, || {
        controllers::live_nqns() == [NQNS[0]]
    })?;
    say::value("later_disconnected_ms", &spent.as_millis());

    // Discovery controllers are stafd's business.
    let name = controllers::connect_tcp(controllers::DISCOVERY_NQN, PORT)?;
    wait::throughout("a discovery controller stays", CALM, || {
        controllers::discovery().iter().any(|c| c.name == name)
    })?;
    world.stop()
}

/// Nothing at all.
pub const SCOPE_NONE: Scenario = Scenario {
    name: "scope-none",
    about: "disconnect-scope=no-disconnect: what is not wanted any more stays connected",
    needs: NEEDS,
    kernels: &[Kernel::V6_1],
    seconds: 120,
    run: scope_none,
};

fn scope_none(_: &Guest) -> Outcome {
    let scope = "no-disconnect";
    let mut world = begin(scope)?;
    controllers::await_storage(&NQNS[..2], LIMIT)?;
    want(scope, &[])?;
    stas::reload(&world.connector)?;
    wait::until("stacd forgets it", LIMIT, || {
        stas::list(Role::Connector).is_ok_and(|list| list.is_empty())
    })?;
    world::storage_stays("both stay connected", 2, CALM)?;
    ensure(world.recorder.made_and_removed().1 == 0, "a controller was removed")?;
    world.stop()
}

/// No audit before stafd has spoken.
pub const AUDIT_WAITS: Scenario = Scenario {
    name: "audit-waits",
    about: "stacd starts long before stafd: nothing is disconnected until stafd has answered",
    needs: NEEDS,
    kernels: &[Kernel::V6_1],
    seconds: 120,
    run: audit_waits,
};

fn audit_waits(_: &Guest) -> Outcome {
    let scope = "all-connections-matching-disconnect-trtypes";
    world::target(3)?;
    controllers::connect_tcp(NQNS[0], PORT)?;
    controllers::connect_tcp(NQNS[1], PORT)?;
    let fake = Fake::start(
        "127.0.0.1:9000",
        Persona::default(),
        vec![Entry::storage(NQNS[0], "127.0.0.1", PORT)],
    )?;
    stas::configure(Role::Finder, &world::finder(&[9000]))?;
    want(scope, &[])?;
    let recorder = Recorder::start()?;
    let mut connector = stas::start(Role::Connector)?;
    world::storage_stays("nothing is disconnected", 2, Duration::from_secs(15))?;
    let mut finder = stas::start(Role::Finder)?;
    controllers::await_storage(&NQNS[..1], LIMIT)?;
    ensure(!fake.seen().hosts.is_empty(), "stafd has not asked")?;
    let storage = recorder.count(|e| e.action == "add" && e.property("NVME_TRSVCID") == "8009");
    ensure_eq("storage controllers made", &storage, &0)?;
    connector.stop(world::STOP)?;
    finder.stop(world::STOP).map(drop)
}
