// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The golden cases, for all tests that go through them.

use std::fs;
use std::path::{Path, PathBuf};

use microvm::pipeline::{self, Loaded};
use microvm::plan::{self, Plan, plan};

/// The directories of the cases, in their order.
pub(crate) fn cases() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/microvm/golden");
    let entries = fs::read_dir(dir).expect("the directory of golden cases");
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    cases.sort();
    cases
}

/// The name of a case.
pub(crate) fn name(case: &Path) -> String {
    case.file_name().expect("a name").to_string_lossy().into_owned()
}

/// Loads as if the description lay in `/srv/vm`.
pub(crate) fn load(case: &Path) -> Loaded {
    let read = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        fs::read_to_string(case.join(name)).map_err(|error| error.to_string())
    };
    pipeline::load("/srv/vm/in.toml", "in.toml", &read, &pipeline::Options::default())
}

/// The plans of its machines, with their names.
pub(crate) fn plans(case: &Path, loaded: &Loaded) -> Vec<(String, Plan)> {
    let compat = name(case).ends_with("-compat");
    let options = plan::Options { helper: "/usr/bin/microvm".to_owned(), compat };
    loaded.machines.iter().map(|it| (it.name.clone(), plan(&it.vm, &options))).collect()
}
