// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The options that commands of several families share, and what their tables are made of.

use std::ffi::OsString;
use std::path::PathBuf;

use plinth::cli::{Arity, Flag, Positional};

use super::Args;
use crate::config::Hypervisor;
use crate::schema::HYPERVISOR_NAMES;

/// The option's value as text.
pub(super) fn text(value: OsString) -> Result<String, String> {
    value.into_string().map_err(|_| "not UTF-8".to_owned())
}

/// The option's value as a path.
pub(super) fn path(value: OsString) -> Result<PathBuf, String> {
    if value.is_empty() { Err("not a path".to_owned()) } else { Ok(PathBuf::from(value)) }
}

/// A word of a command, recorded as it comes.
pub(super) const fn word(name: &'static str, help: &'static str, arity: Arity) -> Positional<Args> {
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

/// A word that is a path, or the name of something; recorded as it comes.
pub(super) const fn place(
    name: &'static str,
    help: &'static str,
    arity: Arity,
) -> Positional<Args> {
    Positional {
        name,
        help,
        arity,
        set: |args, word| {
            args.words.push(path(word)?.into());
            Ok(())
        },
    }
}

/// What commands take that look at one machine.
pub(super) const FILE_OR_NAME: Positional<Args> = place(
    "FILE|NAME",
    "a description, a runner package, or a machine of this host",
    Arity::Required,
);

/// A word that must stand once.
pub(super) const fn one(name: &'static str, help: &'static str) -> Positional<Args> {
    word(name, help, Arity::Required)
}

/// A word that may stand once.
pub(super) const fn optional(name: &'static str, help: &'static str) -> Positional<Args> {
    word(name, help, Arity::Optional)
}

/// Words of any number.
pub(super) const fn many(name: &'static str, help: &'static str) -> Positional<Args> {
    word(name, help, Arity::Many)
}

pub(super) const OUT: Flag<Args> =
    Flag::option(Some('o'), "out", "DIR", "where the package goes, or the packages", |args, it| {
        args.out = Some(path(it)?);
        Ok(())
    });

pub(super) const OUT_FILE: Flag<Args> =
    Flag::option(Some('o'), "out", "FILE", "where the result goes", |args, it| {
        args.out = Some(path(it)?);
        Ok(())
    });

pub(super) const HYPERVISOR: Flag<Args> = Flag::<Args>::option(
    None,
    "hypervisor",
    "NAME",
    "use this hypervisor in place of the described one",
    |args, it| {
        let name = text(it)?;
        let found = Hypervisor::by_name(&name).ok_or("no hypervisor of this name")?;
        args.hypervisor = Some(found);
        Ok(())
    },
)
.choices(HYPERVISOR_NAMES);

pub(super) const SET: Flag<Args> = Flag::option(
    None,
    "set",
    "KEY=VALUE",
    "lay a value over the description; can be given several times",
    |args, it| {
        let word = text(it)?;
        if !crate::pipeline::is_assignment(&word) {
            return Err("not of the form KEY=VALUE".to_owned());
        }
        args.set.push(word);
        Ok(())
    },
);

pub(super) const CHECK: Flag<Args> = Flag::switch(
    None,
    "check",
    "write nothing; the status is 1 if something would change",
    |args, _| {
        args.check = true;
        Ok(())
    },
);

pub(super) const EMBED: Flag<Args> =
    Flag::switch(None, "embed", "put this program into the package", |args, _| {
        args.embed = true;
        Ok(())
    });

pub(super) const FORCE: Flag<Args> =
    Flag::switch(None, "force", "replace a package that is there", |args, _| {
        args.force = true;
        Ok(())
    });

pub(super) const COMPAT: Flag<Args> = Flag::<Args>::option(
    None,
    "compat",
    "WHOM",
    "give the command lines of microvm.nix where its hypervisors accept them",
    |args, it| match it.to_str() {
        Some("upstream") => {
            args.compat = true;
            Ok(())
        }
        _ => Err("only upstream is known".to_owned()),
    },
)
.choices(&["upstream"]);
