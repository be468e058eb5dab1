// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptions of machines in JSON.
//!
//! What is read is what another reader of JSON finds, except that null is absence; every value
//! stands inside the text. Then up to the rules.
#![no_main]

use libfuzzer_sys::fuzz_target;
use microvm::pipeline::{self, Options};
use microvm::source::{Files, Node, Value};

fn inside(node: &Node, length: usize) {
    assert!(usize::try_from(node.place.offset).is_ok_and(|offset| offset <= length));
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| inside(item, length)),
        Value::Table(table) => table.values().for_each(|entry| inside(&entry.node, length)),
        _ => {}
    }
}

fuzz_target!(|text: &str| {
    let mut files = Files::default();
    let file = files.add("in.json", text);
    if let Ok(node) = files.parse(file) {
        inside(&node, text.len());
        assert!(serde_json::from_str::<serde_json::Value>(text).is_ok());
    }
    let read = |_: &str| Ok(text.to_owned());
    let loaded = pipeline::load("/f/in.json", "in.json", &read, &Options::default());
    assert!(loaded.report.iter().all(|it| !it.message.is_empty()));
});
