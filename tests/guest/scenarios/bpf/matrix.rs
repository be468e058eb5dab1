// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kinds of programs that a hook takes, with what makes each run and what shows that it did:
//! one table, walked by the command and by the library; and the devices that both need besides.

use std::net::UdpSocket;
use std::time::Duration;

use crate::inside::bpf::Trigger;
use crate::inside::{Outcome, process, say};
use crate::scenarios::{Guest, Kernel};

/// For a program to run after its event, on an emulated processor.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// One kind and what shows it.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) kind: &'static str,
    pub(super) object: &'static str,
    /// The one program of the object that is loaded.
    pub(super) program: &'static str,
    /// Where it is attached, in the command's grammar.
    pub(super) hook: &'static str,
    pub(super) trigger: Trigger,
    /// The global variable that counts its runs.
    pub(super) counter: &'static str,
    /// The first kernel of the guest that can.
    pub(super) since: Kernel,
}

const fn row(
    kind: &'static str,
    (object, program): (&'static str, &'static str),
    hook: &'static str,
    (trigger, counter): (Trigger, &'static str),
) -> Row {
    Row { kind, object, program, hook, trigger, counter, since: Kernel::V6_1 }
}

const fn since(kernel: Kernel, row: Row) -> Row {
    Row { since: kernel, ..row }
}

/// A hook of the control group, by the name of program and counter.
const fn group(kind: &'static str, name: &'static str, trigger: Trigger) -> Row {
    row(kind, ("cgroup", name), "cgroup:/", (trigger, name))
}

const CALL: Trigger = Trigger::Getpgid;
const SECTION: &str = "auto";

pub(super) const ROWS: &[Row] = &[
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
    row("lsm_cgroup", ("lsm_cgroup", "bind"), "cgroup:/", (Trigger::Datagram, "binds")),
    row(
        "perf_event",
        ("perf_event", "sample"),
        "perf:sw:cpu-clock:100000",
        (Trigger::Work, "overflows"),
    ),
    row(
        "uprobe",
        ("uprobe", "entry"),
        "uprobe:/bpf/probed:probed_add",
        (Trigger::Probed, "entries"),
    ),
    row(
        "uretprobe",
        ("uprobe", "leave"),
        "uretprobe:/bpf/probed:probed_add",
        (Trigger::Probed, "returns"),
    ),
    since(
        Kernel::V6_12,
        row(
            "uprobe.multi",
            ("uprobe_multi", "entry"),
            "uprobe:/bpf/probed:probed_*",
            (Trigger::Probed, "entries"),
        ),
    ),
    since(
        Kernel::V6_12,
        row(
            "uretprobe.multi",
            ("uprobe_multi", "leave"),
            "uretprobe:/bpf/probed:probed_*",
            (Trigger::Probed, "returns"),
        ),
    ),
    row("usdt", ("usdt", "step"), "usdt:/bpf/probed:plinth:step", (Trigger::Probed, "steps")),
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
            "cgroup:/",
            (Trigger::Unix, "connects"),
        ),
    ),
    row("sk_lookup", ("netns", "lookup"), "netns:self", (Trigger::Connection, "lookups")),
    row("tc", ("tc", "ingress"), "tc:lo/ingress", (Trigger::Datagram, "ingress_packets")),
    row("tc/egress", ("tc", "egress"), "tc:lo/egress", (Trigger::Datagram, "egress_packets")),
    since(
        Kernel::V6_12,
        row("tcx", ("tcx", "ingress"), "tcx:lo/ingress", (Trigger::Datagram, "ingress_packets")),
    ),
    since(
        Kernel::V6_12,
        row(
            "tcx/egress",
            ("tcx", "egress"),
            "tcx:lo/egress",
            (Trigger::Datagram, "egress_packets"),
        ),
    ),
    since(
        Kernel::V6_12,
        row(
            "netfilter",
            ("netfilter", "accept"),
            "netfilter:4/input/0",
            (Trigger::Datagram, "packets"),
        ),
    ),
];

/// What shows a kind that is no row.
pub(super) type Special = (&'static str, fn(&Guest) -> Outcome);

/// Shows every row, then what is special. Each on its own, so that one finding does not hide the
/// next.
pub(super) fn walk(guest: &Guest, show: fn(&Row, Kernel) -> Outcome, specials: &[Special]) {
    let judge = |name: &str, outcome: Outcome| {
        if let Err(trouble) = outcome {
            say::fail(trouble.during(name).to_string());
        }
    };
    for row in ROWS {
        judge(row.kind, show(row, guest.kernel));
    }
    say::step("the rows");
    for (name, special) in specials {
        judge(name, special(guest));
        say::step(*name);
    }
}

/// A device between this guest and nobody, until it is removed.
pub(super) struct Device {
    name: &'static str,
    address: &'static str,
    neighbour: &'static str,
}

impl Device {
    /// A pair of virtual interfaces, `v0` and `v1`.
    pub(super) fn pair() -> Outcome<Self> {
        ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"])?;
        Self::up(["v0", "v1"], "192.0.2.1", "192.0.2.2")
    }

    /// `kit0`, whose peer takes the first free name of the form nkN. The kind exists from 6.7 on.
    pub(super) fn kit() -> Outcome<Self> {
        ip(&["link", "add", "kit0", "type", "netkit"])?;
        Self::up(["kit0", "nk0"], "198.51.100.1", "198.51.100.2")
    }

    fn up(
        ends: [&'static str; 2],
        address: &'static str,
        neighbour: &'static str,
    ) -> Outcome<Self> {
        for end in ends {
            ip(&["link", "set", end, "up"])?;
        }
        ip(&["addr", "add", &format!("{address}/24"), "dev", ends[0]])?;
        Ok(Self { name: ends[0], address, neighbour })
    }

    /// Sends a datagram to a neighbour that does not exist: the question for it is a frame of its
    /// own.
    pub(super) fn ask(&self) -> Outcome {
        let socket = UdpSocket::bind((self.address, 0))?;
        socket.send_to(b"plinth", (self.neighbour, 9))?;
        Ok(())
    }

    pub(super) fn remove(self) -> Outcome {
        ip(&["link", "del", self.name])
    }
}

fn ip(words: &[&str]) -> Outcome {
    process::output(&[&["/bin/ip"], words].concat()).map(drop)
}
