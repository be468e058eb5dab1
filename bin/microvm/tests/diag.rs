// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptions with something wrong, and what is said about them, word for word.
//!
//! Each `CODE[-variant].toml` or `.json` of `fixtures/microvm/diag` has a `.txt` with the printed
//! text. Lines that begin with `#:` tell what the host would answer. `BLESS=1 cargo test` writes
//! what is missing, and only that: a file that is there is a promise.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use microvm::pipeline::{self, Loaded, Unread};
use microvm::validate::{self, Evidence, Facts};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The names of the cases.
fn cases() -> Vec<String> {
    let entries = fs::read_dir(root().join("fixtures/microvm/diag")).expect("the directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.into_string().expect("a plain name"));
    let mut names: Vec<String> =
        names.filter(|name| !name.ends_with(".txt") && !name.ends_with(".inc")).collect();
    names.sort();
    names
}

/// What the `#:` lines of a case say about the host.
#[derive(Default)]
struct Host {
    absent: BTreeSet<String>,
    directories: BTreeSet<String>,
    heads: BTreeMap<String, [u8; 4]>,
    btf: BTreeMap<String, Evidence>,
    used: BTreeMap<u32, String>,
    options: pipeline::Options,
}

impl Host {
    fn read(text: &str) -> Self {
        let mut host = Self::default();
        for line in text.lines().filter_map(|line| line.strip_prefix("#: ")) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["absent", path] => drop(host.absent.insert(path.to_owned())),
                ["directory", path] => drop(host.directories.insert(path.to_owned())),
                ["head", path, "gzip"] => {
                    host.heads.insert(path.to_owned(), [0x1f, 0x8b, 8, 0]);
                }
                ["head", path, "other"] => drop(host.heads.insert(path.to_owned(), *b"MZ\xea\x07")),
                ["btf", path, "absent"] => {
                    host.btf.insert(path.to_owned(), Evidence::Absent);
                }
                ["btf", path, "unknown"] => {
                    host.btf.insert(path.to_owned(), Evidence::Unknown);
                }
                ["used", cid, name] => {
                    host.used.insert(cid.parse().expect("a CID"), name.to_owned());
                }
                ["strict"] => host.options.rules.strict = true,
                ["set", word] => host.options.set.push(word.to_owned()),
                _ => {}
            }
        }
        host
    }
}

impl Facts for Host {
    fn exists(&self, path: &str) -> Option<bool> {
        Some(!self.absent.contains(path))
    }

    fn is_directory(&self, path: &str) -> Option<bool> {
        Some(self.directories.contains(path))
    }

    fn head(&self, path: &str) -> Option<[u8; 4]> {
        self.heads.get(path).copied()
    }

    fn btf(&self, path: &str) -> Option<Evidence> {
        self.btf.get(path).copied()
    }
}

/// Loads a case as if it lay in `/srv/vm`.
fn load(name: &str) -> Loaded {
    let dir = root().join("fixtures/microvm/diag");
    let read = |path: &str| {
        let name = path.strip_prefix("/srv/vm/").unwrap_or(path);
        let text = fs::read_to_string(dir.join(name));
        text.map_err(|_| Unread::Refused("no such file".to_owned()))
    };
    let text = fs::read_to_string(dir.join(name)).expect("the case");
    let host = Host::read(&text);
    let mut loaded =
        pipeline::load_with(&format!("/srv/vm/{name}"), name, &read, &host.options, &host);
    for machine in &loaded.machines {
        let vm = &machine.vm;
        let cid = validate::kernel_cid(vm.hypervisor.name(), vm.vsock.cid);
        if let Some(mut it) = validate::used_cid(&machine.name, cid, &host.used) {
            it.place = Some(machine.tree.locate(&it.path));
            loaded.report.push(it);
        }
    }
    loaded.report.sort();
    loaded
}

/// The three-digit codes that stand in `text`.
fn codes(text: &str) -> BTreeSet<String> {
    let parts = text.match_indices("MV").filter_map(|(at, _)| text.get(at..at + 5));
    let is_code = |part: &&str| part.bytes().skip(2).all(|byte| byte.is_ascii_digit());
    parts.filter(is_code).map(str::to_owned).collect()
}

#[test]
fn descriptions_with_mistakes_are_told_what_is_wrong() {
    let mut wrong = Vec::new();
    for name in cases() {
        let loaded = load(&name);
        let found = loaded.report.text(&loaded.files);
        let path = root().join("fixtures/microvm/diag").join(&name).with_extension("txt");
        match fs::read_to_string(&path) {
            Ok(wanted) if wanted == found => {}
            Ok(wanted) => wrong.push(format!("{name}\nwanted:\n{wanted}\nfound:\n{found}")),
            Err(_) if std::env::var_os("BLESS").is_some() => {
                fs::write(&path, found).expect("a new fixture");
            }
            Err(error) => wrong.push(format!("{name}: {error}; found:\n{found}")),
        }
        // A case says the code that it is named after, or nothing if it is fine.
        let is_fine = name.contains("-fine.");
        let code = name.get(..5).unwrap_or_default();
        let text = loaded.report.text(&loaded.files);
        if is_fine != text.is_empty()
            || (code.starts_with("MV") && !is_fine && !text.contains(code))
        {
            wrong.push(format!("{name}: {code} and what is said disagree\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn findings_stand_inside_the_text_and_say_the_same_as_json() {
    for name in cases() {
        let loaded = load(&name);
        let dir = root().join("fixtures/microvm/diag");
        let lines = fs::read_to_string(dir.join(&name)).expect("the case").lines().count();
        let json = loaded.report.to_json(&loaded.files);
        let list = json.as_array().expect("a list");
        assert_eq!(list.len(), loaded.report.iter().count());
        for (it, object) in loaded.report.iter().zip(list) {
            assert_eq!(object["code"], it.code);
            assert_eq!(object["message"].as_str(), Some(it.message.as_str()));
            assert_eq!(object.get("vm").and_then(|vm| vm.as_str()), it.vm.as_deref());
            let span = object.get("span").and_then(|span| span.get("line"));
            if let Some(line) = span.and_then(serde_json::Value::as_u64) {
                assert!(line >= 1 && line <= lines as u64, "{name}: {object}");
            }
        }
    }
}

/// The codes that the sources of the pure part give.
fn given() -> BTreeSet<String> {
    let mut given = BTreeSet::new();
    let mut dirs = vec![root().join("bin/microvm/src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let text = fs::read_to_string(&path).expect("a source");
                let quoted = text.match_indices("\"MV").filter_map(|(at, _)| text.get(at..at + 7));
                let quoted = quoted.filter(|it| it.ends_with('"'));
                given.extend(quoted.flat_map(codes));
            }
        }
    }
    assert!(given.len() > 80, "{given:?}");
    given
}

#[test]
fn every_code_has_a_case() {
    let shown: String = cases()
        .iter()
        .map(|name| {
            let path = root().join("fixtures/microvm/diag").join(name).with_extension("txt");
            fs::read_to_string(path).unwrap_or_default()
        })
        .collect();
    let shown = codes(&shown);
    let given = given();
    let missing: Vec<_> = given.difference(&shown).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}
