// SPDX-License-Identifier: Apache-2.0 OR MIT
//! stafd's and stacd's cores in a world that goes wrong.
//!
//! `SIM_SEEDS=n` runs that many worlds, `SIM_SEED=s` runs one and prints everything that happens
//! in it. A seed that found a bug becomes a named test here.

#![allow(clippy::print_stdout, reason = "a trace is printed for who asks for one")]

#[path = "sim/config.rs"]
mod config;
#[path = "sim/errno.rs"]
mod errno;
#[path = "sim/fabric.rs"]
mod fabric;
#[path = "sim/judge.rs"]
mod judge;
#[path = "sim/kernel.rs"]
mod kernel;
#[path = "sim/plan.rs"]
mod plan;
#[path = "sim/process.rs"]
mod process;
#[path = "sim/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use process::Daemon;
use world::World;

/// How long things go wrong, and how long they are given to settle afterwards.
const TROUBLE: Duration = Duration::from_secs(600);
const PEACE: Duration = Duration::from_secs(400);

/// One world, from its start to its judgement.
fn run(seed: u64, trace: bool) {
    let mut world = World::new(seed, trace);
    world.note(|| format!("{:?}\n{:?}", world.fabric, world.files));
    world.judge.name_unproven();
    for daemon in Daemon::BOTH {
        world.start(daemon);
    }
    world.plan(TROUBLE);
    world.run(world.now() + TROUBLE);
    world.calm_all();
    world.run(world.now() + PEACE);
    world.assert_settled();
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_world_settles_and_no_connection_is_cut_for_silence() {
    if let Some(seed) = number("SIM_SEED") {
        run(seed, true);
        return;
    }
    let first = number("SIM_FIRST").unwrap_or(0);
    for seed in first..first + number("SIM_SEEDS").unwrap_or(300) {
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| run(seed, false))) {
            println!("seed {seed} failed; SIM_SEED={seed} replays it");
            std::panic::resume_unwind(cause);
        }
    }
}

#[test]
fn an_entry_that_gains_an_interface_waits_for_its_former_self() {
    run(11_309, false);
}
