// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `build`: descriptions to packages.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use plinth::err::{FAILED, Failure, USAGE};

use super::{Args, INVALID, World};
use crate::build::{Built, Options, Outcome, build};
use crate::package::{Place, StoreError, Written};
use crate::pipeline;

/// Where a package goes when nobody says it.
const RESULT: &str = "result";

/// Builds the packages of all files, or none of them.
pub(super) fn run(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    if args.words.is_empty() {
        return Err(Failure::new(USAGE, "build needs the file of a description"));
    }
    let mut outcomes = Vec::new();
    let mut invalid = false;
    for file in &args.words {
        let outcome = one(args, file)?;
        let text = outcome.report.text(&outcome.files);
        eprint!("{text}");
        invalid |= outcome.report.has_errors();
        outcomes.push(outcome);
    }
    if invalid {
        return Ok(INVALID);
    }
    let many = outcomes.len() > 1 || outcomes.iter().any(|outcome| outcome.is_fleet);
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(RESULT));
    let mut differs = false;
    for built in outcomes.into_iter().flat_map(|outcome| outcome.packages) {
        let place = Place(if many { out.join(&built.name) } else { out.clone() });
        differs |= put(args, world, &place, &built)?;
    }
    Ok(if differs { FAILED } else { 0 })
}

fn one(args: &Args, file: &OsString) -> Result<Outcome, Failure> {
    let load = pipeline::Options {
        set: args.set.clone(),
        hypervisor: args.hypervisor,
        ..pipeline::Options::default()
    };
    let options = Options { load, embed: args.embed, compat: args.compat, ..Options::default() };
    Ok(build(Path::new(file), &options)?)
}

/// Writes a package, or looks whether it would change; whether it would.
fn put(args: &Args, world: &mut World<'_>, place: &Place, built: &Built) -> Result<bool, Failure> {
    let path = place.0.display();
    let id = built.tree.hash().short();
    if args.check {
        let same = match place.read() {
            Ok(tree) => tree == built.tree,
            Err(StoreError::Io(_, _, error)) if error.kind() == std::io::ErrorKind::NotFound => {
                false
            }
            Err(error) => return Err(error.into()),
        };
        let word = if same { "unchanged" } else { "would change" };
        world.print(&format!("{path}: {word} ({id})\n"))?;
        return Ok(!same);
    }
    if let Some(parent) = place.0.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let word = match place.write(&built.tree, args.force)? {
        Written::Unchanged => "unchanged",
        Written::New => "built",
    };
    world.print(&format!("{path}: {word} ({id})\n"))?;
    Ok(false)
}
