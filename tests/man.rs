// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The manual agrees with the programs: pages and tables name the same things, both ways.
//!
//! Owns the comparison. The tables are the programs' own (command lines, keys, fields); the pages
//! are the sources in `man/`. Values, defaults and choices that a table states must stand in the
//! text of the item, so that a default is never documented differently from the program.

use std::collections::BTreeSet;
use std::process::Command;

use bpf::cli::TINYBPF;
use bpf::manifest;
use checks::mdoc::{self, Item, Page};
use checks::tree;
use microvm::schema::{self, Kind};
use plinth::cli::{Arity, Flag, Positional, Program};
use stas::core::settings::controller::CONTROLLER_FIELDS;
use stas::core::settings::keys::{KEYS, Key};
use stas::core::settings::{Role, Settings};
use stas::ctl::admin::args::STASADM;
use stas::ctl::args::{STACCTL, STAFCTL};
use stas::shell::options::{STACD, STAFD};

/// The sections of the pages, in order, and the kinds of page that have each; others may stand
/// between them.
const SECTIONS: &[(&str, &[&str])] = &[
    ("NAME", &["1", "5", "7", "8"]),
    ("SYNOPSIS", &["1", "8"]),
    ("DESCRIPTION", &["1", "5", "7", "8"]),
    ("OPTIONS", &["1", "8"]),
    ("COMMANDS", &["1"]),
    ("SIGNALS", &["8"]),
    ("ENVIRONMENT", &["1", "7", "8"]),
    ("FILES", &["1", "5", "7", "8"]),
    ("EXIT STATUS", &["1", "7", "8"]),
    ("EXAMPLES", &["1", "5", "7", "8"]),
    ("SEE ALSO", &["1", "5", "7", "8"]),
    ("STANDARDS", &["1", "5", "7", "8"]),
    ("CAVEATS", &["1", "5", "7", "8"]),
];

/// Pages of other projects that ours refer to.
const FOREIGN: &[&str] = &["dmesg.1", "ps.1"];

fn pages() -> Vec<(String, Page)> {
    let pages: Vec<(String, Page)> = tree::paths()
        .iter()
        .filter_map(|path| path.strip_prefix("man/"))
        .map(|name| (name.to_owned(), mdoc::parse(&tree::read(&format!("man/{name}")))))
        .collect();
    assert!(pages.len() >= 9, "pages are missing: {}", pages.len());
    pages
}

fn page(name: &str) -> Page {
    mdoc::parse(&tree::read(&format!("man/{name}")))
}

fn verdict(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n  {}\n", wrong.join("\n  "));
}

#[test]
fn pages_pass_the_linter() {
    let mut wrong = Vec::new();
    for (name, _) in pages() {
        let path = tree::root().join("man").join(&name);
        let lint = Command::new("mandoc").args(["-Tlint", "-Wwarning"]).arg(&path).output();
        let output = match lint {
            Ok(lint) => lint,
            Err(_) => Command::new("groff")
                .args(["-mdoc", "-ww", "-z"])
                .arg(&path)
                .output()
                .expect("mandoc or groff is installed (make setup)"),
        };
        let text = [output.stdout, output.stderr].concat();
        if !text.is_empty() {
            wrong.push(String::from_utf8_lossy(&text).into_owned());
        }
    }
    verdict(&wrong);
}

#[test]
fn pages_have_their_sections_in_order() {
    let mut wrong = Vec::new();
    for (name, page) in pages() {
        let kind = name.rsplit('.').next().unwrap_or_default();
        let of_kind = SECTIONS.iter().filter(|(_, kinds)| kinds.contains(&kind));
        let wanted: Vec<&str> = of_kind.map(|(section, _)| *section).collect();
        assert!(!wanted.is_empty(), "{name} is of a known kind");
        let found: Vec<&str> = page
            .sections
            .iter()
            .map(String::as_str)
            .filter(|section| wanted.contains(section))
            .collect();
        if found != wanted {
            wrong.push(format!("{name}: {found:?} instead of {wanted:?}"));
        }
    }
    verdict(&wrong);
}

/// Quotation reaches to the end of its line, so that a second one stands inside of the first.
#[test]
fn a_line_quotes_once() {
    let mut wrong = Vec::new();
    for path in tree::paths().into_iter().filter(|path| path.starts_with("man/")) {
        for (at, line) in tree::read(&path).lines().enumerate() {
            let quotes = |word: &&str| matches!(*word, "Ql" | "Sq" | "Dq");
            if line.starts_with('.') && line.split([' ', '.']).filter(quotes).count() > 1 {
                wrong.push(format!("{path}:{}: {line}", at + 1));
            }
        }
    }
    verdict(&wrong);
}

