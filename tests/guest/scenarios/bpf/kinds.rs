// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every kind of program that can be attached: loaded, attached, made to run, detached, by the
//! library in a static program. What a kernel is too old for must be refused as unsupported.
//!
//! Each row reports `kind/NAME` as a measurement: `run` when the program was seen to run, `load`
//! when it was loaded only, `refused` when this kernel cannot. The host's tests write the same
//! words, and the table of both says where each kind was shown.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use bpf::error::{Error, Kind as Failure};
use bpf::hook::{Direction, XdpMode};
use bpf::link::Link;
use bpf::map::Map;
use bpf::object::Object;
use bpf::program::attach::{At, IterTarget, PerfEventOpts, Rate, UprobeOpts, UsdtOpts};
use bpf::program::network::{Beside, CgroupOpts, IfaceRef, NetfilterOpts, NetnsRef};
use bpf::program::{Program, TestRun};
use rustix::process::{getpgid, getpid};

use super::OBJECTS;
use crate::inside::bpf::{self as hand, Trigger};
use crate::inside::{Outcome, Trouble, ensure, ensure_eq, process, say, wait};
use crate::scenarios::{Guest, Kernel, Scenario};

/// The whole matrix.
pub const KINDS: Scenario = Scenario {
    name: "bpf-kinds",
    about: "every kind of BPF program loaded, attached, run, detached, by the library",
    needs: OBJECTS,
    kernels: &Kernel::KNOWN,
    seconds: 180,
    run: kinds,
};

/// For a program to run after its event, on an emulated processor.
const LIMIT: Duration = Duration::from_secs(10);

/// Where a program is attached.
#[derive(Clone, Copy)]
enum Hook {
    /// Where its section says.
    Section,
    /// The root of the control groups.
    Cgroup,
    /// This network namespace.
    Netns,
    /// The loopback interface, by a classic filter.
    Tc(Direction),
    /// The loopback interface, by a link.
    Tcx(Direction),
    /// What arrives here over IPv4.
    Netfilter,
    /// Every 100 microseconds of the processor's time.
    Counter,
    /// The function `probed_add` of the program `probed`.
    User { returns: bool },
    /// The same, as one of many.
    Users { returns: bool },
    /// The probe `plinth:step` of that program.
    Usdt,
}

/// One kind and what shows it.
#[derive(Clone, Copy)]
struct Row {
    kind: &'static str,
    object: &'static str,
    program: &'static str,
    hook: Hook,
    trigger: Trigger,
    /// The global variable that counts its runs.
    counter: &'static str,
    /// The first kernel of the guest that can.
    since: Kernel,
}

