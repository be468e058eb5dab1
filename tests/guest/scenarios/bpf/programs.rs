// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ready-made programs, applied from their own manifests as a user would.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::NEEDS;
use crate::inside::bpf::{self, Trigger};
use crate::inside::process::{self, Process};
use crate::inside::{Outcome, Trouble, controllers, digest, ensure, ensure_eq, nvmet, say, wait};
use crate::scenarios::{Guest, Kernel, Needs, Scenario};

/// All five.
pub const PROGRAMS: Scenario = Scenario {
    name: "bpf-programs",
    about: "tinybpf: the ready-made programs from their manifests, with what they report",
    needs: Needs { nvme_cli: true, ..NEEDS },
    kernels: &[Kernel::V6_1, Kernel::Sid],
    seconds: 180,
    run: programs,
};

const LIMIT: Duration = Duration::from_secs(60);
const NQN: &str = "nqn.2024-01.test:latency";

fn programs(_: &Guest) -> Outcome {
    // Nothing is mounted yet: the manifests say what they need.
    for (name, show) in [
        ("exec", exec as fn() -> Outcome),
        ("tcp_connects", tcp_connects),
        ("nvme_latency", nvme_latency),
        ("xdp_packets", xdp_packets),
        ("cgroup_egress", cgroup_egress),
    ] {
        let manifest = format!("/usr/lib/tinybpf/{name}.toml");
        let during = |trouble: Trouble| trouble.during(name);
        bpf::done(&["apply", &manifest]).map_err(during)?;
        show().map_err(during)?;
        unchanged(&manifest).map_err(during)?;
        bpf::done(&["remove", &manifest]).map_err(during)?;
        say::step(name);
    }
    Ok(())
}

/// A second apply loads nothing, and the status is calm.
fn unchanged(manifest: &str) -> Outcome {
    let ids = || Ok::<_, Trouble>(bpf::json(&["list", "progs"])?.to_string());
    let before = ids()?;
    bpf::done(&["apply", manifest])?;
    ensure_eq("the programs after a second apply", &ids()?, &before)?;
    bpf::done(&["check", manifest]).map(drop)
}

fn map(program: &str, name: &str) -> String {
    format!("{}/tinybpf/{program}/maps/{name}", bpf::BPFFS)
}

/// Streams the events of a map while `act` happens, until one satisfies `wanted`.
fn event(
    map: &str,
    mut act: impl FnMut() -> Outcome,
    wanted: impl Fn(&Value) -> bool,
) -> Outcome<Value> {
    let mut stream = Process::start("events", &[bpf::TINYBPF, "events", "pin", map], &[])?;
    let (found, _) = wait::until_found("the event is reported", LIMIT, || {
        act()?;
        let lines = stream.log();
        let events = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(events.map(|event| event["data"].clone()).find(|data| wanted(data)))
    })?;
    stream.stop(LIMIT)?;
    fs::remove_file("/var/log/events.log")?;
    Ok(found)
}

fn exec() -> Outcome {
    let run = || {
        // A status of its own, to be found again.
        let status = Command::new("/bin/busybox").args(["sh", "-c", "exit 7"]).status()?;
        ensure_eq("the exit code", &status.code(), &Some(7))
    };
    let found = event(&map("exec", "events"), run, |data| data["file"] == "/bin/busybox")?;
    ensure_eq("the command's name", &found["comm"], &Value::from("busybox"))?;
    ensure_eq("its parent", &found["parent"], &Value::from(1))?;
    event(&map("exec", "exits"), run, |data| data["status"] == 7).map(drop)
}

fn tcp_connects() -> Outcome {
    let found = event(
        &map("tcp_connects", "events"),
        || Trigger::Connection.pull(),
        |data| data["connected"] == true,
    )?;
    ensure_eq("the address", &found["address"], &Value::from("127.0.0.1"))?;
    ensure_eq("the process", &found["pid"], &Value::from(1))?;
    let refused = || ensure(std::net::TcpStream::connect("127.0.0.1:9").is_err(), "port 9 answers");
    let wanted = |data: &Value| data["connected"] == false && data["port"] == 9;
    event(&map("tcp_connects", "events"), refused, wanted).map(drop)
}

fn nvme_latency() -> Outcome {
    nvmet::subsystem(NQN, 1)?;
    nvmet::port(1, "127.0.0.1", 4420)?;
    nvmet::link(1, NQN)?;
    let words = ["nvme", "connect", "-t", "tcp", "-a", "127.0.0.1", "-s", "4420", "-n", NQN];
    process::output(&words)?;
    controllers::await_storage(&[NQN], LIMIT)?;
    wait::until("a disk", LIMIT, || controllers::disks(NQN).len() == 1)?;
    digest::travels(&controllers::disks(NQN)[0], &nvmet::backing(NQN, 1), 1)?;
    let dump = bpf::json(&["map", "dump", "pin", &map("nvme_latency", "latency")])?;
    say::show("latency", &dump.to_string());
    let text = dump.to_string();
    for operation in ["READ", "WRITE"] {
        ensure(text.contains(operation), format_args!("no {operation} in {text}"))?;
    }
    ensure(text.contains("\"nvme0"), format_args!("no device in {text}"))?;
    ensure(bpf::find(&dump, "requests") > Some(0), "no request was counted")?;
    process::output(&["nvme", "disconnect", "-n", NQN])?;
    nvmet::unlink(1, NQN)?;
    nvmet::remove_subsystem(NQN)
}

fn xdp_packets() -> Outcome {
    Trigger::Datagram.pull()?;
    let dump = bpf::json(&["map", "dump", "pin", &map("xdp_packets", "counters")])?.to_string();
    ensure(dump.contains("IPV4_UDP"), format_args!("no datagram in {dump}"))
}

fn cgroup_egress() -> Outcome {
    Trigger::Datagram.pull()?;
    let dump = bpf::json(&["map", "dump", "pin", &map("cgroup_egress", "sent")])?;
    ensure(bpf::find(&dump, "packets") > Some(0), format_args!("nothing was sent: {dump}"))
}
