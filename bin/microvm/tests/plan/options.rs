// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What every option does with every hypervisor, by the table `fixtures/microvm/options.tsv`.
//!
//! Owns the form of the table. Each of its cells is made true by the whole way of a description:
//! the smallest one for that hypervisor, with and without the option, down to the files of the
//! package. So an option that nobody heeds, and nobody is told about, has nowhere to hide.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use microvm::diag::Severity;
use microvm::emit;
use microvm::host::profile::Profile;
use microvm::host::settings::Settings;
use microvm::host::units::drop_in;
use microvm::package::{Entry, RUNNER, Tree};
use microvm::pipeline::{self, Loaded};
use microvm::plan::{self, Plan, Word, plan};
use microvm::schema::{self, ALL, GONE, HOST, HYPERVISORS, Kind};
use microvm::source::Files;
use microvm::view;
use serde_json::Value;

use crate::support::fixtures;

/// The options of microvm.nix are numbered from 1 to this one.
const LAST: u16 = 145;

/// A line of the table.
struct Row {
    /// The number of the option, or `x` for one that microvm.nix has not.
    number: String,
    option: String,
    /// What the description has besides, with and without the option; a statement a line.
    before: String,
    /// What sets the option.
    with: String,
    /// One for each hypervisor, in the order of the manual.
    cells: Vec<String>,
    note: String,
}

impl Row {
    /// The cells in which something is said, with their hypervisors.
    fn said(&self) -> impl Iterator<Item = (&'static str, schema::Who, &str)> {
        let cells = HYPERVISORS.iter().zip(&self.cells).filter(|(_, cell)| *cell != "-");
        cells.map(|((name, who), cell)| (*name, *who, cell.as_str()))
    }
}

fn table() -> Vec<Row> {
    let text = fs::read_to_string(fixtures().join("options.tsv")).expect("the table");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        let &[number, option, before, with, ref rest @ ..] = cells.as_slice() else {
            panic!("too few cells: {line}");
        };
        assert_eq!(rest.len(), HYPERVISORS.len() + 1, "{option}: another number of cells");
        let statements = |cell: &str| match cell {
            "-" => String::new(),
            cell => cell.split(" ; ").map(|it| format!("{it}\n")).collect(),
        };
        let mut cells: Vec<String> = rest.iter().map(|cell| (*cell).to_owned()).collect();
        Row {
            number: number.to_owned(),
            option: option.to_owned(),
            before: statements(before),
            with: statements(with),
            note: cells.pop().unwrap_or_default(),
            cells,
        }
    };
    lines.map(row).collect()
}

/// The smallest description for a hypervisor, and `more`.
fn smallest(hypervisor: &str, more: &str) -> String {
    let system = if hypervisor == "vfkit" { "aarch64-darwin" } else { "x86_64-linux" };
    format!(
        "hostName = \"vm1\"\nhypervisor = \"{hypervisor}\"\nhostSystem = \"{system}\"\n\
         kernel = \"/srv/vm/kernel\"\n{more}"
    )
}

/// Loads `base`, or what is laid over it.
fn load(base: &str, over: Option<&str>) -> Loaded {
    let over = over.map(|text| format!("extends = [\"base.toml\"]\n{text}"));
    let read = |path: &str| match path {
        "/srv/vm/base.toml" => Ok(base.to_owned()),
        _ => over.clone().ok_or_else(|| pipeline::Unread::Refused("no such file".to_owned())),
    };
    let name = if over.is_some() { "in.toml" } else { "base.toml" };
    pipeline::load(&format!("/srv/vm/{name}"), name, &read, &Default::default())
}

/// What becomes of a machine, apart from the copy of its description.
#[derive(PartialEq)]
struct Made {
    argv: Vec<String>,
    /// Files that the hypervisor reads.
    config: Vec<(String, Vec<u8>)>,
    /// Scripts, without the words of the hypervisor in them.
    scripts: Tree,
    /// What tools and units of the host are told, and people about the guest.
    meta: (Tree, Vec<String>, Value),
}

