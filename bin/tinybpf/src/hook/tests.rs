// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the hook grammar: every kind, every refusal, and that what is shown reads back.

use proptest::prelude::*;

use super::*;

fn parse(spec: &str) -> Result<Hook, String> {
    spec.parse::<Hook>().map_err(|error| error.to_string())
}

/// Every kind with its options, in the one spelling that is also shown.
const CANONICAL: [&str; 48] = [
    "auto",
    "kprobe:do_sys_openat2",
    "kprobe:tcp_connect.isra.0+16",
    "kretprobe:vfs_read",
    "ksyscall:openat",
    "kprobe.multi:tcp_*",
    "tp:sched/sched_switch",
    "raw_tp:sys_enter",
    "uprobe:libc.so.6:malloc",
    "uprobe:/usr/bin/a:b,c:main+8,pid=17",
    "uprobe:/bin/x:memcpy@GLIBC_2.14",
    "uprobe:/bin/x:4096",
    "uretprobe:/bin/x:main",
    "usdt:/usr/bin/a:b:postgresql:query__start",
    "usdt:/bin/x:prov:name,pid=0",
    "fentry:tcp_connect",
    "fexit:tcp_connect",
    "lsm:file_open",
    "xdp:eth0",
    "xdp:7,mode=native",
    "xdp:eth0.100,mode=skb",
    "xdp:eth0,mode=hw",
    "tcx:eth0/ingress",
    "tcx:eth0/egress,before=id 7",
    "tcx:eth0/egress,after=pin /sys/fs/bpf/a,b",
    "tc:eth0/ingress",
    "tc:eth0/egress,prio=1,handle=16",
    "tc:eth0/egress,handle=16",
    "netkit:nk0/primary",
    "netkit:nk0/peer",
    "cgroup:/user.slice/x",
    "cgroup:/a,b,override",
    "cgroup:/a,multi",
    "netns:self",
    "netns:/run/netns/blue",
    "sockmap:name socks",
    "sockmap:pin /sys/fs/bpf/a:b",
    "netfilter:4/prerouting/-128",
    "netfilter:6/postrouting/0",
    "perf:sw:cpu-clock:1000000",
    "perf:hw:cycles:freq=99,cpu=0,pid=1",
    "perf:hw:77:1",
    "iter",
    "iter:map=id 3",
    "struct_ops:dctcp",
    "freplace:id 7:handle",
    "freplace:pin /sys/fs/bpf/a:b:handle",
    "freplace:tag 3b185187f1855c4c:handle",
];

#[test]
fn every_kind_reads_back_as_it_is_shown() {
    for spec in CANONICAL {
        assert_eq!(parse(spec).map(|hook| hook.to_string()), Ok(spec.to_owned()));
    }
    for kind in KINDS {
        let begins = |spec: &&str| spec.split(':').next() == Some(kind);
        assert!(CANONICAL.iter().any(begins), "{kind}");
    }
}

