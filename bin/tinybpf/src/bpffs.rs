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
    let error = |kind| Error::new(kind, Op::Pin, path.display().to_string());
    if !path.is_absolute() || path.file_name().is_none() {
        return Err(error(Kind::InvalidArgument).with_detail("the path of a pin is absolute"));
    }
    let mut existing = path;
    let mut dotted = false;
    while !existing.exists() {
        dotted |= existing.file_name().is_some_and(|name| name.as_bytes().contains(&b'.'));
        existing = existing.parent().unwrap_or(Path::new("/"));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(error(Kind::InvalidArgument).with_detail("the path of a pin has no '..'"));
    }
    if !is_bpffs(existing) {
        let detail = format!("'{}' is not on a bpf file system", existing.display());
        let hint = format!("mount one with: mount -t bpf bpf {DEFAULT}");
        return Err(error(Kind::NotBpffs).with_detail(detail).with_hint(hint));
    }
    if dotted {
        return Err(error(Kind::InvalidArgument).with_detail("bpffs names must not contain '.'"));
    }
    Ok(())
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
    check(path)?;
    let mut missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    missing.reverse();
    let mut made = Made::default();
    for path in missing {
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
    check(path)?;
    let made = match path.parent() {
        Some(parent) if !parent.exists() => make_directories(parent)?,
        _ => Made::default(),
    };
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
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    what_in(&text)
}

/// The same, from the text of fdinfo.
fn what_in(text: &str) -> Option<What> {
    text.lines().find_map(|line| match line.split_once(':')?.0 {
        "prog_type" => Some(What::Program),
        "map_type" => Some(What::Map),
        "link_type" => Some(What::Link),
        _ => None,
    })
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
    fn descriptors_are_told_apart_by_their_info() {
        assert_eq!(what_in("pos:\t0\nprog_type:\t6\n"), Some(What::Program));
        assert_eq!(what_in("map_type:\t1\n"), Some(What::Map));
        assert_eq!(what_in("link_type:\txdp\nlink_id:\t3\nprog_tag:\t0\n"), Some(What::Link));
        assert_eq!(what_in("pos:\t0\nflags:\t02\n"), None);
    }

    #[test]
    fn names_lose_their_dots() {
        assert_eq!(pin_name("exec.rodata"), "exec_rodata");
    }
}
