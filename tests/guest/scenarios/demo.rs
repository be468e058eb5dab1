// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The demonstration: both daemons at their work, told in sentences for somebody who has no such
//! hardware. `guest demo` shows it on a terminal.
//!
//! Owns the story and what must come true in it; how the lines look is the business of
//! [`crate::host::demo`]. Every sentence is said after what it tells was seen: in sysfs, over the
//! bus, or in the target's files. The target has an address of its own on the loopback interface;
//! taking that away is what a pulled cable is.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use plinth::rand;
use plinth::time::Time;

use super::{Guest, Kernel, Needs, Scenario};
use crate::inside::controllers::{self, Controller};
use crate::inside::process::{self, Process};
use crate::inside::stas::{self, Role};
use crate::inside::trouble::Naming;
use crate::inside::{Outcome, Trouble, bus, digest, ensure, ensure_eq, nvmet, say, wait};

/// The whole story.
pub const DEMO: Scenario = Scenario {
    name: "demo",
    about: "what make demo shows: find, connect, carry data, follow changes, survive an outage",
    needs: Needs { stas: true, bus: true, ..Needs::BARE },
    kernels: &[Kernel::V6_1],
    seconds: 300,
    run: demo,
};

const ADDRESS: &str = "192.0.2.10";
const PORT: u16 = 8009;
/// Four from the beginning, and one that comes later.
const NQNS: [&str; 5] = [
    "nqn.2024-01.org.example:alpha",
    "nqn.2024-01.org.example:beta",
    "nqn.2024-01.org.example:gamma",
    "nqn.2024-01.org.example:delta",
    "nqn.2024-01.org.example:epsilon",
];
/// Number in [`NQNS`] of the one that is withdrawn.
const WITHDRAWN: usize = 1;
/// A lost connection is noticed within some seconds and tried again each second.
const QUICK: &str = "[Global]\nkato=2\nreconnect-delay=1\n";
/// For each thing that must happen, on an emulated processor beside other work.
const LIMIT: Duration = Duration::from_secs(60);
/// How long the target stays away after the last connection was seen lost.
const OUTAGE: Duration = Duration::from_secs(3);
/// Where the test data lie on each disk, and where the write of the outage goes.
const DATA_AT: u64 = 1 << 20;
const MEANWHILE_AT: u64 = 8 << 20;
const DATA_BYTES: usize = 1 << 20;
const MEANWHILE_BYTES: usize = 64 << 10;

fn demo(_: &Guest) -> Outcome {
    target()?;
    let mut story = Story::begin()?;
    story.found()?;
    story.carries(&NQNS[..4])?;
    story.one_more()?;
    story.one_less()?;
    story.cut_off()?;
    story.end()
}

