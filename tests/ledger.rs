// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ledgers of what the programs must do: every id has its line, every proof it names exists.
//!
//! Owns the form of `tests/ledger.tsv` and `tests/ledger-microvm.tsv`, and the look for the named
//! proofs among the functions of the sources and the fixtures. Whether a proof proves what the line
//! says is for a reader to judge.

use std::collections::{BTreeMap, BTreeSet};

use checks::{code, tree};

/// The requirements are numbered `R001` to this one.
const LAST: u16 = 256;

/// Where the golden cases and the mistakes of microvm are.
const CASES: [(&str, &str); 2] =
    [("golden", "fixtures/microvm/golden/"), ("diag", "fixtures/microvm/diag/")];

/// A ledger.
struct Ledger {
    path: &'static str,
    /// What its lines are about, in their order.
    ids: Vec<String>,
    classes: &'static [&'static str],
    /// May a line wait for its proof?
    may_wait: bool,
}

/// The family of programs after nvme-stas, by its requirements.
fn stas() -> Ledger {
    let ids = (1..=LAST).map(|number| format!("R{number:03}")).collect();
    let classes = &["keep", "fix", "new"];
    Ledger { path: "tests/ledger.tsv", ids, classes, may_wait: true }
}

/// microvm, by what it does otherwise than microvm.nix, what it must be shown with, and what is
/// missed most often.
fn microvm() -> Ledger {
    let kinds = [('D', 26), ('G', 50), ('M', 10)];
    let ids = kinds
        .iter()
        .flat_map(|(kind, last)| (1..=*last).map(move |number: u16| format!("{kind}{number:02}")));
    let classes = &["difference", "golden", "missed"];
    Ledger { path: "tests/ledger-microvm.tsv", ids: ids.collect(), classes, may_wait: false }
}

impl Ledger {
    /// Its lines, or a panic with what is wrong with their form.
    fn lines(&self) -> Vec<Line> {
        let lines = parse(&tree::read(self.path), self.classes);
        lines.unwrap_or_else(|wrong| panic!("{}: {wrong:#?}", self.path))
    }
}

struct Line {
    id: String,
    class: String,
    text: String,
    tests: Vec<String>,
}

/// The lines of the ledger, or what is wrong with their form.
fn parse(text: &str, classes: &[&str]) -> Result<Vec<Line>, Vec<String>> {
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [id, class, text, tests] = cells.as_slice() else {
            wrong.push(format!("line {}: {} cells instead of 4", number + 1, cells.len()));
            continue;
        };
        if !classes.contains(class) {
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
fn judge_ids(lines: &[Line], expected: &[String]) -> Vec<String> {
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

/// Names of proofs that do not exist, each with the line that has it.
fn judge_proofs(lines: &[Line], proofs: &BTreeSet<String>) -> Vec<String> {
    let named = lines.iter().flat_map(|line| line.tests.iter().map(move |test| (line, test)));
    let absent = named.filter(|(_, test)| !proofs.contains(*test));
    absent.map(|(line, test)| format!("{}: there is no {test}", line.id)).collect()
}

#[test]
fn the_ledgers_are_complete() {
    for ledger in [stas(), microvm()] {
        let lines = ledger.lines();
        let mut wrong = judge_ids(&lines, &ledger.ids);
        let mut texts = BTreeMap::new();
        for line in &lines {
            if let Some(other) = texts.insert(&line.text, &line.id) {
                wrong.push(format!("{other} and {} have one text", line.id));
            }
            if line.tests.is_empty() && !ledger.may_wait {
                wrong.push(format!("{}: without proof", line.id));
            }
        }
        assert!(wrong.is_empty(), "{}: {wrong:#?}", ledger.path);
        for class in ledger.classes {
            let all: Vec<&Line> = lines.iter().filter(|line| line.class == *class).collect();
            let done = all.iter().filter(|line| !line.tests.is_empty()).count();
            println!("{class}: {done} of {} proven", all.len());
        }
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

/// The directory, or the file without what its name ends in.
fn stem(path: &str) -> &str {
    path.split_once('/').or_else(|| path.split_once('.')).map_or(path, |(stem, _)| stem)
}

/// The golden cases of microvm by their directories, and its mistakes by their files.
fn cases() -> BTreeSet<String> {
    let paths = tree::paths();
    let named = |(kind, dir): &(&str, &str)| {
        let inside = paths.iter().filter_map(|path| path.strip_prefix(dir));
        let stems = inside.map(stem);
        stems.map(|stem| format!("{kind}:{stem}")).collect::<Vec<_>>()
    };
    CASES.iter().flat_map(named).collect()
}

#[test]
fn every_proof_that_is_named_exists() {
    let proofs: BTreeSet<String> = tree::files(".rs")
        .iter()
        .filter(|file| file.text.contains("#[test]"))
        .flat_map(|file| code::functions(&file.text))
        .chain(guest_tests())
        .chain(bars_and_stages())
        .chain(cases())
        .collect();
    for ledger in [stas(), microvm()] {
        let wrong = judge_proofs(&ledger.lines(), &proofs);
        assert!(wrong.is_empty(), "{}: {wrong:#?}", ledger.path);
    }
}

#[test]
fn every_golden_case_is_in_the_ledger() {
    let lines = microvm().lines();
    let named: BTreeSet<&String> = lines.iter().flat_map(|line| &line.tests).collect();
    let golden: Vec<String> =
        cases().into_iter().filter(|case| case.starts_with("golden:")).collect();
    assert!(golden.len() > 50, "{golden:?}");
    let absent: Vec<&String> = golden.iter().filter(|case| !named.contains(case)).collect();
    assert!(absent.is_empty(), "{absent:#?}");
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
    for (ledger, some, other) in [(stas(), "R007", "R008"), (microvm(), "G07", "G08")] {
        let class = ledger.classes[0];
        let parsed = |text: &str| parse(text, ledger.classes);
        let judged = |text: &str| parsed(text).map(|lines| judge_ids(&lines, &ledger.ids).len());
        let line = |id: &str| format!("{id}\t{class}\twhat {id} is about\tplanned\n");
        let whole: String = ledger.ids.iter().map(|id| line(id)).collect();
        assert_eq!(judged(&whole).ok(), Some(0));
        assert_eq!(judged(&whole.replacen(some, "#", 1)).ok(), Some(1));
        assert_eq!(judged(&whole.replace(some, other)).ok(), Some(2));
        assert_eq!(judged(&format!("{whole}{}", line("X99"))).ok(), Some(1));
        for line in ["\t", "\tplanned\tmore"] {
            assert!(parsed(&format!("{some}\t{class}\ta requirement{line}")).is_err(), "{line}");
        }
        assert!(parsed(&format!("{some}\tkept\ta requirement\tplanned")).is_err());
        let lines = parsed(&format!("{some}\t{class}\ta requirement\tno_such_test")).ok();
        assert_eq!(judge_proofs(&lines.unwrap_or_default(), &cases()).len(), 1);
    }
}
