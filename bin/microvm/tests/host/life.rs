// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Machines that something happened to: a package that is gone or damaged, a hypervisor that ends
//! at once, one that no unit knows of.

use std::fs;
use std::io;
use std::path::PathBuf;

use plinth::testing::until;

use super::{Ground, PROGRAM, is_free};

/// What stands for systemctl, and knows no units: what it was asked to do goes to a file.
const SYSTEMCTL: &str = "case $1 in show) ;; *) echo \"$*\" >>\"$GROUND/asked\";; esac";

/// The directory of the machine `a`.
fn at(ground: &Ground) -> PathBuf {
    ground.0.join("root/var/lib/microvms/a")
}

/// A machine whose hypervisor is this script, with scripts for its network.
fn create(ground: &Ground, hypervisor: &str) -> String {
    ground.program("bin/sleeper", hypervisor);
    let path = ground.write(
        "a.toml",
        "kernel = \"/vmlinuz\"\nsocket = false\nqemu.binary = \"sleeper\"\n[binScripts]\n\
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

#[test]
fn a_machine_in_the_foreground_of_a_host_with_units_runs_for_all_commands() {
    let ground = Ground::new("behind");
    ground.program("bin/systemctl", SYSTEMCTL);
    fs::create_dir_all(ground.0.join("root/run/systemd/system")).expect("directories");
    create(&ground, "echo runs >>log\nexec sleep 100");
    let log = || fs::read_to_string(at(&ground).join("log")).unwrap_or_default();
    let asked = || fs::read_to_string(ground.0.join("asked")).unwrap_or_default();
    for (end, left) in [("stop", "stop microvm@a.service\n"), ("restart", "restart microvm@a")] {
        let ended = std::thread::scope(|scope| {
            let foreground = scope.spawn(|| ground.run(&["run", "a", "--setup"]));
            until("it runs", || {
                assert!(!foreground.is_finished(), "it does not run");
                log().ends_with("runs\n") && is_free(&at(&ground))
            });
            let listed = ground.said(&["list", "--json"]);
            assert!(listed.contains("\"active\": true"), "{listed}");
            assert!(ground.said(&["status", "a"]).starts_with("a: running (process "));
            fs::write(ground.0.join("asked"), "").expect("a file");
            let refused: [&[&str]; 4] = [
                &["start", "a"],
                &["run", "a", "--setup"],
                &["remove", "a", "--yes"],
                &["volume", "grow", "a", "x.img", "--size", "1"],
            ];
            for words in refused {
                let (status, _, err) = ground.run(words);
                assert_eq!(status, Some(5), "{words:?}: {err}");
                assert!(err.ends_with("MicroVM a is running\n"), "{words:?}: {err}");
            }
            assert_eq!(asked(), "");
            ground.said(&[end, "a"]);
            foreground.join().expect("a thread")
        });
        assert_eq!(ended.0, Some(143), "{}", ended.2);
        assert!(asked().starts_with(left), "{}", asked());
        assert_eq!(log(), "up\nruns\ndown\n");
        assert_eq!(ground.run(&["status", "a"]).0, Some(1));
        fs::remove_file(at(&ground).join("log")).expect("removed");
    }
}

#[test]
fn a_restart_goes_on_past_a_machine_that_cannot_be_started() {
    let ground = Ground::new("past");
    let path = create(&ground, "exec sleep 100");
    ground.said(&["create", "b", &path]);
    fs::remove_dir_all(at(&ground).join("gen")).expect("removed");
    let (status, _, err) = ground.run(&["restart", "a", "b"]);
    assert_eq!(status, Some(4), "{err}");
    assert!(ground.said(&["status", "b"]).starts_with("b: running"));
    ground.said(&["stop", "b"]);
}

#[test]
fn what_a_creation_that_was_cut_short_left_is_in_no_way() {
    let ground = Ground::new("cut");
    create(&ground, "exit 0");
    let unnamed = "a".repeat(64);
    ground.write(&format!("root/var/lib/microvms/.images/{unnamed}"), "an image");
    for left in ["a/gen/trash-0123456789abcdef", "j/gen/0123456789abcdef.tmp-1", "j/gen/.0123"] {
        fs::create_dir_all(ground.0.join("root/var/lib/microvms").join(left)).expect("leftovers");
    }
    assert_eq!(ground.said(&["gc"]), "a: removed trash-0123456789abcdef\n");
    // In the place of a package is what hides which images it names.
    fs::create_dir(at(&ground).join("gen/0123456789abcdef")).expect("a directory");
    assert_eq!(ground.run(&["gc"]).0, Some(1));
}

#[test]
fn a_damaged_package_is_replaced_by_update_and_by_deploy() {
    let ground = Ground::new("damage");
    ground.program(
        "bin/ssh",
        "case \" $* \" in *\" -O exit \"*) exit 0;; esac\nfor last; do :; done\n\
         PATH=$GROUND/there:$PATH exec sh -c \"$last\"",
    );
    // It is the same host, so that the machine is one.
    ground.program(
        "there/microvm",
        &format!("action=$1; shift\nexec {PROGRAM} \"$action\" --root \"$GROUND/root\" \"$@\""),
    );
    let path = ground.describe("a.toml", 256);
    ground.said(&["deploy", "root@there", &path]);
    let run = at(&ground).join("current/bin/microvm-run");
    let whole = fs::read(&run).expect("a script");
    fs::write(&run, "").expect("damaged");
    let said = ground.said(&["deploy", "root@there", &path]);
    assert!(said.starts_with("Updated to "), "{said}");
    assert_eq!(fs::read(&run).expect("a script"), whole);

    ground.said(&["create", "b", &path]);
    let run = ground.0.join("root/var/lib/microvms/b/current/bin/microvm-run");
    let whole = fs::read(&run).expect("a script");
    let damages: [fn(&PathBuf) -> io::Result<()>; 2] =
        [|path| fs::write(path, ""), |path| fs::remove_file(path)];
    for damage in damages {
        damage(&run).expect("damaged");
        assert!(ground.said(&["update", "b"]).starts_with("Updated to "));
        assert_eq!(fs::read(&run).expect("a script"), whole);
        assert_eq!(ground.said(&["update", "b"]), "No change\n");
    }
    assert_eq!(ground.run(&["rollback", "b"]).0, Some(4), "it is the only package");
}
