// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Machines that something happened to: a package that is gone or damaged, a hypervisor that ends
//! at once, one that no unit knows of.

use std::fs;
use std::path::PathBuf;

use super::Ground;

/// The directory of the machine `a`.
fn at(ground: &Ground) -> PathBuf {
    ground.0.join("root/var/lib/microvms/a")
}

/// A machine whose hypervisor is this script, with scripts for its network.
fn create(ground: &Ground, hypervisor: &str) -> String {
    ground.program("bin/sleeper", hypervisor);
    let path = ground.write(
        "a.toml",
        "kernel = \"/vmlinuz\"\nqemu.binary = \"sleeper\"\n[binScripts]\n\
         tap-up = \"echo up >>log\"\ntap-down = \"echo down >>log\"\n",
    );
    ground.said(&["create", "a", &path]);
    path
}

#[test]
fn a_machine_whose_package_is_gone_is_broken_and_can_be_mended() {
    let ground = Ground::new("gone");
    let path = create(&ground, "echo runs >>log\nexec sleep 100");
    ground.said(&["start", "a"]);
    let target = fs::read_link(at(&ground).join("current")).expect("a link");
    fs::remove_dir_all(at(&ground).join(&target)).expect("removed");
    let listed = ground.said(&["list"]);
    assert_eq!(listed, format!("a: broken: no package at {}\n", target.display()));
    assert_eq!(ground.run(&["create", "a", &path]).0, Some(5));
    assert!(ground.said(&["status", "a"]).starts_with("a: running"));
    ground.said(&["stop", "a"]);
    assert_eq!(ground.run(&["status", "a"]).0, Some(1));
    assert!(!at(&ground).join("booted").is_symlink());
    let (status, _, err) = ground.run(&["start", "a"]);
    let want = "the package of MicroVM a is gone; microvm update a makes it anew\n";
    assert_eq!((status, err.ends_with(want)), (Some(4), true), "{err}");
    assert!(ground.said(&["update", "a"]).starts_with("Updated to "));
    assert!(ground.said(&["list"]).contains("not booted"));
    assert_eq!(ground.run(&["rollback", "a"]).0, Some(4), "what was gone is no earlier package");
}