#[test]
fn other_spellings_mean_the_same() {
    for (spec, want) in [
        ("kprobe:f+0x10", "kprobe:f+16"),
        ("kprobe:f+0", "kprobe:f"),
        ("tracepoint:a/b", "tp:a/b"),
        ("raw_tracepoint:a", "raw_tp:a"),
        ("xdp:eth0,mode=auto", "xdp:eth0"),
        ("tc:eth0/egress,handle=1,prio=2", "tc:eth0/egress,prio=2,handle=1"),
        ("perf:sw:0:10,pid=1,cpu=2", "perf:sw:0:10,cpu=2,pid=1"),
        ("netfilter:4/3/0x10", "netfilter:4/output/16"),
        ("uprobe:/bin/x:0x1000", "uprobe:/bin/x:4096"),
        ("freplace:7:f", "freplace:id 7:f"),
    ] {
        assert_eq!(parse(spec).map(|hook| hook.to_string()), Ok(want.to_owned()));
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    for (spec, want) in [
        ("", "hook '': there is no kind ''"),
        ("kprobo:f", "hook 'kprobo:f': there is no kind 'kprobo'; near are kprobe, uprobe"),
        ("nothing", "hook 'nothing': there is no kind 'nothing'"),
        ("kprobe", "hook 'kprobe': what to attach to is missing"),
        ("kprobe:", "hook 'kprobe:': what to attach to is missing"),
        ("auto:x", "hook 'auto:x': nothing may follow"),
        ("kprobe:f+x", "hook 'kprobe:f+x': offset: 'x' is not a number"),
        ("kprobe:+1", "hook 'kprobe:+1': the function is missing"),
        ("kretprobe:a b", "hook 'kretprobe:a b': 'a b' is no name of a function"),
        ("tp:sched", "hook 'tp:sched': a tracepoint is CATEGORY/NAME"),
        ("tp:/x", "hook 'tp:/x': the category is missing"),
        ("uprobe:/bin/x", "hook 'uprobe:/bin/x': a function is PATH:SYMBOL"),
        ("uprobe::main", "hook 'uprobe::main': the file is missing"),
        ("uprobe:/x:f,pid=-1", "hook 'uprobe:/x:f,pid=-1': pid: -1 is out of range"),
        ("usdt:/x:name", "hook 'usdt:/x:name': a probe is PATH:PROVIDER:NAME"),
        (
            "xdp:eth0,mode=fast",
            "hook 'xdp:eth0,mode=fast': mode 'fast' is none of auto, native, skb, hw",
        ),
        ("xdp:0", "hook 'xdp:0': interfaces are numbered from 1"),
        (
            "xdp:a-name-of-16-byt",
            "hook 'xdp:a-name-of-16-byt': interface names have at most 15 bytes",
        ),
        ("tcx:eth0", "hook 'tcx:eth0': behind the interface stands /ingress or /egress"),
        (
            "netkit:nk/ingress",
            "hook 'netkit:nk/ingress': behind the interface stands /primary or /peer",
        ),
        (
            "tc:eth0/egress,prio=70000",
            "hook 'tc:eth0/egress,prio=70000': prio: 70000 is out of range",
        ),
        ("sockmap:id x", "hook 'sockmap:id x': reference 'id x': the id is no number"),
        ("netfilter:5/input/0", "hook 'netfilter:5/input/0': '5' is neither 4 nor 6"),
        (
            "netfilter:4/9/0",
            "hook 'netfilter:4/9/0': 9 is none of prerouting, input, forward, output, postrouting",
        ),
        ("perf:cpu-clock:1", "hook 'perf:cpu-clock:1': a counter is sw|hw:EVENT:PERIOD"),
        (
            "perf:sw:cpu-clok:1",
            "hook 'perf:sw:cpu-clok:1': there is no event 'cpu-clok'; near are cpu-clock",
        ),
        ("perf:sw:cpu-clock:0", "hook 'perf:sw:cpu-clock:0': a counter samples at least once"),
        ("iter:x", "hook 'iter:x': only map=REFERENCE may follow"),
        ("freplace:id 7", "hook 'freplace:id 7': a function is PROGRAM:FUNCTION"),
    ] {
        assert_eq!(parse(spec), Err(want.to_owned()));
    }
}

#[test]
fn a_hook_says_which_programs_it_takes() {
    let kprobe = "kprobe:vfs_read".parse::<Hook>().expect("a hook");
    assert_eq!(kprobe.check_fits("p", ProgType::KPROBE), Ok(()));
    let error = kprobe.check_fits("p", ProgType::XDP).expect_err("another type");
    assert_eq!(error.to_string(), "program 'p' is xdp; hook 'kprobe:vfs_read' needs kprobe");
    let raw = "raw_tp:x".parse::<Hook>().expect("a hook");
    let error = raw.check_fits("p", ProgType(99)).expect_err("another type");
    assert_eq!(
        error.to_string(),
        "program 'p' is type 99; hook 'raw_tp:x' needs raw_tracepoint or raw_tracepoint_writable"
    );
    assert_eq!(Hook::Auto.check_fits("p", ProgType::XDP), Ok(()));
    for spec in CANONICAL {
        let hook = spec.parse::<Hook>().expect("a hook");
        for &kind in hook.takes() {
            assert_eq!(hook.check_fits("p", kind), Ok(()), "{spec}");
        }
        assert!(hook == Hook::Auto || hook.check_fits("p", ProgType::LIRC_MODE2).is_err());
    }
}

#[test]
fn links_that_exclude_each_other_are_known() {
    let hook = |spec: &str| spec.parse::<Hook>().expect("a hook");
    assert!(hook("xdp:eth0").excludes(&hook("xdp:eth0,mode=skb")));
    assert!(!hook("xdp:eth0").excludes(&hook("xdp:eth1")));
    assert!(!hook("kprobe:f").excludes(&hook("kprobe:f")), "probes stack");
    assert!(hook("netns:self").excludes(&hook("netns:self")));
    for spec in ["usdt:/bin/x:a:b", "tc:eth0/ingress"] {
        assert!(!hook(spec).can_be_pinned());
    }
    for spec in ["xdp:eth0", "tcx:eth0/ingress", "cgroup:/a", "netns:self"] {
        assert!(hook(spec).can_be_updated() && hook(spec).can_be_pinned());
    }
}

proptest! {
    #[test]
    fn damaged_lines_are_refused_or_read_back(
        at in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        piece in "[a-z0-9:/,=+. é]{0,4}",
    ) {
        let mut spec = CANONICAL[at.index(CANONICAL.len())].to_owned();
        let cut = cut.index(spec.len());
        spec.replace_range(cut..(cut + 1), &piece);
        if let Ok(hook) = spec.parse::<Hook>() {
            let shown = hook.to_string();
            prop_assert_eq!(shown.parse::<Hook>(), Ok(hook), "{}", shown);
        }
    }
}