const fn row(
    kind: &'static str,
    (object, program): (&'static str, &'static str),
    hook: Hook,
    (trigger, counter): (Trigger, &'static str),
) -> Row {
    Row { kind, object, program, hook, trigger, counter, since: Kernel::V6_1 }
}

const fn since(kernel: Kernel, row: Row) -> Row {
    Row { since: kernel, ..row }
}

/// A hook of the control group, by the name of program and counter.
const fn group(kind: &'static str, name: &'static str, trigger: Trigger) -> Row {
    row(kind, ("cgroup", name), Hook::Cgroup, (trigger, name))
}

const CALL: Trigger = Trigger::Getpgid;
const SECTION: Hook = Hook::Section;

const ROWS: &[Row] = &[
    row("tracepoint", ("tracepoints", "named"), SECTION, (CALL, "named_hits")),
    row("raw_tp", ("tracepoints", "raw"), SECTION, (CALL, "raw_hits")),
    row("raw_tp.w", ("tracepoints", "writable"), SECTION, (Trigger::TestRun, "written")),
    row("tp_btf", ("tracepoints", "typed"), SECTION, (CALL, "typed_hits")),
    row("kprobe", ("kprobe", "entry"), SECTION, (CALL, "entries")),
    row("kretprobe", ("kprobe", "leave"), SECTION, (CALL, "returns")),
    row("ksyscall", ("ksyscall", "entry"), SECTION, (CALL, "entries")),
    row("kretsyscall", ("ksyscall", "leave"), SECTION, (CALL, "returns")),
    since(
        Kernel::V6_12,
        row("kprobe.multi", ("kprobe_multi", "entry"), SECTION, (CALL, "entries")),
    ),
    since(
        Kernel::V6_12,
        row("kretprobe.multi", ("kprobe_multi", "leave"), SECTION, (CALL, "returns")),
    ),
    since(
        Kernel::V6_12,
        row("kprobe.session", ("kprobe_session", "both"), SECTION, (CALL, "runs")),
    ),
    row("fentry", ("fentry", "entry"), SECTION, (CALL, "entries")),
    row("fexit", ("fentry", "leave"), SECTION, (CALL, "exits")),
    since(Kernel::Sid, row("fentry.s", ("fentry_sleepable", "entry"), SECTION, (CALL, "entries"))),
    row("fmod_ret", ("fmod_ret", "answer"), SECTION, (CALL, "hits")),
    since(Kernel::Sid, row("fsession", ("fsession", "both"), SECTION, (CALL, "runs"))),
    row("lsm", ("lsm", "deny"), SECTION, (CALL, "asked")),
    row("lsm.s", ("lsm", "watch"), SECTION, (Trigger::Open, "opened")),
    row("lsm_cgroup", ("lsm_cgroup", "bind"), Hook::Cgroup, (Trigger::Datagram, "binds")),
    row("perf_event", ("perf_event", "sample"), Hook::Counter, (Trigger::Work, "overflows")),
    row("uprobe", ("uprobe", "entry"), Hook::User { returns: false }, (Trigger::Probed, "entries")),
    row(
        "uretprobe",
        ("uprobe", "leave"),
        Hook::User { returns: true },
        (Trigger::Probed, "returns"),
    ),
    since(
        Kernel::V6_12,
        row(
            "uprobe.multi",
            ("uprobe_multi", "entry"),
            Hook::Users { returns: false },
            (Trigger::Probed, "entries"),
        ),
    ),
    since(
        Kernel::V6_12,
        row(
            "uretprobe.multi",
            ("uprobe_multi", "leave"),
            Hook::Users { returns: true },
            (Trigger::Probed, "returns"),
        ),
    ),
    row("usdt", ("usdt", "step"), Hook::Usdt, (Trigger::Probed, "steps")),
    group("cgroup_skb/ingress", "ingress", Trigger::Datagram),
    group("cgroup_skb/egress", "egress", Trigger::Datagram),
    group("cgroup/sock_create", "sock_create", Trigger::Datagram),
    group("cgroup/sock_release", "sock_release", Trigger::Datagram),
    group("cgroup/post_bind4", "post_bind4", Trigger::Datagram),
    group("cgroup/bind4", "bind4", Trigger::Datagram),
    group("cgroup/connect4", "connect4", Trigger::Connection),
    group("cgroup/sendmsg4", "sendmsg4", Trigger::Datagram),
    group("cgroup/recvmsg4", "recvmsg4", Trigger::Datagram),
    group("cgroup/getpeername4", "getpeername4", Trigger::Connection),
    group("cgroup/getsockname4", "getsockname4", Trigger::Connection),
    group("cgroup/sysctl", "sysctl", Trigger::Parameter),
    group("cgroup/getsockopt", "getsockopt", Trigger::Option),
    group("cgroup/setsockopt", "setsockopt", Trigger::Option),
    group("cgroup/dev", "dev", Trigger::Device),
    group("sockops", "sock_ops", Trigger::Connection),
    since(
        Kernel::V6_12,
        row(
            "cgroup/connect_unix",
            ("cgroup_unix", "connect_unix"),
            Hook::Cgroup,
            (Trigger::Unix, "connects"),
        ),
    ),
    row("sk_lookup", ("netns", "lookup"), Hook::Netns, (Trigger::Connection, "lookups")),
    row(
        "tc",
        ("tc", "ingress"),
        Hook::Tc(Direction::Ingress),
        (Trigger::Datagram, "ingress_packets"),
    ),
    row(
        "tc/egress",
        ("tc", "egress"),
        Hook::Tc(Direction::Egress),
        (Trigger::Datagram, "egress_packets"),
    ),
    since(
        Kernel::V6_12,
        row(
            "tcx",
            ("tcx", "ingress"),
            Hook::Tcx(Direction::Ingress),
            (Trigger::Datagram, "ingress_packets"),
        ),
    ),
    since(
        Kernel::V6_12,
        row(
            "tcx/egress",
            ("tcx", "egress"),
            Hook::Tcx(Direction::Egress),
            (Trigger::Datagram, "egress_packets"),
        ),
    ),
    since(
        Kernel::V6_12,
        row("netfilter", ("netfilter", "accept"), Hook::Netfilter, (Trigger::Datagram, "packets")),
    ),
];

fn kinds(guest: &Guest) -> Outcome {
    hand::prepare()?;
    hand::mounts()?;
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
        ("netkit", netkit),
        ("iter", iterators),
        ("freplace", replacement),
        ("struct_ops", congestion),
        ("flow_dissector", dissector),
        ("load only", loads),
    ] {
        judge(name, special(guest));
        say::step(name);
    }
    Ok(())
}

