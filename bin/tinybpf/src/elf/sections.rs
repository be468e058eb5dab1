// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the name of a program's section means, as libbpf 1.7 reads it.
//!
//! `kind/target` for hooks that have a target, `.s` for programs that may sleep, a leading `?` for
//! programs that are not loaded unless asked for.

use crate::kinds::ProgType;
use plinth::near::nearest;

/// What follows a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    /// Nothing.
    None,
    /// Optionally a slash and a target.
    Target,
}

/// A kind of section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The kind, as it stands before any slash.
    pub name: &'static str,
    tail: Tail,
    /// The type of its programs.
    pub prog_type: ProgType,
    /// Whether its programs may sleep.
    pub is_sleepable: bool,
    /// Whether it says enough to attach the program without more (with a target, where it can have
    /// one).
    pub attaches: bool,
}

const fn rule(name: &'static str, tail: Tail, prog_type: ProgType, flags: (bool, bool)) -> Rule {
    Rule { name, tail, prog_type, is_sleepable: flags.0, attaches: flags.1 }
}

/// Plain kinds: no target, never attached by themselves.
macro_rules! plain {
    ($($name:literal $ty:ident,)*) => {
        [$(rule($name, Tail::None, ProgType::$ty, (false, false)),)*]
    };
}

/// Kinds with a target, attached to it; the flag says whether their programs may sleep.
macro_rules! targeted {
    ($($name:literal $ty:ident $sleeps:literal,)*) => {
        [$(rule($name, Tail::Target, ProgType::$ty, ($sleeps, true)),)*]
    };
}

const TARGETED: [Rule; 39] = targeted! {
    "kprobe" KPROBE false,
    "kretprobe" KPROBE false,
    "kprobe.multi" KPROBE false,
    "kretprobe.multi" KPROBE false,
    "kprobe.session" KPROBE false,
    "uprobe" KPROBE false,
    "uprobe.s" KPROBE true,
    "uretprobe" KPROBE false,
    "uretprobe.s" KPROBE true,
    "uprobe.multi" KPROBE false,
    "uprobe.multi.s" KPROBE true,
    "uretprobe.multi" KPROBE false,
    "uretprobe.multi.s" KPROBE true,
    "uprobe.session" KPROBE false,
    "uprobe.session.s" KPROBE true,
    "ksyscall" KPROBE false,
    "kretsyscall" KPROBE false,
    "usdt" KPROBE false,
    "usdt.s" KPROBE true,
    "tracepoint" TRACEPOINT false,
    "tp" TRACEPOINT false,
    "raw_tracepoint" RAW_TRACEPOINT false,
    "raw_tp" RAW_TRACEPOINT false,
    "raw_tracepoint.w" RAW_TRACEPOINT_WRITABLE false,
    "raw_tp.w" RAW_TRACEPOINT_WRITABLE false,
    "tp_btf" TRACING false,
    "fentry" TRACING false,
    "fentry.s" TRACING true,
    "fexit" TRACING false,
    "fexit.s" TRACING true,
    "fmod_ret" TRACING false,
    "fmod_ret.s" TRACING true,
    "fsession" TRACING false,
    "fsession.s" TRACING true,
    "iter" TRACING false,
    "iter.s" TRACING true,
    "freplace" EXT false,
    "lsm" LSM false,
    "lsm.s" LSM true,
};

