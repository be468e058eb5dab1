// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Evaluated options of microvm.nix, as a description.
//!
//! Pure. Takes the JSON of `config.microvm` and keeps what the table of keys knows, in its own
//! words; of everything else it says why it is left out. Values that are the default are kept: who
//! evaluated them wanted to see them.

use serde_json::{Map, Value};

use crate::schema::{GONE, KEYS, Key, Kind};

/// A key that was left out, or changed on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The key, such as `qemu.package`.
    pub path: String,
    /// What became of it, and why.
    pub reason: String,
}

/// The description that these options come to, and what was left out.
#[must_use]
pub fn import(options: &Map<String, Value>) -> (Map<String, Value>, Vec<Note>) {
    let mut notes = Vec::new();
    let mut description = table(options, KEYS, "", &mut notes);
    // Upstream's way to say "no socket" is null, which is also how it says nothing.
    if options.get("socket") == Some(&Value::Null) {
        description.insert("socket".to_owned(), Value::Bool(false));
    }
    let has_image =
        description.contains_key("storeDisk") || description.contains_key("storeDiskSource");
    if !has_image && description.remove("storeOnDisk") == Some(Value::Bool(true)) {
        notes.push(note("storeOnDisk", "Nix builds this image; set storeDisk or storeDiskSource"));
    }
    for key in ["kernel", "storeDisk", "initrdPath"] {
        let path = description.get(key).and_then(Value::as_str).unwrap_or_default();
        if path.starts_with("/nix/store/") {
            notes.push(note(key, "kept, but the file exists only where Nix built it"));
        }
    }
    (description, notes)
}

fn note(path: &str, reason: impl Into<String>) -> Note {
    Note { path: path.to_owned(), reason: reason.into() }
}

fn table(
    options: &Map<String, Value>,
    keys: &'static [Key],
    prefix: &str,
    notes: &mut Vec<Note>,
) -> Map<String, Value> {
    let mut kept = Map::new();
    for (name, option) in options {
        let path = format!("{prefix}{name}");
        if option.is_null() {
            continue;
        }
        let bare = without_indices(&path);
        if let Some(gone) = GONE.iter().find(|gone| gone.path == bare) {
            notes.push(note(&path, gone.hint));
            continue;
        }
        let Some(key) = keys.iter().find(|key| key.name == name) else {
            notes.push(note(&path, "no such key here"));
            continue;
        };
        if let Some(converted) = value(option, key, &path, notes) {
            kept.insert(name.clone(), converted);
        }
    }
    kept
}

