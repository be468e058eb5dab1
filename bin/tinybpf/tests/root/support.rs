// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the tests with a kernel share: compiled objects, and a place of their own.
//!
//! A test that needs the kernel has a name that begins with `root_` and runs as a process of its
//! own ([`isolated`]), with a mount namespace where `/sys/fs/bpf` and tracefs are mounted: other
//! tests neither see its pins nor count its descriptors.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use plinth::testing::output;
use rustix::mount::{MountFlags, mount};

use crate::compiled::objects;

/// The path of a compiled object; `broken/x` for one of the broken ones.
pub(crate) fn object(name: &str) -> PathBuf {
    objects().join(format!("{name}.bpf.o"))
}

/// Runs `body` alone in a process with mount and network namespaces of its own: that of the test
/// `name` in the module with the path `module`, which calls this.
pub(crate) fn isolated(module: &str, name: &str, body: impl FnOnce()) {
    // Outside, so that it is not compiled in there.
    objects();
    if plinth::testing::isolated(module, name) {
        mount_all();
        body();
    }
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
pub(crate) fn getpgid(times: usize) {
    for _ in 0..times {
        let _ = rustix::process::getpgid(None).expect("getpgid of oneself");
    }
}

/// How many descriptors the process has open.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd").count()
}

/// KiB of memory that the process has.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Notes for the table of kinds that `tests/ci.sh` prints how a kind of program was shown here.
pub(crate) fn shown(kind: &str, how: &str) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp");
    let file = OpenOptions::new().append(true).create(true).open(target.join("bpf-kinds.tsv"));
    let line = format!("{kind}\thost\t{how}\n");
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the table of kinds");
}

/// Runs ip(8) in the test's network namespace.
pub(crate) fn ip(words: &str) {
    let output = output(Command::new("ip").args(words.split(' ')));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {error}");
}

/// The number in a variable of an object.
pub(crate) fn number(object: &bpf::object::Object, name: &str) -> i128 {
    let value = object.global(name).expect(name).get().expect(name);
    value.as_integer().expect("a number")
}
