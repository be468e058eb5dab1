// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the commands of a manifest say.

use std::collections::BTreeSet;

use plinth::err::{Failure, tell};
use plinth::text::{Table, escape_control};
use serde_json::{Value as Json, json};

use super::super::{Args, World, notice};
use crate::manifest::decide::{Decision, Health};
use crate::manifest::run::{Plan, Report};

/// What an apply or a removal came to: results on standard output, the rest beside it.
pub(super) fn print(
    report: &Report,
    skipped: &[(String, String)],
    args: &Args,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    for warning in &report.warnings {
        notice(args, &format!("warning: {warning}"));
    }
    for error in &report.errors {
        tell(format_args!("tinybpf: {}", escape_control(error)));
    }
    for left in &report.leftovers {
        tell(format_args!("tinybpf: left over: {}", escape_control(left)));
    }
    let skipped: Vec<&(String, String)> = skipped.iter().chain(&report.skipped).collect();
    let text = if args.json {
        let skipped: Vec<Json> =
            skipped.iter().map(|(name, why)| json!({ "name": name, "reason": why })).collect();
        let value = json!({
            "applied": report.applied,
            "adopted": report.adopted,
            "unchanged": report.unchanged,
            "removed": report.removed,
            "skipped": skipped,
            "warnings": report.warnings,
            "errors": report.errors,
            "leftovers": report.leftovers,
        });
        format!("{value}\n")
    } else {
        let lists = [
            ("applied", &report.applied),
            ("adopted", &report.adopted),
            ("unchanged", &report.unchanged),
            ("removed", &report.removed),
        ];
        let lines = lists
            .iter()
            .flat_map(|(word, names)| names.iter().map(move |name| format!("{word} {name}\n")));
        lines.collect()
    };
    world.print(&text)
}

/// A decision as a word, and its reason.
fn word(decision: &Decision) -> (&'static str, String) {
    match decision {
        Decision::Unchanged => ("unchanged", String::new()),
        Decision::Skipped(why) => ("skip", why.clone()),
        Decision::Attach(links) => ("attach", format!("{} links are missing", links.len())),
        Decision::Adopt => ("adopt", "it is there, and nobody remembers it".to_owned()),
        Decision::Replace(why) => ("load", why.clone()),
        Decision::Refused(why) => ("refuse", why.clone()),
    }
}

/// What an apply would do.
pub(super) fn plan(plan: &Plan, skipped: &[(String, String)], json: bool) -> String {
    let mut rows: Vec<(String, &str, String)> = Vec::new();
    for it in &plan.objects {
        let (word, why) = word(&it.decision);
        rows.push((it.wanted.name.clone(), word, why));
    }
    rows.extend(skipped.iter().map(|(name, why)| (name.clone(), "skip", why.clone())));
    let gone = "the manifest does not want it any more".to_owned();
    rows.extend(plan.orphans.iter().map(|name| (name.clone(), "remove", gone.clone())));
    table(&["OBJECT", "ACTION", "REASON"], ["name", "action", "reason"], &rows, json)
}

/// How the pins are doing.
pub(super) fn health(health: &[(String, String, Health)], json: bool) -> String {
    let rows: Vec<(String, &str, String)> = health
        .iter()
        .map(|(name, path, health)| {
            let word = match health {
                Health::Ok => "ok",
                Health::Changed => "changed",
                Health::Missing => "missing",
            };
            (name.clone(), word, path.clone())
        })
        .collect();
    table(&["OBJECT", "STATE", "PIN"], ["name", "state", "pin"], &rows, json)
}

/// Files, each on its line.
pub(super) fn files(files: &BTreeSet<&str>, json: bool) -> String {
    if json {
        return format!("{}\n", json!(files));
    }
    files.iter().map(|file| format!("{file}\n")).collect()
}

fn table(
    columns: &[&str],
    members: [&str; 3],
    rows: &[(String, &str, String)],
    json: bool,
) -> String {
    if json {
        let [first, second, third] = members;
        let items = rows.iter().map(|(a, b, c)| json!({ first: a, second: b, third: c }));
        return format!("{}\n", Json::Array(items.collect()));
    }
    let mut table = Table::new(columns);
    for (a, b, c) in rows {
        table.row([a.as_str(), b, c]);
    }
    if table.is_empty() { String::new() } else { table.to_string() }
}
