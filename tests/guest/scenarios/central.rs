// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Networks of discovery controllers: central ones, several that report the same, referrals.

use std::time::Duration;

use super::world::{self, LIMIT, NQNS, PORT, World};
use super::{Guest, Kernel, Needs, Scenario};
use crate::fakedc::{Entry, Fake, Persona};
use crate::inside::stas::{self, Role};
use crate::inside::{Outcome, controllers, ensure_eq, nvmet, say, wait};

const NEEDS: Needs = Needs { stas: true, ..Needs::BARE };
/// A limited number of attempts while the central controller is not connected itself.
pub const NOT_CONNECTED: Scenario = Scenario {
    name: "not-connected",
    about: "records flagged as not connected: attempts are counted, a cleared flag tries at once",
    needs: NEEDS,
    kernels: &[Kernel::V6_12],
    seconds: 120,
    run: not_connected,
};

fn not_connected(_: &Guest) -> Outcome {
    const FLAG: u16 = 4;
    // The target's port is there, its subsystem is not yet: each attempt is refused at once.
    world::target(1)?;
    nvmet::subsystem(NQNS[1], 1)?;
    let entry = |flags| vec![Entry { flags, ..Entry::storage(NQNS[1], "127.0.0.1", PORT) }];
    let fake = Fake::start("127.0.0.1:9000", Persona::default(), entry(FLAG))?;
    stas::configure(Role::Finder, &world::finder(&[9000]))?;
    let settings = "[I/O controller connection management]\nconnect-attempts-on-ncc=2\n";
    stas::configure(Role::Connector, &world::connector(settings, &[]))?;
    let mut world = World::start(false)?;
    let recorder = world.recorder.clone();
    let attempts = || recorder.count(|e| e.action == "add" && e.property("NVME_TRSVCID") == "8009");
    wait::until("two attempts", LIMIT, || attempts() == 2)?;
    wait::throughout("no third", Duration::from_secs(8), || attempts() == 2)?;
    let list = stas::list(Role::Connector)?;
    ensure_eq("the flag in the list", &list[0]["dlpe.eflags.ncc"].as_str(), &"True")?;

    nvmet::link(1, NQNS[1])?;
    fake.announce(entry(0));
    let spent = controllers::await_storage(&[NQNS[1]], LIMIT)?;
    say::value("tried_at_once_ms", &spent.as_millis());
    world.stop()
}

/// One path that several controllers report is one connection.
pub const REPORTED_TWICE: Scenario = Scenario {
    name: "reported-twice",
    about: "three controllers report one path, and refer to each other: each is connected once",
    needs: NEEDS,
    kernels: &[Kernel::V6_12],
    seconds: 120,
    run: reported_twice,
};

fn reported_twice(_: &Guest) -> Outcome {
    world::target(2)?;
    let entries = |other: u16| {
        vec![
            Entry::storage(NQNS[0], "127.0.0.1", PORT),
            Entry { service: b"08009".to_vec(), ..Entry::storage(NQNS[1], "127.0.0.1", PORT) },
            Entry::referral("127.0.0.1", other),
        ]
    };
    let fakes = [(9000, 9001), (9001, 9002), (9002, 9000)]
        .into_iter()
        .map(|(own, other)| {
            Fake::start(&format!("127.0.0.1:{own}"), Persona::default(), entries(other))
        })
        .collect::<Result<Vec<_>, _>>()?;
    // Only one is configured, in another spelling of its address: the others are found by referral.
    let line = "controller=transport=TCP;traddr=::ffff:127.0.0.1;trsvcid=9000\n";
    stas::configure(Role::Finder, &format!("{}[Controllers]\n{line}", world::FINDER))?;
    stas::configure(Role::Connector, &world::connector("", &[NQNS[0]]))?;
    let mut world = World::start(false)?;
    controllers::await_storage(&NQNS[..2], LIMIT)?;
    wait::until("all three are connected", LIMIT, || controllers::discovery().len() == 3)?;
    let calm = Duration::from_secs(6);
    let recorder = world.recorder.clone();
    recorder.await_counts(5, 0, LIMIT)?;
    wait::throughout("nothing else is made", calm, || recorder.made_and_removed() == (5, 0))?;
    for fake in &fakes {
        ensure_eq("hosts at one controller", &fake.seen().hosts.len(), &1)?;
    }
    let origins: Vec<String> =
        stas::list(Role::Finder)?.iter().map(|c| c["origin"].clone()).collect();
    let referrals = origins.iter().filter(|origin| *origin == "referral").count();
    ensure_eq("controllers found by referral", &referrals, &2)?;

    // What the first referred to goes when it refers to nothing any more, and so does the next.
    fakes[0].announce(vec![Entry::storage(NQNS[0], "127.0.0.1", PORT)]);
    wait::until("the referrals go", Duration::from_secs(40), || {
        controllers::discovery().len() == 1
    })?;
    controllers::await_storage(&NQNS[..1], LIMIT)?;
    world.stop()
}
