// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands that start machines to see how they do.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use plinth::cli::{Command, Flag};

use super::Args;
use super::flags::{FILE_OR_NAME, HYPERVISOR, SET, many, path, text};
use super::host::ROOT;

/// What was said to these commands.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// The directory with the examples.
    pub dir: Option<PathBuf>,
    /// All at once.
    pub parallel: bool,
    /// Do not look whether ports are free.
    pub skip_preflight: bool,
    /// How often.
    pub repeat: Option<u32>,
    /// Stop what earlier runs left.
    pub cleanup: bool,
    /// The accelerator of QEMU.
    pub accel: Option<String>,
    /// A text on the console.
    pub text: Option<String>,
    /// A port that answers.
    pub port: Option<SocketAddr>,
    /// What the port is asked.
    pub send: Option<String>,
    /// Wait for the guest's own word.
    pub ready: bool,
    /// How long to wait.
    pub timeout: Option<Duration>,
}

fn number(value: OsString) -> Result<u32, String> {
    let number = text(value)?.parse::<u32>().ok().filter(|number| (1..=10_000).contains(number));
    number.ok_or_else(|| "not a number from 1 to 10000".to_owned())
}

const DIR: Flag<Args> =
    Flag::<Args>::option(None, "dir", "DIR", "where the examples are", |args, value| {
        args.trial.dir = Some(path(value)?);
        Ok(())
    })
    .default("examples");

const PARALLEL: Flag<Args> =
    Flag::switch(None, "parallel", "test all examples at once", |args: &mut Args, _| {
        args.trial.parallel = true;
        Ok(())
    });

const SKIP_PREFLIGHT: Flag<Args> = Flag::switch(
    None,
    "skip-preflight",
    "do not look whether the ports of all examples are free",
    |args: &mut Args, _| {
        args.trial.skip_preflight = true;
        Ok(())
    },
);

const REPEAT: Flag<Args> = Flag::<Args>::option(
    None,
    "repeat",
    "N",
    "do it N times; all of them must pass",
    |args, value| {
        args.trial.repeat = Some(number(value)?);
        Ok(())
    },
)
.default("1");

const CLEANUP: Flag<Args> = Flag::switch(
    None,
    "cleanup",
    "stop the machines that interrupted tests left behind, and test nothing",
    |args: &mut Args, _| {
        args.trial.cleanup = true;
        Ok(())
    },
);

const ACCEL: Flag<Args> = Flag::option(
    None,
    "accel",
    "ACCEL",
    "QEMU's accelerator; with tcg everything may take four times as long",
    |args: &mut Args, value| {
        args.trial.accel = Some(text(value)?);
        Ok(())
    },
);

const TEXT: Flag<Args> = Flag::<Args>::option(
    None,
    "text",
    "TEXT",
    "wait for this text on the console",
    |args, value| {
        args.trial.text = Some(text(value)?);
        Ok(())
    },
)
.default("login:");

const PORT: Flag<Args> = Flag::option(
    None,
    "port",
    "ADDRESS:PORT",
    "wait for an answer from this port of this host",
    |args: &mut Args, value| {
        let address = text(value)?.parse().map_err(|_| "not of the form ADDRESS:PORT")?;
        args.trial.port = Some(address);
        Ok(())
    },
);

const SEND: Flag<Args> = Flag::<Args>::option(
    None,
    "send",
    "TEXT",
    "a line to send to the port, in place of a request for a page",
    |args, value| {
        args.trial.send = Some(text(value)?);
        Ok(())
    },
);

const READY: Flag<Args> = Flag::switch(
    None,
    "ready",
    "wait for the guest's own word, as with notify = true",
    |args: &mut Args, _| {
        args.trial.ready = true;
        Ok(())
    },
);

const TIMEOUT: Flag<Args> =
    Flag::<Args>::option(None, "timeout", "SECONDS", "the longest to wait", |args, value| {
        args.trial.timeout = Some(Duration::from_secs(number(value)?.into()));
        Ok(())
    })
    .default("120");

pub(super) const MEASURE: Command<Args> = Command {
    name: "measure",
    summary: "start a machine, print how long it took to be ready as JSON, stop it",
    flags: &[TEXT, PORT, SEND, READY, TIMEOUT, REPEAT, SET, HYPERVISOR, ROOT],
    positionals: &[FILE_OR_NAME],
};

pub(super) const TEST_EXAMPLES: Command<Args> = Command {
    name: "test-examples",
    summary: "build, start and test the examples",
    flags: &[DIR, PARALLEL, SKIP_PREFLIGHT, REPEAT, CLEANUP, ACCEL, SET],
    positionals: &[many("NAME", "examples; by default those that need no set-up")],
};
