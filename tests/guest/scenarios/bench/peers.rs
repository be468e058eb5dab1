// SPDX-License-Identifier: Apache-2.0 OR MIT
//! 64 subsystems, connected by `nvme connect-all`, by our daemons and by the reference's, in turns.
//!
//! The clock is the kernel's uevents: the controller of discovery is made first by each of the
//! three, so the second `add` is the first connect, and the last `connected` is the last one live.
//! In between everything is deleted and every state file removed. All programs are started without
//! tracing, and once before it counts, so that nothing is read from disk. The reference is started
//! through chroot(1), whose start is part of its times (half a percent of its shortest).

use std::fs;
use std::thread;
use std::time::Duration;

use plinth::time::Time;

use super::super::Guest;
use crate::inside::process::Process;
use crate::inside::stas::{self, Role};
use crate::inside::uevents::{Event, Recorder};
use crate::inside::{
    Outcome, Trouble, bus, controllers, ensure, ensure_eq, measure, nvmet, reference, say, wait,
};

const SUBSYSTEMS: usize = 64;
/// With the discovery controller.
const CONTROLLERS: usize = SUBSYSTEMS + 1;
const PORT: u16 = 4420;
const REPETITIONS: usize = 3;
/// Lists asked for in each repetition.
const LISTS: usize = 5;
const IDLE: Duration = Duration::from_secs(60);
/// A helper process without work is let go by then.
const CALM: Duration = Duration::from_secs(15);
const LIMIT: Duration = Duration::from_secs(180);
/// The reference takes its time to stop.
const STOP: Duration = Duration::from_secs(60);
const DELETERS: usize = 8;
const BOTH: [Role; 2] = [Role::Finder, Role::Connector];
const CONNECT_ALL: [&str; 8] =
    ["/usr/sbin/nvme", "connect-all", "-t", "tcp", "-a", "127.0.0.1", "-s", "4420"];

/// Whose daemons.
#[derive(Clone, Copy)]
enum Side {
    Ours,
    Reference,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Reference => "reference",
        }
    }

    /// The words with which its programs are run.
    fn words<'a>(self, program: &[&'a str]) -> Vec<&'a str> {
        let before: &[&str] = match self {
            Self::Ours => &[],
            Self::Reference => &["/bin/busybox", "chroot", "/ref"],
        };
        [before, program].concat()
    }

    fn start(self, role: Role) -> Outcome<Process> {
        let program = format!("/usr/sbin/{}", role.daemon());
        let name = format!("{}-{}", self.name(), role.daemon());
        Process::start(&name, &self.words(&[&program]), &[])
    }

    fn list(self) -> Outcome<Duration> {
        measure::timed(&self.words(&["/usr/bin/stafctl", "ls"]))
    }
}

/// Connects in turns, and everything that a host without a hurry can tell besides.
pub(super) fn run(_: &Guest) -> Outcome {
    let _surroundings = surroundings()?;
    let recorder = Recorder::start()?;
    configure("")?;
    warm_up()?;
    alone(Side::Ours)?;
    alone(Side::Reference)?;
    turns(&recorder, true)
}

/// Connects in turns, no more.
pub(super) fn run_turns(_: &Guest) -> Outcome {
    let _surroundings = surroundings()?;
    let recorder = Recorder::start()?;
    configure("")?;
    warm_up()?;
    turns(&recorder, false)
}

fn turns(recorder: &Recorder, and_idle: bool) -> Outcome {
    let line = stas::line("127.0.0.1", PORT, None);
    configure(&format!("[Controllers]\n{line}"))?;
    for number in 1..=REPETITIONS {
        say::step(format!("repetition {number} of {REPETITIONS}"));
        connect_all(recorder)?;
        for side in [Side::Ours, Side::Reference] {
            connect_by(side, recorder, and_idle && number == REPETITIONS)?;
        }
    }
    ensure(!recorder.lost_some(), "the recorder lost events")
}

/// The target, the device manager and the bus.
fn surroundings() -> Outcome<(Process, Process)> {
    nvmet::port(1, "127.0.0.1", PORT)?;
    for number in 0..SUBSYSTEMS {
        let nqn = format!("nqn.2024-01.test:bench-{number}");
        nvmet::subsystem(&nqn, 1)?;
        nvmet::link(1, &nqn)?;
    }
    reference::prepare()?;
    let words = ["/lib/systemd/systemd-udevd", "--resolve-names=never"];
    let udevd = Process::start("udevd", &words, &[])?;
    let bus = bus::start()?;
    say::step("target, device manager and bus are up");
    Ok((udevd, bus))
}

/// The same files for both sides.
fn configure(controllers: &str) -> Outcome {
    let finder = format!("[Service Discovery]\nzeroconf=disabled\n{controllers}");
    stas::configure(Role::Finder, &finder)?;
    reference::configure(Role::Finder, &finder)?;
    stas::configure(Role::Connector, "")?;
    reference::configure(Role::Connector, "")
}

/// Brings what is going to be run into memory.
fn warm_up() -> Outcome {
    measure::timed(&["/usr/sbin/nvme", "version"])?;
    for side in [Side::Ours, Side::Reference] {
        let mut daemons = both(side)?;
        wait_for_names()?;
        side.list()?;
        stop(&mut daemons)?;
    }
    clear()
}

fn both(side: Side) -> Outcome<[Process; 2]> {
    Ok([side.start(Role::Finder)?, side.start(Role::Connector)?])
}

fn wait_for_names() -> Outcome {
    let client = bus::Client::connect()?;
    wait::until("both names are on the bus", LIMIT, || BOTH.iter().all(|r| client.owned(*r)))?;
    Ok(())
}

