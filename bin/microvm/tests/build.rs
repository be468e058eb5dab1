// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm build` as a user meets it: which packages are made of which files, and where.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory of this test, with these files in it.
fn directory(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("build-{name}"));
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir).expect("a directory");
    for (file, text) in files {
        let path = dir.join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
    dir
}

/// Runs the command in `dir`: its status, and what it said on both outputs.
fn microvm(dir: &Path, words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_microvm")).args(words).current_dir(dir).output();
    let output = output.expect("it runs");
    let said = String::from_utf8(output.stdout).expect("text");
    (output.status.code(), said + &String::from_utf8(output.stderr).expect("text"))
}

/// Everything below `dir`, but what is in packages.
fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(at) = dirs.pop() {
        for entry in fs::read_dir(at).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.join("bin").is_dir() {
                dirs.push(path.clone());
            }
            let inner = path.strip_prefix(dir).expect("below");
            found.push(inner.to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

#[test]
fn no_name_of_a_fleet_leads_out_of_the_directory() {
    let dir = directory("escape", &[]);
    let abs = dir.join("abs").display().to_string();
    for name in ["../../escape", "", ".", "..", "a/b", &abs] {
        let text = format!("[vms.{name:?}]\nhostName = \"ok\"\nkernel = \"/etc/hostname\"\n");
        fs::write(dir.join("fleet.toml"), text).expect("a file");
        let (status, said) = microvm(&dir, &["build", "-o", "deep/deeper/out", "fleet.toml"]);
        assert_eq!(status, Some(3), "{said}");
        let text = format!("fleet.toml:1:6: error[MV010]: {name}: {name:?} is no host name\n");
        assert!(said.starts_with(&text), "{said}");
        assert_eq!(tree(&dir), ["fleet.toml"], "{name}");
    }
}

#[test]
fn packages_of_one_name_are_made_of_no_file() {
    let text = "kernel = \"/etc/hostname\"\n";
    let named = format!("# no name\n{text}hostName = \"web\"\n");
    let fleet = "defaults.kernel = \"/etc/hostname\"\n[vms.db]\n[vms.web]\n";
    let files = [("web.toml", text), ("b/web.toml", text), ("c.toml", &named), ("f.toml", fleet)];
    let dir = directory("names", &files);
    let before = tree(&dir);
    for (second, place) in [("b/web.toml", "1:1"), ("c.toml", "3:1"), ("f.toml", "3:6")] {
        let (status, said) = microvm(&dir, &["build", "-o", "out", "web.toml", second]);
        let text = format!(
            "{second}:{place}: error[MV008]: web: a machine of web.toml has the same name\n"
        );
        assert_eq!((status, said), (Some(3), text));
        assert_eq!(tree(&dir), before);
    }
    let (status, said) = microvm(&dir, &["build", "--check", "web.toml", "web.toml"]);
    assert_eq!(status, Some(3), "{said}");
}

#[test]
fn a_file_that_is_not_there_stops_no_check() {
    let files = [("good.toml", "kernel = \"/etc/hostname\"\n"), ("bad.toml", "vcpu = 0\n")];
    let dir = directory("missing", &files);
    let gone = "error[MV007]: cannot read nope.toml: No such file or directory (os error 2)\n";
    let (status, said) = microvm(&dir, &["build", "-o", "out", "good.toml", "nope.toml"]);
    assert_eq!((status, said.as_str()), (Some(4), gone));
    let (status, said) = microvm(&dir, &["build", "-o", "out", "nope.toml", "bad.toml"]);
    assert!(status == Some(4) && said.contains("bad.toml:1:1: error[MV101]"), "{said}");
    assert_eq!(tree(&dir), ["bad.toml", "good.toml"]);

    let (status, said) = microvm(&dir, &["check", "nope.toml", "bad.toml", "good.toml"]);
    assert!(status == Some(4) && said.starts_with(gone), "{said}");
    assert!(said.contains("nope.toml: 1 error\n") && said.contains("bad.toml:1:1: "), "{said}");
    assert!(said.ends_with("good.toml: valid, 1 machine\n"), "{said}");
    let (status, said) = microvm(&dir, &["check", "--json", "bad.toml", "nope.toml"]);
    let found: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((status, found["errors"].as_u64()), (Some(4), Some(3)), "{said}");
    assert_eq!(microvm(&dir, &["check", "bad.toml", "good.toml"]).0, Some(3));
}

#[test]
fn a_name_is_what_stands_before_the_last_extension() {
    let text = "kernel = \"/etc/hostname\"\n";
    let dir = directory("stems", &[("web.x.toml", text), ("web.y.toml", text)]);
    let (status, said) = microvm(&dir, &["build", "-o", "out", "web.x.toml", "web.y.toml"]);
    assert_eq!(status, Some(3), "{said}");
    for name in ["web.x", "web.y"] {
        let text = format!("{name}.toml:1:1: error[MV010]: {name:?} is no host name\n");
        assert!(said.contains(&text), "{said}");
    }
    let names = ["--set", "hostName=web"];
    let (status, said) =
        microvm(&dir, &[&["build", "-o", "out", "web.x.toml"][..], &names].concat());
    assert_eq!(status, Some(0), "{said}");
}
