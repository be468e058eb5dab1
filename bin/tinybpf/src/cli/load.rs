// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tinybpf load` and `tinybpf unload`: objects that outlive the command as pins.
//!
//! Pins go below one directory: programs into `progs`, maps into `maps`, links into `links`. What
//! was pinned is removed again when a later step fails; what was there before is left alone, or
//! with `--replace` removed once the new object is loaded. Only what is directly in those three is
//! ever removed: the directory may be that of others too.

use std::path::{Path, PathBuf};

use plinth::err::{Failure, tell_text};
use plinth::sorting;
use serde_json::json;

use super::args::AttachMode;
use super::find::{self, Pin};
use super::hooks::{self, Attached};
use super::words::{Words, usage};
use super::{Args, BAD_INPUT, World, input, notice, wait};
use crate::bpffs::{self, What};
use crate::error::{Error, Kind, Op, Result};
use crate::hook::Hook;
use crate::kinds::ProgType;
use crate::link::Link;
use crate::map::Map;
use crate::number;
use crate::object::{Object, OpenObject, OpenOptions};
use crate::program::Program;
use crate::value::{Value, parse_json};

/// Directories below that of an object.
pub(super) const PROGS: &str = "progs";
pub(super) const MAPS: &str = "maps";
pub(super) const LINKS: &str = "links";

/// An object that was loaded and attached.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) object: Object,
    pub(super) links: Vec<Attached>,
}

/// How objects are opened, by the options.
pub(super) fn options(args: &Args) -> OpenOptions {
    let mut options = OpenOptions::new().token(args.token.clone());
    if let Some(root) = &args.bpffs {
        options = options.pin_root(root);
    }
    if let Some(file) = &args.btf {
        options = options.kernel_btf(file);
    }
    if !args.kconfig.is_empty() {
        options = options.kconfig(&args.kconfig.join("\n"));
    }
    if args.verbose > 1 { options.verifier_log(1) } else { options }
}

/// Opens the object that the words name, and adjusts it as the options say.
pub(super) fn open(path: &Path, args: &Args) -> std::result::Result<OpenObject, Failure> {
    let mut object = options(args).open_read(path, &read(path)?)?;
    choose(&mut object, args)?;
    for assignment in &args.set {
        object.set_global(&assignment.name, &value_of(&assignment.value))?;
    }
    for assignment in &args.resize {
        resize(&mut object, &assignment.name, &assignment.value, args)?;
    }
    for assignment in &args.reuse {
        let map = Map::from_pin(Path::new(&assignment.value))?;
        object.map(&assignment.name)?.reuse(&map)?;
    }
    for (program, hook) in &args.hooks {
        if matches!(hook, Hook::StructOps { .. }) {
            continue;
        }
        let kind = object.program(program)?.prog_type();
        if kind != ProgType::UNSPEC {
            hook.check_fits(program, kind)?;
        }
        hooks::prepare(&mut object, program, hook)?;
    }
    Ok(object)
}

/// Reads an object. What is wrong with a file as such is said before libbpf guesses.
pub(super) fn read(path: &Path) -> std::result::Result<Vec<u8>, Failure> {
    let bytes = input(path)?;
    crate::elf::check_loadable(&bytes)
        .map_err(|refusal| Failure::new(BAD_INPUT, format!("'{}' {refusal}", path.display())))?;
    Ok(bytes)
}

/// Turns programs off that were not asked for, and those on that were.
fn choose(object: &mut OpenObject, args: &Args) -> Result<()> {
    for name in args.programs.iter().chain(&args.skip) {
        object.program(name)?;
    }
    for name in object.program_names() {
        let skipped = args.skip.contains(&name);
        let mut program = object.program(&name)?;
        if !args.programs.is_empty() {
            program.set_autoload(args.programs.contains(&name) && !skipped)?;
        } else if skipped {
            program.set_autoload(false)?;
        }
    }
    Ok(())
}

/// A value of the command line: JSON, a number in any of our forms, or plain text.
pub(super) fn value_of(text: &str) -> Value {
    if let Ok(value) = parse_json(text) {
        return value;
    }
    match number::integer(text) {
        Ok(value) => match (u64::try_from(value), i64::try_from(value)) {
            (Ok(value), _) => Value::U64(value),
            (_, Ok(value)) => Value::I64(value),
            _ => Value::I128(value),
        },
        Err(_) => Value::from(text),
    }
}

fn resize(
    object: &mut OpenObject,
    place: &str,
    value: &str,
    args: &Args,
) -> std::result::Result<(), Failure> {
    let (name, field) = place.split_once(':').unwrap_or((place, "max_entries"));
    let size = || -> std::result::Result<u32, Failure> {
        let size = number::size(value).map_err(|error| usage(format!("map '{name}': {error}")))?;
        u32::try_from(size).map_err(|_| usage(format!("map '{name}': {value} is too large")))
    };
    let mut map = object.map(name)?;
    match field {
        "max_entries" => {
            let wanted = size()?;
            map.set_max_entries(wanted)?;
            let rounded = crate::object::ring_size(wanted);
            if map.map_type().is_stream() && rounded != wanted {
                notice(args, &format!("map '{name}': {wanted} bytes are rounded up to {rounded}"));
            }
        }
        "value_size" => map.set_value_size(size()?)?,
        "flags" => map.set_flags(size()?)?,
        "autocreate" => map.set_autocreate(value != "0" && value != "false")?,
        _ => {
            let text = "max_entries, value_size, flags or autocreate";
            return Err(usage(format!("map '{name}': unknown field '{field}'; one of {text}")));
        }
    }
    Ok(())
}

