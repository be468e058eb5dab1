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
    fails(&[], "cannot look at");
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
    let said = grow(&["--file-system"]).2;
    assert!(said.contains("superblock") && said.contains("v.img") && !said.contains("/proc"));
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
fn a_machine_in_the_foreground_has_its_status_and_leaves_nothing() {
    let ground = Ground::new("foreground");
    let path = ground.write(
        "a.toml",
        "kernel = \"/vmlinuz\"\nqemu.binary = \"sleeper\"\n[binScripts]\n\
         tap-up = \"echo up >>log\"\ntap-down = \"echo down >>log\"\n",
    );
    ground.said(&["create", "a", &path]);
    let at = ground.0.join("root/var/lib/microvms/a");
    let log = || fs::read_to_string(at.join("log")).unwrap_or_default();
    for (body, status) in [("exit 7", 7), ("kill -KILL $$", 137), ("exit 0", 0)] {
        ground.program("bin/sleeper", &format!("echo runs >>log\n{body}"));
        assert_eq!(ground.run(&["run", "a", "--setup"]).0, Some(status), "{body}");
        assert_eq!(log(), "up\nruns\ndown\n");
        assert!(!at.join("booted").exists() && !at.join(".process").exists());
        fs::remove_file(at.join("log")).expect("removed");
    }
    // Meanwhile the others go on: an update is for the next start, a stop is a stop.
    ground.program("bin/sleeper", "echo runs >>log\nexec sleep 100");
    let (ended, others) = std::thread::scope(|scope| {
        let foreground = scope.spawn(|| ground.run(&["run", "a", "--setup"]));
        while !log().ends_with("runs\n") {
            assert!(!foreground.is_finished(), "it does not run");
            std::thread::yield_now();
        }
        let again: [&[&str]; 3] = [&["run", "a", "--setup"], &["update", "a"], &["restart", "a"]];
        let others = again.map(|words| ground.run(words).0);
        (foreground.join().expect("a thread"), others)
    });
    assert_eq!(others, [Some(5), Some(0), Some(0)]);
    assert_eq!(ended.0, Some(143), "{}", ended.2);
    // What was started anew is not taken down by the end of the one before.
    while log() != "up\nruns\ndown\nup\nruns\n" {
        assert_eq!(ground.run(&["status", "a"]).0, Some(0), "{}", log());
    }
    assert!(at.join("booted").exists());
    ground.said(&["stop", "a"]);
    assert_eq!(log(), "up\nruns\ndown\nup\nruns\ndown\n");
}

#[test]
fn a_machine_that_another_command_works_on_is_left_alone() {
    let ground = Ground::new("locked");
    ground.program("bin/sleeper", "exec sleep 100");
    let text = "kernel = \"/vmlinuz\"\nqemu.binary = \"sleeper\"\n";
    let path = ground.write("a.toml", text);
    ground.said(&["create", "a", &path]);
    ground.write("a.toml", &format!("mem = 300\n{text}"));
    ground.said(&["update", "a"]);
    let lock = ground.0.join("root/var/lib/microvms/a/.lock");
    let held = plinth::file::Lock::try_exclusive(&lock).expect("a file").expect("free");
    let commands: [&[&str]; 9] = [
        &["update", "a"],
        &["rollback", "a"],
        &["gc", "a"],
        &["enable", "a"],
        &["start", "a"],
        &["stop", "a"],
        &["restart", "a"],
        &["run", "a", "--setup"],
        &["remove", "a", "--yes"],
    ];
    for words in commands {
        let (status, out, err) = ground.run(words);
        assert_eq!((status, out.as_str()), (Some(5), ""), "{words:?}");
        assert!(err.ends_with("microvm: another command works on a\n"), "{words:?}: {err}");
    }
    drop(held);
    assert_eq!(ground.run(&["status", "a"]).0, Some(1));
    ground.said(&["rollback", "a"]);
}