/// Words for an error of the library, its log included.
fn told(error: &Error) -> Trouble {
    Trouble::new(format!("{error:#}"))
}

impl Hook {
    fn attach(self, program: &Program) -> Result<Link, Error> {
        let loopback = IfaceRef::Name("lo");
        match self {
            Self::Section => program.attach(),
            Self::Cgroup => program.attach_cgroup(Path::new("/"), CgroupOpts::default()),
            Self::Netns => program.attach_netns(NetnsRef::Own),
            Self::Tc(direction) => program.attach_tc(loopback, direction, 0, 0),
            Self::Tcx(direction) => program.attach_tcx(loopback, direction, Beside::Nothing),
            Self::Netfilter => program.attach_netfilter(NetfilterOpts {
                family: 2,
                hook: 1,
                priority: 0,
                defragment: false,
            }),
            Self::Counter => program.attach_perf_event(&PerfEventOpts {
                hardware: false,
                config: 0,
                rate: Rate::Period(100_000),
                cpu: Some(0),
                pid: None,
                cookie: 0,
            }),
            Self::User { returns } => program.attach_uprobe(&UprobeOpts {
                path: hand::PROBED,
                at: At::Symbol("probed_add", 0),
                pid: None,
                returns,
                reference_counter: 0,
                cookie: 7,
            }),
            Self::Users { returns } => {
                program.attach_uprobe_multi(hand::PROBED, "probed_*", None, returns)
            }
            Self::Usdt => program.attach_usdt(&UsdtOpts {
                path: hand::PROBED,
                provider: "plinth",
                name: "step",
                pid: None,
                cookie: 9,
            }),
        }
    }
}

/// Loads, attaches, triggers, reads the counter, detaches; or sees it refused.
fn show(row: &Row, kernel: Kernel) -> Outcome {
    let attached = hand::only(row.object, row.program).and_then(|object| {
        let link = row.hook.attach(&object.program(row.program)?)?;
        Ok((object, link))
    });
    if kernel < row.since {
        return refused(row.kind, attached.map(drop));
    }
    let (object, link) = attached.map_err(|error| told(&error))?;
    wait::until_found("the program runs", LIMIT, || {
        row.trigger.pull()?;
        Ok((hand::variable(&object, row.counter)? > 0).then_some(()))
    })?;
    link.detach().map_err(|error| told(&error))?;
    let before = hand::variable(&object, row.counter)?;
    row.trigger.pull()?;
    ensure_eq("its runs after the detach", &hand::variable(&object, row.counter)?, &before)?;
    hand::kind(row.kind, "run");
    Ok(())
}

/// The kernel cannot, and the library says just that; or the verifier does, which knows where a
/// program may sleep.
fn refused(kind: &str, tried: Result<(), Error>) -> Outcome {
    match tried {
        Ok(()) => Err(Trouble::new("it was attached to a kernel that cannot")),
        Err(error) if matches!(error.kind(), Failure::Unsupported | Failure::Verifier) => {
            say::text(&format!("{kind}: {error}"));
            hand::kind(kind, "refused");
            Ok(())
        }
        Err(error) => Err(told(&error)),
    }
}

/// A security hook refuses what it was told to refuse, and nothing else.
fn denial(_: &Guest) -> Outcome {
    let own = u32::try_from(getpid().as_raw_nonzero().get())?;
    let object = hand::only("lsm", "deny").map_err(|e| told(&e))?;
    let program = object.program("deny").map_err(|e| told(&e))?;
    let link = program.attach().map_err(|e| told(&e))?;
    ensure(getpgid(Some(getpid())).is_ok(), "it is denied at once")?;
    hand::set_variable(&object, "denied_pid", own)?;
    let answer = getpgid(Some(getpid()));
    ensure_eq("the answer to a denied call", &answer, &Err(rustix::io::Errno::PERM))?;
    ensure_eq("calls denied", &hand::variable(&object, "denied")?, &1)?;
    link.detach().map_err(|e| told(&e))?;
    ensure(getpgid(Some(getpid())).is_ok(), "it is denied still")
}

