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
use super::profile::Profile;
use super::seen::{Id, Seen};
use crate::cli::{CONFLICT, INVALID};
use crate::package::Tree;
use crate::validate::used_cid;

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
    /// Whether the machine starts at boot, where that is said beside `source`.
    pub autostart: Option<bool>,
    /// Whether it is meant at all, as far as this file says; what it extends may say no.
    pub enabled: bool,
    /// What is wrong with the file.
    pub wrong: Option<String>,
}

impl Entry {
    /// A file that cannot be used.
    #[must_use]
    pub fn wrong(name: &Name, why: impl Into<String>) -> Self {
        Self {
            name: name.clone(),
            source: None,
            update_source: None,
            autostart: None,
            enabled: true,
            wrong: Some(why.into()),
        }
    }

    /// Whether the machine starts at boot: what a description says counts with all that it extends.
    #[must_use]
    pub fn autostart(&self, built: &Profile) -> bool {
        self.autostart.unwrap_or(built.autostart)
    }
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
    let flag = |key: &str| match table.get(key).map(|value| value.get_ref()) {
        Some(DeValue::Boolean(value)) => Some(*value),
        _ => None,
    };
    let entry = Entry {
        name: name.clone(),
        source: source.or_else(|| update_source.clone()),
        update_source,
        autostart: flag("autostart").filter(|_| is_elsewhere),
        enabled: flag("enable") != Some(false),
        wrong: None,
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
    /// It is as declared, but runs another package than it has.
    Restart {
        /// The package that runs.
        from: Id,
        /// The one that it has.
        to: Id,
    },
    /// It is as declared; its marks may have to be set.
    Same(Id),
    /// It was deployed once, and is left to `microvm update`.
    Left,
    /// It was declared once, and is not any more.
    Orphan,
    /// It cannot be what is declared, because of what is there.
    Refused(String),
    /// What is declared is wrong.
    Wrong(String),
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(id) => write!(f, "create ({})", id.short()),
            Self::Update { from, to, restart } => {
                let end = if *restart { ", restart" } else { "" };
                write!(f, "update ({} -> {}){end}", from.short(), to.short())
            }
            Self::Restart { from, to } => {
                write!(f, "same, runs another ({} -> {}), restart", from.short(), to.short())
            }
            Self::Same(id) => write!(f, "same ({})", id.short()),
            Self::Left => f.write_str("same, left to microvm update"),
            Self::Orphan => f.write_str("orphan: declared nowhere; --prune removes it"),
            Self::Refused(why) | Self::Wrong(why) => f.write_str(why),
        }
    }
}

impl Decision {
    /// The sign at the head of its line.
    #[must_use]
    pub const fn sign(&self) -> char {
        match self {
            Self::Create(_) => '+',
            Self::Update { .. } | Self::Restart { .. } => '~',
            Self::Same(_) | Self::Left => '=',
            Self::Orphan | Self::Refused(_) | Self::Wrong(_) => '!',
        }
    }

    /// The exit status that it calls for.
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::Refused(_) => CONFLICT,
            Self::Wrong(_) => INVALID,
            _ => 0,
        }
    }

    /// Whether the machine gets another package.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Update { .. })
    }

    /// Whether it is restarted.
    #[must_use]
    pub const fn is_restart(&self) -> bool {
        matches!(self, Self::Restart { .. } | Self::Update { restart: true, .. })
    }
}

/// What an entry was built to, as far as the plan depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The package.
    pub id: Id,
    /// The address that it takes in the kernel of the host.
    pub cid: Option<u32>,
    /// Whether the machine is restarted when it runs and was changed.
    pub restart: bool,
}

impl Offer {
    /// What there is to say of a package.
    #[must_use]
    pub fn of(tree: &Tree) -> Self {
        let profile = Profile::of_tree(tree);
        Self {
            id: Id::new(tree.hash().to_string()),
            cid: profile.kernel_cid(),
            restart: profile.restart_if_changed,
        }
    }
}

/// What became of an entry: a package, or nothing if the machine is not meant, or why not.
pub type Attempt = Result<Option<Offer>, String>;

/// A machine that is there, and whether it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct There {
    /// What was seen.
    pub seen: Seen,
    /// Whether it runs.
    pub active: bool,
    /// The address that its package takes in the kernel of the host.
    pub cid: Option<u32>,
}

/// Whether an entry has to be built at all.
#[must_use]
pub fn is_wanted(entry: &Entry, there: Option<&There>) -> bool {
    let is_there = there.is_some_and(|there| there.seen.is_machine());
    entry.enabled && entry.wrong.is_none() && (entry.source.is_none() || !is_there)
}

