// SPDX-License-Identifier: Apache-2.0 OR MIT
//! For tests of this crate and of those above it: directories that are gone afterwards.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::file::Root;

/// A fresh directory, for one test alone, removed when it is dropped.
#[derive(Debug)]
pub struct Place(PathBuf);

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// Makes it, in the directory for temporary files.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("plinth-{}-{number}", std::process::id()));
        // One that a former process of this number left behind is not fresh.
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).expect("a fresh directory");
        Self(path)
    }

    /// The place as the root of a system.
    #[must_use]
    pub fn root(&self) -> Root {
        Root::at(&self.0)
    }

    /// Makes a directory, whose path is relative to the place.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn directory(&self, path: &str) {
        fs::create_dir_all(self.join(path)).expect("made");
    }

    /// Writes a file, whose path is relative to the place, and the directories above it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, content).expect("written");
    }
}

impl Deref for Place {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A directory left behind is no failure of the test.
        drop(fs::remove_dir_all(&self.0));
    }
}
