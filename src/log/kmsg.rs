// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's log buffer: one write of `<PRI>program: text` per record, for an initramfs.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use super::{Line, Sink};
use crate::text::escape_control;

/// The kernel cuts records near 1000 bytes (`LOG_LINE_MAX`); we cut first, and at a character.
const RECORD_MAX: usize = 960;

/// The kernel's buffer.
#[derive(Debug)]
pub struct Kmsg {
    file: File,
    program: String,
}

impl Kmsg {
    /// Opens the device at `path`, as `program`.
    ///
    /// # Errors
    /// There is none, or only root may.
    pub fn open(path: &Path, program: &str) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Self { file, program: program.to_owned() })
    }
}

impl Sink for Kmsg {
    fn write(&mut self, line: &Line) -> io::Result<()> {
        self.file.write_all(record(&self.program, line).as_bytes())
    }
}

fn record(program: &str, line: &Line) -> String {
    let text = escape_control(&line.text);
    let mut out = format!("<{}>{program}: {text}", line.priority());
    let end = (0..RECORD_MAX.min(out.len() + 1)).rev().find(|&at| out.is_char_boundary(at));
    out.truncate(end.unwrap_or(0));
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn records_carry_the_priority_and_stay_one_line() {
        let line = Line::new(Level::Info, "a\nb");
        assert_eq!(record("stafd", &line), "<30>stafd: a\\nb\n");
    }

    #[test]
    fn long_records_are_cut_at_a_character() {
        let text = record("x", &Line::new(Level::Error, "ß".repeat(2000)));
        assert!(text.len() <= RECORD_MAX);
        assert!(text.ends_with("ß\n"));
    }
}
