// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The house rules that a machine can read: dependency rules, size limits, headers, manifests.
//!
//! Owns the rules as tests over the text of the tree (`ARCHITECTURE.md` gives their reasons). What
//! rustc and clippy check is left to them: `tests/ci.sh clippy`. Each test names every offender at
//! once, as `path:line: what`.

#[path = "tidy/crates.rs"]
mod crates;

use std::collections::{BTreeMap, BTreeSet};

use checks::code;
use checks::tree::{self, File};

/// Lines of a source file. Longer ones are split by idea.
const FILE_LINES_MAX: usize = 600;
/// Columns of a source line.
const LINE_COLUMNS_MAX: usize = 100;
/// What a core may not name, as whole words or paths in code.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::os",
    "std::process",
    "std::thread",
    "std::env",
    "std::io",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "Instant",
    "SystemTime",
    "mio",
    "rustix",
    "libc",
    "dbus",
    "libudev",
    "unsafe",
    "println",
    "eprintln",
    "print",
    "eprint",
    "plinth::bus",
    "plinth::event",
    "plinth::file",
    "plinth::log",
    "plinth::netlink",
    "plinth::pool",
    "plinth::proc",
    "plinth::service",
    "plinth::sim",
    "plinth::sys",
    "plinth::udev",
];

fn verdict(rule: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{rule}:\n  {}\n", offenders.join("\n  "));
}

fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).map_or(0, |before| before.matches('\n').count()) + 1
}

/// Sources that belong to a program or to the shared crate, what is for tests only cut off.
fn products() -> Vec<File> {
    let sources = tree::files(".rs");
    let tests: BTreeSet<String> =
        sources.iter().flat_map(|file| code::test_modules(&file.path, &file.text)).collect();
    sources
        .into_iter()
        .filter(|file| file.path.starts_with("src/") || file.path.starts_with("bin/"))
        .filter(|file| !file.path.contains("/tests/") && !tests.contains(&file.path))
        .map(|File { path, text }| File { path, text: code::product(&text) })
        .collect()
}

/// Module -> layer, from the table at the head of `src/lib.rs`.
fn layers() -> BTreeMap<String, usize> {
    let mut layers = BTreeMap::new();
    for line in tree::read("src/lib.rs").lines() {
        let Some(row) = line.strip_prefix("//! | L") else { continue };
        let mut cells = row.split('|').map(str::trim);
        let layer = cells.next().and_then(|cell| cell.parse().ok()).expect("a row names its layer");
        for module in cells.next().expect("a row names its modules").split(", ") {
            layers.insert(module.trim_matches(['[', ']', '`']).to_owned(), layer);
        }
    }
    layers
}

