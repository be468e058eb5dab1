// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Error numbers, with the two ranges that the C library has no words for.
//!
//! Owns names and texts of what bpf(2) and libbpf answer, the kernel's own 524 among them
//! (`ENOTSUPP`, which never was meant to leave it) and libbpf's 4000 to 4012 (`libbpf_legacy.h`).
//! Numbers are positive.

use std::fmt;
use std::io;

/// An error number of the kernel or of libbpf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

/// The first number that libbpf made up.
const LIBBPF_FIRST: i32 = 4000;

/// What libbpf calls its numbers, from [`LIBBPF_FIRST`] on, and what they mean.
const LIBBPF: [(&str, &str); 13] = [
    ("LIBELF", "libelf could not read the object"),
    ("FORMAT", "not a valid eBPF object"),
    ("KVERSION", "the 'version' section is wrong or missing"),
    ("ENDIAN", "the object has the other byte order"),
    ("INTERNAL", "internal error of libbpf"),
    ("RELOC", "a relocation failed"),
    ("VERIFY", "the kernel's verifier rejected a program"),
    ("PROG2BIG", "a program is too big"),
    ("KVER", "the object is for another kernel version"),
    ("PROGTYPE", "the kernel does not support this program type"),
    ("WRNGPID", "a netlink answer was for somebody else"),
    ("INVSEQ", "a netlink answer was out of sequence"),
    ("NLPARSE", "a netlink answer could not be read"),
];

impl Errno {
    /// Operation not permitted.
    pub const PERM: Self = Self(libc::EPERM);
    /// No such file, element or function.
    pub const NOENT: Self = Self(libc::ENOENT);
    /// No such process; also: no such function to trace.
    pub const SRCH: Self = Self(libc::ESRCH);
    /// A wait was interrupted by a signal.
    pub const INTR: Self = Self(libc::EINTR);
    /// An argument is too big; also: a map is full.
    pub const TOO_BIG: Self = Self(libc::E2BIG);
    /// Not a descriptor, or not of the right kind.
    pub const BADF: Self = Self(libc::EBADF);
    /// Try again.
    pub const AGAIN: Self = Self(libc::EAGAIN);
    /// Access denied; from a load: the verifier said no.
    pub const ACCES: Self = Self(libc::EACCES);
    /// Taken.
    pub const BUSY: Self = Self(libc::EBUSY);
    /// Exists already.
    pub const EXIST: Self = Self(libc::EEXIST);
    /// No such device.
    pub const NODEV: Self = Self(libc::ENODEV);
    /// Not a directory.
    pub const NOTDIR: Self = Self(libc::ENOTDIR);
    /// Is a directory.
    pub const ISDIR: Self = Self(libc::EISDIR);
    /// An argument is wrong; the kernel's answer to most mistakes.
    pub const INVAL: Self = Self(libc::EINVAL);
    /// No space, in a buffer or a queue.
    pub const NOSPC: Self = Self(libc::ENOSPC);
    /// The system call does not exist.
    pub const NOSYS: Self = Self(libc::ENOSYS);
    /// Operation not supported.
    pub const OPNOTSUPP: Self = Self(libc::EOPNOTSUPP);
    /// The kernel's internal "not supported", which leaks out of bpf(2).
    pub const NOTSUPP: Self = Self(524);
    /// libbpf: libelf could not read the object.
    pub const LIBELF: Self = Self(4000);
    /// libbpf: not a valid eBPF object.
    pub const FORMAT: Self = Self(4001);
    /// libbpf: the other byte order.
    pub const ENDIAN: Self = Self(4003);
    /// libbpf: a relocation failed.
    pub const RELOC: Self = Self(4005);

