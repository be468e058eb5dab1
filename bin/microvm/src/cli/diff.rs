// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm diff`: how two machines differ, by their options and by their command lines.
//!
//! A machine is one of a description, or that of a runner package.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use plinth::err::{FAILED, Failure};
use serde_json::{Value, json};

use super::load::{plan_options, usage, valid};
use super::{Args, NOT_FOUND, World};
use crate::package::RUNNER;
use crate::plan::{Word, plan};
use crate::quote::shell;
use crate::view::{Difference, differences};

/// The largest `runner.json` that is read.
const RUNNER_MAX: usize = 16 << 20;

/// One machine of a side.
struct Side {
    config: Value,
    argv: Vec<String>,
}

/// `microvm diff`
pub(super) fn diff(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let [before, after] = args.words.as_slice() else {
        return Err(usage("two descriptions or packages are needed"));
    };
    let (mut before, mut after) = (side(before, args)?, side(after, args)?);
    // Two single machines are compared, whatever their names.
    if before.len() == 1 && after.len() == 1 {
        before = before.into_values().map(|it| (String::new(), it)).collect();
        after = after.into_values().map(|it| (String::new(), it)).collect();
    }
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        match (before.get(name), after.get(name)) {
            (Some(before), Some(after)) => {
                let options = differences(&before.config, &after.config);
                let words = words(&before.argv, &after.argv);
                if !options.is_empty() || !words.is_empty() {
                    found.push(Found { name, options, words });
                }
            }
            (before, _) => {
                let word = if before.is_some() { "- machine" } else { "+ machine" };
                found.push(Found {
                    name,
                    options: Vec::new(),
                    words: vec![format!("{word} {name}")],
                });
            }
        }
    }
    print(&found, args, world)?;
    Ok(if found.is_empty() { 0 } else { FAILED })
}

struct Found<'a> {
    name: &'a str,
    options: Vec<Difference>,
    words: Vec<String>,
}

fn print(found: &[Found<'_>], args: &Args, world: &mut World<'_>) -> Result<(), Failure> {
    if args.json {
        let one =
            |it: &Difference| json!({ "key": it.key, "before": it.before, "after": it.after });
        let all = found.iter().map(|it| {
            let options: Vec<Value> = it.options.iter().map(one).collect();
            json!({ "name": it.name, "options": options, "argv": it.words })
        });
        return world.print(&format!("{:#}\n", Value::Array(all.collect())));
    }
    for it in found {
        if !it.name.is_empty() {
            world.print(&format!("# {}\n", it.name))?;
        }
        for line in it.options.iter().map(ToString::to_string).chain(it.words.iter().cloned()) {
            world.print(&format!("{line}\n"))?;
        }
    }
    Ok(())
}

/// The machines of a description or a package, by their names.
fn side(word: &OsStr, args: &Args) -> Result<BTreeMap<String, Side>, Failure> {
    let path = Path::new(word);
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return package(path);
    }
    let loaded = valid(word, args)?;
    let options = plan_options(args);
    let machines = loaded.machines.iter().map(|machine| {
        let plan = plan(&machine.vm, &options);
        let argv = std::iter::once(plan.program).chain(plan.words.iter().map(Word::shown));
        let side = Side { config: machine.vm.to_json(), argv: argv.collect() };
        (machine.name.clone(), side)
    });
    Ok(machines.collect())
}

fn package(path: &Path) -> Result<BTreeMap<String, Side>, Failure> {
    let file = path.join(RUNNER);
    let bytes = plinth::file::read(&file, RUNNER_MAX).map_err(|error| {
        Failure::new(NOT_FOUND, format!("{} is no runner package: {error}", path.display()))
    })?;
    let runner: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::new(FAILED, format!("{}: {error}", file.display())))?;
    let words = runner.get("argv").and_then(Value::as_array).into_iter().flatten();
    let argv = words.filter_map(Value::as_str).map(str::to_owned).collect();
    let name = runner.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let config = runner.get("config").cloned().unwrap_or_default();
    Ok(BTreeMap::from([(name, Side { config, argv })]))
}

/// A flag with its values on each line: the lines that only one side has, in the order of both.
fn words(before: &[String], after: &[String]) -> Vec<String> {
    let (before, after) = (grouped(before), grouped(after));
    let mut lines = Vec::new();
    let mut rest = after.iter();
    for line in &before {
        // What the other side has too is a point where both are at the same place again.
        match rest.clone().position(|other| other == line) {
            Some(at) => {
                lines.extend(rest.by_ref().take(at).map(|other| format!("+ {other}")));
                rest.next();
            }
            None => lines.push(format!("- {line}")),
        }
    }
    lines.extend(rest.map(|other| format!("+ {other}")));
    lines
}

fn grouped(words: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if !word.starts_with('-') => {
                line.push(' ');
                line.push_str(&shell(word));
            }
            _ => lines.push(shell(word)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(before: &str, after: &str) -> Vec<String> {
        let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        words(&list(before), &list(after))
    }

    #[test]
    fn flags_are_compared_with_their_values() {
        assert!(lines("q -m 1 -x", "q -m 1 -x").is_empty());
        assert_eq!(lines("q -m 1 -x", "q -m 2 -x"), ["- -m 1", "+ -m 2"]);
        assert_eq!(lines("q -a -b -c", "q -b -c -d"), ["- -a", "+ -d"]);
        assert_eq!(lines("q", "p"), ["- q", "+ p"]);
    }
}
