// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Discovery controllers that lie, stall, vanish and inject: the others are served all the same.

use std::time::Duration;

use super::world::{self, LIMIT, NQNS, PORT, STOP, World};
use super::{Guest, Kernel, Needs, Scenario};
use crate::fakedc::{Entry, Fake, Fault, Persona};
use crate::inside::stas::{self, Role};
use crate::inside::{Outcome, controllers, ensure, ensure_eq, say, wait};

const BAD: &str = "127.0.0.1:9000";

/// Records that no host should act upon.
pub const HOSTILE_LOG: Scenario = Scenario {
    name: "hostile-log",
    about: "a discovery log with injected options, impossible addresses and referrals in a circle",
    needs: Needs { stas: true, ..Needs::BARE },
    kernels: &Kernel::ALL,
    seconds: 120,
    run: hostile_log,
};

fn hostile_log(_: &Guest) -> Outcome {
    world::target(1)?;
    let storage = |nqn: &str, address: &str| Entry::storage(nqn, address, PORT);
    let injected = format!("{},hostnqn=nqn.2024-01.evil:host", NQNS[0]);
    let entries = vec![
        storage(&injected, "127.0.0.1"),
        storage("nqn.2024-01.evil:a", "127.0.0.1,host_iface=lo"),
        storage("nqn.2024-01.evil:b", "127.0.0.1\nnqn=x"),
        storage("nqn.2024-01.evil:c", "0.0.0.0"),
        storage("nqn.2024-01.evil:d", "::"),
        storage("nqn.2024-01.evil:e", "255.255.255.255"),
        storage("nqn.2024-01.evil:f", "not an address"),
        Entry { service: b"8009,tos=1".to_vec(), ..storage("nqn.2024-01.evil:g", "127.0.0.1") },
        Entry { nqn: vec![0xff; 256], ..storage("", "127.0.0.1") },
        Entry { transport: 77, ..storage("nqn.2024-01.evil:h", "127.0.0.1") },
        Entry { kind: 9, ..storage("nqn.2024-01.evil:i", "127.0.0.1") },
        Entry::referral("127.0.0.1", 9000),
        storage(NQNS[0], "127.0.0.1"),
    ];
    let fake = Fake::start(BAD, Persona::default(), entries)?;
    stas::configure(Role::Finder, &world::finder(&[9000]))?;
    stas::configure(Role::Connector, &world::connector("", &[]))?;
    let mut world = World::start(false)?;
    controllers::await_storage(&NQNS[..1], LIMIT)?;
    wait::throughout("nothing else is connected", Duration::from_secs(6), || {
        controllers::live_nqns() == NQNS[..1]
    })?;
    ensure_eq("hosts of the referral to itself", &fake.seen().hosts.len(), &1)?;
    for host in &fake.seen().hosts {
        ensure_eq("the host name", &host.as_str(), &controllers::HOST_NQN)?;
    }
    let made =
        world.recorder.count(|e| e.action == "add" && e.property("NVME_TRADDR") != "127.0.0.1");
    ensure_eq("attempts at other addresses", &made, &0)?;
    ensure_eq("discovery controllers", &stas::list(Role::Finder)?.len(), &1)?;
    world.stop()
}

/// Controllers that stall must hold up nobody.
pub const STALLING_DC: Scenario = Scenario {
    name: "stalling-dc",
    about: "discovery controllers that are mute, hang up, never settle: others go on",
    needs: Needs { stas: true, ..Needs::BARE },
    kernels: &[Kernel::V6_1],
    seconds: 200,
    run: stalling_dc,
};

fn stalling_dc(_: &Guest) -> Outcome {
    world::target(2)?;
    let faults =
        [Fault::MuteOnLog, Fault::DropOnLog, Fault::EverChanging, Fault::RecordCount(1 << 40)];
    let entry = || vec![Entry::storage("nqn.2024-01.evil:x", "127.0.0.1", PORT)];
    let mut fakes = Vec::new();
    for (port, fault) in (9000..).zip(faults) {
        let fake = Fake::start(&format!("127.0.0.1:{port}"), Persona::default(), entry())?;
        fake.misbehave(fault);
        fakes.push(fake);
    }
    stas::configure(Role::Finder, &world::finder(&[9000, 9001, 9002, 9003, PORT]))?;
    stas::configure(Role::Connector, &world::connector("", &[]))?;
    let mut world = World::start(false)?;
    let spent = controllers::await_storage(&NQNS[..2], LIMIT)?;
    say::value("served_ms", &spent.as_millis());
    wait::until("each bad one was asked", LIMIT, || {
        fakes.iter().all(|fake| fake.seen().log_headers > 0)
    })?;
    ensure_eq("controllers of stafd", &stas::list(Role::Finder)?.len(), &5)?;

    // A reload asks all of them again, and a stop comes in the middle of it.
    stas::reload(&world.finder)?;
    wait::pause(Duration::from_secs(2));
    let spent = world.finder.stop(STOP)?;
    say::value("stop_ms", &spent.as_millis());
    ensure_eq("storage", &controllers::live_nqns().len(), &2)?;
    world.connector.stop(STOP).map(drop)
}

/// How long the kernel waits for the greeting of an NVMe/TCP target, and a daemon that did not hand
/// the connect to another process would answer nobody.
const GREETING_WAIT: Duration = Duration::from_secs(10);

/// A controller that accepts the connection and stays mute occupies the kernel for seconds.
pub const MUTE_DC: Scenario = Scenario {
    name: "mute-dc",
    about: "a discovery controller that never greets: the connect blocks, the daemon does not",
    needs: Needs { stas: true, ..Needs::BARE },
    kernels: &[Kernel::V6_1],
    seconds: 150,
    run: mute_dc,
};

fn mute_dc(_: &Guest) -> Outcome {
    world::target(2)?;
    let fake = Fake::start(BAD, Persona::default(), Vec::new())?;
    fake.misbehave(Fault::Mute);
    stas::configure(Role::Finder, &world::finder(&[9000, PORT]))?;
    stas::configure(Role::Connector, &world::connector("", &[]))?;
    let mut world = World::start(false)?;
    wait::until("the mute one is tried", LIMIT, || fake.seen().connections > 0)?;
    let begin = plinth::time::Time::monotonic();
    ensure_eq("controllers of stafd", &stas::list(Role::Finder)?.len(), &2)?;
    let spent = begin.until(plinth::time::Time::monotonic());
    ensure(spent < GREETING_WAIT / 2, format_args!("an answer took {spent:?}"))?;
    controllers::await_storage(&NQNS[..2], Duration::from_secs(40))?;

    fake.misbehave(Fault::None);
    wait::until("it is connected once it speaks", Duration::from_secs(80), || {
        controllers::discovery().iter().filter(|c| c.is_live()).count() == 2
    })?;

    // A start with a mute controller, then a stop while the kernel waits for it.
    world.finder.stop(STOP)?;
    for found in controllers::discovery() {
        controllers::delete(&found.name)?;
    }
    fake.misbehave(Fault::Mute);
    let before = fake.seen().connections;
    world.finder = stas::start(Role::Finder)?;
    wait::until("it is tried again", LIMIT, || fake.seen().connections > before)?;
    let spent = world.finder.stop(STOP)?;
    say::value("stop_while_connecting_ms", &spent.as_millis());
    world.connector.stop(STOP).map(drop)
}
