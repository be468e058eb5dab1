// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands that manage the machines of this host, with their options and words.

use std::ffi::OsString;
use std::path::PathBuf;

use plinth::cli::{Arity, Command, Flag, Positional};

use super::Args;
use super::flags::{path, place, text, word};

/// The most packages that `gc` is told to keep.
const KEPT_MAX: u64 = 10_000;
/// The most builds at a time.
const JOBS_MAX: u64 = 1024;
/// The largest volume, in MiB: what the size in bytes can say.
const MIB_MAX: u64 = u64::MAX >> 20;

/// Whether to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal that has some, unless `NO_COLOR` is set and not empty.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What was said to the commands of a host.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct HostArgs {
    /// What stands for the root directory.
    pub root: Option<PathBuf>,
    /// It was called a prefix.
    pub prefix: bool,
    /// Start it, too.
    pub start: bool,
    /// Start it at boot; with `start`: all those.
    pub autostart: bool,
    /// Restart it if it runs.
    pub restart: bool,
    /// All machines.
    pub all: bool,
    /// Without building descriptions.
    pub fast: bool,
    /// Whether to colour.
    pub color: Color,
    /// With interfaces and devices.
    pub setup: bool,
    /// Do it.
    pub yes: bool,
    /// Leave what the machine made.
    pub keep_data: bool,
    /// How many packages are kept.
    pub keep: Option<usize>,
    /// Show only.
    pub dry_run: bool,
    /// Bridges that machines may join.
    pub bridges: Vec<String>,
    /// Remove what is not declared.
    pub prune: bool,
    /// Look at networks.
    pub net: bool,
    /// How many builds at a time.
    pub jobs: Option<usize>,
    /// Run the other host's commands through sudo.
    pub sudo: bool,
    /// Send images, too.
    pub with_images: bool,
    /// Send this program first.
    pub bootstrap: bool,
    /// A size in MiB.
    pub size: Option<u64>,
    /// Grow the file system, too.
    pub file_system: bool,
    /// Do not wait.
    pub no_block: bool,
}

/// A number of this range.
fn count(value: OsString, least: u64, most: u64) -> Result<u64, String> {
    let number = text(value)?.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("not a number from {least} to {most}"))
}

pub(super) const ROOT: Flag<Args> =
    Flag::option(None, "root", "DIR", "what stands for /", |args, v| {
        args.host.root = Some(path(v)?);
        Ok(())
    });
const START: Flag<Args> = Flag::switch(None, "start", "start it, too", |args: &mut Args, _| {
    args.host.start = true;
    Ok(())
});
const AUTOSTART: Flag<Args> = Flag::switch(None, "autostart", "start it at boot", |args, _| {
    args.host.autostart = true;
    Ok(())
});
const ALL_AUTOSTART: Flag<Args> =
    Flag::switch(None, "autostart", "those that start at boot", |args: &mut Args, _| {
        args.host.autostart = true;
        Ok(())
    });
const NO_BLOCK: Flag<Args> =
    Flag::switch(None, "no-block", "do not wait for the service manager", |args, _| {
        args.host.no_block = true;
        Ok(())
    });
const RESTART: Flag<Args> =
    Flag::switch(Some('R'), "restart", "restart it with the new package", |args, _| {
        args.host.restart = true;
        Ok(())
    });
const ALL: Flag<Args> =
    Flag::switch(None, "all", "all machines that are not declared", |args: &mut Args, _| {
        args.host.all = true;
        Ok(())
    });
const FAST: Flag<Args> =
    Flag::switch(None, "fast", "do not build descriptions to compare with", |args, _| {
        args.host.fast = true;
        Ok(())
    });
const COLOR: Flag<Args> =
    Flag::<Args>::option(None, "color", "WHEN", "colour: auto, always or never", |args, value| {
        args.host.color = match value.to_str() {
            Some("auto") => Color::Auto,
            Some("always") => Color::Always,
            Some("never") => Color::Never,
            _ => return Err("one of auto, always, never".to_owned()),
        };
        Ok(())
    })
    .default("auto")
    .choices(&["auto", "always", "never"]);
