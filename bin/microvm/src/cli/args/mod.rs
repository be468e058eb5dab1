// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line as tables: parser, help, completions and the manual's test read them.
//!
//! Setters record, and refuse what is of the wrong form; what belongs together is judged by the
//! commands.

mod commands;
mod flags;

use std::ffi::OsString;

use plinth::cli::{Flag, Program};

/// What was said. Setters record; commands judge.
#[derive(Clone, Debug, Default)]
pub struct Args {
    /// Results as JSON.
    pub json: bool,
    /// The words after the command.
    pub words: Vec<OsString>,
}

/// The program.
pub static MICROVM: Program<Args> = Program {
    name: "microvm",
    summary: "turn a description into a runner package, and manage virtual machines on this host",
    flags: &[Flag::switch(None, "json", "print results as JSON", |args: &mut Args, _| {
        args.json = true;
        Ok(())
    })],
    positionals: &[],
    commands: commands::COMMANDS,
};
