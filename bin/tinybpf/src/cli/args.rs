// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line as tables: parser, help, completions and the manual's test read them.

use std::path::PathBuf;

use plinth::cli::{Command, Flag, Program};

/// What was said. Setters record; commands judge.
#[derive(Clone, Debug, Default)]
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
        Flag::switch(Some('v'), "verbose", "tell what libbpf says; twice for more", |args, _| {
            args.verbose = args.verbose.saturating_add(1);
            Ok(())
        }),
        Flag::option(None, "bpffs", "DIR", "where the bpf file system is", |args: &mut Args, v| {
            args.bpffs = Some(v.into());
            Ok(())
        })
        .default("/sys/fs/bpf"),
        Flag::option(None, "btf", "FILE", "relocate against these types", |args, v| {
            args.btf = Some(v.into());
            Ok(())
        }),
    ],
    positionals: &[],
    commands: &[Command {
        name: "version",
        summary: "show the versions of this program, libbpf and the kernel",
        flags: &[],
        positionals: &[],
    }],
};