const NO_COLOR: Flag<Args> = Flag::switch(None, "no-color", "no colour", |args: &mut Args, _| {
    args.host.color = Color::Never;
    Ok(())
});
const SETUP: Flag<Args> =
    Flag::switch(None, "setup", "set interfaces and devices up, and take them down", |args, _| {
        args.host.setup = true;
        Ok(())
    });
const YES: Flag<Args> = Flag::switch(None, "yes", "do it", |args: &mut Args, _| {
    args.host.yes = true;
    Ok(())
});
const KEEP_DATA: Flag<Args> =
    Flag::switch(None, "keep-data", "leave disk images and the like", |args: &mut Args, _| {
        args.host.keep_data = true;
        Ok(())
    });
const KEEP: Flag<Args> =
    Flag::option(None, "keep", "COUNT", "how many packages are kept", |args: &mut Args, value| {
        args.host.keep = Some(usize::try_from(count(value, 0, KEPT_MAX)?).unwrap_or_default());
        Ok(())
    });
const PREFIX: Flag<Args> = Flag::option(
    None,
    "prefix",
    "DIR",
    "install: put the files below DIR",
    |args: &mut Args, value| {
        args.host.root = Some(path(value)?);
        args.host.prefix = true;
        Ok(())
    },
);
const DRY_RUN: Flag<Args> = Flag::switch(
    None,
    "dry-run",
    "install, apply: show what would be done",
    |args: &mut Args, _| {
        args.host.dry_run = true;
        Ok(())
    },
);
const BRIDGE: Flag<Args> = Flag::option(
    None,
    "bridge",
    "NAME",
    "install: let QEMU's helper use this bridge",
    |args, value| {
        let name = value.into_string().unwrap_or_default();
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 15 || !name.chars().all(is_name) {
            return Err("not the name of an interface".to_owned());
        }
        args.host.bridges.push(name);
        Ok(())
    },
);
const PRUNE: Flag<Args> =
    Flag::switch(None, "prune", "apply: remove machines that are declared no more", |args, _| {
        args.host.prune = true;
        Ok(())
    });
const NET: Flag<Args> =
    Flag::switch(None, "net", "doctor: look at bridges, links and forwarding, too", |args, _| {
        args.host.net = true;
        Ok(())
    });
const JOBS: Flag<Args> =
    Flag::option(Some('j'), "jobs", "COUNT", "apply: how many builds at a time", |args, value| {
        args.host.jobs = Some(usize::try_from(count(value, 1, JOBS_MAX)?).unwrap_or(1));
        Ok(())
    });
const SUDO: Flag<Args> =
    Flag::switch(None, "use-remote-sudo", "run the commands there with sudo", |args, _| {
        args.host.sudo = true;
        Ok(())
    });
const WITH_IMAGES: Flag<Args> =
    Flag::switch(None, "with-images", "send kernel and disk images, too", |args, _| {
        args.host.with_images = true;
        Ok(())
    });
const BOOTSTRAP: Flag<Args> =
    Flag::switch(None, "bootstrap", "send this program first", |args: &mut Args, _| {
        args.host.bootstrap = true;
        Ok(())
    });
const SIZE: Flag<Args> =
    Flag::option(None, "size", "MIB", "the size to grow to", |args: &mut Args, value| {
        let size = count(value, 1, MIB_MAX)
            .map_err(|_| format!("not a number of MiB from 1 to {MIB_MAX}"));
        args.host.size = Some(size?);
        Ok(())
    });
const FILE_SYSTEM: Flag<Args> =
    Flag::switch(None, "file-system", "grow the file system in it, too", |args, _| {
        args.host.file_system = true;
        Ok(())
    });

const NAME: Positional<Args> = word("NAME", "the machine", Arity::Required);
const NAMES: Positional<Args> = word("NAME", "the machines", Arity::Some);
/// For commands that know themselves which machines are meant.
const ANY_NAMES: Positional<Args> = word("NAME", "the machines", Arity::Many);