#[test]
fn references_lead_somewhere() {
    let pages = pages();
    let ours: BTreeSet<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    let mut wrong = Vec::new();
    for (name, page) in &pages {
        for (other, section) in &page.references {
            let target = format!("{other}.{section}");
            if !ours.contains(target.as_str()) && !FOREIGN.contains(&target.as_str()) {
                wrong.push(format!("{name}: refers to {target}"));
            }
            if target == *name && page.sections.iter().any(|section| section == "SYNOPSIS") {
                wrong.push(format!("{name}: refers to itself"));
            }
        }
    }
    verdict(&wrong);
}

/// Compares two sets of names; says what only one side has.
fn compare(place: &str, table: &BTreeSet<String>, manual: &BTreeSet<String>) -> Vec<String> {
    let missing = table.difference(manual).map(|name| format!("{place}: lacks {name}"));
    let extra = manual.difference(table).map(|name| format!("{place}: invents {name}"));
    missing.chain(extra).collect()
}

/// The names of flags as the manual marks them, with the name of the value.
fn flag_names<A>(flags: &[Flag<A>]) -> BTreeSet<String> {
    let name = |flag: &Flag<A>| {
        let short = flag.short.map(|letter| format!("-{letter} ")).unwrap_or_default();
        let value = flag.value.map(|value| format!(" {value}")).unwrap_or_default();
        format!("{short}--{}{value}", flag.long)
    };
    flags.iter().map(name).collect()
}

fn item_flags(items: &[&Item]) -> BTreeSet<String> {
    let flags = items.iter().filter(|item| !item.flags.is_empty());
    flags.map(|item| [item.flags.clone(), item.arguments.clone()].concat().join(" ")).collect()
}

fn item_positionals(items: &[&Item]) -> BTreeSet<String> {
    items
        .iter()
        .filter(|item| item.flags.is_empty())
        .flat_map(|item| item.arguments.clone())
        .collect()
}

/// Whether the items of `flags` state their defaults and choices.
fn check_values<A>(place: &str, flags: &[Flag<A>], items: &[&Item]) -> Vec<String> {
    let mut wrong = Vec::new();
    for flag in flags {
        let long = format!("--{}", flag.long);
        let Some(item) = items.iter().find(|item| item.flags.contains(&long)) else { continue };
        for stated in flag.choices.iter().copied().chain(flag.default) {
            if !item.body.contains(stated) {
                wrong.push(format!("{place} {long}: does not state '{stated}'"));
            }
        }
    }
    wrong
}

fn check_program<A>(program: &Program<A>, section: &str) -> Vec<String> {
    let place = format!("{}.{section}", program.name);
    let page = page(&place);
    let of = |section: &str, parent: &str| -> Vec<&Item> {
        page.items.iter().filter(|item| item.section == section && item.parent == parent).collect()
    };
    let options = of("OPTIONS", "");
    let mut flags = flag_names(program.flags);
    let has_v = program.flags.iter().any(|flag| flag.short == Some('v'));
    let version = if has_v { "--version" } else { "-v --version" };
    flags.extend(["-h --help".to_owned(), version.to_owned()]);
    let mut wrong = compare(&place, &flags, &item_flags(&options));
    wrong.extend(check_values(&place, program.flags, &options));
    wrong.extend(compare(
        &place,
        &program.commands.iter().map(|command| command.name.to_owned()).collect(),
        &of("COMMANDS", "").iter().flat_map(|item| item.names.clone()).collect(),
    ));
    for command in program.commands {
        let items: Vec<&Item> =
            of("COMMANDS", command.name).into_iter().filter(|item| item.names.is_empty()).collect();
        let place = format!("{place} {}", command.name);
        wrong.extend(compare(&place, &flag_names(command.flags), &item_flags(&items)));
        wrong.extend(check_values(&place, command.flags, &items));
        let words =
            |table: &[Positional<A>]| table.iter().map(|word| word.name.to_owned()).collect();
        wrong.extend(compare(&place, &words(command.positionals), &item_positionals(&items)));
    }
    let variables = program.flags.iter().filter_map(|flag| flag.env);
    let text = tree::read(&format!("man/{}.{section}", program.name));
    for variable in variables.filter(|name| !text.contains(&format!(".It Ev {name}"))) {
        wrong.push(format!("{place}: lacks the variable {variable}"));
    }
    wrong
}