/// The plan, in the order of the names. `built` has what became of each entry; with `prune`,
/// orphans go.
#[must_use]
pub fn plan(
    entries: &[Entry],
    there: &BTreeMap<Name, There>,
    built: &BTreeMap<Name, Attempt>,
    prune: bool,
) -> BTreeMap<Name, Decision> {
    let mut plan = BTreeMap::new();
    let is_meant = |it: &&Entry| it.enabled && !matches!(built.get(&it.name), Some(Ok(None)));
    for entry in entries.iter().filter(is_meant) {
        let decision = decide(entry, there.get(&entry.name), built.get(&entry.name));
        plan.insert(entry.name.clone(), decision);
    }
    for (name, there) in there {
        let is_orphan = there.seen.declarative && there.seen.is_machine();
        if is_orphan && !plan.contains_key(name) {
            plan.insert(name.clone(), Decision::Orphan);
        }
    }
    while let Some((name, why)) = shared(&plan, there, built, prune) {
        // It keeps what it has, which may be in the way of others.
        plan.insert(name, Decision::Wrong(why));
    }
    plan
}

/// A machine that would take an address which another one has in the end, and what to say of it.
/// Those that stay as they are come first, then those that change, in the order of their names.
fn shared(
    plan: &BTreeMap<Name, Decision>,
    there: &BTreeMap<Name, There>,
    built: &BTreeMap<Name, Attempt>,
    prune: bool,
) -> Option<(Name, String)> {
    let mut used = BTreeMap::new();
    for (name, there) in there {
        let is_gone = match plan.get(name) {
            Some(Decision::Orphan) => prune,
            decision => decision.is_some_and(Decision::is_change),
        };
        if let Some(cid) = there.cid.filter(|_| !is_gone) {
            used.entry(cid).or_insert(name.to_string());
        }
    }
    plan.iter().filter(|(_, decision)| decision.is_change()).find_map(|(name, _)| {
        let cid = built.get(name)?.as_ref().ok()?.as_ref()?.cid?;
        let found = used_cid(name.as_str(), Some(cid), &used);
        used.entry(cid).or_insert(name.to_string());
        found.map(|it| (name.clone(), format!("error[{}]: {}", it.code, it.message)))
    })
}