impl Made {
    fn of(loaded: &Loaded) -> Option<Self> {
        let vm = &loaded.machines.first()?.vm;
        let helper = "/usr/bin/microvm".to_owned();
        let plan = plan(vm, &plan::Options { helper: helper.clone(), compat: false });
        let options = emit::Options { source: "in.toml".to_owned(), helper, embed: None };
        let argv = [plan.program.clone()].into_iter().chain(plan.words.iter().map(Word::shown));
        let argv = argv.collect();
        let config = plan.files.clone();
        let bare = Plan { program: String::new(), words: Vec::new(), files: Vec::new(), ..plan };
        let bare = emit::package(vm, &bare, &options);
        let read = |path: &str| bare.get(path).map(|entry| entry.bytes().to_vec());
        let mut runner: Value =
            serde_json::from_slice(&read(RUNNER).expect("it is there")).expect("JSON");
        for key in ["config", "argv", "contentHash"] {
            runner.as_object_mut().expect("an object").remove(key);
        }
        let mut lines = view::fstab(vm);
        lines.extend(view::modules(vm).into_iter().map(str::to_owned));
        lines.push(drop_in(&Settings::default(), &Profile::of(&read)));
        let (mut scripts, mut meta) = (Tree::default(), Tree::default());
        for (path, entry) in bare.iter() {
            match entry {
                Entry::Program(_) => scripts.put(path, entry.clone()),
                _ if path == RUNNER || path.ends_with("/command.txt") => {}
                _ => meta.put(path, entry.clone()),
            }
        }
        Some(Self { argv, config, scripts, meta: (meta, lines, runner) })
    }
}

fn codes(loaded: &Loaded, severity: Severity) -> BTreeSet<(&'static str, String)> {
    let of = loaded.report.iter().filter(|it| it.severity == severity);
    of.map(|it| (it.code, it.path.clone())).collect()
}

/// A description without the option, and what becomes of it if it is not refused.
type Base = (Loaded, Option<Made>);

/// What an option does, in the words of the table.
fn outcome((before, old): &Base, with: &Loaded) -> Result<String, String> {
    let mut errors: Vec<&str> =
        codes(with, Severity::Error).into_iter().map(|(code, _)| code).collect();
    errors.dedup();
    if !errors.is_empty() {
        return Ok(errors.join("+"));
    }
    if before.report.has_errors() {
        return Err("what stands before is refused".to_owned());
    }
    let Some(old) = old else { return Err("no machine before".to_owned()) };
    let Some(new) = Made::of(with) else { return Ok("absent".to_owned()) };
    let vm = |loaded: &Loaded| loaded.machines[0].vm.to_json();
    if vm(before) == vm(with) {
        return Err("the machine is the same: is this the default?".to_owned());
    }
    let parts = [
        (old.argv != new.argv, "argv"),
        (old.config != new.config, "config"),
        (old.scripts != new.scripts, "script"),
        (old.meta != new.meta, "meta"),
    ];
    let parts: Vec<&str> = parts.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
    let (already, warned) = (codes(before, Severity::Warning), codes(with, Severity::Warning));
    let mut said: Vec<String> = (!parts.is_empty()).then(|| parts.join("+")).into_iter().collect();
    let new: BTreeSet<&str> = warned.difference(&already).map(|(code, _)| *code).collect();
    said.extend(new.into_iter().map(|code| format!("w{code}")));
    Ok(if said.is_empty() { "none".to_owned() } else { said.join(" ") })
}

/// Does `value` have something at this path, in any element of its lists?
fn has(value: &Value, path: &str) -> bool {
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    let (name, is_list) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
    let Some(found) = value.get(name) else { return false };
    match (rest, is_list) {
        ("", _) => true,
        (rest, true) => found.as_array().is_some_and(|all| all.iter().any(|it| has(it, rest))),
        (rest, false) => has(found, rest),
    }
}

