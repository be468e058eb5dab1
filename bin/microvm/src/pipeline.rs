// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The way from files to machines, and from machines to packages.
//!
//! Owns the order of the steps and the layers: built-in defaults, files that are extended, the
//! defaults of a fleet, the file or the entry itself, and what the command line sets. Files come
//! through a function, so that nothing here touches the system.

use std::collections::{BTreeMap, BTreeSet};

use plinth::near::nearest;

use crate::check::{Checker, required, settle};
use crate::config::{Context, Hypervisor, System, Vm, fill};
use crate::diag::{Diagnostic, Report};
use crate::merge::merge;
use crate::schema::KEYS;
use crate::source::{Entry, Files, Node, Place, Table, Value, parse_toml};
use crate::validate::{self, Facts, NoFacts, Subject};

/// Files that extend each other; more are a circle or a mistake.
const EXTENDS_MAX: usize = 32;
/// Files that are read for one description.
const FILES_MAX: usize = 256;

/// The keys that a file has besides those of a machine.
const FLEET: &[&str] = &["defaults", "extends", "vms"];

/// What is asked for besides the file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `KEY=VALUE` words that are laid over everything; the value is TOML, or a text.
    pub set: Vec<String>,
    /// The hypervisor to use in place of the described one.
    pub hypervisor: Option<Hypervisor>,
    /// The system of this machine, where the description says none.
    pub system: System,
    /// Is the description one of those that `host apply` manages?
    pub declarative: bool,
    /// The name that a description without `hostName` gets, in place of the file's stem.
    pub name: Option<String>,
    /// What the rules depend on.
    pub rules: validate::Options,
}

/// A machine of a description.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its name: the host name, or the key in the fleet.
    pub name: String,
    /// The merged tree, in which every value knows its place.
    pub tree: Node,
    /// The machine.
    pub vm: Vm,
}

/// What became of a description.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The texts that were read.
    pub files: Files,
    /// The machines, sorted by name.
    pub machines: Vec<Machine>,
    /// Was it a fleet?
    pub is_fleet: bool,
    /// What was found.
    pub report: Report,
}

/// Why a file could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The reason, a phrase.
    Refused(String),
    /// It is not UTF-8 behind this text.
    NotText(String),
}

/// Reads the file at an absolute path.
pub type Read<'a> = &'a dyn Fn(&str) -> Result<String, Unread>;

/// Loads the description at the absolute `path`, shown as `shown`.
#[must_use]
pub fn load(path: &str, shown: &str, read: Read<'_>, options: &Options) -> Loaded {
    load_with(path, shown, read, options, &NoFacts)
}

/// The same with a look at the files of this machine: it can add findings, and changes no machine.
#[must_use]
pub fn load_with(
    path: &str,
    shown: &str,
    read: Read<'_>,
    options: &Options,
    facts: &dyn Facts,
) -> Loaded {
    let mut loader = Loader {
        loaded: Loaded::default(),
        read,
        options,
        facts,
        set: Vec::new(),
        seen: BTreeSet::new(),
        lacks_layer: false,
        unsure: Vec::new(),
        said: BTreeMap::new(),
    };
    let layers = loader.layers(path, shown);
    loader.assignments();
    let Some(own) = layers.last() else { return loader.finish() };
    let is_fleet =
        |layer: &Layer| ["vms", "defaults"].iter().any(|it| layer.table.contains_key(*it));
    loader.loaded.is_fleet = layers.iter().any(is_fleet);
    if loader.loaded.is_fleet {
        loader.fleet(&layers);
    } else {
        let stem = options.name.clone().unwrap_or_else(|| stem(path).to_owned());
        loader.machine(&stem, &layers, &own.base, own.place);
    }
    loader.finish()
}

/// Is the word of the form `KEY=VALUE`?
#[must_use]
pub fn is_assignment(word: &str) -> bool {
    assignment(word, 0).is_some()
}

/// The table that a word `KEY=VALUE` stands for. What is no value of TOML is a text.
fn assignment(word: &str, file: u32) -> Option<Table> {
    let (key, value) = word.split_once('=')?;
    let parse = |text: &str| match parse_toml(text, file).ok()?.value {
        Value::Table(table) => Some(table),
        _ => None,
    };
    // A second key behind a line break is a part of a text, and none in front of the value.
    let is_value = parse(&format!("x={value}")).is_some_and(|table| table.len() == 1);
    let table = if is_value {
        parse(word)
    } else {
        parse(&format!("{key}={}", serde_json::Value::from(value)))
    };
    table.filter(|table| table.len() == 1 && !key.contains('\n'))
}

/// A file, or a part of one.
#[derive(Clone, Debug)]
struct Layer {
    table: Table,
    base: String,
    place: Place,
}

