// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the declared machines of a host come to.
//!
//! Pure: the files of `microvm/vms.d`, what each was built to, and what is there, to a plan. A file
//! holds a machine's description, and the host makes it so; or it names a description (`source`),
//! and the host creates the machine once and leaves it to `microvm update` from then on.

use std::collections::BTreeMap;
use std::fmt;

use plinth::config::layers::Layer;
use plinth::config::toml::{self, DeTable, DeValue, Problems, Sources};

use super::Name;
use super::seen::{Id, Seen};

/// The keys that may stand beside `source`.
const BESIDE_SOURCE: &[&str] =
    &["source", "updateSource", "autostart", "restartIfChanged", "enable"];

/// A file of `vms.d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its machine.
    pub name: Name,
    /// The description to build, where it is not this file.
    pub source: Option<String>,
    /// The description that `microvm update` is to build later.
    pub update_source: Option<String>,
    /// Whether the machine starts at boot.
    pub autostart: bool,
    /// Whether it is restarted when it runs and was changed.
    pub restart: bool,
    /// Whether it is meant at all.
    pub enabled: bool,
}

/// Reads a file of `vms.d`.
///
/// # Errors
/// What is wrong with it, at its place. What the description says is judged by the builder.
pub fn entry(name: &Name, layer: Layer) -> Result<Entry, Problems> {
    Ok(toml::read(vec![layer], |table, sources| take(name, &table, sources))?.value)
}

fn take(name: &Name, table: &DeTable<'_>, sources: &Sources) -> Result<Entry, Problems> {
    let mut problems = Vec::new();
    let is_elsewhere = table.get("source").or_else(|| table.get("updateSource")).is_some();
    for (key, _) in table.iter().filter(|_| is_elsewhere) {
        if !BESIDE_SOURCE.contains(&key.get_ref().as_ref()) {
            let message = format!(
                "error[MV160]: \"{}\" stands beside \"source\": a machine is described here or \
                 elsewhere, not both",
                key.get_ref()
            );
            problems.push(sources.problem(&key.span(), message));
        }
    }
    let mut text = |key: &str| {
        let value = table.get(key)?;
        let path = value.get_ref().as_str().map(str::to_owned);
        let path = path.filter(|path| path.starts_with('/'));
        if path.is_none() {
            let message = format!("error[MV004]: \"{key}\" must be an absolute path");
            problems.push(sources.problem(&value.span(), message));
        }
        path
    };
    let (source, update_source) = (text("source"), text("updateSource"));
    // The builder complains about a value of the wrong type.
    let flag = |key: &str, default: bool| match table.get(key).map(|value| value.get_ref()) {
        Some(DeValue::Boolean(value)) => *value,
        _ => default,
    };
    let entry = Entry {
        name: name.clone(),
        source: source.or_else(|| update_source.clone()),
        update_source,
        autostart: flag("autostart", true),
        restart: flag("restartIfChanged", !is_elsewhere),
        enabled: flag("enable", true),
    };
    if problems.is_empty() { Ok(entry) } else { Err(Problems(problems)) }
}

/// What is to be done about a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is to be.
    Create(Id),
    /// It is to have this package.
    Update {
        /// The package that it has.
        from: Id,
        /// The one that it is to have.
        to: Id,
        /// Whether it runs and is to be restarted.
        restart: bool,
    },
    /// It is as declared; its marks may have to be set.
    Same(Id),
    /// It was deployed once, and is left to `microvm update`.
    Left,
    /// It was declared once, and is not any more.
    Orphan,
    /// It cannot be what is declared.
    Refused(String),
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(id) => write!(f, "create ({})", id.short()),
            Self::Update { from, to, restart } => {
                let end = if *restart { ", restart" } else { "" };
                write!(f, "update ({} -> {}){end}", from.short(), to.short())
            }
            Self::Same(id) => write!(f, "same ({})", id.short()),
            Self::Left => f.write_str("same, left to microvm update"),
            Self::Orphan => f.write_str("orphan: declared nowhere; --prune removes it"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl Decision {
    /// The sign at the head of its line.
    #[must_use]
    pub const fn sign(&self) -> char {
        match self {
            Self::Create(_) => '+',
            Self::Update { .. } => '~',
            Self::Same(_) | Self::Left => '=',
            Self::Orphan | Self::Refused(_) => '!',
        }
    }
}

/// A machine that is there, and whether it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct There {
    /// What was seen.
    pub seen: Seen,
    /// Whether it runs.
    pub active: bool,
}

/// Whether an entry has to be built at all.
#[must_use]
pub fn is_wanted(entry: &Entry, there: Option<&There>) -> bool {
    let is_there = there.is_some_and(|there| there.seen.is_machine());
    entry.enabled && (entry.source.is_none() || !is_there)
}