const PLAIN: [Rule; 62] = plain! {
    "socket" SOCKET_FILTER,
    "sk_reuseport" SK_REUSEPORT,
    "sk_reuseport/migrate" SK_REUSEPORT,
    "tc" SCHED_CLS,
    "classifier" SCHED_CLS,
    "action" SCHED_ACT,
    "tc/ingress" SCHED_CLS,
    "tc/egress" SCHED_CLS,
    "tcx/ingress" SCHED_CLS,
    "tcx/egress" SCHED_CLS,
    "netkit/primary" SCHED_CLS,
    "netkit/peer" SCHED_CLS,
    "xdp" XDP,
    "xdp.frags" XDP,
    "xdp/devmap" XDP,
    "xdp.frags/devmap" XDP,
    "xdp/cpumap" XDP,
    "xdp.frags/cpumap" XDP,
    "perf_event" PERF_EVENT,
    "lwt_in" LWT_IN,
    "lwt_out" LWT_OUT,
    "lwt_xmit" LWT_XMIT,
    "lwt_seg6local" LWT_SEG6LOCAL,
    "sockops" SOCK_OPS,
    "sk_skb" SK_SKB,
    "sk_skb/stream_parser" SK_SKB,
    "sk_skb/stream_verdict" SK_SKB,
    "sk_skb/verdict" SK_SKB,
    "sk_msg" SK_MSG,
    "lirc_mode2" LIRC_MODE2,
    "flow_dissector" FLOW_DISSECTOR,
    "cgroup_skb/ingress" CGROUP_SKB,
    "cgroup_skb/egress" CGROUP_SKB,
    "cgroup/skb" CGROUP_SKB,
    "cgroup/sock_create" CGROUP_SOCK,
    "cgroup/sock_release" CGROUP_SOCK,
    "cgroup/sock" CGROUP_SOCK,
    "cgroup/post_bind4" CGROUP_SOCK,
    "cgroup/post_bind6" CGROUP_SOCK,
    "cgroup/bind4" CGROUP_SOCK_ADDR,
    "cgroup/bind6" CGROUP_SOCK_ADDR,
    "cgroup/connect4" CGROUP_SOCK_ADDR,
    "cgroup/connect6" CGROUP_SOCK_ADDR,
    "cgroup/connect_unix" CGROUP_SOCK_ADDR,
    "cgroup/sendmsg4" CGROUP_SOCK_ADDR,
    "cgroup/sendmsg6" CGROUP_SOCK_ADDR,
    "cgroup/sendmsg_unix" CGROUP_SOCK_ADDR,
    "cgroup/recvmsg4" CGROUP_SOCK_ADDR,
    "cgroup/recvmsg6" CGROUP_SOCK_ADDR,
    "cgroup/recvmsg_unix" CGROUP_SOCK_ADDR,
    "cgroup/getpeername4" CGROUP_SOCK_ADDR,
    "cgroup/getpeername6" CGROUP_SOCK_ADDR,
    "cgroup/getpeername_unix" CGROUP_SOCK_ADDR,
    "cgroup/getsockname4" CGROUP_SOCK_ADDR,
    "cgroup/getsockname6" CGROUP_SOCK_ADDR,
    "cgroup/getsockname_unix" CGROUP_SOCK_ADDR,
    "cgroup/sysctl" CGROUP_SYSCTL,
    "cgroup/getsockopt" CGROUP_SOCKOPT,
    "cgroup/setsockopt" CGROUP_SOCKOPT,
    "cgroup/dev" CGROUP_DEVICE,
    "sk_lookup" SK_LOOKUP,
    "netfilter" NETFILTER,
};

/// Kinds that are neither: attached as part of a map or by hand, or started by hand.
const OTHERS: [Rule; 4] = [
    rule("lsm_cgroup", Tail::Target, ProgType::LSM, (false, false)),
    rule("struct_ops", Tail::Target, ProgType::STRUCT_OPS, (false, false)),
    rule("struct_ops.s", Tail::Target, ProgType::STRUCT_OPS, (true, false)),
    rule("syscall", Tail::None, ProgType::SYSCALL, (true, false)),
];

fn rules() -> impl Iterator<Item = &'static Rule> {
    TARGETED.iter().chain(&PLAIN).chain(&OTHERS)
}

/// A section's name, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// The kind; `None` for names that nobody knows, whose programs need a type from elsewhere.
    pub rule: Option<&'static Rule>,
    /// What follows the kind.
    pub target: Option<&'a str>,
    /// Whether its programs are loaded without being asked for.
    pub is_loaded: bool,
}

impl Section<'_> {
    /// Whether the name says enough to attach the program.
    #[must_use]
    pub fn attaches(&self) -> bool {
        let has_target = self.target.is_some_and(|it| !it.is_empty());
        self.rule.is_some_and(|rule| rule.attaches && has_target)
    }
}

/// Takes the name of a program's section apart.
#[must_use]
pub fn parse(name: &str) -> Section<'_> {
    let (name, is_loaded) = match name.strip_prefix('?') {
        Some(rest) => (rest, false),
        None => (name, true),
    };
    if let Some(rule) = rules().find(|it| it.name == name && it.tail == Tail::None) {
        return Section { rule: Some(rule), target: None, is_loaded };
    }
    let (kind, target) = match name.split_once('/') {
        Some((kind, target)) => (kind, Some(target)),
        None => (name, None),
    };
    let rule = rules().find(|it| it.name == kind && it.tail == Tail::Target);
    Section { rule, target: target.filter(|_| rule.is_some()), is_loaded }
}

/// Kinds that may have been meant by a name that nobody knows.
#[must_use]
pub fn near(name: &str) -> Vec<&'static str> {
    let name = name.trim_start_matches('?');
    let kinds = || rules().map(|it| it.name);
    let whole = nearest(name, kinds(), 5);
    match name.split_once('/') {
        Some((kind, _)) if whole.is_empty() => nearest(kind, kinds(), 5),
        _ => whole,
    }
}
