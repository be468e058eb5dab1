// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values that a program reported, each key perhaps many times, and what they come to.
//!
//! Reads the `@val KEY VALUE` lines, above all of a run of the guest's runner. The runner is a
//! program of its own: this crate does not link what runs in guests.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use plinth::err::tell;

use crate::tree;

/// What was reported, in order, by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(BTreeMap<String, Vec<f64>>);

impl Samples {
    /// Runs a command of the guest's runner (`run NAME` or `bare NAME`) and collects what it
    /// reports; its progress goes to standard error.
    ///
    /// # Errors
    /// It cannot be run, or ends badly.
    pub fn of_guest(words: &[&str]) -> Result<Self, Box<dyn Error>> {
        let mut runner = Command::new(env!("CARGO"));
        runner.args(["run", "--quiet", "--locked", "-p", "guest", "--bin", "guest", "--"]);
        Self::of(runner.args(words).current_dir(tree::root()))
    }

    /// Runs a command and collects what it reports; its progress goes to standard error.
    ///
    /// # Errors
    /// It cannot be run, or ends badly.
    pub fn of(command: &mut Command) -> Result<Self, Box<dyn Error>> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut samples = Self::default();
        let mut story = String::new();
        if let Some(pipe) = child.stdout.take() {
            for line in BufReader::new(pipe).lines() {
                let line = line?;
                if line.starts_with("@t ") {
                    tell(format_args!("bench: {line}"));
                }
                samples.take(&line);
                story.push_str(&line);
                story.push('\n');
            }
        }
        if child.wait()?.success() {
            Ok(samples)
        } else {
            Err(format!("{story}{command:?} failed").into())
        }
    }

    /// Takes a value out of a line, when it holds one.
    pub fn take(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        if words.next() == Some("@val")
            && let (Some(key), Some(Ok(value))) = (words.next(), words.next().map(str::parse))
        {
            self.0.entry(key.to_owned()).or_default().push(value);
        }
    }

    /// How often `key` was reported.
    #[must_use]
    pub fn count(&self, key: &str) -> usize {
        self.0.get(key).map_or(0, Vec::len)
    }

    /// The value that `percent` of the reported ones do not exceed (nearest rank).
    ///
    /// # Errors
    /// Nothing was reported.
    pub fn percentile(&self, key: &str, percent: usize) -> Result<f64, String> {
        let mut values = self.0.get(key).cloned().unwrap_or_default();
        values.sort_by(f64::total_cmp);
        let rank = (values.len() * percent).div_ceil(100).max(1);
        values.get(rank - 1).copied().ok_or_else(|| format!("'{key}' was not reported"))
    }

    /// The value in the middle (of two the lower one).
    ///
    /// # Errors
    /// Nothing was reported.
    pub fn median(&self, key: &str) -> Result<f64, String> {
        self.percentile(key, 50)
    }

    /// The largest value.
    ///
    /// # Errors
    /// Nothing was reported.
    pub fn largest(&self, key: &str) -> Result<f64, String> {
        self.percentile(key, 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(lines: &str) -> Samples {
        let mut samples = Samples::default();
        lines.lines().for_each(|line| samples.take(line));
        samples
    }

    #[test]
    fn values_are_gathered_by_key_and_talk_is_passed_over() {
        let found = samples("@val a 3\n@t 1.0 busy\n@val a 1\n@val b x\n@val a 2\nok\n@val\n");
        assert_eq!(found.count("a"), 3);
        assert_eq!(found.count("b"), 0);
        assert_eq!((found.median("a"), found.largest("a")), (Ok(2.0), Ok(3.0)));
        assert_eq!(found.median("b"), Err("'b' was not reported".to_owned()));
    }

    #[test]
    fn a_percentile_is_a_value_that_was_reported() {
        let lines: String = (1..=200).rev().map(|n| format!("@val k {n}\n")).collect();
        let found = samples(&lines);
        assert_eq!(found.percentile("k", 99), Ok(198.0));
        assert_eq!(found.percentile("k", 0), Ok(1.0));
        assert_eq!(found.median("k"), Ok(100.0));
    }
}
