// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who may decide what root runs and makes: nobody else, whatever is put in its way.

use std::os::unix::fs::{MetadataExt as _, symlink};

use super::*;

/// A machine has scripts that run as root.
#[test]
fn the_group_of_the_hypervisors_makes_no_machines() {
    let ground = Ground::new("state");
    let state = ground.0.join("var/lib/microvms");
    let mode = || fs::metadata(&state).expect("it is there").permissions().mode() & 0o7777;
    ground.machine();
    assert_eq!(mode(), 0o2755);
    // As an older version, or another tool, has left it.
    fs::set_permissions(&state, fs::Permissions::from_mode(0o2775)).expect("a mode");
    ground.plain(|host| host.own_state()).expect("mended");
    assert_eq!(mode(), 0o2755);
}

/// The hypervisor's account may write into the directory of its machine.
#[test]
fn root_nobody_else_decides_what_is_run() {
    let ground = Ground::new("foreign");
    ground.machine();
    let at = ground.0.join("var/lib/microvms/a");
    let give = |name: &str| {
        std::os::unix::fs::lchown(at.join(name), Some(65534), None).expect("another owner");
    };
    let refused = |name: &str| {
        let said = ground.plain(|host| host.machine(&self::name("a"))).expect_err("refused");
        assert!(said.to_string().contains(&format!("a/{name} belongs neither")), "{said}");
    };
    for mark in [change::OLD, change::AUTOSTART, change::SOURCE] {
        give(mark);
        refused(mark);
        fs::remove_file(at.join(mark)).expect("removed");
    }
    let seen = ground.state();
    assert_eq!((seen.old, seen.autostart, seen.source), (None, false, None));

    // What `booted` leads to is told, but not run.
    symlink("gen", at.join(change::BOOTED)).expect("a link");
    give(change::BOOTED);
    assert!(ground.state().booted.is_some());
    assert_eq!(ground.plain(|host| host.package(&name("a"), change::BOOTED)), None);

    let log = at.join("console.log");
    symlink(at.join("target"), &log).expect("a link");
    assert!(process::log(&log).is_err());
    assert!(!at.join("target").exists());
}

/// A machine whose current package serves `sources`, made by a command of the host.
fn served(ground: &Ground, sources: &[&str]) -> Result<(), HostError> {
    let at = ground.0.join("var/lib/microvms/a/current").join(RUNNER);
    let shares: Vec<_> =
        sources.iter().map(|it| json!({ "proto": "virtiofs", "source": it })).collect();
    fs::write(at, json!({ "config": { "shares": shares } }).to_string()).expect("a package");
    ground.plain(|host| host.serve(&name("a")))
}

#[test]
fn directories_to_be_served_are_made() {
    let ground = Ground::new("serve");
    ground.machine();
    served(&ground, &["here/there", "./flat", "/srv/data", "/var/lib/microvms/a/whole"])
        .expect("made");
    for made in ["var/lib/microvms/a/here/there", "var/lib/microvms/a/flat", "srv/data"] {
        let mode = fs::metadata(ground.0.join(made)).expect(made).permissions().mode();
        assert_eq!(mode & 0o777, 0o775, "{made}");
    }
    assert!(ground.0.join("var/lib/microvms/a/whole").is_dir());
    let said = served(&ground, &["../b"]).expect_err("refused").to_string();
    assert!(said.ends_with("a/../b is not made: it goes back by '..'"), "{said}");
}

#[test]
fn nothing_is_made_behind_a_link() {
    let ground = Ground::new("served-link");
    ground.machine();
    let etc = ground.0.join("etc");
    symlink(&etc, ground.0.join("var/lib/microvms/a/here")).expect("a link");
    symlink(etc.join("new"), ground.0.join("var/lib/microvms/a/leaf")).expect("a link");
    for source in ["here/there", "leaf", "/var/lib/microvms/a/here/there"] {
        let said = served(&ground, &[source]).expect_err(source).to_string();
        assert!(said.contains("cannot create "), "{said}");
    }
    assert!(!etc.join("there").exists() && !etc.join("new").exists());
}

/// The daemon that serves it is root, and follows a link in its place.
#[test]
fn root_directories_to_be_served_are_roots() {
    let ground = Ground::new("served-owner");
    fs::write(ground.0.join("etc/passwd"), "microvm:x:4000:4001::/:/bin/sh\n").expect("a file");
    fs::write(ground.0.join("etc/group"), "kvm:x:4001:\n").expect("a file");
    ground.machine();
    let at = ground.0.join("var/lib/microvms/a");
    fs::create_dir(at.join("before")).expect("a directory");
    std::os::unix::fs::chown(at.join("before"), Some(4000), None).expect("an owner");
    served(&ground, &["new", "before"]).expect("made");
    for made in ["new", "before"] {
        let found = fs::metadata(at.join(made)).expect(made);
        let mode = found.permissions().mode() & 0o777;
        assert_eq!((found.uid(), found.gid(), mode), (0, 4001, 0o775), "{made}");
    }
}
