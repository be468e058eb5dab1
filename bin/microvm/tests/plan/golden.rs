// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptions and the command lines that they must give, byte for byte.
//!
//! Each directory of `fixtures/microvm/golden` holds `in.toml`, `argv.txt` with one word a line,
//! and `plan.txt` with what surrounds the command; further files of the plan stand there under
//! their names. Where a description must be refused, `errors.txt` has what is said. A directory
//! whose name ends in `-compat` is planned with upstream's bytes, and `upstream.txt` has how they
//! differ from ours. `BLESS=1 cargo test` writes what
//! is missing, and only that: a file that is there is a promise.

use crate::support::{cases, compare, load, name, plans, plans_as};
use microvm::pipeline::Loaded;
use microvm::plan::{Plan, Step, Word};

/// The words of all machines of a case, one a line; machines of a fleet under their names.
fn words(loaded: &Loaded, plans: &[(String, Plan)]) -> String {
    let mut text = String::new();
    for (name, plan) in plans {
        if loaded.is_fleet {
            text.push_str(&format!("[{name}]\n"));
        }
        text.push_str(&format!("{}\n", plan.program));
        for word in &plan.words {
            text.push_str(&format!("{}\n", word.shown()));
        }
    }
    text
}

/// What surrounds the commands, a line for each thing that is not empty or off.
fn surroundings(loaded: &Loaded, plans: &[(String, Plan)]) -> String {
    let mut lines = Vec::new();
    for (name, plan) in plans {
        if loaded.is_fleet {
            lines.push(format!("[{name}]"));
        }
        let launch = &plan.launch;
        lines.extend(plan.steps.iter().map(step));
        lines.extend(launch.argv0.iter().map(|name| format!("argv0 {name}")));
        let macvtaps = launch.macvtaps.iter();
        lines.extend(macvtaps.map(|(id, first, count)| format!("macvtap {id} {first} {count}")));
        lines.extend(launch.tap_paths.iter().map(|(id, text)| format!("tap-path {id} {text}")));
        lines.extend(launch.with.iter().map(|words| format!("with {}", sentence(words))));
        let sockets = launch.awaits.iter();
        lines.extend(sockets.map(|(path, seconds)| format!("await {path} {seconds} s")));
        lines.extend(plan.files.iter().map(|(path, _)| format!("file {path}")));
        lines.extend(plan.shutdown.iter().map(|how| format!("shutdown {how:?}")));
        let facts = [
            (launch.pty, "terminal"),
            (plan.balloon, "balloon"),
            (plan.notify, "notify"),
            (plan.tap_multi_queue, "tap-multi-queue"),
            (launch.is_plain(), "started by the script itself"),
        ];
        lines.extend(facts.iter().filter(|(on, _)| *on).map(|(_, line)| (*line).to_owned()));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What a plan gives the hypervisor: a flag with its values on each line, and the lines of files.
fn given(plans: &[(String, Plan)]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (_, plan) in plans {
        for word in plan.words.iter().map(Word::shown) {
            match lines.last_mut() {
                Some(line) if !word.starts_with('-') => line.push_str(&format!(" '{word}'")),
                _ => lines.push(word),
            }
        }
        for (_, bytes) in &plan.files {
            let text = String::from_utf8(bytes.clone()).expect("files are text");
            lines.extend(text.lines().map(|line| line.trim_end_matches(',').to_owned()));
        }
    }
    lines
}

/// The lines that only one side has, in the order of both; as few as there can be.
fn difference(ours: &[String], theirs: &[String]) -> String {
    // How many lines the ends of both from here on have in common.
    let mut common = vec![vec![0; theirs.len() + 1]; ours.len() + 1];
    for (a, our) in ours.iter().enumerate().rev() {
        for (b, their) in theirs.iter().enumerate().rev() {
            common[a][b] = match our == their {
                true => common[a + 1][b + 1] + 1,
                false => common[a + 1][b].max(common[a][b + 1]),
            };
        }
    }
    let (mut a, mut b, mut text) = (0, 0, String::new());
    while a < ours.len() || b < theirs.len() {
        if a < ours.len() && b < theirs.len() && ours[a] == theirs[b] {
            (a, b) = (a + 1, b + 1);
        } else if b == theirs.len() || a < ours.len() && common[a + 1][b] >= common[a][b + 1] {
            text.push_str(&format!("- {}\n", ours[a]));
            a += 1;
        } else {
            text.push_str(&format!("+ {}\n", theirs[b]));
            b += 1;
        }
    }
    text
}

fn step(step: &Step) -> String {
    match step {
        Step::Remove(path) => format!("remove {path}"),
        Step::Move(from, to) => format!("move {from} {to}"),
        Step::MakeDirectory(path) => format!("make-directory {path}"),
        Step::HomeIsHere => "home-is-here".to_owned(),
        Step::Link(name, to) => format!("link {name} {to}"),
    }
}

fn sentence(words: &[Word]) -> String {
    words.iter().map(Word::shown).collect::<Vec<_>>().join(" ")
}

#[test]
fn golden_command_lines_are_those_of_the_fixtures() {
    let mut wrong = Vec::new();
    for case in cases() {
        let loaded = load(&case);
        if loaded.report.has_errors() {
            wrong.extend(compare(&case.join("errors.txt"), &loaded.report.text(&loaded.files)));
            continue;
        }
        let plans = plans(&case, &loaded);
        wrong.extend(compare(&case.join("argv.txt"), &words(&loaded, &plans)));
        wrong.extend(compare(&case.join("plan.txt"), &surroundings(&loaded, &plans)));
        if name(&case).ends_with("-compat") {
            let ours = given(&plans_as(&loaded, false));
            wrong.extend(compare(&case.join("upstream.txt"), &difference(&ours, &given(&plans))));
        }
        for (path, bytes) in plans.iter().flat_map(|(_, plan)| &plan.files) {
            let name = path.rsplit('/').next().expect("a name");
            let text = String::from_utf8(bytes.clone()).expect("files are text");
            wrong.extend(compare(&case.join(name), &text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_golden_case_has_a_fixture() {
    let names: Vec<String> = cases().iter().map(|case| name(case)).collect();
    let missing: Vec<String> = (1..=50)
        .map(|number| format!("G{number:02}"))
        .filter(|number| !names.iter().any(|name| name.starts_with(number)))
        .collect();
    assert!(missing.is_empty(), "no case for {}", missing.join(", "));
}
