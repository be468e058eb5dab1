// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hooks: where a program is attached, as one line of text.
//!
//! Owns the grammar in both directions, and which hooks take which types of programs. Names are
//! not looked up here: whether a function, an interface or a file exists is the shell's to find.

mod parse;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::kinds::ProgType;
use crate::reference::Reference;

/// The kinds of hooks, as they begin.
pub const KINDS: [&str; 25] = [
    "auto",
    "kprobe",
    "kretprobe",
    "ksyscall",
    "kprobe.multi",
    "tp",
    "raw_tp",
    "uprobe",
    "uretprobe",
    "usdt",
    "fentry",
    "fexit",
    "lsm",
    "xdp",
    "tcx",
    "tc",
    "netkit",
    "cgroup",
    "netns",
    "sockmap",
    "netfilter",
    "perf",
    "iter",
    "struct_ops",
    "freplace",
];

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Interface {
    /// By its number in this network namespace.
    Index(u32),
    /// By name.
    Name(String),
}

/// How packets reach an XDP program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// In the driver where it can, else generic.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// Generic, behind the driver.
    Skb,
    /// On the device.
    Hw,
}

/// A side of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// What arrives.
    Ingress,
    /// What leaves.
    Egress,
}

/// A place among the programs of a hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Behind all others.
    #[default]
    Last,
    /// Right before another program.
    Before(Reference),
    /// Right behind another program.
    After(Reference),
}

/// Whether programs of lower groups run as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CgroupMode {
    /// As the kernel's links do: together with all others.
    #[default]
    Default,
    /// Alone, in place of those of groups above, and a group below may have another in its place.
    /// Such an attachment is no link.
    Override,
    /// Several programs run, lower groups' too.
    Multi,
}

/// A place in a file that is executed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A symbol, and bytes behind its beginning.
    Symbol {
        /// Its name; `name@VERSION` for versioned ones.
        name: String,
        /// Bytes.
        offset: u64,
    },
    /// Bytes from the beginning of the file.
    Offset(u64),
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Netns {
    /// The caller's.
    Own,
    /// A file of `/proc/PID/ns` or `/run/netns`.
    Path(String),
}

/// How often a counter samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sampling {
    /// Every this many events.
    Period(u64),
    /// About this many times a second.
    Frequency(u64),
}

/// A counter of `perf_event_open(2)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PerfCounter {
    /// Whether it is the processor's (`hw`) or the kernel's (`sw`).
    pub is_hardware: bool,
    /// Its name, or its number in decimal.
    pub event: String,
    /// The number (`attr.config`) of the event.
    pub config: u64,
    /// When it samples.
    pub sampling: Sampling,
    /// A single processor; `None` for each.
    pub cpu: Option<u32>,
    /// A single process; `None` for all.
    pub pid: Option<u32>,
}

