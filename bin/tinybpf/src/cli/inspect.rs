// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tinybpf inspect`: what is in an object, without the kernel and without privileges.

use std::fmt::Write as _;
use std::path::Path;

use plinth::err::Failure;
use plinth::text::Table;
use serde_json::{Value as Json, json};

use super::words::Words;
use super::{Args, BAD_INPUT, World, input};
use crate::btf::{Btf, Kind};
use crate::elf::{self, Extern, ExternKind, Global, Inspection, Map, Needs, Pinning, Program};
use crate::value::Format;

/// `tinybpf inspect`
pub(super) fn inspect(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut words = Words::of(args);
    let path = words.path("OBJECT")?;
    words.end()?;
    let found = read(&path)?;
    let text = if args.skeleton {
        skeleton(&found, &path)
    } else if args.json {
        format!("{}\n", as_json(&found, args.types))
    } else {
        as_text(&found, args.types)
    };
    world.print(&text)?;
    Ok(0)
}

/// Reads an object file of either byte order.
pub(super) fn read(path: &Path) -> Result<Inspection, Failure> {
    let subject = path.display().to_string();
    let bytes = input(path)?;
    elf::inspect(&bytes)
        .map_err(|refusal| Failure::new(BAD_INPUT, format!("'{subject}' {refusal}")))
}

fn type_name(btf: Option<&Btf>, id: Option<crate::btf::TypeId>) -> Option<String> {
    Some(btf?.spell(id?))
}

fn as_json(found: &Inspection, types: bool) -> Json {
    let btf = found.btf.as_ref();
    let needs = elf::needs(found);
    let mut json = json!({
        "byte_order": found.order.to_string(),
        "license": found.license,
        "programs": found.programs.iter().map(program_json).collect::<Vec<_>>(),
        "maps": found.maps.iter().map(|it| map_json(it, btf)).collect::<Vec<_>>(),
        "globals": found.globals.iter().map(|it| global_json(it, btf)).collect::<Vec<_>>(),
        "externs": found.externs.iter().map(extern_json).collect::<Vec<_>>(),
        "relocations": found.relocations,
        "btf": btf.is_some(),
        "structs": anchored(found),
        "needs": {
            "capabilities": needs.capabilities,
            "kernel": version(needs.kernel),
            "features": needs
                .features
                .iter()
                .map(|(name, since)| json!({ "name": name, "kernel": version(*since) }))
                .collect::<Vec<_>>(),
        },
    });
    if let (true, Some(btf), Some(members)) = (types, btf, json.as_object_mut()) {
        members.insert("types".to_owned(), json!(layouts(btf)));
    }
    json
}

fn version((major, minor): (u16, u16)) -> String {
    format!("{major}.{minor}")
}

fn program_json(it: &Program) -> Json {
    let meaning = it.meaning();
    json!({
        "name": it.name,
        "section": it.section,
        "type": meaning.rule.and_then(|rule| rule.prog_type.name()),
        "target": meaning.target,
        "sleepable": meaning.rule.is_some_and(|rule| rule.is_sleepable),
        "autoload": meaning.is_loaded,
        "autoattach": meaning.attaches(),
        "instructions": it.instructions,
    })
}

fn map_json(it: &Map, btf: Option<&Btf>) -> Json {
    json!({
        "name": it.name,
        "type": it.map_type.to_string(),
        "key_size": it.key_size,
        "value_size": it.value_size,
        "max_entries": it.max_entries,
        "flags": it.flags,
        "pinning": if it.pinning == Pinning::ByName { "by_name" } else { "none" },
        "key": type_name(btf, it.key),
        "value": type_name(btf, it.value),
    })
}

fn global_json(it: &Global, btf: Option<&Btf>) -> Json {
    let default = it.default.as_ref().map(|value| value.to_json(Format::default()));
    let default = default.and_then(|text| serde_json::from_str::<Json>(&text).ok());
    json!({
        "name": it.name,
        "section": it.section,
        "type": type_name(btf, Some(it.ty)),
        "size": it.size,
        "default": default,
    })
}

fn extern_json(it: &Extern) -> Json {
    json!({ "name": it.name, "kind": extern_kind(it.kind), "weak": it.is_weak })
}

const fn extern_kind(kind: ExternKind) -> &'static str {
    match kind {
        ExternKind::Kconfig => "kconfig",
        ExternKind::Variable => "variable",
        ExternKind::Function => "function",
    }
}

/// The layouts of the structs that events may have.
fn anchored(found: &Inspection) -> Vec<String> {
    let Some(btf) = &found.btf else { return Vec::new() };
    btf.anchored().into_iter().filter_map(|id| btf.c_struct(id).ok()).collect()
}

fn layouts(btf: &Btf) -> Vec<String> {
    let is_struct = |kind| matches!(kind, Kind::Struct | Kind::Union);
    let structs = btf.types().filter(|(id, it)| is_struct(it.kind()) && !btf.name(*id).is_empty());
    structs.filter_map(|(id, _)| btf.c_struct(id).ok()).collect()
}

