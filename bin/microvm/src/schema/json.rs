// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of keys as a JSON Schema, for editors.
//!
//! Draft 2020-12. Says of a description what can be said without other layers: keys, types, choices
//! and ranges. What must be there is left open where a layer below may have it. A `null` of JSON,
//! which stands for an absent key, is not in it: editors should offer none.

use serde_json::{Map, Value, json};

use super::{ALL, HOST, HYPERVISORS, KEYS, Key, Kind};
use crate::merge::RESET;

/// The schema of a description: a machine, or a fleet.
#[must_use]
pub fn json_schema() -> Value {
    let files = json!({
        "type": "array",
        "items": { "type": "string" },
        "description": "files that this one is laid over, from its own directory",
    });
    let machine = table(KEYS, &[]);
    let mut alone = machine.clone();
    if let Some(properties) = alone.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("extends".to_owned(), files.clone());
    }
    let version = KEYS.iter().find(|key| key.name == "schema").map(|key| property(key, true));
    let fleet = json!({
        "type": "object",
        "properties": {
            "schema": version,
            "extends": files,
            "defaults": {
                "$ref": "#/$defs/machine", "description": "keys for all machines",
            },
            "vms": {
                "type": "object",
                "additionalProperties": { "$ref": "#/$defs/machine" },
                "description": "the machines by their names",
            },
        },
        "additionalProperties": false,
    });
    let is_fleet = json!({ "anyOf": [{ "required": ["vms"] }, { "required": ["defaults"] }] });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "microvm",
        "description": "a virtual machine, or a fleet of them",
        "type": "object",
        "if": is_fleet,
        "then": { "$ref": "#/$defs/fleet" },
        "else": { "$ref": "#/$defs/alone" },
        "$defs": { "machine": machine, "alone": alone, "fleet": fleet },
    })
}

/// A table with these keys, of which some must be there.
fn table(keys: &'static [Key], required: &[&str]) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(key, !required.is_empty()))).collect();
    let mut table = json!({
        "type": "object", "properties": properties, "additionalProperties": false,
    });
    if !required.is_empty() {
        insert(&mut table, "required", json!(required));
    }
    table
}

fn insert(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// One key. What must be in tables inside it is said only if it cannot come from another layer.
fn property(key: &'static Key, is_whole: bool) -> Value {
    let must = |keys: &'static [Key]| -> Vec<&'static str> {
        let all = keys.iter().filter(|key| key.required && is_whole);
        all.map(|key| key.name).collect()
    };
    let mut property = match key.kind {
        Kind::Table(keys) => table(keys, &must(keys)),
        Kind::Tables(keys, []) => {
            let all = keys.iter().filter(|key| key.required).map(|key| key.name);
            list(&table(keys, &all.collect::<Vec<_>>()))
        }
        Kind::Tables(keys, identity) => {
            let mut item = table(keys, &[]);
            insert(&mut item, "required", json!(identity));
            list(&item)
        }
        kind => plain(kind),
    };
    let mut about = key.about.to_owned();
    if key.who & ALL != 0 && key.who & ALL != ALL {
        let names = HYPERVISORS.iter().filter(|(_, bit)| key.who & bit != 0).map(|(name, _)| *name);
        about.push_str(&format!(" (for {})", names.collect::<Vec<_>>().join(", ")));
    } else if key.who == HOST && key.kind_is_value() {
        about.push_str(" (for the host)");
    }
    match default(key) {
        Some(value) => insert(&mut property, "default", value),
        None if !key.default.is_empty() => about.push_str(&format!("; default: {}", key.default)),
        None => {}
    }
    insert(&mut property, "description", json!(about));
    property
}

/// A list, whose first element can say that it forgets what is below.
fn list(item: &Value) -> Value {
    json!({
        "type": "array",
        "prefixItems": [{ "anyOf": [item, { "const": RESET }] }],
        "items": item,
    })
}

/// A value that is no table with keys of its own.
fn plain(kind: Kind) -> Value {
    let any = json!({ "type": "string" });
    let text = json!({ "type": "string", "minLength": 1 });
    match kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int(min, max, _) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Size => json!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^[0-9]+[MGT]?$" },
        ] }),
        Kind::TextOrOff => json!({ "anyOf": [text, { "const": false }] }),
        Kind::IntOr([]) => json!({ "type": "integer", "minimum": 0 }),
        Kind::IntOr(words) => {
            json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "enum": words }] })
        }
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Words => json!({
            "type": "array",
            "prefixItems": [any],
            "items": { "type": "string", "not": { "const": RESET } },
        }),
        Kind::Texts => {
            json!({ "type": "object",
                "additionalProperties": { "anyOf": [any, { "const": false }] } })
        }
        Kind::LinesByName => json!({ "type": "object", "additionalProperties": any }),
        Kind::Paths => json!({ "type": "object", "additionalProperties": text }),
        Kind::Version => json!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)*$" }),
        Kind::AnyText | Kind::Lines => any,
        Kind::Text | Kind::Path => text,
        Kind::Any | Kind::Table(_) | Kind::Tables(..) => json!({ "type": "object" }),
    }
}

/// The default, if it is a value; phrases tell of those that follow from other options.
#[must_use]
pub fn default(key: &Key) -> Option<Value> {
    let text = key.default;
    match key.kind {
        Kind::Bool => text.parse::<bool>().ok().map(Value::from),
        Kind::Int(..) | Kind::Size => text.parse::<i64>().ok().map(Value::from),
        Kind::Words if !text.is_empty() => Some(text.split(' ').collect()),
        Kind::Choice(words) | Kind::IntOr(words) if words.contains(&text) => Some(text.into()),
        Kind::Text | Kind::AnyText | Kind::Version => {
            let is_phrase = text.contains([' ', ';']) || text.contains("hostName");
            (!text.is_empty() && !is_phrase && !text.contains("ARCH")).then(|| text.into())
        }
        _ => None,
    }
}
