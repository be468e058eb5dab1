// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The actions of `microvm internal`: what generated scripts and units need and a shell cannot do.
//!
//! One file for each action. They run beside or inside a generated runner, in the machine's working
//! directory, and know nothing of descriptions: what they need stands in their arguments or in the
//! package. The forms of their arguments are an interface: packages outlive the program that made
//! them.

pub(crate) mod accounts;
mod balloon;
mod connect;
mod example;
pub mod kvm;
mod launch;
pub mod lines;
pub mod machined;
mod mkvolume;
pub mod net;
pub mod notify;
pub mod pci;
mod pty;
mod relay;
mod shutdown;
pub mod virtiofsd;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use plinth::cli::UsageError;
use plinth::err::{Failure, USAGE};
use plinth::text::quote;

use crate::cli::World;
use crate::cli::args::{Args, Internal};

/// Carries out an action; the exit status.
///
/// # Errors
/// Why it could not be done, with the status.
pub fn run(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let Some((action, words)) = args.words.split_first() else {
        return Err(usage("argument ACTION is missing"));
    };
    let call = Call { options: &args.internal, words };
    match action.to_str().unwrap_or_default() {
        "launch" => launch::run(&call),
        "mkvolume" => mkvolume::run(&call, world),
        "shutdown" => shutdown::run(&call),
        "balloon" => balloon::run(&call, world),
        "notify-relay" => notify::run(&call, world),
        "net" => net::run(&call, world),
        "pci-setup" => pci::run(&call, world, true),
        "pci-teardown" => pci::run(&call, world, false),
        "register" => machined::register(&call),
        "unregister" => machined::unregister(&call),
        "kvm-probe" => kvm::run(&call, world),
        "virtiofsd" => virtiofsd::run(&call, world),
        "tcp-relay" => connect::tcp(&call),
        "vsock-connect" => connect::vsock(&call),
        "console" => connect::console(&call),
        "example-test" => example::run(&call, world),
        "example-benchmark" => example::benchmark(&call, world),
        "example-check" => example::ask(&call, world),
        "example-connect" => example::console(&call),
        "example-status" => example::status(&call, world),
        _ => Err(usage(format!("unknown action {}", quote(&action.to_string_lossy())))),
    }
}

/// What an action was called with.
struct Call<'a> {
    options: &'a Internal,
    /// The words behind the action.
    words: &'a [OsString],
}

fn usage(text: impl Into<String>) -> Failure {
    Failure::new(USAGE, UsageError::new(text))
}

impl Call<'_> {
    /// The option, which the action cannot do without.
    fn need<T: Clone>(&self, value: Option<&T>, name: &str) -> Result<T, Failure> {
        value.cloned().ok_or_else(|| usage(format!("option --{name} is missing")))
    }

    /// The word at this place, as text.
    fn word(&self, at: usize, name: &str) -> Result<&str, Failure> {
        let word =
            self.words.get(at).ok_or_else(|| usage(format!("argument {name} is missing")))?;
        word.to_str().ok_or_else(|| usage(format!("{name}: not UTF-8")))
    }

    /// Refuses words behind the first `count`.
    fn at_most(&self, count: usize) -> Result<(), Failure> {
        match self.words.get(count) {
            Some(word) => {
                Err(usage(format!("unexpected argument {}", quote(&word.to_string_lossy()))))
            }
            None => Ok(()),
        }
    }
}

/// Where `program` is: in `PATH`, or in the directories of the system's own programs.
fn find_program(program: &str, path: Option<OsString>) -> Option<PathBuf> {
    let path = path.unwrap_or_default();
    let system = [OsStr::new("/sbin"), OsStr::new("/usr/sbin")].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).chain(system);
    places.find_map(|dir| {
        let file = dir.join(program);
        let runs = rustix::fs::access(&file, rustix::fs::Access::EXEC_OK).is_ok();
        (runs && file.is_file()).then_some(file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_outside_of_the_path_too() {
        assert!(find_program("mkfs.ext4", Some("relative:/nonexistent".into())).is_some());
        assert!(find_program("sh", Some("/usr/bin".into())).is_some());
        for none in ["mkfs.none", "", "..", "mkfs.ext4/"] {
            assert_eq!(find_program(none, None), None, "{none}");
        }
    }
}
