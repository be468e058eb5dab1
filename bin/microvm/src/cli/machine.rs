// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Machines by the words of a command: those of a description, that of a runner package, or one of
//! this host.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use plinth::err::{FAILED, Failure};
use serde_json::Value;

use super::load::{chosen, plan_options, valid};
use super::{Args, NOT_FOUND, host};
use crate::config::Vm;
use crate::emit;
use crate::package::{Entry, Place, RUNNER, Tree};
use crate::plan::{Word, plan};

/// A machine with what it comes to.
pub(super) struct Machine {
    /// Its name.
    pub(super) name: String,
    /// The machine itself.
    pub(super) vm: Vm,
    /// The options, by the names of the description.
    pub(super) config: Value,
    /// The words of the command line.
    pub(super) argv: Vec<String>,
    /// Its package.
    pub(super) tree: Tree,
}

/// The machines that `word` names.
///
/// # Errors
/// The description is wrong, or there is nothing of that name.
pub(super) fn machines(word: &OsStr, args: &Args) -> Result<Vec<Machine>, Failure> {
    let path = Path::new(word);
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(vec![of_package(path)?]),
        Ok(_) => of_description(word, args),
        Err(error) => match host::package(args, path, "current") {
            // Its units and its directory have this name, whatever the guest calls itself.
            Some(package) => {
                let name = path.display().to_string();
                Ok(vec![Machine { name, ..of_package(&package)? }])
            }
            None => {
                let text = format!("no file and no machine '{}': {error}", path.display());
                Err(Failure::new(NOT_FOUND, text))
            }
        },
    }
}

fn of_description(word: &OsStr, args: &Args) -> Result<Vec<Machine>, Failure> {
    let loaded = valid(word, args)?;
    let options = plan_options(args);
    let source = PathBuf::from(word).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let emit = emit::Options { source, helper: options.helper.clone(), embed: None };
    let machine = |it: &crate::pipeline::Machine| {
        let plan = plan(&it.vm, &options);
        let argv = std::iter::once(plan.program.clone()).chain(plan.words.iter().map(Word::shown));
        Machine {
            name: it.name.clone(),
            config: it.vm.to_json(),
            argv: argv.collect(),
            tree: emit::package(&it.vm, &plan, &emit),
            vm: it.vm.clone(),
        }
    };
    Ok(chosen(&loaded, &args.describe)?.into_iter().map(machine).collect())
}

/// The machine of the package at `path`.
///
/// # Errors
/// It is none, or not one of ours.
pub(super) fn of_package(path: &Path) -> Result<Machine, Failure> {
    // One that is not ours has no options to show.
    let tree = Place(path.to_owned()).read().map_err(|error| Failure::new(NOT_FOUND, error))?;
    let runner = tree.get(RUNNER).map(Entry::bytes).unwrap_or_default();
    let wrong = |error: serde_json::Error| {
        Failure::new(FAILED, format!("{}: {error}", path.join(RUNNER).display()))
    };
    let runner: Value = serde_json::from_slice(runner).map_err(wrong)?;
    let words = runner.get("argv").and_then(Value::as_array).into_iter().flatten();
    let argv = words.filter_map(Value::as_str).map(str::to_owned).collect();
    let name = runner.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let config = runner.get("config").cloned().unwrap_or_default();
    let vm = serde_json::from_value(config.clone()).map_err(wrong)?;
    Ok(Machine { name, vm, config, argv, tree })
}
