// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an object needs: capabilities of the caller, and features of the kernel with the version
//! that brought them.

use plinth::sorting;

use super::externs::ExternKind;
use super::inspect::Inspection;
use crate::kinds::{MapType, ProgType};

/// What must be there before an object can be loaded and attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// `CAP_*`, sorted.
    pub capabilities: Vec<&'static str>,
    /// Features, and the first kernel that has them; oldest first.
    pub features: Vec<(&'static str, (u16, u16))>,
    /// The youngest of these kernels.
    pub kernel: (u16, u16),
}

/// Works out what an object needs.
#[must_use]
pub fn needs(object: &Inspection) -> Needs {
    let mut found = Needs { capabilities: vec!["CAP_BPF"], ..Needs::default() };
    for program in &object.programs {
        let meaning = program.meaning();
        let Some(rule) = meaning.rule else { continue };
        found.capabilities.extend(capability(rule.prog_type));
        found.features.extend(of_section(rule.name, rule.prog_type));
        if rule.is_sleepable {
            found.features.push(("sleepable programs", (5, 10)));
        }
    }
    for map in &object.maps {
        found.features.extend(of_map(map.map_type));
    }
    if !object.globals.is_empty() {
        found.features.push(("global data", (5, 2)));
    }
    if object.relocations > 0 {
        found.features.push(("kernel BTF", (5, 4)));
    }
    if object.externs.iter().any(|it| it.kind == ExternKind::Function) {
        found.features.push(("kernel functions", (5, 13)));
    }
    sorting::sort(&mut found.capabilities);
    found.capabilities.dedup();
    sorting::sort_by_key(&mut found.features, |it| (it.1, it.0));
    found.features.dedup();
    found.kernel = found.features.last().map_or((0, 0), |it| it.1);
    found
}

const fn capability(prog_type: ProgType) -> Option<&'static str> {
    match prog_type {
        ProgType::KPROBE
        | ProgType::TRACEPOINT
        | ProgType::PERF_EVENT
        | ProgType::RAW_TRACEPOINT
        | ProgType::RAW_TRACEPOINT_WRITABLE
        | ProgType::TRACING
        | ProgType::LSM => Some("CAP_PERFMON"),
        ProgType::SOCKET_FILTER | ProgType::SYSCALL | ProgType::UNSPEC => None,
        _ => Some("CAP_NET_ADMIN"),
    }
}

fn of_section(name: &str, prog_type: ProgType) -> Option<(&'static str, (u16, u16))> {
    let name = name.strip_suffix(".s").unwrap_or(name);
    Some(match name {
        "kprobe.multi" | "kretprobe.multi" => ("kprobe.multi links", (5, 18)),
        "kprobe.session" => ("kprobe sessions", (6, 10)),
        "uprobe.multi" | "uretprobe.multi" => ("uprobe.multi links", (6, 6)),
        "uprobe.session" => ("uprobe sessions", (6, 13)),
        "tcx/ingress" | "tcx/egress" | "tc/ingress" | "tc/egress" => ("tcx links", (6, 6)),
        "netkit/primary" | "netkit/peer" => ("netkit links", (6, 7)),
        "lsm_cgroup" => ("lsm_cgroup programs", (6, 0)),
        "iter" => ("iterators", (5, 8)),
        "tp_btf" | "fentry" | "fexit" | "fmod_ret" => ("programs on kernel types", (5, 5)),
        "xdp.frags" | "xdp.frags/devmap" | "xdp.frags/cpumap" => ("XDP fragments", (5, 18)),
        _ => match prog_type {
            ProgType::LSM => ("LSM programs", (5, 7)),
            ProgType::EXT => ("program extensions", (5, 6)),
            ProgType::STRUCT_OPS => ("struct_ops", (5, 6)),
            ProgType::SK_LOOKUP => ("sk_lookup programs", (5, 9)),
            ProgType::SYSCALL => ("syscall programs", (5, 14)),
            ProgType::NETFILTER => ("netfilter programs", (6, 4)),
            ProgType::TRACEPOINT | ProgType::KPROBE | ProgType::PERF_EVENT => {
                ("perf event links", (5, 15))
            }
            _ => return None,
        },
    })
}

const fn of_map(map_type: MapType) -> Option<(&'static str, (u16, u16))> {
    Some(match map_type {
        MapType::RINGBUF => ("ring buffers", (5, 8)),
        MapType::TASK_STORAGE => ("task storage", (5, 11)),
        MapType::INODE_STORAGE => ("inode storage", (5, 10)),
        MapType::BLOOM_FILTER => ("bloom filters", (5, 16)),
        MapType::USER_RINGBUF => ("user ring buffers", (6, 1)),
        MapType::CGRP_STORAGE => ("cgroup storage", (6, 2)),
        MapType::ARENA => ("arenas", (6, 9)),
        MapType::STRUCT_OPS => ("struct_ops", (5, 6)),
        _ => return None,
    })
}
