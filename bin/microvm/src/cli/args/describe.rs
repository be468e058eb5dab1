// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands that say what a description is, and change nothing.

use plinth::cli::{Arity, Command, Flag};

use super::Args;
use super::flags::{COMPAT, FILE_OR_NAME, HYPERVISOR, SET, one, optional, place, text};
use super::host::ROOT;
use crate::diag::WARNINGS;

/// A way to look at a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Every option with its value, as TOML.
    #[default]
    Options,
    /// The words of the command line.
    Argv,
    /// Lines for the guest's `/etc/fstab`.
    Fstab,
    /// The kernel modules that the guest needs.
    Modules,
    /// The commands that set up the host's side of the network.
    NetSetup,
    /// What is added to the unit that runs it.
    Units,
}

/// What was said to these commands.
#[derive(Clone, Debug, Default)]
pub struct Describe {
    /// The machine of a fleet.
    pub vm: Option<String>,
    /// Files that are missing here are errors.
    pub strict: bool,
    /// Codes of warnings that are errors; `warnings` for all.
    pub deny: Vec<String>,
    /// Codes of warnings that stay warnings.
    pub warn: Vec<String>,
    /// How to look at it.
    pub view: View,
}

const VM: Flag<Args> =
    Flag::option(None, "vm", "NAME", "only this machine of a fleet", |args: &mut Args, value| {
        args.describe.vm = Some(text(value)?);
        Ok(())
    });

const STRICT: Flag<Args> = Flag::switch(
    None,
    "strict",
    "files that are missing on this machine are errors",
    |args: &mut Args, _| {
        args.describe.strict = true;
        Ok(())
    },
);

const DENY: Flag<Args> = Flag::option(
    None,
    "deny",
    "CODE",
    "make this warning an error; `warnings` for all of them",
    |args: &mut Args, value| {
        args.describe.deny.push(code(text(value)?, true)?);
        Ok(())
    },
);

const WARN: Flag<Args> = Flag::option(
    Some('W'),
    "warn",
    "CODE",
    "let this warning be a warning, whatever --deny says",
    |args: &mut Args, value| {
        args.describe.warn.push(code(text(value)?, false)?);
        Ok(())
    },
);

fn code(text: String, or_all: bool) -> Result<String, String> {
    let digits = text.strip_prefix("MV").unwrap_or_default();
    let is_code = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if WARNINGS.contains(&text.as_str()) || (or_all && text == "warnings") {
        return Ok(text);
    }
    Err(if is_code { "no warning has this code" } else { "not a code such as MV104" }.to_owned())
}

const fn view(long: &'static str, help: &'static str, set: plinth::cli::Set<Args>) -> Flag<Args> {
    Flag::switch(None, long, help, set)
}

const ARGV: Flag<Args> =
    view("argv", "the words of the hypervisor's command line, one a line", |args, _| {
        args.describe.view = View::Argv;
        Ok(())
    });

const FSTAB: Flag<Args> =
    view("fstab", "lines for the guest's fstab: volumes and shares", |args, _| {
        args.describe.view = View::Fstab;
        Ok(())
    });

const MODULES: Flag<Args> =
    view("modules", "the kernel modules that the guest needs", |args, _| {
        args.describe.view = View::Modules;
        Ok(())
    });

const NET_SETUP: Flag<Args> =
    view("net-setup", "the commands that set up the network on the host", |args, _| {
        args.describe.view = View::NetSetup;
        Ok(())
    });

const UNITS: Flag<Args> =
    view("units", "what is added to the unit that runs the machine", |args, _| {
        args.describe.view = View::Units;
        Ok(())
    });

const CHECK_FLAGS: &[Flag<Args>] = &[STRICT, DENY, WARN, SET, HYPERVISOR];

pub(super) const CHECK: Command<Args> = Command {
    name: "check",
    summary: "say what is wrong with descriptions",
    flags: CHECK_FLAGS,
    positionals: &[place("FILE", "the descriptions", Arity::Some)],
};

pub(super) const VALIDATE: Command<Args> =
    Command { name: "validate", summary: "the same as check", ..CHECK };

pub(super) const SHOW: Command<Args> = Command {
    name: "show",
    summary: "show a machine with every option set",
    flags: &[ARGV, FSTAB, MODULES, NET_SETUP, UNITS, VM, SET, HYPERVISOR, COMPAT, ROOT],
    positionals: &[FILE_OR_NAME],
};

pub(super) const EXPLAIN: Command<Args> = Command {
    name: "explain",
    summary: "say where each word of the command line comes from, or what an option is",
    flags: &[VM, SET, HYPERVISOR, COMPAT],
    positionals: &[
        place("FILE", "a description", Arity::Required),
        optional("KEY|FLAG", "only this key, or this option of the hypervisor"),
    ],
};

pub(super) const DIFF: Command<Args> = Command {
    name: "diff",
    summary: "compare two machines, or what runs of one with what is described",
    flags: &[SET, HYPERVISOR, COMPAT, ROOT],
    positionals: &[
        place("A", "a description, a runner package, or a machine of this host", Arity::Required),
        place("B", "another one", Arity::Optional),
    ],
};

pub(super) const SCHEMA: Command<Args> = Command {
    name: "schema",
    summary: "print the JSON Schema of descriptions, for editors",
    flags: &[],
    positionals: &[],
};

pub(super) const COMPLETIONS: Command<Args> = Command {
    name: "completions",
    summary: "print the completions for a shell",
    flags: &[],
    positionals: &[one("SHELL", "the shell: bash, zsh or fish")],
};

pub(super) const MAN: Command<Args> = Command {
    name: "man",
    summary: "print a page of the manual",
    flags: &[],
    positionals: &[optional("PAGE", "such as microvm.toml; microvm(1) without it")],
};