#[test]
fn daemons_are_documented_as_they_are() {
    verdict(&[check_program(&STAFD, "8"), check_program(&STACD, "8")].concat());
}

#[test]
fn clients_are_documented_as_they_are() {
    let clients = [check_program(&STAFCTL, "1"), check_program(&STACCTL, "1")].concat();
    verdict(&[clients, check_program(&STASADM, "1")].concat());
}

#[test]
fn the_bpf_command_is_documented_as_it_is() {
    verdict(&check_program(&TINYBPF, "8"));
}

/// The keys that a table of the manifest may have, as the parser names them to who invents one.
#[test]
fn the_machines_command_is_documented_as_it_is() {
    verdict(&check_program(&microvm::cli::MICROVM, "1"));
}

/// A quotation mark of optional words reaches to the end of its line, unless it is closed.
#[test]
fn the_machines_command_says_which_words_it_needs() {
    let text = tree::read("man/microvm.1");
    let lines: BTreeSet<&str> = text.lines().collect();
    let mut wrong = Vec::new();
    for command in microvm::cli::MICROVM.commands {
        let mut line = format!(".It Cm {}", command.name);
        if !command.flags.is_empty() {
            line.push_str(" Oo Ar option Oc ...");
        }
        for word in command.positionals {
            line.push_str(&match word.arity {
                Arity::Required => format!(" Ar {}", word.name),
                Arity::Optional => format!(" Op Ar {}", word.name),
                Arity::Many => format!(" Op Ar {} ...", word.name),
                Arity::Some => format!(" Ar {} ...", word.name),
            });
        }
        if !lines.contains(line.as_str()) {
            wrong.push(format!("microvm.1: lacks: {line}"));
        }
    }
    verdict(&wrong);
}

#[test]
fn settings_of_a_host_are_documented_as_they_are() {
    let page = page("microvm-host.7");
    let sections = ["Settings", "Declared machines"];
    let of_section = |item: &&Item| sections.contains(&item.section.as_str());
    let found: BTreeSet<String> =
        page.items.iter().filter(of_section).flat_map(|item| item.names.clone()).collect();
    let mut keys: BTreeSet<String> =
        microvm::host::settings::KEYS.iter().map(|&key| key.to_owned()).collect();
    // Of files in vms.d, which are on the page as well.
    keys.extend(["source", "updateSource"].map(str::to_owned));
    verdict(&compare("microvm-host.7", &keys, &found));
}

fn manifest_keys(text: &str) -> BTreeSet<String> {
    let problems = manifest::read::parse("m", text).expect_err("an invented key");
    let message = problems.to_string();
    let expected = message.split_once("expected").map_or("", |(_, names)| names);
    let names = expected.split('`').skip(1).step_by(2).map(str::to_owned);
    let names: BTreeSet<String> = names.collect();
    assert!(!names.is_empty(), "{message}");
    names
}

#[test]
fn the_manifest_is_documented_as_it_is() {
    let page = page("tinybpf.toml.5");
    let object = "version = 1\n[[object]]\nname = \"a\"\npath = \"b\"\n";
    let mut wrong = Vec::new();
    for (section, text) in [
        ("[manifest]", "version = 1\ninvented = 1\n".to_owned()),
        ("[object]", format!("{object}invented = 1\n")),
        ("[object.when]", format!("{object}when = {{ invented = 1 }}\n")),
        ("[object.map]", format!("{object}[[object.map]]\nname = \"m\"\ninvented = 1\n")),
        ("[object.attach]", format!("{object}[[object.attach]]\ninvented = 1\n")),
    ] {
        let items = page.items.iter().filter(|item| item.section == section);
        let found = items.flat_map(|item| item.names.clone()).collect();
        wrong.extend(compare(section, &manifest_keys(&text), &found));
    }
    for (name, value) in [
        ("pin_root", manifest::PIN_ROOT),
        ("state", manifest::STATE_PATH),
        ("version", &manifest::VERSION.to_string()),
    ] {
        let item = page.items.iter().find(|item| item.names.iter().any(|it| it == name));
        if !item.is_some_and(|item| item.body.contains(value)) {
            wrong.push(format!("{name}: does not state '{value}'"));
        }
    }
    verdict(&wrong);
}

