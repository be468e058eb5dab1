// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lines to hooks. Paths may hold colons and commas: fields are split off from the right, and only
//! options that the kind has are taken for options.

use std::str::FromStr;

use super::{
    CgroupMode, Direction, Hook, HookError, Interface, KINDS, NETFILTER_HOOKS, Netns, Order,
    PerfCounter, Place, Sampling, XdpMode,
};
use crate::number;
use crate::reference::Reference;
use plinth::near::nearest;

/// Bytes of an interface's name (`IFNAMSIZ` less the NUL).
const INTERFACE_LEN_MAX: usize = 15;

/// The kernel's counters, each at its number (`PERF_COUNT_SW_*`).
const SOFTWARE_EVENTS: [&str; 12] = [
    "cpu-clock",
    "task-clock",
    "page-faults",
    "context-switches",
    "cpu-migrations",
    "minor-faults",
    "major-faults",
    "alignment-faults",
    "emulation-faults",
    "dummy",
    "bpf-output",
    "cgroup-switches",
];

/// The processor's counters, each at its number (`PERF_COUNT_HW_*`).
const HARDWARE_EVENTS: [&str; 10] = [
    "cycles",
    "instructions",
    "cache-references",
    "cache-misses",
    "branches",
    "branch-misses",
    "bus-cycles",
    "stalled-cycles-frontend",
    "stalled-cycles-backend",
    "ref-cycles",
];

type Parsed<T> = Result<T, String>;

impl FromStr for Hook {
    type Err = HookError;

    /// Reads a line such as `kprobe:do_sys_openat2+0x10` or `xdp:eth0,mode=skb`.
    fn from_str(spec: &str) -> Result<Self, HookError> {
        let (kind, rest) = match spec.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (spec, None),
        };
        let parsed = match (kind, rest) {
            ("auto", None) => Ok(Self::Auto),
            ("iter", None) => Ok(Self::Iter { map: None }),
            ("auto", Some(_)) => Err("nothing may follow".to_owned()),
            (kind, None | Some("")) if KINDS.contains(&kind) => {
                Err("what to attach to is missing".to_owned())
            }
            (kind, Some(rest)) => of_kernel(kind, rest)
                .or_else(|| of_files(kind, rest))
                .or_else(|| of_network(kind, rest))
                .or_else(|| of_objects(kind, rest))
                .unwrap_or_else(|| Err(unknown(kind))),
            (kind, None) => Err(unknown(kind)),
        };
        parsed.map_err(|why| HookError::Syntax { spec: spec.to_owned(), why })
    }
}

fn unknown(kind: &str) -> String {
    match nearest(kind, KINDS, 3)[..] {
        [] => format!("there is no kind '{kind}'"),
        ref near => format!("there is no kind '{kind}'; near are {}", near.join(", ")),
    }
}

/// A name that is not empty and has neither blanks nor characters that separate fields.
fn name(what: &str, text: &str) -> Parsed<String> {
    if text.is_empty() {
        return Err(format!("the {what} is missing"));
    }
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || ",:/".contains(c);
    if text.contains(is_odd) {
        return Err(format!("'{text}' is no name of a {what}"));
    }
    Ok(text.to_owned())
}

fn path(what: &str, text: &str) -> Parsed<String> {
    match text {
        "" => Err(format!("the {what} is missing")),
        text if text.contains('\0') => Err(format!("the {what} has a NUL inside")),
        text => Ok(text.to_owned()),
    }
}

fn reference(text: &str) -> Parsed<Reference> {
    Reference::parse(text).map_err(|error| error.to_string())
}

fn num<T: TryFrom<i128>>(what: &str, text: &str) -> Parsed<T> {
    number::parse(text).map_err(|error| format!("{what}: {error}"))
}

/// Splits `,name=value` off the right end.
fn pop<'a>(text: &'a str, option: &str) -> (&'a str, Option<&'a str>) {
    match text.rsplit_once(',') {
        Some((rest, last)) => match last.strip_prefix(option).and_then(|it| it.strip_prefix('=')) {
            Some(value) => (rest, Some(value)),
            None => (text, None),
        },
        None => (text, None),
    }
}

/// `,name=NUMBER` at the right end, if there is one.
fn pop_number<'a, T: TryFrom<i128>>(text: &'a str, option: &str) -> Parsed<(&'a str, Option<T>)> {
    let (rest, value) = pop(text, option);
    Ok((rest, value.map(|value| num(option, value)).transpose()?))
}

fn interface(text: &str) -> Parsed<Interface> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match num("interface", text)? {
            0 => Err("interfaces are numbered from 1".to_owned()),
            index => Ok(Interface::Index(index)),
        };
    }
    let name = name("interface", text)?;
    if name.len() > INTERFACE_LEN_MAX {
        return Err(format!("interface names have at most {INTERFACE_LEN_MAX} bytes"));
    }
    Ok(Interface::Name(name))
}

