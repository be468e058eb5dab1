// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command `tinybpf`.
//!
//! Owns the command line, the forms of output and the exit status of each kind of failure. What
//! commands do is the library's; one file here per family of commands. A command is a function of
//! its arguments and its [`World`]. Results go to standard output, all else to standard error.

mod about;
pub mod args;
mod btf;
mod drops;
mod features;
mod find;
mod hooks;
mod inspect;
mod links;
mod list;
mod load;
mod manifest;
mod map;
mod run;
mod running;
mod sink;
mod source;
mod stream;
mod test_run;
mod texts;
mod verify;
mod version;
mod wait;
mod words;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;

use plinth::cli::{Outcome, UsageError};
use plinth::err::{FAILED, Failure, USAGE, report, tell, tell_text};

pub use args::{Args, TINYBPF};

use crate::errno::Errno;
use crate::error::{Error, Kind, Op};
use crate::hook::HookError;

/// An input file is wrong: an object, a manifest, type information, a packet.
pub const BAD_INPUT: u8 = 3;
/// The caller may not do this.
pub const PERMISSION: u8 = 4;
/// A pin, identifier, interface, function or key does not exist.
pub const NOT_FOUND: u8 = 5;
/// This kernel cannot do this.
pub const UNSUPPORTED: u8 = 6;
/// The verifier or a relocation rejected a program.
pub const REJECTED: u8 = 7;
/// Bytes of the largest file that is read. An object of some megabytes is a large one.
const INPUT_MAX: usize = 64 << 20;

/// What a command sees of the world.
pub struct World<'a> {
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Is standard output a terminal?
    pub terminal: bool,
    /// Is `out` what the process was started with? Then it may be opened once more.
    pub is_process: bool,
    /// Called behind every action of a manifest that was carried out.
    pub after_action: &'a dyn Fn(),
}

impl World<'_> {
    /// Writes `text` to standard output, whole.
    ///
    /// # Errors
    /// What the write ended with; a closed pipe is forgiven by the caller.
    pub fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.write(text.as_bytes())
    }

    /// Writes bytes to standard output, all of them.
    ///
    /// # Errors
    /// As for [`World::print`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        plinth::err::print(self.out, bytes)
    }
}

/// The exit status for a failure of the library.
#[must_use]
pub const fn status(kind: Kind) -> u8 {
    match kind {
        Kind::NotAnObject | Kind::WrongArch | Kind::MissingBtf => BAD_INPUT,
        Kind::Permission => PERMISSION,
        Kind::NotFound | Kind::NoSuchProgram | Kind::NoSuchMap | Kind::NoSuchTarget => NOT_FOUND,
        Kind::Unsupported | Kind::NoKernelBtf => UNSUPPORTED,
        Kind::Relocation | Kind::Verifier => REJECTED,
        _ => FAILED,
    }
}

/// The failure with the status of its kind, where nobody said another one.
fn graded(mut failure: Failure) -> Failure {
    if failure.exit == FAILED {
        if let Some(error) = failure.cause.downcast_ref::<Error>() {
            failure.exit = status(error.kind());
        } else if failure.cause.is::<HookError>() || failure.cause.is::<UsageError>() {
            failure.exit = USAGE;
        }
    }
    failure
}

/// The whole of a file that the user named. Neither a pipe without a writer nor a device without an
/// end holds the command up.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::Permission`]; [`Kind::NotAnObject`] for a directory and for more
/// than [`INPUT_MAX`].
fn input(path: &Path) -> crate::error::Result<Vec<u8>> {
    plinth::file::read(path, INPUT_MAX).map_err(|error| {
        let errno = Errno(error.raw_os_error().unwrap_or(libc::EIO));
        let subject = path.display().to_string();
        let odd = |what| Error::new(Kind::NotAnObject, Op::Open, &*subject).with_detail(what);
        match error.kind() {
            io::ErrorKind::IsADirectory => odd("the file is a directory"),
            io::ErrorKind::FileTooLarge => odd("the file is too large"),
            io::ErrorKind::NotFound => {
                Error::from_errno(errno, Op::Open, &*subject).with_detail("no such file")
            }
            _ => Error::from_errno(errno, Op::Open, &*subject),
        }
    })
}

/// Tells the user something that is no error.
fn notice(args: &Args, text: &str) {
    if !args.quiet {
        tell(format_args!("tinybpf: {}", plinth::text::escape_control(text)));
    }
}