/// The part of a name that tells one from another.
fn short(nqn: &str) -> &str {
    nqn.rsplit(':').next().unwrap_or(nqn)
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

fn address(verb: &str) -> Outcome {
    process::busybox(&["ip", "addr", verb, &format!("{ADDRESS}/32"), "dev", "lo"]).map(drop)
}

fn target() -> Outcome {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    address("add")?;
    nvmet::port(1, ADDRESS, PORT)?;
    for nqn in &NQNS[..4] {
        nvmet::subsystem(nqn, 1)?;
        nvmet::link(1, nqn)?;
    }
    let mib = nvmet::NAMESPACE_BYTES >> 20;
    say::step(format!("Linux {} serves NVMe/TCP at {ADDRESS}:{PORT}:", release.trim()));
    say::step(format!("  a discovery controller and 4 subsystems, each with a disk of {mib} MiB"));
    Ok(())
}

/// The kernel's controllers, as far as they were told.
#[derive(Default)]
struct Watch(BTreeMap<String, Controller>);

impl Watch {
    /// Tells what has changed since the last look, one line each; gives what there is.
    fn look(&mut self) -> Vec<Controller> {
        let now = controllers::all();
        for line in self.changes(&now) {
            say::step(line);
        }
        now
    }

    fn changes(&mut self, now: &[Controller]) -> Vec<String> {
        let mut lines = Vec::new();
        self.0.retain(|name, old| {
            let stays = now.iter().any(|new| new.name == *name && new.nqn == old.nqn);
            if !stays {
                lines.push(format!("{name} ({}) is gone", subject(old)));
            }
            stays
        });
        for new in now {
            let old = self.0.get(&new.name).map(|old| old.state.as_str());
            let line = match (old, new.state.as_str()) {
                (None, "live") => {
                    let by = if new.is_discovery() { Role::Finder } else { Role::Connector };
                    format!("{} connected {}: {}, state live", by.daemon(), new.name, subject(new))
                }
                (Some("live"), "connecting") => {
                    format!("{} ({}) lost its connection, state connecting", new.name, subject(new))
                }
                (Some("connecting"), "live") => {
                    format!("{} ({}) is back, state live", new.name, subject(new))
                }
                _ => continue, // unchanged, or on the way
            };
            lines.push(line);
            self.0.insert(new.name.clone(), new.clone());
        }
        lines
    }

    /// Looks, and tells, until it `holds` for what the kernel has.
    fn until(&mut self, what: &str, holds: impl Fn(&[Controller]) -> bool) -> Outcome<Duration> {
        let mut last = Vec::new();
        let waited = wait::until(what, LIMIT, || {
            last = self.look();
            holds(&last)
        });
        waited.map_err(|trouble| {
            let list: Vec<String> =
                last.iter().map(|c| format!("{} {} {}", c.name, subject(c), c.state)).collect();
            trouble.during(&format!("the kernel has [{}]", list.join(", ")))
        })
    }

    /// Looks, and tells, until the storage is exactly `nqns` and everything is live.
    fn until_live(&mut self, nqns: &[&str]) -> Outcome<Duration> {
        let mut wanted = nqns.to_vec();
        wanted.sort_unstable();
        let names: Vec<&str> = wanted.iter().map(|nqn| short(nqn)).collect();
        let what = format!("live are the discovery controller and {}", names.join(", "));
        self.until(&what, |all| {
            let mut storage: Vec<&str> =
                all.iter().filter(|c| !c.is_discovery()).map(|c| c.nqn.as_str()).collect();
            storage.sort_unstable();
            storage == wanted
                && all.len() == wanted.len() + 1
                && all.iter().all(Controller::is_live)
        })
    }
}

/// What a controller is, in a word or three.
fn subject(controller: &Controller) -> &str {
    if controller.is_discovery() { "the discovery controller" } else { short(&controller.nqn) }
}

/// What is running, and what was written where.
struct Story {
    watch: Watch,
    client: bus::Client,
    signals: bus::Signals,
    finder: Process,
    connector: Process,
    written: BTreeMap<&'static str, String>,
    /// Dropped last: the daemons outlive no bus.
    _bus: Process,
}

impl Story {
    fn begin() -> Outcome<Self> {
        let controller = stas::line(ADDRESS, PORT, None);
        let finder =
            format!("{QUICK}[Service Discovery]\nzeroconf=disabled\n[Controllers]\n{controller}");
        stas::configure(Role::Finder, &finder)?;
        stas::configure(Role::Connector, QUICK)?;
        say::step(format!("/etc/stas/stafd.conf: {}", controller.trim_end()));
        say::step("/etc/stas/stacd.conf: no controller at all");
        let bus = bus::start()?;
        say::step("dbus-daemon runs the system bus");
        let client = bus::Client::connect()?;
        let signals = bus::Signals::start()?;
        let finder = stas::start(Role::Finder)?;
        say::step(format!("stafd runs, process {}", finder.pid()));
        let connector = stas::start(Role::Connector)?;
        say::step(format!("stacd runs, process {}", connector.pid()));
        let (watch, written) = (Watch::default(), BTreeMap::new());
        Ok(Self { watch, client, signals, finder, connector, written, _bus: bus })
    }

    fn found(&mut self) -> Outcome {
        self.watch.until_live(&NQNS[..4])?;
        stas::await_announced(&NQNS[..4], LIMIT)?;
        let pages = self.client.all_log_pages(false)?;
        let records = pages[0]["log-pages"].as_array().map_or(0, Vec::len);
        ensure_eq("records in the log page on the bus", &records, &5)?;
        say::step("stafd shows over D-Bus what it found: 4 subsystems and the discovery itself");
        self.on_the_bus(4)
    }

    /// The connector's own word, over the bus.
    fn on_the_bus(&self, count: usize) -> Outcome {
        let what = format!("stacd lists {count} connected controllers over D-Bus");
        wait::until_found(&what, LIMIT, || {
            let list = self.client.list_controllers(Role::Connector, true)?;
            let connected = |c: &BTreeMap<String, String>| c["connected"] == "True";
            Ok((list.len() == count && list.iter().all(connected)).then_some(()))
        })?;
        say::step(what);
        Ok(())
    }

    /// Writes to each disk, reads back, looks into the target's file.
    fn carries(&mut self, nqns: &[&'static str]) -> Outcome {
        for nqn in nqns {
            let disk = disk(nqn)?;
            let seed = rand::seed_from_os();
            let sum = digest::write(&disk, DATA_AT, DATA_BYTES, seed)?;
            drop_caches()?;
            let back = digest::read(&disk, DATA_AT, DATA_BYTES)?;
            ensure_eq(&format!("the digest read from {}", disk.display()), &back, &sum)?;
            let backing = nvmet::backing(nqn, 1);
            let held = digest::read_file(&backing, DATA_AT, DATA_BYTES)?;
            ensure_eq(&format!("the digest of the target's {}", backing.display()), &held, &sum)?;
            let [sum12, back12, held12] = [&sum, &back, &held].map(|sum| &sum[..12]);
            say::step(format!(
                "{} ({}): 1 MiB written, sha-256 {sum12}; read back {back12}; \
                 target's file {held12}",
                disk.display(),
                short(nqn)
            ));
            self.written.insert(nqn, sum);
        }
        Ok(())
    }

    fn one_more(&mut self) -> Outcome {
        let nqn = NQNS[4];
        let changes = self.signals.count("log_pages_changed");
        nvmet::subsystem(nqn, 1)?;
        nvmet::link(1, nqn)?;
        say::step(format!("the target adds a fifth subsystem, {}", short(nqn)));
        let spent = self.watch.until_live(&NQNS)?;
        let disk = disk(nqn)?;
        say::step(format!("{} appeared after {}, by itself", disk.display(), seconds(spent)));
        let count = || self.signals.count("log_pages_changed") > changes;
        wait::until("stafd sends the signal log_pages_changed", LIMIT, count)?;
        self.carries(&[nqn])
    }

    fn one_less(&mut self) -> Outcome {
        let nqn = NQNS[WITHDRAWN];
        let disk = disk(nqn)?;
        nvmet::unlink(1, nqn)?;
        say::step(format!("the target withdraws {}", short(nqn)));
        let spent = self.watch.until("the withdrawn subsystem and its disk are gone", |all| {
            !all.iter().any(|c| c.nqn == nqn) && fs::exists(&disk).is_ok_and(|exists| !exists)
        })?;
        self.written.remove(nqn);
        self.watch.until_live(&self.left())?;
        let (disk, spent) = (disk.display(), seconds(spent));
        say::step(format!("{disk} is gone after {spent}; the other 4 stay"));
        self.on_the_bus(4)
    }

    /// What is connected at this point of the story.
    fn left(&self) -> Vec<&'static str> {
        self.written.keys().copied().collect()
    }

    fn cut_off(&mut self) -> Outcome {
        let before = names();
        address("del")?;
        let begun = Time::monotonic();
        say::step(format!("the target is cut off: {ADDRESS} no longer exists"));
        self.watch.until("every connection is seen lost", |all| {
            all.iter().all(|c| c.state == "connecting")
        })?;
        let disk = disk(NQNS[0])?;
        let meanwhile = write_meanwhile(disk.clone());
        say::step(format!("a program writes to {} meanwhile, and has to wait", disk.display()));
        wait::throughout("nothing is removed while the target is away", OUTAGE, || {
            names() == before && !meanwhile.is_finished()
        })?;
        address("add")?;
        let away = begun.until(Time::monotonic());
        say::step(format!("the target is reachable again, after {}", seconds(away)));
        self.watch.until_live(&self.left())?;
        ensure_eq("the controllers after the outage", &names(), &before)?;
        self.caught_up(meanwhile)?;
        for (nqn, sum) in &self.written {
            let found = digest::read(&disk_of(nqn)?, DATA_AT, DATA_BYTES)?;
            ensure_eq(&format!("the digest of {} after the outage", short(nqn)), &found, sum)?;
        }
        say::step("all 4 disks hold what was written before the outage: the same digests");
        Ok(())
    }

    /// The write that was begun during the outage has come to its end, in the target's file.
    fn caught_up(&self, meanwhile: JoinHandle<Outcome<(String, Duration)>>) -> Outcome {
        wait::until("the write of the outage comes to its end", LIMIT, || meanwhile.is_finished())?;
        let over = meanwhile.join().map_err(|_| Trouble::new("the writing thread panicked"))?;
        let (sum, spent) = over.named("the write of the outage")?;
        let backing = nvmet::backing(NQNS[0], 1);
        let held = digest::read_file(&backing, MEANWHILE_AT, MEANWHILE_BYTES)?;
        ensure_eq("the digest of what was written during the outage", &held, &sum)?;
        say::step(format!("the write that waited took {} and arrived", seconds(spent)));
        self.on_the_bus(4)
    }

    fn end(mut self) -> Outcome {
        ensure(self.finder.alive() && self.connector.alive(), "a daemon has ended")?;
        let words = ["/usr/bin/stacctl", "ls", "-o", "table"];
        let table = process::output(&words)?;
        for nqn in self.left() {
            ensure(table.contains(nqn), format_args!("stacctl does not list {nqn}: {table}"))?;
        }
        self.connector.stop(stas::STOP_LIMIT)?;
        self.finder.stop(stas::STOP_LIMIT)?;
        ensure_eq("live storage after the daemons", &controllers::live_nqns().len(), &4)?;
        say::step("stacctl ls -o table");
        say::text(&table);
        Ok(())
    }
}

/// Names and subsystems of the controllers that are there.
fn names() -> Vec<(String, String)> {
    controllers::all().into_iter().map(|c| (c.name, c.nqn)).collect()
}

fn disk_of(nqn: &str) -> Outcome<PathBuf> {
    let mut disks = controllers::disks(nqn);
    ensure_eq(&format!("disks of {}", short(nqn)), &disks.len(), &1)?;
    disks.pop().ok_or_else(|| Trouble::new("no disk"))
}

/// The one disk of a subsystem, once it can be opened.
fn disk(nqn: &str) -> Outcome<PathBuf> {
    let what = format!("the disk of {}", short(nqn));
    let (disk, _) = wait::until_found(&what, LIMIT, || {
        Ok(disk_of(nqn).ok().filter(|disk| fs::File::open(disk).is_ok()))
    })?;
    Ok(disk)
}

fn drop_caches() -> Outcome {
    let path = "/proc/sys/vm/drop_caches";
    fs::write(path, "3").named(path)
}

/// Starts a write that cannot be done yet; gives its digest and how long it took.
fn write_meanwhile(disk: PathBuf) -> JoinHandle<Outcome<(String, Duration)>> {
    thread::spawn(move || {
        let begun = Time::monotonic();
        let sum = digest::write(&disk, MEANWHILE_AT, MEANWHILE_BYTES, rand::seed_from_os())?;
        Ok((sum, begun.until(Time::monotonic())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controller(name: &str, nqn: &str, state: &str) -> Controller {
        let [name, nqn, state] = [name, nqn, state].map(str::to_owned);
        Controller { name, nqn, state, ..Controller::default() }
    }

    #[test]
    fn each_change_of_a_controller_is_told_once() {
        let mut watch = Watch::default();
        let mut told = |state: &str| watch.changes(&[controller("nvme1", NQNS[0], state)]);
        assert_eq!(told("connecting"), [""; 0]);
        assert_eq!(told("live"), ["stacd connected nvme1: alpha, state live"]);
        assert_eq!(told("live"), [""; 0]);
        assert_eq!(told("resetting"), [""; 0]);
        assert_eq!(told("connecting"), ["nvme1 (alpha) lost its connection, state connecting"]);
        assert_eq!(told("connecting"), [""; 0]);
        assert_eq!(told("live"), ["nvme1 (alpha) is back, state live"]);
        assert_eq!(watch.changes(&[]), ["nvme1 (alpha) is gone"]);
        assert_eq!(watch.changes(&[]), [""; 0]);
    }

    #[test]
    fn a_number_that_is_used_again_is_another_controller() {
        let mut watch = Watch::default();
        watch.changes(&[controller("nvme1", NQNS[0], "live")]);
        assert_eq!(
            watch.changes(&[controller("nvme1", NQNS[1], "live")]),
            ["nvme1 (alpha) is gone", "stacd connected nvme1: beta, state live"]
        );
    }

    #[test]
    fn discovery_is_the_work_of_the_finder() {
        let found = controller("nvme0", controllers::DISCOVERY_NQN, "live");
        assert_eq!(
            Watch::default().changes(&[found]),
            ["stafd connected nvme0: the discovery controller, state live"]
        );
    }
}
