// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packages on disk.
//!
//! A package is written beside its place under a name of its own, synchronised, and moved. So a
//! reader sees the old one or the new one; a power cut leaves at most a directory that nobody
//! refers to, and the next write of the same package removes it.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{
    AtFlags, CWD, RenameFlags, Timespec, Timestamps, UTIME_OMIT, renameat_with, syncfs, utimensat,
};

use super::tree::{Entry, RUNNER, RUNNER_MAX, Tree};
use crate::parallel::parallel;

/// The most that is read of any other file of a package than [`RUNNER`].
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
    /// A description that nobody would read.
    TooLong(PathBuf),
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
            Self::TooLong(path) => {
                write!(
                    f,
                    "{} would have a {RUNNER} of more than {RUNNER_MAX} bytes",
                    path.display()
                )
            }
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
                let most = if name == RUNNER { RUNNER_MAX } else { FILE_MAX };
                let bytes = plinth::file::read(&path, most).map_err(failed("read", &path))?;
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
        let written = write_all(&[(self.clone(), tree)], force)?;
        Ok(written.first().copied().unwrap_or(Written::Unchanged))
    }

    /// Makes the package beside its place, in memory of the system only; gives where. `None` if it
    /// is in its place already.
    fn stage(&self, tree: &Tree, force: bool) -> Result<Option<Staged>, StoreError> {
        if tree.get(RUNNER).is_some_and(|runner| runner.bytes().len() > RUNNER_MAX) {
            return Err(StoreError::TooLong(self.0.clone()));
        }
        let there = match fs::symlink_metadata(&self.0) {
            Ok(_) => Some(self.read()?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("look at", &self.0)(error)),
        };
        if there.as_ref() == Some(tree) {
            return Ok(None);
        }
        if there.is_some() && !force {
            return Err(StoreError::Differs(self.0.clone()));
        }
        let made = self.beside(&format!("tmp-{}", tree.hash().directory()));
        remove(&made)?;
        let staged = Staged { made, place: self.0.clone(), replaces: there.is_some() };
        fill(&staged.made, tree)?;
        Ok(Some(staged))
    }

    /// A path in the same directory.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.0.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(suffix);
        self.0.with_file_name(name)
    }
}

/// A package that waits beside its place, until it is moved there or dropped.
struct Staged {
    made: PathBuf,
    place: PathBuf,
    replaces: bool,
}

impl Staged {
    /// Moves the package to its place; readers see the old one or the new one, which waits beside
    /// the place from then on.
    fn commit(&self) -> Result<(), StoreError> {
        if !self.replaces {
            let moved = renameat_with(CWD, &self.made, CWD, &self.place, RenameFlags::NOREPLACE);
            return moved.map_err(|error| failed("make", &self.place)(error.into()));
        }
        let swap = renameat_with(CWD, &self.made, CWD, &self.place, RenameFlags::EXCHANGE);
        swap.map_err(|error| failed("replace", &self.place)(error.into()))
    }

    /// Moves the package away from its place again, and back what was there.
    fn undo(&self) -> Result<(), StoreError> {
        let flags = if self.replaces { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        let moved = renameat_with(CWD, &self.place, CWD, &self.made, flags);
        moved.map_err(|error| failed("remove", &self.place)(error.into()))
    }
}

/// Writes packages, each whole or not at all; what each write did.
///
/// All are made first, then the file system is synchronised once, then they are moved to their
/// places: a thousand packages wait for the disk once, not for each file.
///
/// # Errors
/// As [`Place::write`]; then no package is moved, or those that were are moved back, and nothing
/// stays beside the places.
pub fn write_all(packages: &[(Place, &Tree)], force: bool) -> Result<Vec<Written>, StoreError> {
    let stage = |(place, tree): &(Place, &Tree)| place.stage(tree, force);
    let staged: Vec<Option<Staged>> =
        parallel(packages, None, &stage).into_iter().collect::<Result<_, _>>()?;
    // They lie in few directories, most often in one, and these on one file system.
    let parents: BTreeSet<&Path> =
        staged.iter().flatten().filter_map(|it| it.made.parent()).collect();
    for parent in parents {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let dir = File::open(parent).map_err(failed("open", parent))?;
        syncfs(&dir).map_err(|error| failed("synchronise", parent)(error.into()))?;
    }
    for (at, it) in staged.iter().flatten().enumerate() {
        if let Err(error) = it.commit() {
            staged.iter().flatten().take(at).try_for_each(Staged::undo)?;
            return Err(error);
        }
    }
    let done = |it: &Option<Staged>| if it.is_some() { Written::New } else { Written::Unchanged };
    Ok(staged.iter().map(done).collect())
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What stays is removed by the next write of the same package.
        drop(remove(&self.made));
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Makes the directory `at` with everything in it.
fn fill(at: &Path, tree: &Tree) -> Result<(), StoreError> {
    let names = tree.iter().map(|(name, _)| Path::new(name));
    // Sorted, so that each stands before what is in it; the empty one is the package itself.
    let dirs: BTreeSet<&Path> = names.flat_map(|name| name.ancestors().skip(1)).collect();
    for dir in &dirs {
        let dir = at.join(dir);
        fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
    }
    for (name, entry) in tree.iter() {
        let path = at.join(name);
        match entry {
            Entry::Program(bytes) => file(&path, bytes, 0o755)?,
            Entry::Data(bytes) => file(&path, bytes, 0o644)?,
            Entry::Link(target) => link(&path, target)?,
        }
    }
    for dir in &dirs {
        let dir = at.join(dir);
        // Whatever the mask of the process, or the directory around, made of the mode.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))
            .map_err(failed("change the mode of", &dir))?;
        let opened = File::open(&dir).map_err(failed("open", &dir))?;
        opened.set_modified(SystemTime::UNIX_EPOCH).map_err(failed("date", &dir))?;
    }
    Ok(())
}

fn link(path: &Path, target: &str) -> Result<(), StoreError> {
    symlink(target, path).map_err(failed("create", path))?;
    let epoch = Timespec { tv_sec: 0, tv_nsec: 0 };
    let kept = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: kept, last_modification: epoch };
    let dated = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
    dated.map_err(|errno| failed("date", path)(errno.into()))
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
    opened.set_modified(SystemTime::UNIX_EPOCH).map_err(failed("date", path))
}

#[cfg(test)]
mod tests {
    use plinth::testing::Place as Directory;