/// Runs the command line of this process, and ends it: the message on standard error, the status.
#[must_use]
pub fn main() -> ExitCode {
    let mut out = io::stdout();
    let terminal = out.is_terminal();
    let mut world = World {
        env: &|name| std::env::var_os(name),
        out: &mut out,
        terminal,
        is_process: true,
        after_action: &|| (),
    };
    match run(std::env::args_os().skip(1), &mut world) {
        Ok(status) => ExitCode::from(status),
        Err((failure, verbose)) => conclude(&failure, verbose),
    }
}

/// Prints a failure: one line, then the hint, then (`verbose`) the log.
fn conclude(failure: &Failure, verbose: u8) -> ExitCode {
    let status = report("tinybpf", failure);
    if let Some(error) = failure.cause.downcast_ref::<Error>() {
        if let Some(hint) = error.hint() {
            tell(format_args!("tinybpf: hint: {hint}"));
        }
        if let Some(log) = error.log().filter(|_| verbose > 0) {
            tell_text(&log.terminal_text());
        }
    }
    status
}

/// Carries out a command line (without the program's name); the exit status.
///
/// # Errors
/// The failure, and how curious the user is.
pub fn run(
    words: impl IntoIterator<Item = OsString>,
    world: &mut World<'_>,
) -> Result<u8, (Failure, u8)> {
    let plain = |failure| (failure, 0);
    let outcome =
        TINYBPF.parse(words, world.env).map_err(|error| plain(Failure::new(USAGE, error)))?;
    match outcome {
        Outcome::Run { command: Some(command), args } => {
            let verbose = args.verbose;
            dispatch(command, &args, world).map_err(|failure| (graded(failure), verbose))
        }
        Outcome::Run { command: None, .. } => {
            world.print(&TINYBPF.help(None)).map_err(plain)?;
            Ok(0)
        }
        Outcome::Help(text) | Outcome::Completions(text) => {
            world.print(&text).map_err(plain)?;
            Ok(0)
        }
        Outcome::Version => {
            version::version(&Args::default(), world).map_err(plain)?;
            Ok(0)
        }
    }
}

fn dispatch(command: &str, args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    match command {
        "version" => version::version(args, world),
        "inspect" => inspect::inspect(args, world),
        "load" => load::load(args, world),
        "run" => run::run(args, world),
        "events" => stream::events(args, world),
        "verify" => verify::verify(args, world),
        "test-run" => test_run::test_run(args, world),
        "stats" => running::stats(args, world),
        "iter" => running::iter(args, world),
        "log" => running::log(args, world),
        "send" => running::send(args, world),
        "headers" => about::headers(args, world),
        "completion" => about::completion(args, world),
        "man" => about::man(args, world),
        "help" => about::help(args, world),
        "btf" => btf::btf(args, world),
        "features" => features::features(args, world),
        "apply" => manifest::apply(args, world),
        "check" => manifest::check(args, world),
        "status" => manifest::status(args, world),
        "remove" => manifest::remove(args, world),
        "unload" => load::unload(args, world),
        "attach" => links::attach(args, world),
        "detach" => links::detach(args, world),
        "list" => list::list(args, world),
        "map" => map::map(args, world),
        _ => Err(Failure::new(USAGE, format!("unknown command '{command}'"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(words: &[&str]) -> (Result<u8, u8>, String) {
        let mut out = Vec::new();
        let mut world = World {
            env: &|_| None,
            out: &mut out,
            terminal: false,
            is_process: false,
            after_action: &|| (),
        };
        let words = words.iter().map(OsString::from);
        let result = run(words, &mut world).map_err(|(failure, _)| failure.exit);
        (result, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn without_a_command_there_is_help() {
        let (status, text) = output(&[]);
        assert_eq!(status, Ok(0));
        assert!(text.contains("version"), "{text}");
    }

    #[test]
    fn unknown_words_are_usage_errors() {
        assert_eq!(output(&["no-such-command"]).0, Err(USAGE));
        assert_eq!(output(&["version", "--no-such-flag"]).0, Err(USAGE));
    }

    #[test]
    fn the_version_names_what_is_inside() {
        let (status, text) = output(&["version"]);
        assert_eq!(status, Ok(0));
        assert!(text.starts_with("tinybpf ") && text.contains("\nlibbpf v1."), "{text}");
        let (status, text) = output(&["-j", "version"]);
        assert_eq!(status, Ok(0));
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn every_kind_of_failure_has_its_status() {
        for (kind, exit) in [
            (Kind::WrongArch, 3),
            (Kind::Permission, 4),
            (Kind::NoSuchTarget, 5),
            (Kind::Unsupported, 6),
            (Kind::Verifier, 7),
            (Kind::Busy, 1),
        ] {
            assert_eq!(status(kind), exit, "{kind:?}");
        }
    }
}
