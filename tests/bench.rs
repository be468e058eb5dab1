// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Measures what the programs cost, beside what peers need for the same, and compares it with the
//! promised bars (`tests/bench.tsv`).
//!
//! Five parts: the host's (sizes of the release builds, the time a client takes to start, the
//! processor time of the cores' largest jobs), the start of the daemons on the host's kernel, and
//! what needs devices, in guests beside nvme-cli and the reference; tinybpf beside its peers; and
//! microvm beside Nix and a shell. `bench host` measures the first only, `bench bpf` and `bench
//! microvm` the last two. Processor times are the best of several runs, since a busy machine only
//! ever adds; what is compared with a peer in a guest is a median on both sides, taken in turns, on
//! a steady clock: it goes by the guest's instructions (two nanoseconds each), so that other work
//! of the host counts for nothing, and a second run finds the same within a percent. The same turns
//! are shown on the host's clock as well, where the emulator's costs (above all of switches between
//! processes) and the host's mood are in all figures; nothing is judged by it. The table is also
//! written to `target/bench.tsv`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool, whose lines are its report")]

#[path = "bench/bpf.rs"]
mod bpf;
#[path = "bench/microvm.rs"]
mod microvm;

use std::error::Error;
use std::fs;
use std::process::{Command, ExitCode};

use checks::bars::{self, Measure};
use checks::samples::Samples;
use checks::tree;
use plinth::testing::target;
use plinth::time::{Time, Wall};
use plinth::udev::Uevent;
use stas::core::cid::{Attributes, Device};
use stas::core::connector::Connector;
use stas::core::fabrics::Support;
use stas::core::identity::Identity;
use stas::core::logpage::{ENTRY_LEN, Entry};
use stas::core::machine::{Machine, Start};
use stas::core::port::{Action, Configuration, DeviceEvent, DeviceId, Input, Scan};
use stas::core::settings::{Role, Settings};

/// The peers, as the table names them.
const CLI: &str = "nvme connect-all";
const REFERENCE: &str = "nvme-stas 2.4.1";
/// Rounds in which the guest measures its way from an event to the log.
const EVENT_ROUNDS: usize = 5;
const PROGRAMS: [&str; 5] = ["stafd", "stacd", "stafctl", "stacctl", "stasadm"];
/// Controllers of the large reconcile.
const CONTROLLERS: usize = 1000;
/// Runs of each measurement; the best one counts.
const RUNS: usize = 7;
/// Events of the storm.
const EVENTS: usize = 20_000;