fn decide(entry: &Entry, there: Option<&There>, built: Option<&Attempt>) -> Decision {
    if let Some(why) = &entry.wrong {
        return Decision::Wrong(why.clone());
    }
    if let Some(file) = there.and_then(|there| there.seen.foreign.first()) {
        return Decision::Refused(format!("its {file} belongs to somebody else; remove it"));
    }
    let machine = there.filter(|there| there.seen.is_machine());
    if machine.is_some() && entry.source.is_some() {
        return Decision::Left;
    }
    if machine.is_some_and(|there| !there.seen.declarative) {
        return Decision::Refused(
            "exists and was not declared; remove it (--keep-data) or its file".to_owned(),
        );
    }
    let offer = match built {
        Some(Ok(Some(offer))) => offer,
        Some(Err(why)) => return Decision::Wrong(why.clone()),
        _ => return Decision::Refused("was not built".to_owned()),
    };
    let to = offer.id.clone();
    let Some(there) = machine else { return Decision::Create(to) };
    let restart = there.active && offer.restart;
    match there.seen.current_id() {
        Some(from) if *from == to => {
            // An earlier run has changed it, and could not restart it.
            match there.seen.booted_id().filter(|booted| restart && **booted != to) {
                Some(booted) => Decision::Restart { from: booted.clone(), to },
                None => Decision::Same(to),
            }
        }
        from => Decision::Update {
            from: from.cloned().unwrap_or_else(|| Id::new("missing")),
            to,
            restart,
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
        There { seen, active, cid: None }
    }

    fn offer(id: &str) -> Attempt {
        Ok(Some(Offer { id: Id::new(id), cid: None, restart: true }))
    }

    fn told(plan: &BTreeMap<Name, Decision>) -> Vec<String> {
        let line = |(name, it): (&Name, &Decision)| format!("{} {name}: {it}", it.sign());
        plan.iter().map(line).collect()
    }

    #[test]
    fn a_file_describes_a_machine_or_names_a_description() {
        let here = read("mem = 512\nautostart = false\n").expect("fine");
        assert_eq!((here.source, here.autostart, here.enabled), (None, None, true));
        let once = read("source = '/srv/a.toml'\nupdateSource = '/srv/b.toml'\n").expect("fine");
        assert_eq!(once.source.as_deref(), Some("/srv/a.toml"));
        assert_eq!(once.update_source.as_deref(), Some("/srv/b.toml"));
        let built = Profile { autostart: true, ..Profile::default() };
        assert!(once.autostart(&built) && !once.autostart(&Profile::default()));
        let beside = read("source = '/srv/a.toml'\nautostart = false\n").expect("fine");
        assert!(!beside.autostart(&built));
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
        let names = ["new", "same", "other", "mine", "bad", "out", "stale", "stopped", "kept"];
        let mut entries: Vec<Entry> = names.map(entry).into_iter().collect();
        entries.extend([gone, once, Entry::wrong(&name("odd"), "no TOML")]);
        let booted = |id: &str, active: bool| {
            let mut it = machine("2", true, active);
            it.seen.booted = machine(id, true, active).seen.current;
            it
        };
        let there = BTreeMap::from([
            (name("same"), machine("1", true, true)),
            (name("other"), machine("1", true, true)),
            (name("mine"), machine("1", false, false)),
            (name("once"), machine("1", false, false)),
            (name("off"), machine("1", true, false)),
            (name("out"), machine("1", true, false)),
            (name("odd"), machine("1", true, false)),
            (name("lost"), machine("1", true, false)),
            (name("free"), machine("1", false, false)),
            (name("stale"), booted("1", true)),
            (name("stopped"), booted("1", false)),
            (name("kept"), booted("1", true)),
        ]);
        let mut built: BTreeMap<Name, Attempt> =
            names.iter().map(|it| (name(it), offer("2"))).collect();
        built.insert(name("same"), offer("1"));
        built.insert(name("bad"), Err("no kernel".to_owned()));
        built.insert(name("out"), Ok(None));
        let kept = Offer { id: Id::new("2"), cid: None, restart: false };
        built.insert(name("kept"), Ok(Some(kept)));
        assert_eq!(
            told(&plan(&entries, &there, &built, false)),
            [
                "! bad: no kernel",
                "= kept: same (2)",
                "! lost: orphan: declared nowhere; --prune removes it",
                "! mine: exists and was not declared; remove it (--keep-data) or its file",
                "+ new: create (2)",
                "! odd: no TOML",
                "! off: orphan: declared nowhere; --prune removes it",
                "= once: same, left to microvm update",
                "~ other: update (1 -> 2), restart",
                "! out: orphan: declared nowhere; --prune removes it",
                "= same: same (1)",
                "~ stale: same, runs another (1 -> 2), restart",
                "= stopped: same (2)",
            ]
        );
    }

    /// The plan for machines with the addresses that they have, and are to have.
    fn handed_on(machines: &[(&str, Option<u32>, Option<u32>)], prune: bool) -> Vec<String> {
        let (mut entries, mut there, mut built) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for (text, has, wants) in machines {
            if has.is_some() {
                there.insert(name(text), There { cid: *has, ..machine("1", true, false) });
            }
            if wants.is_some() {
                entries.push(Entry { name: name(text), ..read("").expect("fine") });
                let id = Id::new(if has == wants { "1" } else { "2" });
                let offer = Offer { id, cid: *wants, restart: true };
                built.insert(name(text), Ok(Some(offer)));
            }
        }
        told(&plan(&entries, &there, &built, prune))
    }

    #[test]
    fn addresses_are_judged_by_what_is_in_the_end() {
        let update = "update (1 -> 2)";
        let chain = [("a", Some(10), Some(11)), ("b", Some(11), Some(12))];
        assert_eq!(handed_on(&chain, false), [format!("~ a: {update}"), format!("~ b: {update}")]);
        let kept = [("a", Some(10), Some(11)), ("b", Some(11), Some(11))];
        let told = "! a: error[MV119]: CID 11 is also used by VM \"b\"";
        assert_eq!(handed_on(&kept, false), [told, "= b: same (1)"]);
        let orphan = [("aa", None, Some(11)), ("b", Some(11), None)];
        assert!(handed_on(&orphan, true)[0].starts_with("+ aa: create"));
        assert!(handed_on(&orphan, false)[0].starts_with("! aa: error[MV119]"));
        // The second of two that want the same; then whoever wants what it keeps.
        let three = [("a", None, Some(12)), ("b", Some(11), Some(12)), ("c", None, Some(11))];
        let lines = handed_on(&three, false);
        assert!(lines[0].starts_with("+ a") && lines[1].starts_with("! b"), "{lines:?}");
        assert!(lines[2].ends_with("CID 11 is also used by VM \"b\""), "{lines:?}");
    }

    #[test]
    fn only_what_the_plan_needs_is_built() {
        let here = read("").expect("fine");
        let once = read("source = '/x'\n").expect("fine");
        let there = machine("1", true, false);
        assert!(is_wanted(&here, Some(&there)) && is_wanted(&once, None));
        assert!(!is_wanted(&once, Some(&there)));
        assert!(!is_wanted(&Entry::wrong(&name("a"), "no TOML"), None));
    }
}
