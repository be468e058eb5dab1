// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal kvm-probe`, and the question behind it: does KVM work here?
//!
//! A device that is there may still hang, and a process that hangs in it cannot be interrupted. So
//! the machine is made in a process of its own, which is given up on.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use plinth::err::{FAILED, Failure};
use plinth::proc::{self, Ending, Limits};

use super::Call;
use crate::cli::{TIMED_OUT, World};

/// How long the machine may take to execute its few instructions.
pub const LIMIT: Duration = Duration::from_secs(2);

/// The device.
const DEVICE: &str = "/dev/kvm";

/// Whether KVM can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usable {
    /// A machine was made, and has executed what it was given.
    Yes,
    /// There is no device, or it refuses: why.
    No(String),
    /// It hangs, or is far too slow to start a kernel.
    Hangs,
}

impl fmt::Display for Usable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("KVM works"),
            Self::No(why) => write!(f, "KVM cannot be used: {why}"),
            Self::Hangs => {
                f.write_str("KVM cannot be used: it hangs, or interprets what it should run")
            }
        }
    }
}

/// Finds out within `limit`, by starting this program again.
///
/// # Errors
/// It cannot be started.
pub fn usable(limit: Duration) -> io::Result<Usable> {
    usable_by(Path::new("/proc/self/exe"), limit)
}

/// The same, with `program` in place of this one.
///
/// # Errors
/// As for [`usable`].
pub fn usable_by(program: &Path, limit: Duration) -> io::Result<Usable> {
    let mut command = Command::new(program);
    command.args(["internal", "kvm-probe", "here"]);
    // Killed when its time is over. If even that hangs in the device, nobody waits for it.
    let output = proc::run_or_leave(command, Limits { time: limit, output: 4096 })?;
    Ok(match output {
        Some(output) if output.success() => Usable::Yes,
        Some(output) if matches!(output.ending, Ending::Exited(_)) => {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Usable::No(words.strip_prefix("microvm: ").unwrap_or(&words).to_owned())
        }
        Some(output) if output.ending != Ending::TimedOut => Usable::No("it crashed".to_owned()),
        _ => Usable::Hangs,
    })
}

/// With the word `here` in this process, else with a limit.
pub(super) fn run(call: &Call<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    call.at_most(1)?;
    if call.words.first().is_some_and(|word| word == "here") {
        plinth::sys::kvm::probe(Path::new(DEVICE))?;
        return Ok(0);
    }
    let found = usable(LIMIT)?;
    world.print(&format!("{found}\n"))?;
    Ok(match found {
        Usable::Yes => 0,
        Usable::No(_) => FAILED,
        Usable::Hangs => TIMED_OUT,
    })
}
