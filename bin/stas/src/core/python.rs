// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The text that Python prints for strings and small dictionaries.
//!
//! Some values of the daemons' interface are such texts (`dlpe`, `connect operation`), because
//! scripts evaluate them. Laying out whole documents is left to the clients.

use std::fmt::Write as _;

/// A string literal: single quotes, unless the text holds some and no double quote.
#[must_use]
pub fn string(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        let written = match c {
            '\\' => out.write_str("\\\\"),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            c if c == quote => write!(out, "\\{c}"),
            c if c.is_control() => write!(out, "\\x{:02x}", u32::from(c)),
            c => write!(out, "{c}"),
        };
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    }
    out.push(quote);
    out
}

/// A dictionary on one line, in the order given; values are literals already.
pub fn dict<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let items: Vec<String> =
        pairs.into_iter().map(|(key, value)| format!("{}: {value}", string(key))).collect();
    format!("{{{}}}", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    // R025
    #[test]
    fn strings_choose_their_quotes_as_python_does() {
        for (text, literal) in [
            ("plain", "'plain'"),
            ("it's", "\"it's\""),
            ("a\"b", "'a\"b'"),
            ("a'b\"c", "'a\\'b\"c'"),
            ("back\\slash\n\x01", "'back\\\\slash\\n\\x01'"),
        ] {
            assert_eq!(string(text), literal);
        }
        assert_eq!(dict([("a", string("b")), ("c", "False".to_owned())]), "{'a': 'b', 'c': False}");
        assert_eq!(dict([]), "{}");
    }
}
