// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Text for people: quoting, neutral control characters, aligned tables.
//!
//! Everything that came from a peer, a device or a file passes [`escape_control`] before a terminal
//! or a log sees it, so that no name can move the cursor or forge a line.

use std::borrow::Cow;
use std::fmt;

/// `text` in single quotes, with control characters, quotes and backslashes escaped: one line,
/// always.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            out.push('\\');
        }
        push_visible(&mut out, c);
    }
    out.push('\'');
    out
}

/// `text` with control characters, and those that reorder text, replaced by escapes such as `\n`.
///
/// Backslashes stay as they are: the result is for reading, and does not decode uniquely.
#[must_use]
pub fn escape_control(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    text.chars().for_each(|c| push_visible(&mut out, c));
    Cow::Owned(out)
}

/// The bytes that hexadecimal digits stand for, two each. Nothing else may be among them: the
/// standard library, for one, takes a sign.
#[must_use]
pub fn hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    if digits.len() != 2 * N || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Control characters (Unicode category Cc), line separators and bidirectional overrides.
const fn is_hidden(c: char) -> bool {
    matches!(c, '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn push_visible(out: &mut String, c: char) {
    if is_hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
}

/// Rows under headings, each column as wide as its widest cell, two blanks between columns.
///
/// Cells are escaped with [`escape_control`]; an empty one prints as `-`, so that columns can be
/// counted.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings and no rows.
    #[must_use]
    pub fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(|&name| name.to_owned()).collect()] }
    }

    /// Adds a row. Missing cells are empty; those beyond the headings form columns without heading.
    pub fn row<I, S>(&mut self, cells: I)
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        self.rows
            .push(cells.into_iter().map(|c| escape_control(c.as_ref()).into_owned()).collect());
    }

    /// Whether there is nothing under the headings.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }
}

impl fmt::Display for Table {
    /// One line per row, without blanks at the end of a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![1; columns];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (at, width) in widths.iter().enumerate() {
                let cell = match row.get(at).map(String::as_str) {
                    None | Some("") if number > 0 => "-",
                    other => other.unwrap_or(""),
                };
                line.push_str(cell);
                let gap = width.saturating_sub(cell.chars().count()) + 2;
                line.extend(std::iter::repeat_n(' ', gap));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_alone_are_hexadecimal() {
        assert_eq!(hex("00fF2a"), Some([0, 255, 42]));
        assert_eq!(hex(""), Some([]));
        for text in ["", "0", "+1", "-1", " 1", "0x", "1g", "é", "123"] {
            assert_eq!(hex::<1>(text), None, "{text}");
        }
    }

    #[test]
    fn quoting_marks_both_ends_and_hides_nothing() {
        for (plain, quoted) in [
            ("", "''"),
            ("nvme0", "'nvme0'"),
            ("it's", r"'it\'s'"),
            ("a\\b", r"'a\\b'"),
            ("a\nb\t", r"'a\nb\t'"),
            ("\u{1b}[31m", r"'\u{1b}[31m'"),
            ("\u{202e}x", r"'\u{202e}x'"),
        ] {
            assert_eq!(quote(plain), quoted);
        }
    }

    #[test]
    fn harmless_text_is_borrowed() {
        assert!(matches!(escape_control("Größe"), Cow::Borrowed("Größe")));
        assert_eq!(escape_control("a\r\nb"), r"a\r\nb");
        assert_eq!(escape_control("\u{9b}2J"), r"\u{9b}2J");
    }

    #[test]
    fn tables_align_their_columns() {
        let mut table = Table::new(&["DEVICE", "STATE", "NQN"]);
        assert!(table.is_empty());
        table.row(["nvme0", "live", "nqn.2014-08.org.example:a"]);
        table.row(["nvme10", "", "x\ny"]);
        table.row(["n"]);
        assert_eq!(
            table.to_string(),
            "DEVICE  STATE  NQN\n\
             nvme0   live   nqn.2014-08.org.example:a\n\
             nvme10  -      x\\ny\n\
             n       -      -\n"
        );
    }

    proptest! {
        #[test]
        fn nothing_escapes_the_escape(text in any::<String>()) {
            prop_assert!(!escape_control(&text).chars().any(is_hidden));
            let quoted = quote(&text);
            prop_assert_eq!(quoted.lines().count(), 1);
            prop_assert!(!quoted.chars().any(is_hidden));
        }
    }
}
