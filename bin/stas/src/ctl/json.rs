// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Prints values as one JSON document (RFC 8259), and adds typed duplicates to what the wire has
//! as text.
//!
//! On the wire every value of a controller is a string, and stays one here under its own key. What
//! is a number, a truth value or a timer appears a second time under the key [`TYPED`] of the same
//! object: `"connected": "True"` is joined by `"typed": {"connected": true}`.

use serde_json::{Map, Value, json};

/// The key of the typed duplicates.
pub const TYPED: &str = "typed";

/// Keys whose text is `True` or `False`; anything else becomes `null`.
const TRUTHS: [&str; 5] = [
    "connected",
    "config-stale",
    "dlpe.eflags.ncc",
    "kernel support.TP8013",
    "kernel support.host_iface",
];

/// Keys whose text is a decimal number.
const NUMBERS: [&str; 6] = ["asqsz", "cntlid", "connect attempts", "eflags", "portid", "trsvcid"];

/// `value` as a document without a line feed at the end: indented by two blanks for people at a
/// terminal, on one line for programs. Keys are sorted.
#[must_use]
pub fn document(value: &Value, for_people: bool) -> String {
    let text = if for_people { format!("{value:#}") } else { value.to_string() };
    if !text.chars().any(is_hidden) {
        return text;
    }
    // These occur inside strings only, where an escape means the same.
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// What JSON lets through and a terminal would act upon: DEL, the C1 controls, separators of lines
/// and characters that reorder text. (Line feeds stand between tokens only.)
const fn is_hidden(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Adds typed duplicates to every object of `value` that has something to duplicate.
pub fn add_types(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(add_types),
        Value::Object(map) => {
            map.values_mut().for_each(add_types);
            let typed = typed(map);
            if !typed.is_empty() && !map.contains_key(TYPED) {
                map.insert(TYPED.into(), Value::Object(typed));
            }
        }
        _ => {}
    }
}

fn typed(map: &Map<String, Value>) -> Map<String, Value> {
    let mut typed = Map::new();
    for (key, value) in map {
        let Some(text) = value.as_str() else { continue };
        let duplicate = if TRUTHS.contains(&key.as_str()) {
            Some(match text {
                "True" => Value::Bool(true),
                "False" => Value::Bool(false),
                _ => Value::Null,
            })
        } else if NUMBERS.contains(&key.as_str()) {
            text.parse::<u64>().ok().map(Value::from)
        } else if key.ends_with(" timer") {
            timer(text)
        } else {
            None
        };
        if let Some(duplicate) = duplicate {
            typed.insert(key.clone(), duplicate);
        }
    }
    typed
}

/// Seconds of a timer in its text form, `60.0s [off]` or `3.0s [2.9s]`: the interval, and what
/// remains of it while it runs.
fn timer(text: &str) -> Option<Value> {
    let (interval, state) = text.strip_suffix(']')?.split_once(" [")?;
    let seconds = |text: &str| text.strip_suffix('s')?.parse::<f64>().ok();
    let remaining = match state {
        "off" => Value::Null,
        running => seconds(running)?.into(),
    };
    Some(json!({ "interval": seconds(interval)?, "remaining": remaining }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_get_lines_and_programs_one_line() {
        let value = json!({ "b": [1, {}], "a": "ü\n" });
        assert_eq!(document(&value, false), r#"{"a":"ü\n","b":[1,{}]}"#);
        let lines = "{\n  \"a\": \"ü\\n\",\n  \"b\": [\n    1,\n    {}\n  ]\n}";
        assert_eq!(document(&value, true), lines);
    }

    #[test]
    fn what_is_text_on_the_wire_stays_text_and_gets_a_typed_twin() {
        let mut value = json!([{
            "connected": "True", "connect attempts": "3", "device": "nvme0", "trsvcid": "8009",
            "retry connect timer": "60.0s [off]", "unresponsive timer": "10.0s [2.5s]",
            "log_pages": [{ "eflags": "4", "asqsz": "none", "tsas": "" }],
        }]);
        let before = value.clone();
        add_types(&mut value);
        assert_eq!(
            value[0]["typed"],
            json!({
                "connected": true, "connect attempts": 3, "trsvcid": 8009,
                "retry connect timer": { "interval": 60.0, "remaining": null },
                "unresponsive timer": { "interval": 10.0, "remaining": 2.5 },
            })
        );
        assert_eq!(value[0]["log_pages"][0]["typed"], json!({ "eflags": 4 }));
        for key in ["connected", "connect attempts", "device", "retry connect timer"] {
            assert_eq!(value[0][key], before[0][key]);
        }
    }

    #[test]
    fn what_has_no_type_gets_none() {
        for plain in [
            json!({ "tron": true, "hostkey": null, "traddr": "5" }),
            json!({ "trsvcid": "", "eflags": "-1", "odd timer": "soon", "flat timer": "1s [x]" }),
            json!({ "trsvcid": 7 }),
            json!([]),
            json!("connected"),
        ] {
            let mut value = plain.clone();
            add_types(&mut value);
            assert_eq!(value, plain);
        }
        let mut value = json!({ "connected": "None" });
        add_types(&mut value);
        assert_eq!(value["typed"], json!({ "connected": null }));
    }

    proptest! {
        #[test]
        fn every_string_reads_back_and_moves_no_cursor(text in any::<String>(), people: bool) {
            let value = json!({ "k": text });
            let printed = document(&value, people);
            prop_assert!(!printed.chars().any(|c| is_hidden(c) || (c.is_control() && c != '\n')));
            prop_assert_eq!(serde_json::from_str::<Value>(&printed).expect("JSON"), value);
        }

        #[test]
        fn types_are_added_once(text in "[a-zA-Z0-9.\\[\\] ]{0,12}") {
            let mut value = json!({ "connected": text, "portid": text, "a timer": text });
            add_types(&mut value);
            let once = value.clone();
            add_types(&mut value);
            prop_assert_eq!(value, once);
        }
    }
}
