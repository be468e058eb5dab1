// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What this kernel can do with BPF, found out by trying.
//!
//! Owns one trial per feature: a program or map that does nothing, or a call whose error tells an
//! unknown request from a wrong argument. Answers hold for this process and its capabilities, and
//! are not kept. libbpf's probe of program types is used only where it does not lie: for tracing
//! programs it tries fentry alone, so those are tried by attach type.

use std::os::fd::{AsFd, OwnedFd};

use crate::errno::Errno;
use crate::host::Host;
use crate::kinds::{AttachType, MapType, ProgType};
use crate::map::{Map, Spec};
use crate::sys::link::{self, Extra};
use crate::sys::program::{self as sys, Trial};
use crate::sys::system::kernel_types;

/// Kinds of types as BTF numbers them.
const TYPEDEF: u32 = 8;
const FUNC: u32 = 12;

/// An interface that does not exist.
const NO_INTERFACE: i32 = i32::MAX;

/// The index of the loopback interface in every namespace.
const LOOPBACK: i32 = 1;

/// `BPF_F_SLEEPABLE`.
const SLEEPABLE: u32 = libbpf_sys::BPF_F_SLEEPABLE;

/// The helper that came with memory accounting by control group.
const KTIME_GET_COARSE_NS: u32 = 160;
/// `bpf_loop`.
const LOOP: u32 = 181;

/// A feature and the answer to its trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name, as `features --require` takes it.
    pub name: &'static str,
    /// The first kernel that has it.
    pub since: (u32, u32),
    /// Whether this one does.
    pub present: bool,
    /// Why not, where the kernel gave a reason.
    pub reason: Option<Errno>,
}

type Answer = Result<bool, Errno>;

/// What several trials need.
struct Bench {
    host: Host,
    /// Ids of types of the kernel that programs are bound to.
    fentry: u32,
    modify_return: u32,
    lsm: u32,
    raw_tracepoint: u32,
    iterator: u32,
}

impl Bench {
    fn new() -> Self {
        let wanted = [
            (FUNC, c"bpf_fentry_test1"),
            (FUNC, c"bpf_modify_return_test"),
            (FUNC, c"bpf_lsm_file_open"),
            (TYPEDEF, c"btf_trace_sys_enter"),
            (FUNC, c"bpf_iter_task"),
        ];
        let ids = kernel_types(&wanted);
        let id = |index: usize| ids.get(index).copied().unwrap_or(0);
        Self {
            host: Host::system(),
            fentry: id(0),
            modify_return: id(1),
            lsm: id(2),
            raw_tracepoint: id(3),
            iterator: id(4),
        }
    }

    /// Loads a program bound to a type of the kernel.
    fn bound(kind: ProgType, attach_type: AttachType, function: u32, flags: u32) -> Answer {
        if function == 0 {
            return Ok(false);
        }
        let (kind, attach_type) = (kind.0, attach_type.0);
        yes(sys::try_load(&Trial { kind, attach_type, flags, function, ..Trial::default() }))
    }

    /// Loads a program of a type that needs nothing else.
    fn plain(kind: ProgType, attach_type: AttachType) -> Result<OwnedFd, Errno> {
        sys::try_load(&Trial { kind: kind.0, attach_type: attach_type.0, ..Trial::default() })
    }

    /// Makes a link to a target that cannot be: a kernel that knows the kind complains about the
    /// target and not about the request.
    fn link(kind: ProgType, attach_type: AttachType, target: i32, complaint: Errno) -> Answer {
        let program = Self::plain(kind, attach_type)?;
        match link::create(program.as_fd(), target, attach_type.0, Extra::None) {
            Err(errno) if errno == complaint => Ok(true),
            Err(errno) => Err(errno),
            Ok(_) => Ok(true),
        }
    }
}

fn yes<T>(tried: Result<T, Errno>) -> Answer {
    tried.map(|_| true)
}

