// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which kind of BPF program was shown to work where: the lines, and the table of them.
//!
//! `bpf-kinds.tsv` in cargo's target directory has a line `KIND TAB KERNEL TAB HOW` for each look.
//! KERNEL is `host` or one of the guest's; HOW is `run` (it was attached and seen to run), `load`
//! (loaded only), `refused` (this kernel cannot, and the command said so) or `skipped: REASON`.
//! Guests and the tests on the host append; `tests/ci.sh` empties the file and shows the table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;

use super::lab::Lab;
use crate::scenarios::Kernel;

/// The columns, in their order.
const COLUMNS: [&str; 4] = ["host", "6.1", "6.12", "sid"];
/// What begins the name of a guest's measurement that is about a kind.
const PREFIX: &str = "kind/";

/// Where the lines are.
#[must_use]
pub fn path() -> PathBuf {
    Lab::find().target().join("bpf-kinds.tsv")
}

/// Appends what a guest has reported.
///
/// # Errors
/// As [`OpenOptions::open`] and writing.
pub fn record(kernel: Kernel, values: &[(String, String)]) -> io::Result<()> {
    let mut lines = String::new();
    for (key, how) in values {
        if let Some(kind) = key.strip_prefix(PREFIX) {
            let _ = writeln!(lines, "{kind}\t{kernel}\t{how}");
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    // One write: others may append at the same time.
    OpenOptions::new().create(true).append(true).open(path())?.write_all(lines.as_bytes())
}

/// The table of all lines, and the kinds that were shown nowhere, neither run nor loaded.
#[must_use]
pub fn table(lines: &str) -> (String, Vec<String>) {
    let mut kinds: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for line in lines.lines() {
        let mut fields = line.splitn(3, '\t');
        if let (Some(kind), Some(kernel), Some(how)) = (fields.next(), fields.next(), fields.next())
        {
            let seen = kinds.entry(kind).or_default().entry(kernel).or_insert(how);
            // The better of two looks counts.
            if rank(how) > rank(seen) {
                *seen = how;
            }
        }
    }
    let mut text = format!("{:22}", "KIND");
    for column in COLUMNS {
        let _ = write!(text, "{column:10}");
    }
    text = format!("{}\n", text.trim_end());
    let mut nowhere = Vec::new();
    for (kind, looks) in kinds {
        let mut row = format!("{kind:22}");
        for column in COLUMNS {
            let how = looks.get(column).copied().unwrap_or("-");
            let _ = write!(row, "{:10}", how.split(':').next().unwrap_or_default());
        }
        let _ = writeln!(text, "{}", row.trim_end());
        if looks.values().all(|how| rank(how) < 2) {
            nowhere.push(kind.to_owned());
        }
    }
    (text, nowhere)
}

fn rank(how: &str) -> u8 {
    match how {
        "run" => 3,
        "load" => 2,
        "refused" => 1,
        _ => 0,
    }
}

/// Prints the table; whether every kind was shown somewhere.
///
/// # Errors
/// When no test has written a line.
pub fn show() -> io::Result<bool> {
    let (text, nowhere) = table(&fs::read_to_string(path())?);
    print!("{text}");
    for kind in &nowhere {
        println!("shown nowhere: {kind}");
    }
    Ok(nowhere.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_a_row_and_each_kernel_a_column() {
        let lines = "xdp\thost\trun\nlsm\thost\tskipped: lockdown\nlsm\t6.1\trun\n\
                     netkit\t6.1\trefused\nxdp\thost\tskipped: busy\nhalf a line\n";
        let (text, nowhere) = table(lines);
        let rows: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            rows,
            [
                ["KIND", "host", "6.1", "6.12", "sid"],
                ["lsm", "skipped", "run", "-", "-"],
                ["netkit", "-", "refused", "-", "-"],
                ["xdp", "run", "-", "-", "-"],
            ]
        );
        assert_eq!(nowhere, ["netkit"]);
    }
}
