// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The built programs.
//!
//! Owns the build: cargo is asked once a process, so that what a check runs is never stale.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

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
    plinth::testing::target().join("debug")
}
