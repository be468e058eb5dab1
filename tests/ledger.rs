// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ledger of requirements: every one has its line, and every proof it names exists.
//!
//! Owns the form of `tests/ledger.tsv` and the look for the named tests among the functions of the
//! sources. Whether a test proves what the line says is for a reader to judge.

use std::collections::{BTreeMap, BTreeSet};

use checks::{code, tree};

/// The requirements are numbered `R001` to this one.
const LAST: u16 = 256;

struct Line {
    id: String,
    class: String,
    text: String,
    tests: Vec<String>,
}

/// The lines of the ledger, or what is wrong with their form.
fn parse(text: &str) -> Result<Vec<Line>, Vec<String>> {
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [id, class, text, tests] = cells.as_slice() else {
            wrong.push(format!("line {}: {} cells instead of 4", number + 1, cells.len()));
            continue;
        };
        if !["keep", "fix", "new"].contains(class) {
            wrong.push(format!("line {}: no class '{class}'", number + 1));
        }
        if text.len() < 10 {
            wrong.push(format!("line {}: '{text}' says too little", number + 1));
        }
        let tests: Vec<String> = match *tests {
            "planned" => Vec::new(),
            tests => tests.split_whitespace().map(str::to_owned).collect(),
        };
        if tests.is_empty() && cells.last() != Some(&"planned") {
            wrong.push(format!("line {}: names no test, and is not planned", number + 1));
        }
        lines.push(Line {
            id: (*id).to_owned(),
            class: (*class).to_owned(),
            text: (*text).to_owned(),
            tests,
        });
    }
    if wrong.is_empty() { Ok(lines) } else { Err(wrong) }
}

/// What is wrong with the ids: unknown, missing, twice, out of order.
fn judge_ids(lines: &[Line]) -> Vec<String> {
    let expected: Vec<String> = (1..=LAST).map(|number| format!("R{number:03}")).collect();
    let mut seen = BTreeSet::new();
    let mut wrong: Vec<String> = Vec::new();
    for line in lines {
        if !expected.contains(&line.id) {
            wrong.push(format!("{}: unknown", line.id));
        }
        if !seen.insert(line.id.clone()) {
            wrong.push(format!("{}: twice", line.id));
        }
    }
    wrong.extend(
        expected.iter().filter(|id| !seen.contains(*id)).map(|id| format!("{id}: missing")),
    );
    if !lines.iter().map(|line| &line.id).is_sorted() {
        wrong.push("the lines are not in order".to_owned());
    }
    wrong
}

#[test]
fn the_ledger_is_complete() {
    let lines = parse(&tree::read("tests/ledger.tsv")).unwrap_or_else(|wrong| panic!("{wrong:#?}"));
    let wrong = judge_ids(&lines);
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut texts = BTreeMap::new();
    for line in &lines {
        if let Some(other) = texts.insert(&line.text, &line.id) {
            panic!("{other} and {} have one text", line.id);
        }
    }
    for class in ["keep", "fix", "new"] {
        let all: Vec<&Line> = lines.iter().filter(|line| line.class == class).collect();
        let done = all.iter().filter(|line| !line.tests.is_empty()).count();
        println!("{class}: {done} of {} proven", all.len());
    }
}

/// The tests that a table makes: one for each scenario and kernel.
fn guest_tests() -> Vec<String> {
    let table = code::bare(&tree::read("tests/guest/boots.rs"));
    let rows = table.lines().filter_map(|line| line.trim().split_once(':'));
    rows.map(|(name, _)| name.to_owned()).filter(|name| name.starts_with("root_")).collect()
}

/// The bars of the benchmark and the stages of the CI, as the ledger names them.
fn bars_and_stages() -> impl Iterator<Item = String> {
    let bars = tree::read("tests/bench.tsv");
    let bars = bars.lines().filter_map(|line| line.split_once('\t'));
    let bars: Vec<String> =
        bars.map(|(name, _)| format!("bar:{}", name.replace(' ', "_"))).collect();
    let script = tree::read("tests/ci.sh");
    let stages =
        script.lines().filter_map(|line| line.strip_prefix("stage_")?.strip_suffix("() {"));
    let stages: Vec<String> = stages.map(|name| format!("stage:{name}")).collect();
    bars.into_iter().chain(stages)
}

#[test]
fn every_proof_that_is_named_exists() {
    let lines = parse(&tree::read("tests/ledger.tsv")).unwrap_or_else(|wrong| panic!("{wrong:#?}"));
    let functions: BTreeSet<String> = tree::files(".rs")
        .iter()
        .filter(|file| file.text.contains("#[test]"))
        .flat_map(|file| code::functions(&file.text))
        .chain(guest_tests())
        .chain(bars_and_stages())
        .collect();
    let wrong: Vec<String> = lines
        .iter()
        .flat_map(|line| line.tests.iter().map(move |test| (line, test)))
        .filter(|(_, test)| !functions.contains(*test))
        .map(|(line, test)| format!("{}: there is no test {test}", line.id))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_requirement_mentioned_in_the_sources_is_known() {
    let mut wrong = Vec::new();
    for file in tree::files(".rs") {
        for (at, _) in file.text.match_indices('R') {
            let rest = file.text.get(at + 1..).unwrap_or_default();
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            let before = file.text.get(..at).and_then(|text| text.chars().next_back());
            let is_id = digits.len() == 3 && !before.is_some_and(char::is_alphanumeric);
            if is_id && digits.parse().is_ok_and(|id: u16| id == 0 || id > LAST) {
                wrong.push(format!("{}: R{digits}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_damaged_ledger_is_refused() {
    let parsed = |text: &str| parse(text).map(|lines| judge_ids(&lines).len());
    let whole: String =
        (1..=LAST).map(|id| format!("R{id:03}\tkeep\trequirement {id}\tplanned\n")).collect();
    assert_eq!(parsed(&whole).ok(), Some(0));
    let missing = whole.replacen("R007", "#", 1);
    assert_eq!(parsed(&missing).ok(), Some(1));
    let twice = whole.replacen("R007", "R008", 1);
    assert_eq!(parsed(&twice).ok(), Some(2));
    let unknown = format!("{whole}R{}\tkeep\tbeyond the last\tplanned\n", LAST + 1);
    assert_eq!(parsed(&unknown).ok(), Some(1));
    for line in ["R001\tkeep\ta requirement\t", "R001\tkept\ta requirement\tplanned", "R001\tkeep"]
    {
        assert!(parse(line).is_err(), "{line}");
    }
}