    /// The number's name, such as `EPERM`; `None` for one that is not known here.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        if self == Self::NOTSUPP {
            return Some("ENOTSUPP");
        }
        if let Some((name, _)) = self.libbpf() {
            return Some(name);
        }
        NAMES.iter().find(|(number, _)| *number == self.0).map(|(_, name)| *name)
    }

    /// What the number means, in the system's words.
    #[must_use]
    pub fn text(self) -> String {
        if self == Self::NOTSUPP {
            return "operation not supported by the kernel for this type".to_owned();
        }
        if let Some((_, text)) = self.libbpf() {
            return text.to_owned();
        }
        let text = io::Error::from_raw_os_error(self.0).to_string();
        text.split(" (os error").next().unwrap_or_default().to_owned()
    }

    fn libbpf(self) -> Option<(&'static str, &'static str)> {
        let index = usize::try_from(self.0.checked_sub(LIBBPF_FIRST)?).ok()?;
        LIBBPF.get(index).copied()
    }
}

impl fmt::Display for Errno {
    /// `EPERM (Operation not permitted)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.text()),
            None => write!(f, "error {} ({})", self.0, self.text()),
        }
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

/// Names of the numbers that files, sockets and bpf(2) answer with.
const NAMES: &[(i32, &str)] = &[
    (libc::EPERM, "EPERM"),
    (libc::ENOENT, "ENOENT"),
    (libc::ESRCH, "ESRCH"),
    (libc::EINTR, "EINTR"),
    (libc::EIO, "EIO"),
    (libc::ENXIO, "ENXIO"),
    (libc::E2BIG, "E2BIG"),
    (libc::ENOEXEC, "ENOEXEC"),
    (libc::EBADF, "EBADF"),
    (libc::ECHILD, "ECHILD"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::EACCES, "EACCES"),
    (libc::EFAULT, "EFAULT"),
    (libc::EBUSY, "EBUSY"),
    (libc::EEXIST, "EEXIST"),
    (libc::EXDEV, "EXDEV"),
    (libc::ENODEV, "ENODEV"),
    (libc::ENOTDIR, "ENOTDIR"),
    (libc::EISDIR, "EISDIR"),
    (libc::EINVAL, "EINVAL"),
    (libc::ENFILE, "ENFILE"),
    (libc::EMFILE, "EMFILE"),
    (libc::ENOTTY, "ENOTTY"),
    (libc::EFBIG, "EFBIG"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::EROFS, "EROFS"),
    (libc::EPIPE, "EPIPE"),
    (libc::EDOM, "EDOM"),
    (libc::ERANGE, "ERANGE"),
    (libc::ENAMETOOLONG, "ENAMETOOLONG"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::ENOTEMPTY, "ENOTEMPTY"),
    (libc::ELOOP, "ELOOP"),
    (libc::ENODATA, "ENODATA"),
    (libc::ENOLINK, "ENOLINK"),
    (libc::EPROTO, "EPROTO"),
    (libc::EBADMSG, "EBADMSG"),
    (libc::EOVERFLOW, "EOVERFLOW"),
    (libc::EILSEQ, "EILSEQ"),
    (libc::EMSGSIZE, "EMSGSIZE"),
    (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::EADDRINUSE, "EADDRINUSE"),
    (libc::ENETDOWN, "ENETDOWN"),
    (libc::ENOBUFS, "ENOBUFS"),
    (libc::EISCONN, "EISCONN"),
    (libc::ENOTCONN, "ENOTCONN"),
    (libc::ETIMEDOUT, "ETIMEDOUT"),
    (libc::EALREADY, "EALREADY"),
    (libc::EINPROGRESS, "EINPROGRESS"),
    (libc::ESTALE, "ESTALE"),
    (libc::EDQUOT, "EDQUOT"),
    (libc::ECANCELED, "ECANCELED"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_has_names_and_words() {
        for (number, text) in [
            (1, "EPERM (Operation not permitted)"),
            (95, "EOPNOTSUPP (Operation not supported)"),
            (524, "ENOTSUPP (operation not supported by the kernel for this type)"),
            (4003, "ENDIAN (the object has the other byte order)"),
        ] {
            assert_eq!(Errno(number).to_string(), text);
        }
    }

    #[test]
    fn unknown_numbers_are_shown_as_numbers() {
        assert_eq!(Errno(4013).to_string(), "error 4013 (Unknown error 4013)");
        assert_eq!(Errno(-5).name(), None);
        assert_eq!(Errno(i32::MIN).name(), None);
    }
}
