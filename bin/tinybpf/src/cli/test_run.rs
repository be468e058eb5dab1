// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tinybpf test-run`: a program run by hand, on a packet or a context from a file.

use std::path::Path;

use plinth::err::Failure;
use serde_json::json;

use super::words::{Words, usage};
use super::{Args, BAD_INPUT, World, find, input, load};
use crate::error::Kind;
use crate::object::Object;
use crate::program::{Program, TestResult, TestRun};

/// Room that a packet may grow by.
const GROWTH: usize = 256;

/// `tinybpf test-run`
pub(super) fn test_run(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let (_object, program) = program(args)?;
    let data_in = read(args.data.as_deref())?;
    let context_in = read(args.context.as_deref())?;
    let test = TestRun {
        data_out_max: if data_in.is_empty() { 0 } else { data_in.len() + GROWTH },
        context_out_max: context_in.len(),
        data_in,
        context_in,
        repeat: args.repeat.unwrap_or(1),
        ..TestRun::default()
    };
    let result = program.test_run(&test).map_err(|error| match error.kind() {
        // The packet is a file of the user's.
        Kind::InvalidArgument => Failure::new(BAD_INPUT, error),
        _ => error.into(),
    })?;
    if let Some(path) = &args.out {
        std::fs::write(path, &result.data_out)
            .map_err(|error| format!("cannot write '{}': {error}", path.display()))
            .map_err(|text| Failure::new(super::FAILED, text))?;
    }
    world.print(&report(&test, &result, args.json))?;
    Ok(0)
}

/// The program, and the object that it was loaded from for this.
fn program(args: &Args) -> Result<(Option<Object>, Program), Failure> {
    let mut words = Words::of(args);
    let first = args.words.first().and_then(|word| word.to_str()).unwrap_or_default();
    let split = first.rsplit_once(':').filter(|(path, _)| {
        !matches!(*path, "id" | "pin" | "name" | "tag") && Path::new(path).is_file()
    });
    let Some((path, name)) = split else {
        let reference = words.reference("PROGRAM")?;
        words.end()?;
        return Ok((None, find::program(&reference)?));
    };
    words.text("PROGRAM")?;
    words.end()?;
    if name.is_empty() {
        return Err(usage(format!("OBJECT:NAME: the program's name is missing after '{path}:'")));
    }
    let only = Args { programs: vec![name.to_owned()], ..args.clone() };
    let object = load::load_object(load::open(Path::new(path), &only)?, args)?;
    let program = object.program(name)?;
    Ok((Some(object), program))
}

fn read(path: Option<&Path>) -> Result<Vec<u8>, Failure> {
    Ok(path.map(input).transpose()?.unwrap_or_default())
}

/// The bytes that differ, and those that came or went.
fn changed(before: &[u8], after: &[u8]) -> Vec<usize> {
    let most = before.len().max(after.len());
    (0..most).filter(|at| before.get(*at) != after.get(*at)).collect()
}

fn report(test: &TestRun, result: &TestResult, json: bool) -> String {
    let changed =
        if test.data_in.is_empty() { Vec::new() } else { changed(&test.data_in, &result.data_out) };
    let nanos = u64::try_from(result.duration.as_nanos()).unwrap_or(u64::MAX);
    if json {
        let value = json!({
            "retval": result.retval,
            "duration_ns": nanos,
            "repeat": test.repeat,
            "data_in": test.data_in.len(),
            "data_out": result.data_out.len(),
            "ctx_out": result.context_out.len(),
            "changed": changed,
        });
        return format!("{value}\n");
    }
    let mut text = format!("returned {} in {nanos} ns\n", result.retval);
    if !test.data_in.is_empty() {
        let (before, after) = (test.data_in.len(), result.data_out.len());
        text.push_str(&format!("packet {before} bytes before, {after} after\n"));
    }
    if !changed.is_empty() {
        let places: Vec<String> = changed.iter().take(32).map(ToString::to_string).collect();
        let more = if changed.len() > 32 { ", .." } else { "" };
        text.push_str(&format!("changed bytes at {}{more}\n", places.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_places_that_differ_or_came() {
        assert_eq!(changed(b"abc", b"abc"), [0_usize; 0]);
        assert_eq!(changed(b"abc", b"axcd"), [1, 3]);
        assert_eq!(changed(b"ab", b"a"), [1]);
    }
}