fn ip(words: &[&str]) -> Outcome {
    process::output(&[&["/bin/ip"], words].concat()).map(drop)
}

/// Sends a datagram from an address to a neighbour that does not exist: the question for it is a
/// frame of its own.
fn ask(from: &str, to: &str) -> Outcome {
    let socket = std::net::UdpSocket::bind((from, 0))?;
    socket.send_to(b"plinth", (to, 9))?;
    Ok(())
}

/// In the generic mode on the loopback interface, in the driver's on a pair of virtual ones.
fn xdp(_: &Guest) -> Outcome {
    ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"])?;
    for name in ["v0", "v1"] {
        ip(&["link", "set", name, "up"])?;
    }
    ip(&["addr", "add", "192.0.2.1/24", "dev", "v0"])?;
    for (kind, interface, mode) in
        [("xdp", "lo", XdpMode::Skb), ("xdp native", "v1", XdpMode::Native)]
    {
        let object = hand::only("xdp", "pass").map_err(|e| told(&e))?;
        let program = object.program("pass").map_err(|e| told(&e))?;
        let link = program.attach_xdp(IfaceRef::Name(interface), mode).map_err(|e| told(&e))?;
        let packets = object.map("packets").map_err(|e| told(&e))?;
        wait::until_found("packets are counted", LIMIT, || {
            if interface == "lo" {
                Trigger::Datagram.pull()?
            } else {
                ask("192.0.2.1", "192.0.2.2")?
            };
            let counts = packets.get_percpu(&0_u32.to_ne_bytes()).map_err(|e| told(&e))?;
            let counts = counts.unwrap_or_default();
            Ok(counts.iter().flatten().any(|&byte| byte != 0).then_some(()))
        })?;
        link.detach().map_err(|e| told(&e))?;
        hand::kind(kind, "run");
    }
    let object = hand::only("xdp", "pass_frags").map_err(|e| told(&e))?;
    let program = object.program("pass_frags").map_err(|e| told(&e))?;
    let link = program.attach_xdp(IfaceRef::Name("v1"), XdpMode::Native).map_err(|e| told(&e))?;
    link.detach().map_err(|e| told(&e))?;
    hand::kind("xdp.frags", "run");
    ip(&["link", "del", "v0"])
}

/// Both ends of a device that exists from 6.7 on.
fn netkit(guest: &Guest) -> Outcome {
    // Its peer takes the first free name of the form nkN.
    let (exists, name) = (guest.kernel >= Kernel::V6_12, "kit0");
    if exists {
        ip(&["link", "add", name, "type", "netkit"])?;
        for end in [name, "nk0"] {
            ip(&["link", "set", end, "up"])?;
        }
        ip(&["addr", "add", "198.51.100.1/24", "dev", name])?;
    }
    let interface = IfaceRef::Name(if exists { name } else { "lo" });
    let attached = hand::only("netkit", "primary").and_then(|object| {
        let link = object.program("primary")?.attach_netkit(interface, true, Beside::Nothing)?;
        Ok((object, link))
    });
    if !exists {
        return refused("netkit", attached.map(drop));
    }
    let (object, link) = attached.map_err(|e| told(&e))?;
    wait::until_found("packets are counted", LIMIT, || {
        ask("198.51.100.1", "198.51.100.2")?;
        Ok((hand::variable(&object, "primary_packets")? > 0).then_some(()))
    })?;
    link.detach().map_err(|e| told(&e))?;
    hand::kind("netkit", "run");
    ip(&["link", "del", name])
}

/// Text about every task, every entry of a map, every control group.
fn iterators(_: &Guest) -> Outcome {
    let read = |link: &Link| -> Outcome<String> {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut link.read_iter().map_err(|e| told(&e))?, &mut text)?;
        Ok(text)
    };
    let object = hand::only("iter", "tasks").map_err(|e| told(&e))?;
    let link = object.program("tasks").and_then(|it| it.attach()).map_err(|e| told(&e))?;
    let text = read(&link)?;
    ensure(text.lines().any(|line| line.starts_with("1 1 ")), format_args!("it said '{text}'"))?;

    let object = hand::only("iter", "elements").map_err(|e| told(&e))?;
    let map = object.map("walked").map_err(|e| told(&e))?;
    let any = bpf::map::Flags::ANY;
    map.set(&3_u32.to_ne_bytes(), &33_u64.to_ne_bytes(), any).map_err(|e| told(&e))?;
    let program = object.program("elements").map_err(|e| told(&e))?;
    let link = program.attach_iter(IterTarget::MapFd(&map)).map_err(|e| told(&e))?;
    ensure_eq("the map's text", read(&link)?.as_str(), "3=33\n")?;

    let object = hand::only("iter", "cgroups").map_err(|e| told(&e))?;
    let program = object.program("cgroups").map_err(|e| told(&e))?;
    let root = std::fs::File::open(hand::CGROUPS)?;
    let target = IterTarget::Cgroup(root.as_fd());
    let link = program.attach_iter(target).map_err(|e| told(&e))?;
    ensure_eq("the text of the control groups", read(&link)?.as_str(), "level 0\n")?;
    hand::kind("iter", "run");
    Ok(())
}