#[test]
fn a_package_of_another_tool_has_no_options_to_show() {
    let ground = Ground::new("other");
    fs::create_dir(ground.0.join("other")).expect("a directory");
    let other = ground.0.join("other").display().to_string();
    let (status, _, err) = ground.run(&["show", &other]);
    assert_eq!(status, Some(4));
    assert_eq!(err, format!("microvm: {other} exists and is not a runner package\n"));
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

#[test]
fn root_a_volume_does_not_grow_through_a_link_of_the_hypervisor() {
    let ground = Ground::new("link");
    let text = "kernel = \"/k\"\n[[volumes]]\nimage = \"v.img\"\nsize = 2\n";
    let path = ground.write("web1.toml", text);
    ground.said(&["create", "web1", &path]);
    let far = ground.write("far", "");
    let link = ground.0.join("root/var/lib/microvms/web1/v.img");
    symlink(&far, &link).expect("a link");
    std::os::unix::fs::lchown(&link, Some(4000), None).expect("root may do that");
    let (status, _, said) = ground.run(&["volume", "grow", "web1", "v.img"]);
    assert_eq!(status, Some(1));
    assert!(said.ends_with("v.img is a link that another account has made\n"), "{said}");
    assert_eq!(fs::metadata(&far).expect("a file").len(), 0);
    std::os::unix::fs::lchown(&link, Some(0), None).expect("root may do that");
    assert_eq!(ground.said(&["volume", "grow", "web1", "v.img"]), "v.img: 0 MiB -> 2 MiB\n");
    assert_eq!(fs::metadata(&far).expect("a file").len(), 2 << 20);
}

/// Everything that the doctor says of a machine, one text after the other.
fn complaints(ground: &Ground, name: &str) -> Vec<String> {
    let (_, out, err) = ground.run(&["host", "doctor", name, "--json"]);
    let all: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{err}"));
    let all = all.as_array().expect("a list").iter();
    let own = all.filter(|it| it["what"] == name || it["what"] == "microvm shell");
    let text = |it: &serde_json::Value| it.as_str().expect("a text").to_owned();
    own.map(|it| format!("{} {}", text(&it["level"]), text(&it["text"]))).collect()
}

const NEEDY: &str = r#"
kernel = "/boot/vmlinuz"
kernelBtf = true
vsock.cid = 10
[qemu]
accel = "tcg"
[[volumes]]
image = "made.img"
size = 16
[[volumes]]
image = "there.img"
size = 16
[[volumes]]
image = "/srv/far/other.img"
autoCreate = false
[[devices]]
bus = "pci"
path = "0000:03:00.0"
[[shares]]
tag = "x"
proto = "virtiofs"
source = "/srv/shared"
[[interfaces]]
type = "tap"
id = "vm-a"
mac = "auto"
tap = { vhost = true, bridge = "br0" }
[[interfaces]]
type = "macvtap"
id = "vm-b"
mac = "auto"
macvtap = { link = "nic0", mode = "bridge" }
"#;

/// A file of the root, with this mode.
fn put(ground: &Ground, path: &str, text: &str, mode: u32) {
    let path = ground.write(&format!("root{path}"), text);
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

/// A host with the machine `web1`, and nothing of what it needs.
fn needy(what: &str) -> Ground {
    let ground = Ground::new(what);
    // A service manager, so that machines have an account of their own.
    fs::create_dir_all(ground.0.join("root/run/systemd/system")).expect("a directory");
    ground.program("bin/systemctl", "exit 0");
    let path = ground.write("web1.toml", NEEDY);
    ground.said(&["create", "web1", &path]);
    put(&ground, "/etc/passwd", "microvm:x:4000:4001::/:\n", 0o644);
    put(&ground, "/etc/group", "kvm:x:4001:\n", 0o644);
    put(&ground, "/var/lib/microvms/web1/there.img", "", 0o600);
    ground
}

/// All of `texts` are said of `web1`.
fn complains(ground: &Ground, texts: &[&str]) {
    let said = complaints(ground, "web1");
    for text in texts {
        assert!(said.iter().any(|it| it.ends_with(text)), "{text}: {said:#?}");
    }
}

#[test]
fn the_doctor_names_what_a_machine_misses() {
    let ground = needy("misses");
    put(&ground, "/proc/sys/kernel/io_uring_disabled", "2\n", 0o644);
    complains(
        &ground,
        &[
            "web1.toml is gone",
            "its kernel is gone: /boot/vmlinuz",
            "/dev/net/tun is not there; modprobe tun",
            "/dev/vhost-net is not there; modprobe vhost_net",
            "/dev/vhost-vsock is not there; modprobe vhost_vsock",
            "microvm:kvm may not make made.img",
            "microvm:kvm may not write there.img",
            "/srv/far/other.img is missing, and nothing makes it",
            "kernel.io_uring_disabled is set; volumes need qemu.aio = \"threads\"",
            "/srv/shared, which it shares, is no directory",
            "there is no PCI device 0000:03:00.0",
            "the bridge br0 of vm-a is missing; ip link add br0 type bridge",
            "the link nic0 of vm-b is missing",
            "ssh goes through microvm",
        ],
    );
    let daemon = "virtiofsd version 7.2; echo using FUSE kernel interface version 7.36";
    ground.program("bin/virtiofsd", &format!("echo {daemon}"));
    let old = "bin/virtiofsd is the old C program, which takes other options\n";
    assert!(ground.run(&["host", "doctor"]).1.contains(old));
    ground.program("bin/virtiofsd", "echo virtiofsd 1.14.0");
    assert!(ground.run(&["host", "doctor"]).1.contains("ok   virtiofsd: /"));
    put(&ground, "/etc/group", "other:x:4001:\n", 0o644);
    complains(&ground, &["the group kvm of virtiofsd.group is missing; \"\" stands for none"]);
}

#[test]
fn the_doctor_names_what_is_there_and_does_not_serve() {
    let ground = needy("serves");
    put(&ground, "/boot/vmlinuz", "x", 0o644);
    for node in ["net/tun", "vhost-net", "vhost-vsock"] {
        put(&ground, &format!("/dev/{node}"), "", 0o600);
    }
    let (device, links) = ("/sys/bus/pci/devices/0000:03:00.0", "/sys/class/net");
    put(&ground, &format!("{device}/driver_override"), "", 0o644);
    put(&ground, &format!("{links}/br0/flags"), "0x1002\n", 0o644);
    put(&ground, &format!("{links}/nic0/flags"), "0x1002\n", 0o644);
    complains(
        &ground,
        &[
            "microvm:kvm may not use /dev/vhost-net; its owner or mode must change",
            "the PCI device 0000:03:00.0 has no IOMMU group: enable the IOMMU",
            "br0, to which vm-a belongs, is no bridge",
            "the link nic0 of vm-b is down; ip link set nic0 up",
        ],
    );
    fs::create_dir_all(ground.0.join("root/sys/class/net/br0/bridge")).expect("a directory");
    complains(&ground, &["the bridge br0 of vm-a is down; ip link set br0 up"]);

    // Everything as it should be.
    for node in ["net/tun", "vhost-net", "vhost-vsock"] {
        put(&ground, &format!("/dev/{node}"), "", 0o666);
    }
    put(&ground, &format!("{device}/iommu_group"), "", 0o644);
    put(&ground, &format!("{links}/br0/flags"), "0x1003\n", 0o644);
    put(&ground, &format!("{links}/nic0/flags"), "0x1003\n", 0o644);
    put(&ground, "/srv/far/other.img", "", 0o666);
    put(&ground, "/srv/shared/file", "", 0o644);
    let state = "/var/lib/microvms/web1";
    put(&ground, &format!("{state}/there.img"), "", 0o666);
    fs::set_permissions(ground.0.join(format!("root{state}")), fs::Permissions::from_mode(0o777))
        .expect("a mode");
    put(&ground, &ground.0.join("web1.toml").to_string_lossy(), "", 0o644);
    let said = complaints(&ground, "web1");
    assert_eq!(said[0], "ok has all that it needs", "{said:#?}");
    // A kernel that says what it lacks.
    symlink("vmlinuz", ground.0.join("root/boot/vmlinuz-6")).expect("a link");
    put(&ground, "/boot/config-6", "# CONFIG_DEBUG_INFO_BTF is not set\n", 0o644);
    let path = ground.write("web1.toml", &NEEDY.replace("vmlinuz", "vmlinuz-6"));
    put(&ground, &path, "", 0o644);
    ground.said(&["update", "web1"]);
    complains(&ground, &["/boot/vmlinuz-6 has no BTF type information, which kernelBtf asks for"]);
}

#[test]
fn the_doctor_tries_the_way_into_a_machine() {
    let ground = Ground::new("way");
    fs::create_dir_all(ground.0.join("root/run/systemd/system")).expect("a directory");
    ground.program("bin/ssh", "echo 'proxycommand none'");
    let stands = "echo Id=microvm@fc.service; echo ActiveState=";
    let text = "kernel = \"/k\"\nhypervisor = \"cloud-hypervisor\"\nvsock.cid = 10\n";
    let path = ground.write("fc.toml", text);
    ground.program("bin/systemctl", &format!("{stands}inactive"));
    ground.said(&["create", "fc", &path]);
    let way = || {
        let all = complaints(&ground, "fc");
        all.into_iter().last().expect("it says something")
    };
    assert_eq!(way(), "note fc does not run, so its sshd was not tried");
    ground.program("bin/systemctl", &format!("{stands}active"));
    let said = way();
    assert!(said.starts_with("bad no sshd at vsock-mux/") && said.contains(": cannot connect"));
    // A hypervisor that knows the port, and what may listen there.
    let socket = ground.0.join("root/var/lib/microvms/fc/notify.vsock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let answers: [&[u8]; 3] = [b"", b"OK 1\nHTTP", b"OK 1\nSSH-2.0-x\r\n"];
    let peer = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut heard = [0; 11];
            std::io::Read::read_exact(&mut stream, &mut heard).expect("a question");
            assert_eq!(&heard, b"CONNECT 22\n");
            std::io::Write::write_all(&mut stream, answer).expect("it listens");
        }
    });
    assert!(way().contains("nobody listens on vsock port 22"));
    assert!(way().contains("something else answers"));
    assert!(way().starts_with("ok an sshd answers at vsock-mux/"));
    peer.join().expect("three times");
    // Without a number there is no way.
    ground.write("fc.toml", "kernel = \"/k\"\nhypervisor = \"cloud-hypervisor\"\n");
    ground.said(&["update", "fc"]);
    assert_eq!(way(), "note fc has no vsock.cid, so no way in");
}

