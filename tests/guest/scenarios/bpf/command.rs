// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every kind of program that the command attaches: loaded, pinned, made to run, unloaded, each by
//! one line as a user would type it. What a kernel is too old for must be refused with the exit
//! code that says so.

use std::time::Duration;

use rustix::process::{getpgid, getpid};

use super::NEEDS;
use crate::inside::bpf::{self, Trigger};
use crate::inside::process::{self, Process};
use crate::inside::{Outcome, Trouble, ensure, ensure_eq, say, wait};
use crate::scenarios::{Guest, Kernel, Scenario};

/// The whole matrix.
pub const COMMAND: Scenario = Scenario {
    name: "bpf-command",
    about: "tinybpf: every kind of program loaded, attached, run, unloaded, by the command",
    needs: NEEDS,
    kernels: &Kernel::KNOWN,
    seconds: 240,
    run: command,
};

/// For a program to run after its event, on an emulated processor.
const LIMIT: Duration = Duration::from_secs(10);
/// Exit codes of the command for what the kernel cannot do, and for what its verifier refuses: that
/// one knows where programs may sleep.
const REFUSED: [i32; 2] = [6, 7];

/// One kind and what shows it.
#[derive(Clone, Copy)]
struct Row {
    kind: &'static str,
    object: &'static str,
    /// The one program of the object that is loaded; empty: all of them.
    program: &'static str,
    /// The hook; empty: the one that its section names.
    hook: &'static str,
    trigger: Trigger,
    /// The global variable that counts its runs.
    counter: &'static str,
    /// The first kernel of the guest that can.
    since: Kernel,
}

const fn row(
    kind: &'static str,
    (object, program): (&'static str, &'static str),
    hook: &'static str,
    trigger: Trigger,
    counter: &'static str,
) -> Row {
    Row { kind, object, program, hook, trigger, counter, since: Kernel::V6_1 }
}

const fn since(kernel: Kernel, row: Row) -> Row {
    Row { since: kernel, ..row }
}

