// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Single elements, and what is done to a whole map.

use std::path::Path;

use plinth::err::Failure;
use serde_json::json;

use super::super::words::{Words, usage};
use super::super::{Args, NOT_FOUND, World, find};
use super::{Done, Elements, opened, opened_alone};
use crate::error::{Error, Kind, Op};
use crate::kinds::MapType;
use crate::map::{Map, Spec};

fn absent(map: &Map, what: &str) -> Failure {
    let error = Error::new(Kind::NotFound, Op::Lookup, map.name());
    Failure::new(NOT_FOUND, error.with_detail(what.to_owned()))
}

/// `tinybpf map get`
pub(super) fn get(mut words: Words, args: &Args, world: &mut World<'_>) -> Done {
    let (map, elements) = opened(&mut words, args)?;
    let key = elements.key(&words.text("KEY")?, &map)?;
    words.end()?;
    let mut text = String::new();
    if map.is_percpu() {
        let values = map.get_percpu(&key)?.ok_or_else(|| absent(&map, "no such key"))?;
        let stride = map.value_size().next_multiple_of(8).max(8);
        let mut all = Vec::new();
        for value in values {
            all.extend_from_slice(&value);
            all.resize(all.len().next_multiple_of(stride), 0);
        }
        elements.push_value(&all, &mut text);
    } else {
        let value = map.get(&key)?.ok_or_else(|| absent(&map, "no such key"))?;
        elements.push_value(&value, &mut text);
    }
    text.push('\n');
    world.print(&text)?;
    Ok(0)
}

/// `tinybpf map set`
pub(super) fn set(mut words: Words, args: &Args) -> Done {
    let (map, elements) = opened(&mut words, args)?;
    let key = elements.key(&words.text("KEY")?, &map)?;
    let value = words.text("VALUE")?;
    words.end()?;
    let values = elements.values(&value, &map)?;
    if map.is_percpu() {
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        map.set_percpu(&key, &values, args.write)?;
    } else if let [value] = values.as_slice() {
        map.set(&key, value, args.write)?;
    }
    Ok(0)
}

/// `tinybpf map del`
pub(super) fn delete(mut words: Words, args: &Args) -> Done {
    let (map, elements) = opened(&mut words, args)?;
    let key = elements.key(&words.text("KEY")?, &map)?;
    words.end()?;
    if map.delete(&key)? { Ok(0) } else { Err(absent(&map, "no such key")) }
}

/// `tinybpf map push`
pub(super) fn push(mut words: Words, args: &Args) -> Done {
    let (map, elements) = opened(&mut words, args)?;
    let value = words.text("VALUE")?;
    words.end()?;
    for value in elements.values(&value, &map)? {
        map.push(&value, args.write)?;
    }
    Ok(0)
}

/// `tinybpf map pop`
pub(super) fn pop(words: Words, args: &Args, world: &mut World<'_>) -> Done {
    let (map, elements) = opened_alone(words, args)?;
    let value = map.pop()?.ok_or_else(|| absent(&map, "the map is empty"))?;
    print(&elements, &value, world)
}

/// `tinybpf map peek`
pub(super) fn peek(words: Words, args: &Args, world: &mut World<'_>) -> Done {
    let (map, elements) = opened_alone(words, args)?;
    let value = map.peek()?.ok_or_else(|| absent(&map, "the map is empty"))?;
    print(&elements, &value, world)
}

fn print(elements: &Elements, value: &[u8], world: &mut World<'_>) -> Done {
    let mut text = String::new();
    elements.push_value(value, &mut text);
    text.push('\n');
    world.print(&text)?;
    Ok(0)
}

/// `tinybpf map clear`
pub(super) fn clear(mut words: Words, args: &Args, world: &mut World<'_>) -> Done {
    let map = find::map(&words.reference("MAP")?)?;
    words.end()?;
    let count =
        if map.map_type().is_keyless() { map.pop_all(|_, _| {})? } else { map.delete_all()? };
    let text = if args.json {
        format!("{}\n", json!({ "cleared": count }))
    } else {
        format!("cleared {count} elements\n")
    };
    world.print(&text)?;
    Ok(0)
}

/// `tinybpf map freeze`
pub(super) fn freeze(mut words: Words) -> Done {
    let map = find::map(&words.reference("MAP")?)?;
    words.end()?;
    map.freeze()?;
    Ok(0)
}

/// `tinybpf map pin`
pub(super) fn pin(mut words: Words) -> Done {
    let map = find::map(&words.reference("MAP")?)?;
    let path = words.path("PATH")?;
    words.end()?;
    map.pin(&path)?;
    Ok(0)
}

/// `tinybpf map create`
pub(super) fn create(mut words: Words, args: &Args, world: &mut World<'_>) -> Done {
    let path = words.path("PIN")?;
    words.end()?;
    let name = args.kind.as_deref().ok_or_else(|| usage("--type says which type of map"))?;
    let map_type = MapType::from_name(name)
        .ok_or_else(|| usage(format!("unknown type of map '{name}'; such as {}", types())))?;
    let has_elements = !map_type.is_stream();
    let (key, value) = match has_elements {
        true if map_type.is_keyless() => (0, args.value_size.unwrap_or(8)),
        true => (args.key_size.unwrap_or(4), args.value_size.unwrap_or(8)),
        false => (args.key_size.unwrap_or(0), args.value_size.unwrap_or(0)),
    };
    let holds_numbers = map_type == MapType::PERF_EVENT_ARRAY;
    let entries = match args.entries {
        Some(entries) => entries,
        None if holds_numbers => 0, // one for each CPU
        None => return Err(usage("--entries says how many elements fit")),
    };
    crate::bpffs::check(&path)?;
    let map = Map::create(&Spec {
        name: &path.file_name().unwrap_or_default().to_string_lossy(),
        map_type,
        key_size: key,
        value_size: if holds_numbers { 4 } else { value },
        max_entries: entries,
        flags: args.map_flags,
        extra: 0,
        inner: None,
    })?;
    map.pin(&path)?;
    let id = map.info()?.id;
    let text = if args.json {
        format!("{}\n", json!({ "id": id, "pin": Path::display(&path).to_string() }))
    } else {
        format!("created map {id}\n")
    };
    world.print(&text)?;
    Ok(0)
}

/// The names of types that can be created without more.
fn types() -> String {
    let names = [MapType::HASH, MapType::ARRAY, MapType::LRU_HASH, MapType::QUEUE];
    names.map(|it| it.to_string()).join(", ")
}
