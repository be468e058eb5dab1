// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is generated for programs that cannot be had here, against tables of what they document.
//!
//! A table in `fixtures/microvm/cli` says for each option whether it takes a value, whether it may
//! stand again, and which keys its value may hold, with their types. Unknown words, missing or
//! superfluous values, keys that stand twice and values of a wrong type are errors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::LazyLock;

use microvm::config::{Hypervisor, Vm};
use microvm::source::Files;
use serde_json::Value;

use crate::decode::Syntax;
use crate::support::{cases, fixtures, load, name, plans};

/// The table for a machine, unless the program itself is asked.
fn table_name(vm: &Vm) -> Option<&'static str> {
    match vm.hypervisor {
        Hypervisor::Qemu | Hypervisor::Alioth => None,
        Hypervisor::CloudHypervisor if vm.cloud_hypervisor.version == "35.0" => {
            Some("cloud-hypervisor-35.0")
        }
        Hypervisor::CloudHypervisor => Some("cloud-hypervisor-53.0"),
        Hypervisor::Firecracker => Some("firecracker-1.16.1"),
        Hypervisor::Crosvm => Some("crosvm-2026-08"),
        Hypervisor::Kvmtool => Some("kvmtool-3.18"),
        Hypervisor::Stratovirt => Some("stratovirt-2.5"),
        Hypervisor::Vfkit => Some("vfkit-0.6.4"),
    }
}

/// The tables, each read once.
static TABLES: LazyLock<BTreeMap<&str, Value>> = LazyLock::new(|| {
    let names = [
        "cloud-hypervisor-35.0",
        "cloud-hypervisor-53.0",
        "crosvm-2026-08",
        "firecracker-1.16.1",
        "kvmtool-3.18",
        "stratovirt-2.5",
        "vfkit-0.6.4",
    ];
    names.into_iter().map(|name| (name, read(name))).collect()
});

fn table(name: &str) -> &'static Value {
    &TABLES[name]
}

