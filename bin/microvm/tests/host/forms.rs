// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The forms of output: for programs as JSON, and by which names machines are called there.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::{Ground, PROGRAM};

#[test]
fn a_machine_of_this_host_has_its_own_name() {
    let ground = Ground::new("called");
    let path = ground.write("x.toml", "hostName = \"inside\"\nkernel = \"/vmlinuz\"\n");
    ground.said(&["create", "web1", &path]);
    let units = ground.said(&["show", "web1", "--units"]);
    assert!(units.starts_with("# microvm@web1.service.d/10-microvm.conf\n"), "{units}");
    let all: Value = serde_json::from_str(&ground.said(&["--json", "show", "web1"])).expect("JSON");
    assert_eq!(all["web1"]["config"]["hostName"], "inside", "{all}");
}

/// The fields of the form that the manual says a command has.
fn fields(command: &str) -> BTreeSet<String> {
    let page = include_str!("../../../../man/microvm.1");
    let section = page.split(".Sh JSON\n").nth(1).and_then(|it| it.split("\n.Sh ").next());
    let item = section.and_then(|it| it.split(&format!(".It Cm {command}\n")).nth(1));
    let line = item.and_then(|it| it.lines().next()).expect(command);
    let names = line.trim_end_matches('.').split_once(": ").expect(command).1;
    names.split(", ").map(str::to_owned).collect()
}

#[test]
fn json_has_the_fields_of_the_manual() {
    let ground = Ground::new("json");
    let a = ground.describe("a.toml", 300);
    let b = ground.describe("b.toml", 600);
    ground.said(&["create", "web1", &a]);
    let out = ground.0.join("out").display().to_string();
    for (item, words, has_root) in [
        ("build", &["build", &a, "-o", &out][..], false),
        ("build", &["build", &a, "-o", &out, "--check"], false),
        ("check", &["check", &a], false),
        ("diff", &["diff", &a, &b], true),
        ("explain", &["explain", &a], false),
        ("explain Ar KEY", &["explain", &a, "mem"], false),
        ("show", &["show", "web1"], true),
        ("list", &["list"], true),
        ("status", &["status", "web1"], true),
        ("host doctor", &["host", "doctor"], true),
    ] {
        let mut command = ground.command(words);
        if !has_root {
            command = Command::new(PROGRAM);
            command.args(words);
        }
        let output = command.arg("--json").output().expect("the program");
        let said = String::from_utf8_lossy(&output.stdout);
        let mut value: Value = serde_json::from_str(&said).expect("JSON");
        if matches!(words[0], "explain" | "show") {
            value = value.as_object().and_then(|it| it.values().next()).expect("one").clone();
        }
        if value.is_array() {
            value = value[0].take();
        }
        let found: BTreeSet<String> = value.as_object().expect(item).keys().cloned().collect();
        assert_eq!(found, fields(item), "{words:?}: {said}");
    }
    let said = |words: &[&str]| -> Value {
        let (_, out, err) = ground.run(words);
        serde_json::from_str(&out).expect(&err)
    };
    let found = said(&["--json", "diff", &a, &b]);
    assert_eq!((&found[0]["from"], &found[0]["to"]), (&a.as_str().into(), &b.as_str().into()));
    for (which, word) in [("removed", "-m 300M"), ("added", "-m 600M")] {
        let words = found[0][which].as_array().expect("a list");
        assert!(words.contains(&word.into()), "{found}");
    }
}

#[test]
fn what_has_no_json_form_says_so() {
    let ground = Ground::new("none");
    for (words, command) in
        [(&["man"][..], "man"), (&["gc"], "gc"), (&["host", "apply"], "host apply")]
    {
        let output = Command::new(PROGRAM).args(words).arg("--json").output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert_eq!(said, format!("microvm: {command} has no JSON form\n"));
    }
    assert_eq!(ground.run(&["--json", "list"]).0, Some(0));
}
