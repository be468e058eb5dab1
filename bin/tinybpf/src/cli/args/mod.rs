// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line as tables: parser, help, completions and the manual's test read them.
//!
//! Setters record, and refuse what is of the wrong form; what belongs together is judged by the
//! commands.

mod commands;
mod flags;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use plinth::cli::{Flag, Program};

use crate::event::{Filter, Form, Variant};
use crate::hook::Hook;
use crate::map::Flags as Write;
use crate::object::Token;
use crate::reference::Reference;
use crate::value::Format;

/// What to do with the programs of an object after the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// Attach each that has a hook of its own; for `load`: only when no hook is given.
    #[default]
    Auto,
    /// Attach only what a hook is given for.
    None,
}

/// How samples are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventForm {
    /// As lines of this form.
    #[default]
    Json,
    /// For people.
    Text,
    /// As digits.
    Hex,
    /// As they came, one after the other.
    Raw,
}

impl EventForm {
    /// The form of a line; raw samples are no lines.
    #[must_use]
    pub const fn line(self) -> Form {
        match self {
            Self::Json => Form::Json,
            Self::Text => Form::Text,
            Self::Hex | Self::Raw => Form::Hex,
        }
    }
}

/// A map, and what to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The name on the left.
    pub name: String,
    /// What stands on the right of the sign of equality.
    pub value: String,
}

/// What was said. Setters record; commands judge.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Args {
    /// Results as JSON.
    pub json: bool,
    /// No notices.
    pub quiet: bool,
    /// How much to tell of what libbpf says.
    pub verbose: u8,
    /// The bpf file system.
    pub bpffs: Option<PathBuf>,
    /// A file with kernel types.
    pub btf: Option<PathBuf>,
    /// Where a token comes from.
    pub token: Token,
    /// Mount nothing.
    pub no_mount: bool,
    /// The words after the command.
    pub words: Vec<OsString>,
    /// Programs to load, attach or show; empty for all.
    pub programs: Vec<String>,
    /// Programs not to load.
    pub skip: Vec<String>,
    /// First values of variables.
    pub set: Vec<Assignment>,
    /// Sizes of maps: the name is `MAP:FIELD`.
    pub resize: Vec<Assignment>,
    /// Maps to take from pins.
    pub reuse: Vec<Assignment>,
    /// Lines of kernel configuration.
    pub kconfig: Vec<String>,
    /// Whether sections say where to attach; `None` when not said.
    pub attach: Option<AttachMode>,
    /// Hooks, each for a program.
    pub hooks: Vec<(String, Hook)>,
    /// Where to pin.
    pub pin: Option<PathBuf>,
    /// Whether pins that are in the way are replaced.
    pub replace: bool,
    /// Whether to stay until a signal comes.
    pub hold: bool,
    /// Maps whose events are streamed.
    pub events: Vec<String>,
    /// Events after which to stop.
    pub count: Option<u64>,
    /// Time after which to stop.
    pub duration: Option<Duration>,
    /// The type of events, or of a new map.
    pub kind: Option<String>,
    /// Types of events by a number in them.
    pub variants: Vec<Variant>,
    /// The form of events.
    pub form: EventForm,
    /// What events must be like.
    pub filters: Vec<Filter>,
    /// Events per second.
    pub rate: Option<u64>,
    /// Variables that count lost events: `MAP.VAR`.
    pub drop_var: Option<String>,
    /// How values are written.
    pub format: Format,
    /// Text may fill its array without room for the NUL.
    pub no_nul: bool,
    /// Members that are not given are zero.
    pub defaults: bool,
    /// Bytes in place of typed values.
    pub raw: bool,
    /// How elements are written.
    pub write: Write,
    /// The time between two looks.
    pub interval: Option<Duration>,
    /// Bytes of a key.
    pub key_size: Option<u32>,
    /// Bytes of a value.
    pub value_size: Option<u32>,
    /// The most elements.
    pub entries: Option<u32>,
    /// `BPF_F_..` of a new map.
    pub map_flags: u32,
    /// Detach what others hold, too.
    pub force: bool,
    /// A directory of pins.
    pub directory: Option<PathBuf>,
    /// Leave maps pinned.
    pub keep_maps: bool,
    /// Only what is attached to this control group.
    pub cgroup: Option<PathBuf>,
    /// Only what is attached to this interface.
    pub interface: Option<String>,
    /// The map that an iterator walks.
    pub map: Option<Reference>,
    /// A Rust skeleton in place of a description.
    pub skeleton: bool,
    /// With all types.
    pub types: bool,
    /// Without the kernel.
    pub offline: bool,
    /// The verifier's level.
    pub level: u32,
    /// A packet, or raw input.
    pub data: Option<PathBuf>,
    /// A context structure.
    pub context: Option<PathBuf>,
    /// How often.
    pub repeat: Option<u32>,
    /// Where a packet goes afterwards.
    pub out: Option<PathBuf>,
    /// Features that must be there.
    pub require: Vec<String>,
    /// All of it.
    pub full: bool,
    /// The files that a manifest names.
    pub files: bool,
    /// Go on until a signal comes.
    pub follow: bool,
}

/// The program.
pub static TINYBPF: Program<Args> = Program {
    name: "tinybpf",
    summary: "load, attach, stream and pin eBPF objects",
    flags: &[
        Flag::switch(Some('j'), "json", "print results as JSON", |args: &mut Args, _| {
            args.json = true;
            Ok(())
        }),
        Flag::switch(Some('q'), "quiet", "print no notices", |args, _| {
            args.quiet = true;
            Ok(())
        }),
        Flag::switch(Some('v'), "verbose", "tell what libbpf says; twice: all of it", |args, _| {
            args.verbose = args.verbose.saturating_add(1);
            Ok(())
        }),
        Flag::option(None, "bpffs", "DIR", "where the bpf file system is", |args: &mut Args, v| {
            args.bpffs = Some(v.into());
            Ok(())
        })
        .default("/sys/fs/bpf"),
        Flag::option(None, "btf", "FILE", "relocate against these kernel types", |args, v| {
            args.btf = Some(v.into());
            Ok(())
        }),
        Flag::option(
            None,
            "token",
            "TOKEN",
            "take rights from a delegating bpf file system: auto, off or a directory",
            |args: &mut Args, value| {
                args.token = match value.to_str() {
                    Some("auto") => Token::Auto,
                    Some("off") => Token::Disabled,
                    _ => Token::Bpffs(value.into()),
                };
                Ok(())
            },
        )
        .default("auto"),
        Flag::switch(None, "no-mount", "mount nothing, whatever a manifest says", |args, _| {
            args.no_mount = true;
            Ok(())
        }),
    ],
    positionals: &[],
    commands: commands::COMMANDS,
};