fn read(name: &str) -> Value {
    let path = fixtures().join("cli").join(format!("{name}.toml"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut files = Files::default();
    let file = files.add(format!("{name}.toml"), text);
    files.parse(file).unwrap_or_else(|errors| panic!("{name}: {errors:?}")).value.to_json()
}

fn is_on(option: &Value, key: &str) -> bool {
    option.get(key) == Some(&Value::Bool(true))
}

/// What is wrong with the words, by a table.
fn check(table: &Value, words: &[String]) -> Result<(), String> {
    let syntax = syntax(table);
    let options = table["options"].as_object().expect("options");
    let mut left = table.get("positionals").and_then(Value::as_u64).unwrap_or(0);
    let mut words = words.iter().map(String::as_str).peekable();
    if let Some(command) = table.get("command").and_then(Value::as_str) {
        if words.next() != Some(command) {
            return Err(format!("does not begin with {command}"));
        }
    }
    let mut seen = BTreeSet::new();
    while let Some(word) = words.next() {
        let (flag, joined) = match word.split_once('=') {
            Some((flag, value)) if options.contains_key(flag) => (flag, Some(value)),
            _ => (word, None),
        };
        let Some(option) = options.get(flag) else {
            left = left.checked_sub(1).ok_or_else(|| format!("unknown word {word}"))?;
            continue;
        };
        if !seen.insert(flag.to_owned()) && !is_on(option, "repeat") {
            return Err(format!("{flag} stands twice"));
        }
        if is_on(option, "flag") {
            continue;
        }
        let first =
            joined.or_else(|| words.next()).ok_or_else(|| format!("{flag} lacks a value"))?;
        value(option, syntax, first).map_err(|why| format!("{flag} {first}: {why}"))?;
        while is_on(option, "several") && words.peek().is_some_and(|it| !it.starts_with('-')) {
            let next = words.next().expect("a word");
            value(option, syntax, next).map_err(|why| format!("{flag} {next}: {why}"))?;
        }
    }
    if left == 0 { Ok(()) } else { Err("a word is missing".to_owned()) }
}

/// One value of an option.
fn value(option: &Value, syntax: Syntax, text: &str) -> Result<(), String> {
    if let Some(kind) = option.get("value").and_then(Value::as_str) {
        return of_kind(kind, text);
    }
    let separator =
        option.get("separator").and_then(Value::as_str).and_then(|it| it.chars().next());
    let parts = syntax.parts(text, separator.unwrap_or(','))?;
    let mut parts = parts.iter();
    let mut keys = option.get("keys").cloned().unwrap_or_default();
    if let Some(kinds) = option.get("kinds") {
        let (_, kind) = parts.next().ok_or("nothing there")?;
        keys = kinds.get(kind).ok_or_else(|| format!("unknown kind {kind}"))?.clone();
    }
    let mut bare = ["first", "second"].iter().filter_map(|it| option.get(it)?.as_str());
    let mut seen = BTreeSet::new();
    for part in parts {
        let (name, kind, text): (&str, &str, &str) = match part {
            (Some(key), text) => (key, keys.get(key).and_then(Value::as_str).unwrap_or(""), text),
            (None, text) => match keys.get(text).and_then(Value::as_str) {
                Some(kind @ ("flag" | "bool")) => (text, kind, "true"),
                _ => (text, bare.next().unwrap_or(""), text),
            },
        };
        if kind.is_empty() {
            return Err(format!("unknown key {name}"));
        }
        if (part.0.is_some() || kind == "flag") && !seen.insert(name) {
            return Err(format!("{name} stands twice"));
        }
        of_kind(kind, text).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

fn of_kind(kind: &str, text: &str) -> Result<(), String> {
    let is_number = |text: &str| text.parse::<u64>().is_ok();
    let numbers = |text: &str, by: char| text.split(by).all(is_number);
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let fits = match kind {
        "text" | "path" => !text.is_empty(),
        "flag" => text == "true",
        "bool" => matches!(text, "true" | "false"),
        "switch" => matches!(text, "on" | "off" | "true" | "false"),
        "int" => is_number(text),
        "size" => is_number(text.trim_end_matches(['K', 'M', 'G'])),
        "numbers" => inner.is_some_and(|text| numbers(text, ',')),
        "texts" => inner.is_some_and(|text| !text.contains(['[', ']'])),
        "colons" => numbers(text, ':'),
        "socket" => text.strip_prefix("unix:").is_some_and(|path| !path.is_empty()),
        "mac" => {
            let is_byte = |part: &str| part.len() == 2 && u8::from_str_radix(part, 16).is_ok();
            text.split(':').count() == 6 && text.split(':').all(is_byte)
        }
        words => words.split('|').any(|word| word == text),
    };
    if fits { Ok(()) } else { Err(format!("{text} is no {kind}")) }
}

/// What is wrong with a configuration of Firecracker.
fn check_config(table: &Value, config: &Value) -> Result<(), String> {
    for needed in ["boot-source", "drives", "machine-config"] {
        config.get(needed).ok_or_else(|| format!("no section {needed}"))?;
    }
    for (name, section) in config.as_object().ok_or("no object")? {
        let Some(known) = table["sections"].get(name) else {
            return Err(format!("section {name} is unknown"));
        };
        let items = match section {
            Value::Array(items) if is_on(known, "list") => items.iter().collect(),
            Value::Object(_) if !is_on(known, "list") => vec![section],
            Value::String(_) if known == "string" => continue,
            _ => return Err(format!("section {name} is of a wrong type")),
        };
        for item in items {
            fields(known, item).map_err(|why| format!("{name}: {why}"))?;
        }
    }
    Ok(())
}

fn fields(known: &Value, item: &Value) -> Result<(), String> {
    for needed in known["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        item.get(needed).ok_or_else(|| format!("no field {needed}"))?;
    }
    for (field, value) in item.as_object().ok_or("no object")? {
        let kind = match value {
            Value::String(_) => "string",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::Object(_) => "object",
            Value::Array(_) => "array",
            Value::Null => "null",
        };
        if known["fields"][field] != kind {
            return Err(format!("field {field} is unknown, or no {kind}"));
        }
    }
    Ok(())
}

#[test]
fn command_lines_fit_the_tables() {
    let (mut wrong, mut checked) = (Vec::new(), BTreeSet::new());
    for case in cases() {
        let loaded = load(&case);
        if loaded.report.has_errors() {
            continue;
        }
        for (machine, (_, plan)) in loaded.machines.iter().zip(plans(&case, &loaded)) {
            let Some(program) = table_name(&machine.vm) else { continue };
            let table = table(program);
            checked.insert(program);
            let words: Vec<String> = plan.words.iter().map(|word| word.shown()).collect();
            wrong.extend(check(table, &words).err().map(|why| format!("{}: {why}", name(&case))));
            for (path, bytes) in plan.files.iter().filter(|it| it.0.ends_with("firecracker.json")) {
                let config = serde_json::from_slice(bytes).expect("JSON");
                let why = check_config(table, &config).err();
                wrong.extend(why.map(|why| format!("{}, {path}: {why}", name(&case))));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(checked.len(), 7, "{checked:?}");
}

#[test]
fn tables_refuse_what_is_wrong() {
    let refused = |program: &str, words: &[&str]| {
        let words: Vec<String> = words.iter().map(|&it| it.to_owned()).collect();
        check(table(program), &words).expect_err("a refusal")
    };
    for (program, words, why) in [
        ("cloud-hypervisor-53.0", vec!["--disk", "path=a,b.img"], "unknown key b.img"),
        ("cloud-hypervisor-53.0", vec!["--kernel", "a", "--kernel", "b"], "--kernel stands twice"),
        ("cloud-hypervisor-35.0", vec!["--fs", "tag=a", "tag=b"], "unknown word tag=b"),
        ("stratovirt-2.5", vec!["-netdev", "tap,queues=1,queues=2"], "queues stands twice"),
        ("kvmtool-3.18", vec!["run", "-n", "mode=bridge"], "bridge is no"),
        ("crosvm-2026-08", vec!["run", "--block", "a\"b,ro=true"], "follows a value"),
        ("crosvm-2026-08", vec!["run"], "a word is missing"),
        ("vfkit-0.6.4", vec!["--device", "rosetta,ignoreIfMissing"], "unknown key"),
        ("firecracker-1.16.1", vec!["--api-sock"], "lacks a value"),
    ] {
        let found = refused(program, &words);
        assert!(found.contains(why), "{words:?}: {found}");
    }
    let config = serde_json::json!({
        "boot-source": { "kernel_image_path": "k" }, "drives": [], "unheard-of": {},
        "machine-config": { "vcpu_count": 1, "mem_size_mib": 1 },
    });
    let found = check_config(table("firecracker-1.16.1"), &config).expect_err("a refusal");
    assert!(found.contains("unheard-of"), "{found}");
}

/// The table for a machine, for those who take words apart.
pub(crate) fn for_machine(vm: &Vm) -> Option<&'static Value> {
    table_name(vm).map(table)
}

/// The syntax of the values in a table.
pub(crate) fn syntax(table: &Value) -> Syntax {
    Syntax::by_name(table["syntax"].as_str().expect("a syntax"))
}

/// Is what stands behind `flag` one text? So is what stands behind none.
pub(crate) fn is_whole(table: &Value, flag: &str) -> bool {
    let option = table["options"].get(flag);
    option.is_none_or(|option| option.get("value").is_some() || is_on(option, "flag"))
}

/// May several words stand behind `flag`?
pub(crate) fn takes_several(table: &Value, flag: &str) -> bool {
    table["options"].get(flag).is_some_and(|option| is_on(option, "several"))
}

/// How many parts of a value are told by their place alone, whatever stands in them; `None` where
/// keys are looked for in all of them.
pub(crate) fn positions(table: &Value, flag: &str) -> Option<usize> {
    let option = table["options"].get(flag)?;
    let by_place = syntax(table) == Syntax::Plain || option.get("separator").is_some();
    let count = ["first", "second"].iter().filter(|it| option.get(**it).is_some()).count();
    (by_place && count > 0).then_some(count)
}
