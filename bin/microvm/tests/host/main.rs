// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands of a host as processes, on a root directory of their own. No service manager; what
//! stands for ssh runs the other host's command here, on a root of its own.

mod apply;
mod doctor;
mod forms;
mod life;
mod streams;
mod volume;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use plinth::file::Lock;
use plinth::testing::{LONG, Patient, finished, joined, output, ready, until};
use plinth::time::Wall;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

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

    fn command(&self, words: &[&str]) -> Command {
        let path = std::env::var("PATH").expect("a path");
        let mut command = Command::new(PROGRAM);
        command
            .args(words)
            .arg("--root")
            .arg(self.0.join("root"))
            .env("PATH", format!("{}:{path}", self.0.join("bin").display()))
            .env("GROUND", &self.0);
        command
    }

    /// Status, standard output and standard error.
    fn run(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let output = output(&mut self.command(words));
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

/// What a start by units begins with.
#[test]
fn the_package_that_is_to_run_is_marked_when_nobody_changes_it_any_more() {
    let ground = Ground::new("marked");
    let path = ground.describe("a.toml", 256);
    ground.said(&["create", "a", &path]);
    let at = ground.0.join("root/var/lib/microvms/a");
    let lock = Lock::try_exclusive(&at.join(".lock")).expect("a lock").expect("ours");
    let opens = inotify::init(inotify::CreateFlags::CLOEXEC).expect("a watch");
    inotify::add_watch(&opens, at.join(".lock"), inotify::WatchFlags::OPEN).expect("a watch");
    let mut command = ground.command(&["internal", "set-booted", "a"]);
    let child = command.stdout(Stdio::piped()).spawn().expect("the program");
    let ended = child.stdout.as_ref().expect("its output");
    let mut fds = [PollFd::new(&opens, PollFlags::IN), PollFd::new(ended, PollFlags::IN)];
    let limit = Timespec::try_from(LONG).expect("a time");
    poll(&mut fds, Some(&limit)).expect("an event");
    assert!(!fds[0].revents().is_empty(), "it asks whether somebody works on it");
    fs::remove_file(at.join("current")).expect("removed");
    symlink("gen/other", at.join("current")).expect("a link");
    drop(lock);
    assert!(finished(child).status.success());
    assert_eq!(fs::read_link(at.join("booted")).expect("a link"), Path::new("gen/other"));
}

#[test]
fn images_that_no_package_names_go_after_a_day() {
    let ground = Ground::new("images");
    let [named, unnamed, fresh] = ["a", "b", "c"].map(|digit| digit.repeat(64));
    let path = |hash: &str| ground.0.join("root/var/lib/microvms/.images").join(hash);
    let make = |hash: &str, hours: u64| {
        let path = ground.write(&format!("root/var/lib/microvms/.images/{hash}"), "an image");
        let since = UNIX_EPOCH + Duration::from_secs(Wall::now().0 - hours * 3600);
        fs::File::options().write(true).open(path).expect("it").set_modified(since).expect("set");
    };
    for (hash, hours) in [(&named, 30), (&unnamed, 30), (&fresh, 20)] {
        make(hash, hours);
    }
    make("other", 30);
    let text = format!("kernel = \"/var/lib/microvms/.images/{named}\"\n");
    ground.said(&["create", "web1", &ground.write("web1.toml", &text)]);
    assert_eq!(ground.said(&["gc", "web1"]), "", "images are nobody's");
    assert_eq!(ground.said(&["gc"]), format!("removed image {unnamed}\n"));
    assert!([named.as_str(), &fresh, "other"].iter().all(|name| path(name).exists()));
    // A package that names it is about to come.
    make(&unnamed, 30);
    assert!(ground.said(&["internal", "have-image", &unnamed]).ends_with(&format!("{unnamed}\n")));
    assert_eq!(ground.said(&["gc"]), "");
    ground.said(&["remove", "--yes", "web1"]);
    assert_eq!(ground.said(&["gc"]), format!("removed image {named}\n"));
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
    let path = ground
        .write("a.toml", "kernel = \"/vmlinuz\"\nsocket = false\nqemu.binary = \"sleeper\"\n");
    let here = |words: &[&str]| {
        let path = format!("{}:/usr/bin:/bin", ground.0.join("bin").display());
        let mut command = Command::new(PROGRAM);
        command.args(words).args(["--root", "root"]).current_dir(&ground.0).env("PATH", path);
        output(&mut command).status.code()
    };
    assert_eq!(here(&["create", "a", &path, "--start"]), Some(0));
    assert_eq!(here(&["status", "a"]), Some(0));
    assert_eq!(here(&["stop", "a"]), Some(0));
    assert_eq!(here(&["status", "a"]), Some(1));
}

/// Whether no command works on the machine in the directory `at`: a start does until a little after
/// its hypervisor runs.
fn is_free(at: &Path) -> bool {
    Lock::try_exclusive(&at.join(".lock")).is_ok_and(|lock| lock.is_some())
}

#[test]
fn a_machine_in_the_foreground_has_its_status_and_leaves_nothing() {
    let ground = Ground::new("foreground");
    let path = ground.write(
        "a.toml",
        "kernel = \"/vmlinuz\"\nsocket = false\nqemu.binary = \"sleeper\"\n[binScripts]\n\
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
        until("it runs", || {
            assert!(!foreground.is_finished(), "it does not run");
            log().ends_with("runs\n") && is_free(&at)
        });
        let again: [&[&str]; 3] = [&["run", "a", "--setup"], &["update", "a"], &["restart", "a"]];
        let others = again.map(|words| ground.run(words).0);
        (foreground.join().expect("a thread"), others)
    });
    assert_eq!(others, [Some(5), Some(0), Some(0)]);
    assert_eq!(ended.0, Some(143), "{}", ended.2);
    // What was started anew is not taken down by the end of the one before.
    until("it runs again", || {
        assert_eq!(ground.run(&["status", "a"]).0, Some(0), "{}", log());
        log() == "up\nruns\ndown\nup\nruns\n"
    });
    assert!(at.join("booted").exists());
    ground.said(&["stop", "a"]);
    assert_eq!(log(), "up\nruns\ndown\nup\nruns\ndown\n");
}

#[test]
fn a_machine_that_another_command_works_on_is_left_alone() {
    let ground = Ground::new("locked");
    ground.program("bin/sleeper", "exec sleep 100");
    let text = "kernel = \"/vmlinuz\"\nsocket = false\nqemu.binary = \"sleeper\"\n";
    let path = ground.write("a.toml", text);
    ground.said(&["create", "a", &path]);
    ground.write("a.toml", &format!("mem = 300\n{text}"));
    ground.said(&["update", "a"]);
    let lock = ground.0.join("root/var/lib/microvms/a/.lock");
    let held = Lock::try_exclusive(&lock).expect("a file").expect("free");
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
    let units = "/etc/systemd/system";
    let wanted = format!("root{units}/microvms.target.wants/microvms-autostart.service");
    let late = fs::read_link(ground.0.join(wanted)).expect("a link");
    assert_eq!(late, Path::new(units).join("microvms-autostart.service"));
    // Called by its other name it is the generator, which without machines writes nothing.
    let generator = ground.0.join("microvm-generator");
    symlink(PROGRAM, &generator).expect("a link");
    let out = ground.0.join("out");
    let status = output(Command::new(&generator).arg(&out)).status;
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