    use super::*;

    fn tree(content: &str) -> Tree {
        let mut tree = Tree::default();
        tree.put(RUNNER, Entry::Data(content.as_bytes().to_vec()));
        tree
    }

    fn names(at: &Directory) -> Vec<String> {
        at.root().list("/").expect("a list")
    }

    #[test]
    fn one_place_that_is_taken_leaves_all_as_they_were() {
        let at = Directory::new();
        at.file("b/other", "no package");
        let tree = tree("{}");
        let places: Vec<(Place, &Tree)> =
            ["a", "b", "c"].iter().map(|name| (Place(at.join(name)), &tree)).collect();
        assert!(matches!(write_all(&places, true), Err(StoreError::Taken(_))));
        assert_eq!(names(&at), ["b"]);
    }

    #[test]
    fn a_move_that_fails_takes_back_those_before_it() {
        let at = Directory::new();
        let (old, new, other) = (tree("1"), tree("2"), tree("3"));
        Place(at.join("a")).write(&old, false).expect("a package");
        let places = ["a", "b", "b"].map(|name| Place(at.join(name)));
        let [a, b, again] = places;
        let all = [(a.clone(), &new), (b, &new), (again, &other)];
        assert!(matches!(write_all(&all, true), Err(StoreError::Io(..))));
        assert_eq!(names(&at), ["a"]);
        assert!(a.read().expect("a package") == old);
    }

    #[test]
    fn links_have_the_date_of_all_else() {
        let at = Directory::new();
        let mut tree = tree("{}");
        tree.put("share/microvm/system", Entry::Link("/nowhere".to_owned()));
        Place(at.join("a")).write(&tree, false).expect("written");
        for name in
            ["a", "a/share/microvm", "a/share/microvm/system", "a/share/microvm/runner.json"]
        {
            let found = fs::symlink_metadata(at.join(name)).expect("it is there");
            assert_eq!(found.modified().expect("a date"), SystemTime::UNIX_EPOCH, "{name}");
        }
    }

    #[test]
    fn a_description_that_nobody_would_read_is_neither_written_nor_taken() {
        let at = Directory::new();
        let long = tree(&" ".repeat(RUNNER_MAX + 1));
        let refused = Place(at.join("a")).write(&long, false);
        assert!(matches!(refused, Err(StoreError::TooLong(_))), "{refused:?}");
        assert!(names(&at).is_empty());
        let most = tree(&" ".repeat(RUNNER_MAX));
        Place(at.join("a")).write(&most, false).expect("written");
        assert_eq!(Place(at.join("a")).read().expect("a package"), most);
        at.file("a/share/microvm/runner.json", " ".repeat(RUNNER_MAX + 1));
        assert!(Place(at.join("a")).read().is_err());
    }

    #[test]
    fn what_cannot_be_written_whole_is_removed() {
        let at = Directory::new();
        let mut odd = tree("{}");
        odd.put("share/microvm/runner.json/inside", Entry::Data(Vec::new()));
        assert!(matches!(Place(at.join("a")).write(&odd, false), Err(StoreError::Io(..))));
        assert!(names(&at).is_empty());
    }
}
