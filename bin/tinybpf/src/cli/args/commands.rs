// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands, with their options and words.
//!
//! A reference to a program, map or link is two words (`id 7`, `pin PATH`, `name NAME`), so words
//! are recorded as they come, and taken apart by the commands.

use plinth::cli::{Arity, Command, Positional};

use super::Args;
use super::flags::{
    ALL, ATTACH, BYTES, CGROUP, COUNT, CTX, DATA, DEFAULTS, DROP_VAR, DURATION, ENTRIES, ENUM,
    EVENTS, FILES, FILTER, FOLLOW, FORCE, FORMAT, FULL, HOLD, HOOK, IFACE, INT64, INTERVAL,
    ITER_MAP, KCONFIG, KEEP_MAPS, KEY_SIZE, LEVEL, MAP_FLAGS, MAP_TYPE, NO_NUL, OFFLINE, ON, OUT,
    PADDING, PIN, PIN_DIR, PROG, RATE, RAW, REPEAT, REPLACE, REQUIRE, RESIZE, REUSE, SET, SKELETON,
    SKIP, TYPE, TYPES, VALUE_SIZE, VARIANT, WRITE,
};

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

const fn one(name: &'static str, help: &'static str) -> Positional<Args> {
    word(name, help, Arity::Required)
}

const fn many(name: &'static str, help: &'static str) -> Positional<Args> {
    word(name, help, Arity::Many)
}

const OBJECT: Positional<Args> = one("OBJECT", "the compiled object, such as exec.bpf.o");
const MANIFEST: Positional<Args> = one("MANIFEST", "the manifest, in TOML");
const SOURCE: &str = "a file, `vmlinux`, or `prog`, `map` or `btf` with a reference";

