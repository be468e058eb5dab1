// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bus comes late, freezes, dies and returns: no connection is touched.

use std::collections::HashMap;
use std::time::Duration;

use rustix::process::Signal;

use super::world::{self, LIMIT, NQNS, World};
use super::{Guest, Kernel, Needs, Scenario};
use crate::fakedc::{Entry, Fake, Persona};
use crate::inside::stas::{self, Role};
use crate::inside::{Outcome, bus, controllers, ensure, ensure_eq, nvmet, say, wait};

/// A bus with all the failings of a bus.
pub const BUS_LOST: Scenario = Scenario {
    name: "bus-lost",
    about: "the bus comes late, freezes, dies, returns: the daemons work on and are found again",
    needs: Needs { stas: true, bus: true, ..Needs::BARE },
    kernels: &[Kernel::V6_1],
    seconds: 150,
    run: bus_lost,
};

/// The steps of coming back are 1, 2, 5, 10 and 30 s.
const RETURN: Duration = Duration::from_secs(40);

fn owned() -> bool {
    bus::Client::connect()
        .is_ok_and(|client| client.owned(Role::Finder) && client.owned(Role::Connector))
}

fn bus_lost(_: &Guest) -> Outcome {
    world::follow(3)?;
    let mut world = World::start(false)?;
    controllers::await_storage(&NQNS, LIMIT)?;
    world.bus = Some(bus::start()?);
    let spent = wait::until("both names are owned", RETURN, owned)?;
    say::value("late_bus_ms", &spent.as_millis());
    let made = world.recorder.made_and_removed();

    if let Some(bus) = &world.bus {
        bus.signal(Signal::STOP)?;
    }
    nvmet::unlink(1, NQNS[2])?;
    controllers::await_storage(&NQNS[..2], LIMIT)?;
    nvmet::link(1, NQNS[2])?;
    controllers::await_storage(&NQNS, LIMIT)?;
    ensure_eq("controllers of stafd", &stas::list(Role::Finder)?.len(), &1)?;
    if let Some(bus) = &world.bus {
        bus.signal(Signal::CONT)?;
    }
    wait::until("both names are still owned", RETURN, owned)?;
    say::step("worked with a frozen bus");

    world.bus = None;
    wait::throughout("storage stays without a bus", Duration::from_secs(5), || {
        controllers::live_nqns().len() == 3
    })?;
    world.bus = Some(bus::start()?);
    let spent = wait::until("both names are owned again", RETURN, owned)?;
    say::value("return_ms", &spent.as_millis());
    let client = bus::Client::connect()?;
    ensure_eq("stacd's controllers", &client.list_controllers(Role::Connector, false)?.len(), &3)?;
    nvmet::unlink(1, NQNS[1])?;
    controllers::await_storage(&[NQNS[0], NQNS[2]], LIMIT)?;

    let (before, after) = (made.0, world.recorder.made_and_removed().0);
    ensure(after <= before + 1, format_args!("{} controllers were made", after - before))?;
    world.stop()
}

/// What the signals say and when, and how a controller is named in a call.
pub const BUS_SIGNALS: Scenario = Scenario {
    name: "bus-signals",
    about: "each fetch is announced, one reconcile says once that controllers went; names in calls",
    needs: Needs { stas: true, bus: true, ..Needs::BARE },
    kernels: &[Kernel::V6_1],
    seconds: 120,
    run: bus_signals,
};

fn bus_signals(_: &Guest) -> Outcome {
    let entry = || vec![Entry::storage("nqn.2024-01.test:far", "192.0.2.1", 4420)];
    let one = Fake::start("127.0.0.1:9000", Persona::default(), entry())?;
    let _two = Fake::start("127.0.0.1:9001", Persona::default(), entry())?;
    stas::configure(Role::Finder, &world::finder(&[9000, 9001]))?;
    let _bus = bus::start()?;
    let signals = bus::Signals::start()?;
    let mut finder = stas::start(Role::Finder)?;
    wait::until("both pages are announced", LIMIT, || signals.count("log_pages_changed") >= 2)?;
    controllers::await_discovery(2, LIMIT)?;
    let client = bus::Client::connect()?;
    named(&client)?;

    // An equal page is announced as well.
    let before = signals.count("log_pages_changed");
    let read = one.seen().log_headers;
    one.raise_event();
    wait::until("the page is read again", LIMIT, || one.seen().log_headers > read)?;
    wait::until("it is announced", LIMIT, || signals.count("log_pages_changed") > before)?;
    ensure_eq("controllers removed so far", &signals.count("dc_removed"), &0)?;

    stas::configure(Role::Finder, world::FINDER)?;
    stas::reload(&finder)?;
    wait::until("both are gone", LIMIT, || controllers::discovery().is_empty())?;
    wait::until("that is announced", LIMIT, || signals.count("dc_removed") > 0)?;
    wait::pause(Duration::from_secs(2));
    ensure_eq("announcements of removals", &signals.count("dc_removed"), &1)?;
    finder.stop(world::STOP).map(drop)
}

/// The seven strings find a controller by meaning; what they do not find is empty, not an error.
fn named(client: &bus::Client) -> Outcome {
    let nqn = controllers::DISCOVERY_NQN;
    let host = controllers::HOST_NQN;
    for (port, address, host, records) in [
        ("9000", "127.0.0.1", host, 1),
        ("9000", "127.0.0.1", "", 1),
        ("09000", "::ffff:127.0.0.1", "", 1),
        ("9009", "127.0.0.1", "", 0),
        ("9000", "127.0.0.1", "nqn.2024-01.test:another-host", 0),
    ] {
        let seven = ("tcp", address, port, nqn, "", "", host);
        let name = Role::Finder.bus_name();
        let (pages,): (Vec<HashMap<String, String>>,) =
            client.call(Role::Finder, name, "get_log_pages", seven)?;
        ensure_eq(&format!("records of {seven:?}"), &pages.len(), &records)?;
        let debug = format!("{name}.debug");
        let (info,): (String,) = client.call(Role::Finder, &debug, "controller_info", seven)?;
        ensure_eq(&format!("{seven:?} is unknown"), &(info == "{}"), &(records == 0))?;
    }
    Ok(())
}
