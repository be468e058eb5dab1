// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands of a host as processes, on a root directory of their own. No service manager; what
//! stands for ssh runs the other host's command here, on a root of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_microvm");

struct Ground(PathBuf);

impl Ground {
    fn new(what: &str) -> Self {
        let id = plinth::rand::uuid_v4();
        let at = std::env::temp_dir().join(format!("microvm-cli-{what}-{id}"));
        fs::create_dir_all(at.join("bin")).expect("directories");
        Self(at)
    }

    fn write(&self, path: &str, text: &str) -> String {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    fn program(&self, path: &str, script: &str) {
        let path = self.write(path, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    fn describe(&self, path: &str, memory: u32) -> String {
        self.write(path, &format!("mem = {memory}\nkernel = \"/vmlinuz\"\n"))
    }

    /// Status, standard output and standard error.
    fn run(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let path = std::env::var("PATH").expect("a path");
        let output = Command::new(PROGRAM)
            .args(words)
            .arg("--root")
            .arg(self.0.join("root"))
            .env("PATH", format!("{}:{path}", self.0.join("bin").display()))
            .env("GROUND", &self.0)
            .output()
            .expect("the program");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    fn said(&self, words: &[&str]) -> String {
        let (status, out, err) = self.run(words);
        assert_eq!(status, Some(0), "{words:?}: {err}");
        out
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What the superblock of an ext4 says: its size in KiB, and whether it is marked as damaged.
fn ext4(image: &Path) -> (u64, bool) {
    let mut command = Command::new("/sbin/dumpe2fs");
    let output = command.arg("-h").arg(image).output().expect("dumpe2fs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
        line.trim().to_owned()
    };
    let number = |name: &str| field(name).parse::<u64>().expect("a number");
    let size = number("Block count:") * number("Block size:") / 1024;
    (size, field("Filesystem state:") != "clean")
}

#[test]
fn a_volume_grows_with_its_file_system_or_without_it() {
    let ground = Ground::new("volume");
    let describe = |more: &str| {
        let text = format!("kernel = \"/vmlinuz\"\n[[volumes]]\nimage = \"v.img\"\n{more}");
        ground.write("web1.toml", &text)
    };
    let path = describe("size = 16\nfsType = \"ext4\"\n");
    ground.said(&["create", "web1", &path]);
    let image = ground.0.join("root/var/lib/microvms/web1/v.img");
    let grow = |more: &[&str]| ground.run(&[&["volume", "grow", "web1", "v.img"], more].concat());
    let fails = |more: &[&str], words: &str| {
        let (status, _, said) = grow(more);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(words), "{said}");
    };
    fails(&[], "cannot open");
    let made = Command::new(PROGRAM)
        .args(["internal", "mkvolume", "--size-mib", "16", "--fs", "ext4", "--"])
        .arg(&image)
        .status();
    assert!(made.expect("it runs").success());
    fails(&["--size", "15"], "v.img has 16 MiB already; volumes never shrink");

    // The image alone; then what is in it, by the same size.
    assert_eq!(grow(&["--size", "24"]).1, "v.img: 16 MiB -> 24 MiB\n");
    assert_eq!(ext4(&image), (16 << 10, false));
    assert_eq!(grow(&["--size", "24", "--file-system"]).1, "v.img: 24 MiB -> 24 MiB\n");
    assert_eq!(ext4(&image), (24 << 10, false));
    // By default, to what is described.
    describe("size = 32\n");
    ground.said(&["update", "web1"]);
    assert_eq!(grow(&["--file-system"]).1, "v.img: 24 MiB -> 32 MiB\n");
    assert_eq!(ext4(&image), (32 << 10, false));

    // What the check finds is told.
    fs::write(&image, vec![0; 32 << 20]).expect("an image");
    fails(&["--file-system"], "e2fsck failed: ");
    fails(&["--file-system"], "superblock");
    for (more, words) in [
        ("size = 40\nfsType = \"vfat\"\n", "a file system of type vfat cannot grow"),
        ("autoCreate = false\nimageType = \"qcow2\"\n", "v.img is of type qcow2"),
        ("autoCreate = false\n", "v.img: no size is described, give --size"),
    ] {
        describe(more);
        ground.said(&["update", "web1"]);
        fails(&["--file-system"], words);
        assert_eq!(fs::metadata(&image).expect("an image").len(), 32 << 20, "{more}");
    }
    let (_, _, said) = ground.run(&["volume", "grow", "web1", "no.img"]);
    assert!(said.contains("MicroVM web1 has no volume no.img"), "{said}");
}

#[test]
fn a_machine_from_its_creation_to_its_removal() {
    let ground = Ground::new("life");
    let path = ground.describe("web1.toml", 256);
    let created = ground.said(&["-f", &path, "-c", "web1"]);
    assert_eq!(created, "Created MicroVM web1. Start with: microvm start web1\n");
    assert_eq!(ground.run(&["create", "web1", &path]).0, Some(5));
    assert_eq!(ground.run(&["create", "../x", &path]).0, Some(2));
    assert_eq!(ground.run(&["create", "b", "/no/such/file"]).0, Some(4));
    assert_eq!(ground.said(&["-u", "web1"]), "No change\n");
    ground.describe("web1.toml", 300);
    assert!(ground.said(&["-l"]).starts_with("web1: outdated("));
    assert!(ground.said(&["update", "web1"]).contains("~ mem: 256 -> 300"));
    let list: serde_json::Value =
        serde_json::from_str(&ground.said(&["list", "--json"])).expect("JSON");
    assert_eq!(list[0]["state"], "not-booted");
    assert_eq!(list[0]["memory"], 300);
    ground.said(&["rollback", "web1"]);
    ground.describe("web1.toml", 0);
    let broken = ground.said(&["list"]);
    assert!(broken.starts_with("web1: broken: ") && broken.contains("MV102"), "{broken}");
    assert_eq!(ground.run(&["update", "web1"]).0, Some(3));
    assert_eq!(ground.run(&["status", "web1"]).0, Some(1));
    assert_eq!(ground.run(&["remove", "web1"]).0, Some(1));
    ground.said(&["remove", "web1", "--yes"]);
    assert_eq!(ground.said(&["list"]), "");
}

#[test]
fn a_root_may_be_relative() {
    let ground = Ground::new("relative");
    ground.program("bin/sleeper", "exec sleep 1000");
    let path = ground.write("a.toml", "kernel = \"/vmlinuz\"\nqemu.binary = \"sleeper\"\n");
    let here = |words: &[&str]| {
        let path = format!("{}:/usr/bin:/bin", ground.0.join("bin").display());
        let mut command = Command::new(PROGRAM);
        command.args(words).args(["--root", "root"]).current_dir(&ground.0).env("PATH", path);
        command.output().expect("the program").status.code()
    };
    assert_eq!(here(&["create", "a", &path, "--start"]), Some(0));
    assert_eq!(here(&["status", "a"]), Some(0));
    assert_eq!(here(&["stop", "a"]), Some(0));
    assert_eq!(here(&["status", "a"]), Some(1));
}

#[test]
fn declared_machines_are_planned_first() {
    let ground = Ground::new("apply");
    ground.describe("root/etc/microvm/vms.d/a.toml", 256);
    ground.describe("root/etc/microvm/vms.d/b.toml", 0);
    let (status, out, err) = ground.run(&["host", "apply", "--dry-run"]);
    assert_eq!(status, Some(3), "{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("+ a: create (") && lines[1].starts_with("! b: "), "{out}");
    assert!(!ground.0.join("root/var").exists());
    fs::remove_file(ground.0.join("root/etc/microvm/vms.d/b.toml")).expect("removed");
    ground.said(&["host", "apply"]);
    assert!(ground.said(&["host", "apply", "-j", "2"]).starts_with("= a: same ("));
    assert_eq!(ground.run(&["update", "a"]).0, Some(5));
    fs::remove_file(ground.0.join("root/etc/microvm/vms.d/a.toml")).expect("removed");
    assert!(ground.said(&["host", "apply"]).starts_with("! a: orphan"));
    assert!(ground.said(&["host", "apply", "--prune"]).ends_with("its data stays\n"));
    assert_eq!(ground.said(&["list"]), "");
}

#[test]
fn an_installation_is_whole_and_done_once() {
    let ground = Ground::new("install");
    let shown = ground.said(&["host", "install", "--dry-run"]);
    assert!(shown.contains("# /etc/systemd/system/microvm@.service\n[Unit]\n"));
    assert!(!ground.0.join("root").exists());
    let first = ground.said(&["host", "install", "--bridge", "br0"]);
    assert!(first.lines().all(|line| line.starts_with("+ /etc/")), "{first}");
    let bridges = fs::read_to_string(ground.0.join("root/etc/qemu/bridge.conf")).expect("written");
    assert_eq!(bridges, "allow br0\n");
    let second = ground.said(&["host", "install", "--bridge", "br0"]);
    assert!(second.lines().all(|line| line.starts_with("= /etc/")), "{second}");
    let link = ground.0.join("root/etc/systemd/system-generators/microvm-generator");
    assert_eq!(fs::read_link(link).expect("a link"), Path::new(PROGRAM));
    // Called by its other name it is the generator, which without machines writes nothing.
    let generator = ground.0.join("microvm-generator");
    symlink(PROGRAM, &generator).expect("a link");
    let out = ground.0.join("out");
    let status = Command::new(&generator).arg(&out).status().expect("it runs");
    assert!(status.success() && !out.join("microvms.target.wants/microvm@x.service").exists());
}

#[test]
fn a_package_goes_to_another_host_and_only_once() {
    let ground = Ground::new("deploy");
    ground.program(
        "bin/ssh",
        "case \" $* \" in *\" -O exit \"*) exit 0;; esac\nfor last; do :; done\n\
         echo \"$last\" >>\"$GROUND/log\"\nPATH=$GROUND/there:$PATH exec sh -c \"$last\"",
    );
    ground.program(
        "there/microvm",
        &format!("action=$1; shift\nexec {PROGRAM} \"$action\" --root \"$GROUND/other\" \"$@\""),
    );
    let path = ground.describe("web1.toml", 256);
    let deploy = || ground.said(&["deploy", "root@there", &path]);
    assert!(deploy().starts_with("Created MicroVM web1\nDeployed web1 ("));
    let run = ground.0.join("other/var/lib/microvms/web1/current/bin/microvm-run");
    let script = fs::read_to_string(run).expect("it arrived");
    assert!(script.contains(&format!("{}/there/microvm", ground.0.display())), "{script}");
    assert!(deploy().starts_with("No change\n"));
    ground.describe("web1.toml", 300);
    assert!(deploy().contains("~ mem: 256 -> 300\n"));
    let log = fs::read_to_string(ground.0.join("log")).expect("ssh was called");
    assert_eq!(log.lines().filter(|line| line.contains("internal have")).count(), 3);
}