struct Loader<'a> {
    loaded: Loaded,
    read: Read<'a>,
    options: &'a Options,
    facts: &'a dyn Facts,
    /// What the command line sets.
    set: Vec<Table>,
    /// The paths of the files so far.
    seen: BTreeSet<String>,
    /// Is there a file to extend that could not be read? Then nothing is said of what is absent.
    lacks_layer: bool,
    /// Machines of which not even the hypervisor is known.
    unsure: Vec<String>,
    /// By machine, the options of its merged tree that were found wrong already.
    said: BTreeMap<String, BTreeSet<String>>,
}

impl Loader<'_> {
    /// The layers of a description, the lowest first; none if it cannot be read.
    fn layers(&mut self, path: &str, shown: &str) -> Vec<Layer> {
        let mut layers = Vec::new();
        match self.text(path) {
            Ok(text) => self.file(path, shown, text, &mut Vec::new(), &mut layers),
            Err(reason) => {
                let text = format!("cannot read {shown}: {reason}");
                self.loaded.report.push(Diagnostic::error("MV007", "", text));
            }
        }
        layers
    }

    /// The text of a file, and whether that is all of it.
    fn text(&self, path: &str) -> Result<(String, bool), String> {
        match (self.read)(path) {
            Ok(text) => Ok((text, true)),
            Err(Unread::NotText(part)) => Ok((part, false)),
            Err(Unread::Refused(reason)) => Err(reason),
        }
    }

    /// Adds the layers of a file: those that it extends, then its own.
    fn file(
        &mut self,
        path: &str,
        shown: &str,
        (text, is_whole): (String, bool),
        above: &mut Vec<String>,
        layers: &mut Vec<Layer>,
    ) {
        self.seen.insert(path.to_owned());
        let end = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let file = self.loaded.files.add(shown, text);
        let table = if is_whole {
            self.parse(file, shown)
        } else {
            let it = Diagnostic::error("MV001", "", "the text is not UTF-8");
            self.loaded.report.push(it.at(Place { file, offset: end }));
            None
        };
        let Some((mut table, place)) = table else {
            self.lacks_layer = true;
            return;
        };
        let base = directory(path).to_owned();
        if let Some(Entry { node, .. }) = table.remove("extends") {
            above.push(path.to_owned());
            self.extends(&node, &base, shown, above, layers);
            above.pop();
        }
        layers.push(Layer { table, base, place });
    }

    /// The table that a file is, and where it begins.
    fn parse(&mut self, file: u32, shown: &str) -> Option<(Table, Place)> {
        let node = match self.loaded.files.parse(file) {
            Ok(node) => node,
            Err(errors) => {
                errors.into_iter().for_each(|it| self.loaded.report.push(it));
                return None;
            }
        };
        let described = node.value.describe();
        let Value::Table(table) = node.value else {
            let text = format!("{shown} is {described}, not a table");
            self.loaded.report.push(Diagnostic::error("MV001", "", text).at(node.place));
            return None;
        };
        Some((table, node.place))
    }

    fn extends(
        &mut self,
        node: &Node,
        base: &str,
        shown: &str,
        above: &mut Vec<String>,
        layers: &mut Vec<Layer>,
    ) {
        let Value::List(items) = &node.value else {
            let text = format!("\"extends\" must be a list, found {}", node.value.describe());
            return self.wrong_layer("MV004", text, node.place);
        };
        for item in items {
            let Some(name) = item.text() else {
                let found = item.value.describe();
                let text = format!("\"extends\" must hold strings, found {found}");
                self.wrong_layer("MV004", text, item.place);
                continue;
            };
            let path = crate::check::join(base, name);
            if above.contains(&path) {
                let text = format!("{name} extends itself, by way of {shown}");
                self.wrong_layer("MV007", text, item.place);
            } else if above.len() >= EXTENDS_MAX {
                let text = format!("more than {EXTENDS_MAX} files extend each other");
                self.wrong_layer("MV007", text, item.place);
            } else if self.seen.len() >= FILES_MAX {
                let text = format!("more than {FILES_MAX} files for one description");
                return self.wrong_layer("MV007", text, item.place);
            } else if !self.seen.contains(&path) {
                match self.text(&path) {
                    Ok(text) => self.file(&path, &beside(shown, name), text, above, layers),
                    Err(reason) => {
                        let text = format!("cannot read {name}: {reason}");
                        self.wrong_layer("MV007", text, item.place);
                    }
                }
            }
        }
    }

    /// Says why a file that is extended is no layer.
    fn wrong_layer(&mut self, code: &'static str, text: String, place: Place) {
        self.lacks_layer = true;
        self.loaded.report.push(Diagnostic::error(code, "extends", text).at(place));
    }

    /// Makes the machines of a fleet. What stands in `defaults` or `vms` of a file that is extended
    /// lies below the same of those that extend it.
    fn fleet(&mut self, layers: &[Layer]) {
        let mut shared = Vec::new();
        let mut machines: BTreeMap<String, Vec<Layer>> = BTreeMap::new();
        for (at, layer) in layers.iter().enumerate() {
            let mut table = layer.table.clone();
            let (defaults, vms) = (table.remove("defaults"), table.remove("vms"));
            if at + 1 == layers.len() {
                self.beside(&mut table);
            }
            shared.push(Layer { table, base: layer.base.clone(), place: layer.place });
            if let Some(Entry { node, .. }) = defaults {
                let place = node.place;
                let table = self.table("defaults", node).into_iter();
                shared.extend(table.map(|table| Layer { table, base: layer.base.clone(), place }));
            }
            let vms = vms.and_then(|entry| self.table("vms", entry.node));
            for (name, Entry { key, node }) in vms.into_iter().flatten() {
                let Some(table) = self.table(&format!("vms.{name}"), node) else { continue };
                let layer = Layer { table, base: layer.base.clone(), place: key };
                machines.entry(name).or_default().push(layer);
            }
        }
        let base = layers.last().map(|own| own.base.clone()).unwrap_or_default();
        if machines.is_empty() {
            for layer in &mut shared {
                let mut checker = Checker::new(&layer.base, &mut self.loaded.report);
                checker.table(&mut layer.table, KEYS, "");
            }
        }
        for (name, own) in machines {
            let place = own.last().map(|it| it.place).unwrap_or_default();
            // The name is a part of paths, whatever host name the machine has.
            if let Some(it) = validate::no_host_name(&name, &format!("vms.{name}")) {
                self.loaded.report.push(Diagnostic { vm: Some(name.clone()), ..it.at(place) });
            }
            let layers: Vec<Layer> = shared.iter().cloned().chain(own).collect();
            self.machine(&name, &layers, &base, place);
        }
    }

    /// The table that the option at `path` must be.
    fn table(&mut self, path: &str, node: Node) -> Option<Table> {
        if let Value::Table(table) = node.value {
            return Some(table);
        }
        let text = format!("\"{path}\" must be a table, found {}", node.value.describe());
        self.loaded.report.push(Diagnostic::error("MV004", path, text).at(node.place));
        None
    }

    /// Takes out what stands beside `vms` in a fleet, and is no machine's.
    fn beside(&mut self, table: &mut Table) {
        table.retain(|name, entry| {
            if name == "schema" {
                return true;
            }
            let text = format!("unknown key \"{name}\" beside \"vms\"");
            let is_machines = KEYS.iter().any(|key| key.name == name);
            let near = nearest(name, FLEET.iter().copied(), 1).first().copied();
            let it = match near.filter(|_| !is_machines) {
                Some(near) => {
                    let text = format!("{text}; did you mean \"{near}\"?");
                    Diagnostic::error("MV002", name, text)
                }
                None => {
                    let hint = "keys for all machines stand in [defaults]";
                    Diagnostic::error("MV002", name, text).hint(hint)
                }
            };
            self.loaded.report.push(it.at(entry.key));
            false
        });
    }

    /// Makes one machine of its layers.
    fn machine(&mut self, name: &str, layers: &[Layer], base: &str, place: Place) {
        let mut report = Report::default();
        let mut merged = Table::new();
        let beside = if self.loaded.is_fleet { &[] } else { FLEET };
        for layer in layers {
            let mut table = layer.table.clone();
            Checker::new(&layer.base, &mut report).beside(beside).table(&mut table, KEYS, "");
            merge(&mut merged, table, KEYS);
        }
        for table in &self.set {
            let mut table = table.clone();
            Checker::new(base, &mut report).table(&mut table, KEYS, "");
            merge(&mut merged, table, KEYS);
        }
        let mut said = BTreeSet::new();
        let mut missing = Report::default();
        required(&merged, KEYS, "", &mut missing);
        said.extend(missing.iter().map(|it| it.path.clone()));
        if !report.is_empty() {
            let wrong = settle(&mut merged, KEYS);
            // Elements have other indices in the merged list than in the one of their layer.
            for it in report.iter_mut() {
                if let Some(path) = it.place.and_then(|place| wrong.get(&place)) {
                    it.path.clone_from(path);
                }
            }
            said.extend(wrong.into_values());
        }
        if !self.lacks_layer {
            report.extend(missing);
        }
        let tree = Node { place, value: Value::Table(merged) };
        let context = Context {
            name: name.to_owned(),
            system: self.options.system,
            declarative: self.options.declarative,
            directory: base.to_owned(),
        };
        let mut description = match tree.value.to_json() {
            serde_json::Value::Object(members) => members,
            _ => serde_json::Map::new(),
        };
        if let Some(hypervisor) = self.options.hypervisor {
            description.insert("hypervisor".to_owned(), hypervisor.name().into());
        }
        let wrong = report.has_errors();
        let is_unsure = said.contains("hypervisor");
        match fill(description, &context) {
            Ok(vm) if vm.enable => {
                let name =
                    if self.loaded.is_fleet { name.to_owned() } else { vm.host_name.clone() };
                self.complete(&mut report, &name, &tree);
                if is_unsure {
                    self.unsure.push(name.clone());
                }
                self.said.insert(name.clone(), said);
                self.loaded.machines.push(Machine { name, tree, vm });
            }
            Ok(_) => self.complete(&mut report, name, &tree),
            // With errors found already, a table may lack what they took out.
            Err(_) if wrong || self.lacks_layer => self.complete(&mut report, name, &tree),
            Err(text) => {
                report.push(Diagnostic::error("MV004", "", text));
                self.complete(&mut report, name, &tree);
            }
        }
        self.loaded.report.extend(report);
    }

    /// Gives findings the place and the machine that they lack.
    fn complete(&self, report: &mut Report, name: &str, tree: &Node) {
        for it in report.iter_mut() {
            it.place.get_or_insert_with(|| tree.locate(&it.path));
            if self.loaded.is_fleet {
                it.vm = Some(name.to_owned());
            }
        }
    }

    /// Parses what the command line sets.
    fn assignments(&mut self) {
        for word in &self.options.set {
            let file = self.loaded.files.add(format!("--set {word}"), word.as_str());
            match assignment(word, file) {
                Some(table) => self.set.push(table),
                None => {
                    let text = format!("{word:?} is not of the form KEY=VALUE");
                    let it = Diagnostic::error("MV001", "", text).at(Place { file, offset: 0 });
                    self.loaded.report.push(it);
                }
            }
        }
    }

    /// Judges the machines by the rules, and adds what is not said yet.
    fn judge(&mut self) {
        let known = self.loaded.machines.iter().filter(|it| !self.unsure.contains(&it.name));
        let known: Vec<Subject<'_>> =
            known.map(|it| Subject { name: &it.name, vm: &it.vm }).collect();
        let mut report = validate::validate(&known, self.facts, &self.options.rules);
        let Loaded { is_fleet, machines, report: found, .. } = &mut self.loaded;
        let trees: BTreeMap<&str, &Node> =
            machines.iter().map(|it| (it.name.as_str(), &it.tree)).collect();
        let at: BTreeSet<(&str, Option<Place>)> =
            found.iter().map(|it| (it.code, it.place)).collect();
        report.retain(|it| {
            let name = it.vm.as_deref().unwrap_or_default();
            let said = self.said.get(name);
            let is_there = || trees.get(name).is_some_and(|tree| tree.follow(&it.path).1);
            let is_said = is_said(&it.path, |path| said.is_some_and(|said| said.contains(path)));
            // A key that is no host name, and the host name that follows from it.
            let place = trees.get(name).map(|tree| tree.locate(&it.path));
            !is_said && !at.contains(&(it.code, place)) && (!self.lacks_layer || is_there())
        });
        for it in report.iter_mut() {
            let tree = trees.get(it.vm.as_deref().unwrap_or_default());
            it.place = tree.map(|tree| tree.locate(&it.path));
            if !*is_fleet {
                it.vm = None;
                let is_named = tree.is_some_and(|tree| tree.get("hostName").is_some());
                if it.code == "MV010" && !is_named {
                    it.hint = Some("it comes from the file's name; set hostName".to_owned());
                }
            }
        }
        found.extend(report);
    }

    fn finish(mut self) -> Loaded {
        self.judge();
        self.loaded.report.sort();
        self.loaded
    }
}

/// Was the option, or one that it is part of, found wrong already? It was taken out for its form,
/// and what it lacks now is judged no further.
fn is_said(path: &str, said: impl Fn(&str) -> bool) -> bool {
    let ends = path.match_indices(['.', '[']).map(|(at, _)| at).chain([path.len()]);
    ends.filter_map(|end| path.get(..end)).any(said)
}

/// The name of a file that another one extends, as the other one is shown.
fn beside(shown: &str, name: &str) -> String {
    if name.starts_with('/') || !shown.contains('/') {
        return name.to_owned();
    }
    format!("{}/{name}", directory(shown))
}

/// The directory of an absolute path.
fn directory(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some((dir, _)) if !dir.is_empty() => dir,
        _ => "/",
    }
}

/// The name of a file without directory and extension.
fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem })
}
