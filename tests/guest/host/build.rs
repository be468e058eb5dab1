// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Builds the static programs of the image with cargo, once per process and so never stale.
//!
//! The flag for static linking goes in through the environment together with `--target`, so that it
//! reaches neither build scripts nor derive crates. `GUEST_PROFILE=lab` builds the programs under
//! test faster and bigger than they are shipped.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fmt};

use plinth::testing;

/// The only target of the guest.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// cargo did not build a program.
#[derive(Clone, Debug)]
pub struct BuildError(String);

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot build {}", self.0)
    }
}

impl std::error::Error for BuildError {}

/// The directory that holds the static `guest-init`.
///
/// # Errors
/// [`BuildError`] when cargo fails; its own words went to stderr.
pub fn init(workspace: &Path) -> Result<PathBuf, BuildError> {
    static BUILT: OnceLock<Result<PathBuf, BuildError>> = OnceLock::new();
    BUILT.get_or_init(|| build(workspace, "lab", &["-p", "guest", "--bin", "guest-init"])).clone()
}

/// The directory that holds the static programs of `stas`.
///
/// # Errors
/// [`BuildError`] when cargo fails; its own words went to stderr.
pub fn stas(workspace: &Path) -> Result<PathBuf, BuildError> {
    static BUILT: OnceLock<Result<PathBuf, BuildError>> = OnceLock::new();
    BUILT.get_or_init(|| shipped(workspace, "stas", &["--no-default-features"])).clone()
}

/// The directory that holds the static `tinybpf`.
///
/// # Errors
/// [`BuildError`] when cargo fails; its own words went to stderr.
pub fn tinybpf(workspace: &Path) -> Result<PathBuf, BuildError> {
    static BUILT: OnceLock<Result<PathBuf, BuildError>> = OnceLock::new();
    BUILT.get_or_init(|| shipped(workspace, "tinybpf", &[])).clone()
}

/// The directory that holds the static `microvm`.
///
/// # Errors
/// [`BuildError`] when cargo fails; its own words went to stderr.
pub fn microvm(workspace: &Path) -> Result<PathBuf, BuildError> {
    static BUILT: OnceLock<Result<PathBuf, BuildError>> = OnceLock::new();
    BUILT.get_or_init(|| shipped(workspace, "microvm", &[])).clone()
}

/// The programs of a package that `make static` ships, whose flags the Makefile knows; or those of
/// the profile that is asked for.
fn shipped(workspace: &Path, package: &str, features: &[&str]) -> Result<PathBuf, BuildError> {
    if let Ok(profile) = env::var("GUEST_PROFILE") {
        return build(workspace, &profile, &[&["-p", package], features].concat());
    }
    let goal = format!("static-{package}");
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new("make")
        .current_dir(workspace)
        .args(["--silent", &goal, &format!("CARGO={cargo}")])
        // This may itself run below a make, whose options are not for this one.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .status();
    if !status.is_ok_and(|status| status.success()) {
        return Err(BuildError(goal));
    }
    Ok(built("release"))
}

/// The directory that holds the BPF objects: fixtures, `programs`, `broken`, and `probed`.
///
/// # Errors
/// [`BuildError`] when a compiler fails; its own words went to stderr.
pub fn objects(workspace: &Path) -> Result<PathBuf, BuildError> {
    static BUILT: OnceLock<Result<PathBuf, BuildError>> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let into = testing::target().join("bpf");
            let script = workspace.join("bin/tinybpf/bpf/build.sh");
            match Command::new(&script).arg(&into).status() {
                Ok(status) if status.success() => Ok(into),
                _ => Err(BuildError(format!("the BPF objects ({})", script.display()))),
            }
        })
        .clone()
}

fn build(workspace: &Path, profile: &str, what: &[&str]) -> Result<PathBuf, BuildError> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace)
        .args(["build", "--locked", "--target", TARGET, "--profile", profile])
        .args(what)
        // Who watches sees how far it is; a log needs only what went wrong.
        .args((!io::stderr().is_terminal()).then_some("--quiet"))
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status();
    if !status.is_ok_and(|status| status.success()) {
        return Err(BuildError(what.join(" ")));
    }
    Ok(built(profile))
}

/// Where cargo puts the static programs of a profile.
fn built(profile: &str) -> PathBuf {
    testing::target().join(TARGET).join(profile)
}
