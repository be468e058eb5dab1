// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Standard output and standard error that take nothing: what was asked for is done all the same.

use std::fs::File;
use std::process::{Command, Stdio};

use super::{Ground, PROGRAM};

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("a full device").into()
}

/// One command of each family that has something to say there.
#[test]
fn what_cannot_be_said_stops_nothing() {
    let ground = Ground::new("full");
    let warned = ground.write("warned.toml", "mem = 2048\nkernel = \"/vmlinuz\"\n");
    let wrong = ground.write("wrong.toml", "memory = 1\n");
    let options = ground.write("options.json", "{\"mem\": 1, \"nosuch\": 2}");
    for name in ["a", "b", "c"] {
        ground.said(&["create", name, &warned]);
    }
    ground.write("root/etc/microvm/host.toml", "autostart = [\"a\"]\n");
    let out = ground.0.join("out").display().to_string();
    // The command, the status, and how many lines are printed nevertheless.
    for (words, status, lines) in [
        (&["build", &warned, "-o", &out][..], 0, Some(1)),
        (&["build", &wrong], 3, Some(0)),
        (&["check", "/no/such/file"], 4, Some(2)),
        (&["show", &warned], 0, None),
        (&["import-nix", &options], 0, None),
        (&["image", "build", "/no/such/directory"], 4, Some(0)),
        (&["update", "--all"], 0, Some(3)),
        (&["update", "a", "none", "b"], 4, Some(2)),
        (&["disable", "a", "b"], 0, Some(0)),
        (&["remove", "a"], 1, None),
        (&["host", "nosuch"], 2, Some(0)),
        (&["internal", "nosuch"], 2, Some(0)),
        (&["nosuch"], 2, Some(0)),
    ] {
        let mut command = ground.command(words);
        if ["build", "check", "import-nix", "image"].contains(&words[0]) {
            command = Command::new(PROGRAM);
            command.args(words);
        }
        let output = command.stderr(full()).output().expect("the program");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {said}");
        if let Some(lines) = lines {
            assert_eq!(said.lines().count(), lines, "{words:?}: {said}");
        }
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure_that_says_so() {
    let ground = Ground::new("unwritten");
    let path = ground.describe("a.toml", 256);
    for words in [&["show", &path][..], &["create", "a", &path], &["list"], &["host", "doctor"]] {
        let output = ground.command(words).stdout(full()).output().expect("the program");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        let line = "microvm: cannot write to standard output: No space left on device";
        assert!(said.contains(line), "{words:?}: {said}");
    }
}