const ROWS: &[Row] = &[
    row("tracepoint", ("tracepoints", "named"), "", Trigger::Getpgid, "named_hits"),
    row("raw_tp", ("tracepoints", "raw"), "", Trigger::Getpgid, "raw_hits"),
    row("raw_tp.w", ("tracepoints", "writable"), "", Trigger::TestRun, "written"),
    row("tp_btf", ("tracepoints", "typed"), "", Trigger::Getpgid, "typed_hits"),
    row("kprobe", ("kprobe", "entry"), "", Trigger::Getpgid, "entries"),
    row("kretprobe", ("kprobe", "leave"), "", Trigger::Getpgid, "returns"),
    row("ksyscall", ("ksyscall", "entry"), "", Trigger::Getpgid, "entries"),
    row("kretsyscall", ("ksyscall", "leave"), "", Trigger::Getpgid, "returns"),
    since(
        Kernel::V6_12,
        row("kprobe.multi", ("kprobe_multi", "entry"), "", Trigger::Getpgid, "entries"),
    ),
    since(
        Kernel::V6_12,
        row("kretprobe.multi", ("kprobe_multi", "leave"), "", Trigger::Getpgid, "returns"),
    ),
    since(
        Kernel::V6_12,
        row("kprobe.session", ("kprobe_session", "both"), "", Trigger::Getpgid, "runs"),
    ),
    row("fentry", ("fentry", "entry"), "", Trigger::Getpgid, "entries"),
    row("fexit", ("fentry", "leave"), "", Trigger::Getpgid, "exits"),
    since(
        Kernel::Sid,
        row("fentry.s", ("fentry_sleepable", "entry"), "", Trigger::Getpgid, "entries"),
    ),
    row("fmod_ret", ("fmod_ret", "answer"), "", Trigger::Getpgid, "hits"),
    since(Kernel::Sid, row("fsession", ("fsession", "both"), "", Trigger::Getpgid, "runs")),
    row("lsm", ("lsm", "deny"), "", Trigger::Getpgid, "asked"),
    row("lsm.s", ("lsm", "watch"), "", Trigger::Open, "opened"),
    row("lsm_cgroup", ("lsm_cgroup", "bind"), "cgroup:/", Trigger::Datagram, "binds"),
    row(
        "perf_event",
        ("perf_event", "sample"),
        "perf:sw:cpu-clock:100000",
        Trigger::Work,
        "overflows",
    ),
    row("cgroup_skb/ingress", ("cgroup", "ingress"), "cgroup:/", Trigger::Datagram, "ingress"),
    row("cgroup_skb/egress", ("cgroup", "egress"), "cgroup:/", Trigger::Datagram, "egress"),
    row(
        "cgroup/sock_create",
        ("cgroup", "sock_create"),
        "cgroup:/",
        Trigger::Datagram,
        "sock_create",
    ),
    row(
        "cgroup/sock_release",
        ("cgroup", "sock_release"),
        "cgroup:/",
        Trigger::Datagram,
        "sock_release",
    ),
    row("cgroup/post_bind4", ("cgroup", "post_bind4"), "cgroup:/", Trigger::Datagram, "post_bind4"),
    row("cgroup/bind4", ("cgroup", "bind4"), "cgroup:/", Trigger::Datagram, "bind4"),
    row("cgroup/connect4", ("cgroup", "connect4"), "cgroup:/", Trigger::Connection, "connect4"),
    row("cgroup/sendmsg4", ("cgroup", "sendmsg4"), "cgroup:/", Trigger::Datagram, "sendmsg4"),
    row("cgroup/recvmsg4", ("cgroup", "recvmsg4"), "cgroup:/", Trigger::Datagram, "recvmsg4"),
    row(
        "cgroup/getpeername4",
        ("cgroup", "getpeername4"),
        "cgroup:/",
        Trigger::Connection,
        "getpeername4",
    ),
    row(
        "cgroup/getsockname4",
        ("cgroup", "getsockname4"),
        "cgroup:/",
        Trigger::Connection,
        "getsockname4",
    ),
    row("cgroup/sysctl", ("cgroup", "sysctl"), "cgroup:/", Trigger::Parameter, "sysctl"),
    row("cgroup/getsockopt", ("cgroup", "getsockopt"), "cgroup:/", Trigger::Option, "getsockopt"),
    row("cgroup/setsockopt", ("cgroup", "setsockopt"), "cgroup:/", Trigger::Option, "setsockopt"),
    row("cgroup/dev", ("cgroup", "dev"), "cgroup:/", Trigger::Device, "dev"),
    row("sockops", ("cgroup", "sock_ops"), "cgroup:/", Trigger::Connection, "sock_ops"),
    row("uprobe", ("uprobe", "entry"), "uprobe:/bpf/probed:probed_add", Trigger::Probed, "entries"),
    row(
        "uretprobe",
        ("uprobe", "leave"),
        "uretprobe:/bpf/probed:probed_add",
        Trigger::Probed,
        "returns",
    ),
    row("usdt", ("usdt", "step"), "usdt:/bpf/probed:plinth:step", Trigger::Probed, "steps"),
    row("sk_lookup", ("netns", "lookup"), "netns:self", Trigger::Connection, "lookups"),
    row("tc", ("tc", "ingress"), "tc:lo/ingress", Trigger::Datagram, "ingress_packets"),
    row("tc/egress", ("tc", "egress"), "tc:lo/egress", Trigger::Datagram, "egress_packets"),
    since(
        Kernel::V6_12,
        row("tcx", ("tcx", "ingress"), "tcx:lo/ingress", Trigger::Datagram, "ingress_packets"),
    ),
    since(
        Kernel::V6_12,
        row("tcx/egress", ("tcx", "egress"), "tcx:lo/egress", Trigger::Datagram, "egress_packets"),
    ),
    since(
        Kernel::V6_12,
        row(
            "netfilter",
            ("netfilter", "accept"),
            "netfilter:4/input/0",
            Trigger::Datagram,
            "packets",
        ),
    ),
];

fn command(guest: &Guest) -> Outcome {
    bpf::prepare()?;
    bpf::mounts()?;
    say::text(&bpf::done(&["version"])?);
    // Each on its own, so that one finding does not hide the next.
    let judge = |name: &str, outcome: Outcome| {
        if let Err(trouble) = outcome {
            say::fail(trouble.during(name).to_string());
        }
    };
    for row in ROWS {
        judge(row.kind, show(row, guest.kernel));
    }
    say::step("the rows");
    for (name, special) in [
        ("lsm", denial as fn(&Guest) -> Outcome),
        ("xdp", xdp),
        ("iter", iterator),
        ("freplace", replacement),
        ("struct_ops", congestion),
        ("netkit", netkit),
        ("load only", loads),
    ] {
        judge(name, special(guest));
        say::step(name);
    }
    ensure_eq("what is left below bpffs", &std::fs::read_dir(bpf::BPFFS)?.count(), &0)
}

