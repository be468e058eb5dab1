// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many controllers: connected, lost together, back together.

use std::time::Duration;

use plinth::time::Time;

use super::world::{self, FINDER, PORT, World};
use super::{Guest, Kernel, Needs, Scenario};
use crate::inside::stas::{self, Role};
use crate::inside::{Outcome, controllers, ensure, nvmet, process, say, wait};

/// Subsystems, each on both ports.
const SUBSYSTEMS: usize = 200;
const PATHS: usize = 2 * SUBSYSTEMS;
const LIMIT: Duration = Duration::from_secs(180);

/// Two hundred subsystems on two ports.
pub const MANY: Scenario = Scenario {
    name: "many",
    about: "200 subsystems on 2 ports: connected, network away for 30 s, all live again",
    needs: Needs { stas: true, memory_mib: 3072, ..Needs::BARE },
    kernels: &[Kernel::V6_1],
    seconds: 600,
    run: many,
};

/// Live controllers of any kind. One attribute each: reading all of all is work for seconds here.
fn live() -> usize {
    let folder = std::fs::read_dir("/sys/class/nvme").into_iter().flatten().flatten();
    folder
        .filter(|entry| {
            std::fs::read_to_string(entry.path().join("state")).is_ok_and(|s| s.trim() == "live")
        })
        .count()
}

/// How long the kernel takes for `count` connections in a row; they are gone again afterwards.
fn by_hand(count: usize) -> Outcome<Duration> {
    let begin = Time::monotonic();
    let names = (0..count)
        .map(|n| controllers::connect_tcp(&format!("nqn.2024-01.test:many-{n}"), PORT))
        .collect::<Outcome<Vec<_>>>()?;
    let spent = begin.until(Time::monotonic());
    for name in names {
        controllers::delete(&name)?;
    }
    wait::until("none is left", LIMIT, || live() == 0)?;
    Ok(spent)
}

fn many(_: &Guest) -> Outcome {
    nvmet::port(1, "127.0.0.1", PORT)?;
    nvmet::port(2, "127.0.0.1", PORT + 1)?;
    for n in 0..SUBSYSTEMS {
        let nqn = format!("nqn.2024-01.test:many-{n}");
        nvmet::subsystem(&nqn, 1)?;
        nvmet::link(1, &nqn)?;
        nvmet::link(2, &nqn)?;
    }
    say::step("the target is up");
    say::value("hundred_by_hand_ms", &by_hand(100)?.as_millis());
    let text = format!(
        "{FINDER}[Controllers]\n{}{}",
        stas::line("127.0.0.1", PORT, None),
        stas::line("127.0.0.1", PORT + 1, None)
    );
    stas::configure(Role::Finder, &text)?;
    stas::configure(Role::Connector, &world::connector("", &[]))?;
    let mut world = World::start(false)?;
    let begin = Time::monotonic();
    for part in [100, 200, 300, PATHS + 2] {
        wait::until(&format!("{part} controllers are live"), LIMIT, || live() >= part)?;
        let spent = begin.until(Time::monotonic()).as_millis();
        say::value(&format!("connected_{part}_ms"), &spent);
        let (finder, connector) = (&world.finder, &world.connector);
        say::value("stafd_processor_ms", &finder.processor_time()?.as_millis());
        say::value("stacd_processor_ms", &connector.processor_time()?.as_millis());
    }
    world.recorder.await_counts(PATHS + 2, 0, LIMIT)?;
    world::say_resident(&world.finder, &world.connector)?;

    process::busybox(&["ip", "link", "set", "lo", "down"])?;
    wait::pause(Duration::from_secs(30));
    process::busybox(&["ip", "link", "set", "lo", "up"])?;
    say::step(format!("the network was away, {} controllers live", live()));
    let spent = wait::until("all controllers are live again", LIMIT, || live() == PATHS + 2)?;
    say::value("live_again_ms", &spent.as_millis());
    world.recorder.await_counts(PATHS + 2, 0, LIMIT)?;
    ensure(!world.recorder.lost_some(), "the recorder lost events")?;
    wait::until("stacd knows all as live", LIMIT, || {
        stas::list(Role::Connector).is_ok_and(|list| {
            list.len() == PATHS
                && list.iter().all(|c| c.get("state").is_none_or(|state| state == "live"))
        })
    })?;
    say::value("stacd_resident_kib_later", &world.connector.resident_kib()?);
    world.stop()
}