/// The first segments of all paths in `text` that begin with `crate::`, groups included.
fn crate_paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, root) in text.match_indices("crate::") {
        let rest = text.get(at + root.len()..).unwrap_or_default();
        let (mut depth, mut name) = (0_usize, String::new());
        for c in rest.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                c if depth <= 1 && (c == '_' || c.is_alphanumeric()) => {
                    name.push(c);
                    continue;
                }
                _ => {}
            }
            if !name.is_empty() {
                found.push((at, std::mem::take(&mut name)));
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[test]
fn modules_import_from_lower_layers_only() {
    let (layers, mut wrong) = (layers(), Vec::new());
    let mut lowest: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    assert!(layers.len() > 10, "src/lib.rs has lost its table of layers");
    for file in products().iter().filter(|file| file.path.starts_with("src/")) {
        let inner = file.path.trim_start_matches("src/");
        let own = inner.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        if own == "lib" {
            continue;
        }
        let Some(&layer) = layers.get(own) else {
            wrong.push(format!("{}:1: module '{own}' is missing from the table", file.path));
            continue;
        };
        for (at, used) in crate_paths(&file.text) {
            let Some(&other) = layers.get(&used).filter(|_| used != own) else { continue };
            if (layer, other) == (0, 0) {
                lowest.entry(own.to_owned()).or_default().insert(used);
            } else if other >= layer {
                let line = line_of(&file.text, at);
                wrong.push(format!("{}:{line}: '{own}' (L{layer}) imports '{used}'", file.path));
            }
        }
    }
    // Modules of L0 are small and pure; they may use one another, in one direction.
    while let Some(leaf) =
        lowest.iter().find(|(_, used)| !used.iter().any(|m| lowest.contains_key(m)))
    {
        let leaf = leaf.0.clone();
        lowest.remove(&leaf);
    }
    wrong.extend(lowest.iter().map(|(module, used)| format!("L0 in a circle: {module} {used:?}")));
    verdict("a module imports only from layers below its own (table in src/lib.rs)", &wrong);
}

#[test]
fn a_program_uses_the_shared_crate_and_no_other_program() {
    let mut wrong = Vec::new();
    let programs: Vec<String> = manifests()
        .iter()
        .filter(|file| file.path.starts_with("bin/"))
        .map(|file| file.path.split('/').nth(1).unwrap_or_default().to_owned())
        .collect();
    for file in manifests().iter().filter(|file| !file.path.starts_with("tests/")) {
        for (line, name) in dependencies(&file.text) {
            if programs.contains(&name) {
                wrong.push(format!("{}:{line}: depends on the program '{name}'", file.path));
            }
        }
    }
    verdict("programs meet in the shared crate only", &wrong);
}

#[test]
fn cores_are_pure() {
    let mut wrong = Vec::new();
    for file in products().iter().filter(|file| file.path.contains("/src/core/")) {
        for word in IMPURE {
            if code::has_word(&file.text, word) {
                let line = line_of(&file.text, file.text.find(word).unwrap_or(0));
                wrong.push(format!("{}:{line}: names '{word}'", file.path));
            }
        }
        for (at, _) in file.text.match_indices("std::{") {
            let line = line_of(&file.text, at);
            wrong.push(format!("{}:{line}: write std paths out, one a line", file.path));
        }
    }
    verdict("a core knows neither files, sockets, clocks, threads nor the environment", &wrong);
}

#[test]
fn unsafe_code_lives_in_one_place() {
    let mut wrong = Vec::new();
    for file in tree::files(".rs") {
        let bare = code::bare(&file.text);
        let places = ["src/sys/", "bin/tinybpf/src/sys/", "bin/tinybpf/src/typed/", "tests/fuzz/"];
        let allowed = places.iter().any(|place| file.path.starts_with(place));
        if !allowed && code::has_word(&bare, "unsafe") {
            let line = line_of(&bare, bare.find("unsafe").unwrap_or(0));
            wrong.push(format!("{}:{line}: unsafe code", file.path));
        }
        let is_crate_root = file.path.starts_with("bin/")
            && (file.path.contains("/src/bin/")
                || file.path.ends_with("/src/lib.rs")
                || file.path.ends_with("/src/main.rs"));
        // A library with such a place denies it everywhere else, by the workspace's lints.
        let is_free = file.path != "bin/tinybpf/src/lib.rs";
        if is_crate_root && is_free && !bare.contains("#![forbid(unsafe_code)]") {
            wrong.push(format!("{}:1: lacks #![forbid(unsafe_code)]", file.path));
        }
    }
    verdict("unsafe code is confined to src/sys", &wrong);
}

#[test]
fn every_source_opens_with_licence_and_header() {
    let mut wrong = Vec::new();
    for file in tree::files(".rs") {
        let mut lines = file.text.lines().skip_while(|line| line.starts_with("#!/"));
        if lines.next() != Some("// SPDX-License-Identifier: Apache-2.0 OR MIT") {
            wrong.push(format!("{}:1: the licence line is missing", file.path));
        }
        if !lines.next().is_some_and(|line| line.starts_with("//! ")) {
            wrong.push(format!("{}:2: the module header is missing", file.path));
        }
    }
    for file in ["Makefile", ".ci/run", "Cargo.toml"].iter().map(|path| (path, tree::read(path))) {
        if !file.1.contains("SPDX-License-Identifier: Apache-2.0 OR MIT") {
            wrong.push(format!("{}:1: the licence line is missing", file.0));
        }
    }
    verdict("every source names its licence, then its purpose", &wrong);
}

#[test]
fn files_and_lines_keep_their_limits() {
    let mut wrong = Vec::new();
    for file in tree::files(".rs") {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{}:{lines}: more than {FILE_LINES_MAX} lines", file.path));
        }
        for (number, line) in file.text.lines().enumerate() {
            // The rows of a table cannot be broken.
            if line.chars().count() > LINE_COLUMNS_MAX && !line.starts_with("//! |") {
                wrong.push(format!("{}:{}: a line too long", file.path, number + 1));
            }
            if line.ends_with([' ', '\t']) {
                wrong.push(format!("{}:{}: blanks at the end", file.path, number + 1));
            }
        }
    }
    verdict("files and lines have limits", &wrong);
}