/// `IF/SIDE`, where the sides are two words.
fn side<'a>(text: &'a str, sides: [&str; 2]) -> Parsed<(Interface, &'a str)> {
    let (left, right) = text.split_once('/').unwrap_or((text, ""));
    if !sides.contains(&right) {
        return Err(format!("behind the interface stands /{} or /{}", sides[0], sides[1]));
    }
    Ok((interface(left)?, right))
}

fn direction(text: &str) -> Parsed<(Interface, Direction)> {
    let (interface, word) = side(text, ["ingress", "egress"])?;
    let direction = if word == "ingress" { Direction::Ingress } else { Direction::Egress };
    Ok((interface, direction))
}

/// Hooks in the kernel's own code.
fn of_kernel(kind: &str, rest: &str) -> Option<Parsed<Hook>> {
    let function = || name("function", rest);
    Some(match kind {
        "kprobe" => {
            let (text, offset) = rest.split_once('+').unwrap_or((rest, "0"));
            name("function", text)
                .and_then(|function| Ok(Hook::Kprobe { function, offset: num("offset", offset)? }))
        }
        "kretprobe" => function().map(|function| Hook::Kretprobe { function }),
        "ksyscall" => name("system call", rest).map(|name| Hook::Ksyscall { name }),
        "kprobe.multi" => name("pattern", rest).map(|pattern| Hook::KprobeMulti { pattern }),
        "tp" | "tracepoint" => tracepoint(rest),
        "raw_tp" | "raw_tracepoint" => {
            name("tracepoint", rest).map(|name| Hook::RawTracepoint { name })
        }
        "fentry" => function().map(|function| Hook::Fentry { function }),
        "fexit" => function().map(|function| Hook::Fexit { function }),
        "lsm" => name("hook", rest).map(|hook| Hook::Lsm { hook }),
        "perf" => perf(rest).map(Hook::Perf),
        _ => return None,
    })
}

fn tracepoint(rest: &str) -> Parsed<Hook> {
    let (category, event) = rest.split_once('/').ok_or("a tracepoint is CATEGORY/NAME")?;
    Ok(Hook::Tracepoint { category: name("category", category)?, name: name("tracepoint", event)? })
}

fn perf(rest: &str) -> Parsed<PerfCounter> {
    let (rest, pid) = pop_number(rest, "pid")?;
    let (rest, cpu) = pop_number(rest, "cpu")?;
    let (rest, pid) = if pid.is_none() { pop_number(rest, "pid")? } else { (rest, pid) };
    let mut fields = rest.splitn(3, ':');
    let (Some(source), Some(event), Some(sampling)) = (fields.next(), fields.next(), fields.next())
    else {
        return Err("a counter is sw|hw:EVENT:PERIOD".to_owned());
    };
    let (is_hardware, known): (bool, &[&str]) = match source {
        "sw" => (false, &SOFTWARE_EVENTS),
        "hw" => (true, &HARDWARE_EVENTS),
        _ => return Err(format!("'{source}' is neither sw nor hw")),
    };
    let config = match known.iter().position(|name| *name == event) {
        Some(at) => u64::try_from(at).map_err(|_| "too many events".to_owned())?,
        None => number::parse(event).map_err(|_| {
            let near = nearest(event, known.iter().copied(), 3);
            let near = if near.is_empty() { known } else { &near };
            format!("there is no event '{event}'; near are {}", near.join(", "))
        })?,
    };
    let event =
        known.iter().find(|name| **name == event).map_or(config.to_string(), |it| (*it).to_owned());
    let sampling = match sampling.strip_prefix("freq=") {
        Some(hertz) => Sampling::Frequency(num("frequency", hertz)?),
        None => Sampling::Period(num("period", sampling)?),
    };
    if matches!(sampling, Sampling::Period(0) | Sampling::Frequency(0)) {
        return Err("a counter samples at least once".to_owned());
    }
    Ok(PerfCounter { is_hardware, event, config, sampling, cpu, pid })
}

/// Hooks in files that are executed.
fn of_files(kind: &str, rest: &str) -> Option<Parsed<Hook>> {
    Some(match kind {
        "uprobe" | "uretprobe" => uprobe(rest, kind == "uretprobe"),
        "usdt" => usdt(rest),
        _ => return None,
    })
}

fn uprobe(rest: &str, is_return: bool) -> Parsed<Hook> {
    let (rest, pid) = pop_number(rest, "pid")?;
    let (file, place) = rest.rsplit_once(':').ok_or("a function is PATH:SYMBOL")?;
    let at = if place.starts_with(|c: char| c.is_ascii_digit()) {
        Place::Offset(num("offset", place)?)
    } else {
        let (symbol, offset) = place.rsplit_once('+').unwrap_or((place, "0"));
        Place::Symbol { name: name("symbol", symbol)?, offset: num("offset", offset)? }
    };
    Ok(Hook::Uprobe { path: path("file", file)?, at, pid, is_return })
}

