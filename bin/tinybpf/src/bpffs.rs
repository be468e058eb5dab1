// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names on a bpf file system, which keep programs, maps and links alive.
//!
//! Owns the rules that the kernel states as bare error numbers: no dots in names, and nothing
//! outside a bpf file system, which is found out before anything is made. Directories are made on
//! all levels, and removed again when the pin fails.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use crate::diagnosis::permission::Refused;
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
use crate::host;
use crate::sys::program as sys;

/// `BPF_FS_MAGIC`.
const BPF_FS: i64 = 0xcafe_4a11;

/// Where a bpf file system is expected.
pub const DEFAULT: &str = "/sys/fs/bpf";

/// Whether `path` exists and lies on a bpf file system.
#[must_use]
pub fn is_bpffs(path: &Path) -> bool {
    host::file_system(path) == Some(BPF_FS)
}

/// Checks that something can be pinned at `path`; what is missing of its directories may be made.
///
/// # Errors
/// [`Kind::InvalidArgument`] for a relative path or a name with a dot, [`Kind::NotBpffs`] for
/// another file system.
pub fn check(path: &Path) -> Result<()> {
    missing(path).map(drop)
}

/// What does not exist of `path` and the directories above it, innermost first, where it could.
fn missing(path: &Path) -> Result<Vec<&Path>> {
    let error = |kind| Error::new(kind, Op::Pin, path.display().to_string());
    if !path.is_absolute() || path.file_name().is_none() {
        return Err(error(Kind::InvalidArgument).with_detail("the path of a pin is absolute"));
    }
    let (mut existing, mut missing) = (path, Vec::new());
    // One question says whether it exists and what it lies on.
    let found = loop {
        match (host::file_system(existing), existing.parent()) {
            (None, Some(parent)) => missing.push(std::mem::replace(&mut existing, parent)),
            (found, _) => break found,
        }
    };
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(error(Kind::InvalidArgument).with_detail("the path of a pin has no '..'"));
    }
    if found != Some(BPF_FS) {
        let detail = format!("'{}' is not on a bpf file system", existing.display());
        let hint = format!("mount one with: mount -t bpf bpf {DEFAULT}");
        return Err(error(Kind::NotBpffs).with_detail(detail).with_hint(hint));
    }
    let is_dotted = |it: &&Path| it.file_name().is_some_and(|name| name.as_bytes().contains(&b'.'));
    if missing.iter().any(is_dotted) {
        return Err(error(Kind::InvalidArgument).with_detail("bpffs names must not contain '.'"));
    }
    Ok(missing)
}

/// Directories that were made for a pin, removed again by the drop unless they are kept.
#[derive(Debug, Default)]
pub struct Made {
    paths: Vec<PathBuf>,
}

impl Made {
    /// Leaves the directories where they are.
    pub fn keep(mut self) {
        self.paths.clear();
    }

    /// The directories, outermost first.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.paths.iter().rev() {
            // One that somebody else uses meanwhile is not empty, and stays.
            drop(std::fs::remove_dir(path));
        }
    }
}

/// Makes `path` and what is missing above it, for the owner only.
///
/// # Errors
/// As for [`check`], and what mkdir(2) says.
pub fn make_directories(path: &Path) -> Result<Made> {
    make(&missing(path)?)
}

/// Makes directories, the last one first.
fn make(missing: &[&Path]) -> Result<Made> {
    let mut made = Made::default();
    for path in missing.iter().copied().rev() {
        match rustix::fs::mkdir(path, rustix::fs::Mode::from_raw_mode(0o700)) {
            Ok(()) => made.paths.push(path.to_owned()),
            Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => {
                let errno = Errno::from(errno);
                return Err(Error::from_errno(errno, Op::Create, path.display().to_string()));
            }
        }
    }
    Ok(made)
}

/// Gives a program, map or link a name.
///
/// # Errors
/// As for [`check`]; [`Kind::Exists`] when the name is taken; else the kernel's answer.
pub fn pin(fd: BorrowedFd<'_>, path: &Path) -> Result<()> {
    // The pin itself is the innermost.
    let made = make(missing(path)?.get(1..).unwrap_or_default())?;
    let result = sys::pin(fd, &c_path(path, Op::Pin)?);
    result.map_err(|errno| {
        let error = Error::from_errno(errno, Op::Pin, path.display().to_string());
        match errno {
            Errno::EXIST => {
                error.with_detail("the name is taken").with_hint("remove that pin first")
            }
            _ => error,
        }
    })?;
    made.keep();
    Ok(())
}

/// Removes a name.
///
/// # Errors
/// [`Kind::NotBpffs`] for a file elsewhere, which is left alone; [`Kind::NotFound`].
pub fn unpin(path: &Path) -> Result<()> {
    let subject = || path.display().to_string();
    let parent = path.parent().unwrap_or(Path::new("/"));
    if path.exists() && !is_bpffs(parent) {
        return Err(Error::new(Kind::NotBpffs, Op::Unpin, subject()));
    }
    rustix::fs::unlink(path).map_err(|errno| Error::from_errno(errno.into(), Op::Unpin, subject()))
}