pub(super) const COMMANDS: &[Command<Args>] = &[
    Command {
        name: "version",
        summary: "show the versions of this program, libbpf and the kernel",
        flags: &[],
        positionals: &[],
    },
    Command {
        name: "inspect",
        summary: "show what is in an object, without loading it",
        flags: &[SKELETON, TYPES],
        positionals: &[OBJECT],
    },
    Command {
        name: "verify",
        summary: "load each program of an object, and discard it",
        flags: &[OFFLINE, PROG, LEVEL, SET, RESIZE, KCONFIG],
        positionals: &[OBJECT],
    },
    Command {
        name: "load",
        summary: "load and attach an object, and keep it by pins",
        flags: &[PIN_DIR, PROG, SKIP, SET, RESIZE, REUSE, KCONFIG, ATTACH, HOOK, REPLACE, HOLD],
        positionals: &[OBJECT],
    },
    Command {
        name: "run",
        summary: "load and attach an object, print its events, detach at the end",
        flags: &[
            PROG, SKIP, SET, RESIZE, REUSE, KCONFIG, ATTACH, HOOK, PIN_DIR, REPLACE, EVENTS, COUNT,
            DURATION, TYPE, VARIANT, FORMAT, FILTER, RATE, DROP_VAR, INT64, BYTES, ENUM, PADDING,
        ],
        positionals: &[OBJECT],
    },
    Command {
        name: "attach",
        summary: "attach a loaded program to a hook",
        flags: &[PIN],
        positionals: &[
            one("PROGRAM", "id N, pin PATH, name NAME or tag HEX"),
            many("HOOK", "where: see HOOKS in tinybpf(8)"),
        ],
    },
    Command {
        name: "detach",
        summary: "take links away",
        flags: &[ALL, FORCE],
        positionals: &[many("LINK", "id N or pin PATH")],
    },
    Command {
        name: "unload",
        summary: "remove what `load --pin` left below a directory",
        flags: &[KEEP_MAPS],
        positionals: &[one("DIR", "the directory that was given to --pin")],
    },
    Command {
        name: "list",
        summary: "list what is in the kernel",
        flags: &[CGROUP, IFACE],
        positionals: &[one("WHAT", "progs, maps, links, btf or pins")],
    },
    Command {
        name: "map",
        summary: "show and change maps",
        flags: &[
            RAW, WRITE, INT64, BYTES, ENUM, PADDING, NO_NUL, DEFAULTS, INTERVAL, COUNT, MAP_TYPE,
            KEY_SIZE, VALUE_SIZE, ENTRIES, MAP_FLAGS,
        ],
        positionals: &[
            one(
                "ACTION",
                "show, dump, get, set, del, keys, push, pop, peek, clear, freeze, pin, create or \
                 watch",
            ),
            many("WORD", "the map (id N, pin PATH, name NAME), then keys and values"),
        ],
    },
    Command {
        name: "events",
        summary: "print the events of ring and perf buffers",
        flags: &[
            TYPE, VARIANT, FORMAT, FILTER, RATE, DROP_VAR, COUNT, DURATION, INT64, BYTES, ENUM,
            PADDING,
        ],
        positionals: &[one("MAP", "id N, pin PATH or name NAME"), many("MORE", "further maps")],
    },
    Command {
        name: "send",
        summary: "write values into a user ring buffer",
        flags: &[TYPE, NO_NUL, DEFAULTS],
        positionals: &[
            one("MAP", "id N, pin PATH or name NAME"),
            many("VALUE", "JSON, hex:DIGITS or @FILE"),
        ],
    },
    Command {
        name: "test-run",
        summary: "run a program without a hook",
        flags: &[DATA, CTX, REPEAT, OUT],
        positionals: &[
            one("PROGRAM", "OBJECT:NAME, id N, pin PATH, name NAME or tag HEX"),
            many("REFERENCE", "the second word of a reference"),
        ],
    },
    Command {
        name: "stats",
        summary: "show how often programs ran and how long that took",
        flags: &[ON],
        positionals: &[many("PROGRAM", "id N, pin PATH, name NAME or tag HEX; all without")],
    },
    Command {
        name: "features",
        summary: "probe what this kernel can do",
        flags: &[REQUIRE, FULL],
        positionals: &[],
    },
    Command {
        name: "btf",
        summary: "show type information",
        flags: &[],
        positionals: &[one("ACTION", "dump, struct or vmlinux-h"), many("SOURCE", SOURCE)],
    },
    Command {
        name: "headers",
        summary: "write the headers that BPF programs are compiled with",
        flags: &[],
        positionals: &[one("DIR", "where to")],
    },
    Command {
        name: "iter",
        summary: "run an iterator and print its text",
        flags: &[ITER_MAP],
        positionals: &[
            one("PROGRAM", "program or link: id N, pin PATH or name NAME"),
            many("REFERENCE", "the second word of a reference"),
        ],
    },
    Command {
        name: "log",
        summary: "print what programs write with bpf_printk",
        flags: &[FOLLOW],
        positionals: &[],
    },
    Command {
        name: "apply",
        summary: "make the kernel agree with a manifest",
        flags: &[],
        positionals: &[MANIFEST],
    },
    Command {
        name: "check",
        summary: "check a manifest, and show what `apply` would change",
        flags: &[FILES],
        positionals: &[MANIFEST],
    },
    Command {
        name: "status",
        summary: "compare the kernel with what `apply` left",
        flags: &[],
        positionals: &[MANIFEST],
    },
    Command {
        name: "remove",
        summary: "remove what `apply` left",
        flags: &[],
        positionals: &[MANIFEST],
    },
    Command {
        name: "completion",
        summary: "print a completion script",
        flags: &[],
        positionals: &[one("SHELL", "the shell: bash, zsh or fish")],
    },
    Command {
        name: "man",
        summary: "print the source of the manual page, for man -l -",
        flags: &[],
        positionals: &[],
    },
    Command {
        name: "help",
        summary: "print this help, or that of a command",
        flags: &[],
        positionals: &[word("COMMAND", "a command", Arity::Optional)],
    },
];
