// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The golden cases, for all tests that go through them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use microvm::pipeline::{self, Loaded};
use microvm::plan::{self, Plan, plan};

/// The directory of what tests compare with.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/microvm")
}

/// A fresh directory.
pub(crate) fn scratch() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("plan-{}-{count}", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir(&path).expect("a fresh directory");
    path
}

/// The directories of the cases, in their order.
pub(crate) fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(fixtures().join("golden")).expect("the directory of golden cases");
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
        fs::read_to_string(case.join(name))
            .map_err(|error| pipeline::Unread::Refused(error.to_string()))
    };
    pipeline::load("/srv/vm/in.toml", "in.toml", &read, &pipeline::Options::default())
}

/// The plans of its machines, with their names.
pub(crate) fn plans(case: &Path, loaded: &Loaded) -> Vec<(String, Plan)> {
    plans_as(loaded, name(case).ends_with("-compat"))
}

/// The same, with our words or upstream's.
pub(crate) fn plans_as(loaded: &Loaded, compat: bool) -> Vec<(String, Plan)> {
    let options = plan::Options { helper: "/usr/bin/microvm".to_owned(), compat };
    loaded.machines.iter().map(|it| (it.name.clone(), plan(&it.vm, &options))).collect()
}

/// Compares with the file, or writes it when asked to and there is none.
pub(crate) fn compare(path: &Path, found: &str) -> Option<String> {
    match fs::read_to_string(path) {
        Ok(wanted) if wanted == found => None,
        Ok(wanted) => Some(format!("{}\nwanted:\n{wanted}\nfound:\n{found}", path.display())),
        Err(_) if std::env::var_os("BLESS").is_some() => {
            fs::write(path, found).expect("a new golden file");
            None
        }
        Err(error) => Some(format!("{}: {error}; found:\n{found}", path.display())),
    }
}
