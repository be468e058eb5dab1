// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can go wrong, by kind, operation and subject.
//!
//! Owns the form of every error of this crate: [`Kind`] is what callers branch on, [`Op`] and the
//! subject say what was tried, the error number is the kernel's and never a guess. What was found
//! out about the cause stands in the detail, what may help in the hint. Finding out is left to
//! [`crate::diagnosis`].
//!
//! Shown plainly an error is one line; shown alternatively (`{:#}`) hint and log follow.

use std::borrow::Cow;
use std::fmt;
use std::io;

use crate::diagnosis::log::Log;
use crate::errno::Errno;

/// The result of nearly everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// What sort of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A file, pin, interface, function or identifier does not exist.
    NotFound,
    /// A file is not an eBPF object, or a damaged one.
    NotAnObject,
    /// An object is for another machine or byte order.
    WrongArch,
    /// An object has no type information.
    MissingBtf,
    /// The kernel has no type information.
    NoKernelBtf,
    /// A field or type that the object needs does not exist in this kernel.
    Relocation,
    /// The kernel's verifier rejected a program.
    Verifier,
    /// The caller may not do this.
    Permission,
    /// This kernel, or this type of map or program, cannot do this.
    Unsupported,
    /// The object has no program of that name.
    NoSuchProgram,
    /// The object has no map of that name.
    NoSuchMap,
    /// What a program was to be attached to does not exist.
    NoSuchTarget,
    /// The name is taken.
    Exists,
    /// The place is taken.
    Busy,
    /// There is no room left.
    Full,
    /// Two shapes that must be equal differ.
    Mismatch,
    /// A number does not fit.
    OutOfRange,
    /// The place cannot be written.
    ReadOnly,
    /// A pin was asked for outside a bpf file system.
    NotBpffs,
    /// A bound of this crate was reached.
    Limit,
    /// Type information is malformed, or a value does not fit it.
    Type,
    /// A walk over a map never came to an end, since others changed the map.
    IterationAborted,
    /// There is nothing to work on.
    Empty,
    /// The caller asked for something that makes no sense.
    InvalidArgument,
    /// A signal arrived.
    Interrupted,
    /// Anything else.
    Other,
}

impl Kind {
    /// The kind as a phrase, where nothing better is known.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::NotAnObject => "not an eBPF object",
            Self::WrongArch => "for another machine",
            Self::MissingBtf => "no type information",
            Self::NoKernelBtf => "the kernel has no type information",
            Self::Relocation => "relocation failed",
            Self::Verifier => "rejected by the verifier",
            Self::Permission => "not permitted",
            Self::Unsupported => "not supported",
            Self::NoSuchProgram => "no such program",
            Self::NoSuchMap => "no such map",
            Self::NoSuchTarget => "no such target",
            Self::Exists => "exists already",
            Self::Busy => "busy",
            Self::Full => "full",
            Self::Mismatch => "mismatch",
            Self::OutOfRange => "out of range",
            Self::ReadOnly => "read-only",
            Self::NotBpffs => "not on a bpf file system",
            Self::Limit => "limit reached",
            Self::Type => "wrong type",
            Self::IterationAborted => "the map changed too often to be walked",
            Self::Empty => "nothing to do",
            Self::InvalidArgument => "invalid argument",
            Self::Interrupted => "interrupted",
            Self::Other => "failed",
        }
    }

    /// The kind that an error number usually stands for; callers that know better say so.
    #[must_use]
    pub const fn of(errno: Errno) -> Self {
        match errno.0 {
            libc::ENOENT | libc::ENODEV | libc::ENXIO => Self::NotFound,
            libc::EPERM | libc::EACCES => Self::Permission,
            libc::EEXIST => Self::Exists,
            libc::EBUSY => Self::Busy,
            libc::E2BIG | libc::ENOSPC => Self::Full,
            libc::EINTR => Self::Interrupted,
            libc::EROFS => Self::ReadOnly,
            libc::EINVAL => Self::InvalidArgument,
            libc::ENOSYS | libc::EOPNOTSUPP | 524 => Self::Unsupported,
            libc::EMFILE | libc::ENFILE | libc::ENOMEM => Self::Limit,
            4000 | 4001 => Self::NotAnObject,
            4003 => Self::WrongArch,
            4005 => Self::Relocation,
            4006 => Self::Verifier,
            _ => Self::Other,
        }
    }
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the verb it is shown as")]
pub enum Op {
    Attach,
    Check,
    Create,
    Decode,
    Delete,
    Detach,
    Encode,
    Find,
    Freeze,
    Info,
    Iterate,
    List,
    Load,
    Lookup,
    Mount,
    Open,
    Parse,
    Pin,
    Poll,
    Probe,
    Read,
    Reuse,
    Set,
    TestRun,
    Unpin,
    Update,
    Write,
}

