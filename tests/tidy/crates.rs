// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rules about the crates that we build on: which are not wanted, and how many there may be.

use std::collections::BTreeSet;
use std::process::Command;

use checks::tree;

use super::verdict;

/// Packages that a clean build of `stas` compiles, itself included.
const STAS_PACKAGES_MAX: usize = 30;

/// The same for `tinybpf`, with what libbpf's build script brings.
const TINYBPF_PACKAGES_MAX: usize = 29;

/// Packages that are part of `tinybpf`, itself included.
const TINYBPF_PACKAGES_LINKED_MAX: usize = 25;

/// Crates that the project does without, in any manifest and behind any other crate. Event loops
/// of their own kind first; then what a few lines of ours or a smaller crate do.
const BANNED: &[&str] = &[
    "actix-rt",
    "async-executor",
    "async-io",
    "async-std",
    "embassy-executor",
    "futures-executor",
    "glommio",
    "monoio",
    "smol",
    "tokio",
    "zbus",
    "anyhow",
    "clap",
    "env_logger",
    "nix",
    "openssl",
    "sd-notify",
    "signal-hook-mio",
    "syslog",
    "tempfile",
    "thiserror",
];

/// Those of them that one crate alone may bring: libbpf-sys asks for them in its build script.
const TOLERATED: &[(&str, &str)] = &[("nix", "libbpf-sys")];

#[test]
fn no_banned_crate_is_in_the_lock_file() {
    let lock = tree::read("Cargo.lock");
    let names: BTreeSet<&str> =
        lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert!(names.contains("plinth"), "the lock file is not what this test takes it for");
    let tolerated = |banned: &str| TOLERATED.iter().any(|(name, _)| *name == banned);
    let mut found: Vec<String> = BANNED
        .iter()
        .filter(|banned| names.contains(**banned) && !tolerated(banned))
        .map(|banned| format!("Cargo.lock: {banned}"))
        .collect();
    for package in lock.split("[[package]]") {
        let asks = |name: &str| package.contains(&format!("\n \"{name}\""));
        for (name, by) in TOLERATED.iter().filter(|(name, _)| asks(name)) {
            if !package.contains(&format!("\nname = \"{by}\"")) {
                found.push(format!("Cargo.lock: {name}, not for {by}:{package}"));
            }
        }
    }
    verdict("no async runtime, and no crate that we do without", &found);
}

/// The packages that a build of `program` compiles: normal and build dependencies, itself included.
pub(super) fn packages(program: &str) -> BTreeSet<String> {
    packages_by(program, "normal,build")
}

/// The packages that `program` depends on by these kinds of edges, itself included.
fn packages_by(program: &str, edges: &str) -> BTreeSet<String> {
    let tree = lines(program, edges);
    tree.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

/// Cargo's list of packages: name, version, and whether it is a procedural macro.
fn lines(program: &str, edges: &str) -> String {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--prefix", "none", "-e", edges, "-p", program])
        .current_dir(tree::root())
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8_lossy(&tree.stdout).into_owned()
}

#[test]
fn stas_keeps_its_package_budget() {
    let packages = packages("stas");
    assert!(packages.len() > 10, "the list of packages is implausible: {packages:?}");
    assert!(packages.len() <= STAS_PACKAGES_MAX, "{} packages: {packages:?}", packages.len());
}

#[test]
fn tinybpf_keeps_its_package_budget() {
    for (edges, max) in
        [("normal,build", TINYBPF_PACKAGES_MAX), ("normal", TINYBPF_PACKAGES_LINKED_MAX)]
    {
        let packages = packages_by("tinybpf", edges);
        assert!(packages.len() > 10, "the list of packages is implausible: {packages:?}");
        assert!(packages.len() <= max, "{} packages ({edges}): {packages:?}", packages.len());
    }
    let tree = lines("tinybpf", "normal,build");
    let macros: Vec<&str> = tree.lines().filter(|it| it.contains("(proc-macro)")).collect();
    assert!(macros.is_empty(), "procedural macros are compiled for tinybpf: {macros:?}");
}
