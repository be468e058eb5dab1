// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From hooks as text to links: what the grammar leaves open is looked up here.

use std::collections::BTreeMap;
use std::path::Path;

use super::find;
use crate::bpffs::{self, What};
use crate::error::Result;
use crate::hook::{CgroupMode, Hook, Interface, Netns, Order, PerfCounter, Place, Sampling};
use crate::host::Host;
use crate::kinds::{AttachType, ProgType};
use crate::link::Link;
use crate::map::Map;
use crate::object::{Object, OpenObject};
use crate::program::Program;
use crate::program::attach::{
    At, IterTarget, KprobeOpts, PerfEventOpts, Rate, UprobeOpts, UsdtOpts,
};
use crate::program::network::{Beside, CgroupOpts, CgroupRef, IfaceRef, NetfilterOpts, NetnsRef};
use crate::reference::Reference;

/// `AF_INET` and `AF_INET6` as netfilter counts them.
const INET: [u32; 2] = [2, 10];

/// A link, and the name that its pin gets.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) name: String,
    pub(crate) link: Link,
}

/// What hooks mean for programs that are not loaded yet: a section can be overridden only now.
///
/// # Errors
/// The object has no program of the name, or what is to be replaced is not there.
pub(crate) fn prepare(object: &mut OpenObject, program: &str, hook: &Hook) -> Result<()> {
    let target = match hook {
        Hook::Freplace { program, .. } => Some(find::program(program)?),
        _ => None,
    };
    let mut open = object.program(program)?;
    // A program without a type of its own gets that of its hook.
    if open.prog_type() == ProgType::UNSPEC {
        if let Some(wanted) = hook.takes().first() {
            open.set_type(*wanted)?;
        }
    }
    match hook {
        Hook::Fentry { function } => {
            open.set_expected_attach_type(AttachType::TRACE_FENTRY)?;
            open.set_attach_target(None, function)
        }
        Hook::Fexit { function } => {
            open.set_expected_attach_type(AttachType::TRACE_FEXIT)?;
            open.set_attach_target(None, function)
        }
        Hook::Lsm { hook } => open.set_attach_target(None, hook),
        Hook::Freplace { function, .. } => {
            open.set_attach_target(target.as_ref().map(Program::as_fd), function)
        }
        Hook::KprobeMulti { .. } => open.set_expected_attach_type(AttachType::TRACE_KPROBE_MULTI),
        _ => Ok(()),
    }
}

/// Attaches a program; to one link for most hooks, to one for each CPU for counters.
///
/// # Errors
/// As for the method of the hook; the hook does not fit the program.
pub(crate) fn attach(program: &Program, hook: &Hook) -> Result<Vec<Link>> {
    if let Hook::Perf(counter) = hook {
        return perf(program, counter);
    }
    let link = match hook {
        Hook::Xdp { .. }
        | Hook::Tcx { .. }
        | Hook::Tc { .. }
        | Hook::Netkit { .. }
        | Hook::Cgroup { .. }
        | Hook::Netns(_)
        | Hook::Netfilter { .. }
        | Hook::Sockmap(_) => network(program, hook)?,
        _ => trace(program, hook)?,
    };
    Ok(vec![link])
}

fn trace(program: &Program, hook: &Hook) -> Result<Link> {
    match hook {
        Hook::Kprobe { function, offset } => program.attach_kprobe(&KprobeOpts {
            function,
            offset: *offset,
            ..KprobeOpts::default()
        }),
        Hook::Kretprobe { function } => {
            program.attach_kprobe(&KprobeOpts { function, returns: true, ..KprobeOpts::default() })
        }
        Hook::Ksyscall { name } => program.attach_ksyscall(name, is_return(program), 0),
        Hook::KprobeMulti { pattern } => {
            program.attach_kprobe_multi(pattern, program.section().starts_with("kretprobe"))
        }
        Hook::Tracepoint { category, name } => program.attach_tracepoint(category, name, 0),
        Hook::RawTracepoint { name } => program.attach_raw_tracepoint(name, 0),
        Hook::Uprobe { path, at, pid, is_return } => uprobe(program, path, at, *pid, *is_return),
        Hook::Usdt { path, provider, name, pid } => {
            program.attach_usdt(&UsdtOpts { path, provider, name, pid: *pid, cookie: 0 })
        }
        Hook::Fentry { .. } | Hook::Fexit { .. } | Hook::Lsm { .. } => program.attach_trace(0),
        Hook::Freplace { .. } => program.attach_freplace(None),
        Hook::Iter { map: None } => program.attach_iter(IterTarget::None),
        Hook::Iter { map: Some(reference) } => {
            let map = find::map(reference)?;
            program.attach_iter(IterTarget::MapFd(&map))
        }
        _ => program.attach(),
    }
}

/// `kretsyscall/NAME` differs from `ksyscall/NAME` in nothing that a hook says.
fn is_return(program: &Program) -> bool {
    program.section().starts_with("kret")
}

fn uprobe(
    program: &Program,
    path: &str,
    at: &Place,
    pid: Option<u32>,
    returns: bool,
) -> Result<Link> {
    // A program for many functions is attached to one as to a pattern without wildcards.
    if program.section().contains("probe.multi") {
        if let Place::Symbol { name, offset: 0 } = at {
            return program.attach_uprobe_multi(path, name, pid, returns);
        }
    }
    let at = match at {
        Place::Symbol { name, offset } => At::Symbol(name, *offset),
        Place::Offset(offset) => At::Offset(*offset),
    };
    let options = UprobeOpts { path, at, pid, returns, reference_counter: 0, cookie: 0 };
    program.attach_uprobe(&options)
}

