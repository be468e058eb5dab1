// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where log lines go: the backend of the `log` facade.
//!
//! Owns the choice of the place ([`Target`]), lines written before a place exists, the counting of
//! repeated lines, and the protocols of the journal, syslog, the kernel's buffer and streams. What
//! is worth a line is decided where the macros are called. A line is delivered at most once;
//! writing one never blocks on the journal or syslog, and lines that they do not take in time are
//! counted.
//!
//! Key-values become fields of the journal: `info!(controller = tid.as_str(); "...")` gives
//! `CONTROLLER=`. Levels map to syslog's as error 3, warning 4, information 6, debug 7.
//!
//! Standards: systemd's native journal protocol, sd-daemon(3) prefixes, syslog(3), RFC 3164
//! priorities.

mod journal;
mod kmsg;
mod places;
mod repeat;
mod router;
mod stream;
mod syslog;

use std::fmt::Write as _;
use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use ::log::kv::{Key, Value, VisitSource};
use ::log::{LevelFilter, Log, Metadata};

pub use journal::Journal;
pub use kmsg::Kmsg;
pub use places::{Paths, Places, System};
pub use router::Router;
pub use stream::{Form, Stream};
pub use syslog::Syslog;

pub use ::log::Level;

use crate::time::Time;

/// The longest text of a line, in bytes; what is longer is cut.
pub const TEXT_MAX: usize = 16 << 10;

/// The most fields of one line; further ones are dropped.
pub const FIELDS_MAX: usize = 16;

/// Where lines shall go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// To the journal when standard error leads there anyway, else to standard error.
    #[default]
    Auto,
    /// To standard error.
    Stderr,
    /// To standard output.
    Stdout,
    /// To the journal, else to `/dev/log`, else in an initramfs to `/dev/kmsg`, else to standard
    /// error.
    Syslog,
    /// To the kernel's buffer, else to standard error.
    Kmsg,
}

/// How to log.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program's name, which marks its lines.
    pub program: String,
    /// Where to.
    pub target: Target,
    /// Up to which level.
    pub level: LevelFilter,
    /// The value of the environment variable `JOURNAL_STREAM` (systemd.exec(5)).
    pub journal_stream: Option<String>,
}

/// One line, on its way to a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How important it is.
    pub level: Level,
    /// What it says; may hold newlines.
    pub text: String,
    /// What it is about: names as given, such as `device`, with their values.
    pub fields: Vec<(String, String)>,
}

impl Line {
    /// A line without fields.
    #[must_use]
    pub fn new(level: Level, text: impl Into<String>) -> Self {
        Self { level, text: text.into(), fields: Vec::new() }
    }

    /// The severity in syslog's numbering.
    #[must_use]
    pub const fn severity(&self) -> u8 {
        match self.level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        }
    }

    /// The priority of syslog: the severity within the facility `daemon`.
    #[must_use]
    pub const fn priority(&self) -> u8 {
        3 << 3 | self.severity()
    }
}

/// A place that takes lines.
pub trait Sink: Send {
    /// Delivers one line, without blocking where the place can be slow.
    ///
    /// # Errors
    /// `WouldBlock` when the place is there but takes nothing now: the line is given up. Any other
    /// error means that the place is gone.
    fn write(&mut self, line: &Line) -> io::Result<()>;
}

/// The process has a logger already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadySet;

impl std::fmt::Display for AlreadySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the log was set up before")
    }
}

impl std::error::Error for AlreadySet {}

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger(Mutex<Router<System>>);

