// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How soon a daemon turns to an event, and how soon it ends whatever it is at.

use std::fs;
use std::time::Duration;

use super::super::Guest;
use super::super::world::{self, LIMIT, NQNS};
use crate::fakedc::{Entry, Fake, Fault, Persona};
use crate::inside::process::{self, Process};
use crate::inside::stas::{self, Role};
use crate::inside::{Outcome, bus, controllers, measure, say, wait};

/// Events whose way is measured, in rounds: what else the host does disturbs some of them.
const EVENTS: usize = 200;
const ROUNDS: usize = 5;
/// Between two of them: whatever the last one caused is over.
const PAUSE: Duration = Duration::from_millis(60);
/// Events after a long silence, and the silence.
const RARE: usize = 5;
const SILENCE: Duration = Duration::from_secs(12);
/// A daemon that does not stop is a finding; how soon it does is the measurement.
const STOP: Duration = Duration::from_secs(20);
/// Times that each stop is measured; where the kernel needs a minute afterwards, only once.
const STOPS: usize = 3;
/// The kernel's patience with a controller that does not answer.
const KERNEL: Duration = Duration::from_secs(180);
const FAKE_PORT: u16 = 9000;
/// An address that nobody answers for, on a link that swallows everything.
const SILENT: &str = "192.0.2.77";

pub(super) fn run(_: &Guest) -> Outcome {
    let _bus = bus::start()?;
    for words in [
        &["ip", "addr", "add", "192.0.2.1/24", "dev", "dummy0"][..],
        &["ip", "link", "set", "dummy0", "up"],
    ] {
        process::busybox(words)?;
    }
    world::target(3)?;
    events()?;
    for _ in 0..STOPS {
        idle()?;
        silent()?;
    }
    hanging()?;
    lost_link()
}

fn start(role: Role) -> Outcome<Process> {
    let program = format!("/usr/sbin/{}", role.daemon());
    let (daemon, _) = measure::start_to_name(role, role.daemon(), &[&program])?;
    Ok(daemon)
}

fn stop(mut daemon: Process, state: &str) -> Outcome {
    let spent = daemon.stop(STOP)?;
    say::value(&format!("stop_{state}_ms"), &spent.as_millis());
    Ok(())
}

fn fake() -> Outcome<Fake> {
    let entries = vec![Entry::storage("nqn.2024-01.test:x", SILENT, 4420)];
    Ok(Fake::start(&format!("127.0.0.1:{FAKE_PORT}"), Persona::default(), entries)?)
}

/// Forgets all controllers and all state.
fn clear() -> Outcome {
    for found in controllers::all() {
        controllers::delete(&found.name)?;
    }
    for role in [Role::Finder, Role::Connector] {
        // There may be none yet.
        drop(fs::remove_dir_all(format!("/run/{}", role.daemon())));
    }
    Ok(())
}

/// From an event on the wire to the log being asked for on the wire.
fn events() -> Outcome {
    let fake = fake()?;
    stas::configure(Role::Finder, &world::finder(&[FAKE_PORT]))?;
    let daemon = start(Role::Finder)?;
    wait::until("the log was read", LIMIT, || fake.seen().log_headers >= 2)?;
    for number in 0..EVENTS * ROUNDS {
        wait::pause(PAUSE);
        let spent = event(&fake, number)?;
        say::value(&format!("event_{}_us", number / EVENTS + 1), &spent.as_micros());
    }
    for number in EVENTS * ROUNDS..EVENTS * ROUNDS + RARE {
        wait::pause(SILENCE);
        say::value("event_rare_us", &event(&fake, number)?.as_micros());
    }
    stop(daemon, "connected")?;
    clear()
}

/// Changes the log, as the event of this number.
fn event(fake: &Fake, number: usize) -> Outcome<Duration> {
    let nqn = format!("nqn.2024-01.test:event-{number}");
    fake.announce(vec![Entry::storage(&nqn, SILENT, 4420)]);
    let (sent, _) = wait::until_found("the event is sent", LIMIT, || {
        Ok(fake.seen().events_sent.get(number).copied())
    })?;
    let (asked, _) = wait::until_found("the log is asked for", LIMIT, || {
        Ok(fake.seen().log_headers_at.into_iter().find(|at| *at >= sent))
    })?;
    Ok(sent.until(asked))
}

fn idle() -> Outcome {
    stas::configure(Role::Finder, &world::finder(&[]))?;
    stas::configure(Role::Connector, &world::connector("", &[]))?;
    for role in [Role::Finder, Role::Connector] {
        stop(start(role)?, "idle")?;
    }
    clear()
}

/// Stops while a connection attempt is out that nobody answers.
fn silent() -> Outcome {
    let line = stas::line(SILENT, 4420, Some("nqn.2024-01.test:silent"));
    stas::configure(Role::Connector, &format!("{}[Controllers]\n{line}", world::CONNECTOR))?;
    let daemon = start(Role::Connector)?;
    wait::until("the attempt is out", LIMIT, || {
        // 192.0.2.77, port 4420, state SYN_SENT.
        fs::read_to_string("/proc/net/tcp").is_ok_and(|text| text.contains("4D0200C0:1144 02"))
    })?;
    stop(daemon, "silent")?;
    clear()
}

/// Stops while the kernel waits in its Connect command for a controller that stays mute.
fn hanging() -> Outcome {
    let fake = fake()?;
    fake.misbehave(Fault::MuteAfterGreeting);
    stas::configure(Role::Finder, &world::finder(&[FAKE_PORT]))?;
    let daemon = start(Role::Finder)?;
    // The first connection is the daemon's own look whether anybody listens.
    wait::until("the kernel connects", LIMIT, || fake.seen().connections >= 2)?;
    wait::pause(Duration::from_millis(300));
    stop(daemon, "hanging")?;
    fake.misbehave(Fault::None);
    fake.hang_up();
    wait::until("the kernel gives up", KERNEL, || controllers::all().is_empty())?;
    clear()
}

/// Stops while the kernel waits in a deletion, because the link is lost.
fn lost_link() -> Outcome {
    stas::configure(Role::Connector, &world::connector("", &NQNS))?;
    let daemon = start(Role::Connector)?;
    controllers::await_storage(&NQNS, LIMIT)?;
    process::busybox(&["ip", "link", "set", "lo", "down"])?;
    stas::configure(Role::Connector, &world::connector("", &[]))?;
    stas::reload(&daemon)?;
    wait::until("a deletion is under way", LIMIT, || {
        controllers::storage().iter().any(|c| c.state.starts_with("deleting"))
    })?;
    stop(daemon, "lost_link")?;
    process::busybox(&["ip", "link", "set", "lo", "up"])?;
    wait::until("the deletions are over", KERNEL, || {
        controllers::storage().iter().all(controllers::Controller::is_live)
    })?;
    clear()
}
