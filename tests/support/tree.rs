// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The files of the project, and the few facts about them that several checks need.
//!
//! Owns the walk. Build output, fuzzing corpora and the version control's own files are left out;
//! what else lies in the tree counts, committed or not, so that a check fails before the commit.

use std::fs;
use std::path::{Path, PathBuf};

/// Directories that hold nothing written by a person.
const SKIPPED: &[&str] = &[".cache", ".git", "artifacts", "corpus", "target"];

/// One file: its path from the root of the project, and its text.
#[derive(Clone, Debug)]
pub struct File {
    /// Such as `src/sys/mod.rs`.
    pub path: String,
    /// The content; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// The root of the project.
///
/// # Panics
/// When this crate is not in a directory below it.
#[must_use]
pub fn root() -> PathBuf {
    let below = Path::new(env!("CARGO_MANIFEST_DIR"));
    below.parent().expect("this crate lives below the root").to_path_buf()
}

/// The text of the file at `path`, relative to the root.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn read(path: &str) -> String {
    let bytes = fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The paths of all files, sorted.
///
/// # Panics
/// When a directory cannot be read.
#[must_use]
pub fn paths() -> Vec<String> {
    let root = root();
    let (mut found, mut open) = (Vec::new(), vec![root.clone()]);
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(&directory).expect("directories of the project are readable");
        for entry in entries {
            let path = entry.expect("directories of the project are readable").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_symlink() || name == ".git" {
                continue;
            }
            if path.is_dir() {
                if !SKIPPED.contains(&name) {
                    open.push(path);
                }
            } else {
                let relative = path.strip_prefix(&root).expect("the walk stays below the root");
                found.push(relative.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// All files whose path ends in `ending` (such as `.rs`), sorted by path.
#[must_use]
pub fn files(ending: &str) -> Vec<File> {
    paths()
        .into_iter()
        .filter(|path| path.ends_with(ending))
        .map(|path| File { text: read(&path), path })
        .collect()
}
