// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hooks that are perf events: tracepoints, probes of kernel and user functions, counters.
//!
//! Owns the way from a name to an event, and from an event to a link. Links of perf events exist
//! from 5.15 on; before that the program is set on the event, whose descriptor is then the handle.

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use super::Program;
use super::attach::{At, KprobeMode, KprobeOpts, PerfEventOpts, Rate, UprobeOpts, raw_pid};
use crate::bpffs::{c_path, c_text};
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
use crate::host::Host;
use crate::kinds::{AttachType, LinkType};
use crate::link::{Held, Link, LinkKind};
use crate::sys::link::{self as sys, Extra};
use crate::sys::managed::Target;
use crate::sys::perf::{self, Event};

/// Bytes of the largest program file whose symbols are read.
const FILE_MAX: usize = 1 << 30;

/// Makes the link of a program and an event.
fn link(
    program: &Program,
    event: OwnedFd,
    cookie: u64,
    mode: KprobeMode,
    hook: String,
) -> Result<Link> {
    let error = |errno| program.attach_error(errno, &hook);
    let created = if mode == KprobeMode::PerfPmu {
        Err(Errno::INVAL)
    } else {
        let (raw, kind) = (event.as_raw_fd(), AttachType::PERF_EVENT.0);
        sys::create(program.as_fd(), raw, kind, Extra::PerfCookie(cookie))
    };
    match created {
        Ok(fd) => {
            perf::enable(event.as_fd()).map_err(error)?;
            Ok(Link::of_fd(fd, LinkType::PERF_EVENT, hook))
        }
        // A kernel without such links answers EINVAL, like one that dislikes the program: trying
        // the older way tells them apart.
        Err(Errno::INVAL) if cookie == 0 && mode != KprobeMode::Link => {
            perf::set_program(event.as_fd(), program.as_fd()).map_err(error)?;
            perf::enable(event.as_fd()).map_err(error)?;
            Ok(Link::new(Held::Event(event), LinkKind::PerfEvent, hook))
        }
        Err(errno) => Err(error(errno)),
    }
}

pub(super) fn tracepoint(
    program: &Program,
    category: &str,
    name: &str,
    cookie: u64,
) -> Result<Link> {
    let hook = format!("tracepoint:{category}/{name}");
    let host = Host::system();
    let error = |kind| Error::new(kind, Op::Attach, program.name());
    let Some(tracefs) = host.tracefs() else {
        return Err(error(Kind::Unsupported)
            .with_errno(Errno::NOENT)
            .with_detail(format!("{hook}: tracefs is not mounted"))
            .with_hint("mount it with: mount -t tracefs tracefs /sys/kernel/tracing"));
    };
    let path = tracefs.join("events").join(category).join(name).join("id");
    let id = std::fs::read_to_string(&path).map_err(|failed| {
        let errno = Errno(failed.raw_os_error().unwrap_or(libc::EIO));
        match errno {
            Errno::NOENT => error(Kind::NoSuchTarget)
                .with_errno(errno)
                .with_detail(format!("there is no tracepoint '{category}/{name}'")),
            Errno::ACCES | Errno::PERM => program.attach_error(Errno::ACCES, &hook),
            _ => error(Kind::Other).with_errno(errno).with_detail(hook.clone()),
        }
    })?;
    let id = id.trim().parse().map_err(|_| {
        error(Kind::Other).with_detail(format!("'{}' holds no number", path.display()))
    })?;
    let event = perf::open(Event::Tracepoint(id), -1, 0)
        .map_err(|errno| program.attach_error(errno, &hook))?;
    link(program, event, cookie, KprobeMode::Auto, hook)
}

