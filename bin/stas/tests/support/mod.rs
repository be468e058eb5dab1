// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the tests of the programs share: directories that are gone afterwards.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A fresh directory, for one test alone, removed at the end.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Makes it.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("stas-t-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a fresh directory");
        Self(path)
    }
}

impl Deref for Directory {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A directory left behind is no failure of the test.
        drop(fs::remove_dir_all(&self.0));
    }
}