fn stop(daemons: &mut [Process; 2]) -> Outcome {
    for daemon in daemons.iter_mut().rev() {
        daemon.stop(STOP)?;
    }
    Ok(())
}

/// Deletes every controller and forgets every state.
fn clear() -> Outcome {
    let names: Vec<String> = controllers::all().into_iter().map(|c| c.name).collect();
    thread::scope(|scope| {
        for part in names.chunks(names.len().div_ceil(DELETERS).max(1)) {
            scope.spawn(move || {
                // One that is gone before its turn is as good; what stays is noticed below.
                part.iter().for_each(|name| drop(controllers::delete(name)));
            });
        }
    });
    wait::until("no controller is left", LIMIT, || controllers::all().is_empty())?;
    for role in BOTH {
        let place = format!("/run/{}", role.daemon());
        fs::remove_dir_all(&place)?;
        fs::create_dir_all(&place)?;
    }
    wait::pause(Duration::from_secs(2)); // the device manager catches up
    Ok(())
}

/// Both daemons with nothing to do: memory, and wake-ups in a minute.
fn alone(side: Side) -> Outcome {
    let mut daemons = both(side)?;
    wait_for_names()?;
    wait::pause(CALM);
    costs(side, &daemons, "idle")?;
    wake_ups(side, &daemons, "idle")?;
    stop(&mut daemons)?;
    clear()
}

fn costs(side: Side, daemons: &[Process; 2], when: &str) -> Outcome {
    for (role, daemon) in BOTH.iter().zip(daemons) {
        let key = format!("{}_{}_{when}_kib", side.name(), role.daemon());
        say::value(&key, &measure::resident_kib(daemon.pid())?);
        let key = format!("{}_{}_{when}_cpu_ms", side.name(), role.daemon());
        say::value(&key, &measure::processor_time(daemon.pid())?.as_millis());
    }
    Ok(())
}

fn wake_ups(side: Side, daemons: &[Process; 2], when: &str) -> Outcome {
    let [finder, connector] = daemons;
    let counts = measure::idle_switches(&[finder, connector], IDLE)?;
    for (role, count) in BOTH.iter().zip(counts) {
        say::value(&format!("{}_{}_{when}_switches", side.name(), role.daemon()), &count);
    }
    Ok(())
}

fn is_add(event: &Event) -> bool {
    event.action == "add"
}

fn is_connected(event: &Event) -> bool {
    event.property("NVME_EVENT") == "connected"
}

/// From the first connect to the last controller live, once that many have come since `start`;
/// and when the last one was live.
fn connects(recorder: &Recorder, start: Time) -> Outcome<(Duration, Time)> {
    wait::until("all controllers are live", LIMIT, || {
        recorder.times(start, is_connected).len() >= CONTROLLERS
    })?;
    let made = recorder.times(start, is_add);
    ensure_eq("controllers made", &made.len(), &CONTROLLERS)?;
    let live = recorder.times(start, is_connected);
    match (made.as_slice(), live.last()) {
        ([discovery, first, ..], Some(last)) => {
            let (discovery, first) = (start.until(*discovery), start.until(*first));
            say::step(format!(
                "discovery after {} ms, first connect after {} ms",
                discovery.as_millis(),
                first.as_millis()
            ));
            Ok((start.until(*last) - first, *last))
        }
        _ => Err(Trouble::new("no controllers")),
    }
}

fn connect_all(recorder: &Recorder) -> Outcome {
    let before = measure::everyone();
    let start = Time::monotonic();
    let whole = measure::timed(&CONNECT_ALL)?;
    let (spent, _) = connects(recorder, start)?;
    say::step(format!("processor time, ms: {}", measure::busiest(&before)));
    ensure_eq("live subsystems", &controllers::live_nqns().len(), &SUBSYSTEMS)?;
    say::value("nvme_whole_ms", &whole.as_millis());
    say::value("nvme_connects_ms", &spent.as_millis());
    clear()
}

fn connect_by(side: Side, recorder: &Recorder, and_idle: bool) -> Outcome {
    let name = side.name();
    let before = measure::everyone();
    let start = Time::monotonic();
    let mut daemons = both(side)?;
    let (spent, end) = connects(recorder, start)?;
    say::step(format!("processor time, ms: {}", measure::busiest(&before)));
    say::value(&format!("{name}_connects_ms"), &spent.as_millis());
    say::value(&format!("{name}_whole_ms"), &start.until(end).as_millis());
    ensure_eq("live subsystems", &controllers::live_nqns().len(), &SUBSYSTEMS)?;
    wait_for_names()?;
    wait::pause(Duration::from_secs(1));
    costs(side, &daemons, "busy")?;
    wait::pause(CALM);
    for _ in 0..LISTS {
        say::value(&format!("{name}_list_us"), &side.list()?.as_micros());
        if let Side::Ours = side {
            // The other client asks the same daemon, in the same minute.
            say::value("reference_asks_ours_us", &Side::Reference.list()?.as_micros());
        }
    }
    costs(side, &daemons, "listed")?;
    if and_idle {
        wake_ups(side, &daemons, "connected")?;
    }
    let made = recorder.times(start, is_add).len();
    ensure_eq(&format!("controllers made by {name}"), &made, &CONTROLLERS)?;
    stop(&mut daemons)?;
    say::step(format!("{name} is done"));
    clear()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_connects_what_the_daemons_are_configured_with() {
        let line = stas::line("127.0.0.1", PORT, None);
        assert!(line.contains(&format!("trsvcid={PORT}")));
        assert_eq!(CONNECT_ALL.last().map(|port| port.parse()), Some(Ok(PORT)));
    }
}
