// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The output of daemons as lines with a name before each.

use plinth::text::escape_control;

/// A longer line becomes several, in bytes.
pub const LINE_MAX: usize = 4096;

/// Cuts output into lines.
#[derive(Clone, Debug)]
pub struct Prefixed {
    prefix: String,
    rest: Vec<u8>,
}

impl Prefixed {
    /// Lines that begin with `prefix`.
    #[must_use]
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), rest: Vec::new() }
    }

    /// Takes what was said; the lines that are complete, each with its end.
    pub fn feed(&mut self, bytes: &[u8]) -> String {
        let mut out = String::new();
        for &byte in bytes {
            if byte == b'\n' || self.rest.len() >= LINE_MAX {
                self.flush(&mut out);
            }
            if byte != b'\n' {
                self.rest.push(byte);
            }
        }
        out
    }

    /// What was begun and not ended.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        if !self.rest.is_empty() {
            self.flush(&mut out);
        }
        out
    }

    fn flush(&mut self, out: &mut String) {
        let text = String::from_utf8_lossy(&self.rest);
        out.push_str(&self.prefix);
        out.push_str(&escape_control(text.trim_end_matches('\r')));
        out.push('\n');
        self.rest.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_have_their_name_and_an_end() {
        let mut lines = Prefixed::new("a: ");
        assert_eq!(lines.feed(b"one\ntw"), "a: one\n");
        assert_eq!(lines.feed(b"o\r\n\n\x1b[m"), "a: two\na: \n");
        assert_eq!(lines.finish(), "a: \\u{1b}[m\n");
        assert_eq!(lines.finish(), "");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut lines = Prefixed::new("");
        assert_eq!(lines.feed(&[b'x'; LINE_MAX]), "");
        assert_eq!(lines.feed(b"y").len(), LINE_MAX + 1);
        assert_eq!(lines.finish(), "y\n");
    }

    proptest! {
        #[test]
        fn nothing_but_lines_comes_out(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..9),
        ) {
            let mut lines = Prefixed::new("tag: ");
            let mut out: String = parts.iter().map(|part| lines.feed(part)).collect();
            out += &lines.finish();
            prop_assert!(out.is_empty() || out.ends_with('\n'));
            prop_assert!(out.lines().all(|line| line.starts_with("tag: ")));
        }
    }
}
