// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm test-examples` and `microvm measure`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use plinth::err::{FAILED, Failure, tell_text};
use serde_json::{Value, json};

use super::load::{first_word, overlay_fits, usage};
use super::{Args, INVALID, NOT_FOUND, TIMED_OUT, World};
use crate::build::{self, build};
use crate::package::Place;
use crate::pipeline;
use crate::trial::{self, Measured, Package, TrialError, Verdict, Wanted, directory};
use crate::validate;

/// The examples that need nothing but a kernel and QEMU.
const DEFAULT: [&str; 4] = ["console-demo", "http-server", "valkey-server", "qemu-vnc"];
/// Where the examples are.
const DIR: &str = "examples";
/// How long `measure` waits.
const MEASURE: Duration = Duration::from_secs(120);
/// What `measure` asks a port for.
const REQUEST: &str = "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";
/// The text that `measure` waits for.
const TEXT: &str = "login:";

/// `microvm test-examples`
pub(super) fn test_examples(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    if args.trial.cleanup {
        if !args.words.is_empty() {
            return Err(usage("test-examples --cleanup takes no NAME"));
        }
        for name in trial::clean_up()? {
            world.print(&format!("{name}: stopped\n"))?;
        }
        return Ok(0);
    }
    let runs = args.trial.repeat.unwrap_or(1);
    let mut passed = 0;
    for run in 1..=runs {
        if runs > 1 {
            world.print(&format!("Run {run} of {runs}\n"))?;
        }
        passed += u32::from(once(args, world)?);
    }
    if runs > 1 {
        world.print(&format!("Passed: {passed}/{runs}\n"))?;
    }
    Ok(if passed == runs { 0 } else { FAILED })
}

/// How an example came out.
enum Outcome {
    Tested(Verdict),
    Skipped(String),
    Failed(String),
}

/// All examples once; whether none failed.
fn once(args: &Args, world: &mut World<'_>) -> Result<bool, Failure> {
    let names = names(args)?;
    let mut packages: BTreeMap<&str, Result<Package, Outcome>> = BTreeMap::new();
    for name in &names {
        packages.insert(name, prepare(name, args)?);
    }
    if !args.trial.skip_preflight {
        let ready = packages.values().filter_map(|it| it.as_ref().ok());
        let ports = ready.flat_map(|package| package.example.ports());
        let taken: Vec<u16> = ports.filter(|port| trial::is_open(*port)).collect();
        if !taken.is_empty() {
            return Err(TrialError::Ports(taken).into());
        }
    }
    let results = run_all(packages, args.trial.parallel, world)?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for result in results.values() {
        match result {
            Outcome::Tested(verdict) if verdict.passed() => passed += 1,
            Outcome::Tested(_) | Outcome::Failed(_) => failed += 1,
            Outcome::Skipped(_) => skipped += 1,
        }
    }
    world.print(&format!("passed: {passed}, failed: {failed}, skipped: {skipped}\n"))?;
    Ok(failed == 0)
}

/// The examples to test.
fn names(args: &Args) -> Result<Vec<String>, Failure> {
    if args.words.is_empty() {
        return Ok(DEFAULT.map(str::to_owned).to_vec());
    }
    let text = |word: &std::ffi::OsString| {
        let name = word.to_str().filter(|name| !name.is_empty() && !name.contains(['/', '.']));
        name.map(str::to_owned).ok_or_else(|| usage("NAME is no example's name"))
    };
    args.words.iter().map(text).collect()
}

/// Builds the package of an example in its directory.
fn prepare(name: &str, args: &Args) -> Result<Result<Package, Outcome>, Failure> {
    let dir = args.trial.dir.clone().unwrap_or_else(|| PathBuf::from(DIR));
    let file = dir.join(name).join("vm.toml");
    if !file.exists() {
        let text = format!("no example '{name}' in {}; see --dir", dir.display());
        return Err(Failure::new(NOT_FOUND, text));
    }
    let mut set = args.set.clone();
    if let Some(accel) = &args.trial.accel {
        set.push(format!("qemu.accel={}", json!(accel)));
    }
    let path = match built(&file, &set, args, name) {
        Err(failure) if failure.exit == INVALID => {
            return Ok(Err(Outcome::Failed(failure.to_string())));
        }
        path => path?,
    };
    let Some(path) = path else {
        let text = "a fleet has no test of its own".to_owned();
        return Ok(Err(Outcome::Skipped(text)));
    };
    if !["run-test", "microvm-test"].iter().any(|it| path.join("bin").join(it).exists()) {
        return Ok(Err(Outcome::Skipped("it has no test".to_owned())));
    }
    Ok(Package::open(&path).map_err(|error| Outcome::Failed(plinth::err::chain(&error))))
}

