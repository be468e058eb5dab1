// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tinybpf verify`: what the verifier says of each program, alone; or, without the kernel, what is
//! wrong with the file.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use plinth::err::Failure;
use plinth::text::Table;
use plinth::time::Time;
use serde_json::{Value as Json, json};

use super::words::Words;
use super::{Args, REJECTED, World, inspect, load, status};
use crate::diagnosis::log::Log;
use crate::elf;
use crate::error::Error;
use crate::object::Object;

/// The verifier's level for statistics.
const NUMBERS: u32 = 4;

/// What came of a program.
struct Verdict {
    program: String,
    error: Option<Error>,
    log: Log,
    time: Duration,
}

/// `tinybpf verify`
pub(super) fn verify(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut words = Words::of(args);
    let path = words.path("OBJECT")?;
    words.end()?;
    if args.offline {
        return offline(&path, args, world);
    }
    let names = match args.programs.is_empty() {
        true => load::open(&path, args)?.program_names(),
        false => args.programs.clone(),
    };
    let mut verdicts = Vec::new();
    for name in names {
        verdicts.push(one(&path, name, args)?);
    }
    let text = if args.json {
        format!("{}\n", Json::Array(verdicts.iter().map(as_json).collect()))
    } else {
        as_text(&verdicts, args)
    };
    world.print(&text)?;
    let rejected = verdicts.iter().filter_map(|it| it.error.as_ref());
    Ok(rejected.map(|error| status(error.kind())).max_by_key(|it| *it == REJECTED).unwrap_or(0))
}

/// Loads one program alone, and drops it.
fn one(path: &Path, name: String, args: &Args) -> Result<Verdict, Failure> {
    let only = Args { programs: vec![name.clone()], hooks: Vec::new(), ..args.clone() };
    let load = |level: u32| -> Result<(Result<Object, Error>, Duration), Failure> {
        let mut object = load::open(path, &only)?;
        object.program(&name)?.set_log_level(level)?;
        let start = Time::monotonic();
        let loaded = object.load();
        Ok((loaded, start.until(Time::monotonic())))
    };
    let (mut loaded, time) = load(if args.level == 0 { NUMBERS } else { args.level })?;
    if loaded.is_err() && args.level == 0 {
        // The numbers alone do not say where: once more, with its reasoning.
        loaded = load(0)?.0;
    }
    Ok(match loaded {
        Ok(object) => Verdict { program: name, error: None, log: object.log().clone(), time },
        Err(error) => {
            let log = error.log().cloned().unwrap_or_default();
            Verdict { program: name, error: Some(error), log, time }
        }
    })
}

/// Numbers that the verifier ends with.
#[derive(Debug, Default, PartialEq, Eq)]
struct Numbers {
    instructions: Option<u64>,
    states: Option<u64>,
    stack: Option<u64>,
}

impl Numbers {
    /// `processed 7 insns (limit ..) max_states_per_insn 0 total_states 1 ..`, `stack depth 8`.
    fn of<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut found = Self::default();
        for line in lines {
            let after = |name: &str| -> Option<u64> {
                let rest = line.split_once(name)?.1.trim_start();
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                rest.get(..end)?.parse().ok()
            };
            if line.starts_with("processed ") {
                found.instructions = after("processed ");
                found.states = after("total_states ");
            }
            if line.starts_with("stack depth") {
                found.stack = after("stack depth");
            }
        }
        found
    }
}

fn as_json(verdict: &Verdict) -> Json {
    let numbers = Numbers::of(verdict.log.lines());
    json!({
        "program": verdict.program,
        "ok": verdict.error.is_none(),
        "error": verdict.error.as_ref().map(ToString::to_string),
        "instructions": numbers.instructions,
        "states": numbers.states,
        "stack": numbers.stack,
        "seconds": verdict.time.as_secs_f64(),
        "log": verdict.log.lines().collect::<Vec<_>>(),
    })
}

fn as_text(verdicts: &[Verdict], args: &Args) -> String {
    let mut table = Table::new(&["PROGRAM", "VERDICT", "INSNS", "STATES", "STACK", "TIME"]);
    for it in verdicts {
        let numbers = Numbers::of(it.log.lines());
        let shown = |number: Option<u64>| number.map(|it| it.to_string()).unwrap_or_default();
        table.row([
            it.program.clone(),
            if it.error.is_none() { "ok".to_owned() } else { "failed".to_owned() },
            shown(numbers.instructions),
            shown(numbers.states),
            shown(numbers.stack),
            format!("{:.1} ms", it.time.as_secs_f64() * 1000.0),
        ]);
    }
    let mut text = table.to_string();
    for it in verdicts {
        if let Some(error) = &it.error {
            let _ = write!(text, "\n{error}\n");
        }
        if it.error.is_some() || args.level > 0 || args.verbose > 0 {
            text.push_str(&it.log.terminal_text());
        }
    }
    text
}

/// What the file alone tells.
fn offline(path: &Path, args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let found = inspect::read(path)?;
    let mut wrong = Vec::new();
    if found.order != crate::btf::ByteOrder::NATIVE {
        wrong.push(elf::Refusal::ByteOrder(found.order).to_string());
    }
    if let Some(damage) = &found.damage {
        wrong.push(format!("has damaged type information: {damage}"));
    } else if found.btf.is_none() {
        wrong.push(elf::Refusal::NoBtf.to_string());
    }
    if found.has_executable_data {
        wrong.push("has data in a section that is marked as code".to_owned());
    }
    if found.programs.is_empty() && found.maps.is_empty() {
        wrong.push("has neither programs nor maps".to_owned());
    }
    for program in &found.programs {
        if program.meaning().rule.is_none() {
            let near = elf::sections::near(&program.section).join(", ");
            let near = if near.is_empty() { near } else { format!("; near are {near}") };
            let (name, section) = (&program.name, &program.section);
            wrong.push(format!("has program '{name}' in unknown section '{section}'{near}"));
        }
    }
    let name = path.display().to_string();
    let text = if args.json {
        format!("{}\n", json!({ "object": name, "ok": wrong.is_empty(), "problems": wrong }))
    } else if wrong.is_empty() {
        format!("'{name}' is well-formed\n")
    } else {
        wrong.iter().map(|it| format!("'{name}' {it}\n")).collect()
    };
    world.print(&text)?;
    Ok(if wrong.is_empty() { 0 } else { REJECTED })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_verifier_are_read() {
        let log = "func#0 @0\nprocessed 12 insns (limit 1000000) max_states_per_insn 0 \
                   total_states 3 peak_states 3 mark_read 1\nstack depth 16+8\n";
        let want = Numbers { instructions: Some(12), states: Some(3), stack: Some(16) };
        assert_eq!(Numbers::of(log.lines()), want);
        assert_eq!(Numbers::of("nothing".lines()), Numbers::default());
    }
}