/// A function of a loaded program is replaced, and is itself again afterwards.
fn replacement(_: &Guest) -> Outcome {
    let target = hand::only("freplace_target", "entry").map_err(|e| told(&e))?;
    let target = target.program("entry").map_err(|e| told(&e))?;
    let packet = TestRun { data_in: vec![0x55; 64], ..TestRun::default() };
    let verdict = || target.test_run(&packet).map(|it| it.retval).map_err(|e| told(&e));
    ensure_eq("the verdict before", &verdict()?, &2)?;
    let mut open = hand::opened("freplace").map_err(|e| told(&e))?;
    // The descriptor that names the target may be gone by the time of the load.
    let passing = target.as_fd().try_clone_to_owned()?;
    let program = open.program("stricter");
    program
        .and_then(|mut it| it.set_attach_target(Some(passing.as_fd()), "decide"))
        .map_err(|e| told(&e))?;
    drop(passing);
    let object = open.load().map_err(|e| told(&e))?;
    let link = object.program("stricter").and_then(|it| it.attach()).map_err(|e| told(&e))?;
    ensure_eq("the verdict of the replacement", &verdict()?, &1)?;
    ensure_eq("its runs", &hand::variable(&object, "decisions")?, &1)?;
    link.detach().map_err(|e| told(&e))?;
    ensure_eq("the verdict afterwards", &verdict()?, &2)?;
    hand::kind("freplace", "run");
    Ok(())
}

/// A congestion control, plain and as a link, which another one then takes over.
fn congestion(guest: &Guest) -> Outcome {
    for (kind, name, first) in [
        ("struct_ops", "struct_ops", Kernel::V6_1),
        ("struct_ops.link", "struct_ops_link", Kernel::V6_12),
    ] {
        let attached = hand::opened(name).and_then(|open| open.load()).and_then(|object| {
            let link = Map::attach_struct_ops(&object, "plinth_reno")?;
            Ok((object, link))
        });
        if guest.kernel < first {
            refused(kind, attached.map(drop))?;
            continue;
        }
        let (object, link) = attached.map_err(|e| told(&e))?;
        Trigger::Congestion.pull()?;
        ensure(hand::variable(&object, "acknowledged")? > 0, "it was not asked")?;
        link.detach().map_err(|e| told(&e))?;
        ensure(Trigger::Congestion.pull().is_err(), "it is known still")?;
        hand::kind(kind, "run");
    }
    Ok(())
}

/// A flow dissector, which test runs call as the kernel does.
fn dissector(_: &Guest) -> Outcome {
    let object = hand::only("netns", "dissect").map_err(|e| told(&e))?;
    let program = object.program("dissect").map_err(|e| told(&e))?;
    let link = program.attach_netns(NetnsRef::Own).map_err(|e| told(&e))?;
    // An Ethernet header that announces IPv4.
    let mut packet = vec![0; 64];
    packet[12] = 8;
    program.test_run(&TestRun { data_in: packet, ..TestRun::default() }).map_err(|e| told(&e))?;
    ensure(hand::variable(&object, "dissections")? > 0, "it did not run")?;
    link.detach().map_err(|e| told(&e))?;
    hand::kind("flow_dissector", "run");
    Ok(())
}

/// What hangs on sockets and routes: loaded here, attached in the tests of the host.
fn loads(_: &Guest) -> Outcome {
    for name in ["socket", "sk_reuseport", "sockmap", "lwt"] {
        let object = hand::opened(name).and_then(|open| open.load());
        let object: Object = object.map_err(|e| told(&e).during(name))?;
        ensure(object.programs().count() > 0, format_args!("{name} has no program"))?;
        hand::kind(name, "load");
    }
    Ok(())
}