/// The value as the key takes it; `None` if it does not.
fn value(option: &Value, key: &'static Key, path: &str, notes: &mut Vec<Note>) -> Option<Value> {
    match (key.kind, option) {
        (Kind::Table(keys), Value::Object(members)) => {
            let inner = table(members, keys, &format!("{path}."), notes);
            (!inner.is_empty()).then_some(Value::Object(inner))
        }
        (Kind::Tables(keys, _), Value::Array(items)) => {
            let mut kept = Vec::new();
            for (at, item) in items.iter().enumerate() {
                let path = format!("{path}[{at}]");
                match item {
                    Value::Object(members) => {
                        let inner = table(members, keys, &format!("{path}."), notes);
                        kept.push(Value::Object(inner));
                    }
                    _ => notes.push(note(&path, "not a table")),
                }
            }
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        (Kind::Bool, Value::Bool(_)) => Some(option.clone()),
        (Kind::Any, Value::Object(members)) => {
            let kept = filled(option, path, notes)?;
            (members.is_empty() || kept != Value::Object(Map::new())).then_some(kept)
        }
        (Kind::Int(..) | Kind::Size | Kind::IntOr(_), Value::Number(number))
            if !number.is_f64() =>
        {
            Some(option.clone())
        }
        (Kind::Texts | Kind::LinesByName | Kind::Paths, Value::Object(members)) => {
            let mut kept = Map::new();
            for (name, member) in members {
                match member {
                    Value::String(_) => drop(kept.insert(name.clone(), member.clone())),
                    Value::Null if matches!(key.kind, Kind::Texts) => {
                        kept.insert(name.clone(), Value::Bool(false));
                    }
                    Value::Null => {}
                    _ => notes.push(note(&format!("{path}.{name}"), "not a text")),
                }
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        (Kind::Words, Value::Array(items)) => {
            let is_text = |item: &&Value| item.is_string();
            let kept: Vec<Value> = items.iter().filter(is_text).cloned().collect();
            if kept.len() < items.len() {
                notes.push(note(path, "elements that are no texts are left out"));
            }
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        (
            Kind::Text
            | Kind::AnyText
            | Kind::Version
            | Kind::TextOrOff
            | Kind::Path
            | Kind::Lines
            | Kind::Choice(_)
            | Kind::IntOr(_)
            | Kind::Size,
            Value::String(text),
        ) => (!text.is_empty() || !matches!(key.kind, Kind::Lines)).then(|| option.clone()),
        _ => {
            notes.push(note(path, "its value has no form that this key takes"));
            None
        }
    }
}

/// A value of any form without what is null in it, for which a description has no word.
fn filled(value: &Value, path: &str, notes: &mut Vec<Note>) -> Option<Value> {
    match value {
        Value::Null => {
            notes.push(note(path, "null is left out: it cannot be written here"));
            None
        }
        Value::Object(members) => {
            let mut kept = Map::new();
            for (name, member) in members {
                let member = filled(member, &format!("{path}.{name}"), notes);
                kept.extend(member.map(|it| (name.clone(), it)));
            }
            Some(Value::Object(kept))
        }
        Value::Array(items) => {
            let mut kept = Vec::new();
            for (at, item) in items.iter().enumerate() {
                kept.extend(filled(item, &format!("{path}[{at}]"), notes));
            }
            Some(Value::Array(kept))
        }
        _ => Some(value.clone()),
    }
}

fn without_indices(path: &str) -> String {
    let steps = path.split('.').map(|step| step.split('[').next().unwrap_or(step));
    steps.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(options: &Value) -> (Value, Vec<String>) {
        let (description, notes) = import(options.as_object().expect("an object"));
        let notes = notes.iter().map(|it| format!("{}: {}", it.path, it.reason)).collect();
        (Value::Object(description), notes)
    }

    #[test]
    fn known_keys_are_kept_and_unset_ones_are_not() {
        let (description, notes) = of(&json!({
            "hypervisor": "qemu", "mem": 512, "cpu": null, "preStart": "",
            "volumes": [{ "image": "a.img", "size": 64, "label": null }],
            "qemu": { "machine": "q35", "machineOpts": { "acpi": "on", "x": null } },
            "interfaces": [],
        }));
        assert_eq!(notes, [""; 0]);
        assert_eq!(
            description,
            json!({
                "hypervisor": "qemu", "mem": 512,
                "volumes": [{ "image": "a.img", "size": 64 }],
                "qemu": { "machine": "q35", "machineOpts": { "acpi": "on", "x": false } },
            })
        );
    }

    #[test]
    fn null_is_left_out_of_free_values_and_named() {
        let (description, notes) = of(&json!({
            "firecracker": { "cpu": { "a": null }, "extraConfig": {
                "x": { "y": null, "z": [1, null, { "w": null }] }, "empty": {},
            } },
        }));
        let extra = json!({ "x": { "z": [1, {}] }, "empty": {} });
        assert_eq!(description, json!({ "firecracker": { "extraConfig": extra } }));
        let paths: Vec<&str> = notes.iter().filter_map(|it| it.split(": ").next()).collect();
        let x = "firecracker.extraConfig.x";
        let want = ["firecracker.cpu.a".to_owned(), format!("{x}.y"), format!("{x}.z[1]")];
        assert_eq!(paths, [want.as_slice(), &[format!("{x}.z[2].w")]].concat());
    }

    #[test]
    fn what_has_no_meaning_here_is_said_with_its_reason() {
        let (description, notes) = of(&json!({
            "registerClosure": true, "qemu": { "package": "/nix/store/x" }, "runner": {},
            "invented": 1, "storeOnDisk": true, "vcpu": "two", "socket": null,
            "kernel": "/nix/store/k/bzImage",
        }));
        assert_eq!(description, json!({ "kernel": "/nix/store/k/bzImage", "socket": false }));
        let said = notes.join("\n");
        for part in [
            "registerClosure: there is no Nix database",
            "qemu.package: use qemu.binary and qemu.version",
            "runner: use `microvm build",
            "invented: no such key here",
            "storeOnDisk: Nix builds this image",
            "vcpu: its value has no form",
            "kernel: kept, but",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
}
