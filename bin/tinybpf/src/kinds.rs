// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Types of programs and maps: the kernel's numbers (`linux/bpf.h`), and their names.
//!
//! A number that has no name here is a newer kernel's and no error.

use std::fmt;

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident: $($constant:ident = $number:literal $text:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        #[expect(missing_docs, reason = "the names are the kernel's")]
        impl $name {
            $(pub const $constant: Self = Self($number);)*
        }

        impl $name {
            /// All that have a name, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];

            /// The name in lower case; `None` for numbers of newer kernels.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)*
                    _ => None,
                }
            }

            /// The type with this name, whatever the case.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| {
                    it.name().is_some_and(|known| known.eq_ignore_ascii_case(name))
                })
            }
        }

        impl fmt::Display for $name {
            /// The name, or `type N`.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "type {}", self.0),
                }
            }
        }
    };
}

numbered! {
    /// The type of a program (`enum bpf_prog_type`).
    ProgType:
    UNSPEC = 0 "unspec",
    SOCKET_FILTER = 1 "socket_filter",
    KPROBE = 2 "kprobe",
    SCHED_CLS = 3 "sched_cls",
    SCHED_ACT = 4 "sched_act",
    TRACEPOINT = 5 "tracepoint",
    XDP = 6 "xdp",
    PERF_EVENT = 7 "perf_event",
    CGROUP_SKB = 8 "cgroup_skb",
    CGROUP_SOCK = 9 "cgroup_sock",
    LWT_IN = 10 "lwt_in",
    LWT_OUT = 11 "lwt_out",
    LWT_XMIT = 12 "lwt_xmit",
    SOCK_OPS = 13 "sock_ops",
    SK_SKB = 14 "sk_skb",
    CGROUP_DEVICE = 15 "cgroup_device",
    SK_MSG = 16 "sk_msg",
    RAW_TRACEPOINT = 17 "raw_tracepoint",
    CGROUP_SOCK_ADDR = 18 "cgroup_sock_addr",
    LWT_SEG6LOCAL = 19 "lwt_seg6local",
    LIRC_MODE2 = 20 "lirc_mode2",
    SK_REUSEPORT = 21 "sk_reuseport",
    FLOW_DISSECTOR = 22 "flow_dissector",
    CGROUP_SYSCTL = 23 "cgroup_sysctl",
    RAW_TRACEPOINT_WRITABLE = 24 "raw_tracepoint_writable",
    CGROUP_SOCKOPT = 25 "cgroup_sockopt",
    TRACING = 26 "tracing",
    STRUCT_OPS = 27 "struct_ops",
    EXT = 28 "ext",
    LSM = 29 "lsm",
    SK_LOOKUP = 30 "sk_lookup",
    SYSCALL = 31 "syscall",
    NETFILTER = 32 "netfilter",
}

numbered! {
    /// The type of a map (`enum bpf_map_type`).
    MapType:
    UNSPEC = 0 "unspec",
    HASH = 1 "hash",
    ARRAY = 2 "array",
    PROG_ARRAY = 3 "prog_array",
    PERF_EVENT_ARRAY = 4 "perf_event_array",
    PERCPU_HASH = 5 "percpu_hash",
    PERCPU_ARRAY = 6 "percpu_array",
    STACK_TRACE = 7 "stack_trace",
    CGROUP_ARRAY = 8 "cgroup_array",
    LRU_HASH = 9 "lru_hash",
    LRU_PERCPU_HASH = 10 "lru_percpu_hash",
    LPM_TRIE = 11 "lpm_trie",
    ARRAY_OF_MAPS = 12 "array_of_maps",
    HASH_OF_MAPS = 13 "hash_of_maps",
    DEVMAP = 14 "devmap",
    SOCKMAP = 15 "sockmap",
    CPUMAP = 16 "cpumap",
    XSKMAP = 17 "xskmap",
    SOCKHASH = 18 "sockhash",
    CGROUP_STORAGE = 19 "cgroup_storage",
    REUSEPORT_SOCKARRAY = 20 "reuseport_sockarray",
    PERCPU_CGROUP_STORAGE = 21 "percpu_cgroup_storage",
    QUEUE = 22 "queue",
    STACK = 23 "stack",
    SK_STORAGE = 24 "sk_storage",
    DEVMAP_HASH = 25 "devmap_hash",
    STRUCT_OPS = 26 "struct_ops",
    RINGBUF = 27 "ringbuf",
    INODE_STORAGE = 28 "inode_storage",
    TASK_STORAGE = 29 "task_storage",
    BLOOM_FILTER = 30 "bloom_filter",
    USER_RINGBUF = 31 "user_ringbuf",
    CGRP_STORAGE = 32 "cgrp_storage",
    ARENA = 33 "arena",
    INSN_ARRAY = 34 "insn_array",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (kind, number) in [
            (ProgType::KPROBE, 2),
            (ProgType::TRACEPOINT, 5),
            (ProgType::XDP, 6),
            (ProgType::TRACING, 26),
            (ProgType::LSM, 29),
            (ProgType::SYSCALL, 31),
            (ProgType::NETFILTER, 32),
        ] {
            assert_eq!(kind.0, number, "{kind}");
        }
        for (kind, number) in [
            (MapType::HASH, 1),
            (MapType::RINGBUF, 27),
            (MapType::BLOOM_FILTER, 30),
            (MapType::USER_RINGBUF, 31),
            (MapType::CGRP_STORAGE, 32),
            (MapType::ARENA, 33),
            (MapType::INSN_ARRAY, 34),
        ] {
            assert_eq!(kind.0, number, "{kind}");
        }
        for (at, kind) in (0..).zip(ProgType::ALL) {
            assert_eq!(kind.0, at, "no number is left out");
        }
        for (at, kind) in (0..).zip(MapType::ALL) {
            assert_eq!(kind.0, at, "no number is left out");
        }
    }

    #[test]
    fn unknown_numbers_are_no_error() {
        assert_eq!(MapType(99).to_string(), "type 99");
        assert_eq!(MapType(99).name(), None);
        assert_eq!(MapType::from_name("RINGBUF"), Some(MapType::RINGBUF));
        assert_eq!(ProgType::from_name("nonsense"), None);
    }
}