const fn command(
    name: &'static str,
    summary: &'static str,
    flags: &'static [Flag<Args>],
    positionals: &'static [Positional<Args>],
) -> Command<Args> {
    Command { name, summary, flags, positionals }
}

pub(super) const CREATE: Command<Args> = command(
    "create",
    "make a machine of this host from a description",
    &[START, AUTOSTART, ROOT],
    &[NAME, place("FILE", "its description", Arity::Required)],
);
pub(super) const UPDATE: Command<Args> = command(
    "update",
    "build the descriptions of machines anew",
    &[RESTART, ALL, ROOT],
    &[ANY_NAMES],
);
pub(super) const LIST: Command<Args> =
    command("list", "show the machines of this host", &[FAST, COLOR, NO_COLOR, ROOT], &[]);
pub(super) const RUN: Command<Args> = command(
    "run",
    "run a machine or a package here, in the foreground",
    &[SETUP, ROOT],
    &[place("NAME", "the machine, or the directory of a package", Arity::Required)],
);
pub(super) const START_COMMAND: Command<Args> =
    command("start", "start machines", &[ALL_AUTOSTART, NO_BLOCK, ROOT], &[ANY_NAMES]);
pub(super) const STOP: Command<Args> =
    command("stop", "stop machines", &[NO_BLOCK, ROOT], &[NAMES]);
pub(super) const RESTART_COMMAND: Command<Args> =
    command("restart", "stop machines, and start them again", &[NO_BLOCK, ROOT], &[NAMES]);
pub(super) const STATUS: Command<Args> =
    command("status", "say whether machines run", &[ROOT], &[NAMES]);
pub(super) const SHELL: Command<Args> = command(
    "shell",
    "open a shell in a machine, or run a command there",
    &[ROOT],
    &[NAME, word("WORD", "words for ssh, and the command", Arity::Many)],
);
pub(super) const SSH: Command<Args> =
    Command { name: "ssh", summary: "the same as shell", ..SHELL };
pub(super) const CONSOLE: Command<Args> =
    command("console", "show the console of a machine", &[ROOT], &[NAME]);
pub(super) const BALLOON: Command<Args> = command(
    "balloon",
    "take memory from a machine, or say how much is taken",
    &[ROOT],
    &[NAME, word("MIB", "how much to take", Arity::Optional)],
);
pub(super) const REMOVE: Command<Args> =
    command("remove", "remove a machine from this host", &[YES, KEEP_DATA, ROOT], &[NAME]);
pub(super) const ROLLBACK: Command<Args> =
    command("rollback", "go back to the package before", &[ROOT], &[NAME]);
pub(super) const GC: Command<Args> =
    command("gc", "remove packages and images that nothing needs", &[KEEP, ROOT], &[ANY_NAMES]);
pub(super) const ENABLE: Command<Args> =
    command("enable", "start machines at boot", &[ROOT], &[NAMES]);
pub(super) const DISABLE: Command<Args> =
    command("disable", "do not start machines at boot", &[ROOT], &[NAMES]);
pub(super) const HOST: Command<Args> = command(
    "host",
    "set this host up: install, apply or doctor",
    &[PREFIX, DRY_RUN, BRIDGE, PRUNE, JOBS, NET, ROOT],
    &[
        word(
            "ACTION",
            "install units, apply declared machines, or look for trouble",
            Arity::Required,
        ),
        word("NAME", "the machine to look at, for doctor", Arity::Optional),
    ],
);
pub(super) const DEPLOY: Command<Args> = command(
    "deploy",
    "build here, and install on another host",
    &[SUDO, RESTART, WITH_IMAGES, BOOTSTRAP, ROOT],
    &[
        word("HOST", "the other host, as ssh knows it", Arity::Required),
        place("NAME", "a machine of this host, or a description", Arity::Required),
    ],
);
pub(super) const VOLUME: Command<Args> = command(
    "volume",
    "grow the image of a volume",
    &[SIZE, FILE_SYSTEM, ROOT],
    &[
        word("ACTION", "what to do: grow", Arity::Required),
        NAME,
        word("IMAGE", "the image, as the description names it", Arity::Required),
    ],
);