pub(super) fn kprobe(program: &Program, options: &KprobeOpts<'_>) -> Result<Link> {
    let &KprobeOpts { function, offset, returns, cookie, mode } = options;
    let kind = if returns { "kretprobe" } else { "kprobe" };
    let plus = if offset == 0 { String::new() } else { format!("+{offset:#x}") };
    let hook = format!("{kind}:{function}{plus}");
    let name = c_text(function, Op::Attach)?;
    let host = Host::system();
    if mode == KprobeMode::TracefsLegacy {
        return legacy_kprobe(program, options, &name, hook);
    }
    let unit = host.unit("kprobe", "type").and_then(|text| text.parse().ok());
    let Some(unit) = unit else {
        if mode == KprobeMode::Auto && host.root().exists("/sys/kernel/tracing/kprobe_events") {
            return legacy_kprobe(program, options, &name, hook);
        }
        return Err(Error::new(Kind::Unsupported, Op::Attach, program.name())
            .with_errno(Errno::NOENT)
            .with_detail(format!("{hook}: this kernel has no kprobes")));
    };
    let config = if returns { return_bit(&host, "kprobe") } else { 0 };
    let event = perf::open(Event::Probe { unit, name: &name, offset, config }, -1, 0);
    let event = event.map_err(|errno| kprobe_error(program, &host, function, errno, &hook))?;
    link(program, event, cookie, mode, hook)
}

fn legacy_kprobe(
    program: &Program,
    options: &KprobeOpts<'_>,
    name: &CString,
    hook: String,
) -> Result<Link> {
    log::warn!("{hook} goes through tracefs, where it survives a crash of this process");
    let target = Target::Kprobe {
        function: name,
        offset: usize::try_from(options.offset).unwrap_or(usize::MAX),
        returns: options.returns,
        cookie: options.cookie,
        legacy: true,
    };
    program.managed(target, LinkKind::Kernel(LinkType::PERF_EVENT), hook)
}

fn kprobe_error(program: &Program, host: &Host, function: &str, errno: Errno, hook: &str) -> Error {
    let error = program.attach_error(errno, hook);
    match errno {
        Errno::NOENT if host.has_function(function) == Some(true) => error
            .with_kind(Kind::NoSuchTarget)
            .with_detail(format!("the kernel lets nobody probe '{function}'")),
        Errno::NOENT => error
            .with_kind(Kind::NoSuchTarget)
            .with_detail(format!("the kernel has no function '{function}'")),
        Errno::INVAL | Errno(libc::EILSEQ) => error
            .with_kind(Kind::NoSuchTarget)
            .with_detail(format!("{hook}: no instruction begins there, or it cannot be probed")),
        _ => error,
    }
}

/// The bit of a unit's configuration that asks for the return, from `config:0` in sysfs.
fn return_bit(host: &Host, unit: &str) -> u64 {
    let text = host.unit(unit, "format/retprobe").unwrap_or_default();
    let bit = text.strip_prefix("config:").and_then(|bit| bit.parse::<u32>().ok());
    1_u64.checked_shl(bit.unwrap_or(0)).unwrap_or(1)
}

pub(super) fn uprobe(program: &Program, options: &UprobeOpts<'_>) -> Result<Link> {
    let kind = if options.returns { "uretprobe" } else { "uprobe" };
    let place = match options.at {
        At::Symbol(symbol, 0) => symbol.to_owned(),
        At::Symbol(symbol, offset) => format!("{symbol}+{offset:#x}"),
        At::Offset(offset) => format!("{offset:#x}"),
    };
    let hook = format!("{kind}:{}:{place}", options.path);
    let error = |kind| Error::new(kind, Op::Attach, program.name());
    let Some(path) = find_file(options.path) else {
        return Err(error(Kind::NotFound)
            .with_errno(Errno::NOENT)
            .with_detail(format!("{hook}: there is no file '{}'", options.path)));
    };
    let offset = match options.at {
        At::Offset(offset) => offset,
        At::Symbol(symbol, plus) => symbol_offset(program, &path, symbol)?.wrapping_add(plus),
    };
    let host = Host::system();
    let Some(unit) = host.unit("uprobe", "type").and_then(|text| text.parse().ok()) else {
        return Err(
            error(Kind::Unsupported).with_detail(format!("{hook}: this kernel has no uprobes"))
        );
    };
    let config = if options.returns { return_bit(&host, "uprobe") } else { 0 };
    let config = config | options.reference_counter << counter_shift(&host);
    let name = c_path(&path, Op::Attach)?;
    let (pid, cpu) = (raw_pid(options.pid), if options.pid.is_some() { -1 } else { 0 });
    let event = perf::open(Event::Probe { unit, name: &name, offset, config }, pid, cpu)
        .map_err(|errno| program.attach_error(errno, &hook))?;
    link(program, event, options.cookie, KprobeMode::Auto, hook)
}

