// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files under an injected root, read with limits; atomic replacement; locks.
//!
//! Programs name files by their usual absolute paths and go through a [`Root`], so that tests put a
//! directory of their own in its place. Everything read is bounded. Nothing here blocks on a FIFO
//! or a terminal that stands where a file was expected.

mod lock;
mod replace;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

pub use lock::Lock;
pub use replace::{put_atomic, replace_atomic};

/// The most that [`Root::read_bytes`] and [`Root::read_text`] read, in bytes.
pub const READ_MAX: usize = 4 << 20;

/// The most names that [`Root::list`] returns.
pub const LIST_MAX: usize = 1 << 16;

/// The directory that stands for `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    at: PathBuf,
}

impl Default for Root {
    fn default() -> Self {
        Self::system()
    }
}

impl Root {
    /// The system's own root.
    #[must_use]
    pub fn system() -> Self {
        Self { at: PathBuf::from("/") }
    }

    /// The directory `path` in place of the root. Symbolic links inside it still lead wherever they
    /// say: this is for tests, not for confinement.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { at: path.into() }
    }

    /// Where the file of this absolute path really is. `..` does not climb above the root.
    #[must_use]
    pub fn join(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let mut below: Vec<OsString> = Vec::new();
        for component in absolute.as_ref().components() {
            match component {
                Component::Normal(name) => below.push(name.to_owned()),
                Component::ParentDir => drop(below.pop()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        let mut path = self.at.clone();
        path.extend(below);
        path
    }

    /// Whether something of this name exists, a dangling symbolic link not included.
    #[must_use]
    pub fn exists(&self, absolute: impl AsRef<Path>) -> bool {
        self.join(absolute).exists()
    }

    /// The whole content of a file of at most [`READ_MAX`] bytes.
    ///
    /// # Errors
    /// `FileTooLarge` beyond the limit; else what open(2) and read(2) say.
    pub fn read_bytes(&self, absolute: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        read(&self.join(absolute), READ_MAX)
    }

    /// The whole content of a text file of at most [`READ_MAX`] bytes.
    ///
    /// # Errors
    /// `InvalidData` when it is not UTF-8; else as for [`Root::read_bytes`].
    pub fn read_text(&self, absolute: impl AsRef<Path>) -> io::Result<String> {
        let bytes = self.read_bytes(absolute)?;
        String::from_utf8(bytes).map_err(|_| io::Error::new(ErrorKind::InvalidData, "not UTF-8"))
    }

    /// The names in a directory, sorted by their bytes; those that are not UTF-8 are left out.
    ///
    /// # Errors
    /// `FileTooLarge` with more than [`LIST_MAX`] names; else what opendir(3) and readdir(3) say.
    pub fn list(&self, absolute: impl AsRef<Path>) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.join(absolute))? {
            if names.len() >= LIST_MAX {
                return Err(too_large());
            }
            names.extend(entry?.file_name().into_string());
        }
        crate::sorting::sort(&mut names);
        Ok(names)
    }
}

/// The whole content of the file at `path`, which must not have more than `max` bytes.
///
/// # Errors
/// `FileTooLarge` beyond the limit; else what open(2) and read(2) say.
pub fn read(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::from_ne_bytes(flags.bits().to_ne_bytes());
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file of just that size from a longer one.
    let count = file.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if count > max { Err(too_large()) } else { Ok(bytes) }
}

fn too_large() -> io::Error {
    io::Error::from(ErrorKind::FileTooLarge)
}

#[cfg(test)]
mod tests;
