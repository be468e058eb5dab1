// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Attaching tracing programs: kernel and user functions, tracepoints, perf events, iterators.
//!
//! Owns the options of each hook and the explanation when one fails: the kernel says `ENOENT` for
//! a function that does not exist, a kernel without kprobes, an unknown tracepoint and a tracefs
//! that is not mounted.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::section::{Auto, auto};
use super::{Program, probe};
use crate::bpffs::c_text;
use crate::diagnosis::log::Log;
use crate::diagnosis::permission::{self, Refused};
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
use crate::host::Host;
use crate::kinds::{AttachType, LinkType, ProgType};
use crate::link::{Held, Link, LinkKind};
use crate::map::Map;
use crate::sys::link::{self as sys, Extra, Walk};
use crate::sys::managed::{Managed, Target};
use crate::sys::print::{Detail, capture};

/// How a kernel function is probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KprobeMode {
    /// By a link where the kernel can, else as it can.
    #[default]
    Auto,
    /// By a perf event and a link (5.15).
    Link,
    /// By a perf event alone (4.17); it ends with the handle and cannot be pinned.
    PerfPmu,
    /// Through tracefs. Such a probe survives a crash of the process.
    TracefsLegacy,
}

/// A probe of a kernel function.
#[derive(Clone, Copy, Debug, Default)]
pub struct KprobeOpts<'a> {
    /// The function; suffixes such as `.isra.0` belong to the name.
    pub function: &'a str,
    /// Bytes into it.
    pub offset: u64,
    /// At its return.
    pub returns: bool,
    /// A number that the program reads (5.15).
    pub cookie: u64,
    /// How.
    pub mode: KprobeMode,
}

/// Where in a program file.
#[derive(Clone, Copy, Debug)]
pub enum At<'a> {
    /// A function of its symbol tables and bytes into it.
    Symbol(&'a str, u64),
    /// An offset in the file.
    Offset(u64),
}

/// A probe of a function of a program file.
#[derive(Clone, Copy, Debug)]
pub struct UprobeOpts<'a> {
    /// The file; a name without slash is looked up like a command or library.
    pub path: &'a str,
    /// Where.
    pub at: At<'a>,
    /// The process: 0 for this one, `None` for all.
    pub pid: Option<u32>,
    /// At the function's return.
    pub returns: bool,
    /// The offset in the file of a counter that is above 0 while somebody looks; 0 for none.
    pub reference_counter: u64,
    /// A number that the program reads (5.15).
    pub cookie: u64,
}

/// Static probes of a program file.
#[derive(Clone, Copy, Debug)]
pub struct UsdtOpts<'a> {
    /// The file.
    pub path: &'a str,
    /// The provider.
    pub provider: &'a str,
    /// The probe.
    pub name: &'a str,
    /// The process: 0 for this one, `None` for all.
    pub pid: Option<u32>,
    /// A number that the program reads.
    pub cookie: u64,
}

/// What a perf event counts.
#[derive(Clone, Copy, Debug)]
pub struct PerfEventOpts {
    /// Of the processor, not of the kernel.
    pub hardware: bool,
    /// Its number, `PERF_COUNT_SW_..` or `PERF_COUNT_HW_..`.
    pub config: u64,
    /// Events between two runs, or runs per second.
    pub rate: Rate,
    /// The CPU; `None` for all, which needs a process.
    pub cpu: Option<u32>,
    /// The process; `None` for all, which needs a CPU.
    pub pid: Option<u32>,
    /// A number that the program reads (5.15).
    pub cookie: u64,
}

/// How often a counter makes a program run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Every so many events.
    Period(u64),
    /// So many times a second.
    Frequency(u64),
}

