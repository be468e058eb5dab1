// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands that describe, as a user meets them: words in, text and status out.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use microvm::cli::{World, run};

/// Runs a command line: its status, and what it printed.
fn microvm(words: &[&str]) -> (u8, String) {
    let mut out = Vec::new();
    let mut world = World { env: &|_| None, out: &mut out, terminal: false };
    let status = match run(words.iter().map(OsString::from), &mut world) {
        Ok(status) => status,
        Err(failure) => {
            out.extend(format!("failure: {failure}\n").into_bytes());
            failure.exit
        }
    };
    (status, String::from_utf8(out).expect("text"))
}

/// A directory of this test, with these files in it.
fn directory(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("describe-{name}"));
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir).expect("a directory");
    for (file, text) in files {
        fs::write(dir.join(file), text).expect("a file");
    }
    dir
}

const LAB: &str = r#"
hostName = "lab"
mem = 256
kernel = "/srv/vm/vmlinuz"
initrdPath = "/srv/vm/initrd.img"
[qemu]
accel = "tcg"
[[volumes]]
image = "my data.img"
size = 64
mountPoint = "/data"
"#;

const FLEET: &str = r#"
[defaults]
kernel = "/k"
[vms.a]
[vms.b]
mem = 1024
"#;

#[test]
fn a_valid_description_is_said_to_be() {
    let dir = directory("valid", &[("lab.toml", LAB), ("fleet.toml", FLEET)]);
    let lab = dir.join("lab.toml").display().to_string();
    let fleet = dir.join("fleet.toml").display().to_string();
    for command in ["check", "validate"] {
        let (status, text) = microvm(&[command, &lab, &fleet]);
        assert_eq!(status, 0, "{text}");
        assert!(text.contains("lab.toml: valid, 1 machine"), "{text}");
        assert!(text.contains("fleet.toml: valid, 2 machines"), "{text}");
    }
    assert_eq!(microvm(&["check"]).0, 2);
    assert_eq!(microvm(&["check", "/no/such/file.toml"]).0, 4);
}

#[test]
fn mistakes_are_told_with_their_places() {
    let wrong = LAB.replace("mem =", "memory =").replace("size = 64", "size = \"x\"");
    let dir = directory("wrong", &[("lab.toml", &wrong)]);
    let lab = dir.join("lab.toml").display().to_string();
    let (status, text) = microvm(&["check", &lab]);
    assert_eq!(status, 3, "{text}");
    assert!(text.contains("lab.toml:3:1: error[MV002]: unknown key \"memory\""), "{text}");
    assert!(text.contains("error[MV004]"), "{text}");
    let (status, text) = microvm(&["--json", "check", &lab]);
    assert_eq!(status, 3, "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(json["errors"].as_u64() >= Some(2), "{text}");
    let first = &json["diagnostics"][0];
    assert_eq!((&first["code"], &first["path"]), (&"MV002".into(), &"memory".into()));
    assert_eq!((&first["span"]["line"], &first["span"]["column"]), (&3.into(), &1.into()));
    let (status, text) = microvm(&["show", &lab]);
    assert_eq!(status, 3, "{text}");
    assert!(text.contains("errors"), "{text}");
}

#[test]
fn codes_of_warnings_are_held_to_their_form() {
    for words in [["--deny", "all"], ["--deny", "MV1"], ["-W", "warnings"], ["-W", "x"]] {
        let words = [&["check", "/x.toml"], &words[..]].concat();
        assert_eq!(microvm(&words).0, 2, "{words:?}");
    }
}

#[test]
fn the_command_line_is_shown_word_by_word_as_a_shell_takes_it() {
    let dir = directory("argv", &[("lab.toml", LAB)]);
    let lab = dir.join("lab.toml").display().to_string();
    let (status, text) = microvm(&["show", "--argv", &lab]);
    assert_eq!(status, 0, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(&lines[..3], ["qemu-system-x86_64", "-name", "lab"]);
    assert!(text.contains("'id=vda,format=raw,file=my data.img,"), "{text}");
    let (_, text) = microvm(&["show", "--argv", "--set", "qemu.binary='my qemu'", &lab]);
    assert!(text.starts_with("'my qemu'\n"), "{text}");
}

#[test]
fn other_views_are_lines_too() {
    let dir = directory("views", &[("lab.toml", LAB), ("fleet.toml", FLEET)]);
    let lab = dir.join("lab.toml").display().to_string();
    let (_, text) = microvm(&["show", "--fstab", &lab]);
    assert_eq!(text, "/dev/vda /data ext4 defaults 0 0\n");
    let (_, text) = microvm(&["show", "--modules", &lab]);
    assert!(text.lines().any(|line| line == "virtio_blk"), "{text}");
    let tap = "interfaces=[{type='tap',id='vm-x',mac='02:00:00:00:00:01'}]";
    let (_, text) = microvm(&["show", "--net-setup", "--set", tap, &lab]);
    assert!(text.starts_with("ip tuntap add name vm-x mode tap"), "{text}");
    let (_, text) = microvm(&["show", &lab]);
    assert!(text.contains("\nmem = 256\n") && text.contains("\nvcpu = 1\n"), "{text}");
    let (_, text) = microvm(&["--json", "show", &lab]);
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["lab"]["config"]["mem"], 256);
    assert_eq!(json["lab"]["argv"][1], "-name");
}

#[test]
fn one_machine_of_a_fleet_can_be_chosen() {
    let dir = directory("fleet", &[("fleet.toml", FLEET)]);
    let fleet = dir.join("fleet.toml").display().to_string();
    let (_, text) = microvm(&["show", &fleet]);
    assert!(text.starts_with("# a\n") && text.contains("\n# b\n"), "{text}");
    let (_, text) = microvm(&["--json", "show", "--vm", "b", &fleet]);
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((json["b"]["config"]["mem"].as_u64(), json.get("a")), (Some(1024), None));
    let (status, text) = microvm(&["show", "--vm", "bb", &fleet]);
    assert_eq!(status, 4);
    assert!(text.contains("did you mean 'b'?"), "{text}");
}
