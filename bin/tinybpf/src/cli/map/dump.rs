// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Maps as a whole: what they are, and all of their elements.

use std::ops::ControlFlow;

use plinth::err::Failure;
use serde_json::json;

use super::super::words::Words;
use super::super::{Args, World, find};
use super::{Done, Elements, opened_alone};
use crate::error::Result;
use crate::map::Map;

/// Elements that are read in one call of the kernel.
const BATCH: usize = 4096;
/// Bytes that are gathered before they are written.
const CHUNK: usize = 1 << 16;

/// `tinybpf map show`
pub(super) fn show(mut words: Words, args: &Args, world: &mut World<'_>) -> Done {
    let map = find::map(&words.reference("MAP")?)?;
    words.end()?;
    let (info, (frozen, memory)) = (map.info()?, map.frozen_and_memory());
    let shape = info.shape;
    let btf = if info.btf == 0 { None } else { find::btf(info.btf).ok() };
    let spell = |id: u32| {
        let btf = btf.as_deref().filter(|_| id != 0)?;
        Some(btf.spell(crate::btf::TypeId(id)))
    };
    let value = json!({
        "id": info.id,
        "name": info.name,
        "type": map.map_type().to_string(),
        "key_size": shape.key_size,
        "value_size": shape.value_size,
        "max_entries": shape.max_entries,
        "flags": shape.flags,
        "extra": shape.extra,
        "frozen": frozen,
        "bytes": memory,
        "btf_id": info.btf,
        "key_type": spell(shape.key_type),
        "value_type": spell(shape.value_type),
    });
    let text = if args.json {
        format!("{value}\n")
    } else {
        let members = value.as_object().into_iter().flatten();
        members.map(|(name, value)| format!("{name} {value}\n")).collect()
    };
    world.print(&text)?;
    Ok(0)
}

/// `tinybpf map dump`
pub(super) fn dump(words: Words, args: &Args, world: &mut World<'_>) -> Done {
    let (map, elements) = opened_alone(words, args)?;
    let mut out = Lines::new(world, args.json);
    let mut printed = Ok(());
    map.for_each_batch(BATCH, |key, value| {
        out.begin();
        if out.json {
            out.text.push_str("{\"key\":");
            elements.push_key(key, &mut out.text);
            out.text.push_str(",\"value\":");
            elements.push_value(value, &mut out.text);
            out.text.push('}');
        } else {
            elements.push_key(key, &mut out.text);
            out.text.push(' ');
            elements.push_value(value, &mut out.text);
        }
        match out.end() {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                printed = Err(error);
                ControlFlow::Break(())
            }
        }
    })?;
    printed?;
    out.finish()
}

/// `tinybpf map keys`
pub(super) fn keys(words: Words, args: &Args, world: &mut World<'_>) -> Done {
    let (map, elements) = opened_alone(words, args)?;
    let mut out = Lines::new(world, args.json);
    for key in map.keys() {
        out.begin();
        elements.push_key(&key?, &mut out.text);
        out.end()?;
    }
    out.finish()
}

/// The elements of a map as they are, as JSON, by key.
pub(super) fn snapshot(
    map: &Map,
    elements: &Elements,
) -> Result<std::collections::BTreeMap<String, String>> {
    let mut found = std::collections::BTreeMap::new();
    map.for_each_batch(BATCH, |bytes, value_bytes| {
        let (mut key, mut value) = (String::new(), String::new());
        elements.push_key(bytes, &mut key);
        elements.push_value(value_bytes, &mut value);
        found.insert(key, value);
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Elements on their way out: an array in JSON, else a line each.
struct Lines<'w, 'o> {
    world: &'w mut World<'o>,
    json: bool,
    text: String,
    count: u64,
}

impl<'w, 'o> Lines<'w, 'o> {
    fn new(world: &'w mut World<'o>, json: bool) -> Self {
        Self { world, json, text: String::with_capacity(CHUNK + 4096), count: 0 }
    }

    fn begin(&mut self) {
        if self.json {
            self.text.push_str(if self.count == 0 { "[\n" } else { ",\n" });
        }
        self.count += 1;
    }

    fn end(&mut self) -> std::result::Result<(), Failure> {
        if !self.json {
            self.text.push('\n');
        }
        if self.text.len() >= CHUNK {
            self.world.print(&self.text)?;
            self.text.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> std::result::Result<u8, Failure> {
        if self.json {
            self.text.push_str(if self.count == 0 { "[]\n" } else { "\n]\n" });
        }
        self.world.print(&self.text)?;
        Ok(0)
    }
}
