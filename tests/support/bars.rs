// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bars: what was measured, beside what a peer needs for the same, against what was promised.
//!
//! A bar is a line of a file: the measure's name, a tab, and either the most it may be or, with an
//! `x`, the most it may be of the peer's. A third column says that it is still `open`: promised,
//! not reached yet, and so shown at its height without failing anything. A bar needs its measure; a
//! measure without one is shown.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// The most that a measure may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// In the measure's own unit.
    AtMost(f64),
    /// Times the peer's value.
    OfPeer(f64),
}

/// A bar, and whether it is to be met already.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise {
    bar: Bar,
    open: bool,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// Its name, unique.
    pub name: String,
    /// Of both values.
    pub unit: &'static str,
    /// Ours.
    pub ours: f64,
    /// The peer's, and who that is.
    pub peer: Option<(f64, &'static str)>,
    /// How often it was measured.
    pub times: usize,
}

/// The bars cannot be read, or do not fit what was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BarError {
    /// A line that is no name and bar.
    Line(String),
    /// A bar without a measure.
    Unmeasured(String),
    /// A bar that is relative to a peer which was not measured.
    NoPeer(String),
}

impl fmt::Display for BarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "'{line}' is no name and bar"),
            Self::Unmeasured(name) => write!(f, "'{name}' has a bar and was not measured"),
            Self::NoPeer(name) => write!(f, "'{name}' has no peer to be compared with"),
        }
    }
}

impl std::error::Error for BarError {}

/// Bars by the names of their measures.
pub type Bars = BTreeMap<String, Promise>;

/// Reads bars; lines that begin with `#` are comments.
///
/// # Errors
/// [`BarError::Line`].
pub fn parse(text: &str) -> Result<Bars, BarError> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let wrong = || BarError::Line(line.to_owned());
            let (name, bar) = line.split_once('\t').ok_or_else(wrong)?;
            let (bar, open) = bar.strip_suffix("\topen").map_or((bar, false), |bar| (bar, true));
            let (number, of_peer) =
                bar.strip_suffix('x').map_or((bar, false), |number| (number, true));
            let number = number.parse().map_err(|_| wrong())?;
            let bar = if of_peer { Bar::OfPeer(number) } else { Bar::AtMost(number) };
            Ok((name.to_owned(), Promise { bar, open }))
        })
        .collect()
}

/// One measure with its bar; none means that it is only shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    measure: Measure,
    bar: Option<Bar>,
    open: bool,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        let (peer, _) = self.measure.peer.filter(|(peer, _)| *peer > 0.0)?;
        Some(self.measure.ours / peer)
    }

    /// Whether the bar is met; what has none is.
    #[must_use]
    pub fn is_met(&self) -> bool {
        match self.bar {
            None => true,
            Some(Bar::AtMost(most)) => self.measure.ours <= most,
            Some(Bar::OfPeer(most)) => self.ratio().is_some_and(|ratio| ratio <= most),
        }
    }

    /// Whether the bar is not met and need not be yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open && !self.is_met()
    }

    /// What stands in the columns: name, repetitions, ours, peer, ratio, bar, verdict.
    fn cells(&self) -> [String; 7] {
        let Measure { name, unit, ours, peer, times } = &self.measure;
        let dash = || "-".to_owned();
        let verdict = match (self.bar, self.is_met()) {
            (None, _) => "",
            (Some(_), true) => "met",
            (Some(_), false) if self.open => "open",
            (Some(_), false) => "NOT MET",
        };
        [
            name.clone(),
            times.to_string(),
            format!("{} {unit}", short(*ours)),
            peer.map_or_else(dash, |(value, who)| format!("{} {unit} ({who})", short(value))),
            self.ratio().map_or_else(dash, |ratio| format!("{ratio:.3}")),
            match self.bar {
                None => dash(),
                Some(Bar::AtMost(most)) => format!("{} {unit}", short(most)),
                Some(Bar::OfPeer(most)) => format!("{most} x"),
            },
            verdict.to_owned(),
        ]
    }
}

/// At most two digits behind the point, and none where they say nothing.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Puts measures and bars together, in the order of the measures.
///
/// # Errors
/// [`BarError::Unmeasured`], [`BarError::NoPeer`].
pub fn compare(measures: Vec<Measure>, mut bars: Bars) -> Result<Vec<Row>, BarError> {
    let mut rows = Vec::new();
    for measure in measures {
        let promise = bars.remove(&measure.name);
        let bar = promise.map(|promise| promise.bar);
        if matches!(bar, Some(Bar::OfPeer(_))) && measure.peer.is_none() {
            return Err(BarError::NoPeer(measure.name));
        }
        rows.push(Row { measure, bar, open: promise.is_some_and(|promise| promise.open) });
    }
    match bars.pop_first() {
        Some((name, _)) => Err(BarError::Unmeasured(name)),
        None => Ok(rows),
    }
}