/// What a descriptor of bpf(2) stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A program.
    Program,
    /// A map.
    Map,
    /// A link.
    Link,
}

impl What {
    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Map => "map",
            Self::Link => "link",
        }
    }
}

/// What the descriptor stands for; `None` when `/proc` does not tell.
#[must_use]
pub fn what_is(fd: BorrowedFd<'_>) -> Option<What> {
    use std::os::fd::AsRawFd as _;
    let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
    // Room for what is looked for; other names are cut.
    let name = rustix::fs::readlink(name, Vec::with_capacity(64)).ok()?;
    what_by(name.to_str().ok()?)
}

/// The same, by the kernel's name for what a descriptor refers to.
fn what_by(name: &str) -> Option<What> {
    match name.strip_prefix("anon_inode:")? {
        "bpf-prog" => Some(What::Program),
        "bpf-map" => Some(What::Map),
        // As it is made, and as it is opened.
        "bpf_link" | "bpf-link" => Some(What::Link),
        _ => None,
    }
}

/// Opens what is pinned at `path`, whatever it is.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::NotBpffs`] for a file elsewhere, [`Kind::InvalidArgument`] for a
/// directory; else the kernel's answer.
pub fn open(path: &Path) -> Result<OwnedFd> {
    let error = |errno| {
        let error = Error::from_errno(errno, Op::Open, path.display().to_string());
        host::explained(error, Refused::Plain)
    };
    sys::open_pin(&c_path(path, Op::Open)?).map_err(|errno| {
        let error = error(errno);
        if errno == Errno::NOENT {
            return error.with_detail("no such pin");
        }
        if path.exists() && !is_bpffs(path) {
            return error
                .with_kind(Kind::NotBpffs)
                .with_detail("the file is not on a bpf file system");
        }
        if path.is_dir() {
            return error.with_kind(Kind::InvalidArgument).with_detail("it is a directory of pins");
        }
        error
    })
}

/// Opens what is pinned at `path`, if it is what is wanted.
///
/// # Errors
/// As for [`open`]; [`Kind::Mismatch`] for something else.
pub fn open_as(path: &Path, wanted: What) -> Result<OwnedFd> {
    let fd = open(path)?;
    match what_is(fd.as_fd()) {
        Some(found) if found != wanted => {
            let detail =
                format!("the pinned object is a {}, not a {}", found.name(), wanted.name());
            Err(Error::new(Kind::Mismatch, Op::Open, path.display().to_string())
                .with_detail(detail))
        }
        _ => Ok(fd),
    }
}

/// A name that the kernel takes: dots become underscores.
#[must_use]
pub fn pin_name(name: &str) -> String {
    name.replace(['.', '/'], "_")
}

pub(crate) fn c_path(path: &Path, op: Op) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| {
        Error::new(Kind::InvalidArgument, op, path.display().to_string())
            .with_detail("the path contains a zero byte")
    })
}

/// `text` as a C string, for names in programs' and kernel's tables.
pub(crate) fn c_text(text: &str, op: Op) -> Result<CString> {
    CString::new(text).map_err(|_| {
        Error::new(Kind::InvalidArgument, op, text).with_detail("the name contains a zero byte")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_outside_are_refused_before_anything_is_made() {
        let path = std::env::temp_dir().join("tinybpf-no-such-directory/pin");
        let error = check(&path).expect_err("a temporary directory is no bpffs");
        assert_eq!(error.kind(), Kind::NotBpffs);
        assert!(error.hint().is_some_and(|hint| hint.contains("mount -t bpf")));
        assert!(!path.parent().expect("a parent").exists());
    }

    #[test]
    fn relative_paths_and_steps_back_are_refused() {
        for path in ["pin", "/", "/sys/fs/bpf/../x"] {
            let error = check(Path::new(path)).expect_err(path);
            assert_eq!(error.kind(), Kind::InvalidArgument, "{path}");
        }
    }

    #[test]
    fn descriptors_are_told_apart_by_their_names() {
        assert_eq!(what_by("anon_inode:bpf-prog"), Some(What::Program));
        assert_eq!(what_by("anon_inode:bpf-map"), Some(What::Map));
        assert_eq!(what_by("anon_inode:bpf_link"), Some(What::Link));
        assert_eq!(what_by("anon_inode:bpf-link"), Some(What::Link));
        assert_eq!(what_by("anon_inode:btf"), None);
        assert_eq!(what_by("/dev/null"), None);
    }

    #[test]
    fn descriptors_of_others_are_nothing_of_ours() {
        let file = std::fs::File::open("/proc/self/exe").expect("this program");
        assert_eq!(what_is(file.as_fd()), None);
    }

    #[test]
    fn names_lose_their_dots() {
        assert_eq!(pin_name("exec.rodata"), "exec_rodata");
    }
}
