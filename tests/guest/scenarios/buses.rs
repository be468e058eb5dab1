// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bus comes late, freezes, dies and returns: no connection is touched.

use std::time::Duration;

use rustix::process::Signal;

use super::world::{self, LIMIT, NQNS, PORT, World};
use super::{Guest, Kernel, Needs, Scenario};
use crate::inside::stas::{self, Role};
use crate::inside::{Outcome, bus, controllers, ensure, ensure_eq, nvmet, say, wait};

/// A bus with all the failings of a bus.
pub const BUS_LOST: Scenario = Scenario {
    name: "bus-lost",
    about: "the bus comes late, freezes, dies, returns: the daemons work on and are found again",
    needs: Needs { stas: true, bus: true, ..Needs::BARE },
    kernels: &[Kernel::V6_12],
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
    world::target(3)?;
    stas::configure(Role::Finder, &world::finder(&[PORT]))?;
    stas::configure(Role::Connector, &world::connector("", &[]))?;
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
