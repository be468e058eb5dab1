// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm check`: what is wrong with descriptions.

use plinth::err::Failure;
use serde_json::json;

use super::load::{load, missing};
use super::{Args, INVALID, NOT_FOUND, World};
use crate::diag::Severity;
use crate::pipeline::Loaded;

/// `microvm check`
pub(super) fn check(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let (mut errors, mut warnings) = (0, 0);
    let mut found = Vec::new();
    let mut status = 0;
    for word in &args.words {
        let loaded = match missing(word) {
            None => load(word, args)?,
            // The others are checked none the less.
            Some(it) => {
                status = NOT_FOUND;
                let mut loaded = Loaded::default();
                loaded.report.push(it);
                loaded
            }
        };
        let of = |severity| loaded.report.iter().filter(|it| it.severity == severity).count();
        errors += of(Severity::Error);
        warnings += of(Severity::Warning);
        if args.json {
            found.extend(loaded.report.iter().map(|it| it.to_json(&loaded.files)));
        } else {
            world.print(&loaded.report.text(&loaded.files))?;
            world.print(&summary(&word.to_string_lossy(), &loaded))?;
        }
    }
    if args.json {
        let all = json!({ "diagnostics": found, "errors": errors, "warnings": warnings });
        world.print(&format!("{all:#}\n"))?;
    }
    Ok(if errors > 0 { status.max(INVALID) } else { 0 })
}

/// The line behind the findings about one file.
fn summary(name: &str, loaded: &Loaded) -> String {
    let name = plinth::text::escape_control(name);
    let warnings = loaded.report.iter().filter(|it| it.severity == Severity::Warning).count();
    let warned = match warnings {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        count => format!(", {count} warnings"),
    };
    if loaded.report.has_errors() {
        return format!("{name}: {}{warned}\n", loaded.report);
    }
    let machines = match loaded.machines.len() {
        1 => "1 machine".to_owned(),
        count => format!("{count} machines"),
    };
    format!("{name}: valid, {machines}{warned}\n")
}
