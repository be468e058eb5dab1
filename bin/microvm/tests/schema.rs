// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The JSON Schema agrees with the check, and the table of keys with the defaults that are set.
//!
//! Owns a judge of the part of JSON Schema that is used; a keyword that it does not know fails.

use std::fs;
use std::path::{Path, PathBuf};

use microvm::config::{Context, System, fill};
use microvm::pipeline;
use microvm::schema::{self, Kind};
use microvm::source::Files;
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Why `value` does not fit `schema`; empty if it does.
fn judge(all: &Value, schema: &Value, value: &Value, path: &str, wrong: &mut Vec<String>) {
    let fits = |schema: &Value| {
        let mut wrong = Vec::new();
        judge(all, schema, value, path, &mut wrong);
        wrong.is_empty()
    };
    inside(all, schema, value, path, wrong);
    for (keyword, of) in schema.as_object().expect("a schema is an object") {
        let fine = match (keyword.as_str(), value) {
            ("$ref", _) => {
                let pointer = of.as_str().and_then(|it| it.strip_prefix('#')).expect("a pointer");
                judge(all, all.pointer(pointer).expect("a definition"), value, path, wrong);
                true
            }
            ("if", _) => {
                let branch = if fits(of) { "then" } else { "else" };
                judge(all, &schema[branch], value, path, wrong);
                true
            }
            ("type", _) => match of.as_str() {
                Some("object") => value.is_object(),
                Some("array") => value.is_array(),
                Some("string") => value.is_string(),
                Some("boolean") => value.is_boolean(),
                Some("integer") => value.is_i64(),
                _ => panic!("{path}: unknown type {of}"),
            },
            ("enum", _) => of.as_array().expect("words").contains(value),
            ("const", _) => of == value,
            ("anyOf", _) => of.as_array().expect("schemas").iter().any(fits),
            ("not", _) => !fits(of),
            ("minLength", Value::String(text)) => text.len() as u64 >= of.as_u64().unwrap_or(0),
            ("minimum", Value::Number(_)) => value.as_i64() >= of.as_i64(),
            ("maximum", Value::Number(_)) => value.as_i64() <= of.as_i64(),
            ("pattern", Value::String(text)) => {
                let is_number = |digits: &str| {
                    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
                };
                match of.as_str() {
                    Some("^[0-9]+[MGT]?$") => {
                        is_number(text.strip_suffix(['M', 'G', 'T']).unwrap_or(text))
                    }
                    Some("^[0-9]+(\\.[0-9]+)*$") => text.split('.').all(is_number),
                    _ => panic!("{path}: unknown pattern {of}"),
                }
            }
            ("required", Value::Object(members)) => {
                let mut names = of.as_array().expect("names").iter().filter_map(Value::as_str);
                names.all(|name| members.contains_key(name))
            }
            // For values of another type, for people, or judged elsewhere.
            (other, _) => {
                assert!(OTHER.contains(&other), "{path}: unknown keyword {keyword}");
                true
            }
        };
        if !fine {
            wrong.push(format!("{path}: {keyword} {of}"));
        }
    }
}

/// Keywords that restrict nothing by themselves.
const OTHER: [&str; 16] = [
    "$schema",
    "title",
    "description",
    "default",
    "$defs",
    "then",
    "else",
    "minimum",
    "maximum",
    "minLength",
    "pattern",
    "required",
    "prefixItems",
    "properties",
    "additionalProperties",
    "items",
];

/// What the members of an object and the elements of a list must be.
fn inside(all: &Value, schema: &Value, value: &Value, path: &str, wrong: &mut Vec<String>) {
    let known = schema.get("properties");
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match (known.and_then(|known| known.get(name)), schema.get("additionalProperties")) {
            (Some(of), _) => judge(all, of, value, &path, wrong),
            (None, Some(Value::Bool(false))) => wrong.push(format!("{path}: unknown")),
            (None, Some(of)) => judge(all, of, value, &path, wrong),
            (None, None) => {}
        }
    }
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        let first = schema.get("prefixItems").and_then(|items| items.get(at));
        if let Some(of) = first.or_else(|| schema.get("items")) {
            judge(all, of, item, &format!("{path}[{at}]"), wrong);
        }
    }
}

fn verdict(value: &Value) -> Vec<String> {
    let schema = schema::json_schema();
    let mut wrong = Vec::new();
    judge(&schema, &schema, value, "", &mut wrong);
    wrong
}

/// A description as JSON.
fn parsed(name: &str, text: &str) -> Option<Value> {
    let mut files = Files::default();
    let file = files.add(name, text);
    files.parse(file).ok().map(|node| node.value.to_json())
}

/// The descriptions of a directory of fixtures.
fn descriptions(dir: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join("fixtures/microvm").join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory of fixtures") {
            let path = entry.expect("an entry").path();
            let name = path.to_string_lossy().into_owned();
            if path.is_dir() {
                dirs.push(path);
            } else if name.ends_with(".toml") || name.ends_with(".json") && !name.contains("argv") {
                found.push((name, fs::read_to_string(path).expect("a description")));
            }
        }
    }
    found
}