#[test]
fn options_do_what_the_table_says() {
    let mut wrong = Vec::new();
    let mut bases: BTreeMap<String, Base> = BTreeMap::new();
    for row in table() {
        let mut files = Files::default();
        let file = files.add("with.toml", row.with.as_str());
        let set = files.parse(file).unwrap_or_else(|why| panic!("{}: {why:?}", row.with));
        let set = set.value.to_json();
        let inner = set.pointer("/vms/a").unwrap_or(&set);
        if !has(inner, &row.option) {
            wrong.push(format!("{}: not set by {}", row.option, row.with.trim_end()));
        }
        for (hypervisor, _, cell) in row.said() {
            let base = smallest(hypervisor, &row.before);
            let with = load(&base, Some(&row.with));
            let before = bases.entry(base).or_insert_with_key(|base| {
                let loaded = load(base, None);
                let made = (!loaded.report.has_errors()).then(|| Made::of(&loaded)).flatten();
                (loaded, made)
            });
            let found = outcome(before, &with).unwrap_or_else(|why| why);
            if found != cell {
                let text = with.report.text(&with.files);
                wrong.push(format!("{}\t{hypervisor}\t{cell}\t{found}\n{text}", row.option));
            }
            // The hint of a key that is refused is the note of its row.
            let gone = with.report.iter().find(|it| it.code == "MV003");
            if gone.is_some_and(|it| it.hint.as_deref() != Some(&row.note)) {
                wrong.push(format!("{}: the hint is {:?}", row.option, gone.map(|it| &it.hint)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_of_options_is_complete() {
    let table = table();
    let numbers: BTreeSet<u16> = table.iter().filter_map(|row| row.number.parse().ok()).collect();
    let mut wrong: Vec<String> = (1..=LAST)
        .filter(|number| !numbers.contains(number))
        .map(|number| format!("option {number} of microvm.nix is missing"))
        .collect();
    for row in &table {
        if row.number != "x" && !row.number.parse().is_ok_and(|it| (1..=LAST).contains(&it)) {
            wrong.push(format!("{}: no number {}", row.option, row.number));
        }
        if row.said().any(|(.., cell)| cell == "none") && row.note.len() < 10 {
            wrong.push(format!("{}: no reason why nothing happens", row.option));
        }
    }
    for gone in GONE {
        let of = |row: &&Row| row.option.split('.').next() == Some(gone.path);
        if !table.iter().any(|row| row.option == gone.path || of(&row)) {
            wrong.push(format!("{}: a key that is gone, without a row", gone.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn who_heeds_a_key_is_what_the_table_says() {
    let table = table();
    let mut cells: BTreeMap<(&str, schema::Who), Vec<&str>> = BTreeMap::new();
    for row in &table {
        for (_, who, cell) in row.said() {
            cells.entry((&row.option, who)).or_default().push(cell);
        }
    }
    let mut wrong = Vec::new();
    schema::walk(&mut |path, key| {
        if let Kind::Table(keys) = key.kind {
            let inner = keys.iter().fold(0, |all, key| all | key.who);
            if inner & ALL != key.who & ALL {
                wrong.push(format!("{path}: not heeded by those who heed what is in it"));
            }
            return;
        }
        for (name, who) in HYPERVISORS {
            let Some(cells) = cells.get(&(path, who)) else {
                wrong.push(format!("{path} with {name}: no cell"));
                continue;
            };
            let reaches = |parts: &[&str]| {
                let part = |cell: &str| cell.split([' ', '+']).any(|word| parts.contains(&word));
                cells.iter().any(|cell| part(cell))
            };
            let refused = cells.iter().any(|cell| cell.starts_with("MV"));
            let is_heeded = reaches(&["argv", "config", "script", "meta", "absent"]);
            let fits = match (key.who & who != 0, key.who & HOST != 0) {
                // What everybody heeds may be heeded by refusing it.
                (true, _) => is_heeded || (key.who & ALL == ALL && refused),
                (false, true) => !reaches(&["argv", "config"]),
                (false, false) => !is_heeded,
            };
            if !fits {
                wrong.push(format!("{path} with {name}: the schema disagrees with {cells:?}"));
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
