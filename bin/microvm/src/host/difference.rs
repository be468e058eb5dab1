// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How the options of two packages differ: of the descriptions that they carry.

use serde_json::Value;

use crate::package::{RUNNER, Tree};
use crate::view::differences;

pub use crate::view::Difference;

/// What differs, sorted by key.
#[must_use]
pub fn difference(before: &Tree, after: &Tree) -> Vec<Difference> {
    differences(&config(before), &config(after))
}

/// The description that a package carries; null if it carries none.
fn config(tree: &Tree) -> Value {
    let runner = tree.get(RUNNER).and_then(|it| serde_json::from_slice::<Value>(it.bytes()).ok());
    runner.and_then(|mut runner| runner.get_mut("config").map(Value::take)).unwrap_or_default()
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
