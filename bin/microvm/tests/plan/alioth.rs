// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The real Alioth takes what is generated, up to the point where it makes the machine.
//!
//! It opens `/dev/kvm`, which must be there but need not work, then parses all of its arguments,
//! then makes devices and loads the kernel. The files of the descriptions do not exist here, so
//! that it ends there on every host, with the name of the file. It is started by `microvm internal
//! launch --pty`, because it wants a terminal, and in a network of its own.

use std::process::Command;

use microvm::quote::Objects;
use plinth::testing::{fetched, output};

use crate::support::{cases, load, name, plans};

/// Seconds after which a start counts as hung.
const LIMIT: &str = "60";

/// What Alioth says.
fn said(words: &[String]) -> String {
    let program = fetched("alioth-0.12.0/bin/alioth");
    assert!(program.exists(), "{} is missing: tests/setup.sh hypervisors", program.display());
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", LIMIT, "unshare", "--net"])
        .args([env!("CARGO_BIN_EXE_microvm"), "internal", "launch", "--pty", "--"])
        .arg(program)
        .args(words);
    let output = output(&mut command);
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Did it come to make the machine, without a word about its arguments?
fn accepted(text: &str) -> bool {
    let notices = ["Failed to parse", "Please update", "error:", "Usage:"];
    let ends = ["Failed to create a VM", "Failed to load payload"];
    ends.iter().any(|end| text.contains(end)) && !notices.iter().any(|it| text.contains(it))
}

#[test]
fn root_alioth_takes_every_command_line() {
    let mut wrong = Vec::new();
    for case in cases() {
        let loaded = load(&case);
        let name = name(&case);
        // Spellings of older versions, which this one still knows but complains about.
        if loaded.report.has_errors() || name.contains("-versions-") {
            continue;
        }
        for (_, plan) in plans(&case, &loaded).iter().filter(|(_, it)| it.program == "alioth") {
            let words: Vec<String> = plan.words.iter().map(|word| word.shown()).collect();
            let text = said(&words);
            if !accepted(&text) {
                wrong.push(format!("{name}: {text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn root_alioth_refuses_what_is_wrong() {
    let start = ["run", "-k", "/nowhere", "--memory", "size=64M"];
    for wrong in [["--net", "tap,if_name=x"], ["--fs", "vu,tag=id_1"], ["--blk", "path=x,ro=true"]]
    {
        let words: Vec<String> = start.iter().chain(&wrong).map(|&it| it.to_owned()).collect();
        let text = said(&words);
        assert!(!accepted(&text), "{wrong:?}: {text}");
    }
}

#[test]
fn root_alioth_reads_values_back() {
    for (path, shown) in [("a,b.img", "a,b.img"), ("id_x", "id_x"), ("c=d", "c=d")] {
        let mut objects = Objects::default();
        let value = format!("file,path={},readonly=false", objects.text(path));
        let start = ["run", "-k", "/nowhere", "--memory", "size=64M,backend=memfd"];
        let mut words: Vec<String> = start.iter().map(|&it| it.to_owned()).collect();
        words.extend(["--cpu".to_owned(), "count=1".to_owned(), "--blk".to_owned(), value]);
        words.extend(objects.take().into_iter().flat_map(|it| ["-o".to_owned(), it]));
        let text = said(&words);
        assert!(accepted(&text) && text.contains(&format!("file \"{shown}\"")), "{text}");
    }
}
