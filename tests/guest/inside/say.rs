// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's mouth: writes the lines of [`crate::wire`] to the second serial port.
//!
//! Lines of several threads do not mix. Before [`open`], and where the port is missing, words are
//! lost.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use plinth::time::Time;

use crate::wire::Line;

static PORT: OnceLock<Mutex<File>> = OnceLock::new();

/// Opens the port.
///
/// # Errors
/// When the device cannot be opened for writing.
pub fn open(path: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    PORT.get_or_init(|| Mutex::new(file));
    Ok(())
}

/// Writes one line.
pub fn line(line: &Line) {
    if let Some(port) = PORT.get() {
        let mut port = port.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody is left to tell when the last way out fails.
        drop(writeln!(port, "{line}"));
    }
}

/// Progress.
pub fn step(what: impl Into<String>) {
    let at = Time::monotonic().since(Time::ZERO);
    line(&Line::Step(format!("{:.2}", at.as_secs_f64()), what.into()));
}

/// A measurement.
pub fn value(key: &str, value: &dyn Display) {
    line(&Line::Value(key.to_owned(), value.to_string()));
}

/// A finding.
pub fn fail(what: impl Into<String>) {
    line(&Line::Fail(what.into()));
}

/// Talk of several lines.
pub fn text(text: &str) {
    for text in text.lines() {
        line(&Line::Talk(text.to_owned()));
    }
}

/// Talk of several lines under a heading, for whoever reads a failure.
pub fn show(heading: &str, text: &str) {
    line(&Line::Talk(format!("--- {heading}")));
    for text in text.lines() {
        line(&Line::Talk(format!("  {text}")));
    }
}
