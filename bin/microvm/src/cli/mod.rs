// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command `microvm`.
//!
//! Owns the command line, the forms of output and the exit status of each kind of failure; one file
//! here per family of commands. A command is a function of its arguments and its [`World`]. Results
//! go to standard output, all else to standard error.

mod about;
pub mod args;
mod build;
mod check;
mod diff;
mod explain;
mod host;
mod image;
mod import;
mod kernel;
mod load;
mod machine;
mod show;
mod tool;
mod trial;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use plinth::cli::{Outcome, UsageError};
use plinth::err::{Failure, USAGE, report, tell_text};

pub use args::{Args, MICROVM};

/// The description has at least one error.
pub const INVALID: u8 = 3;
/// A named machine, file or generation does not exist.
pub const NOT_FOUND: u8 = 4;
/// The state forbids it: exists already, managed by another, still running.
pub const CONFLICT: u8 = 5;
/// A program that is needed is not installed.
pub const NO_PROGRAM: u8 = 6;
/// It did not happen in time.
pub const TIMED_OUT: u8 = 7;

/// What a command sees of the world.
pub struct World<'a> {
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Is standard output a terminal?
    pub terminal: bool,
}

impl World<'_> {
    /// Writes `text` to standard output, whole.
    ///
    /// # Errors
    /// What the write ended with; a closed pipe is forgiven by the caller.
    pub fn print(&mut self, text: &str) -> Result<(), Failure> {
        plinth::err::print(self.out, text.as_bytes())
    }
}

/// Runs the command line of this process, and ends it: the message on standard error, the status.
#[must_use]
pub fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    if let Some(status) = host::generator(&program, &words) {
        return ExitCode::from(status);
    }
    let mut out = io::stdout();
    let terminal = out.is_terminal();
    let mut world = World { env: &|name| std::env::var_os(name), out: &mut out, terminal };
    match run(words, &mut world) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => report("microvm", &failure),
    }
}

/// Carries out a command line (without the program's name); the exit status.
///
/// # Errors
/// Why it could not be done, with the status.
pub fn run(
    words: impl IntoIterator<Item = OsString>,
    world: &mut World<'_>,
) -> Result<u8, Failure> {
    let usage = |error| Failure::new(USAGE, error);
    let words = host::short::expand(words.into_iter().collect()).map_err(usage)?;
    match MICROVM.parse(words, world.env).map_err(usage)? {
        Outcome::Run { command: Some(command), args } => dispatch(command, &args, world),
        Outcome::Run { command: None, .. } => {
            tell_text(&MICROVM.usage(None));
            Err(usage(UsageError::new("a command is missing; microvm --help names them all")))
        }
        Outcome::Help(text) | Outcome::Completions(text) => world.print(&text).map(|()| 0),
        Outcome::Version => {
            world.print(concat!("microvm ", env!("CARGO_PKG_VERSION"), "\n")).map(|()| 0)
        }
    }
}

/// The commands whose results programs can read.
const WITH_JSON: &[&str] = &[
    "build",
    "check",
    "validate",
    "explain",
    "show",
    "diff",
    "schema",
    "measure",
    "list",
    "status",
    "host doctor",
];

fn dispatch(command: &str, args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut whole = command.to_owned();
    if let ("host", Some(action)) = (command, args.words.first()) {
        whole = format!("host {}", plinth::text::escape_control(&action.to_string_lossy()));
    }
    if args.json && !WITH_JSON.contains(&whole.as_str()) {
        return Err(Failure::new(USAGE, UsageError::new(format!("{whole} has no JSON form"))));
    }
    if let Some(done) = host::dispatch(command, args, world) {
        return done;
    }
    match command {
        "build" => build::run(args, world),
        "internal" => crate::helper::run(args, world),
        "check" | "validate" => check::check(args, world),
        "explain" => explain::explain(args, world),
        "diff" => diff::diff(args, world),
        "schema" => about::schema(world),
        "completions" => about::completions(args, world),
        "measure" => trial::measure(args, world),
        "test-examples" => trial::test_examples(args, world),
        "kernel" => kernel::kernel(args, world),
        "image" => image::image(args, world),
        "import-nix" => import::import_nix(args, world),
        "man" => about::man(args, world),
        "show" => show::show(args, world),
        _ => Err(Failure::new(USAGE, format!("unknown command '{command}'"))),
    }
}