#[test]
fn nothing_is_left_half_done() {
    let mut wrong = Vec::new();
    for file in tree::files(".rs") {
        let bare = code::bare(&file.text);
        for (number, (line, bare)) in file.text.lines().zip(bare.lines()).enumerate() {
            let comment = line.trim_start().starts_with("//");
            let marked =
                comment && ["TODO", "FIXME", "XXX"].iter().any(|m| code::has_word(line, m));
            let ignored = bare.contains("#[ignore");
            if (marked || ignored) && !has_issue(line) {
                wrong.push(format!("{}:{}: no issue is named", file.path, number + 1));
            }
            for word in ["todo!", "unimplemented!"] {
                if bare.contains(word) {
                    wrong.push(format!("{}:{}: {word}", file.path, number + 1));
                }
            }
            if bare.contains("allow(dead_code") {
                wrong.push(format!("{}:{}: dead code is removed", file.path, number + 1));
            }
        }
    }
    verdict("what is postponed has an issue number", &wrong);
}

/// Whether `line` holds `#` followed by a number.
fn has_issue(line: &str) -> bool {
    line.split('#').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Where conditions join a `let` with anything by `&&`.
fn let_chains(text: &str) -> Vec<usize> {
    let heads = text.match_indices("if let ").chain(text.match_indices("while let "));
    let chained = |at: usize| {
        let (mut depth, mut previous, mut matched) = (0_usize, ' ', false);
        for c in text.get(at..).unwrap_or_default().chars() {
            match c {
                '{' if matched && depth == 0 => return false,
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                '=' if depth == 0 && previous == ' ' => matched = true,
                '&' if matched && depth == 0 && previous == '&' => return true,
                _ => {}
            }
            previous = c;
        }
        false
    };
    heads.map(|(at, _)| at).filter(|&at| chained(at)).collect()
}

#[test]
fn products_build_with_the_oldest_compiler_supported() {
    // Chains of `let` came with 1.88; rustc and clippy see the rest (`tests/ci.sh floor`).
    let count = |text: &str| let_chains(text).len();
    assert_eq!(count("if let A { b } = c\n && d {} if let Some(e) = f(&&g) { a && b }"), 1);
    assert_eq!(count("if let Some(a) = b.find(|c| d && e) {} while let 1..=2 = f {} g && h"), 0);
    let mut wrong = Vec::new();
    for file in products() {
        for at in let_chains(&file.text) {
            wrong.push(format!("{}:{}: a chain of let", file.path, line_of(&file.text, at)));
        }
    }
    verdict("the language of the floor (rust-version in Cargo.toml) is enough", &wrong);
}

#[test]
fn every_source_is_part_of_its_crate() {
    let sources = tree::files(".rs");
    let by_path: BTreeMap<&str, &str> =
        sources.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
    let mut wrong = Vec::new();
    for path in by_path.keys().filter(|path| path.contains("src/") && !path.contains("/src/bin/")) {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let (module, home) = match name {
            "lib.rs" | "main.rs" => continue,
            "mod.rs" => {
                directory.rsplit_once('/').map_or(("", ""), |(home, module)| (module, home))
            }
            _ => (name.trim_end_matches(".rs"), directory),
        };
        let renamed = format!("#[path = \"{name}\"]");
        let parents = [
            format!("{home}/mod.rs"),
            format!("{home}/lib.rs"),
            format!("{home}/main.rs"),
            format!("{home}.rs"),
        ];
        let declared =
            parents.iter().filter_map(|parent| by_path.get(parent.as_str())).any(|text| {
                code::bare(text)
                    .lines()
                    .any(|line| line.trim_end().ends_with(&format!("mod {module};")))
            });
        let renamed = by_path
            .iter()
            .any(|(parent, text)| parent.starts_with(directory) && text.contains(&renamed));
        if !declared && !renamed {
            wrong.push(format!("{path}:1: no parent declares the module '{module}'"));
        }
    }
    verdict("no source is dead", &wrong);
}

/// All manifests outside build output.
fn manifests() -> Vec<File> {
    tree::files("Cargo.toml")
}

/// Line and name of each entry of the dependency tables.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let (mut found, mut inside) = (Vec::new(), false);
    for (number, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.contains("dependencies]");
        } else if inside && line.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            let name: String =
                line.chars().take_while(|&c| c == '_' || c == '-' || c.is_alphanumeric()).collect();
            found.push((number + 1, name));
        }
    }
    found
}

