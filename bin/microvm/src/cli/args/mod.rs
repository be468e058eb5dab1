// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line as tables: parser, help, completions and the manual's test read them.
//!
//! Setters record, and refuse what is of the wrong form; what belongs together is judged by the
//! commands.

mod commands;
mod describe;
mod files;
mod flags;
mod host;
mod internal;
mod trial;

use std::ffi::OsString;
use std::path::PathBuf;

use plinth::cli::{Flag, Program};

use crate::config::Hypervisor;
pub use describe::{Describe, View};
pub use files::Image;
pub use host::{Color, HostArgs};
pub use internal::{Internal, Macvtap};
pub use trial::Trial;

/// What was said. Setters record; commands judge.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Args {
    /// Results as JSON.
    pub json: bool,
    /// The words after the command.
    pub words: Vec<OsString>,
    /// Where packages go.
    pub out: Option<PathBuf>,
    /// The hypervisor in place of the described one.
    pub hypervisor: Option<Hypervisor>,
    /// `KEY=VALUE` over the description.
    pub set: Vec<String>,
    /// Write nothing, and say whether something would change.
    pub check: bool,
    /// Put this program into the package.
    pub embed: bool,
    /// Replace what is there.
    pub force: bool,
    /// Give upstream's bytes.
    pub compat: bool,
    /// What was said to `internal`.
    pub internal: Internal,
    /// What was said to the commands that describe.
    pub describe: Describe,
    /// What was said of images.
    pub image: Image,
    /// What was said to the commands that start machines to see how they do.
    pub trial: Trial,
    /// What was said to the commands of a host.
    pub host: HostArgs,
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
