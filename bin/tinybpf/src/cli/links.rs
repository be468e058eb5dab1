// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tinybpf attach` and `tinybpf detach`.

use std::path::Path;

use plinth::err::Failure;
use serde_json::json;

use super::words::{Words, usage};
use super::{Args, World, find, hooks, wait};
use crate::bpffs::{self, What};
use crate::error::{Error, Kind, Op, Result};
use crate::hook::Hook;
use crate::link::Link;
use crate::reference::Reference;

/// `tinybpf attach`
pub(super) fn attach(args: &Args, world: &mut World<'_>) -> std::result::Result<u8, Failure> {
    let mut words = Words::of(args);
    let reference = words.reference("PROGRAM")?;
    let hook: Hook = words.text("HOOK")?.parse()?;
    words.end()?;
    let program = find::program(&reference)?;
    hook.check_fits(program.name(), program.prog_type())?;
    if let Some(pin) = &args.pin {
        if !hook.can_be_pinned() {
            return Err(usage(format!("hook '{hook}' cannot be pinned; leave --pin away")));
        }
        bpffs::check(pin)?;
    }
    let mut links = hooks::attach(&program, &hook)?;
    let result = announce(&mut links, args, world);
    if args.pin.is_none() && result.is_ok() {
        // Nothing but this process holds them.
        wait::for_signal()?;
    }
    if args.pin.is_some() && result.is_ok() {
        links.into_iter().for_each(hooks::let_go);
    } else {
        Link::detach_all(links)?;
    }
    result
}

fn announce(
    links: &mut [Link],
    args: &Args,
    world: &mut World<'_>,
) -> std::result::Result<u8, Failure> {
    if let Some(pin) = &args.pin {
        for (number, link) in links.iter_mut().enumerate() {
            match number {
                0 => link.pin(pin)?,
                _ => link.pin(&numbered(pin, number + 1))?,
            }
        }
    }
    for link in links {
        let id = link.info().ok().map(|info| info.id);
        let pin = link.pin_path().map(|path| path.display().to_string());
        let text = if args.json {
            format!("{}\n", json!({ "id": id, "hook": link.describe(), "pin": pin }))
        } else {
            let id = id.map_or_else(String::new, |id| format!(" as link {id}"));
            format!("attached to {}{id}\n", link.describe())
        };
        world.print(&text)?;
    }
    Ok(0)
}

/// `PATH_2`: counters have a link for each CPU.
fn numbered(path: &Path, number: usize) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!("_{number}"));
    path.with_file_name(name)
}

/// `tinybpf detach`
pub(super) fn detach(args: &Args, world: &mut World<'_>) -> std::result::Result<u8, Failure> {
    let mut words = Words::of(args);
    let mut links = Vec::new();
    if let Some(directory) = &args.directory {
        words.end()?;
        if !directory.exists() {
            let error = Error::new(Kind::NotFound, Op::Open, directory.display().to_string());
            return Err(error.with_detail("no such directory").into());
        }
        for pin in find::pins(directory)?.into_iter().filter(|it| it.what == What::Link) {
            links.push(Link::from_pin(&pin.path)?);
        }
    } else {
        if words.is_empty() {
            return Err(usage("name a link, or a directory with --all"));
        }
        while !words.is_empty() {
            links.extend(named(&words.reference("LINK")?, args)?);
        }
    }
    let names: Vec<String> = links.iter().map(|link| link.describe().to_owned()).collect();
    if args.force {
        for link in &links {
            link.force_detach()?;
        }
    }
    Link::detach_all(links)?;
    let text = if args.json {
        format!("{}\n", json!({ "detached": names }))
    } else {
        names.iter().map(|name| format!("detached {name}\n")).collect()
    };
    world.print(&text)?;
    Ok(0)
}

/// The handles of a link through which it can be taken away: its pins. A link by number that has
/// none is held by a process.
fn named(reference: &Reference, args: &Args) -> Result<Vec<Link>> {
    let link = find::link(reference)?;
    if matches!(reference, Reference::Pin(_)) || args.force {
        return Ok(vec![link]);
    }
    let id = link.info()?.id;
    let root = args.bpffs.as_deref().unwrap_or(Path::new(bpffs::DEFAULT));
    let pins = find::pins(root)?.into_iter().filter(|it| it.what == What::Link && it.id == id);
    let pinned: Vec<Link> = pins.map(|pin| Link::from_pin(&pin.path)).collect::<Result<_>>()?;
    if pinned.is_empty() {
        return Err(Error::new(Kind::Busy, Op::Detach, reference.to_string())
            .with_detail("the link has no pin, a process holds it")
            .with_hint("end the process, or use --force where the kind of link can"));
    }
    Ok(pinned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_links_get_numbers() {
        let path = numbered(Path::new("/sys/fs/bpf/cycles"), 2);
        assert_eq!(path, Path::new("/sys/fs/bpf/cycles_2"));
    }
}
