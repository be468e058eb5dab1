// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The built programs, and directories to try them in.
//!
//! Owns the build: cargo is asked once a process, so that what a check runs is never stale.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs, process};

use crate::tree;

/// The directory that holds the programs of the package `stas`, built just now, not optimised.
///
/// # Panics
/// When they cannot be built.
#[must_use]
pub fn stas() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("stas")).clone()
}

/// The directory that holds `microvm`, built just now, not optimised.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn microvm() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("microvm")).clone()
}

fn build(package: &str) -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "-p", package, "--bins"])
        .current_dir(tree::root())
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the programs cannot be built");
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| tree::root().join("target")).join("debug")
}

/// A directory of one's own, removed at the end.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new, empty directory with `name` in its name.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("plinth-{name}-{}", process::id()));
        let _ = fs::remove_dir_all(&path).is_ok(); // left by a killed process of the same number
        fs::create_dir_all(&path).expect("the directory for temporary files is writable");
        Self(path)
    }

    /// Where `inner` is in this directory.
    #[must_use]
    pub fn path(&self, inner: &str) -> PathBuf {
        self.0.join(inner)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0).is_ok();
    }
}
