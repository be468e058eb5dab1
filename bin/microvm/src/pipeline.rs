// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The way from files to machines, and from machines to packages.
//!
//! Owns the order of the steps and the layers: built-in defaults, files that are extended, the
//! defaults of a fleet, the file or the entry itself, and what the command line sets. Files come
//! through a function, so that nothing here touches the system.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::{Checker, required};
use crate::config::{Context, Hypervisor, System, Vm, fill};
use crate::diag::{Diagnostic, Report};
use crate::merge::merge;
use crate::schema::KEYS;
use crate::source::{Entry, Files, Node, Place, Table, Value};
use crate::validate::{self, Facts, NoFacts, Subject};

/// Files that extend each other; more are a circle or a mistake.
const EXTENDS_MAX: usize = 32;
/// Files that are read for one description. Without it, files that are extended twice, on each of
/// their levels, would be read more often than there is time for.
const FILES_MAX: usize = 256;

/// The keys of a fleet.
const FLEET: [&str; 2] = ["defaults", "vms"];

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

/// Reads the file at an absolute path; the error is a phrase.
pub type Read<'a> = &'a dyn Fn(&str) -> Result<String, String>;

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
    let mut loader = Loader { loaded: Loaded::default(), read, options, facts, unsure: Vec::new() };
    let mut layers = Vec::new();
    loader.file(path, shown, &mut Vec::new(), &mut layers);
    let Some((own, below)) = layers.split_last() else { return loader.finish() };
    let stem = options.name.clone().unwrap_or_else(|| stem(path).to_owned());
    let is_fleet = own.table.contains_key("vms") || own.table.contains_key("defaults");
    loader.loaded.is_fleet = is_fleet;
    if is_fleet {
        loader.fleet(own, below);
    } else {
        let mut tables: Vec<Layer> = below.to_vec();
        tables.push(own.clone());
        loader.machine(&stem, &tables, own);
    }
    loader.finish()
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
    /// Machines of which not even the hypervisor is known.
    unsure: Vec<String>,
}