/// A map that can be used at once.
fn array() -> Result<Map, Errno> {
    let spec = Spec {
        name: "trial",
        map_type: MapType::ARRAY,
        key_size: 4,
        value_size: 8,
        max_entries: 1,
        flags: 0,
        extra: 0,
        inner: None,
    };
    Map::create(&spec).map_err(|error| error.errno().unwrap_or(Errno::INVAL))
}

fn number(error: &crate::error::Error) -> Errno {
    error.errno().unwrap_or(Errno::INVAL)
}

struct Try {
    name: &'static str,
    since: (u32, u32),
    ask: fn(&Bench) -> Answer,
}

const fn feature(name: &'static str, since: (u32, u32), ask: fn(&Bench) -> Answer) -> Try {
    Try { name, since, ask }
}

/// In the order of their ages.
static FEATURES: &[Try] = &[
    feature("kprobe", (4, 1), |bench| Ok(bench.host.has_kprobes())),
    feature("tracefs", (4, 1), |bench| Ok(bench.host.tracefs().is_some())),
    feature("global_data", (5, 2), |_| yes(array()?.freeze().map_err(|error| number(&error)))),
    feature("btf", (5, 4), |bench| Ok(bench.host.has_kernel_btf())),
    feature("tp_btf", (5, 5), |bench| {
        let raw = AttachType::TRACE_RAW_TP;
        Bench::bound(ProgType::TRACING, raw, bench.raw_tracepoint, 0)
    }),
    feature("fentry", (5, 5), |bench| {
        Bench::bound(ProgType::TRACING, AttachType::TRACE_FENTRY, bench.fentry, 0)
    }),
    feature("fexit", (5, 5), |bench| {
        Bench::bound(ProgType::TRACING, AttachType::TRACE_FEXIT, bench.fentry, 0)
    }),
    feature("freplace", (5, 6), |_| replace_function()),
    feature("batch", (5, 6), |_| {
        let map = array()?;
        yes(map.set_many(&[0; 4], &[0; 8], crate::map::Flags::ANY).map_err(|error| number(&error)))
    }),
    feature("fmod_ret", (5, 7), |bench| {
        let function = bench.modify_return;
        Bench::bound(ProgType::TRACING, AttachType::MODIFY_RETURN, function, 0)
    }),
    feature("lsm", (5, 7), |bench| Bench::bound(ProgType::LSM, AttachType::LSM_MAC, bench.lsm, 0)),
    feature("cgroup_link", (5, 7), |_| {
        let egress = AttachType::CGROUP_INET_EGRESS;
        Bench::link(ProgType::CGROUP_SKB, egress, -1, Errno::BADF)
    }),
    feature("netns_link", (5, 8), |_| {
        Bench::link(ProgType::FLOW_DISSECTOR, AttachType::FLOW_DISSECTOR, -1, Errno::BADF)
    }),
    feature("ringbuf", (5, 8), |_| map_type(MapType::RINGBUF)),
    feature("iter", (5, 8), |bench| {
        Bench::bound(ProgType::TRACING, AttachType::TRACE_ITER, bench.iterator, 0)
    }),
    feature("xdp_link", (5, 9), |_| {
        // The loopback interface has no hardware that could run programs.
        let program = Bench::plain(ProgType::XDP, AttachType::XDP)?;
        let extra = Extra::Flags(libbpf_sys::XDP_FLAGS_HW_MODE);
        match link::create(program.as_fd(), LOOPBACK, AttachType::XDP.0, extra) {
            Err(Errno::OPNOTSUPP) => Ok(true),
            other => yes(other),
        }
    }),
    feature("sk_lookup", (5, 9), |_| prog_type(ProgType::SK_LOOKUP)),
    feature("sleepable", (5, 10), |bench| {
        Bench::bound(ProgType::LSM, AttachType::LSM_MAC, bench.lsm, SLEEPABLE)
    }),
    feature("memcg", (5, 11), |_| {
        sys::probe_helper(ProgType::SOCKET_FILTER.0, KTIME_GET_COARSE_NS)
    }),
    feature("syscall", (5, 14), |_| {
        let (kind, flags) = (ProgType::SYSCALL.0, SLEEPABLE);
        yes(sys::try_load(&Trial { kind, flags, ..Trial::default() }))
    }),
    feature("perf_link", (5, 15), |_| {
        let event = AttachType::PERF_EVENT;
        Bench::link(ProgType::TRACEPOINT, event, -1, Errno::BADF)
    }),
    feature("bloom_filter", (5, 16), |_| map_type(MapType::BLOOM_FILTER)),
    feature("bpf_loop", (5, 17), |_| sys::probe_helper(ProgType::SOCKET_FILTER.0, LOOP)),
    feature("kprobe_multi", (5, 18), |bench| {
        // Without functions: EINVAL from kernels that have it, EOPNOTSUPP from those built without.
        let multi = AttachType::TRACE_KPROBE_MULTI;
        let answer = Bench::link(ProgType::KPROBE, multi, 0, Errno::INVAL)?;
        Ok(answer && bench.host.kernel() >= (5, 18))
    }),
    feature("lsm_cgroup", (6, 0), |bench| {
        Bench::bound(ProgType::LSM, AttachType::LSM_CGROUP, bench.lsm, 0)
    }),
    feature("user_ringbuf", (6, 1), |_| map_type(MapType::USER_RINGBUF)),
    feature("cgrp_storage", (6, 2), |_| map_type(MapType::CGRP_STORAGE)),
    feature("netfilter", (6, 4), |_| prog_type(ProgType::NETFILTER)),
    feature("tcx", (6, 6), |_| {
        Bench::link(ProgType::SCHED_CLS, AttachType::TCX_INGRESS, NO_INTERFACE, Errno::NODEV)
    }),
    feature("uprobe_multi", (6, 6), |_| {
        let program = Bench::plain(ProgType::KPROBE, AttachType::TRACE_UPROBE_MULTI)?;
        match link::try_uprobe_multi(program.as_fd()) {
            Err(Errno::BADF) => Ok(true),
            other => yes(other),
        }
    }),
    feature("netkit", (6, 7), |_| {
        Bench::link(ProgType::SCHED_CLS, AttachType::NETKIT_PRIMARY, NO_INTERFACE, Errno::NODEV)
    }),
    feature("token", (6, 9), |_| {
        let (pipe, _writer) = rustix::pipe::pipe()?;
        // A kernel without tokens does not get as far as the file system.
        match sys::create_token(pipe.as_fd()) {
            Err(Errno::INVAL) => Ok(Host::system().kernel() >= (6, 9)),
            other => yes(other),
        }
    }),
    feature("arena", (6, 9), |_| map_type(MapType::ARENA)),
    feature("sockmap_link", (6, 10), |_| {
        Bench::link(ProgType::SK_MSG, AttachType::SK_MSG_VERDICT, -1, Errno::BADF)
    }),
    feature("stream", (6, 17), |_| {
        let program = Bench::plain(ProgType::SOCKET_FILTER, AttachType::default())?;
        yes(sys::read_stream(program.as_fd(), 1, &mut [0; 16]))
    }),
    feature("insn_array", (6, 19), |_| map_type(MapType::INSN_ARRAY)),
];