/// Where a program is attached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hook {
    /// Where its section says.
    Auto,
    /// The beginning of a kernel function, or an instruction in it.
    Kprobe {
        /// The function.
        function: String,
        /// Bytes behind its beginning.
        offset: u64,
    },
    /// The return of a kernel function.
    Kretprobe {
        /// The function.
        function: String,
    },
    /// The kernel's function of a system call, whatever its name.
    Ksyscall {
        /// The call.
        name: String,
    },
    /// All kernel functions whose names match.
    KprobeMulti {
        /// With `*` and `?`.
        pattern: String,
    },
    /// A tracepoint.
    Tracepoint {
        /// Its group.
        category: String,
        /// Its name.
        name: String,
    },
    /// A tracepoint without its record.
    RawTracepoint {
        /// Its name.
        name: String,
    },
    /// A function of a program or library.
    Uprobe {
        /// The file; without `/` it is searched.
        path: String,
        /// Where in it.
        at: Place,
        /// A single process.
        pid: Option<u32>,
        /// Whether it is the return that counts.
        is_return: bool,
    },
    /// A static probe of a program or library.
    Usdt {
        /// The file.
        path: String,
        /// The probe's provider.
        provider: String,
        /// The probe.
        name: String,
        /// A single process.
        pid: Option<u32>,
    },
    /// The beginning of a kernel function, through its type information.
    Fentry {
        /// The function.
        function: String,
    },
    /// The return of a kernel function, through its type information.
    Fexit {
        /// The function.
        function: String,
    },
    /// A security hook.
    Lsm {
        /// The hook.
        hook: String,
    },
    /// Packets as early as possible.
    Xdp {
        /// Where.
        interface: Interface,
        /// How.
        mode: XdpMode,
    },
    /// Traffic control, as a link.
    Tcx {
        /// Where.
        interface: Interface,
        /// Which side.
        direction: Direction,
        /// In which order.
        order: Order,
    },
    /// Traffic control, as a classic filter.
    Tc {
        /// Where.
        interface: Interface,
        /// Which side.
        direction: Direction,
        /// The filter's priority; `None` lets the kernel choose.
        priority: Option<u16>,
        /// The filter's handle; `None` lets the kernel choose.
        handle: Option<u32>,
    },
    /// A netkit device.
    Netkit {
        /// Where.
        interface: Interface,
        /// Whether it is the peer's side.
        is_peer: bool,
    },
    /// A control group.
    Cgroup {
        /// Absolute, or relative to the mount of cgroup2.
        path: String,
        /// With whom it runs.
        mode: CgroupMode,
    },
    /// A network namespace.
    Netns(Netns),
    /// A map of sockets.
    Sockmap(Reference),
    /// The kernel's packet filter.
    Netfilter {
        /// 4 or 6.
        version: u8,
        /// The place on a packet's way (`NF_INET_*`).
        hook: u32,
        /// Lower ones run first.
        priority: i32,
    },
    /// A counter.
    Perf(PerfCounter),
    /// An iterator.
    Iter {
        /// The map to walk, for those that walk one.
        map: Option<Reference>,
    },
    /// A table of kernel callbacks.
    StructOps {
        /// The map that describes it.
        map: String,
    },
    /// A function of another program.
    Freplace {
        /// The program.
        program: Reference,
        /// Its function.
        function: String,
    },
}

/// The places of [`Hook::Netfilter`], each at its number.
pub const NETFILTER_HOOKS: [&str; 5] = ["prerouting", "input", "forward", "output", "postrouting"];

/// A line that is no hook, or not for a program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HookError {
    /// Not of the form of its kind.
    Syntax {
        /// The line.
        spec: String,
        /// What is wrong.
        why: String,
    },
    /// A hook for other types of programs.
    Unfit {
        /// The program.
        program: String,
        /// Its type.
        got: ProgType,
        /// The hook.
        spec: String,
        /// The types that it takes.
        want: &'static [ProgType],
    },
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { spec, why } => write!(f, "hook '{spec}': {why}"),
            Self::Unfit { program, got, spec, want } => {
                let want: Vec<_> = want.iter().filter_map(|it| it.name()).collect();
                let want = want.join(" or ");
                write!(f, "program '{program}' is {got}; hook '{spec}' needs {want}")
            }
        }
    }
}

impl std::error::Error for HookError {}

