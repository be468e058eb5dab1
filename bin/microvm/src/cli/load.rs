// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptions from files, for all commands that read some and say something about them.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::{env, fs};

use plinth::cli::UsageError;
use plinth::err::{Failure, USAGE, tell_text};

use super::args::{Args, Describe};
use super::{INVALID, NOT_FOUND};
use crate::build;
use crate::diag::{Diagnostic, Severity};
use crate::pipeline::{self, Loaded, Machine};
use crate::plan;

/// A usage error with this text.
pub(super) fn usage(text: impl Into<String>) -> Failure {
    Failure::new(USAGE, UsageError::new(text))
}

/// The usage error for an action that a command does not have; `actions` are those that it has.
pub(super) fn no_action(command: &str, action: &str, actions: &str) -> Failure {
    let action = plinth::text::quote(action);
    usage(format!("{command} has no action {action}; it has {actions}"))
}

/// The first word of a command.
pub(super) fn first_word(args: &Args) -> &OsStr {
    args.words.first().map_or(OsStr::new(""), |word| word)
}

/// What plans depend on.
pub(super) fn plan_options(args: &Args) -> plan::Options {
    let program = env::current_exe().ok().and_then(|path| path.to_str().map(str::to_owned));
    let helper = program.unwrap_or_else(|| "microvm".to_owned());
    plan::Options { compat: args.compat, helper }
}

/// What is said of a file that was named and is not there.
pub(super) fn missing(path: &OsStr) -> Option<Diagnostic> {
    let path = Path::new(path);
    let error = fs::metadata(path).err()?;
    let text = format!("cannot read {}: {error}", path.display());
    Some(Diagnostic::error("MV007", "", text))
}

/// Loads the description at `path`, and grades what was found as the options ask.
///
/// # Errors
/// [`NOT_FOUND`] where there is no such file.
pub(super) fn load(path: &OsStr, args: &Args) -> Result<Loaded, Failure> {
    if let Some(it) = missing(path) {
        return Err(Failure::new(NOT_FOUND, it.message));
    }
    let options = pipeline::Options {
        set: args.set.clone(),
        hypervisor: args.hypervisor,
        ..pipeline::Options::default()
    };
    let mut loaded = build::load(Path::new(path), &options)?;
    grade(&mut loaded, &args.describe);
    Ok(loaded)
}

/// Refuses options that change descriptions where none of `words` is one, but all are found.
///
/// # Errors
/// Names the option, and what the last word is instead.
pub(super) fn overlay_fits(words: &[OsString], args: &Args) -> Result<(), Failure> {
    let is_description = |word: &OsString| fs::metadata(word).is_ok_and(|it| !it.is_dir());
    let Some(last) = words.last().filter(|_| !words.iter().any(is_description)) else {
        return Ok(());
    };
    for (option, is_said) in [
        ("set", !args.set.is_empty()),
        ("hypervisor", args.hypervisor.is_some()),
        ("compat", args.compat),
        ("vm", args.describe.vm.is_some()),
    ] {
        if is_said {
            let word = plinth::text::escape_control(&last.to_string_lossy()).into_owned();
            let what = if Path::new(last).is_dir() { "package" } else { "machine of this host" };
            return Err(usage(format!("--{option} is for descriptions; {word} is a {what}")));
        }
    }
    Ok(())
}

/// A file that is not on this machine.
pub(super) const MISSING: &str = "MV106";

/// Makes warnings errors as `--deny` and `--strict` say.
fn grade(loaded: &mut Loaded, describe: &Describe) {
    let named = |codes: &[String], code: &str| codes.iter().any(|it| it == code);
    for it in loaded.report.iter_mut().filter(|it| it.severity == Severity::Warning) {
        let denied = named(&describe.deny, it.code) || named(&describe.deny, "warnings");
        let strict = describe.strict && it.code == MISSING;
        if (denied || strict) && !named(&describe.warn, it.code) {
            it.severity = Severity::Error;
        }
    }
}

/// As [`load`], for commands that need a valid description: tells what was found on standard error.
///
/// # Errors
/// [`INVALID`] where there is an error.
pub(super) fn valid(path: &OsStr, args: &Args) -> Result<Loaded, Failure> {
    told(path, load(path, args)?)
}

/// As [`valid`], for commands that start nothing: a file that is not there yet is no matter.
///
/// # Errors
/// [`INVALID`] where there is an error.
pub(super) fn valid_without_files(path: &OsStr, args: &Args) -> Result<Loaded, Failure> {
    let mut loaded = load(path, args)?;
    loaded.report.retain(|it| it.code != MISSING);
    told(path, loaded)
}

fn told(path: &OsStr, loaded: Loaded) -> Result<Loaded, Failure> {
    tell_text(&loaded.report.text(&loaded.files));
    if loaded.report.has_errors() {
        let text = format!("{}: {}", Path::new(path).display(), loaded.report);
        return Err(Failure::new(INVALID, text));
    }
    Ok(loaded)
}

/// The machines that `--vm` selects.
///
/// # Errors
/// [`NOT_FOUND`] where there is none of that name.
pub(super) fn chosen<'a>(
    loaded: &'a Loaded,
    describe: &Describe,
) -> Result<Vec<&'a Machine>, Failure> {
    let wanted = |machine: &&Machine| describe.vm.as_ref().is_none_or(|name| *name == machine.name);
    let machines: Vec<&Machine> = loaded.machines.iter().filter(wanted).collect();
    match &describe.vm {
        Some(name) if machines.is_empty() => {
            let names = loaded.machines.iter().map(|machine| machine.name.as_str());
            let near = plinth::near::nearest(name, names, 1);
            let hint = near.first().map(|name| format!("; did you mean '{name}'?"));
            let text =
                format!("no machine '{name}' in the description{}", hint.unwrap_or_default());
            Err(Failure::new(NOT_FOUND, text))
        }
        _ => Ok(machines),
    }
}
