// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptions and the command lines that they must give, byte for byte.
//!
//! Each directory of `fixtures/microvm/golden` holds `in.toml` and `argv.txt`, one word a line;
//! where a description must be refused, `errors.txt` with what is said. `BLESS=1 cargo test` writes
//! what is missing, and only that: a file that is there is a promise.

use std::fs;
use std::path::{Path, PathBuf};

use microvm::pipeline::{self, Loaded};
use microvm::plan::{self, plan};

fn cases() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/microvm/golden");
    let entries = fs::read_dir(dir).expect("the directory of golden cases");
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    cases.sort();
    cases
}

/// Loads as if the description lay in `/srv/vm`.
fn load(case: &Path) -> Loaded {
    let read = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        fs::read_to_string(case.join(name)).map_err(|error| error.to_string())
    };
    pipeline::load("/srv/vm/in.toml", "in.toml", &read, &pipeline::Options::default())
}

/// The words of all machines of a case, one a line; machines of a fleet under their names.
fn words(loaded: &Loaded) -> String {
    let mut text = String::new();
    let options = plan::Options { helper: "/usr/bin/microvm".to_owned(), compat: false };
    for machine in &loaded.machines {
        if loaded.is_fleet {
            text.push_str(&format!("[{}]\n", machine.name));
        }
        let plan = plan(&machine.vm, &options);
        text.push_str(&format!("{}\n", plan.program));
        for word in &plan.words {
            text.push_str(&format!("{}\n", word.shown()));
        }
    }
    text
}

/// Compares with the file, or writes it when asked to and there is none.
fn compare(path: &Path, found: &str) -> Option<String> {
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

#[test]
fn golden_command_lines_are_those_of_the_fixtures() {
    let mut wrong = Vec::new();
    for case in cases() {
        let loaded = load(&case);
        let (name, text) = if loaded.report.has_errors() {
            ("errors.txt", loaded.report.text(&loaded.files))
        } else {
            ("argv.txt", words(&loaded))
        };
        wrong.extend(compare(&case.join(name), &text));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