fn usdt(rest: &str) -> Parsed<Hook> {
    let (rest, pid) = pop_number(rest, "pid")?;
    let mut fields = rest.rsplitn(3, ':');
    let (Some(probe), Some(provider), Some(file)) = (fields.next(), fields.next(), fields.next())
    else {
        return Err("a probe is PATH:PROVIDER:NAME".to_owned());
    };
    Ok(Hook::Usdt {
        path: path("file", file)?,
        provider: name("provider", provider)?,
        name: name("probe", probe)?,
        pid,
    })
}

/// Hooks on the way of packets.
fn of_network(kind: &str, rest: &str) -> Option<Parsed<Hook>> {
    Some(match kind {
        "xdp" => xdp(rest),
        "tcx" => tcx(rest),
        "tc" => tc(rest),
        "netkit" => side(rest, ["primary", "peer"])
            .map(|(interface, word)| Hook::Netkit { interface, is_peer: word == "peer" }),
        "cgroup" => cgroup(rest),
        "netns" => path("namespace", rest)
            .map(|path| Hook::Netns(if path == "self" { Netns::Own } else { Netns::Path(path) })),
        "netfilter" => netfilter(rest),
        _ => return None,
    })
}

fn xdp(rest: &str) -> Parsed<Hook> {
    let (rest, mode) = pop(rest, "mode");
    let mode = match mode {
        None | Some("auto") => XdpMode::Auto,
        Some("native") => XdpMode::Native,
        Some("skb") => XdpMode::Skb,
        Some("hw") => XdpMode::Hw,
        Some(other) => return Err(format!("mode '{other}' is none of auto, native, skb, hw")),
    };
    Ok(Hook::Xdp { interface: interface(rest)?, mode })
}

fn tcx(rest: &str) -> Parsed<Hook> {
    // A reference may hold commas, so that the option is sought from the left.
    let (place, order) = match (rest.split_once(",before="), rest.split_once(",after=")) {
        (Some((place, other)), _) => (place, Order::Before(reference(other)?)),
        (None, Some((place, other))) => (place, Order::After(reference(other)?)),
        (None, None) => (rest, Order::Last),
    };
    let (interface, direction) = direction(place)?;
    Ok(Hook::Tcx { interface, direction, order })
}

fn tc(rest: &str) -> Parsed<Hook> {
    let (rest, handle) = pop_number(rest, "handle")?;
    let (rest, priority) = pop_number(rest, "prio")?;
    let (rest, handle) =
        if handle.is_none() { pop_number(rest, "handle")? } else { (rest, handle) };
    let (interface, direction) = direction(rest)?;
    Ok(Hook::Tc { interface, direction, priority, handle })
}

fn cgroup(rest: &str) -> Parsed<Hook> {
    let (text, mode) = match rest.rsplit_once(',') {
        Some((text, "override")) => (text, CgroupMode::Override),
        Some((text, "multi")) => (text, CgroupMode::Multi),
        _ => (rest, CgroupMode::Default),
    };
    Ok(Hook::Cgroup { path: path("group", text)?, mode })
}

fn netfilter(rest: &str) -> Parsed<Hook> {
    let fields: Vec<&str> = rest.split('/').collect();
    let [version, hook, priority] = fields[..] else {
        return Err("a place is 4|6/HOOK/PRIORITY".to_owned());
    };
    let version = match version {
        "4" => 4,
        "6" => 6,
        _ => return Err(format!("'{version}' is neither 4 nor 6")),
    };
    let hook = match NETFILTER_HOOKS.iter().position(|name| *name == hook) {
        Some(at) => u32::try_from(at).map_err(|_| "too many hooks".to_owned())?,
        None => number::parse(hook)
            .map_err(|_| format!("'{hook}' is none of {}", NETFILTER_HOOKS.join(", ")))?,
    };
    if usize::try_from(hook).map_or(true, |hook| hook >= NETFILTER_HOOKS.len()) {
        return Err(format!("{hook} is none of {}", NETFILTER_HOOKS.join(", ")));
    }
    Ok(Hook::Netfilter { version, hook, priority: num("priority", priority)? })
}

/// Hooks at other programs and maps.
fn of_objects(kind: &str, rest: &str) -> Option<Parsed<Hook>> {
    Some(match kind {
        "sockmap" => reference(rest).map(Hook::Sockmap),
        "iter" => match rest.strip_prefix("map=") {
            Some(map) => reference(map).map(|map| Hook::Iter { map: Some(map) }),
            None => Err("only map=REFERENCE may follow".to_owned()),
        },
        "struct_ops" => name("map", rest).map(|map| Hook::StructOps { map }),
        "freplace" => match rest.rsplit_once(':') {
            Some((program, function)) => reference(program).and_then(|program| {
                Ok(Hook::Freplace { program, function: name("function", function)? })
            }),
            None => Err("a function is PROGRAM:FUNCTION".to_owned()),
        },
        _ => return None,
    })
}