/// What an iterator walks.
#[derive(Clone, Copy, Debug, Default)]
pub enum IterTarget<'a> {
    /// Everything of its kind.
    #[default]
    None,
    /// The elements of a map.
    MapFd(&'a Map),
    /// A control group and what is below it.
    Cgroup(BorrowedFd<'a>),
    /// One thread or process; 0 for any.
    Task {
        /// The thread.
        tid: u32,
        /// The process.
        pid: u32,
    },
}

impl Program {
    /// Attaches where the section says.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for types that have no hook of their own, naming the method to use;
    /// else as for that method.
    pub fn attach(&self) -> Result<Link> {
        let hook = auto(self.section()).ok_or_else(|| self.no_hook())?;
        let hook = hook.map_err(|reason| {
            Error::new(Kind::Unsupported, Op::Attach, self.name())
                .with_errno(Errno::OPNOTSUPP)
                .with_detail(format!("section '{}': {reason}", self.section()))
        })?;
        match hook {
            Auto::Kprobe { function, offset, returns } => {
                self.attach_kprobe(&KprobeOpts { function, offset, returns, ..Default::default() })
            }
            Auto::Ksyscall { name, returns } => self.attach_ksyscall(name, returns, 0),
            Auto::KprobeMulti { pattern, returns } => self.attach_kprobe_multi(pattern, returns),
            Auto::Uprobe { path, symbol, offset, returns } => self.attach_uprobe(&UprobeOpts {
                path,
                at: At::Symbol(symbol, offset),
                pid: None,
                returns,
                reference_counter: 0,
                cookie: 0,
            }),
            Auto::UprobeMulti { path, pattern, returns } => {
                self.attach_uprobe_multi(path, pattern, None, returns)
            }
            Auto::Usdt { path, provider, name } => {
                self.attach_usdt(&UsdtOpts { path, provider, name, pid: None, cookie: 0 })
            }
            Auto::Tracepoint { category, name } => self.attach_tracepoint(category, name, 0),
            Auto::RawTracepoint { name } => self.attach_raw_tracepoint(name, 0),
            Auto::Bound => self.attach_trace(0),
            Auto::Iterator => self.attach_iter(IterTarget::None),
        }
    }

    fn no_hook(&self) -> Error {
        let method = match self.prog_type() {
            ProgType::XDP => "attach_xdp (hook xdp:IF)",
            ProgType::SCHED_CLS | ProgType::SCHED_ACT => {
                "attach_tcx or attach_tc (hook tcx:IF/ingress)"
            }
            ProgType::CGROUP_SKB
            | ProgType::CGROUP_SOCK
            | ProgType::CGROUP_DEVICE
            | ProgType::CGROUP_SOCK_ADDR
            | ProgType::CGROUP_SYSCTL
            | ProgType::CGROUP_SOCKOPT
            | ProgType::SOCK_OPS => "attach_cgroup (hook cgroup:PATH)",
            ProgType::SK_LOOKUP | ProgType::FLOW_DISSECTOR => "attach_netns (hook netns:self)",
            ProgType::SK_MSG | ProgType::SK_SKB => "attach_sockmap (hook sockmap:MAP)",
            ProgType::NETFILTER => "attach_netfilter (hook netfilter:4/HOOK/PRIO)",
            ProgType::PERF_EVENT => "attach_perf_event (hook perf:..)",
            ProgType::SYSCALL => "test_run",
            ProgType::SOCKET_FILTER | ProgType::SK_REUSEPORT => "attach_socket",
            _ => "the method for its hook",
        };
        let detail = format!("type {} has no automatic hook; use {method}", self.prog_type());
        Error::new(Kind::Unsupported, Op::Attach, self.name())
            .with_errno(Errno::OPNOTSUPP)
            .with_detail(detail)
    }

    pub(super) fn attach_error(&self, errno: Errno, hook: &str) -> Error {
        let error = Error::from_errno(errno, Op::Attach, self.name());
        match errno {
            Errno::PERM | Errno::ACCES => {
                let refused = match self.prog_type() {
                    ProgType::TRACEPOINT if errno == Errno::ACCES => Refused::Tracefs,
                    kind => {
                        crate::object::refused_kind(kind, self.attach_type().unwrap_or_default())
                    }
                };
                let found = permission::diagnose(refused, &Host::system().facts(false));
                error.with_detail(format!("{hook}: {}", found.detail)).with_hint(found.hint)
            }
            _ => error.with_detail(hook.to_owned()),
        }
    }

    /// Attaches to a tracepoint, which needs tracefs.
    ///
    /// # Errors
    /// [`Kind::NoSuchTarget`] for an unknown tracepoint, [`Kind::Unsupported`] without tracefs,
    /// [`Kind::Permission`] when its files may not be read.
    pub fn attach_tracepoint(&self, category: &str, name: &str, cookie: u64) -> Result<Link> {
        probe::tracepoint(self, category, name, cookie)
    }

    /// Probes a kernel function.
    ///
    /// # Errors
    /// [`Kind::NoSuchTarget`] for an unknown function, [`Kind::Unsupported`] for a kernel without
    /// kprobes or a mode that it does not have.
    pub fn attach_kprobe(&self, options: &KprobeOpts<'_>) -> Result<Link> {
        probe::kprobe(self, options)
    }

    /// Probes the kernel's function for a system call, whatever this machine calls it.
    ///
    /// # Errors
    /// As for [`Program::attach_kprobe`].
    pub fn attach_ksyscall(&self, name: &str, returns: bool, cookie: u64) -> Result<Link> {
        let prefix = match std::env::consts::ARCH {
            "x86_64" => "__x64_sys_",
            "aarch64" => "__arm64_sys_",
            "riscv64" => "__riscv_sys_",
            "s390x" => "__s390x_sys_",
            _ => "sys_",
        };
        let function = format!("{prefix}{name}");
        let options = KprobeOpts { function: &function, returns, cookie, ..KprobeOpts::default() };
        self.attach_kprobe(&options)
    }

    /// Probes a function of a program file.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for the file, [`Kind::NoSuchTarget`] for the function.
    pub fn attach_uprobe(&self, options: &UprobeOpts<'_>) -> Result<Link> {
        probe::uprobe(self, options)
    }

    /// Runs the program whenever a counter overflows.
    ///
    /// # Errors
    /// [`Kind::NoSuchTarget`] for an event that the machine does not have.
    pub fn attach_perf_event(&self, options: &PerfEventOpts) -> Result<Link> {
        probe::perf_event(self, options)
    }

    /// Probes all kernel functions that `pattern` names, with `*` and `?` (5.18).
    ///
    /// # Errors
    /// [`Kind::NoSuchTarget`] when there is none, [`Kind::Unsupported`] for a kernel without them.
    pub fn attach_kprobe_multi(&self, pattern: &str, returns: bool) -> Result<Link> {
        let text = c_text(pattern, Op::Attach)?;
        let hook = format!("kprobe.multi:{pattern}");
        let target = Target::KprobeMulti { pattern: &text, returns };
        self.managed(target, LinkKind::Kernel(LinkType::KPROBE_MULTI), hook)
    }

    /// Probes all functions of a program file that `pattern` names (6.6).
    ///
    /// # Errors
    /// [`Kind::NoSuchTarget`] when there is none, [`Kind::Unsupported`] for a kernel without them.
    pub fn attach_uprobe_multi(
        &self,
        path: &str,
        pattern: &str,
        pid: Option<u32>,
        returns: bool,
    ) -> Result<Link> {
        let (file, text) = (c_text(path, Op::Attach)?, c_text(pattern, Op::Attach)?);
        let hook = format!("uprobe.multi:{path}:{pattern}");
        let target =
            Target::UprobeMulti { path: &file, pattern: &text, pid: raw_pid(pid), returns };
        self.managed(target, LinkKind::Kernel(LinkType::UPROBE_MULTI), hook)
    }

    /// Attaches to static probes of a program file. The link cannot be pinned.
    ///
    /// # Errors
    /// [`Kind::NoSuchTarget`] for a file without such probes; [`Kind::Unsupported`] for a program
    /// that came without its object.
    pub fn attach_usdt(&self, options: &UsdtOpts<'_>) -> Result<Link> {
        let &UsdtOpts { path, provider, name, pid, cookie } = options;
        let hook = format!("usdt:{path}:{provider}:{name}");
        let text = |text| c_text(text, Op::Attach);
        let (path, provider, name) = (text(path)?, text(provider)?, text(name)?);
        let target = Target::Usdt {
            path: &path,
            provider: &provider,
            name: &name,
            pid: raw_pid(pid),
            cookie,
        };
        self.managed(target, LinkKind::Usdt, hook)
    }

    /// Attaches through libbpf, which needs the object.
    pub(super) fn managed(&self, to: Target<'_>, kind: LinkKind, hook: String) -> Result<Link> {
        let Some((object, index)) = self.object() else {
            return Err(Error::new(Kind::Unsupported, Op::Attach, self.name())
                .with_detail(format!("{hook}: needs the object, not only the program")));
        };
        let (made, log) = capture(Detail::Normal, || Managed::attach(object, index, to));
        match made {
            Ok(link) => Ok(Link::new(Held::Managed(link), kind, hook)),
            Err(errno) => Err(self.managed_error(errno, &hook, Log::from_lines(log))),
        }
    }

    fn managed_error(&self, errno: Errno, hook: &str, log: Log) -> Error {
        let error = self.attach_error(errno, hook);
        let (kind, what) = match errno {
            _ if log.contains("no USDT notes section") => {
                (Kind::NoSuchTarget, "the binary has no USDT probes")
            }
            _ if log.contains("unrecognized ELF kind") => {
                (Kind::NotAnObject, "the file is not an ELF object")
            }
            _ if log.contains("elf: failed to open") => (Kind::NotFound, "there is no such file"),
            _ if log.contains("failed to resolve full path") => {
                (Kind::NotFound, "no place for programs or libraries has such a file")
            }
            Errno::NOENT if hook.starts_with("usdt:") => {
                (Kind::NoSuchTarget, "the binary has no such probe")
            }
            Errno::NOENT | Errno::SRCH => (Kind::NoSuchTarget, "nothing there to attach to"),
            Errno::INVAL | Errno::OPNOTSUPP => {
                (Kind::Unsupported, "not possible on this kernel, or for this program")
            }
            _ => return error.with_log(log),
        };
        error.with_kind(kind).with_detail(format!("{hook}: {what}")).with_log(log)
    }

    /// Attaches to a raw tracepoint; needs no tracefs.
    ///
    /// # Errors
    /// [`Kind::NoSuchTarget`] for an unknown one.
    pub fn attach_raw_tracepoint(&self, name: &str, cookie: u64) -> Result<Link> {
        let text = c_text(name, Op::Attach)?;
        let hook = format!("raw_tp:{name}");
        let fd = sys::open_raw_tracepoint(self.as_fd(), Some(&text), cookie).map_err(|errno| {
            let error = self.attach_error(errno, &hook);
            match errno {
                Errno::NOENT => error
                    .with_kind(Kind::NoSuchTarget)
                    .with_detail(format!("the kernel has no raw tracepoint '{name}'")),
                _ => error,
            }
        })?;
        Ok(Link::of_fd(fd, LinkType::RAW_TRACEPOINT, hook))
    }

    /// Attaches to what the program was loaded for: fentry, fexit, `fmod_ret`, `tp_btf`, LSM,
    /// freplace.
    ///
    /// # Errors
    /// [`Kind::Busy`] when it is attached already, [`Kind::Permission`], [`Kind::Unsupported`].
    pub fn attach_trace(&self, cookie: u64) -> Result<Link> {
        let hook = if self.section().is_empty() { "trace" } else { self.section() };
        let attach_type = self.attach_type().unwrap_or_default();
        let made = if cookie == 0 {
            // The older call, which every kernel with such programs has.
            sys::open_raw_tracepoint(self.as_fd(), None, 0)
        } else {
            sys::create(self.as_fd(), 0, attach_type.0, Extra::Tracing(cookie, 0))
        };
        let fd = made.map_err(|errno| self.attach_error(errno, hook))?;
        let kind = match (self.prog_type(), attach_type) {
            (ProgType::TRACING, AttachType::TRACE_RAW_TP) => LinkType::RAW_TRACEPOINT,
            _ => LinkType::TRACING,
        };
        Ok(Link::of_fd(fd, kind, hook.to_owned()))
    }

    /// Attaches an LSM program to the hook that it was loaded for.
    ///
    /// # Errors
    /// As for [`Program::attach_trace`].
    pub fn attach_lsm(&self) -> Result<Link> {
        self.attach_trace(0)
    }

    /// Replaces a function of another program: the one that it was loaded for, or, with the id of
    /// the function's type in that program's BTF, one of the same kind elsewhere.
    ///
    /// # Errors
    /// As for [`Program::attach_trace`].
    pub fn attach_freplace(&self, other: Option<(&Self, u32)>) -> Result<Link> {
        let Some((target, function)) = other else { return self.attach_trace(0) };
        let hook = format!("freplace:{}", target.name());
        let extra = Extra::Tracing(0, function);
        let fd = sys::create(self.as_fd(), target.as_fd().as_raw_fd(), 0, extra)
            .map_err(|errno| self.attach_error(errno, &hook))?;
        Ok(Link::of_fd(fd, LinkType::TRACING, hook))
    }

    /// Makes the link that runs an iterator: see [`Link::read_iter`].
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] for a target that the iterator does not take.
    pub fn attach_iter(&self, target: IterTarget<'_>) -> Result<Link> {
        let walk = match target {
            IterTarget::None => Walk::All,
            IterTarget::MapFd(map) => Walk::Map(map.as_fd()),
            // The group, then those below it.
            IterTarget::Cgroup(fd) => Walk::Cgroup(fd, libbpf_sys::BPF_CGROUP_ITER_DESCENDANTS_PRE),
            IterTarget::Task { tid, pid } => Walk::Task { tid, pid },
        };
        let hook = self.section().replacen('/', ":", 1);
        let attach_type = AttachType::TRACE_ITER.0;
        let fd = sys::create(self.as_fd(), 0, attach_type, Extra::Iterator(walk))
            .map_err(|errno| self.attach_error(errno, &hook))?;
        Ok(Link::of_fd(fd, LinkType::ITER, hook))
    }
}

