// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm list` and `microvm status`.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use plinth::err::{FAILED, Failure};
use serde_json::{Value, json};

use super::super::{Args, World};
use super::{fail, names, paint};
use crate::host::change::CURRENT;
use crate::host::list::{Described, Row, judge};
use crate::host::seen::{Id, Seen};
use crate::host::{Activity, Host, Name, Request};
use crate::parallel::parallel;

/// `microvm list`
pub(super) fn list(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut machines = Vec::new();
    for name in host.names().map_err(fail)? {
        let seen = host.look(&name).map_err(fail)?;
        if seen.is_machine() {
            machines.push((name, seen));
        }
    }
    let described = describe(args, host, &machines);
    let running = host.activities().map_err(fail)?;
    let rows: Vec<Row> = machines
        .into_iter()
        .zip(described)
        .map(|((name, seen), described)| row(host, name, seen, &described, &running))
        .collect();
    if args.json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        world.print(&format!("{:#}\n", Value::Array(rows)))?;
    } else {
        let paint = paint(args, world);
        world.print(&rows.iter().map(|row| row.line(paint)).collect::<String>())?;
    }
    Ok(0)
}

/// What each description makes, unless nobody wants to know.
fn describe(args: &Args, host: &Host<'_>, machines: &[(Name, Seen)]) -> Vec<Described> {
    let build = host.build;
    let one = |(name, seen): &(Name, Seen)| match &seen.source {
        Some(source) if !args.host.fast => {
            let request = Request { declarative: seen.declarative, ..Request::default() };
            match crate::host::built(build, name, Path::new(source), &request) {
                Ok(built) => Described::As(Id::new(built.tree.hash().to_string())),
                Err(failure) => Described::Wrong(failure.to_string()),
            }
        }
        _ => Described::Unknown,
    };
    parallel(machines, None, &one)
}

fn row(
    host: &Host<'_>,
    name: Name,
    seen: Seen,
    described: &Described,
    running: &BTreeMap<Name, Activity>,
) -> Row {
    let activity = running.get(&name).copied().unwrap_or_default();
    let link = host.directory(&name).join(CURRENT);
    Row {
        state: judge(&seen, described),
        active: activity.active,
        pid: activity.pid,
        profile: host.profile(&name, CURRENT).unwrap_or_default(),
        since: link.symlink_metadata().map_or(0, |it| it.mtime()),
        name,
        seen,
    }
}

/// `microvm status`
pub(super) fn status(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut is_all_active = true;
    let (mut text, mut list) = (String::new(), Vec::new());
    for name in names(args)? {
        host.exists(&name).map_err(fail)?;
        let Activity { active, pid } = host.activity(&name).map_err(fail)?;
        is_all_active &= active;
        let process = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
        let state = if active { "running" } else { "stopped" };
        text.push_str(&format!("{name}: {state}{process}\n"));
        list.push(json!({ "name": name.as_str(), "active": active, "pid": pid }));
    }
    world.print(&if args.json { format!("{:#}\n", Value::Array(list)) } else { text })?;
    Ok(if is_all_active { 0 } else { FAILED })
}
