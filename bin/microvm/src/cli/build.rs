// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `build`: descriptions to packages.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use plinth::err::{FAILED, Failure, tell, tell_text};
use serde_json::{Value, json};

use super::load::missing;
use super::{Args, CONFLICT, INVALID, NOT_FOUND, World};
use crate::build::{Built, Options, Outcome, build};
use crate::diag::Diagnostic;
use crate::package::{Place, StoreError, Tree, Written, write_all};
use crate::pipeline;
use crate::source::Files;

/// Where a package goes when nobody says it.
const RESULT: &str = "result";

/// Builds the packages of all files, or none of them.
pub(super) fn run(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut outcomes = Vec::new();
    let mut invalid = false;
    let mut status = INVALID;
    for file in &args.words {
        if let Some(it) = missing(file) {
            tell(it.text(&Files::default()));
            (invalid, status) = (true, NOT_FOUND);
            continue;
        }
        let outcome = one(args, file)?;
        let text = outcome.report.text(&outcome.files);
        tell_text(&text);
        invalid |= outcome.report.has_errors();
        outcomes.push(outcome);
    }
    if invalid || twice(args, &outcomes) {
        return Ok(status);
    }
    let many = outcomes.len() > 1 || outcomes.iter().any(|outcome| outcome.is_fleet);
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(RESULT));
    let packages: Vec<Built> = outcomes.into_iter().flat_map(|outcome| outcome.packages).collect();
    let place = |built: &Built| Place(if many { out.join(&built.name) } else { out.clone() });
    let places: Vec<(Place, &Tree)> = packages.iter().map(|it| (place(it), &it.tree)).collect();
    if args.check { compare(args, world, &places) } else { write(args, world, &places) }
}

/// Says which packages of different files would have one place, and whether there are any.
fn twice(args: &Args, outcomes: &[Outcome]) -> bool {
    let mut seen: BTreeMap<&str, &OsString> = BTreeMap::new();
    let mut found = false;
    for (file, outcome) in args.words.iter().zip(outcomes) {
        for built in &outcome.packages {
            let Some(other) = seen.insert(&built.name, file) else { continue };
            let text = format!("a machine of {} has the same name", other.to_string_lossy());
            let it = Diagnostic::error("MV008", "hostName", text).at(built.named);
            let vm = Some(built.name.clone());
            tell(Diagnostic { vm, ..it }.text(&outcome.files));
            found = true;
        }
    }
    found
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

/// Looks which packages would change; the status says whether any would.
fn compare(args: &Args, world: &mut World<'_>, places: &[(Place, &Tree)]) -> Result<u8, Failure> {
    let mut differs = false;
    let mut lines = Vec::new();
    for (place, tree) in places {
        let same = match place.read() {
            Ok(there) => there == **tree,
            Err(StoreError::Io(_, _, error)) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(graded(error)),
        };
        differs |= !same;
        let word = if same { "unchanged" } else { "would change" };
        lines.push((place, word, *tree));
    }
    tell_of(args, world, &lines)?;
    Ok(if differs { FAILED } else { 0 })
}

/// The failure with its status.
fn graded(error: StoreError) -> Failure {
    match error {
        StoreError::Taken(_) | StoreError::Differs(_) => Failure::new(CONFLICT, error),
        _ => error.into(),
    }
}

/// Writes the packages.
fn write(args: &Args, world: &mut World<'_>, places: &[(Place, &Tree)]) -> Result<u8, Failure> {
    let parents: BTreeSet<&Path> =
        places.iter().filter_map(|(place, _)| place.0.parent()).collect();
    for parent in parents {
        fs::create_dir_all(parent)?;
    }
    let mut lines = Vec::new();
    for ((place, tree), written) in
        places.iter().zip(write_all(places, args.force).map_err(graded)?)
    {
        let word = match written {
            Written::Unchanged => "unchanged",
            Written::New => "built",
        };
        lines.push((place, word, *tree));
    }
    tell_of(args, world, &lines).map(|()| 0)
}

/// Prints what came of each package.
fn tell_of(
    args: &Args,
    world: &mut World<'_>,
    lines: &[(&Place, &str, &Tree)],
) -> Result<(), Failure> {
    let id = |tree: &Tree| tree.sealed().unwrap_or_else(|| tree.hash());
    if args.json {
        let one = |(place, word, tree): &(&Place, &str, &Tree)| {
            let path = place.0.display().to_string();
            json!({ "path": path, "result": word, "id": id(tree).to_string() })
        };
        let all: Vec<Value> = lines.iter().map(one).collect();
        return world.print(&format!("{:#}\n", Value::Array(all)));
    }
    let one = |(place, word, tree): &(&Place, &str, &Tree)| {
        format!("{}: {word} ({})\n", place.0.display(), id(tree).short())
    };
    world.print(&lines.iter().map(one).collect::<String>())
}
