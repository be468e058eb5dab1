// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of keys as a JSON Schema (draft 2020-12), for editors.

use serde_json::{Map, Value, json};

use super::{KEYS, Key, Kind};

/// The schema of a description: of one machine, or of a fleet.
#[must_use]
pub fn json_schema() -> Value {
    let mut properties = properties(KEYS);
    properties.insert(
        "extends".to_owned(),
        json!({
            "description": "files that this one is laid over, the first the lowest",
            "type": "array",
            "items": { "type": "string" },
        }),
    );
    properties.insert(
        "defaults".to_owned(),
        json!({ "description": "keys for all machines of a fleet", "$ref": "#/$defs/machine" }),
    );
    properties.insert(
        "vms".to_owned(),
        json!({
            "description": "the machines of a fleet by their names",
            "type": "object",
            "additionalProperties": { "$ref": "#/$defs/machine" },
        }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "a virtual machine, or a fleet of them, for microvm",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": { "machine": table(KEYS) },
    })
}

fn properties(keys: &[Key]) -> Map<String, Value> {
    keys.iter().map(|key| (key.name.to_owned(), property(key))).collect()
}

fn table(keys: &[Key]) -> Value {
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut value = json!({
        "type": "object", "properties": properties(keys), "additionalProperties": false,
    });
    if let (Value::Object(members), false) = (&mut value, required.is_empty()) {
        members.insert("required".to_owned(), json!(required));
    }
    value
}

fn property(key: &Key) -> Value {
    let text = || json!({ "type": "string" });
    let of_texts = |value: Value| json!({ "type": "object", "additionalProperties": value });
    let mut value = match key.kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Size => json!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^[0-9]+[MGT]?$" },
        ] }),
        Kind::Text | Kind::Path | Kind::Lines => text(),
        Kind::TextOrOff => json!({ "anyOf": [{ "type": "string" }, { "const": false }] }),
        Kind::IntOr([]) => json!({ "type": "integer", "minimum": 0 }),
        Kind::IntOr(words) => {
            json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "enum": words }] })
        }
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Words => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Texts => of_texts(json!({ "anyOf": [{ "type": "string" }, { "const": false }] })),
        Kind::LinesByName | Kind::Paths => of_texts(text()),
        Kind::Any => json!({ "type": "object" }),
        Kind::Table(keys) => table(keys),
        Kind::Tables(keys, _) => json!({
            "type": "array",
            "items": { "anyOf": [table(keys), { "const": crate::merge::RESET }] },
        }),
    };
    if let Value::Object(members) = &mut value {
        members.insert("description".to_owned(), json!(key.about));
        if let Some(default) = default(key) {
            members.insert("default".to_owned(), default);
        }
    }
    value
}

/// The default, where it is a value and not a sentence about other options.
fn default(key: &Key) -> Option<Value> {
    match key.kind {
        Kind::Bool => key.default.parse::<bool>().ok().map(Value::from),
        Kind::Int(..) | Kind::Size | Kind::IntOr(_) => {
            key.default.parse::<i64>().ok().map(Value::from)
        }
        Kind::Choice(words) => words.contains(&key.default).then(|| json!(key.default)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_property_with_its_meaning() {
        let schema = json_schema();
        super::super::walk(&mut |path, key| {
            let mut at = &schema;
            for step in path.split('.') {
                let name = step.trim_end_matches("[]");
                at = &at["properties"][name];
                if step.ends_with("[]") {
                    at = &at["items"]["anyOf"][0];
                }
            }
            let is_list = matches!(key.kind, Kind::Tables(..));
            assert!(at.is_object(), "{path}");
            assert!(is_list || at["description"] == key.about, "{path}: {at}");
        });
    }

    #[test]
    fn what_must_be_there_and_what_stands_otherwise_is_said() {
        let schema = json_schema();
        assert_eq!(schema["properties"]["mem"]["default"], 512);
        assert_eq!(schema["properties"]["hypervisor"]["default"], "qemu");
        let volume = &schema["properties"]["volumes"]["items"]["anyOf"][0];
        assert_eq!(volume["required"], json!(["image"]));
        assert_eq!(schema["additionalProperties"], false);
    }
}