#[test]
fn root_the_doctor_looks_at_bridges_and_their_helper() {
    let ground = Ground::new("bridges");
    let text = "kernel = \"/k\"\n[[interfaces]]\ntype = \"bridge\"\nid = \"b\"\n\
                mac = \"auto\"\nbridge = \"br0\"\n\
                [[interfaces]]\ntype = \"tap\"\nid = \"t\"\nmac = \"auto\"\n";
    let path = ground.write("web1.toml", text);
    ground.said(&["create", "web1", &path]);
    let doctor = || ground.run(&["host", "doctor", "--net"]).1;
    let says = |line: &str| assert!(doctor().contains(line), "{line}\n{}", doctor());
    let helper = "/usr/lib/qemu/qemu-bridge-helper";
    says(&format!("bad  {helper}: is not there; interfaces of type bridge need it\n"));
    ground.program(&format!("root{helper}"), "");
    says(&format!("need setcap cap_net_admin+ep {helper}\n"));
    let there = ground.0.join(format!("root{helper}"));
    let able = format!("ok   {helper}: may attach machines to the bridges of bridge.conf\n");
    // The second version of the attribute, with the one capability.
    let attribute = [&[1, 0, 0, 2, 0, 0x10][..], &[0; 14]].concat();
    let name = "security.capability";
    rustix::fs::setxattr(&there, name, &attribute, rustix::fs::XattrFlags::empty())
        .expect("root may do that");
    says(&able);
    rustix::fs::removexattr(&there, name).expect("it was there");
    fs::set_permissions(&there, fs::Permissions::from_mode(0o4755)).expect("a mode");
    says(&able);
    says(
        "bad  web1: /etc/qemu/bridge.conf does not allow br0; microvm host install --bridge br0\n",
    );
    ground.write("root/etc/qemu/bridge.conf", "allow br0\n");
    assert!(!doctor().contains("bridge.conf does"));
    says("note web1: nothing attaches t to a network; see interfaces.tap.bridge");
    says("note forwarding: is off for IPv4");
    ground.write("root/proc/sys/net/ipv4/ip_forward", "1\n");
    says("ok   forwarding: is on for IPv4\n");
    // Without being asked, no networks.
    assert!(!ground.run(&["host", "doctor"]).1.contains("forwarding"));
}
