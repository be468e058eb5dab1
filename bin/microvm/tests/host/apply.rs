// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Declared machines: what `host apply` makes of them, and what it does when something fails.

use std::fs;
use std::path::PathBuf;

use plinth::file::Lock;

use super::Ground;

/// A machine whose hypervisor stays.
const STAYS: &str = "kernel = \"/vmlinuz\"\nsocket = false\nqemu.binary = \"sleeper\"\n";

impl Ground {
    /// Declares a machine.
    fn declare(&self, name: &str, more: &str) {
        self.write(&format!("root/etc/microvm/vms.d/{name}.toml"), &format!("{STAYS}{more}"));
    }

    fn undeclare(&self, name: &str) {
        let path = format!("root/etc/microvm/vms.d/{name}.toml");
        fs::remove_file(self.0.join(path)).expect("removed");
    }

    fn of(&self, name: &str, path: &str) -> PathBuf {
        self.0.join("root/var/lib/microvms").join(name).join(path)
    }

    /// The addresses of the machines' packages; nothing for one that is not there.
    fn cids<const N: usize>(&self, names: [&str; N]) -> [Option<u32>; N] {
        names.map(|name| {
            let path = self.of(name, "current/share/microvm/vsock-cid");
            fs::read_to_string(path).ok()?.trim().parse().ok()
        })
    }