fn as_text(found: &Inspection, types: bool) -> String {
    let btf = found.btf.as_ref();
    let license = found.license.as_deref().unwrap_or("none");
    let mut out = String::new();
    let _ = writeln!(out, "license {license}, {}, {} relocations", found.order, found.relocations);
    if btf.is_none() {
        out.push_str("no BTF: the object cannot be loaded; compile with -g\n");
    }
    programs_text(found, &mut out);
    maps_text(found, &mut out);
    variables_text(found, &mut out);
    needs_text(&elf::needs(found), &mut out);
    let structs = match (types, btf) {
        (true, Some(btf)) => layouts(btf),
        _ => anchored(found),
    };
    for layout in structs {
        let _ = write!(out, "\n{layout}");
    }
    out
}

fn programs_text(found: &Inspection, out: &mut String) {
    let mut table = Table::new(&["PROGRAM", "SECTION", "TYPE", "INSNS", "LOADED", "ATTACHED"]);
    for it in &found.programs {
        let meaning = it.meaning();
        let kind = meaning.rule.and_then(|rule| rule.prog_type.name()).unwrap_or("unknown");
        let insns = it.instructions.to_string();
        let loaded = if meaning.is_loaded { "yes" } else { "on demand" };
        let attached = if meaning.attaches() { "auto" } else { "by hook" };
        table.row([it.name.as_str(), &it.section, kind, &insns, loaded, attached]);
    }
    if !table.is_empty() {
        let _ = write!(out, "\n{table}");
    }
}

fn maps_text(found: &Inspection, out: &mut String) {
    let btf = found.btf.as_ref();
    let mut table = Table::new(&["MAP", "TYPE", "KEY", "VALUE", "ENTRIES", "FLAGS", "PINNED"]);
    for it in &found.maps {
        let sized = |id, size: u64| match type_name(btf, id) {
            Some(name) => format!("{name} ({size})"),
            None => size.to_string(),
        };
        table.row([
            it.name.clone(),
            it.map_type.to_string(),
            sized(it.key, it.key_size),
            sized(it.value, it.value_size),
            it.max_entries.to_string(),
            format!("{:#x}", it.flags),
            if it.pinning == Pinning::ByName { "by name".to_owned() } else { String::new() },
        ]);
    }
    if !table.is_empty() {
        let _ = write!(out, "\n{table}");
    }
}

fn variables_text(found: &Inspection, out: &mut String) {
    let btf = found.btf.as_ref();
    let mut table = Table::new(&["VARIABLE", "SECTION", "TYPE", "DEFAULT"]);
    for it in &found.globals {
        let kind = type_name(btf, Some(it.ty)).unwrap_or_default();
        let default = it.default.as_ref().map(|value| value.to_json(Format::default()));
        table.row([&it.name, &it.section, &kind, &default.unwrap_or_default()]);
    }
    if !table.is_empty() {
        let _ = write!(out, "\n{table}");
    }
    let mut table = Table::new(&["EXTERN", "KIND", "WEAK"]);
    for it in &found.externs {
        table.row([it.name.as_str(), extern_kind(it.kind), if it.is_weak { "yes" } else { "no" }]);
    }
    if !table.is_empty() {
        let _ = write!(out, "\n{table}");
    }
}

fn needs_text(needs: &Needs, out: &mut String) {
    let _ = writeln!(out, "\nneeds {}", needs.capabilities.join(", "));
    let _ = write!(out, "needs kernel {}", version(needs.kernel));
    let features = needs.features.iter().map(|(name, since)| format!("{name} {}", version(*since)));
    let features: Vec<String> = features.collect();
    if !features.is_empty() {
        let _ = write!(out, " ({})", features.join(", "));
    }
    out.push('\n');
}

/// The block that a Rust program embeds the object with.
fn skeleton(found: &Inspection, path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.trim_end_matches(".o").trim_end_matches(".bpf");
    let mut out = format!("bpf::bpf_skeleton! {{\n    {stem} {:?};\n", path.display().to_string());
    let list = |names: Vec<&str>| names.join(", ");
    let programs = found.programs.iter().map(|it| it.name.as_str()).collect();
    let maps = found.maps.iter().map(|it| it.name.as_str()).collect();
    let _ = writeln!(out, "    programs {{ {} }}", list(programs));
    let _ = writeln!(out, "    maps {{ {} }}", list(maps));
    let constants = found.globals.iter().filter(|it| it.section.starts_with(".rodata"));
    let constants: Vec<String> = constants
        .filter_map(|it| Some(format!("{}: {}", it.name, rust_type(found.btf.as_ref()?, it)?)))
        .collect();
    let _ = writeln!(out, "    rodata {{ {} }}", constants.join(", "));
    out.push_str("}\n");
    out
}

/// The Rust type of a variable, for those that have one.
fn rust_type(btf: &Btf, global: &Global) -> Option<String> {
    let id = btf.resolve(global.ty).ok()?;
    match &btf.get(id).ok()?.body {
        crate::btf::Body::Int(int) if int.is_bool => Some("bool".to_owned()),
        crate::btf::Body::Int(int) => {
            Some(format!("{}{}", if int.is_signed { 'i' } else { 'u' }, int.size * 8))
        }
        crate::btf::Body::Float { size } => Some(format!("f{}", size * 8)),
        _ => None,
    }
}
