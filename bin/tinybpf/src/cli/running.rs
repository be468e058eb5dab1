// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What programs do while they run: `tinybpf stats`, `iter`, `log` and `send`.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use plinth::err::Failure;
use plinth::text::Table;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value as Json, json};

use super::map::bytes_of;
use super::wait::{ENDING, Pauses};
use super::words::{Words, usage};
use super::{Args, World, find};
use crate::error::{Error, Kind, Op};
use crate::host::Host;
use crate::ids;
use crate::link::Link;
use crate::program::attach::IterTarget;
use crate::program::{Program, ProgramInfo};
use crate::ring::UserRing;
use crate::value::{Encode, Shape};
use plinth::sys::signal::Signals;

/// How long `send` waits for a program to make room.
const ROOM: Duration = Duration::from_secs(1);

/// `tinybpf stats`
pub(super) fn stats(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut words = Words::of(args);
    let mut programs = Vec::new();
    while !words.is_empty() {
        programs.push(find::program(&words.reference("PROGRAM")?)?);
    }
    if programs.is_empty() {
        programs =
            ids::programs().map(|it| it.map(|(_, it)| it)).collect::<crate::error::Result<_>>()?;
    }
    let mut pauses = Pauses::new()?;
    let before: Vec<ProgramInfo> = infos(&programs);
    if let Some(time) = args.duration {
        let counting = crate::sys::program::enable_statistics()
            .map_err(|errno| Error::from_errno(errno, Op::Set, "run statistics"))?;
        pauses.ended_within(time)?;
        drop(counting);
    }
    let after = infos(&programs);
    let since = |id: u32| before.iter().find(|it| it.id == id).filter(|_| args.duration.is_some());
    let mut table = Table::new(&["ID", "TYPE", "NAME", "RUNS", "NS/RUN", "MISSES"]);
    let mut items = Vec::new();
    for it in &after {
        let (count, time, misses) = since(it.id)
            .map_or((0, 0, 0), |old| (old.run_count, old.run_time_ns, old.recursion_misses));
        let runs = it.run_count.saturating_sub(count);
        let time = it.run_time_ns.saturating_sub(time);
        let misses = it.recursion_misses.saturating_sub(misses);
        let each = time.checked_div(runs);
        let kind = crate::kinds::ProgType(it.kind).to_string();
        table.row([
            it.id.to_string(),
            kind.clone(),
            it.name.clone(),
            runs.to_string(),
            each.map(|it| it.to_string()).unwrap_or_default(),
            misses.to_string(),
        ]);
        items.push(json!({
            "id": it.id,
            "type": kind,
            "name": it.name,
            "runs": runs,
            "run_time_ns": time,
            "ns_per_run": each,
            "recursion_misses": misses,
        }));
    }
    let text = if args.json { format!("{}\n", Json::Array(items)) } else { table.to_string() };
    world.print(&text)?;
    Ok(0)
}

fn infos(programs: &[Program]) -> Vec<ProgramInfo> {
    programs.iter().filter_map(|it| it.info().ok()).collect()
}

/// `tinybpf iter`
pub(super) fn iter(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut words = Words::of(args);
    let reference = words.reference("PROGRAM")?;
    words.end()?;
    let map = args.map.as_ref().map(find::map).transpose()?;
    // A pin may be of a link as well as of a program.
    let link: Link = match find::link(&reference) {
        Ok(link) if map.is_none() => link,
        _ => {
            let target = map.as_ref().map_or(IterTarget::None, IterTarget::MapFd);
            find::program(&reference)?.attach_iter(target)?
        }
    };
    let mut text = link.read_iter()?;
    let mut bytes = vec![0; 1 << 16];
    loop {
        let count = match text.read(&mut bytes) {
            Ok(0) => return Ok(0),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        world.write(bytes.get(..count).unwrap_or_default())?;
    }
}

/// `tinybpf log`
pub(super) fn log(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    Words::of(args).end()?;
    let tracefs = Host::system().tracefs().ok_or_else(|| {
        Error::new(Kind::Unsupported, Op::Open, "trace_pipe")
            .with_detail("tracefs is not mounted")
            .with_hint("mount -t tracefs tracefs /sys/kernel/tracing")
    })?;
    let path = tracefs.join("trace_pipe");
    let opened = rustix::fs::open(
        &path,
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    let mut pipe =
        File::from(opened.map_err(|errno| {
            Error::from_errno(errno.into(), Op::Open, path.display().to_string())
        })?);
    let signals = Signals::new(ENDING)?;
    let mut bytes = vec![0; 1 << 16];
    loop {
        match pipe.read(&mut bytes) {
            Ok(count) if count > 0 => {
                world.write(bytes.get(..count).unwrap_or_default())?;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
            _ if !args.follow => return Ok(0),
            _ => {}
        }
        let signal = signals.fd();
        let mut polled =
            [PollFd::from_borrowed_fd(signal, PollFlags::IN), PollFd::new(&pipe, PollFlags::IN)];
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => {}
            other => drop(other?),
        }
        if polled.first().is_some_and(|it| it.revents().contains(PollFlags::IN)) {
            return Ok(0);
        }
    }
}

/// `tinybpf send`
pub(super) fn send(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut words = Words::of(args);
    let map = find::map(&words.reference("MAP")?)?;
    if words.is_empty() {
        return Err(usage("VALUE is missing"));
    }
    let shape = match &args.kind {
        None => None,
        Some(name) => Some(shape(&map, name)?),
    };
    let encode = Encode { defaults: args.defaults, no_nul: args.no_nul };
    let mut records = Vec::new();
    while !words.is_empty() {
        let size = shape.as_ref().map_or(8, Shape::size);
        records.push(bytes_of(&words.text("VALUE")?, "value", shape.as_ref(), size, encode)?);
    }
    let mut ring = UserRing::new(&map)?;
    for record in &records {
        let mut slot = ring.reserve_blocking(record.len(), ROOM)?;
        slot.copy_from_slice(record);
        slot.submit();
    }
    let count = records.len();
    let text = if args.json {
        format!("{}\n", json!({ "sent": count }))
    } else {
        format!("sent {count}\n")
    };
    world.print(&text)?;
    Ok(0)
}

fn shape(map: &crate::map::Map, name: &str) -> Result<Shape, Failure> {
    let missing =
        |why: &str| Error::new(Kind::NotFound, Op::Find, name).with_detail(why.to_owned());
    let btf = find::btf_of_events(map)?
        .ok_or_else(|| missing("no loaded program that uses the map has types"))?;
    let id = btf.find_spelled(name).ok_or_else(|| missing("no such type"))?;
    Shape::of(&btf, id).map_err(|error| missing(&error.to_string()).into())
}
