// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packages on disk.
//!
//! A package is written beside its place under a name of its own, synchronised, and renamed. So a
//! reader sees the old one or the new one; a power cut leaves at most a directory that nobody
//! refers to, and the next write of the same package removes it.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::tree::{Entry, RUNNER, Tree};

/// The most that is read of one file of a package.
const FILE_MAX: usize = 64 << 20;
/// The most files of a package.
const FILES_MAX: usize = 4096;

/// Where a package is, or goes.
#[derive(Clone, Debug)]
pub struct Place(pub PathBuf);

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The same package was there; nothing was written.
    Unchanged,
    /// It is there now.
    New,
}

/// Why a package could not be read or written.
#[derive(Debug)]
pub enum StoreError {
    /// Something else is in the place.
    Taken(PathBuf),
    /// A package is there, and has another content.
    Differs(PathBuf),
    /// More files than a package has.
    TooMany(PathBuf),
    /// An operation on a file failed.
    Io(&'static str, PathBuf, io::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(path) => {
                write!(f, "{} exists and is not a runner package", path.display())
            }
            Self::Differs(path) => {
                write!(f, "{} holds another package; --force replaces it", path.display())
            }
            Self::TooMany(path) => write!(f, "{} has too many files", path.display()),
            Self::Io(what, path, _) => write!(f, "cannot {what} {}", path.display()),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(_, _, error) => Some(error),
            _ => None,
        }
    }
}

/// Makes an error of `what` on `path`.
fn failed<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StoreError + 'a {
    move |error| StoreError::Io(what, path.to_owned(), error)
}

impl Place {
    /// Reads the package.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(&self) -> Result<Tree, StoreError> {
        let mut tree = Tree::default();
        let mut count = 0;
        self.collect(Path::new(""), &mut tree, &mut count)?;
        if tree.get(RUNNER).is_none() {
            return Err(StoreError::Taken(self.0.clone()));
        }
        Ok(tree)
    }

    fn collect(&self, at: &Path, tree: &mut Tree, count: &mut usize) -> Result<(), StoreError> {
        let dir = self.0.join(at);
        for entry in fs::read_dir(&dir).map_err(failed("read", &dir))? {
            let entry = entry.map_err(failed("read", &dir))?;
            *count += 1;
            let (path, inner) = (entry.path(), at.join(entry.file_name()));
            let kind = entry.file_type().map_err(failed("read", &path))?;
            let Some(name) = inner.to_str().filter(|_| *count <= FILES_MAX) else {
                return Err(StoreError::TooMany(self.0.clone()));
            };
            if kind.is_dir() {
                self.collect(&inner, tree, count)?;
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).map_err(failed("read", &path))?;
                tree.put(name, Entry::Link(target.to_string_lossy().into_owned()));
            } else {
                let bytes = plinth::file::read(&path, FILE_MAX).map_err(failed("read", &path))?;
                let mode = entry.metadata().map_err(failed("read", &path))?.permissions().mode();
                let make = if mode & 0o100 == 0 { Entry::Data } else { Entry::Program };
                tree.put(name, make(bytes));
            }
        }
        Ok(())
    }

    /// Writes the package: whole, or not at all.
    ///
    /// What is in the place and is no package is never touched.
    ///
    /// # Errors
    /// Another package is there and `force` is not given; something else is there; the system
    /// refused.
    pub fn write(&self, tree: &Tree, force: bool) -> Result<Written, StoreError> {
        let there = match fs::symlink_metadata(&self.0) {
            Ok(_) => Some(self.read()?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("look at", &self.0)(error)),
        };
        if there.as_ref() == Some(tree) {
            return Ok(Written::Unchanged);
        }
        if there.is_some() && !force {
            return Err(StoreError::Differs(self.0.clone()));
        }
        let made = self.beside(&format!("tmp-{}", tree.hash().directory()));
        remove(&made)?;
        fill(&made, tree)?;
        if there.is_some() {
            let old = self.beside(&format!("old-{}", tree.hash().directory()));
            remove(&old)?;
            rename(&self.0, &old)?;
            rename(&made, &self.0)?;
            remove(&old)?;
        } else {
            rename(&made, &self.0)?;
        }
        if let Some(parent) = self.0.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync(parent)?;
        }
        Ok(Written::New)
    }

    /// A path in the same directory.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.0.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(suffix);
        self.0.with_file_name(name)
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(failed("rename", from))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn sync(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("synchronise", dir))
}

/// Makes the directory `at` with everything in it, on stable storage.
fn fill(at: &Path, tree: &Tree) -> Result<(), StoreError> {
    let mut dirs = vec![at.to_owned()];
    fs::create_dir_all(at).map_err(failed("create", at))?;
    for (name, entry) in tree.iter() {
        let path = at.join(name);
        let dir = path.parent().unwrap_or(at);
        if dirs.last().is_none_or(|last| last != dir) {
            fs::create_dir_all(dir).map_err(failed("create", dir))?;
            dirs.push(dir.to_owned());
        }
        match entry {
            Entry::Program(bytes) => file(&path, bytes, 0o755)?,
            Entry::Data(bytes) => file(&path, bytes, 0o644)?,
            Entry::Link(target) => symlink(target, &path).map_err(failed("create", &path))?,
        }
    }
    for dir in &dirs {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
            .map_err(failed("change the mode of", dir))?;
        let opened = File::open(dir).map_err(failed("open", dir))?;
        opened.set_modified(SystemTime::UNIX_EPOCH).map_err(failed("date", dir))?;
        opened.sync_all().map_err(failed("synchronise", dir))?;
    }
    Ok(())
}

fn file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let mut options = File::options();
    let mut opened = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(failed("create", path))?;
    opened.write_all(bytes).map_err(failed("write", path))?;
    // Whatever the mask of the process made of the mode.
    opened
        .set_permissions(fs::Permissions::from_mode(mode))
        .map_err(failed("change the mode of", path))?;
    opened.set_modified(SystemTime::UNIX_EPOCH).map_err(failed("date", path))?;
    opened.sync_all().map_err(failed("synchronise", path))
}
