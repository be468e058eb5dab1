// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Layers of descriptions, laid over each other.
//!
//! The text is cut at a line of dashes into two layers. An empty layer above or below changes
//! nothing once words that forget are gone, and no merge brings one back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use microvm::check::Checker;
use microvm::diag::Report;
use microvm::merge::merge;
use microvm::schema::KEYS;
use microvm::source::{Files, Table, Value};

fn layer(text: &str) -> Option<Table> {
    let mut files = Files::default();
    let file = files.add("layer.toml", text);
    let Value::Table(mut table) = files.parse(file).ok()?.value else { return None };
    let mut report = Report::default();
    Checker::new("/f", &mut report).table(&mut table, KEYS, "");
    Some(table)
}

fn json(table: &Table) -> String {
    Value::Table(table.clone()).to_json().to_string()
}

fuzz_target!(|text: &str| {
    let (lower, upper) = text.split_once("\n---\n").unwrap_or((text, ""));
    let (Some(lower), Some(upper)) = (layer(lower), layer(upper)) else { return };
    let mut merged = Table::new();
    merge(&mut merged, lower, KEYS);
    merge(&mut merged, upper, KEYS);
    let mut again = Table::new();
    merge(&mut again, merged.clone(), KEYS);
    merge(&mut again, Table::new(), KEYS);
    assert!(json(&merged) == json(&again) || json(&merged).contains("!reset"));
});
