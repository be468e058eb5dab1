// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The end of an error's way: what `main` prints, once and on one line, and exits with.
//!
//! Libraries return typed enums; only binaries build a [`Failure`]. The text names each error of
//! the chain once. A reader that went away (`stafctl ls | head`) is no failure.
//!
//! Also the way to standard output, [`print()`], and the only one to standard error: [`tell`] and
//! [`tell_text`] give up what cannot be written. The macros of the standard library panic then, in
//! the middle of what the program does.

use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::text::escape_control;

/// The tool did not do what it was asked.
pub const FAILED: u8 = 1;
/// A tool's command line was not understood.
pub const USAGE: u8 = 2;
/// A daemon's command line was not understood (`EX_USAGE` of `sysexits.h`).
pub const EX_USAGE: u8 = 64;
/// A service that is needed is missing (`EX_UNAVAILABLE`).
pub const EX_UNAVAILABLE: u8 = 69;
/// An invariant of the program itself was broken (`EX_SOFTWARE`).
pub const EX_SOFTWARE: u8 = 70;
/// The operating system refused (`EX_OSERR`).
pub const EX_OSERR: u8 = 71;
/// Reading or writing failed (`EX_IOERR`).
pub const EX_IOERR: u8 = 74;
/// Worth another try later (`EX_TEMPFAIL`).
pub const EX_TEMPFAIL: u8 = 75;
/// The caller may not do this (`EX_NOPERM`).
pub const EX_NOPERM: u8 = 77;
/// The configuration is wrong (`EX_CONFIG`); a service manager should not start again.
pub const EX_CONFIG: u8 = 78;

/// Why a program ends, and with which status.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub exit: u8,
    /// What happened.
    pub cause: Box<dyn Error>,
}

impl Failure {
    /// `cause`, to be reported with the status `exit`.
    pub fn new(exit: u8, cause: impl Into<Box<dyn Error>>) -> Self {
        Self { exit, cause: cause.into() }
    }

    /// Whether standard output (or whatever was written to) lost its reader.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        let mut next: Option<&(dyn Error + 'static)> = Some(self.cause.as_ref());
        while let Some(error) = next {
            let io = error.downcast_ref::<io::Error>();
            if io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(self.cause.as_ref()))
    }
}

impl<E: Error + 'static> From<E> for Failure {
    /// Status [`FAILED`]; say [`Failure::new`] where another one fits better.
    fn from(cause: E) -> Self {
        Self::new(FAILED, cause)
    }
}

/// The error and its sources on one line, joined by colons, control characters escaped.
///
/// A source whose text the error before it already ends with is left out.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = source.source();
    }
    escape_control(&text).into_owned()
}

/// Prints `failure` to standard error after the program's name, and gives `main` its status.
///
/// A closed pipe is success, and silent.
#[must_use]
pub fn report(program: &str, failure: &Failure) -> ExitCode {
    if failure.is_closed_pipe() {
        return ExitCode::SUCCESS;
    }
    tell(format_args!("{program}: {failure}"));
    ExitCode::from(failure.exit)
}

/// Writes a line to standard error. Where that is closed or full, nobody hears it, and all goes on.
pub fn tell(line: impl fmt::Display) {
    tell_text(&format!("{line}\n"));
}

/// Writes `text` to standard error as it is, in one piece; otherwise as [`tell`].
pub fn tell_text(text: &str) {
    // There is nobody left to say that to.
    drop(io::stderr().write_all(text.as_bytes()));
}

/// Standard output took not all of what was printed.
#[derive(Debug)]
struct PrintError(io::Error);

impl fmt::Display for PrintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot write to standard output")
    }
}

impl Error for PrintError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// Writes `bytes` to `out`, which stands for standard output, all of them.
///
/// # Errors
/// What the write ended with; a closed pipe is forgiven by [`report`].
pub fn print(out: &mut dyn io::Write, bytes: &[u8]) -> Result<(), Failure> {
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| Failure::from(PrintError(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Reading(io::Error, bool);

    impl fmt::Display for Reading {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cannot read /etc/\nx")?;
            if self.1 { write!(f, ": {}", self.0) } else { Ok(()) }
        }
    }

    impl Error for Reading {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_chain_is_one_line_and_repeats_nothing() {
        for repeats in [false, true] {
            let error = Reading(io::Error::other("no such thing"), repeats);
            assert_eq!(chain(&error), "cannot read /etc/\\nx: no such thing");
        }
    }

    #[test]
    fn a_closed_pipe_is_found_anywhere_in_the_chain() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(Failure::from(broken()).is_closed_pipe());
        assert!(Failure::from(Reading(broken(), false)).is_closed_pipe());
        assert!(!Failure::new(EX_CONFIG, "broken pipe").is_closed_pipe());
    }

    #[test]
    fn status_and_text_reach_main() {
        let failure = Failure::new(EX_CONFIG, "line 3: unknown key");
        assert_eq!((failure.exit, failure.to_string().as_str()), (78, "line 3: unknown key"));
        assert_eq!(report("x", &failure), ExitCode::from(78));
        let closed = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(report("x", &closed), ExitCode::SUCCESS);
    }
}
