// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a file on this machine to packages in memory.
//!
//! Owns the reading of descriptions and the order of all steps behind it. Nothing is written here;
//! with an error in the description there are no packages at all.

use std::env;
use std::io;
use std::path::Path;

use crate::config::{System, Vm};
use crate::diag::Report;
use crate::emit;
use crate::facts::FileFacts;
use crate::package::Tree;
use crate::parallel::parallel;
use crate::pipeline::{self, Loaded, Unread};
use crate::plan;
use crate::source::{Files, Place, TEXT_MAX};

/// What is asked for besides the file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Of the load.
    pub load: pipeline::Options,
    /// The path of this program in scripts; by default that of the running one.
    pub helper: Option<String>,
    /// Does the package carry this program?
    pub embed: bool,
    /// Upstream's bytes where its programs accept them?
    pub compat: bool,
}

/// A package in memory.
#[derive(Clone, Debug)]
pub struct Built {
    /// The name of the machine.
    pub name: String,
    /// The machine.
    pub vm: Vm,
    /// Its package.
    pub tree: Tree,
    /// Where its name stands.
    pub named: Place,
}

/// What became of a description.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The packages; none if there is an error.
    pub packages: Vec<Built>,
    /// Was it a fleet?
    pub is_fleet: bool,
    /// What was found.
    pub report: Report,
    /// The texts that the findings refer to.
    pub files: Files,
}

/// The system that this program runs on.
#[must_use]
pub const fn this_system() -> System {
    if cfg!(target_arch = "aarch64") { System::ArmLinux } else { System::X86Linux }
}

/// Loads the description at `path`.
///
/// # Errors
/// The path cannot be made absolute. All else is in the report.
pub fn load(path: &Path, options: &pipeline::Options) -> io::Result<Loaded> {
    let absolute = absolute(path)?;
    let read = |path: &str| {
        let bytes = plinth::file::read(Path::new(path), TEXT_MAX);
        let bytes = bytes.map_err(|error| Unread::Refused(error.to_string()))?;
        String::from_utf8(bytes).map_err(|error| {
            let end = error.utf8_error().valid_up_to();
            let text = error.as_bytes().get(..end).unwrap_or_default();
            Unread::NotText(String::from_utf8_lossy(text).into_owned())
        })
    };
    let shown = path.display().to_string();
    let options = pipeline::Options { system: this_system(), ..options.clone() };
    Ok(pipeline::load_with(&absolute, &shown, &read, &options, &FileFacts))
}

/// The path from the root, without a look at what is there.
pub(crate) fn absolute(path: &Path) -> io::Result<String> {
    let whole = env::current_dir()?.join(path);
    let text = whole.to_str().ok_or_else(|| {
        let text = format!("cannot read {}: the path is not UTF-8", path.display());
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    Ok(crate::check::join("/", text))
}

/// Builds the packages of the description at `path`.
///
/// # Errors
/// The file's path, or that of this program, cannot be found out. All else is in the report.
pub fn build(path: &Path, options: &Options) -> io::Result<Outcome> {
    let loaded = load(path, &options.load)?;
    let program = env::current_exe()?;
    let helper = match &options.helper {
        Some(helper) => helper.clone(),
        None => program.to_string_lossy().into_owned(),
    };
    let embed = options.embed.then(|| plinth::file::read(&program, 64 << 20)).transpose()?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let emit = emit::Options { source: name, helper: helper.clone(), embed };
    let plan = plan::Options { compat: options.compat, helper };
    Ok(packages(loaded, &plan, &emit))
}

/// Plans and emits every machine, if there is no error.
#[must_use]
pub fn packages(loaded: Loaded, plan: &plan::Options, emit: &emit::Options) -> Outcome {
    let Loaded { files, machines, is_fleet, report } = loaded;
    let mut outcome = Outcome { packages: Vec::new(), is_fleet, report, files };
    if !outcome.report.has_errors() {
        let make = |machine: &pipeline::Machine| {
            emit::package(&machine.vm, &plan::plan(&machine.vm, plan), emit)
        };
        let trees = parallel(&machines, None, &make);
        let built = |(machine, tree): (pipeline::Machine, Tree)| Built {
            name: machine.name,
            named: machine.tree.locate("hostName"),
            vm: machine.vm,
            tree,
        };
        outcome.packages = machines.into_iter().zip(trees).map(built).collect();
    }
    outcome
}