impl Op {
    /// The verb that opens the message.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::Check => "check",
            Self::Create => "create",
            Self::Decode => "decode",
            Self::Delete => "delete",
            Self::Detach => "detach",
            Self::Encode => "encode",
            Self::Find => "find",
            Self::Freeze => "freeze",
            Self::Info => "query",
            Self::Iterate => "walk",
            Self::List => "list",
            Self::Load => "load",
            Self::Lookup => "look up",
            Self::Mount => "mount",
            Self::Open => "open",
            Self::Parse => "parse",
            Self::Pin => "pin",
            Self::Poll => "poll",
            Self::Probe => "probe",
            Self::Read => "read",
            Self::Reuse => "reuse",
            Self::Set => "set",
            Self::TestRun => "test-run",
            Self::Unpin => "unpin",
            Self::Update => "update",
            Self::Write => "write",
        }
    }
}

/// Why an operation failed.
///
/// `load 'x.bpf.o': program 'f' rejected at instruction 1 (x.bpf.c:4): EACCES (Permission denied)`.
#[derive(Debug)]
pub struct Error(Box<Repr>);

#[derive(Debug)]
struct Repr {
    kind: Kind,
    op: Op,
    subject: String,
    errno: Option<Errno>,
    detail: Option<Cow<'static, str>>,
    hint: Option<Cow<'static, str>>,
    log: Option<Log>,
    undo: Vec<Error>,
}

impl Error {
    /// An error of `kind` in `op` on `subject`, which is shown in quotes; it may be empty.
    pub fn new(kind: Kind, op: Op, subject: impl Into<String>) -> Self {
        Self(Box::new(Repr {
            kind,
            op,
            subject: subject.into(),
            errno: None,
            detail: None,
            hint: None,
            log: None,
            undo: Vec::new(),
        }))
    }

    /// An error whose kind is what `errno` usually means.
    pub fn from_errno(errno: Errno, op: Op, subject: impl Into<String>) -> Self {
        Self::new(Kind::of(errno), op, subject).with_errno(errno)
    }

    /// The same, of another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The same, with the kernel's number.
    #[must_use]
    pub fn with_errno(mut self, errno: Errno) -> Self {
        self.0.errno = Some(errno);
        self
    }

    /// The same, with what was found out: a phrase without full stop, in place of the kind's.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// The same, with advice: a phrase without full stop.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same, with what libbpf and the verifier wrote. An empty log is none.
    #[must_use]
    pub fn with_log(mut self, log: Log) -> Self {
        self.0.log = (!log.is_empty()).then_some(log);
        self
    }

    /// The same, with a failure to undo what had been done before.
    #[must_use]
    pub fn with_undo(mut self, undo: Self) -> Self {
        self.0.undo.push(undo);
        self
    }

    /// What sort of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What was tried.
    #[must_use]
    pub fn op(&self) -> Op {
        self.0.op
    }