impl Map {
    /// Registers the struct operations that this map of `object` holds.
    ///
    /// # Errors
    /// [`Kind::NoSuchMap`], [`Kind::Unsupported`] for a map of another type, [`Kind::Exists`] when
    /// the kernel has operations of that name.
    pub fn attach_struct_ops(object: &crate::object::Object, name: &str) -> Result<Link> {
        let map = object.map(name)?;
        let error = |errno| Error::from_errno(errno, Op::Attach, name);
        let indices = 0..object.handle.map_count();
        let index = indices.into_iter().find(|index| object.handle.map_name(*index) == name);
        let (made, log) = capture(Detail::Normal, || {
            Managed::register(&object.handle, index.unwrap_or(usize::MAX))
        });
        let link = made.map_err(|errno| {
            let error = error(errno).with_log(Log::from_lines(log));
            match errno {
                Errno::INVAL => error.with_kind(Kind::Unsupported).with_detail(format!(
                    "the map is of type {}, expected struct_ops",
                    map.map_type()
                )),
                _ => error,
            }
        })?;
        let kind = LinkKind::Kernel(LinkType::STRUCT_OPS);
        Ok(Link::new(Held::Managed(link), kind, format!("struct_ops:{name}")))
    }
}

/// A process for the kernel: 0 is this one, -1 all.
pub(super) fn raw_pid(pid: Option<u32>) -> i32 {
    pid.map_or(-1, |pid| i32::try_from(pid).unwrap_or(i32::MAX))
}
