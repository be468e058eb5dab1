// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Measures what the programs cost, and compares it with the recorded bounds (`tests/bench.tsv`).
//!
//! Owns sizes of the release builds, the time a client takes to start, and the processor time of
//! the cores' largest jobs. Times are the best of several runs, since a busy machine only ever
//! adds. What needs a kernel target (memory of a daemon at work, latency) is measured in the guest.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::process::{Command, ExitCode};

use checks::tree;
use plinth::time::{Time, Wall};
use plinth::udev::Uevent;
use stas::core::cid::{Attributes, Device};
use stas::core::connector::Connector;
use stas::core::fabrics::Support;
use stas::core::identity::Identity;
use stas::core::logpage::{ENTRY_LEN, Entry};
use stas::core::port::{Action, Configuration, DeviceId, Input, Scan};
use stas::core::settings::{Role, Settings};

const PROGRAMS: [&str; 5] = ["stafd", "stacd", "stafctl", "stacctl", "stasadm"];
/// Controllers of the large reconcile.
const CONTROLLERS: usize = 1000;
/// Runs of each measurement; the best one counts.
const RUNS: usize = 7;
/// Events of the storm.
const EVENTS: usize = 20_000;

/// Name, unit, and value of everything measured.
type Measures = Vec<(String, &'static str, u64)>;

fn main() -> ExitCode {
    match measure().and_then(|measures| judge(&measures)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the table; whether every bound holds.
fn judge(measures: &Measures) -> Result<bool, Box<dyn Error>> {
    let mut bounds: BTreeMap<String, u64> = BTreeMap::new();
    for line in tree::read("tests/bench.tsv").lines().filter(|line| !line.starts_with('#')) {
        let (name, bound) = line.split_once('\t').ok_or("a line of bench.tsv lacks its bound")?;
        bounds.insert(name.to_owned(), bound.parse()?);
    }
    let mut good = true;
    for (name, unit, value) in measures {
        let bound = bounds.remove(name).unwrap_or(0); // what is new is too much until recorded
        let verdict = if *value <= bound { "ok" } else { "TOO MUCH" };
        good &= *value <= bound;
        println!("{name:<44}{value:>10} of {bound:>9} {unit:<6} {verdict}");
    }
    if let Some(name) = bounds.keys().find(|name| !name.starts_with("static ")) {
        return Err(format!("'{name}' has a bound and was not measured").into());
    }
    Ok(good)
}

fn measure() -> Result<Measures, Box<dyn Error>> {
    let mut measures = Measures::new();
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| tree::root().join("target"), std::path::PathBuf::from);
    let fixed = target.join(format!("{}-unknown-linux-gnu/release", std::env::consts::ARCH));
    for program in PROGRAMS {
        let size = fs::metadata(target.join("release").join(program))?.len();
        measures.push((format!("size {program}"), "bytes", size));
        if let Ok(built) = fs::metadata(fixed.join(program)) {
            measures.push((format!("static size {program}"), "bytes", built.len()));
        }
    }
    let client = target.join("release/stafctl");
    let mut failed = None;
    let start = best(|| {
        let run = Command::new(&client).arg("--version").output();
        failed = failed.take().or(run.err());
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    measures.push(("start of stafctl --version".into(), "us", start));
    measures.push(("decoding 1000 log page records".into(), "us", log_page()));
    measures.push(("reading 1000 controllers of a file".into(), "us", configuration()));
    measures.push(("decoding 20000 uevents".into(), "us", uevents()));
    measures.push(("reconcile, 1000 wanted and connected".into(), "us", reconcile(true)?));
    measures.push(("reconcile, 1000 wanted, none connected".into(), "us", reconcile(false)?));
    Ok(measures)
}

/// The shortest time of [`RUNS`] runs, in microseconds.
fn best(mut work: impl FnMut()) -> u64 {
    let times = (0..RUNS).map(|_| {
        let begun = Time::monotonic();
        work();
        begun.until(Time::monotonic()).as_nanos() / 1000
    });
    times.min().and_then(|time| u64::try_from(time).ok()).unwrap_or(u64::MAX)
}

fn log_page() -> u64 {
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

fn configuration() -> u64 {
    let text = text();
    best(|| {
        let (settings, _) = Settings::parse(Role::Connector, &[("stacd.conf", &text)]);
        assert_eq!(settings.controllers.len(), CONTROLLERS, "every line is read");
    })
}

fn uevents() -> u64 {
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
fn reconcile(connected: bool) -> Result<u64, Box<dyn Error>> {
    let text = text();
    let (settings, _) = Settings::parse(Role::Connector, &[("stacd.conf", &text)]);
    let identity = Identity {
        nqn: HOST.into(),
        id: "11111111-2222-3333-4444-555555555555".into(),
        ..Identity::default()
    };
    let support = Support::from_kernel_version("6.1.0");
    let (tron, state_file) = (false, String::new());
    let configuration = Configuration { settings, identity, support, tron, state_file };
    let scan = Scan { devices: if connected { devices() } else { Vec::new() }, ..Scan::default() };
    let mut fault = None;
    let time = best(|| {
        if let Err(error) = settle(configuration.clone(), &scan, connected) {
            fault = Some(error);
        }
    });
    fault.map_or(Ok(time), |fault| Err(fault.into()))
}

/// Runs a connector by its own timers, until what it is to do here is done.
fn settle(configuration: Configuration, scan: &Scan, connected: bool) -> Result<(), String> {
    let (mut now, mut out) = (Time::ZERO, Vec::new());
    let mut core = Connector::new(configuration, None, 1, now, Wall::default(), &mut out);
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