impl Hook {
    /// The types of programs that may be attached here; empty for [`Hook::Auto`], which leaves it
    /// to the program.
    #[must_use]
    pub const fn takes(&self) -> &'static [ProgType] {
        match self {
            Self::Auto => &[],
            Self::Kprobe { .. }
            | Self::Kretprobe { .. }
            | Self::Ksyscall { .. }
            | Self::KprobeMulti { .. }
            | Self::Uprobe { .. }
            | Self::Usdt { .. } => &[ProgType::KPROBE],
            Self::Tracepoint { .. } => &[ProgType::TRACEPOINT],
            Self::RawTracepoint { .. } => {
                &[ProgType::RAW_TRACEPOINT, ProgType::RAW_TRACEPOINT_WRITABLE]
            }
            Self::Fentry { .. } | Self::Fexit { .. } | Self::Iter { .. } => &[ProgType::TRACING],
            Self::Lsm { .. } => &[ProgType::LSM],
            Self::Xdp { .. } => &[ProgType::XDP],
            Self::Tcx { .. } | Self::Netkit { .. } => &[ProgType::SCHED_CLS],
            Self::Tc { .. } => &[ProgType::SCHED_CLS, ProgType::SCHED_ACT],
            Self::Cgroup { .. } => &[
                ProgType::CGROUP_SKB,
                ProgType::CGROUP_SOCK,
                ProgType::CGROUP_DEVICE,
                ProgType::CGROUP_SOCK_ADDR,
                ProgType::CGROUP_SYSCTL,
                ProgType::CGROUP_SOCKOPT,
                ProgType::SOCK_OPS,
                ProgType::LSM,
            ],
            Self::Netns(_) => &[ProgType::SK_LOOKUP, ProgType::FLOW_DISSECTOR],
            Self::Sockmap(_) => &[ProgType::SK_SKB, ProgType::SK_MSG],
            Self::Netfilter { .. } => &[ProgType::NETFILTER],
            Self::Perf(_) => &[ProgType::PERF_EVENT],
            Self::StructOps { .. } => &[ProgType::STRUCT_OPS],
            Self::Freplace { .. } => &[ProgType::EXT],
        }
    }

    /// Whether a program of this type may be attached here.
    ///
    /// # Errors
    /// [`HookError::Unfit`], which says what the hook takes.
    pub fn check_fits(&self, program: &str, got: ProgType) -> Result<(), HookError> {
        let want = self.takes();
        if want.is_empty() || want.contains(&got) {
            return Ok(());
        }
        Err(HookError::Unfit { program: program.to_owned(), got, spec: self.to_string(), want })
    }

    /// Whether an attachment of this kind can be pinned at all, on kernels that have links for
    /// everything (5.15 and later).
    #[must_use]
    pub const fn can_be_pinned(&self) -> bool {
        !matches!(
            self,
            Self::Usdt { .. }
                | Self::Tc { .. }
                | Self::Sockmap(_)
                | Self::Cgroup { mode: CgroupMode::Override, .. }
        )
    }

    /// Whether the kernel can put another program into an existing link of this kind.
    #[must_use]
    pub const fn can_be_updated(&self) -> bool {
        matches!(self, Self::Xdp { .. } | Self::Tcx { .. } | Self::Cgroup { .. } | Self::Netns(_))
    }

    /// Whether the kernel lets only one attachment of this kind be at its place, so that a new one
    /// has to wait until the old one is gone.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Xdp { interface: left, .. }, Self::Xdp { interface: right, .. }) => {
                left == right
            }
            (Self::Netns(left), Self::Netns(right)) => left == right,
            (Self::StructOps { map: left }, Self::StructOps { map: right }) => left == right,
            (
                Self::Netfilter { version: a, hook: b, priority: c },
                Self::Netfilter { version: d, hook: e, priority: f },
            ) => (a, b, c) == (d, e, f),
            _ => false,
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// `,name=value` where there is a value.
fn option(f: &mut fmt::Formatter<'_>, name: &str, value: Option<&dyn fmt::Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, ",{name}={value}"))
}

fn shown<T: fmt::Display>(value: Option<&T>) -> Option<&dyn fmt::Display> {
    value.map(|it| it as &dyn fmt::Display)
}