/// Loads, attaches, triggers, reads the counter, unloads; or sees it refused.
fn show(row: &Row, kernel: Kernel) -> Outcome {
    let hook = format!("{}={}", row.program, row.hook);
    let mut options = vec!["--prog", row.program];
    options.extend(if row.hook.is_empty() { ["--attach", "auto"] } else { ["--hook", &hook] });
    // What has no link that could be pinned lives as long as its command.
    if ["tc:", "usdt:"].iter().any(|kind| row.hook.starts_with(kind)) {
        return hold(row.object, &options, row.trigger, row.counter);
    }
    let said = bpf::load(row.object, &options)?;
    if kernel < row.since {
        return refused(&said);
    }
    ensure(said.code == 0, format_args!("exit {}: {}", said.code, said.err))?;
    wait::until_found("the program runs", LIMIT, || {
        row.trigger.pull()?;
        Ok((bpf::global(row.object, row.counter)? > 0).then_some(()))
    })?;
    bpf::unload(row.object)
}

/// The same by a command that stays, until it is told to stop.
fn hold(object: &str, options: &[&str], trigger: Trigger, counter: &str) -> Outcome {
    let path = bpf::object(object);
    let words = [&[bpf::TINYBPF, "load", &path, "--hold"], options].concat();
    let mut holder = Process::start("hold", &words, &[])?;
    wait::until_found("the program runs", LIMIT, || {
        trigger.pull()?;
        ensure(holder.alive(), holder.log())?;
        Ok(bpf::global(object, counter).ok().filter(|&count| count > 0))
    })?;
    holder.stop(LIMIT).map(drop)
}

/// The kernel cannot, and the command says so in one line and by its code.
fn refused(said: &process::Said) -> Outcome {
    ensure(REFUSED.contains(&said.code), format_args!("exit {}: {}", said.code, said.err))?;
    ensure(!said.err.trim().is_empty(), "it was refused without a word")?;
    Ok(())
}

/// A security hook refuses what it was told to refuse, and nothing else.
fn denial(_: &Guest) -> Outcome {
    let own = format!("denied_pid={}", getpid().as_raw_nonzero());
    let options = ["--prog", "deny", "--attach", "auto", "--set", &own];
    let said = bpf::load("lsm", &options)?;
    ensure(said.code == 0, &said.err)?;
    let answer = getpgid(Some(getpid()));
    ensure_eq("the answer to a denied call", &answer, &Err(rustix::io::Errno::PERM))?;
    ensure_eq("calls denied", &bpf::global("lsm", "denied")?, &1)?;
    bpf::unload("lsm")?;
    ensure(getpgid(Some(getpid())).is_ok(), "it is denied still")
}

/// In the generic mode on the loopback interface, in the driver's on a pair of virtual ones.
fn xdp(_: &Guest) -> Outcome {
    let ip = |words: &[&str]| process::output(&[&["/bin/ip"], words].concat()).map(drop);
    ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"])?;
    for name in ["v0", "v1"] {
        ip(&["link", "set", name, "up"])?;
    }
    ip(&["addr", "add", "192.0.2.1/24", "dev", "v0"])?;
    for (hook, frames) in [("pass=xdp:lo,mode=skb", false), ("pass=xdp:v1,mode=native", true)] {
        let said = bpf::load("xdp", &["--prog", "pass", "--hook", hook])?;
        ensure(said.code == 0, format_args!("{hook}: {}", said.err))?;
        wait::until_found("packets are counted", LIMIT, || {
            if frames {
                // To a neighbour that does not exist: the question for it is a frame.
                let socket = std::net::UdpSocket::bind("192.0.2.1:0")?;
                socket.send_to(b"plinth", "192.0.2.2:9")?;
            } else {
                Trigger::Datagram.pull()?;
            }
            let dump = bpf::json(&["map", "dump", "name", "packets"])?;
            Ok(largest(&dump).filter(|&count| count > 0))
        })?;
        bpf::unload("xdp")?;
    }
    let said = bpf::load("xdp", &["--prog", "pass_frags", "--hook", "pass_frags=xdp:v1"])?;
    ensure(said.code == 0, format_args!("frags: {}", said.err))?;
    bpf::unload("xdp")?;
    ip(&["link", "del", "v0"])
}

