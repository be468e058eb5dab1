// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How the options of two packages differ.
//!
//! Pure. Compares the descriptions that the packages carry, option by option; lists are compared
//! item by item.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::package::{RUNNER, Tree};

/// One option that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The option, such as `interfaces[0].mac`.
    pub key: String,
    /// What it was; `None` when it was not set.
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

/// What differs, sorted by key.
#[must_use]
pub fn difference(before: &Tree, after: &Tree) -> Vec<Difference> {
    let (before, after) = (options(before), options(after));
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differ = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
    differ
        .map(|key| Difference {
            key: key.clone(),
            before: before.get(key).cloned(),
            after: after.get(key).cloned(),
        })
        .collect()
}

fn options(tree: &Tree) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let runner = tree.get(RUNNER).and_then(|it| serde_json::from_slice::<Value>(it.bytes()).ok());
    if let Some(config) = runner.as_ref().and_then(|runner| runner.get("config")) {
        flatten("", config, &mut found);
    }
    found
}

fn flatten(key: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let dot = if key.is_empty() { "" } else { "." };
                flatten(&format!("{key}{dot}{name}"), value, found);
            }
        }
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                flatten(&format!("{key}[{at}]"), value, found);
            }
        }
        Value::Null => {}
        other => drop(found.insert(key.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Entry;

    #[test]
    fn options_are_compared_one_by_one() {
        let tree = |text: &str| {
            let mut tree = Tree::default();
            tree.put(RUNNER, Entry::Data(text.as_bytes().to_vec()));
            tree
        };
        let before = tree(r#"{"config":{"mem":512,"a":{"b":true},"l":[1,2],"n":null}}"#);
        let after = tree(r#"{"config":{"mem":768,"a":{"b":true},"l":[1],"new":"x"}}"#);
        let told: Vec<String> =
            difference(&before, &after).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["- l[1] = 2", "~ mem: 512 -> 768", "+ new = \"x\""]);
        assert!(difference(&after, &after).is_empty());
    }
}