/// Builds the only machine of a description; its package. `None` for a fleet.
fn built(file: &Path, set: &[String], args: &Args, name: &str) -> Result<Option<PathBuf>, Failure> {
    let load = pipeline::Options {
        set: set.to_vec(),
        hypervisor: args.hypervisor,
        // It will be started: what it is made of must be there.
        rules: validate::Options { strict: true, ..validate::Options::default() },
        ..pipeline::Options::default()
    };
    let outcome = build(file, &build::Options { load, ..build::Options::default() })?;
    tell_text(&outcome.report.text(&outcome.files));
    if outcome.report.has_errors() {
        let text = format!("{}: {}", file.display(), outcome.report);
        return Err(Failure::new(INVALID, text));
    }
    let [package] = outcome.packages.as_slice() else { return Ok(None) };
    let place = Place(directory(name)?.join("package"));
    place.write(&package.tree, true)?;
    Ok(Some(place.0))
}

/// Tests what was prepared, and tells of each as it ends.
fn run_all(
    packages: BTreeMap<&str, Result<Package, Outcome>>,
    parallel: bool,
    world: &mut World<'_>,
) -> Result<BTreeMap<String, Outcome>, Failure> {
    let mut results = BTreeMap::new();
    let mut waiting = Vec::new();
    for (name, prepared) in packages {
        match prepared {
            Ok(package) => waiting.push(package),
            Err(result) => {
                tell(name, &result, world)?;
                results.insert(name.to_owned(), result);
            }
        }
    }
    if !parallel {
        for package in waiting {
            let result = Outcome::Tested(trial::test(&package));
            tell(&package.name, &result, world)?;
            results.insert(package.name, result);
        }
        return Ok(results);
    }
    let threads = waiting.into_iter().map(|package| {
        let name = package.name.clone();
        (name, thread::spawn(move || trial::test(&package)))
    });
    let threads: Vec<_> = threads.collect();
    for (name, thread) in threads {
        let result = match thread.join() {
            Ok(verdict) => Outcome::Tested(verdict),
            Err(_) => Outcome::Failed("its test broke off".to_owned()),
        };
        tell(&name, &result, world)?;
        results.insert(name, result);
    }
    Ok(results)
}

fn tell(name: &str, result: &Outcome, world: &mut World<'_>) -> Result<(), Failure> {
    world.print(&match result {
        Outcome::Tested(verdict) => format!("{name}:\n{}", verdict.text()),
        Outcome::Skipped(why) => format!("{name}: skipped: {why}\n"),
        Outcome::Failed(why) => format!("{name}: failed: {why}\n"),
    })
}

/// `microvm measure`
pub(super) fn measure(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    if args.trial.send.is_some() && args.trial.port.is_none() {
        return Err(usage("option --send needs --port"));
    }
    let path = package_of(args)?;
    overlay_fits(&args.words, args)?;
    let mut wanted = Wanted {
        text: args.trial.text.clone(),
        ready: args.trial.ready,
        port: args.trial.port.map(|port| {
            let line = args.trial.send.as_ref().map(|line| format!("{line}\r\n"));
            (port, line.unwrap_or_else(|| REQUEST.to_owned()))
        }),
    };
    if wanted.text.is_none() && wanted.port.is_none() && !wanted.ready {
        wanted.text = Some(TEXT.to_owned());
    }
    let limit = args.trial.timeout.unwrap_or(MEASURE);
    let dir = directory("measure")?;
    let mut all: Vec<Measured> = Vec::new();
    for _ in 0..args.trial.repeat.unwrap_or(1) {
        all.push(trial::measure(&path, &dir, &wanted, limit).map_err(graded)?);
    }
    let runs: Vec<Value> = all.iter().map(Measured::json).collect();
    let name = Package::open(&path).map(|package| package.name).ok();
    let value = json!({ "package": path.display().to_string(), "name": name, "runs": runs });
    world.print(&format!("{value:#}\n"))?;
    Ok(0)
}

/// The failure with its status.
fn graded(error: TrialError) -> Failure {
    match error {
        TrialError::TimedOut(_) => Failure::new(TIMED_OUT, error),
        _ => error.into(),
    }
}

/// The package that the word of the command names: as it is, or built of a description.
fn package_of(args: &Args) -> Result<PathBuf, Failure> {
    let word = Path::new(first_word(args));
    let not_found = |text: String| Failure::new(NOT_FOUND, text);
    match fs::metadata(word) {
        Ok(metadata) if metadata.is_dir() => Ok(fs::canonicalize(word)?),
        Ok(_) => built(word, &args.set, args, "measure")?
            .ok_or_else(|| usage("a fleet: measure one machine of it")),
        Err(error) => {
            let package = super::host::package(args, word, "current");
            package.ok_or_else(|| not_found(format!("cannot read {}: {error}", word.display())))
        }
    }
}
