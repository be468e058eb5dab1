// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands, with their options and words. Families have their tables in files of their own.

use plinth::cli::{Arity, Command};

use super::Args;
use super::describe::{COMPLETIONS, DIFF, EXPLAIN, MAN, SCHEMA, SHOW, VALIDATE};
use super::files::{IMAGE, IMPORT_NIX, KERNEL};
use super::flags::{CHECK, COMPAT, EMBED, FORCE, HYPERVISOR, OUT, SET, place};
use super::host::{
    BALLOON, CONSOLE, CREATE, DEPLOY, DISABLE, ENABLE, GC, HOST, LIST, REMOVE, RESTART_COMMAND,
    ROLLBACK, RUN, SHELL, SSH, START_COMMAND, STATUS, STOP, UPDATE, VOLUME,
};
use super::internal::INTERNAL;
use super::trial::{MEASURE, TEST_EXAMPLES};

pub(super) const COMMANDS: &[Command<Args>] = &[
    Command {
        name: "build",
        summary: "make the runner packages of descriptions",
        flags: &[OUT, HYPERVISOR, SET, CHECK, EMBED, FORCE, COMPAT],
        positionals: &[place("FILE", "the description of a machine or of a fleet", Arity::Some)],
    },
    super::describe::CHECK,
    VALIDATE,
    EXPLAIN,
    SHOW,
    DIFF,
    SCHEMA,
    COMPLETIONS,
    MAN,
    IMPORT_NIX,
    KERNEL,
    IMAGE,
    MEASURE,
    TEST_EXAMPLES,
    INTERNAL,
    CREATE,
    UPDATE,
    LIST,
    RUN,
    START_COMMAND,
    STOP,
    RESTART_COMMAND,
    STATUS,
    SHELL,
    SSH,
    CONSOLE,
    BALLOON,
    REMOVE,
    ROLLBACK,
    GC,
    ENABLE,
    DISABLE,
    HOST,
    DEPLOY,
    VOLUME,
];
