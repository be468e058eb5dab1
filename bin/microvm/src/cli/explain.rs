// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm explain`: where every word of a command line comes from, and what an option is.

use plinth::err::Failure;
use serde_json::{Value, json};

use super::load::{chosen, first_word, plan_options, usage, valid};
use super::{Args, World};
use crate::pipeline::{Loaded, Machine};
use crate::plan::{Plan, plan};
use crate::quote::{shell, shell_word};
use crate::schema;
use crate::view::{self, Group, groups, option, set_at};

/// `microvm explain`
pub(super) fn explain(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let what = match args.words.get(1) {
        Some(word) => Some(word.to_str().ok_or_else(|| usage("KEY is not UTF-8"))?),
        None => None,
    };
    let loaded = valid(first_word(args), args)?;
    let options = plan_options(args);
    let mut all = serde_json::Map::new();
    for machine in chosen(&loaded, &args.describe)? {
        let plan = plan(&machine.vm, &options);
        let view = Explained { loaded: &loaded, machine, plan: &plan };
        let found = view.find(what)?;
        if args.json {
            all.insert(machine.name.clone(), found.json);
            continue;
        }
        if loaded.is_fleet {
            world.print(&format!("# {}\n", machine.name))?;
        }
        world.print(&found.text)?;
    }
    if args.json {
        world.print(&format!("{:#}\n", Value::Object(all)))?;
    }
    Ok(0)
}

/// An explanation, for people and for programs.
struct Found {
    text: String,
    json: Value,
}

struct Explained<'a> {
    loaded: &'a Loaded,
    machine: &'a Machine,
    plan: &'a Plan,
}

impl Explained<'_> {
    fn find(&self, what: Option<&str>) -> Result<Found, Failure> {
        let groups = groups(self.plan);
        let Some(what) = what else { return Ok(self.words(&groups, true)) };
        let key = what.strip_prefix("microvm.").unwrap_or(what);
        if option(key).is_some() {
            return Ok(self.key(key));
        }
        let bare = what.trim_start_matches('-');
        let is_meant = |group: &&Group<'_>| {
            let flag = group.flag();
            flag.is_some_and(|flag| flag == what || flag.trim_start_matches('-') == bare)
        };
        let meant: Vec<Group<'_>> = groups.iter().filter(is_meant).cloned().collect();
        if meant.is_empty() {
            let mut names = Vec::new();
            schema::walk(&mut |path, _| names.push(path.replace("[]", "")));
            let near = plinth::near::nearest(key, names.iter().map(String::as_str), 1);
            let hint = near.first().map(|name| format!("; did you mean '{name}'?"));
            let hint = hint.unwrap_or_default();
            let what = plinth::text::escape_control(what);
            return Err(usage(format!(
                "'{what}' is neither a key nor an option of this command line{hint}"
            )));
        }
        Ok(self.words(&meant, false))
    }

    /// Where the option is set: `FILE:LINE`, or `None`.
    fn place(&self, path: &str) -> Option<String> {
        let at = self.loaded.files.position(set_at(&self.machine.tree, path)?);
        Some(format!("{}:{}", at.path, at.line))
    }

    /// The words of a command line, group by group.
    fn words(&self, groups: &[Group<'_>], with_program: bool) -> Found {
        let mut text = String::new();
        let mut items = Vec::new();
        if with_program {
            let path = format!("{}.binary", self.machine.vm.hypervisor);
            let place = self.place(&path);
            let from = place.clone().unwrap_or_else(|| "default".to_owned());
            text.push_str(&format!(
                "{}\n    {path}: the program ({from})\n",
                shell(&self.plan.program)
            ));
            items.push(item(
                std::slice::from_ref(&self.plan.program),
                &path,
                "the program",
                place.as_ref(),
            ));
        }
        for group in groups {
            let shown: Vec<String> = group.words.iter().map(|word| shell_word(word)).collect();
            text.push_str(&format!("{}\n    ", shown.join(" ")));
            let path = group.path();
            let place = self.place(&path);
            if path.is_empty() {
                text.push_str(&format!("always: {}\n", group.origin.rule));
            } else {
                let from = place.clone().unwrap_or_else(|| "default".to_owned());
                text.push_str(&format!("{path}: {} ({from})\n", group.origin.rule));
            }
            let words: Vec<String> = group.words.iter().map(|word| word.shown()).collect();
            items.push(item(&words, &path, group.origin.rule, place.as_ref()));
        }
        Found { text, json: Value::Array(items) }
    }

    /// What an option is, what it is set to, and where.
    fn key(&self, path: &str) -> Found {
        let Some(known) = option(path) else {
            return Found { text: String::new(), json: Value::Null };
        };
        let key = known.key;
        let default = if key.default.is_empty() { "none" } else { key.default };
        let mut text = format!(
            "{path}: {}\n    type: {}\n    default: {default}\n    heeded by: {}\n",
            key.about, known.kind, known.who
        );
        if !view::is_heeded(key, &self.machine.vm) {
            text.push_str(&format!(
                "    not by {}, which this machine has\n",
                self.machine.vm.hypervisor
            ));
        }
        let mut values = Vec::new();
        for (name, value) in view::options(&self.machine.vm.to_json()) {
            if !is_below(&name, path) {
                continue;
            }
            let place = self.place(&name);
            let from = place.clone().unwrap_or_else(|| "default".to_owned());
            text.push_str(&format!("    {name} = {value} ({from})\n"));
            values.push(json!({ "key": name, "value": value, "from": place }));
        }
        let json = json!({
            "key": path,
            "about": key.about,
            "type": known.kind,
            "default": typed(key.default),
            "heededBy": hypervisors(key.who),
            "values": values,
        });
        Found { text, json }
    }
}

fn item(words: &[String], option: &str, rule: &str, place: Option<&String>) -> Value {
    json!({ "words": words, "option": option, "rule": rule, "from": place })
}

/// A default as a value; one that is told in words stays a text.
fn typed(default: &str) -> Value {
    if default.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(default).unwrap_or_else(|_| default.into())
}

/// The hypervisors that heed an option.
fn hypervisors(who: u16) -> Vec<&'static str> {
    schema::HYPERVISORS.iter().filter(|(_, bit)| who & bit != 0).map(|(name, _)| *name).collect()
}

/// Is `name` the option `path`, or a part of it? Indices that `path` leaves out match any.
fn is_below(name: &str, path: &str) -> bool {
    let mut wanted = path.split('.');
    for step in name.split('.') {
        let Some(want) = wanted.next() else { return true };
        let bare = step.split('[').next().unwrap_or(step);
        if step != want && bare != want {
            return false;
        }
    }
    wanted.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_without_indices_means_all_elements() {
        for (name, path, below) in [
            ("mem", "mem", true),
            ("memory", "mem", false),
            ("volumes[0].size", "volumes", true),
            ("volumes[1].size", "volumes.size", true),
            ("volumes[1].size", "volumes[1].size", true),
            ("volumes[1].size", "volumes[0].size", false),
            ("volumes", "volumes.size", false),
            ("qemu.machine", "qemu", true),
        ] {
            assert_eq!(is_below(name, path), below, "{name} {path}");
        }
    }
}
