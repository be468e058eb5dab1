// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands, with their options and words.

use plinth::cli::{Arity, Command, Positional};

use super::Args;
use super::flags::{CHECK, COMPAT, EMBED, FORCE, HYPERVISOR, OUT, SET};
use super::internal::INTERNAL;

const fn word(name: &'static str, help: &'static str, arity: Arity) -> Positional<Args> {
    Positional {
        name,
        help,
        arity,
        set: |args, word| {
            args.words.push(word);
            Ok(())
        },
    }
}

const FILES: Positional<Args> =
    word("FILE", "the description of a machine or of a fleet", Arity::Many);

pub(super) const COMMANDS: &[Command<Args>] = &[
    Command {
        name: "build",
        summary: "make the runner packages of descriptions",
        flags: &[OUT, HYPERVISOR, SET, CHECK, EMBED, FORCE, COMPAT],
        positionals: &[FILES],
    },
    INTERNAL,
];
