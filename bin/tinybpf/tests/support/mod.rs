// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the tests with a kernel share: compiled objects, and a place of their own.
//!
//! A test that needs the kernel has a name that begins with `root_` and runs as a process of its
//! own ([`isolated`]), with a mount namespace where `/sys/fs/bpf` and tracefs are mounted: other
//! tests neither see its pins nor count its descriptors.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::mount::{MountFlags, mount};

/// Set in the process that [`isolated`] starts.
const INSIDE: &str = "TINYBPF_TEST_INSIDE";

/// The directory of compiled objects, made on first use.
pub fn objects() -> &'static Path {
    static OBJECTS: OnceLock<PathBuf> = OnceLock::new();
    OBJECTS.get_or_init(|| {
        let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bpf");
        let status = Command::new(crate_root.join("bpf/build.sh"))
            .arg(&out)
            .status()
            .expect("bpf/build.sh can be run");
        assert!(status.success(), "bpf/build.sh failed: is clang installed?");
        out
    })
}

/// The path of a compiled object; `broken/x` for one of the broken ones.
pub fn object(name: &str) -> PathBuf {
    objects().join(format!("{name}.bpf.o"))
}

/// Runs `body` alone in a process with a mount namespace of its own, as the test `name`.
///
/// The caller hands in its own name with the path of its module.
pub fn isolated(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        mount_all();
        return body();
    }
    objects();
    let test = std::env::current_exe().expect("the test's own path");
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(test)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare(1) can be run");
    let text = String::from_utf8_lossy(&output.stdout);
    let ran = text.contains("1 passed");
    assert!(
        output.status.success() && ran,
        "{name} in its own process ({}):\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn mount_all() {
    for (kind, place) in [
        ("bpf", "/sys/fs/bpf"),
        ("tracefs", "/sys/kernel/tracing"),
        ("securityfs", "/sys/kernel/security"),
    ] {
        let done = mount(kind, place, kind, MountFlags::empty(), None);
        done.unwrap_or_else(|error| panic!("mount {kind} on {place}: {error}"));
    }
}

/// Calls getpgid(2), which nobody else on the machine does often: what the fixtures hook.
pub fn getpgid(times: usize) {
    for _ in 0..times {
        let _ = rustix::process::getpgid(None).expect("getpgid of oneself");
    }
}

/// How many descriptors the process has open.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd").count()
}