/// The plan, in the order of the names. `built` has what each entry was built to, or why not.
#[must_use]
pub fn plan(
    entries: &[Entry],
    there: &BTreeMap<Name, There>,
    built: &BTreeMap<Name, Result<Id, String>>,
) -> BTreeMap<Name, Decision> {
    let mut plan = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.enabled) {
        let decision = decide(entry, there.get(&entry.name), built.get(&entry.name));
        plan.insert(entry.name.clone(), decision);
    }
    for (name, there) in there {
        let is_orphan = there.seen.declarative && there.seen.is_machine();
        if is_orphan && !plan.contains_key(name) {
            plan.insert(name.clone(), Decision::Orphan);
        }
    }
    plan
}

fn decide(entry: &Entry, there: Option<&There>, built: Option<&Result<Id, String>>) -> Decision {
    let machine = there.filter(|there| there.seen.is_machine());
    if machine.is_some() && entry.source.is_some() {
        return Decision::Left;
    }
    if machine.is_some_and(|there| !there.seen.declarative) {
        return Decision::Refused(
            "exists and was not declared; remove it (--keep-data) or its file".to_owned(),
        );
    }
    let to = match built {
        Some(Ok(id)) => id.clone(),
        Some(Err(why)) => return Decision::Refused(why.clone()),
        None => return Decision::Refused("was not built".to_owned()),
    };
    match machine {
        None => Decision::Create(to),
        Some(there) => match there.seen.current_id() {
            Some(from) if *from == to => Decision::Same(to),
            from => Decision::Update {
                from: from.cloned().unwrap_or_else(|| Id::new("missing")),
                to,
                restart: there.active && entry.restart,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::seen::Link;
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    fn read(text: &str) -> Result<Entry, String> {
        let layer = Layer { path: PathBuf::from("/v/a.toml"), text: text.to_owned() };
        entry(&name("a"), layer).map_err(|problems| problems.to_string())
    }

    fn machine(id: &str, declarative: bool, active: bool) -> There {
        let link = Link { target: format!("gen/{id}"), package: Some(Id::new(id)) };
        let seen = Seen { directory: true, current: Some(link), declarative, ..Seen::default() };
        There { seen, active }
    }

    #[test]
    fn a_file_describes_a_machine_or_names_a_description() {
        let here = read("mem = 512\nautostart = false\n").expect("fine");
        assert_eq!((here.source, here.autostart, here.restart), (None, false, true));
        let once = read("source = '/srv/a.toml'\nupdateSource = '/srv/b.toml'\n").expect("fine");
        assert_eq!(once.source.as_deref(), Some("/srv/a.toml"));
        assert_eq!(once.update_source.as_deref(), Some("/srv/b.toml"));
        assert!(once.autostart && !once.restart);
        let both = read("source = '/srv/a.toml'\nmem = 512\n").expect_err("both");
        let told = "/v/a.toml:2:1: error[MV160]: \"mem\" stands beside \"source\": a machine is \
                    described here or elsewhere, not both";
        assert_eq!(both.trim_end(), told);
        let relative = read("source = 'a.toml'\n").expect_err("relative");
        assert!(relative.starts_with("/v/a.toml:1:10: error[MV004]"), "{relative}");
    }

    #[test]
    fn the_plan_has_a_line_for_each_machine() {
        let entry = |text: &str| Entry { name: name(text), ..read("").expect("fine") };
        let mut gone = entry("off");
        gone.enabled = false;
        let once = Entry { source: Some("/x".to_owned()), ..entry("once") };
        let entries =
            [entry("new"), entry("same"), entry("other"), entry("mine"), entry("bad"), gone, once];
        let there = BTreeMap::from([
            (name("same"), machine("1", true, true)),
            (name("other"), machine("1", true, true)),
            (name("mine"), machine("1", false, false)),
            (name("once"), machine("1", false, false)),
            (name("off"), machine("1", true, false)),
            (name("lost"), machine("1", true, false)),
            (name("free"), machine("1", false, false)),
        ]);
        let id = |text: &str| Ok(Id::new(text));
        let built = BTreeMap::from([
            (name("new"), id("2")),
            (name("same"), id("1")),
            (name("other"), id("2")),
            (name("mine"), id("2")),
            (name("bad"), Err("no kernel".to_owned())),
        ]);
        let told: Vec<String> = plan(&entries, &there, &built)
            .iter()
            .map(|(name, decision)| format!("{} {name}: {decision}", decision.sign()))
            .collect();
        assert_eq!(
            told,
            [
                "! bad: no kernel",
                "! lost: orphan: declared nowhere; --prune removes it",
                "! mine: exists and was not declared; remove it (--keep-data) or its file",
                "+ new: create (2)",
                "! off: orphan: declared nowhere; --prune removes it",
                "= once: same, left to microvm update",
                "~ other: update (1 -> 2), restart",
                "= same: same (1)",
            ]
        );
    }

    #[test]
    fn only_what_the_plan_needs_is_built() {
        let here = read("").expect("fine");
        let once = read("source = '/x'\n").expect("fine");
        let there = machine("1", true, false);
        assert!(is_wanted(&here, Some(&there)) && is_wanted(&once, None));
        assert!(!is_wanted(&once, Some(&there)));
    }
}