const HEADINGS: [&str; 7] = ["measure", "n", "ours", "peer", "ratio", "bar", "verdict"];

/// The table for people.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let mut widths = [0; 7];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The table for programs: tab-separated, one line of names first, numbers without units.
#[must_use]
pub fn tsv(rows: &[Row]) -> String {
    let mut text = String::from("measure\tunit\tn\tours\tpeer\tpeer_name\tratio\tbar\tverdict\n");
    for row in rows {
        let Measure { name, unit, ours, peer, times } = &row.measure;
        let [.., ratio, bar, verdict] = row.cells();
        let (value, who) =
            peer.map_or_else(<(String, &str)>::default, |(value, who)| (value.to_string(), who));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{name}\t{unit}\t{times}\t{ours}\t{value}\t{who}\t{ratio}\t{bar}\t{verdict}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(name: &str, ours: f64, peer: Option<f64>) -> Measure {
        let peer = peer.map(|value| (value, "other"));
        Measure { name: name.to_owned(), unit: "ms", ours, peer, times: 3 }
    }

    #[test]
    fn a_bar_is_absolute_or_relative_to_the_peer() {
        let bars = parse("# comment\na\t10\nb\t0.4x\n").unwrap();
        let rows = |a, b| {
            let measures = vec![measure("a", a, None), measure("b", b, Some(100.0))];
            let rows = compare(measures, bars.clone()).unwrap();
            rows.iter().map(Row::is_met).collect::<Vec<_>>()
        };
        assert_eq!(rows(10.0, 40.0), [true, true]);
        assert_eq!(rows(10.1, 40.1), [false, false]);
    }

    #[test]
    fn an_open_bar_is_shown_and_fails_nothing() {
        let bars = parse("a\t10\topen\nb\t0.4x\topen\nc\t10").unwrap();
        let measures =
            vec![measure("a", 11.0, None), measure("b", 1.0, Some(9.0)), measure("c", 11.0, None)];
        let rows = compare(measures, bars).unwrap();
        let open: Vec<_> = rows.iter().map(|row| (row.is_met(), row.is_open())).collect();
        assert_eq!(open, [(false, true), (true, false), (false, false)]);
        assert!(table(&rows).contains("10 ms  open"));
    }

    #[test]
    fn nothing_is_compared_with_a_peer_that_needs_nothing() {
        let rows = compare(vec![measure("a", 0.0, Some(0.0))], parse("a\t0").unwrap()).unwrap();
        assert!(rows[0].is_met());
        assert!(!table(&rows).contains("NaN"));
    }

    #[test]
    fn a_bar_needs_its_measure_and_its_peer() {
        let bars = parse("a\t1x").unwrap();
        let error = compare(vec![measure("a", 1.0, None)], bars.clone()).unwrap_err();
        assert_eq!(error, BarError::NoPeer("a".into()));
        let error = compare(Vec::new(), bars).unwrap_err();
        assert_eq!(error, BarError::Unmeasured("a".into()));
    }

    #[test]
    fn a_line_without_a_bar_is_named() {
        for line in ["a", "a\t", "a\tmuch", "a\tx", "a\t1\tlater", "a\topen"] {
            assert_eq!(parse(line), Err(BarError::Line(line.into())));
        }
    }

    #[test]
    fn both_tables_show_every_measure_with_its_verdict() {
        let bars = parse("a\t10\nb\t0.4x").unwrap();
        let measures = vec![
            measure("a", 20.5, None),
            measure("b", 40.0, Some(100.0)),
            measure("c", 1.0, None),
        ];
        let rows = compare(measures, bars).unwrap();
        let people = table(&rows);
        let verdicts: Vec<&str> =
            people.lines().skip(1).map(|line| line.rsplit("  ").next().unwrap()).collect();
        assert_eq!(verdicts, ["NOT MET", "met", "-"]);
        assert!(people.contains("20.5 ms"), "{people}");
        let programs = tsv(&rows);
        assert_eq!(
            programs.lines().nth(2),
            Some("b\tms\t3\t40\t100\tother\t0.400\t0.4 x\tmet"),
            "{programs}"
        );
    }
}