fn main() -> ExitCode {
    let part = std::env::args().nth(1);
    if part.as_deref() == Some(bpf::INSIDE) {
        return bpf::inside(&target());
    }
    match measure(part.as_deref()).and_then(|measures| judge(measures, part.is_some())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the table and writes it to a file; whether every bar is met.
fn judge(measures: Vec<Measure>, partly: bool) -> Result<bool, Box<dyn Error>> {
    let mut promised = bars::parse(&tree::read("tests/bench.tsv"))?;
    if partly {
        promised.retain(|name, _| measures.iter().any(|measure| measure.name == *name));
    }
    let rows = bars::compare(measures, promised)?;
    print!("{}", bars::table(&rows));
    fs::write(target().join("bench.tsv"), bars::tsv(&rows))?;
    let open = rows.iter().filter(|row| row.is_open()).count();
    let missed = rows.iter().filter(|row| !row.is_met()).count() - open;
    println!("{} measures, {missed} bars missed, {open} still open", rows.len());
    Ok(missed == 0)
}

fn measure(part: Option<&str>) -> Result<Vec<Measure>, Box<dyn Error>> {
    match part {
        Some("host") => return host(),
        Some("bpf") => return bpf::measure(&target()),
        Some("microvm") => return microvm::measure(&target()),
        Some(word) => {
            return Err(format!("unknown part '{word}': host, bpf, microvm or nothing").into());
        }
        None => {}
    }
    let mut measures = host()?;
    measures.extend(start(&Samples::of_guest(&["bare", "bench-start"])?)?);
    measures.extend(latency(&Samples::of_guest(&["run", "bench-latency"])?)?);
    measures.extend(steady(&Samples::of_guest(&["run", "bench-steady"])?)?);
    measures.extend(turns(&Samples::of_guest(&["run", "bench-peers"])?, "host's clock")?);
    measures.extend(bpf::measure(&target())?);
    measures.extend(microvm::measure(&target())?);
    Ok(measures)
}

fn alone(name: impl Into<String>, unit: &'static str, ours: f64, times: usize) -> Measure {
    Measure { name: name.into(), unit, ours, peer: None, times }
}

fn host() -> Result<Vec<Measure>, Box<dyn Error>> {
    let mut measures = Vec::new();
    let fixed = target().join(format!("{}-unknown-linux-gnu/release", std::env::consts::ARCH));
    for (kind, folder) in [("size", target().join("release")), ("static size", fixed)] {
        for program in PROGRAMS {
            let path = folder.join(program);
            let file = fs::metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let size = u32::try_from(file.len())?;
            measures.push(alone(format!("{kind} of {program}"), "bytes", size.into(), 1));
        }
    }
    let client = target().join("release/stafctl");
    let mut failed = None;
    let start = best(|| {
        let run = Command::new(&client).arg("--version").output();
        failed = failed.take().or(run.err());
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    for (name, time) in [
        ("start of stafctl --version", start),
        ("decoding 1000 log page records", log_page()),
        ("reading 1000 controllers of a file", configuration()),
        ("decoding 20000 uevents", uevents()),
        ("reconcile, 1000 wanted and connected", reconcile(true)?),
        ("reconcile, 1000 wanted, none connected", reconcile(false)?),
        ("connecting 1000, one after the other", connects()?),
    ] {
        measures.push(alone(name, "us", time, RUNS));
    }
    Ok(measures)
}

/// From the start of a daemon on this host until it owns its name on a bus of its own.
fn start(found: &Samples) -> Result<Vec<Measure>, Box<dyn Error>> {
    let mut measures = Vec::new();
    for daemon in ["stafd", "stacd"] {
        let key = format!("start_{daemon}_us");
        let ours = found.median(&key)? / 1000.0;
        let name = format!("host: start of {daemon} to its bus name, median");
        measures.push(alone(name, "ms", ours, found.count(&key)));
    }
    Ok(measures)
}

fn latency(found: &Samples) -> Result<Vec<Measure>, Box<dyn Error>> {
    let mut measures = Vec::new();
    for (word, percent) in [("median", 50), ("p99", 99)] {
        let rounds =
            (1..=EVENT_ROUNDS).map(|n| found.percentile(&format!("event_{n}_us"), percent));
        let rounds = rounds.collect::<Result<Vec<f64>, String>>()?;
        let worst = rounds.iter().copied().fold(0.0, f64::max);
        let name = format!("event sent to log asked for, {word} of the worst round");
        let times = EVENT_ROUNDS * found.count("event_1_us");
        measures.push(alone(name, "ms", worst / 1000.0, times));
    }
    let name = "event sent to log asked for, after 12 idle s, median";
    let ours = found.median("event_rare_us")? / 1000.0;
    measures.push(alone(name, "ms", ours, found.count("event_rare_us")));
    for (state, words) in [
        ("idle", "idle"),
        ("connected", "with a live controller"),
        ("silent", "connecting to a silent target"),
        ("hanging", "connect hanging in the kernel"),
        ("lost_link", "deletion pending on a lost link"),
    ] {
        let key = format!("stop_{state}_ms");
        let ours = found.largest(&key)?;
        measures.push(alone(format!("stop, {words}, worst"), "ms", ours, found.count(&key)));
    }
    Ok(measures)
}

/// Ours beside `nvme connect-all` and beside the reference, all in one guest.
fn turns(found: &Samples, clock: &str) -> Result<Vec<Measure>, String> {
    let mut measures = Vec::new();
    for (name, ours, peer, who, unit, scale) in [
        ("64: first connect to last live", "ours_connects_ms", "nvme_connects_ms", CLI, "s", 1e3),
        ("64: start to last live", "ours_whole_ms", "reference_whole_ms", REFERENCE, "s", 1e3),
        ("stafctl ls", "ours_list_us", "reference_list_us", REFERENCE, "ms", 1e3),
    ] {
        let times = found.count(ours);
        let peer = Some((found.median(peer)? / scale, who));
        let ours = found.median(ours)? / scale;
        measures.push(Measure { name: format!("{name}, {clock}"), unit, ours, peer, times });
    }
    Ok(measures)
}

/// On the steady clock, with memory and wake-ups.
fn steady(found: &Samples) -> Result<Vec<Measure>, String> {
    let mut measures = turns(found, "steady clock")?;
    for daemon in ["stafd", "stacd"] {
        for (when, words, unit, scale) in [
            ("idle_kib", "memory of", "MiB", 1024.0),
            ("busy_kib", "memory with 64 controllers of", "MiB", 1024.0),
            ("listed_kib", "memory with 64 controllers, after lists, of", "MiB", 1024.0),
            ("idle_switches", "context switches in an idle minute of", "", 1.0),
            ("connected_switches", "the same with 64 controllers of", "", 1.0),
        ] {
            let key = format!("ours_{daemon}_{when}");
            let theirs = found.largest(&format!("reference_{daemon}_{when}"))? / scale;
            measures.push(Measure {
                name: format!("{words} {daemon}"),
                unit,
                ours: found.largest(&key)? / scale,
                peer: Some((theirs, REFERENCE)),
                times: found.count(&key),
            });
        }
    }
    Ok(measures)
}

/// The shortest time of [`RUNS`] runs, in microseconds.
fn best(mut work: impl FnMut()) -> f64 {
    let times = (0..RUNS).map(|_| {
        let begun = Time::monotonic();
        work();
        begun.until(Time::monotonic())
    });
    times.min().map_or(f64::INFINITY, |time| time.as_secs_f64() * 1e6)
}

fn log_page() -> f64 {
    let mut record = vec![0_u8; ENTRY_LEN];
    for (at, text) in [(32, "4420"), (256, "nqn.2014-08.org.example:array"), (512, "192.0.2.1")] {
        for (place, byte) in record.iter_mut().skip(at).zip(text.bytes()) {
            *place = byte;
        }
    }
    let page = record.repeat(CONTROLLERS);
    best(|| {
        let entries: Vec<Entry> = page.chunks(ENTRY_LEN).filter_map(Entry::decode).collect();
        assert_eq!(entries.len(), CONTROLLERS, "every record is decoded");
    })
}

fn address(number: usize) -> String {
    format!("192.0.{}.{}", number / 250, number % 250 + 1)
}

fn subsystem(number: usize) -> String {
    format!("nqn.2014-08.org.example:array{number}")
}

fn text() -> String {
    let line = |number| {
        let (traddr, nqn) = (address(number), subsystem(number));
        format!("controller=transport=tcp; traddr={traddr}; trsvcid=4420; nqn={nqn}\n")
    };
    let lines: String = (0..CONTROLLERS).map(line).collect();
    format!("[Global]\nprobe-tcp=false\n[Controllers]\n{lines}")
}

fn configuration() -> f64 {
    let text = text();
    best(|| {
        let (settings, _) = Settings::parse(Role::Connector, &[("stacd.conf", &text)]);
        assert_eq!(settings.controllers.len(), CONTROLLERS, "every line is read");
    })
}

fn uevents() -> f64 {
    let packet = b"change@/devices/virtual/nvme-fabrics/ctl/nvme7\0ACTION=change\0\
        DEVPATH=/devices/virtual/nvme-fabrics/ctl/nvme7\0SUBSYSTEM=nvme\0NVME_AEN=0x70f002\0\
        NVME_TRTYPE=tcp\0NVME_TRADDR=192.0.2.1\0NVME_TRSVCID=8009\0SEQNUM=4711\0";
    best(|| {
        let good = (0..EVENTS).filter(|_| Uevent::decode(packet).is_ok()).count();
        assert_eq!(good, EVENTS, "every event is decoded");
    })
}

const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555";

fn devices() -> Vec<Device> {
    let device = |number| {
        let id = DeviceId { name: format!("nvme{number}"), instance: 1 };
        let source = "src_addr=192.0.2.250";
        let attributes = Attributes {
            address: Some(format!("traddr={},trsvcid=4420,{source}", address(number))),
            transport: Some("tcp".into()),
            subsysnqn: Some(subsystem(number)),
            hostnqn: Some(HOST.into()),
            state: Some("live".into()),
            cntrltype: Some("io".into()),
            ..Attributes::default()
        };
        Device::from_attributes(id, &attributes, &[format!("nvme{number}n1")])
    };
    (0..CONTROLLERS).map(device).collect()
}

/// The processor time of the connector from its start until it has adopted everything, or until it
/// has asked for the first connect.
fn reconcile(connected: bool) -> Result<f64, Box<dyn Error>> {
    let configuration = wanted();
    let scan = Scan { devices: if connected { devices() } else { Vec::new() }, ..Scan::default() };
    let mut fault = None;
    let time = best(|| {
        if let Err(error) = settle(configuration.clone(), &scan, connected) {
            fault = Some(error);
        }
    });
    fault.map_or(Ok(time), |fault| Err(fault.into()))
}

/// A connector of a thousand controllers.
fn wanted() -> Configuration {
    let text = text();
    let (settings, _) = Settings::parse(Role::Connector, &[("stacd.conf", &text)]);
    let identity = Identity {
        nqn: HOST.into(),
        id: "11111111-2222-3333-4444-555555555555".into(),
        ..Identity::default()
    };
    let support = Support::from_kernel_version("6.1.0");
    Configuration { settings, identity, support, tron: false, state_file: String::new() }
}

/// The processor time of the connector for connects that succeed, each with its kernel events.
fn connects() -> Result<f64, String> {
    let (configuration, devices) = (wanted(), devices());
    let mut fault = None;
    let time = best(|| {
        if let Err(error) = connect_all(configuration.clone(), devices.clone()) {
            fault = Some(error);
        }
    });
    fault.map_or(Ok(time), Err)
}

fn connect_all(configuration: Configuration, devices: Vec<Device>) -> Result<(), String> {
    let (mut now, mut out) = (Time::ZERO, Vec::new());
    let start = Start { configuration, restored: None, seed: 1, now, wall: Wall::default() };
    let mut core = Connector::start(start, &mut out);
    core.step(now, Input::Wake, &mut out);
    let mut left = devices.into_iter();
    while left.len() > 0 {
        if out.is_empty() {
            now = core.next_wake().ok_or("nothing more to wait for")?;
            core.step(now, Input::Wake, &mut out);
        }
        for action in std::mem::take(&mut out) {
            match action {
                Action::Scan => core.step(now, Input::Scanned(Box::default()), &mut out),
                Action::Connect { op, .. } => {
                    let Some(device) = left.next() else { continue };
                    let name = device.id.name.clone();
                    let added = DeviceEvent::Added { name: name.clone() };
                    core.step(now, Input::Device(added), &mut out);
                    let result = Ok(Box::new(device));
                    core.step(now, Input::ConnectDone { op, result }, &mut out);
                    core.step(now, Input::Device(DeviceEvent::Connected { name }), &mut out);
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Runs a connector by its own timers, until what it is to do here is done.
fn settle(configuration: Configuration, scan: &Scan, connected: bool) -> Result<(), String> {
    let (mut now, mut out) = (Time::ZERO, Vec::new());
    let start = Start { configuration, restored: None, seed: 1, now, wall: Wall::default() };
    let mut core = Connector::start(start, &mut out);
    core.step(now, Input::Wake, &mut out);
    let mut adopted = 0;
    for _ in 0..100 {
        while !out.is_empty() {
            for action in std::mem::take(&mut out) {
                match action {
                    Action::Scan => {
                        core.step(now, Input::Scanned(Box::new(scan.clone())), &mut out);
                    }
                    Action::Connect { .. } if !connected => return Ok(()),
                    Action::Connect { .. } => return Err("connects what is connected".into()),
                    Action::Log(record) => {
                        adopted += usize::from(record.text.contains("Connection established"));
                    }
                    _ => {}
                }
            }
        }
        if connected && adopted == CONTROLLERS {
            return Ok(());
        }
        now = core.next_wake().ok_or("nothing more to wait for")?;
        core.step(now, Input::Wake, &mut out);
    }
    Err(format!("never settles: {adopted} adopted"))
}