/// The largest number anywhere in `value`.
fn largest(value: &serde_json::Value) -> Option<i64> {
    use serde_json::Value;
    match value {
        Value::Number(number) => number.as_i64(),
        Value::Array(items) => items.iter().filter_map(largest).max(),
        Value::Object(members) => members.values().filter_map(largest).max(),
        _ => None,
    }
}

/// The text of a task iterator names this process.
fn iterator(_: &Guest) -> Outcome {
    let said = bpf::load("iter", &["--prog", "tasks", "--attach", "auto"])?;
    ensure(said.code == 0, &said.err)?;
    let links = format!("{}/iter/links/tasks", bpf::BPFFS);
    let text = bpf::done(&["iter", "pin", &links])?;
    ensure(text.lines().any(|line| line.starts_with("1 1 ")), format_args!("it said '{text}'"))?;
    bpf::unload("iter")?;
    Ok(())
}

/// A function of a loaded program is replaced, and is itself again afterwards.
fn replacement(_: &Guest) -> Outcome {
    let said = bpf::load("freplace_target", &[])?;
    ensure(said.code == 0, &said.err)?;
    let target = format!("{}/freplace_target/progs/entry", bpf::BPFFS);
    std::fs::write("/tmp/packet", [0x55; 64])?;
    let verdict = || {
        let answer = bpf::json(&["test-run", "pin", &target, "--data", "/tmp/packet"])?;
        bpf::find(&answer, "retval").ok_or_else(|| Trouble::new(format!("no verdict in {answer}")))
    };
    ensure_eq("the verdict before", &verdict()?, &2)?;
    let hook = format!("stricter=freplace:pin {target}:decide");
    let said = bpf::load("freplace", &["--hook", &hook])?;
    ensure(said.code == 0, &said.err)?;
    ensure_eq("the verdict of the replacement", &verdict()?, &1)?;
    bpf::unload("freplace")?;
    ensure_eq("the verdict afterwards", &verdict()?, &2)?;
    bpf::unload("freplace_target")?;
    Ok(())
}

/// A congestion control, plain and as a link.
fn congestion(guest: &Guest) -> Outcome {
    for (kind, object, first) in [
        ("struct_ops", "struct_ops", Kernel::V6_1),
        ("struct_ops.link", "struct_ops_link", Kernel::V6_12),
    ] {
        let said = bpf::load(object, &["--attach", "auto"])?;
        if guest.kernel < first {
            refused(&said)?;
            continue;
        }
        ensure(said.code == 0, format_args!("{kind}: {}", said.err))?;
        Trigger::Congestion.pull()?;
        ensure(bpf::global(object, "acknowledged")? > 0, "it was not asked")?;
        bpf::unload(object)?;
    }
    Ok(())
}

/// Both ends of a device that exists from 6.7 on.
fn netkit(guest: &Guest) -> Outcome {
    if guest.kernel < Kernel::V6_12 {
        let hook = "primary=netkit:lo/primary";
        let said = bpf::load("netkit", &["--prog", "primary", "--hook", hook])?;
        return refused(&said);
    }
    let ip = |words: &[&str]| process::output(&[&["/bin/ip"], words].concat()).map(drop);
    ip(&["link", "add", "kit0", "type", "netkit"])?;
    for end in ["kit0", "nk0"] {
        ip(&["link", "set", end, "up"])?;
    }
    ip(&["addr", "add", "198.51.100.1/24", "dev", "kit0"])?;
    let hook = "primary=netkit:kit0/primary";
    let said = bpf::load("netkit", &["--prog", "primary", "--hook", hook])?;
    ensure(said.code == 0, &said.err)?;
    wait::until_found("packets are counted", LIMIT, || {
        let socket = std::net::UdpSocket::bind("198.51.100.1:0")?;
        socket.send_to(b"plinth", "198.51.100.2:9")?;
        Ok((bpf::global("netkit", "primary_packets")? > 0).then_some(()))
    })?;
    bpf::unload("netkit")?;
    ip(&["link", "del", "kit0"])?;
    Ok(())
}

/// What hangs on sockets and routes of a process: the command loads it, a process attaches it.
fn loads(_: &Guest) -> Outcome {
    for object in ["socket", "sk_reuseport", "sockmap", "lwt"] {
        let said = bpf::load(object, &["--attach", "none"])?;
        ensure(said.code == 0, format_args!("{object}: {}", said.err))?;
        bpf::unload(object)?;
    }
    Ok(())
}