/// Where the offset of the reference counter begins, from `config:32-63` in sysfs.
fn counter_shift(host: &Host) -> u32 {
    let text = host.unit("uprobe", "format/ref_ctr_offset").unwrap_or_default();
    let bits = text.strip_prefix("config:").and_then(|bits| bits.split('-').next()?.parse().ok());
    bits.filter(|shift| *shift < 64).unwrap_or(32)
}

/// A path as it is; a bare name like a command or library.
fn find_file(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.exists());
    }
    let arch = std::env::consts::ARCH;
    let commands = std::env::var_os("PATH").unwrap_or_default();
    let libraries = [
        format!("/lib/{arch}-linux-gnu"),
        format!("/usr/lib/{arch}-linux-gnu"),
        "/lib64".to_owned(),
        "/usr/lib64".to_owned(),
        "/lib".to_owned(),
        "/usr/lib".to_owned(),
    ];
    let is_library = name.contains(".so");
    let in_libraries = libraries.into_iter().map(PathBuf::from);
    let mut candidates: Vec<PathBuf> = Vec::new();
    if is_library {
        candidates.extend(in_libraries);
    } else {
        candidates.extend(std::env::split_paths(&commands));
    }
    candidates.into_iter().map(|place| place.join(name)).find(|path| path.is_file())
}

/// Where in the file a function begins.
fn symbol_offset(program: &Program, path: &Path, symbol: &str) -> Result<u64> {
    let error = |kind| Error::new(kind, Op::Attach, program.name());
    let shown = path.display();
    let bytes = plinth::file::read(path, FILE_MAX).map_err(|failed| {
        let errno = Errno(failed.raw_os_error().unwrap_or(libc::EIO));
        error(Kind::of(errno)).with_errno(errno).with_detail(format!("cannot read '{shown}'"))
    })?;
    let symbols = crate::symbols::Symbols::parse(&bytes).map_err(|reason| {
        let detail = format!("'{shown}' is not an ELF object: {reason}");
        error(Kind::NotAnObject).with_detail(detail)
    })?;
    symbols.offset_of(symbol).ok_or_else(|| {
        let near = symbols.near(symbol, 5);
        let missing = error(Kind::NoSuchTarget)
            .with_errno(Errno::NOENT)
            .with_detail(format!("'{shown}' has no function '{symbol}'"));
        if near.is_empty() {
            missing
        } else {
            missing.with_hint(format!("there are: {}", near.join(", ")))
        }
    })
}

pub(super) fn perf_event(program: &Program, options: &PerfEventOpts) -> Result<Link> {
    let (period, frequency) = match options.rate {
        Rate::Period(period) => (period, false),
        Rate::Frequency(frequency) => (frequency, true),
    };
    let source = if options.hardware { "hw" } else { "sw" };
    let hook = format!("perf:{source}:{}:{period}", options.config);
    let event =
        Event::Counter { hardware: options.hardware, config: options.config, period, frequency };
    let cpu = match (options.cpu, options.pid) {
        (Some(cpu), _) => i32::try_from(cpu).unwrap_or(i32::MAX),
        (None, Some(_)) => -1,
        (None, None) => 0,
    };
    let event = perf::open(event, raw_pid(options.pid), cpu).map_err(|errno| {
        let error = program.attach_error(errno, &hook);
        match errno {
            Errno::NOENT | Errno::OPNOTSUPP | Errno::NODEV => error
                .with_kind(Kind::NoSuchTarget)
                .with_detail(format!("{hook}: the machine has no such event")),
            _ => error,
        }
    })?;
    link(program, event, options.cookie, KprobeMode::Auto, hook)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_names_are_looked_up_like_commands_and_libraries() {
        assert!(find_file("sh").is_some_and(|path| path.is_absolute()));
        assert!(find_file("libc.so.6").is_some_and(|path| path.is_file()));
        assert_eq!(find_file("no-such-command-anywhere"), None);
        assert_eq!(find_file("/no/such/file"), None);
    }
}