impl Logger {
    fn lock(&self) -> MutexGuard<'_, Router<System>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects the `log` macros with the place that `options` name. Works once in a process.
///
/// # Errors
/// [`AlreadySet`] on the second call.
pub fn init(options: &Options) -> Result<(), AlreadySet> {
    let system = System::new(&options.program, Paths::default(), options.journal_stream.as_deref());
    let router = Router::new(Time::monotonic(), options.target, system);
    let mut fresh = false;
    let logger = LOGGER.get_or_init(|| {
        fresh = true;
        Logger(Mutex::new(router))
    });
    if !fresh || ::log::set_logger(logger).is_err() {
        return Err(AlreadySet);
    }
    set_level(options.level);
    Ok(())
}

/// Changes what is logged, from the next line on.
pub fn set_level(level: LevelFilter) {
    ::log::set_max_level(level);
}

/// Does what is due: looks for a place that was missing, reports repeated lines. Returns when to
/// come back, or `None` when nothing is pending. The loop calls it once per turn.
pub fn tick(now: Time) -> Option<Time> {
    LOGGER.get().and_then(|logger| logger.lock().tick(now))
}

/// Delivers whatever is still held, to standard error if need be. The last call of `main`.
pub fn finish() {
    if let Some(logger) = LOGGER.get() {
        logger.lock().finish(Time::monotonic());
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= ::log::max_level()
    }

    fn log(&self, record: &::log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = line_of(record);
        self.lock().log(Time::monotonic(), line);
    }

    fn flush(&self) {
        self.lock().tick(Time::monotonic());
    }
}

fn line_of(record: &::log::Record<'_>) -> Line {
    let mut fields = Fields(Vec::new());
    drop(record.key_values().visit(&mut fields)); // the visitor refuses nothing
    Line { level: record.level(), text: cut(record.args().to_string()), fields: fields.0 }
}

/// Shortens `text` to [`TEXT_MAX`] bytes at a character's border, and marks that.
fn cut(mut text: String) -> String {
    const MARK: &str = "...";
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX - MARK.len()).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(0));
        text.push_str(MARK);
    }
    text
}

struct Fields(Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), ::log::kv::Error> {
        if self.0.len() < FIELDS_MAX {
            let mut text = String::new();
            // Writing to a string cannot fail.
            let _ = write!(text, "{value}");
            self.0.push((key.as_str().to_owned(), cut(text)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_lines_with_fields() {
        let pairs = [("controller", "(tcp, 192.0.2.1)"), ("device", "nvme0")];
        let record = ::log::Record::builder()
            .args(format_args!("connection established"))
            .level(Level::Warn)
            .key_values(&pairs)
            .build();
        let line = line_of(&record);
        let fields = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let expected = Line { level: Level::Warn, text: "connection established".into(), fields };
        assert_eq!(line, expected);
        assert_eq!((line.severity(), line.priority()), (4, 28));
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(cut("a".repeat(TEXT_MAX)).len(), TEXT_MAX);
        let text = cut("ß".repeat(TEXT_MAX));
        assert!(text.ends_with("ß..."));
        assert!((TEXT_MAX - 1..=TEXT_MAX).contains(&text.len()));
    }

    #[test]
    fn fields_are_bounded() {
        let pairs: Vec<(String, u32)> = (0..100).map(|n| (format!("k{n}"), n)).collect();
        let record = ::log::Record::builder().key_values(&pairs).build();
        assert_eq!(line_of(&record).fields.len(), FIELDS_MAX);
    }

    /// Runs in a process of its own, where it owns the logger; see the next test.
    #[test]
    fn child_logs_to_standard_error() {
        if std::env::var_os("PLINTH_LOG_CHILD").is_none() {
            return; // not the child
        }
        let options = Options {
            program: "child".to_owned(),
            target: Target::Stderr,
            level: LevelFilter::Info,
            journal_stream: None,
        };
        assert_eq!(init(&options), Ok(()));
        assert_eq!(init(&options), Err(AlreadySet));
        ::log::info!(device = "nvme0"; "one");
        ::log::debug!("hidden");
        set_level(LevelFilter::Debug);
        ::log::debug!("two");
        ::log::warn!("three");
        ::log::warn!("three");
        assert!(tick(Time::monotonic()).is_some(), "a repetition is pending");
        finish();
        assert_eq!(tick(Time::monotonic()), None);
    }

    #[test]
    fn the_macros_reach_standard_error_at_the_level_in_force() {
        let output = std::process::Command::new(std::env::current_exe().expect("our path"))
            .args(["--exact", "log::tests::child_logs_to_standard_error", "--nocapture"])
            .env("PLINTH_LOG_CHILD", "1")
            .output()
            .expect("we run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("child: ")).collect();
        let expected =
            ["child: one", "child: two", "child: three", "child: three (repeated once more)"];
        assert_eq!(lines, expected);
    }
}
