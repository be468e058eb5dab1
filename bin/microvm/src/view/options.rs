// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The options of a machine, each on a line of its own, and how those of two machines differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// What the JSON of a machine has besides its options.
const NO_OPTION: &str = "machineIdGiven";

/// The options in the JSON of a machine: path to value, as in `volumes[0].size` to `64`.
///
/// An empty list or table is an option too, so that every one of them is named.
#[must_use]
pub fn options(config: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    flatten("", config, &mut found);
    found.remove(NO_OPTION);
    found
}

fn flatten(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) if !members.is_empty() || path.is_empty() => {
            for (name, value) in members {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{name}"), value, found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, value) in items.iter().enumerate() {
                flatten(&format!("{path}[{at}]"), value, found);
            }
        }
        Value::Null => {}
        other => {
            found.insert(path.to_owned(), other.to_string());
        }
    }
}

/// One option that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The option, such as `interfaces[0].mac`.
    pub key: String,
    /// What it was; `None` when it was not there.
    pub before: Option<String>,
    /// What it is.
    pub after: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, before, after } = self;
        match (before, after) {
            (Some(before), Some(after)) => write!(f, "~ {key}: {before} -> {after}"),
            (None, Some(after)) => write!(f, "+ {key} = {after}"),
            (Some(before), None) => write!(f, "- {key} = {before}"),
            (None, None) => write!(f, "  {key}"),
        }
    }
}

/// What differs between the JSON of two machines, sorted by option.
#[must_use]
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let (before, after) = (options(before), options(after));
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let of = |key: &String| Difference {
        key: key.clone(),
        before: before.get(key).cloned(),
        after: after.get(key).cloned(),
    };
    keys.into_iter().map(of).filter(|it| it.before != it.after).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_value_has_a_line_of_its_own() {
        let found = options(&json!({"a": {"b": [1, {"c": "x"}]}, "d": [], "e": null, "f": {}}));
        let lines: Vec<String> = found.iter().map(|(key, it)| format!("{key}={it}")).collect();
        assert_eq!(lines, ["a.b[0]=1", "a.b[1].c=\"x\"", "d=[]", "f={}"]);
    }

    #[test]
    fn only_what_differs_is_told() {
        let before = json!({"mem": 512, "gone": true, "list": [1, 2]});
        let after = json!({"mem": 768, "new": "x", "list": [1]});
        let told: Vec<String> =
            differences(&before, &after).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["- gone = true", "- list[1] = 2", "~ mem: 512 -> 768", "+ new = \"x\""]);
        assert!(differences(&after, &after).is_empty());
    }
}