    /// What it was tried on.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The number that the kernel or libbpf answered with.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        self.0.errno
    }

    /// What was found out about the cause.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// What may help.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// What libbpf and the verifier wrote.
    #[must_use]
    pub fn log(&self) -> Option<&Log> {
        self.0.log.as_ref()
    }

    /// What could not be undone afterwards.
    #[must_use]
    pub fn undo(&self) -> &[Self] {
        &self.0.undo
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repr { kind, op, subject, errno, detail, hint, log, undo } = &*self.0;
        f.write_str(op.verb())?;
        if !subject.is_empty() {
            write!(f, " '{subject}'")?;
        }
        match (detail.as_ref().filter(|it| !it.is_empty()), errno) {
            (Some(detail), Some(errno)) => write!(f, ": {detail}: {errno}")?,
            (Some(detail), None) => write!(f, ": {detail}")?,
            (None, Some(errno)) => write!(f, ": {errno}")?,
            (None, None) => write!(f, ": {}", kind.phrase())?,
        }
        for undo in undo {
            write!(f, "; and then {undo}")?;
        }
        if !f.alternate() {
            return Ok(());
        }
        if let Some(hint) = hint {
            write!(f, "\nhint: {hint}")?;
        }
        if let Some(log) = log {
            write!(f, "\n{}", log.terminal_text().trim_end())?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    /// Keeps the kernel's number; numbers that libbpf made up become text.
    fn from(error: Error) -> Self {
        match error.errno() {
            Some(Errno(errno)) if errno < 4000 => Self::from_raw_os_error(errno),
            _ => Self::other(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_names_operation_subject_cause_and_number() {
        let error = Error::from_errno(Errno::ACCES, Op::Load, "x.bpf.o")
            .with_kind(Kind::Verifier)
            .with_detail("program 'f' rejected by the verifier")
            .with_hint("read the log");
        assert_eq!(
            error.to_string(),
            "load 'x.bpf.o': program 'f' rejected by the verifier: EACCES (Permission denied)"
        );
        assert_eq!(format!("{error:#}").lines().nth(1), Some("hint: read the log"));
    }

    #[test]
    fn without_anything_known_the_kind_speaks() {
        let error = Error::new(Kind::Empty, Op::Poll, "");
        assert_eq!(error.to_string(), "poll: nothing to do");
        // What somebody looked for and did not find leaves no gap.
        let error = Error::from_errno(Errno::INVAL, Op::Attach, "p").with_detail("");
        assert_eq!(error.to_string(), "attach 'p': EINVAL (Invalid argument)");
    }

    #[test]
    fn the_log_follows_on_demand_and_without_control_characters() {
        let log = Log::from_lines(["libbpf: one\x1b[2J\n".to_owned()]);
        let error = Error::new(Kind::Other, Op::Load, "x").with_log(log);
        assert_eq!(error.to_string(), "load 'x': failed");
        assert_eq!(format!("{error:#}"), "load 'x': failed\nlibbpf: one\\u{1b}[2J");
    }

    #[test]
    fn a_failed_undo_is_added_and_not_substituted() {
        let undo = Error::from_errno(Errno::BUSY, Op::Unpin, "/a");
        let error = Error::from_errno(Errno::NOSPC, Op::Pin, "/b").with_undo(undo);
        assert_eq!(error.kind(), Kind::Full);
        let text = error.to_string();
        assert!(text.contains("ENOSPC") && text.contains("; and then unpin '/a': EBUSY"), "{text}");
    }

    #[test]
    fn the_systems_error_type_keeps_the_number() {
        let plain = io::Error::from(Error::from_errno(Errno::NOENT, Op::Open, "x"));
        assert_eq!(plain.raw_os_error(), Some(libc::ENOENT));
        let ours = io::Error::from(Error::from_errno(Errno::FORMAT, Op::Open, "x"));
        assert_eq!(ours.raw_os_error(), None);
        assert!(ours.to_string().contains("not a valid eBPF object"), "{ours}");
    }

    #[test]
    fn numbers_have_usual_kinds() {
        for (errno, kind) in [
            (Errno::NOENT, Kind::NotFound),
            (Errno::PERM, Kind::Permission),
            (Errno::TOO_BIG, Kind::Full),
            (Errno::NOTSUPP, Kind::Unsupported),
            (Errno::FORMAT, Kind::NotAnObject),
            (Errno(71), Kind::Other),
        ] {
            assert_eq!(Kind::of(errno), kind, "{errno}");
        }
    }
}