impl fmt::Display for Hook {
    /// The line, in the one spelling of all that mean the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Kprobe { function, offset: 0 } => write!(f, "kprobe:{function}"),
            Self::Kprobe { function, offset } => write!(f, "kprobe:{function}+{offset}"),
            Self::Kretprobe { function } => write!(f, "kretprobe:{function}"),
            Self::Ksyscall { name } => write!(f, "ksyscall:{name}"),
            Self::KprobeMulti { pattern } => write!(f, "kprobe.multi:{pattern}"),
            Self::Tracepoint { category, name } => write!(f, "tp:{category}/{name}"),
            Self::RawTracepoint { name } => write!(f, "raw_tp:{name}"),
            Self::Uprobe { path, at, pid, is_return } => {
                write!(f, "{}:{path}:", if *is_return { "uretprobe" } else { "uprobe" })?;
                match at {
                    Place::Symbol { name, offset: 0 } => f.write_str(name)?,
                    Place::Symbol { name, offset } => write!(f, "{name}+{offset}")?,
                    Place::Offset(offset) => write!(f, "{offset}")?,
                }
                option(f, "pid", shown(pid.as_ref()))
            }
            Self::Usdt { path, provider, name, pid } => {
                write!(f, "usdt:{path}:{provider}:{name}")?;
                option(f, "pid", shown(pid.as_ref()))
            }
            Self::Fentry { function } => write!(f, "fentry:{function}"),
            Self::Fexit { function } => write!(f, "fexit:{function}"),
            Self::Lsm { hook } => write!(f, "lsm:{hook}"),
            Self::Xdp { interface, mode } => {
                let mode = match mode {
                    XdpMode::Auto => "",
                    XdpMode::Native => ",mode=native",
                    XdpMode::Skb => ",mode=skb",
                    XdpMode::Hw => ",mode=hw",
                };
                write!(f, "xdp:{interface}{mode}")
            }
            Self::Tcx { interface, direction, order } => {
                write!(f, "tcx:{interface}/{direction}")?;
                match order {
                    Order::Last => Ok(()),
                    Order::Before(other) => write!(f, ",before={other}"),
                    Order::After(other) => write!(f, ",after={other}"),
                }
            }
            _ => self.fmt_rest(f),
        }
    }
}

impl Hook {
    fn fmt_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tc { interface, direction, priority, handle } => {
                write!(f, "tc:{interface}/{direction}")?;
                option(f, "prio", shown(priority.as_ref()))?;
                option(f, "handle", shown(handle.as_ref()))
            }
            Self::Netkit { interface, is_peer } => {
                write!(f, "netkit:{interface}/{}", if *is_peer { "peer" } else { "primary" })
            }
            Self::Cgroup { path, mode } => {
                let mode = match mode {
                    CgroupMode::Default => "",
                    CgroupMode::Override => ",override",
                    CgroupMode::Multi => ",multi",
                };
                write!(f, "cgroup:{path}{mode}")
            }
            Self::Netns(Netns::Own) => f.write_str("netns:self"),
            Self::Netns(Netns::Path(path)) => write!(f, "netns:{path}"),
            Self::Sockmap(map) => write!(f, "sockmap:{map}"),
            Self::Netfilter { version, hook, priority } => {
                let name = usize::try_from(*hook).ok().and_then(|at| NETFILTER_HOOKS.get(at));
                match name {
                    Some(name) => write!(f, "netfilter:{version}/{name}/{priority}"),
                    None => write!(f, "netfilter:{version}/{hook}/{priority}"),
                }
            }
            Self::Perf(counter) => {
                let source = if counter.is_hardware { "hw" } else { "sw" };
                write!(f, "perf:{source}:{}:", counter.event)?;
                match counter.sampling {
                    Sampling::Period(period) => write!(f, "{period}")?,
                    Sampling::Frequency(hertz) => write!(f, "freq={hertz}")?,
                }
                option(f, "cpu", shown(counter.cpu.as_ref()))?;
                option(f, "pid", shown(counter.pid.as_ref()))
            }
            Self::Iter { map: None } => f.write_str("iter"),
            Self::Iter { map: Some(map) } => write!(f, "iter:map={map}"),
            Self::StructOps { map } => write!(f, "struct_ops:{map}"),
            Self::Freplace { program, function } => write!(f, "freplace:{program}:{function}"),
            _ => Err(fmt::Error),
        }
    }
}
