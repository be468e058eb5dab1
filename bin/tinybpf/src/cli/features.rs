// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tinybpf features`: what this kernel can do, found out by trying.

use plinth::err::Failure;
use plinth::text::Table;
use serde_json::json;

use super::words::{Words, usage};
use super::{Args, World};
use crate::features::{self, Feature};
use plinth::near::nearest;

/// A feature that was asked for is not there.
const MISSING: u8 = 9;

/// `tinybpf features`
pub(super) fn features(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    Words::of(args).end()?;
    if !args.require.is_empty() {
        return require(args, world);
    }
    let found = features::probe();
    let types = args.full.then(|| (features::program_types(), features::map_types()));
    let text = if args.json {
        let items: Vec<_> = found.iter().map(as_json).collect();
        let mut value = json!({ "features": items });
        if let (Some((programs, maps)), Some(members)) = (&types, value.as_object_mut()) {
            let list = |all: Vec<(String, bool)>| -> serde_json::Value {
                all.into_iter().map(|(name, has)| json!({ "type": name, "present": has })).collect()
            };
            let programs = programs.iter().map(|(kind, has)| (kind.to_string(), *has)).collect();
            let maps = maps.iter().map(|(kind, has)| (kind.to_string(), *has)).collect();
            members.insert("program_types".to_owned(), list(programs));
            members.insert("map_types".to_owned(), list(maps));
        }
        format!("{value}\n")
    } else {
        let mut table = Table::new(&["FEATURE", "SINCE", "PRESENT"]);
        for it in &found {
            let since = format!("{}.{}", it.since.0, it.since.1);
            table.row([it.name, &since, yes(it.present)]);
        }
        let mut text = table.to_string();
        if let Some((programs, maps)) = types {
            let mut table = Table::new(&["TYPE", "OF", "PRESENT"]);
            for (kind, has) in programs {
                table.row([kind.to_string().as_str(), "program", yes(has)]);
            }
            for (kind, has) in maps {
                table.row([kind.to_string().as_str(), "map", yes(has)]);
            }
            text.push('\n');
            text.push_str(&table.to_string());
        }
        text
    };
    world.print(&text)?;
    Ok(0)
}

const fn yes(present: bool) -> &'static str {
    if present { "yes" } else { "no" }
}

fn as_json(it: &Feature) -> serde_json::Value {
    let since = format!("{}.{}", it.since.0, it.since.1);
    json!({ "name": it.name, "since": since, "present": it.present })
}

/// Probes only what is asked for.
fn require(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut missing = Vec::new();
    for name in &args.require {
        let Some(feature) = features::probe_one(name) else {
            let near = nearest(name, features::names(), 3).join(", ");
            let all: Vec<&str> = features::names().collect();
            let list = if near.is_empty() { all.join(", ") } else { near };
            return Err(usage(format!("unknown feature '{name}'; there are {list}")));
        };
        if !feature.present {
            missing.push(feature);
        }
    }
    let text = if args.json {
        let items: Vec<_> = missing.iter().map(as_json).collect();
        format!("{}\n", json!({ "missing": items }))
    } else {
        let line =
            |it: &Feature| format!("missing {} (since {}.{})\n", it.name, it.since.0, it.since.1);
        missing.iter().map(line).collect()
    };
    world.print(&text)?;
    Ok(if missing.is_empty() { 0 } else { MISSING })
}