#[test]
fn manifests_are_sorted() {
    let mut wrong = Vec::new();
    for file in manifests() {
        let (mut section, mut last) = (String::new(), String::new());
        for (number, line) in file.text.lines().enumerate() {
            if line.starts_with('[') {
                (section, last) = (line.to_owned(), String::new());
            } else if section.contains("dependencies]")
                && line.starts_with(|c: char| c.is_ascii_alphanumeric())
            {
                let name = line.split(['=', '.', ' ']).next().unwrap_or_default().to_owned();
                if name < last {
                    wrong.push(format!("{}:{}: '{name}' after '{last}'", file.path, number + 1));
                }
                last = name;
            }
        }
    }
    verdict("dependencies are listed in alphabetical order", &wrong);
}

#[test]
fn every_dependency_is_used() {
    let sources = tree::files(".rs");
    let mut wrong = Vec::new();
    for manifest in manifests() {
        if manifest.path.starts_with("tests/fuzz/") || manifest.path.starts_with("tests/bench/") {
            continue;
        }
        let home = manifest.path.trim_end_matches("Cargo.toml");
        let workspace = manifest.text.find("[workspace.dependencies]");
        for (line, name) in dependencies(&manifest.text) {
            let at = manifest.text.lines().take(line).map(|line| line.len() + 1).sum::<usize>();
            let is_version_table = workspace.is_some_and(|start| {
                at > start && !manifest.text.get(start + 1..at).unwrap_or("\n[").contains("\n[")
            });
            let word = name.replace('-', "_");
            let used = if is_version_table {
                manifests().iter().any(|other| {
                    dependencies(&other.text).iter().filter(|(_, used)| *used == name).count()
                        > usize::from(other.path == manifest.path)
                })
            } else {
                sources
                    .iter()
                    .filter(|file| match home {
                        "" => file.path.starts_with("src/"),
                        home => file.path.starts_with(home),
                    })
                    .any(|file| code::has_word(&code::bare(&file.text), &word))
            };
            if !used {
                wrong.push(format!("{}:{line}: '{name}' is not used", manifest.path));
            }
        }
    }
    verdict("no manifest names a crate in vain", &wrong);
}