impl Loader<'_> {
    /// Adds the layers of a file: those that it extends, then its own.
    fn file(&mut self, path: &str, shown: &str, above: &mut Vec<String>, layers: &mut Vec<Layer>) {
        let text = match (self.read)(path) {
            Ok(text) => text,
            Err(reason) => {
                let text = format!("cannot read {shown}: {reason}");
                return self.loaded.report.push(Diagnostic::error("MV007", "", text));
            }
        };
        let file = self.loaded.files.add(shown, text);
        let node = match self.loaded.files.parse(file) {
            Ok(node) => node,
            Err(errors) => return errors.into_iter().for_each(|it| self.loaded.report.push(it)),
        };
        let place = node.place;
        let Value::Table(mut table) = node.value else {
            let text = format!("{shown} is {}, not a table", node.value.describe());
            return self.loaded.report.push(Diagnostic::error("MV001", "", text).at(place));
        };
        let base = directory(path).to_owned();
        if let Some(Entry { node, .. }) = table.remove("extends") {
            above.push(path.to_owned());
            self.extends(&node, &base, shown, above, layers);
            above.pop();
        }
        layers.push(Layer { table, base, place });
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
            return self
                .loaded
                .report
                .push(Diagnostic::error("MV004", "extends", text).at(node.place));
        };
        for item in items {
            let Some(name) = item.text() else {
                let text =
                    format!("\"extends\" must hold strings, found {}", item.value.describe());
                self.loaded.report.push(Diagnostic::error("MV004", "extends", text).at(item.place));
                continue;
            };
            let path = crate::check::join(base, name);
            let problem = if above.contains(&path) {
                Some(format!("{name} extends itself, by way of {shown}"))
            } else if above.len() >= EXTENDS_MAX {
                Some(format!("more than {EXTENDS_MAX} files extend each other"))
            } else if self.loaded.files.count() >= FILES_MAX {
                let text = format!("more than {FILES_MAX} files for one description");
                self.loaded.report.push(Diagnostic::error("MV007", "extends", text).at(item.place));
                return;
            } else {
                (self.read)(&path).err().map(|reason| format!("cannot read {name}: {reason}"))
            };
            match problem {
                Some(text) => {
                    self.loaded
                        .report
                        .push(Diagnostic::error("MV007", "extends", text).at(item.place));
                }
                None => {
                    let shown = if name.starts_with('/') {
                        name.to_owned()
                    } else {
                        let dir = directory(shown);
                        let is_bare = !shown.contains('/');
                        if is_bare { name.to_owned() } else { format!("{dir}/{name}") }
                    };
                    self.file(&path, &shown, above, layers);
                }
            }
        }
    }

    fn fleet(&mut self, own: &Layer, below: &[Layer]) {
        let mut shared = Vec::new();
        for layer in below.iter().chain([own]) {
            let mut table = layer.table.clone();
            table.remove("vms");
            let defaults = table.remove("defaults");
            shared.push(Layer { table, ..layer.clone() });
            if let Some(Entry { node, .. }) = defaults {
                match node.value {
                    Value::Table(table) => {
                        shared.push(Layer { table, place: node.place, base: layer.base.clone() });
                    }
                    other => {
                        let text =
                            format!("\"defaults\" must be a table, found {}", other.describe());
                        let it = Diagnostic::error("MV004", "defaults", text).at(node.place);
                        self.loaded.report.push(it);
                    }
                }
            }
        }
        // What stands beside `vms` in a fleet is no machine's.
        for (name, entry) in own.table.iter().filter(|(name, _)| !FLEET.contains(&name.as_str())) {
            let text = format!("unknown key \"{name}\" beside \"vms\"");
            let hint = "keys for all machines stand in [defaults]";
            let it = Diagnostic::error("MV002", name, text).hint(hint).at(entry.key);
            self.loaded.report.push(it);
        }
        let vms = own.table.get("vms").map(|entry| &entry.node);
        let Some(Value::Table(vms)) = vms.map(|node| &node.value) else {
            if let Some(node) = vms {
                let text = format!("\"vms\" must be a table, found {}", node.value.describe());
                self.loaded.report.push(Diagnostic::error("MV004", "vms", text).at(node.place));
            }
            return;
        };
        for (name, entry) in vms {
            // The name is a part of paths, whatever host name the machine has.
            if let Some(it) = validate::no_host_name(name, &format!("vms.{name}")) {
                self.loaded.report.push(Diagnostic { vm: Some(name.clone()), ..it.at(entry.key) });
            }
            let Value::Table(table) = &entry.node.value else {
                let text = format!(
                    "\"vms.{name}\" must be a table, found {}",
                    entry.node.value.describe()
                );
                let path = format!("vms.{name}");
                self.loaded
                    .report
                    .push(Diagnostic::error("MV004", path, text).at(entry.node.place));
                continue;
            };
            let layer = Layer { table: table.clone(), base: own.base.clone(), place: entry.key };
            let mut layers = shared.clone();
            layers.push(layer.clone());
            self.machine(name, &layers, &layer);
        }
    }

    /// Makes one machine of its layers.
    fn machine(&mut self, name: &str, layers: &[Layer], own: &Layer) {
        let mut report = Report::default();
        let mut merged = Table::new();
        for layer in layers {
            let mut table = layer.table.clone();
            Checker { base: &layer.base, report: &mut report }.table(&mut table, KEYS, "");
            merge(&mut merged, table, KEYS);
        }
        for word in &self.options.set {
            match self.set(word) {
                Ok(mut table) => {
                    Checker { base: &own.base, report: &mut report }.table(&mut table, KEYS, "");
                    merge(&mut merged, table, KEYS);
                }
                Err(problem) => report.push(*problem),
            }
        }
        let tree = Node { place: own.place, value: Value::Table(merged) };
        if let Value::Table(merged) = &tree.value {
            let mut missing = Report::default();
            required(merged, KEYS, "", &mut missing);
            let said: BTreeSet<&str> = report.iter().map(|it| it.path.as_str()).collect();
            missing.retain(|it| !is_said(&it.path, |path| said.contains(path)));
            report.extend(missing);
        }
        let context = Context {
            name: name.to_owned(),
            system: self.options.system,
            declarative: self.options.declarative,
            directory: own.base.clone(),
        };
        let mut description = match tree.value.to_json() {
            serde_json::Value::Object(members) => members,
            _ => serde_json::Map::new(),
        };
        if let Some(hypervisor) = self.options.hypervisor {
            description.insert("hypervisor".to_owned(), hypervisor.name().into());
        }
        let wrong = report.has_errors();
        let is_unsure = report.iter().any(|it| it.path == "hypervisor");
        match fill(description, &context) {
            Ok(vm) if vm.enable => {
                let name =
                    if self.loaded.is_fleet { name.to_owned() } else { vm.host_name.clone() };
                self.complete(&mut report, &name, &tree);
                if is_unsure {
                    self.unsure.push(name.clone());
                }
                self.loaded.machines.push(Machine { name, tree, vm });
            }
            Ok(_) => self.complete(&mut report, name, &tree),
            // With errors found already, a table may lack what they took out.
            Err(_) if wrong => self.complete(&mut report, name, &tree),
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

    /// The table that a word `KEY=VALUE` stands for.
    fn set(&mut self, word: &str) -> Result<Table, Box<Diagnostic>> {
        let file = self.loaded.files.add("--set", word);
        let wrong = || {
            let text = format!("{word:?} is not of the form KEY=VALUE");
            Box::new(Diagnostic::error("MV001", "", text).at(Place { file, offset: 0 }))
        };
        let (key, value) = word.split_once('=').ok_or_else(wrong)?;
        let mut parse = |text: String| {
            let file = self.loaded.files.add("--set", text);
            self.loaded.files.parse(file)
        };
        let node = parse(format!("{key} = {value}"))
            .or_else(|_| parse(format!("{key} = {}", serde_json::Value::from(value))));
        match node.map(|node| node.value) {
            Ok(Value::Table(table)) => Ok(table),
            _ => Err(wrong()),
        }
    }

    /// Judges the machines by the rules, and adds what is not said yet.
    fn judge(&mut self) {
        let known = self.loaded.machines.iter().filter(|it| !self.unsure.contains(&it.name));
        let known: Vec<Subject<'_>> =
            known.map(|it| Subject { name: &it.name, vm: &it.vm }).collect();
        let mut report = validate::validate(&known, self.facts, &self.options.rules);
        let is_fleet = self.loaded.is_fleet;
        let trees: BTreeMap<&str, &Node> =
            self.loaded.machines.iter().map(|it| (it.name.as_str(), &it.tree)).collect();
        for it in report.iter_mut() {
            let name = it.vm.as_deref().unwrap_or_default();
            it.place = trees.get(name).map(|tree| tree.locate(&it.path));
            if !is_fleet {
                it.vm = None;
            }
        }
        let said: BTreeSet<(Option<&str>, &str)> =
            self.loaded.report.iter().map(|it| (it.vm.as_deref(), it.path.as_str())).collect();
        report.retain(|it| !is_said(&it.path, |path| said.contains(&(it.vm.as_deref(), path))));
        // A key that is no host name, and the host name that follows from it.
        let at: BTreeSet<(&str, Option<Place>)> =
            self.loaded.report.iter().map(|it| (it.code, it.place)).collect();
        report.retain(|it| !at.contains(&(it.code, it.place)));
        self.loaded.report.extend(report);
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
