// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands for people and scripts: `stafctl`, `stacctl` and `stasadm`.
//!
//! Owns what the three share: the world they run in, their version, and their end. A command is a
//! function of its words and its [`World`], so that tests run it without a process.

pub mod admin;
pub mod args;
pub mod client;
pub mod json;
pub mod python;
pub mod secrets;
pub mod table;
#[cfg(test)]
mod testing;
pub mod transport;

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use plinth::cli::{Outcome, Program};
use plinth::err::{self, FAILED, Failure, USAGE, tell};
use plinth::file::Root;

/// What a command sees of the world.
pub struct World<'a> {
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
    /// Under which all files are looked up.
    pub root: Root,
    /// Is the caller root?
    pub superuser: bool,
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Is standard output a terminal?
    pub terminal: bool,
}

impl World<'_> {
    /// The text of a file, or why there is none.
    ///
    /// # Errors
    /// One clause that names the file.
    pub fn read(&self, path: &str) -> Result<String, String> {
        self.root.read_text(path).map_err(|error| format!("{path}: {error}"))
    }

    /// Writes `text` to standard output, whole.
    ///
    /// # Errors
    /// What the write ended with; a closed pipe is forgiven by the caller.
    pub fn print(&mut self, text: &str) -> Result<(), Failure> {
        err::print(self.out, text.as_bytes())
    }
}

/// Reads a command line: goes on with the chosen command and its arguments, or breaks with the exit
/// status where nothing but a text was asked for, which is printed.
///
/// # Errors
/// A command line that was not understood; [`World::print`]'s.
pub fn understand<A: Default>(
    program: &Program<A>,
    words: impl IntoIterator<Item = OsString>,
    world: &mut World<'_>,
) -> Result<ControlFlow<u8, (&'static str, A)>, Failure> {
    let outcome = program.parse(words, world.env).map_err(|error| Failure::new(USAGE, error))?;
    let (status, text) = match outcome {
        Outcome::Run { command: Some(command), args } => {
            return Ok(ControlFlow::Continue((command, args)));
        }
        Outcome::Run { command: None, .. } => (FAILED, program.help(None)),
        Outcome::Help(text) | Outcome::Completions(text) => (0, text),
        Outcome::Version => (0, version()),
    };
    world.print(&text)?;
    Ok(ControlFlow::Break(status))
}

/// A message that scripts know word for word: it is printed without the program's name before it.
#[derive(Debug)]
pub struct Verbatim(pub String);

impl fmt::Display for Verbatim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Verbatim {}

/// What `--version` prints: the first line as the reference prints it.
#[must_use]
pub fn version() -> String {
    format!("nvme-stas {}\n", env!("CARGO_PKG_VERSION"))
}

/// Runs a command in the real world, and ends it: the message on standard error, the exit status.
pub fn main(
    program: &str,
    run: impl FnOnce(&mut dyn Iterator<Item = OsString>, &mut World<'_>) -> Result<u8, Failure>,
) -> ExitCode {
    let mut out = io::stdout();
    let terminal = out.is_terminal();
    let mut world = World {
        env: &|name| std::env::var_os(name),
        root: Root::system(),
        superuser: rustix::process::geteuid().is_root(),
        out: &mut out,
        terminal,
    };
    let result = run(&mut std::env::args_os().skip(1), &mut world);
    conclude(program, result)
}

/// The exit status of a command that ended so, after its message was printed.
fn conclude(program: &str, result: Result<u8, Failure>) -> ExitCode {
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) if failure.cause.is::<Verbatim>() => {
            tell(&failure);
            ExitCode::from(failure.exit)
        }
        Err(failure) => err::report(program, &failure),
    }
}