/// The id of the function in [`function_types`].
const FUNCTION: u32 = 5;

/// The types of a program `int f(struct __sk_buff *)`: without them none can be replaced.
fn function_types() -> Vec<u8> {
    const STRINGS: &[u8] = b"\0int\0__sk_buff\0len\0skb\0f\0";
    let (int, sk_buff, len, skb, f) = (1, 5, 15, 19, 23);
    let info = |kind: u32, members: u32| kind << 24 | members;
    // As `linux/btf.h` has it: kind 1 INT, 4 STRUCT, 2 PTR, 13 FUNC_PROTO, 12 FUNC (global).
    let types = [
        [int, info(1, 0), 4, 1 << 24 | 32].as_slice(),
        &[sk_buff, info(4, 1), 4, len, 1, 0],
        &[0, info(2, 0), 2],
        &[0, info(13, 1), 1, skb, 3],
        &[f, info(12, 1), 4],
    ]
    .concat();
    let words = |list: &[u32]| list.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
    let types = words(&types);
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(0);
    let header = [24, 0, size(&types), size(&types), size(STRINGS)];
    let magic = [0xeb9f_u16.to_ne_bytes().as_slice(), &[1, 0]].concat();
    [magic.as_slice(), &words(&header), &types, STRINGS].concat()
}