#[test]
fn the_example_manifest_is_read_without_complaint() {
    let page = page("tinybpf.toml.5");
    let (_, text) = page.displays.iter().find(|it| it.0 == "EXAMPLES").expect("an example");
    let manifest = manifest::read::parse("example", text).expect("a manifest");
    assert_eq!(manifest.objects.len(), 2);
}

/// What the item of a key of a description must state.
fn stated(path: &str, key: &schema::Key) -> Vec<String> {
    let mut stated = Vec::new();
    match key.kind {
        Kind::Choice(words) => stated.extend(words.iter().map(|word| (*word).to_owned())),
        // Where the type has no limit of its own, a rule may have one.
        Kind::Int(min, max, _) if max < i64::from(u32::MAX) => {
            stated.push(format!("{min} to {max}"))
        }
        _ => {}
    }
    if !key.default.is_empty() {
        stated.push(key.default.to_owned());
    }
    let table = path.split(['.', '[']).next().unwrap_or_default();
    let is_of_one = schema::HYPERVISORS.iter().any(|(name, _)| *name == table);
    let who = key.who & schema::ALL;
    if who != schema::ALL && !is_of_one {
        let heeding = schema::HYPERVISORS.iter().filter(|(_, bit)| who & bit != 0);
        stated.extend(heeding.map(|(name, _)| (*name).to_owned()));
    }
    stated
}

#[test]
fn descriptions_are_documented_as_they_are() {
    let page = page("microvm.toml.5");
    let mut keys: BTreeSet<String> =
        ["extends", "defaults", "vms"].iter().map(|name| (*name).to_owned()).collect();
    let mut wrong = Vec::new();
    schema::walk(&mut |path, key| {
        keys.insert(path.to_owned());
        let item = page.items.iter().find(|item| item.names.iter().any(|name| name == path));
        let body = item.map_or("", |item| &item.body);
        let missing = stated(path, key).into_iter().filter(|text| !body.contains(text.as_str()));
        wrong.extend(missing.map(|text| format!("{path}: does not state '{text}'")));
    });
    let found = page.items.iter().flat_map(|item| item.names.clone()).collect();
    wrong.extend(compare("microvm.toml.5", &keys, &found));
    verdict(&wrong);
}

#[test]
fn example_descriptions_are_valid() {
    let page = page("microvm.toml.5");
    let examples: Vec<_> = page.displays.iter().filter(|it| it.0 == "EXAMPLES").collect();
    assert!(examples.len() >= 2);
    for (_, text) in examples {
        let read = |_: &str| Ok(text.clone());
        let loaded =
            microvm::pipeline::load("/vm/web.toml", "web.toml", &read, &Default::default());
        assert!(loaded.report.is_empty(), "{}", loaded.report.text(&loaded.files));
        assert!(!loaded.machines.is_empty());
    }
}

#[test]
fn findings_are_documented_as_they_are() {
    let files = tree::files(".rs").into_iter();
    let text: String =
        files.filter(|file| file.path.starts_with("bin/microvm/src/")).map(|it| it.text).collect();
    let parts = text.match_indices("MV").filter_map(|(at, _)| text.get(at..at + 5));
    let is_code = |part: &&str| part.bytes().skip(2).all(|byte| byte.is_ascii_digit());
    let given = parts.filter(is_code).map(str::to_owned).collect();
    let page = page("microvm-diagnostics.7");
    let found = page.items.iter().flat_map(|item| item.names.clone()).collect();
    verdict(&compare("microvm-diagnostics.7", &given, &found));
}

/// Whether the text of an item states values and default as the table does.
fn check_key(place: &str, key: &Key, item: &Item) -> Vec<String> {
    let mut wanted: Vec<&str> = Vec::new();
    if key.value.contains('|') {
        wanted.extend(key.value.split('|'));
    }
    // "16 to 1024" and "1 or more seconds" bound a number.
    let is_number = |word: &&str| word.parse::<i64>().is_ok();
    wanted.extend(key.value.split_whitespace().filter(is_number).filter(|word| *word != "0"));
    let default = key.default.split(" for ").next().unwrap_or(key.default);
    match (default, key.name) {
        ("none", _) | (_, "kato") => {}
        (default, _) if default.starts_with("the kernel's") => wanted.push("not passed"),
        (default, _) => wanted.push(default),
    }
    wanted
        .iter()
        .filter(|text| !item.body.contains(**text))
        .map(|text| format!("{place}: {} does not state '{text}'", key.name))
        .collect()
}