    fn declare_cids(&self, machines: &[(&str, u32)]) {
        for (name, cid) in machines {
            self.declare(name, &format!("vsock.cid = {cid}\n"));
        }
    }
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
fn addresses_are_handed_on() {
    let ground = Ground::new("cids");
    ground.program("bin/sleeper", "exec sleep 1000");
    ground.declare_cids(&[("a", 10), ("b", 11)]);
    ground.said(&["host", "apply"]);
    ground.said(&["start", "a", "b"]);
    ground.declare_cids(&[("a", 11), ("b", 12)]);
    let said = ground.said(&["host", "apply"]);
    // Each takes what the one before has left.
    assert!(said.ends_with("Rebooting MicroVM b\nRebooting MicroVM a\n"), "{said}");
    assert_eq!(ground.cids(["a", "b"]), [Some(11), Some(12)]);
    ground.declare_cids(&[("a", 12), ("b", 11)]);
    let said = ground.said(&["host", "apply"]);
    assert_eq!(said.matches("Rebooting MicroVM ").count(), 2, "{said}");
    assert_eq!(ground.cids(["a", "b"]), [Some(12), Some(11)]);
    ground.said(&["status", "a", "b"]);
    let again = ground.said(&["host", "apply"]);
    assert!(again.lines().all(|line| line.starts_with('=')), "{again}");
    // What is gone leaves its address to others, if it goes.
    ground.undeclare("b");
    ground.declare_cids(&[("aa", 11)]);
    let (status, out, _) = ground.run(&["host", "apply"]);
    assert_eq!(status, Some(3), "{out}");
    let told = "! aa: error[MV119]: CID 11 is also used by VM \"b\"\n! b: orphan";
    assert!(out.contains(told), "{out}");
    ground.said(&["host", "apply", "--prune"]);
    assert_eq!(ground.cids(["a", "aa", "b"]), [Some(12), Some(11), None]);
    ground.said(&["stop", "a"]);
}

#[test]
fn what_fails_with_one_machine_keeps_no_other_waiting() {
    let ground = Ground::new("failures");
    ground.program("bin/sleeper", "exec sleep 1000");
    ground.declare("a", "");
    ground.said(&["host", "apply"]);
    let held = Lock::try_exclusive(&ground.of("a", ".lock")).expect("a file").expect("free");
    ground.declare("c", "");
    ground.declare_cids(&[("b", 9)]);
    ground.write("root/etc/microvm/vms.d/Web.toml", STAYS);
    ground.write("root/etc/microvm/vms.d/d.toml", "mem = [");
    let (status, out, err) = ground.run(&["host", "apply"]);
    assert_eq!(status, Some(5), "{out}{err}");
    for line in ["= a: same", "+ b: create", "+ c: create", "! d: /etc/microvm/vms.d/d.toml:1:"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let lines: Vec<&str> = err.lines().filter(|line| line.starts_with("microvm: ")).collect();
    let told = [
        "microvm: /etc/microvm/vms.d/Web.toml: 'Web' is no name of a machine",
        "microvm: a: another command works on a",
    ];
    assert_eq!(lines, told);
    assert!(ground.of("b", "current").exists() && ground.of("c", "current").exists());
    drop(held);
    ground.undeclare("d");
    assert_eq!(ground.run(&["host", "apply"]).0, Some(3), "there is still Web.toml");
}

#[test]
fn a_file_that_cannot_be_read_makes_no_orphan() {
    let ground = Ground::new("no-orphan");
    ground.declare("a", "");
    ground.said(&["host", "apply"]);
    ground.declare("a", "mem = [");
    let (status, out, _) = ground.run(&["host", "apply", "--prune"]);
    assert!(status == Some(3) && out.starts_with("! a: /etc/microvm/vms.d/a.toml:4:"), "{out}");
    assert!(ground.of("a", "current").exists());
}

#[test]
fn a_restart_that_failed_is_made_up_for() {
    let ground = Ground::new("restarts");
    ground.program("bin/sleeper", "exec sleep 1000");
    let names = ["p", "q", "r"];
    names.iter().for_each(|name| ground.declare(name, ""));
    ground.said(&["host", "apply"]);
    ground.said(&["start", "p", "q", "r"]);
    ground.declare("p", "mem = 300\n[binScripts]\ntap-up = \"exit 1\"\n");
    ground.declare("q", "mem = 300\n");
    ground.declare("r", "mem = 300\n");
    let (status, out, err) = ground.run(&["host", "apply"]);
    assert_eq!(status, Some(1), "{out}{err}");
    assert_eq!(out.matches("Rebooting MicroVM ").count(), 3, "{out}");
    let failures = err.lines().filter(|line| line.starts_with("microvm: p: "));
    assert_eq!(failures.count(), 1, "{err}");
    let link = |name: &str, link: &str| fs::read_link(ground.of(name, link)).expect("a link");
    for name in ["q", "r"] {
        assert_eq!(link(name, "booted"), link(name, "current"), "{name}");
    }
    // As if it had not come to the restart.
    let old = link("q", "old");
    fs::remove_file(ground.of("q", "booted")).expect("removed");
    std::os::unix::fs::symlink(old, ground.of("q", "booted")).expect("a link");
    let said = ground.said(&["host", "apply"]);
    let line = said.lines().find(|line| line.starts_with("~ q: ")).expect(&said);
    assert!(line.contains("same, runs another (") && line.ends_with("restart"), "{said}");
    assert!(said.ends_with("Rebooting MicroVM q\n"), "{said}");
    assert_eq!(link("q", "booted"), link("q", "current"));
    assert_eq!(ground.said(&["host", "apply"]).matches("restart").count(), 0);
    ground.said(&["stop", "q", "r"]);
}

#[test]
fn what_a_description_extends_counts() {
    let ground = Ground::new("extends");
    ground.program("bin/sleeper", "exec sleep 1000");
    let base = |text: &str| ground.write("root/etc/microvm/base.toml", text);
    let whole = format!("extends = [\"../base.toml\"]\n{STAYS}");
    ground.write("root/etc/microvm/vms.d/a.toml", &whole);
    base("autostart = false\nrestartIfChanged = false\n");
    ground.said(&["host", "apply"]);
    assert!(!ground.of("a", "autostart").exists());
    ground.said(&["start", "a"]);
    base("restartIfChanged = false\nmem = 300\n");
    let said = ground.said(&["host", "apply"]);
    assert!(said.starts_with("~ a: update") && !said.contains("restart"), "{said}");
    assert!(ground.of("a", "autostart").exists());
    ground.said(&["stop", "a"]);
    base("enable = false\n");
    assert!(ground.said(&["host", "apply"]).starts_with("! a: orphan"));
    ground.said(&["host", "apply", "--prune"]);
    assert!(!ground.of("a", "current").exists());
    assert_eq!(ground.said(&["host", "apply"]), "");
}