/// Loads a program, and another in place of its function.
fn replace_function() -> Answer {
    let table = sys::load_types(&function_types())?;
    let types = Some((table.as_fd(), FUNCTION));
    let kind = ProgType::SOCKET_FILTER.0;
    let target = sys::try_load(&Trial { kind, types, ..Trial::default() })?;
    let (kind, program, function) = (ProgType::EXT.0, Some(target.as_fd()), FUNCTION);
    yes(sys::try_load(&Trial { kind, program, function, types, ..Trial::default() }))
}

fn map_type(kind: MapType) -> Answer {
    sys::probe_map_type(kind.0)
}

fn prog_type(kind: ProgType) -> Answer {
    sys::probe_type(kind.0)
}

/// The names of all features, in the order of their ages.
pub fn names() -> impl Iterator<Item = &'static str> {
    FEATURES.iter().map(|feature| feature.name)
}

/// Tries all features.
#[must_use]
pub fn probe() -> Vec<Feature> {
    let bench = Bench::new();
    FEATURES.iter().map(|trial| answer(&bench, trial)).collect()
}

/// Tries one feature; `None` for a name that is not known.
#[must_use]
pub fn probe_one(name: &str) -> Option<Feature> {
    let trial = FEATURES.iter().find(|trial| trial.name == name)?;
    Some(answer(&Bench::new(), trial))
}

fn answer(bench: &Bench, trial: &Try) -> Feature {
    let answer = (trial.ask)(bench);
    let present = matches!(answer, Ok(true));
    Feature { name: trial.name, since: trial.since, present, reason: answer.err() }
}

/// Which program types the kernel has. Tracing, LSM and extension programs count as there when any
/// of their attach types is.
#[must_use]
pub fn program_types() -> Vec<(ProgType, bool)> {
    let bench = Bench::new();
    let any = |names: &[&str]| {
        let tries = FEATURES.iter().filter(|trial| names.contains(&trial.name));
        tries.map(|trial| answer(&bench, trial)).any(|feature| feature.present)
    };
    let has = |kind: ProgType| match kind {
        ProgType::TRACING => any(&["tp_btf", "iter", "fentry"]),
        ProgType::LSM => any(&["lsm", "lsm_cgroup"]),
        kind => prog_type(kind).unwrap_or(false),
    };
    ProgType::ALL.iter().skip(1).map(|kind| (*kind, has(*kind))).collect()
}

/// Which map types the kernel has.
#[must_use]
pub fn map_types() -> Vec<(MapType, bool)> {
    let has = |kind: MapType| map_type(kind).unwrap_or(false);
    MapType::ALL.iter().skip(1).map(|kind| (*kind, has(*kind))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_listed_by_age_and_once() {
        let ages: Vec<(u32, u32)> = FEATURES.iter().map(|trial| trial.since).collect();
        assert!(ages.is_sorted());
        let mut known: Vec<&str> = names().collect();
        known.sort_unstable();
        known.dedup();
        assert_eq!(known.len(), FEATURES.len());
    }

    #[test]
    fn the_function_to_replace_is_described_in_valid_types() {
        let btf = crate::btf::Btf::parse(&function_types()).expect("a table");
        let function = crate::btf::TypeId(FUNCTION);
        assert_eq!((btf.len(), btf.name(function)), (6, "f"));
        assert_eq!(btf.size_of(crate::btf::TypeId(2)).expect("a struct"), 4);
        assert_eq!(btf.name(crate::btf::TypeId(2)), "__sk_buff");
    }

    #[test]
    fn manifests_may_ask_for_what_is_probed() {
        for name in crate::manifest::when::FEATURES {
            assert!(names().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn unknown_features_have_no_answer() {
        assert_eq!(probe_one("no_such_feature"), None);
    }
}
