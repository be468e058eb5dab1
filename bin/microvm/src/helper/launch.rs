// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal launch`: becomes the hypervisor.
//!
//! Owns what a shell cannot do on the way: devices of macvtaps under descriptors of more than one
//! digit, the program's own name for itself, helpers that end with it, a terminal. Without `--pty`
//! nothing stays behind: the process becomes the program, so that signals and the status are its
//! own.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use plinth::err::{FAILED, Failure};
use plinth::sys::exec;
use plinth::time::{Time, pause};
use rustix::process::Signal;

use super::pty::{self, PtyError};
use super::{Call, usage};
use crate::cli::{NO_PROGRAM, TIMED_OUT};

/// How long between two looks for a socket.
const LOOK: Duration = Duration::from_millis(20);

/// Why a machine was not started.
#[derive(Debug)]
enum LaunchError {
    /// The interface does not exist, or is no macvtap.
    Interface(String, io::Error),
    /// Its device cannot be opened.
    Device(PathBuf, io::Error),
    /// What a helper was to make is not there.
    NoSocket(PathBuf),
    /// A program is not there.
    NoProgram(String, Option<String>),
    /// A program cannot be started.
    Start(String, io::Error),
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(id, _) => write!(f, "cannot find the macvtap {id}"),
            Self::Device(path, _) => write!(f, "cannot open {}", path.display()),
            Self::NoSocket(path) => {
                write!(f, "timed out while waiting for the socket {}", path.display())
            }
            Self::NoProgram(name, None) => write!(f, "{name} not found"),
            Self::NoProgram(name, Some(key)) => write!(f, "{name} not found, needed by {key}"),
            Self::Start(name, _) => write!(f, "cannot start {name}"),
        }
    }
}

impl std::error::Error for LaunchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Interface(_, error) | Self::Device(_, error) | Self::Start(_, error) => {
                Some(error)
            }
            Self::NoProgram(..) | Self::NoSocket(_) => None,
        }
    }
}

pub(super) fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let options = call.options;
    let Some((program, arguments)) = call.words.split_first() else {
        return Err(usage("argument PROGRAM is missing"));
    };
    let mut command = Command::new(program);
    command.args(with_paths(arguments, &options.tap_paths)?);
    command.args(options.split.as_deref().map(split).unwrap_or_default());
    if let Some(name) = &options.argv0 {
        command.arg0(name);
    }
    let mut fds: Vec<(OwnedFd, RawFd)> = Vec::new();
    for macvtap in &options.macvtaps {
        let path = device(&macvtap.id)?;
        for queue in 0..macvtap.count {
            let opened = File::options().read(true).write(true).open(&path);
            let file = opened.map_err(|error| LaunchError::Device(path.clone(), error))?;
            fds.push((file.into(), macvtap.first.saturating_add(queue)));
        }
    }
    exec::pass(&mut command, fds)?;
    for words in &options.with {
        beside(words)?;
    }
    for (patience, socket) in &options.awaited {
        wait_for(socket, *patience)?;
    }
    let failed = |error| start_error(program, error, options.key.clone());
    if !options.pty {
        return Err(failed(command.exec()));
    }
    pty::run(command).map_err(|error| match error {
        PtyError::Start(error) => failed(error),
        PtyError::Terminal(..) => Failure::new(FAILED, error),
    })
}

/// Starts a helper that ends with us, whatever we become.
fn beside(words: &[String]) -> Result<(), Failure> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    exec::die_with_parent(&mut command, Signal::TERM);
    let spawned = command.spawn();
    spawned.map(drop).map_err(|error| start_error(OsStr::new(program), error, None))
}

fn start_error(program: &OsStr, error: io::Error, key: Option<String>) -> Failure {
    let name = program.to_string_lossy().into_owned();
    if error.kind() == io::ErrorKind::NotFound {
        Failure::new(NO_PROGRAM, LaunchError::NoProgram(name, key))
    } else {
        Failure::new(FAILED, LaunchError::Start(name, error))
    }
}

/// The words of a line that a command of the user's printed: no quotes, no patterns.
fn split(text: &OsStr) -> Vec<OsString> {
    let blank = |byte: &u8| byte.is_ascii_whitespace();
    let words = text.as_bytes().split(blank).filter(|word| !word.is_empty());
    words.map(|word| OsString::from_vec(word.to_vec())).collect()
}

/// Waits until there is a socket.
fn wait_for(socket: &Path, patience: Duration) -> Result<(), Failure> {
    let deadline = Time::monotonic() + patience;
    while !socket.exists() {
        if Time::monotonic() >= deadline {
            return Err(Failure::new(TIMED_OUT, LaunchError::NoSocket(socket.to_owned())));
        }
        pause(LOOK);
    }
    Ok(())
}

/// The device node of a macvtap, whose name has its number.
fn device(id: &str) -> Result<PathBuf, LaunchError> {
    let failed = |error| LaunchError::Interface(id.to_owned(), error);
    if id.is_empty() || id.contains('/') || id.starts_with('.') {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    let file = PathBuf::from(format!("/sys/class/net/{id}/ifindex"));
    let bytes = plinth::file::read(&file, 16).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes);
    let index: u32 = text.trim().parse().map_err(|_| failed(io::ErrorKind::InvalidData.into()))?;
    Ok(PathBuf::from(format!("/dev/tap{index}")))
}

/// The arguments, with device paths where their placeholders stood.
fn with_paths(
    arguments: &[OsString],
    places: &[(String, String)],
) -> Result<Vec<OsString>, LaunchError> {
    let mut arguments = arguments.to_vec();
    for (id, placeholder) in places {
        let path = device(id)?;
        for argument in &mut arguments {
            *argument = replace(argument, placeholder.as_bytes(), path.as_os_str().as_bytes());
        }
    }
    Ok(arguments)
}

/// `text` with `new` wherever `old` stood, which is not empty.
fn replace(text: &OsStr, old: &[u8], new: &[u8]) -> OsString {
    let (mut rest, mut out) = (text.as_bytes(), Vec::new());
    while let Some(at) = rest.windows(old.len()).position(|part| part == old) {
        let (before, behind) = rest.split_at(at);
        out.extend_from_slice(before);
        out.extend_from_slice(new);
        rest = behind.get(old.len()..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_everywhere_and_nothing_else() {
        let done = |text: &str| replace(OsStr::new(text), b"@TAP@", b"/dev/tap7");
        assert_eq!(done("mode=tap,tapif=@TAP@,x=@TAP@"), "mode=tap,tapif=/dev/tap7,x=/dev/tap7");
        for same in ["", "@TAP", "tap"] {
            assert_eq!(done(same), same);
        }
        let raw = OsStr::from_bytes(b"\xff@TAP@");
        assert_eq!(replace(raw, b"@TAP@", b"y").as_bytes(), b"\xffy");
    }

    #[test]
    fn a_line_is_split_at_blanks_alone() {
        let words = split(OsStr::new("  -a 'b\t*  \n"));
        assert_eq!(words, ["-a", "'b", "*"]);
        assert!(split(OsStr::new("")).is_empty());
    }

    #[test]
    fn what_is_no_interface_has_no_device() {
        for id in ["", "..", "a/b", "no-such-interface"] {
            assert!(device(id).is_err(), "{id}");
        }
    }
}