/// Loads an object, and says what may surprise.
pub(super) fn load_object(object: OpenObject, args: &Args) -> std::result::Result<Object, Failure> {
    let is_empty = object.program_names().is_empty();
    let object = object.load()?;
    if args.verbose > 0 {
        tell_text(&object.log().terminal_text());
    }
    if is_empty {
        notice(args, "the object has no programs; only its maps exist");
    }
    Ok(object)
}

/// Attaches the programs of an object, as the options say.
pub(super) fn attach(object: &Object, args: &Args) -> std::result::Result<Vec<Attached>, Failure> {
    let mode = args.attach.unwrap_or(match args.hooks.is_empty() {
        true => AttachMode::Auto,
        false => AttachMode::None,
    });
    let links = hooks::attach_object(object, &args.hooks, mode == AttachMode::Auto)?;
    if links.is_empty() && mode == AttachMode::Auto {
        let by_hook = |it: &Program| it.prog_type() != ProgType::SYSCALL;
        for program in object.programs().filter(by_hook) {
            let (name, kind) = (program.name(), program.prog_type());
            notice(args, &format!("program '{name}' is {kind} and is attached with --hook only"));
        }
    }
    Ok(links)
}

/// `tinybpf load`
pub(super) fn load(args: &Args, world: &mut World<'_>) -> std::result::Result<u8, Failure> {
    let mut words = Words::of(args);
    let path = words.path("OBJECT")?;
    words.end()?;
    if args.pin.is_none() && !args.hold {
        return Err(usage(
            "nothing would be left when this command ends: pin with --pin DIR, or --hold",
        ));
    }
    if let Some(directory) = &args.pin {
        check_room(directory, args)?;
    }
    let object = load_object(open(&path, args)?, args)?;
    make_room(args)?;
    let mut loaded = Loaded { links: attach(&object, args)?, object };
    if let Some(directory) = &args.pin {
        pin_all(directory, &mut loaded)?;
    }
    let printed = world.print(&report(&loaded, args.json));
    if args.hold && printed.is_ok() {
        wait::for_signal()?;
    }
    end(loaded, args.pin.is_some())?;
    printed?;
    Ok(0)
}

/// Detaches what is not pinned, and lets go of what is.
pub(super) fn end(loaded: Loaded, is_pinned: bool) -> Result<()> {
    let links: Vec<Link> = loaded.links.into_iter().map(|it| it.link).collect();
    if is_pinned {
        links.into_iter().for_each(hooks::let_go);
        return Ok(());
    }
    Link::detach_all(links)
}

/// That a directory for pins is free, or may be made so.
pub(super) fn check_room(directory: &Path, args: &Args) -> std::result::Result<(), Failure> {
    bpffs::check(&directory.join(PROGS))?;
    if args.replace || pins(directory)?.is_empty() {
        return Ok(());
    }
    let error = Error::new(Kind::Exists, Op::Pin, directory.display().to_string());
    Err(error
        .with_detail("there are pins already")
        .with_hint("remove them with `tinybpf unload`, or replace them with --replace")
        .into())
}

/// Removes what is replaced. Not before the new object is loaded: one that the kernel rejects
/// leaves the old one at work. Not after it is attached: many hooks take only one program.
pub(super) fn make_room(args: &Args) -> Result<()> {
    match &args.pin {
        Some(directory) if args.replace => remove_pins(directory, false),
        _ => Ok(()),
    }
}

/// The pins of the object that was loaded with this directory.
fn pins(directory: &Path) -> Result<Vec<Pin>> {
    let mut found = Vec::new();
    for kind in [LINKS, PROGS, MAPS] {
        found.extend(find::pins_in(&directory.join(kind))?);
    }
    Ok(found)
}

/// Pins programs, maps and links, in an order in which nothing is attached unseen; takes back what
/// it pinned when one fails.
pub(super) fn pin_all(directory: &Path, loaded: &mut Loaded) -> Result<()> {
    let mut done: Vec<PathBuf> = Vec::new();
    let result = pin_each(directory, loaded, &mut done);
    if let Err(mut error) = result {
        for path in done.iter().rev() {
            if let Err(undo) = bpffs::unpin(path) {
                error = error.with_undo(undo);
            }
        }
        remove_directories(directory);
        return Err(error);
    }
    Ok(())
}