#[test]
fn golden_descriptions_fit_the_schema() {
    let golden = descriptions("golden");
    let mut seen = 0;
    for (name, text) in golden.into_iter().filter(|(name, _)| name.ends_with("/in.toml")) {
        let value = parsed(&name, &text).expect("a description");
        assert_eq!(verdict(&value), Vec::<String>::new(), "{name}");
        seen += 1;
    }
    assert!(seen >= 10);
}

#[test]
fn what_the_check_refuses_does_not_fit_either() {
    let mut seen = 0;
    for (name, text) in descriptions("diag") {
        let Some(value) = parsed(&name, &text) else { continue };
        let read = |_: &str| Ok(text.clone());
        let loaded = pipeline::load("/srv/in.toml", "in.toml", &read, &Default::default());
        let formal = |code: &str| ["MV002", "MV003", "MV004", "MV005", "MV156"].contains(&code);
        let has = loaded.report.iter().any(|it| formal(it.code));
        // JSON cannot say what is refused there.
        if has && !name.ends_with(".json") && !name.contains("-number.") {
            assert!(!verdict(&value).is_empty(), "{name} fits");
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn what_is_known_fits_and_all_else_does_not() {
    for value in [
        json!({ "memory": 1 }),
        json!({ "qemu": { "accell": "tcg" } }),
        json!({ "volumes": [{ "image": "a", "read_only": true }] }),
        json!({ "vms": { "a": { "ram": 1 } } }),
        json!({ "vms": {}, "mem": 512 }),
        json!({ "forwardPorts": [{ "host": { "port": 1 }, "guest": {} }] }),
        json!({ "volumes": [{}] }),
        json!({ "volumes": [{ "image": "a" }, "!reset"] }),
        json!({ "kernelParams": ["a", "!reset"] }),
        json!({ "vcpu": 0 }),
        json!({ "vsock": { "cid": 2 } }),
        json!({ "qemu": { "version": "v9.1" } }),
        json!({ "credentialFiles": { "a": "" } }),
        json!({ "schema": 2, "vms": {} }),
    ] {
        assert!(!verdict(&value).is_empty(), "{value}");
    }
    for value in [
        json!({ "extends": ["a"], "mem": "2G", "socket": false }),
        json!({ "defaults": { "mem": 1 }, "vms": { "a": {} }, "extends": [] }),
        json!({ "volumes": ["!reset", { "image": "a" }] }),
        json!({ "kernelParams": ["!reset", ""], "virtiofsd": { "group": "" } }),
        json!({ "schema": 1, "vms": {}, "defaults": { "qemu": { "version": "9.1" } } }),
    ] {
        assert_eq!(verdict(&value), Vec::<String>::new(), "{value}");
    }
}

#[test]
fn defaults_of_the_table_are_those_that_are_set() {
    // One element of each list, with what must be there.
    let description = json!({
        "volumes": [{ "image": "a" }],
        "interfaces": [{ "type": "tap", "id": "a", "mac": "auto" }],
        "shares": [{ "tag": "a", "source": "b" }],
        "devices": [{ "bus": "pci", "path": "x" }],
        "forwardPorts": [{ "host": { "port": 1 }, "guest": { "port": 1 } }],
        "qemu": { "pcieRootPorts": [{ "id": "a" }] },
    });
    let fill = |name: &str, system| {
        let context = Context {
            name: name.to_owned(),
            system,
            declarative: false,
            directory: "/d".to_owned(),
        };
        let description = description.as_object().expect("an object").clone();
        fill(description, &context).expect("a machine").to_json()
    };
    let machines = [fill("a", System::X86Linux), fill("b", System::ArmLinux)];
    let (mut compared, mut wrong) = (0, Vec::new());
    schema::walk(&mut |path, key| {
        let Some(default) = schema::default(key) else { return };
        let pointer = format!("/{}", path.replace("[]", "/0").replace('.', "/"));
        for machine in &machines {
            match machine.pointer(&pointer) {
                Some(found) if *found == default => compared += 1,
                // Not kept in the machine.
                None if path == "schema" => {}
                found => wrong.push(format!("{path}: {found:?} instead of {default}")),
            }
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(compared > 80, "{compared}");
}

#[test]
fn every_key_is_in_the_schema_with_its_meaning() {
    let schema = schema::json_schema();
    schema::walk(&mut |path, key| {
        let steps = path.replace("[].", "/items/properties/").replace('.', "/properties/");
        let found = schema.pointer(&format!("/$defs/machine/properties/{steps}"));
        let found = found.unwrap_or_else(|| panic!("{path} is not in the schema"));
        let about = found["description"].as_str().unwrap_or_default();
        assert!(about.starts_with(key.about), "{path}: {about}");
        if let Kind::Choice(words) = key.kind {
            assert_eq!(found["enum"], json!(words), "{path}");
        }
    });
}
