// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The compiled BPF objects, for tests that ask no kernel: built when they are older than their
//! sources.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The directory of the sources.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf")
}

/// The directory that holds `NAME.bpf.o`, `broken/`, `programs/` and the helpers.
pub(crate) fn objects() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bpf");
        let script = sources().join("build.sh");
        let status = Command::new(script).arg(&target).status().expect("a shell");
        assert!(status.success(), "the BPF objects could not be compiled");
        target.canonicalize().expect("it was just made")
    })
}
