// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line of `stasadm`: the table, and what it records.

use std::ffi::OsString;
use std::path::PathBuf;

use plinth::cli::{Arity, Command, Flag, Positional, Program};

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// `-c FILE`: the configuration to edit.
    pub config: Option<PathBuf>,
    /// `--root DIR`: the directory that stands for `/`.
    pub root: Option<PathBuf>,
    /// `-f FILE`: where the value goes.
    pub file: Option<PathBuf>,
    /// `--force`.
    pub force: bool,
    /// `--print`.
    pub print: bool,
    /// `--json`.
    pub json: bool,
    /// The name that `set-symname` sets.
    pub symname: String,
    /// The file that `check` reads.
    pub checked: Option<PathBuf>,
}

fn path(value: OsString) -> Result<Option<PathBuf>, String> {
    if value.is_empty() { Err("empty".into()) } else { Ok(Some(value.into())) }
}

fn file(args: &mut Args, value: OsString) -> Result<(), String> {
    args.file = path(value)?;
    Ok(())
}

fn symname(args: &mut Args, value: OsString) -> Result<(), String> {
    args.symname = value.into_string().map_err(|_| "not UTF-8")?;
    Ok(())
}

const GLOBAL: &[Flag<Args>] = &[
    Flag::<Args>::option(
        Some('c'),
        "conf-file",
        "FILE",
        "edit FILE instead of the usual one",
        |args, value| {
            args.config = path(value)?;
            Ok(())
        },
    )
    .default("/etc/stas/sys.conf"),
    Flag::option(None, "root", "DIR", "look for all files below DIR", |args: &mut Args, value| {
        args.root = path(value)?;
        Ok(())
    }),
];

const FILE: Flag<Args> = Flag::option(
    Some('f'),
    "file",
    "FILE",
    "write the value to FILE, and refer to it in the configuration",
    file,
);

const NAME: &[Flag<Args>] = &[
    FILE,
    Flag::switch(None, "force", "replace a value that exists", |args, _| {
        args.force = true;
        Ok(())
    }),
    Flag::switch(None, "print", "print the value and save nothing", |args, _| {
        args.print = true;
        Ok(())
    }),
];

/// The command line of `stasadm`.
pub static STASADM: Program<Args> = Program {
    name: "stasadm",
    summary: "make the names by which storage knows this host",
    flags: GLOBAL,
    positionals: &[],
    commands: &[
        Command { name: "hostnqn", summary: "make the host NQN", flags: NAME, positionals: &[] },
        Command { name: "hostid", summary: "make the host ID", flags: NAME, positionals: &[] },
        Command {
            name: "set-symname",
            summary: "set the symbolic name",
            flags: &[FILE],
            positionals: &[Positional {
                name: "SYMNAME",
                help: "the name, for people",
                arity: Arity::Required,
                set: symname,
            }],
        },
        Command {
            name: "clear-symname",
            summary: "remove the symbolic name",
            flags: &[],
            positionals: &[],
        },
        Command {
            name: "show",
            summary: "print the names, where they come from and whether they are valid",
            flags: &[Flag::switch(None, "json", "print a JSON document", |args, _| {
                args.json = true;
                Ok(())
            })],
            positionals: &[],
        },
        Command {
            name: "check",
            summary: "look for mistakes in a configuration file",
            flags: &[],
            positionals: &[Positional {
                name: "FILE",
                help: "stafd.conf, stacd.conf or sys.conf (the default)",
                arity: Arity::Optional,
                set: |args, value| {
                    args.checked = path(value)?;
                    Ok(())
                },
            }],
        },
    ],
};
