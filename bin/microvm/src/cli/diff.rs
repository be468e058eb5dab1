// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm diff`: how machines differ, by their options and by their command lines.
//!
//! Two machines are compared, or three states of one: what runs, what is to run at the next start,
//! what is described.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

use plinth::err::{FAILED, Failure};
use serde_json::{Value, json};

use super::load::{overlay_fits, usage};
use super::machine::{Machine, machines, of_package};
use super::{Args, NOT_FOUND, World, host};
use crate::quote::shell;
use crate::view::{Difference, Need, differences, need};

type Side = BTreeMap<String, Machine>;

/// `microvm diff`
pub(super) fn diff(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let found = match args.words.as_slice() {
        [name] => states(name, args)?,
        [before, after] => {
            let ends = [before, after].map(|word| word.to_string_lossy().into_owned());
            let found = compare(&ends, side(before, args)?, side(after, args)?);
            overlay_fits(&args.words, args)?;
            found
        }
        _ => return Err(usage("one machine of this host, or two of any kind, are needed")),
    };
    print(&found, args, world)?;
    Ok(if found.is_empty() { 0 } else { FAILED })
}

/// The machines that a word names, by their own names.
fn side(word: &OsStr, args: &Args) -> Result<Side, Failure> {
    Ok(machines(word, args)?.into_iter().map(|it| (it.name.clone(), it)).collect())
}

/// What runs of a machine of this host, what is to run, and what is described.
fn states(name: &OsStr, args: &Args) -> Result<Vec<Found>, Failure> {
    let path = Path::new(name);
    let Some(current) = host::package(args, path, "current") else {
        let text = format!("no machine '{}' on this host", path.display());
        return Err(Failure::new(NOT_FOUND, text));
    };
    let only = |machine: Machine| BTreeMap::from([(String::new(), machine)]);
    let mut found = Vec::new();
    let booted = host::package(args, path, "booted");
    let runs = booted.is_some();
    if let Some(booted) = booted {
        let ends = ["booted", "current"].map(str::to_owned);
        let pair = compare(&ends, only(of_package(&booted)?), only(of_package(&current)?));
        found.extend(pair.into_iter().map(|it| Found { name: ends.join(" -> "), runs, ..it }));
    }
    if let Some(source) = host::source(args, path) {
        let mut described = side(source.as_os_str(), args)?;
        let wanted = described.remove(&*name.to_string_lossy());
        if let Some(machine) = wanted.or_else(|| described.into_values().next()) {
            let ends = ["current", "description"].map(str::to_owned);
            let pair = compare(&ends, only(of_package(&current)?), only(machine));
            found.extend(pair.into_iter().map(|it| Found { name: ends.join(" -> "), runs, ..it }));
        }
    }
    Ok(found)
}

/// How two sides differ, which `ends` name.
fn compare(ends: &[String; 2], mut before: Side, mut after: Side) -> Vec<Found> {
    // Two single machines are compared, whatever their names.
    if before.len() == 1 && after.len() == 1 {
        before = before.into_values().map(|it| (String::new(), it)).collect();
        after = after.into_values().map(|it| (String::new(), it)).collect();
    }
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let [from, to] = ends;
        let from = before.contains_key(name).then(|| from.clone());
        let to = after.contains_key(name).then(|| to.clone());
        let (options, words) = match (before.get(name), after.get(name)) {
            (Some(before), Some(after)) => {
                (options(before, after), words(&before.argv, &after.argv))
            }
            (Some(_), None) => (Vec::new(), vec![format!("- machine {name}")]),
            (None, _) => (Vec::new(), vec![format!("+ machine {name}")]),
        };
        if !options.is_empty() || !words.is_empty() {
            found.push(Found { name: name.clone(), from, to, runs: false, options, words });
        }
    }
    found
}

/// The options that differ, and what each needs of the first machine, should it run.
fn options(before: &Machine, after: &Machine) -> Vec<(Difference, Need)> {
    let has_balloon = before.tree.get("bin/microvm-balloon").is_some();
    let needs = |it: Difference| {
        let need = need(&it, &before.config, has_balloon);
        (it, need)
    };
    differences(&before.config, &after.config).into_iter().map(needs).collect()
}

struct Found {
    name: String,
    /// What is compared, and with what; `None` where there is no such machine.
    from: Option<String>,
    to: Option<String>,
    /// Whether the first machine runs.
    runs: bool,
    options: Vec<(Difference, Need)>,
    words: Vec<String>,
}

impl Found {
    fn json(&self) -> Value {
        let one = |(it, need): &(Difference, Need)| {
            let mut value = json!({ "key": it.key, "before": it.before, "after": it.after });
            if let (true, Some(members)) = (self.runs, value.as_object_mut()) {
                members.insert("needs".to_owned(), need.to_string().into());
            }
            value
        };
        let options: Vec<Value> = self.options.iter().map(one).collect();
        let words = |sign: &str| -> Vec<&str> {
            // A machine that only one side has is told by the other end alone.
            let is_pair = self.from.is_some() && self.to.is_some();
            let lines = self.words.iter().filter(|_| is_pair);
            lines.filter_map(|line| line.strip_prefix(sign)).collect()
        };
        json!({
            "name": self.name,
            "from": self.from,
            "to": self.to,
            "options": options,
            "removed": words("- "),
            "added": words("+ "),
        })
    }

    fn lines(&self) -> Vec<String> {
        let one = |(it, need): &(Difference, Need)| {
            if self.runs { format!("{it} ({need})") } else { it.to_string() }
        };
        self.options.iter().map(one).chain(self.words.iter().cloned()).collect()
    }
}

fn print(found: &[Found], args: &Args, world: &mut World<'_>) -> Result<(), Failure> {
    if args.json {
        let all = found.iter().map(Found::json).collect();
        return world.print(&format!("{:#}\n", Value::Array(all)));
    }
    for it in found {
        if !it.name.is_empty() {
            world.print(&format!("# {}\n", it.name))?;
        }
        for line in it.lines() {
            world.print(&format!("{line}\n"))?;
        }
    }
    Ok(())
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