fn check_configuration(name: &str, role: Role) -> Vec<String> {
    let page = page(name);
    let keys: Vec<&Key> = KEYS.iter().filter(|key| key.roles.contains(&role)).collect();
    let sections: BTreeSet<&str> = keys.iter().map(|key| key.section).collect();
    let mut wrong = Vec::new();
    for section in sections {
        let place = format!("{name} [{section}]");
        let items: Vec<&Item> = page
            .items
            .iter()
            .filter(|item| item.section == format!("[{section}]") && item.parent.is_empty())
            .collect();
        let here: Vec<&&Key> = keys.iter().filter(|key| key.section == section).collect();
        wrong.extend(compare(
            &place,
            &here.iter().map(|key| key.name.to_owned()).collect(),
            &items.iter().flat_map(|item| item.names.clone()).collect(),
        ));
        for key in here {
            let named = |item: &&&Item| item.names.iter().any(|name| name == key.name);
            if let Some(item) = items.iter().find(named) {
                wrong.extend(check_key(&place, key, item));
            }
        }
    }
    let fields = page.items.iter().filter(|item| item.section == "Fields of a controller");
    let mut table: BTreeSet<String> =
        CONTROLLER_FIELDS.iter().map(|field| field.name.to_owned()).collect();
    table.insert("subsysnqn".to_owned()); // the other name of nqn
    wrong.extend(compare(
        &format!("{name} (fields)"),
        &table,
        &fields.flat_map(|item| item.names.clone()).collect(),
    ));
    wrong
}

#[test]
fn configuration_is_documented_as_it_is() {
    let finder = check_configuration("stafd.conf.5", Role::Finder);
    let connector = check_configuration("stacd.conf.5", Role::Connector);
    verdict(&[finder, connector].concat());
}

#[test]
fn example_configurations_are_read_without_complaint() {
    for (name, role) in [("stafd.conf.5", Role::Finder), ("stacd.conf.5", Role::Connector)] {
        let page = page(name);
        let examples: Vec<&String> = page
            .displays
            .iter()
            .filter(|(section, text)| section == "EXAMPLES" && text.starts_with('['))
            .map(|(_, text)| text)
            .collect();
        assert!(!examples.is_empty(), "{name} has an example");
        for text in examples {
            let (settings, complaints) = Settings::parse(role, &[(name, text.as_str())]);
            assert!(complaints.is_empty(), "{name}: {complaints:?}");
            assert!(!settings.controllers.is_empty(), "{name}: the example names a controller");
        }
    }
}

/// The sources of the programs on one line each, with the escapes of quotes undone.
fn sources() -> String {
    let files = tree::files(".rs").into_iter().filter(|file| file.path.starts_with("bin/"));
    files.map(|file| file.text.replace("\\\"", "\"")).collect()
}

#[test]
fn messages_that_are_explained_are_given() {
    let (sources, mut wrong, mut seen) = (sources(), Vec::new(), 0);
    for (name, page) in pages() {
        for item in page.items.iter().filter(|item| item.section == "DIAGNOSTICS") {
            let said = item
                .literal
                .iter()
                .flat_map(|text| text.split("stafd"))
                .flat_map(|text| text.split("stacd"));
            // The longest piece between names and values is the program's own text.
            let piece = said.map(|text| text.trim()).max_by_key(|p| p.len());
            let piece = piece.unwrap_or_default();
            seen += 1;
            if piece.len() < 8 || !sources.contains(piece) {
                wrong.push(format!("{name}: no program says '{piece}'"));
            }
        }
    }
    assert!(seen > 10, "the pages explain messages");
    verdict(&wrong);
}

#[test]
fn a_page_that_lags_behind_is_noticed() {
    let flags = [
        Flag::<()>::option(Some('f'), "file", "FILE", "read it", |_, _| Ok(())).default("none"),
        Flag::<()>::switch(None, "quiet", "say nothing", |_, _| Ok(())),
    ];
    let page =
        mdoc::parse(".Sh OPTIONS\n.Bl -tag -width Ds\n.It Fl f , Fl -file Ar FILE\nx\n.El\n");
    let items: Vec<&Item> = page.items.iter().collect();
    assert_eq!(compare("p", &flag_names(&flags), &item_flags(&items)), ["p: lacks --quiet"]);
    assert_eq!(check_values("p", &flags, &items), ["p --file: does not state 'none'"]);
}