#[test]
fn every_directory_is_on_the_map() {
    let map = tree::read("ARCHITECTURE.md");
    let mut wrong = BTreeSet::new();
    for path in tree::paths() {
        let Some((directory, _)) = path.rsplit_once('/') else { continue };
        // Unit tests stand beside what they test; a case of a fixture is described by its family.
        if directory.starts_with("src/") && directory.ends_with("/tests") {
            continue;
        }
        let directory = match directory.strip_prefix("fixtures/") {
            Some(inner) => format!("fixtures/{}", inner.split('/').next().unwrap_or(inner)),
            None => directory.to_owned(),
        };
        if !map.contains(&format!("{directory}/")) {
            wrong.insert(format!("ARCHITECTURE.md does not name {directory}/"));
        }
    }
    // Names of directories stand in the first column of the table.
    let rows = map.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    for name in rows.flat_map(|column| column.split('`')).filter(|it| it.ends_with('/')) {
        if !tree::root().join(name).is_dir() {
            wrong.insert(format!("ARCHITECTURE.md names {name}, which is not there"));
        }
    }
    verdict("every directory has its line in ARCHITECTURE.md", &Vec::from_iter(wrong));
}

#[test]
fn the_project_stands_alone() {
    // Spelled in pieces, since this file is read as well.
    let words: Vec<String> = [
        ["/wo", "rk/"],
        ["/fa", "rm/"],
        ["/tmp/bash_", "jobs"],
        ["arti", "factory"],
        ["cla", "ude"],
        ["sub", "agent"],
        [".lib", "rary/"],
        ["/home", "/"],
        ["/ro", "ot/."],
    ]
    .iter()
    .map(|pieces| pieces.concat())
    .collect();
    let mut wrong = Vec::new();
    for path in tree::paths() {
        for (number, line) in tree::read(&path).lines().enumerate() {
            let lower = line.to_lowercase();
            if let Some(word) = words.iter().find(|word| lower.contains(word.as_str())) {
                wrong.push(format!("{path}:{}: '{word}'", number + 1));
            }
        }
    }
    verdict("nothing refers to the place where it was written", &wrong);
}

#[test]
fn signs_worth_watching() {
    let recorded: BTreeMap<String, usize> = tree::read("tests/ratchet.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, count)| {
            (name.to_owned(), count.parse().expect("a recorded count is a number"))
        })
        .collect();
    let counts = signs();
    let mut wrong = Vec::new();
    for (name, count) in &counts {
        let bound = recorded.get(*name).copied().unwrap_or(0);
        println!("{count:>6} (recorded {bound}) {name}");
        if *count > bound {
            wrong.push(format!("tests/ratchet.tsv: {count} {name}, recorded are {bound}"));
        }
    }
    let mut sizes: Vec<(usize, String)> =
        tree::files(".rs").into_iter().map(|f| (f.text.lines().count(), f.path)).collect();
    sizes.sort_by(|a, b| b.cmp(a));
    for (lines, path) in sizes.iter().take(8) {
        println!("{lines:>6} lines: {path}");
    }
    verdict("these counts only go down; what must rise is recorded in the same commit", &wrong);
}

/// What may grow only on purpose.
fn signs() -> BTreeMap<&'static str, usize> {
    let (mut blocks, mut expects, mut unwraps, mut lints) = (0, 0, 0, 0);
    for file in products() {
        blocks += code::count_word(&file.text, "unsafe");
        expects += file.text.matches(".expect(").count();
        unwraps += file.text.matches(".unwrap()").count();
        lints += file.text.matches("#[expect(").count() + file.text.matches("#[allow(").count();
    }
    BTreeMap::from([
        ("uses of unsafe", blocks),
        ("expect outside tests", expects),
        ("unwrap outside tests", unwraps),
        ("lints switched off", lints),
        ("packages compiled for stas", crates::packages("stas").len()),
        ("packages compiled for tinybpf", crates::packages("tinybpf").len()),
        ("packages compiled for microvm", crates::packages("microvm").len()),
    ])
}
