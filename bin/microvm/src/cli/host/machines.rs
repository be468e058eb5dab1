// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands that change which machines there are, and what each is at its next start.

use std::path::Path;

use plinth::err::{FAILED, Failure, tell};
use plinth::time::Wall;

use super::super::load::no_action;
use super::super::{Args, World};
use super::{fail, for_each, name, names, paint, usage, word};
use crate::host::change::{Action, Outcome};
use crate::host::{Built, Host, HostError, Name, Written, grow};

/// `microvm create`
pub(super) fn create(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    let name = name(args, 0)?;
    let path = host.source(Path::new(word(args, 1)?))?;
    let (built, _) = host.create(&name, &path, args.host.autostart)?;
    warn(&built);
    let next = paint(args, world).command(&format!("microvm start {name}"));
    world.print(&format!("Created MicroVM {name}. Start with: {next}\n"))?;
    if args.host.start {
        super::running::start_names(host, &[name], true)?;
    }
    Ok(0)
}

fn warn(built: &Built) {
    for warning in &built.warnings {
        tell(warning);
    }
}

/// `microvm update`
pub(super) fn update(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    let names = if args.host.all {
        if !args.words.is_empty() {
            return Err(usage("--all takes no names"));
        }
        let mut names = host.names().map_err(fail)?;
        names.retain(|name| {
            host.look(name)
                .is_ok_and(|it| it.is_machine() && !it.declarative && it.source.is_some())
        });
        names
    } else {
        names(args)?
    };
    for_each(&names, |name| update_one(args, host, world, name, names.len() > 1))
}

fn update_one(
    args: &Args,
    host: &Host<'_>,
    world: &mut World<'_>,
    name: &Name,
    is_one_of_many: bool,
) -> Result<(), Failure> {
    let (built, written) = host.update(name)?;
    warn(&built);
    let of = if is_one_of_many { format!("{name}: ") } else { String::new() };
    world.print(&match written.outcome {
        Outcome::Same => format!("{of}No change\n"),
        _ => format!("{of}{}", differences(&written)),
    })?;
    conclude(args, host, world, name, &written)
}

/// The lines that say what an update has changed.
pub(super) fn differences(written: &Written) -> String {
    let mut text = format!("Updated to {}\n", written.id.short());
    for difference in &written.differences {
        text.push_str(&format!("  {}\n", plinth::text::escape_control(&difference.to_string())));
    }
    text
}

/// Restarts a machine that has another package than it runs with, or says that somebody should.
pub(super) fn conclude(
    args: &Args,
    host: &Host<'_>,
    world: &mut World<'_>,
    name: &Name,
    written: &Written,
) -> Result<(), Failure> {
    let is_booted = written.before.booted.is_some();
    let is_same = written.before.booted_id() == Some(&written.id);
    match (is_booted, is_same, args.host.restart) {
        (true, true, _) => world.print(&format!("No reboot of MicroVM {name} required.\n")),
        (true, false, true) => {
            world.print(&format!("Rebooting MicroVM {name}\n"))?;
            super::running::restart_names(host, std::slice::from_ref(name), true).map(drop)
        }
        (true, false, false) => {
            let next = paint(args, world).command(&format!("microvm restart {name}"));
            world.print(&format!("Reboot MicroVM {name} for the new profile: {next}\n"))
        }
        (false, _, true) => {
            world.print(&format!("Booting MicroVM {name}\n"))?;
            super::running::restart_names(host, std::slice::from_ref(name), true).map(drop)
        }
        (false, _, false) => Ok(()),
    }
}

/// `microvm remove`
pub(super) fn remove(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    let name = name(args, 0)?;
    let actions = host.removal(&name, args.host.keep_data)?;
    if !args.host.yes {
        let mut text =
            format!("MicroVM {name} in {} would lose:\n", host.directory(&name).display());
        for action in &actions {
            match action {
                Action::RemoveGeneration(package) => {
                    text.push_str(&format!("  package {package}\n"))
                }
                Action::RemoveData(data) => {
                    text.push_str(&format!("  {}\n", plinth::text::escape_control(data)));
                }
                Action::RemoveDropIn => text.push_str("  the drop-in of its unit\n"),
                _ => {}
            }
        }
        world.print(&text)?;
        return Err(Failure::new(FAILED, "nothing was removed; --yes removes it"));
    }
    host.remove(&name, args.host.keep_data)?;
    world.print(&format!("Removed MicroVM {name}\n"))?;
    Ok(0)
}

/// `microvm rollback`
pub(super) fn rollback(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    let name = name(args, 0)?;
    let seen = host.rollback(&name)?;
    let id = seen.current_id().map(crate::host::seen::Id::short).unwrap_or_default();
    let mut text = format!("MicroVM {name} is back at {id}\n");
    if seen.booted.is_some() && seen.booted_id() != seen.current_id() {
        let next = paint(args, world).command(&format!("microvm restart {name}"));
        text.push_str(&format!("Reboot MicroVM {name} for it: {next}\n"));
    }
    world.print(&text)?;
    Ok(0)
}

/// `microvm gc`
pub(super) fn gc(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    let names = if args.words.is_empty() {
        let mut names = host.names().map_err(fail)?;
        names.retain(|name| host.look(name).is_ok_and(|seen| seen.is_machine()));
        names
    } else {
        names(args)?
    };
    let keep = args.host.keep.unwrap_or(host.settings.keep_generations);
    let status = for_each(&names, |name| {
        for package in host.collect(name, keep)? {
            world.print(&format!("{name}: removed {package}\n"))?;
        }
        Ok(())
    })?;
    if args.words.is_empty() {
        for hash in host.collect_images(Wall::now()).map_err(fail)? {
            world.print(&format!("removed image {hash}\n"))?;
        }
    }
    Ok(status)
}

/// `microvm enable` and `microvm disable`
pub(super) fn mark(
    args: &Args,
    host: &Host<'_>,
    _world: &mut World<'_>,
    autostart: bool,
) -> Result<u8, Failure> {
    for_each(&names(args)?, |name| {
        host.mark(name, autostart)?;
        if !autostart && host.settings.autostart.contains(name) {
            tell(format_args!(
                "microvm: {name} is in the list of host.toml, and starts at boot all the same"
            ));
        }
        Ok(())
    })
}

/// `microvm volume grow`
pub(super) fn volume(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    let action = word(args, 0)?;
    if action != "grow" {
        return Err(no_action("volume", action, "grow"));
    }
    let name = name(args, 1)?;
    host.machine(&name).map_err(fail)?;
    let _lock = host.lock(&name).map_err(fail)?;
    let image = word(args, 2)?;
    let done: Result<_, HostError> =
        grow(host, &name, image, args.host.size, args.host.file_system);
    let growth = done.map_err(fail)?;
    world.print(&format!("{image}: {} MiB -> {} MiB\n", growth.from, growth.to))?;
    Ok(0)
}