fn pin_each(directory: &Path, loaded: &mut Loaded, done: &mut Vec<PathBuf>) -> Result<()> {
    let place = |kind: &str, name: &str| directory.join(kind).join(bpffs::pin_name(name));
    for map in loaded.object.maps() {
        let path = place(MAPS, map.name());
        map.pin(&path)?;
        done.push(path);
    }
    for program in loaded.object.programs() {
        let path = place(PROGS, program.name());
        program.pin(&path)?;
        done.push(path);
    }
    for attached in &mut loaded.links {
        // Struct operations without a link of the kernel's live in their map, which has its pin.
        if attached.link.as_fd().and_then(bpffs::what_is) == Some(What::Map) {
            continue;
        }
        let path = place(LINKS, &attached.name);
        attached.link.pin(&path)?;
        done.push(path);
    }
    Ok(())
}

/// `1 map`, `2 maps`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn report(loaded: &Loaded, json: bool) -> String {
    let (programs, maps) = (loaded.object.programs(), loaded.object.maps());
    if !json {
        let (programs, maps) = (counted(programs.count(), "program"), counted(maps.count(), "map"));
        let mut text = format!("loaded {programs} and {maps}\n");
        for it in &loaded.links {
            text.push_str(&format!("attached {} to {}\n", it.name, it.link.describe()));
        }
        return text;
    }
    let programs: Vec<_> = programs
        .map(|it| json!({ "name": it.name(), "id": it.info().ok().map(|info| info.id) }))
        .collect();
    let maps: Vec<_> = maps
        .map(|it| json!({ "name": it.name(), "id": it.info().ok().map(|info| info.id) }))
        .collect();
    let links: Vec<_> = loaded
        .links
        .iter()
        .map(|it| {
            let id = it.link.info().ok().map(|info| info.id);
            json!({ "name": it.name, "id": id, "hook": it.link.describe() })
        })
        .collect();
    let name = loaded.object.name();
    let value = json!({ "object": name, "programs": programs, "maps": maps, "links": links });
    format!("{value}\n")
}

/// `tinybpf unload`
pub(super) fn unload(args: &Args, world: &mut World<'_>) -> std::result::Result<u8, Failure> {
    let mut words = Words::of(args);
    let directory = words.path("DIR")?;
    words.end()?;
    let subject = directory.display().to_string();
    if !directory.exists() {
        return Err(Error::new(Kind::NotFound, Op::Open, subject)
            .with_detail("no such directory")
            .into());
    }
    bpffs::check(&directory.join(PROGS))?;
    let removed: Vec<Pin> = pins(&directory)?
        .into_iter()
        .filter(|pin| !(args.keep_maps && pin.what == What::Map))
        .collect();
    remove_pins(&directory, args.keep_maps)?;
    let text = if args.json {
        let paths: Vec<String> = removed.iter().map(|it| it.path.display().to_string()).collect();
        format!("{}\n", json!({ "removed": paths }))
    } else {
        format!("removed {}\n", counted(removed.len(), "pin"))
    };
    world.print(&text)?;
    Ok(0)
}

/// Removes an object's pins, links first, then the directories that are empty.
fn remove_pins(directory: &Path, keep_maps: bool) -> Result<()> {
    let mut pins = pins(directory)?;
    let rank = |what: What| match what {
        What::Link => 0,
        What::Program => 1,
        What::Map => 2,
    };
    pins.retain(|pin| !(keep_maps && pin.what == What::Map));
    sorting::sort_by_key(&mut pins, |pin| rank(pin.what));
    // Each detach waits for the kernel, so they wait together.
    let (links, rest): (Vec<Pin>, Vec<Pin>) =
        pins.into_iter().partition(|it| it.what == What::Link);
    let open = links.iter().map(|pin| Link::from_pin(&pin.path)).collect::<Result<Vec<Link>>>()?;
    Link::detach_all(open)?;
    for pin in rest {
        unregister(&pin);
        bpffs::unpin(&pin.path)?;
    }
    remove_directories(directory);
    Ok(())
}

/// Struct operations without a link are registered as long as the element of their map is there.
fn unregister(pin: &Pin) {
    if pin.what != What::Map {
        return;
    }
    let Ok(map) = Map::from_pin(&pin.path) else { return };
    if map.map_type() == crate::kinds::MapType::STRUCT_OPS {
        // One with a link was never registered by its element, and says so.
        drop(map.delete(&0_u32.to_ne_bytes()));
    }
}

/// Removes the directories of an object's pins, as far as they are empty.
fn remove_directories(directory: &Path) {
    for kind in [LINKS, PROGS, MAPS] {
        drop(std::fs::remove_dir(directory.join(kind)));
    }
    // One that is not empty stays.
    drop(std::fs::remove_dir(directory));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json_numbers_or_text() {
        for (text, want) in [
            ("7", Value::U64(7)),
            ("-7", Value::I64(-7)),
            ("0x10", Value::U64(16)),
            ("true", Value::Bool(true)),
            ("\"a\"", Value::from("a")),
            ("plain text", Value::from("plain text")),
        ] {
            assert_eq!(value_of(text), want, "{text}");
        }
    }
}
