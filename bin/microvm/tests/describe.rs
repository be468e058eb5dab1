// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands that describe, as a user meets them: words in, text and status out.

use std::fs;
use std::path::PathBuf;

mod support;

use support::microvm;

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

#[test]
fn every_word_is_explained_with_its_place() {
    let dir = directory("explain", &[("lab.toml", LAB)]);
    let lab = dir.join("lab.toml").display().to_string();
    let (status, text) = microvm(&["explain", &lab]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("-m 256M\n    mem: memory ("), "{text}");
    assert!(text.contains("lab.toml:3)\n-smp 1\n    vcpu: virtual processors (default)"), "{text}");
    let (_, argv) = microvm(&["show", "--argv", &lab]);
    let explained: Vec<&str> = text.lines().filter(|line| !line.starts_with("    ")).collect();
    let words: Vec<&str> = argv.lines().collect();
    assert_eq!(explained.join(" "), words.join(" "), "every word, in its order");
    for word in ["smp", "--smp"] {
        let (_, text) = microvm(&["explain", &lab, "--", word]);
        assert_eq!(text, "-smp 1\n    vcpu: virtual processors (default)\n");
    }
}

#[test]
fn a_key_is_explained_with_type_default_and_origin() {
    let dir = directory("key", &[("lab.toml", LAB)]);
    let lab = dir.join("lab.toml").display().to_string();
    let (status, text) = microvm(&["explain", &lab, "volumes.size"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("volumes[0].size = 64 (") && text.contains("lab.toml:10)"), "{text}");
    let (_, text) = microvm(&["explain", &lab, "microvm.hugepageMem"]);
    assert!(text.contains("    default: false\n"), "{text}");
    assert!(text.contains("not by qemu, which this machine has"), "{text}");
    let (_, text) = microvm(&["--json", "explain", &lab, "mem"]);
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["lab"]["values"][0]["value"], "256");
    let (status, text) = microvm(&["explain", &lab, "memm"]);
    assert_eq!(status, 2);
    assert!(text.contains("did you mean 'mem'?"), "{text}");
}

#[test]
fn differences_are_those_of_options_and_of_words() {
    let dir = directory(
        "diff",
        &[("a.toml", LAB), ("b.toml", &LAB.replace("256", "384")), ("fleet.toml", FLEET)],
    );
    let path = |name: &str| dir.join(name).display().to_string();
    let (a, b, fleet) = (path("a.toml"), path("b.toml"), path("fleet.toml"));
    assert_eq!(microvm(&["diff", &a, &a]), (0, String::new()));
    let (status, text) = microvm(&["diff", &a, &b]);
    assert_eq!((status, text.as_str()), (1, "~ mem: 256 -> 384\n- -m 256M\n+ -m 384M\n"));
    let (status, text) = microvm(&["diff", &a, &fleet]);
    assert_eq!(status, 1);
    assert!(text.contains("- machine lab\n") && text.contains("+ machine a\n"), "{text}");
}

#[test]
fn packages_are_compared_as_descriptions_are() {
    let dir = directory("packages", &[("a.toml", LAB)]);
    let a = dir.join("a.toml").display().to_string();
    let out = dir.join("out").display().to_string();
    assert_eq!(microvm(&["build", "-o", &out, &a]).0, 0);
    assert_eq!(microvm(&["diff", &out, &a]), (0, String::new()));
    let (status, text) = microvm(&["diff", "--set", "vcpu=2", &out, &a]);
    assert_eq!((status, text.as_str()), (1, "~ vcpu: 1 -> 2\n- -smp 1\n+ -smp 2\n"));
    let nothing = dir.display().to_string();
    assert_eq!(microvm(&["diff", &nothing, &a]).0, 4);
    assert_eq!(microvm(&["diff", &a]).0, 4);
    let (_, described) = microvm(&["show", "--argv", &a]);
    assert_eq!(microvm(&["show", "--argv", &out]), (0, described));
    let (_, unit) = microvm(&["show", "--units", &out]);
    assert!(
        unit.starts_with("# microvm@lab.service.d/10-microvm.conf\n") && unit.contains("[Service]"),
        "{unit}"
    );
}

#[test]
fn the_schema_and_completions_are_printed() {
    let (status, text) = microvm(&["schema"]);
    assert_eq!(status, 0);
    let schema: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    for shell in ["bash", "zsh", "fish"] {
        let (status, text) = microvm(&["completions", shell]);
        assert!(status == 0 && text.contains("explain"), "{shell}: {text}");
    }
    assert_eq!(microvm(&["completions", "tcsh"]).0, 2);
}

#[test]
fn a_machine_of_the_host_is_compared_with_its_description() {
    let dir = directory("host", &[("lab.toml", LAB)]);
    let (lab, root) = (dir.join("lab.toml").display().to_string(), dir.display().to_string());
    let (status, text) = microvm(&["create", "--root", &root, "lab", &lab]);
    assert_eq!(status, 0, "{text}");
    let ask = |words: &[&str]| microvm(&[words, &["--root", &root]].concat());
    assert_eq!(ask(&["diff", "lab"]), (0, String::new()));
    fs::write(&lab, LAB.replace("256", "384")).expect("a file");
    let (status, text) = ask(&["diff", "lab"]);
    assert_eq!(status, 1);
    assert!(text.starts_with("# current -> description\n~ mem: 256 -> 384\n"), "{text}");
    assert!(ask(&["show", "lab"]).1.contains("\nmem = 256\n"));
    // While it runs, what each change needs is told as well.
    let current = dir.join("var/lib/microvms/lab/current");
    let package = fs::read_link(&current).expect("a package");
    std::os::unix::fs::symlink(package, current.with_file_name("booted")).expect("a link");
    let (status, text) = ask(&["diff", "lab"]);
    assert_eq!(status, 1);
    assert!(text.starts_with("# current -> description\n~ mem: 256 -> 384 (restart)\n"), "{text}");
    let (_, text) = ask(&["diff", "lab", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(found[0]["options"][0]["needs"], "restart");
    assert_eq!(ask(&["diff", "nobody"]).0, 4);
    assert_eq!(ask(&["show", "nobody"]).0, 4);
}