fn interface(interface: &Interface) -> IfaceRef<'_> {
    match interface {
        Interface::Index(index) => IfaceRef::Index(*index),
        Interface::Name(name) => IfaceRef::Name(name),
    }
}

fn network(program: &Program, hook: &Hook) -> Result<Link> {
    match hook {
        Hook::Xdp { interface: name, mode } => program.attach_xdp(interface(name), *mode),
        Hook::Tcx { interface: name, direction, order } => {
            program.attach_tcx(interface(name), *direction, beside(order)?)
        }
        Hook::Tc { interface: name, direction, priority, handle } => program.attach_tc(
            interface(name),
            *direction,
            priority.unwrap_or(0).into(),
            handle.unwrap_or(0),
        ),
        Hook::Netkit { interface: name, is_peer } => {
            program.attach_netkit(interface(name), !is_peer, Beside::Nothing)
        }
        Hook::Cgroup { path, mode } => {
            let options =
                CgroupOpts { is_alone: *mode == CgroupMode::Override, ..CgroupOpts::default() };
            program.attach_cgroup(CgroupRef::Path(Path::new(path)), options)
        }
        Hook::Netns(Netns::Own) => program.attach_netns(NetnsRef::Own),
        Hook::Netns(Netns::Path(path)) => program.attach_netns(NetnsRef::Path(Path::new(path))),
        Hook::Netfilter { version, hook, priority } => program.attach_netfilter(NetfilterOpts {
            family: if *version == 6 { INET[1] } else { INET[0] },
            hook: *hook,
            priority: *priority,
            defragment: false,
        }),
        Hook::Sockmap(reference) => program.attach_sockmap(&find::map(reference)?),
        _ => program.attach(),
    }
}

/// The link of a reference by pin is meant where there is one, else the program.
fn beside(order: &Order) -> Result<Beside> {
    let resolve = |reference: &Reference| -> Result<(bool, u32)> {
        if let Ok(link) = find::link(reference) {
            return Ok((true, link.info()?.id));
        }
        Ok((false, find::program(reference)?.info()?.id))
    };
    Ok(match order {
        Order::Last => Beside::Nothing,
        Order::Before(reference) => match resolve(reference)? {
            (true, id) => Beside::BeforeLink(id),
            (false, id) => Beside::Before(id),
        },
        Order::After(reference) => match resolve(reference)? {
            (true, id) => Beside::AfterLink(id),
            (false, id) => Beside::After(id),
        },
    })
}

/// Without CPU and process: a counter for each CPU.
fn perf(program: &Program, counter: &PerfCounter) -> Result<Vec<Link>> {
    let rate = match counter.sampling {
        Sampling::Period(period) => Rate::Period(period),
        Sampling::Frequency(frequency) => Rate::Frequency(frequency),
    };
    let open = |cpu: Option<u32>| {
        program.attach_perf_event(&PerfEventOpts {
            hardware: counter.is_hardware,
            config: counter.config,
            rate,
            cpu,
            pid: counter.pid,
            cookie: 0,
        })
    };
    if counter.cpu.is_some() || counter.pid.is_some() {
        return Ok(vec![open(counter.cpu)?]);
    }
    Host::system().online_cpus().into_iter().map(|cpu| open(Some(cpu))).collect()
}

/// Gives up the handle of a link that is pinned. Struct operations without a link of the kernel's
/// would be unregistered by the drop: they are left to the end of the process.
pub(crate) fn let_go(link: Link) {
    match link.as_fd().and_then(bpffs::what_is) {
        Some(What::Link) => drop(link.leak_pinned()),
        _ => std::mem::forget(link),
    }
}

/// Attaches the programs of a loaded object: those with a hook there, and, with `auto`, the others
/// that say themselves where; then the struct operations.
///
/// # Errors
/// The first failure; what was attached before is detached by the drop.
pub(crate) fn attach_object(
    object: &Object,
    hooks: &[(String, Hook)],
    auto: bool,
) -> Result<Vec<Attached>> {
    let mut attached = Vec::new();
    let mut names = BTreeMap::new();
    let mut add = |name: &str, links: Vec<Link>| {
        for link in links {
            let number: &mut u32 = names.entry(name.to_owned()).or_default();
            *number += 1;
            let name = if *number == 1 { name.to_owned() } else { format!("{name}_{number}") };
            attached.push(Attached { name: bpffs::pin_name(&name), link });
        }
    };
    for program in object.programs() {
        let mut own = hooks.iter().filter(|(name, _)| name == program.name()).peekable();
        if own.peek().is_none() && auto && has_hook(&program) {
            add(program.name(), vec![program.attach()?]);
        }
        for (name, hook) in own {
            add(name, attach(&program, hook)?);
        }
    }
    let named = |map: &Map| {
        hooks.iter().any(|(_, it)| matches!(it, Hook::StructOps { map: m } if m == map.name()))
    };
    for map in object.maps() {
        if map.map_type() == crate::kinds::MapType::STRUCT_OPS && (auto || named(&map)) {
            add(map.name(), vec![Map::attach_struct_ops(object, map.name())?]);
        }
    }
    Ok(attached)
}

/// Whether the section of a program names a hook. Programs that are called by others, run by hand
/// or need an interface are loaded and left alone.
fn has_hook(program: &Program) -> bool {
    matches!(
        program.prog_type(),
        ProgType::KPROBE
            | ProgType::TRACEPOINT
            | ProgType::RAW_TRACEPOINT
            | ProgType::RAW_TRACEPOINT_WRITABLE
            | ProgType::TRACING
            | ProgType::EXT
    ) || (program.prog_type() == ProgType::LSM
        && program.attach_type() != Some(AttachType::LSM_CGROUP))
}
