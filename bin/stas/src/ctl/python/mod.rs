// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Prints a JSON value as the Python literal that the reference's clients print.
//!
//! Owns the layout of CPython's `pprint` (width 120, indent 1, keys sorted) and the spelling of
//! CPython's `repr`: scripts in the field evaluate this text, and people compare it with what they
//! know. What is printed is decided elsewhere; this module is pure.
//!
//! Columns are counted in characters, as CPython counts them, not in cells of a terminal. Which
//! characters are printable follows the Unicode tables of the compiler, so a character that is
//! newer than the reader's interpreter appears as itself and not as an escape; it reads back the
//! same.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

/// Columns that a line may have.
pub const WIDTH: usize = 120;

/// `value` as a Python literal, over as many lines as it takes, without a line feed at the end.
#[must_use]
pub fn literal(value: &Value) -> String {
    literal_within(value, WIDTH)
}

/// As [`literal`], for lines of `width` columns.
#[must_use]
pub fn literal_within(value: &Value, width: usize) -> String {
    let mut printer = Printer { out: String::new(), width };
    match value {
        // A string that stands alone needs parentheses to hold its pieces together.
        Value::String(text) if count(&quoted(text)) > width => printer.alone(text),
        _ => printer.place(value, Spot { column: 0, reserved: 0 }),
    }
    printer.out
}

/// Where something is to be printed.
#[derive(Clone, Copy)]
struct Spot {
    /// Characters to the left of it.
    column: usize,
    /// Characters that must follow it on its last line: closing brackets and a comma.
    reserved: usize,
}

struct Printer {
    out: String,
    width: usize,
}

impl Printer {
    /// Prints `value` on one line where it fits, else broken up.
    fn place(&mut self, value: &Value, spot: Spot) {
        let line = on_one_line(value);
        if count(&line) <= self.width.saturating_sub(spot.column + spot.reserved) {
            self.out.push_str(&line);
            return;
        }
        match value {
            Value::Object(map) => self.dictionary(map, spot),
            Value::Array(items) => self.list(items, spot),
            Value::String(text) if !text.is_empty() => {
                let pieces = self.pieces(text, spot);
                self.stack(&pieces, spot.column);
            }
            _ => self.out.push_str(&line),
        }
    }

    fn dictionary(&mut self, map: &Map<String, Value>, spot: Spot) {
        self.out.push('{');
        let column = spot.column + 1;
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort_by_key(|(key, _)| *key);
        for (index, (key, value)) in entries.iter().enumerate() {
            self.next_item(index, column);
            let key = quoted(key);
            let value_column = column + count(&key) + 2;
            self.out.push_str(&key);
            self.out.push_str(": ");
            let reserved = reserved(index, entries.len(), spot);
            self.place(value, Spot { column: value_column, reserved });
        }
        self.out.push('}');
    }

    fn list(&mut self, items: &[Value], spot: Spot) {
        self.out.push('[');
        let column = spot.column + 1;
        for (index, value) in items.iter().enumerate() {
            self.next_item(index, column);
            self.place(value, Spot { column, reserved: reserved(index, items.len(), spot) });
        }
        self.out.push(']');
    }

    fn next_item(&mut self, index: usize, column: usize) {
        if index > 0 {
            self.out.push(',');
            self.new_line(column);
        }
    }

    fn new_line(&mut self, column: usize) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', column));
    }

    /// One literal below the other: Python joins adjacent ones.
    fn stack(&mut self, pieces: &[String], column: usize) {
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                self.new_line(column);
            }
            self.out.push_str(piece);
        }
    }

    /// A long string that is no part of a container.
    fn alone(&mut self, text: &str) {
        let pieces = self.pieces(text, Spot { column: 1, reserved: 1 });
        if let [piece] = pieces.as_slice() {
            self.out.push_str(piece);
            return;
        }
        self.out.push('(');
        self.stack(&pieces, 1);
        self.out.push(')');
    }

    /// Cuts a string into literals: at its line ends, and long lines after white space.
    fn pieces(&self, text: &str, spot: Spot) -> Vec<String> {
        let room = self.width.saturating_sub(spot.column);
        let room_at_end = room.saturating_sub(spot.reserved);
        let mut pieces = Vec::new();
        let mut lines = cut(text, line_end).into_iter().peekable();
        while let Some(line) = lines.next() {
            let last_line = lines.peek().is_none();
            let literal = quoted(line);
            if count(&literal) <= if last_line { room_at_end } else { room } {
                pieces.push(literal);
                continue;
            }
            let mut piece = String::new();
            let mut words = cut(line, word_end).into_iter().peekable();
            while let Some(word) = words.next() {
                let last = last_line && words.peek().is_none();
                let longer = format!("{piece}{word}");
                if count(&quoted(&longer)) <= if last { room_at_end } else { room } {
                    piece = longer;
                    continue;
                }
                if !piece.is_empty() {
                    pieces.push(quoted(&piece));
                }
                word.clone_into(&mut piece);
            }
            if !piece.is_empty() {
                pieces.push(quoted(&piece));
            }
        }
        pieces
    }
}

/// What must follow item `index` of `len`: a comma, or everything that closes here.
const fn reserved(index: usize, len: usize, spot: Spot) -> usize {
    if index + 1 == len { spot.reserved + 1 } else { 1 }
}

fn count(text: &str) -> usize {
    text.chars().count()
}

/// Divides `text` wherever `ends(before, after)` says that a part ends between the two.
fn cut(text: &str, ends: fn(char, char) -> bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest
            .char_indices()
            .zip(rest.chars().skip(1))
            .find(|((_, before), after)| ends(*before, *after))
            .map_or(rest.len(), |((at, before), _)| at + before.len_utf8());
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after;
    }
    parts
}

/// Lines end where `str.splitlines` ends them.
const fn line_end(before: char, after: char) -> bool {
    match before {
        '\r' => after != '\n',
        '\n' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}' => true,
        _ => false,
    }
}

/// Words keep the white space behind them.
fn word_end(before: char, after: char) -> bool {
    is_space(before) && !is_space(after)
}

/// White space as `str.isspace` has it: the Unicode property, and four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// `repr` of the value.
fn on_one_line(value: &Value) -> String {
    let mut out = String::new();
    write_one_line(value, &mut out);
    out
}

fn write_one_line(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(number) => out.push_str(&numeral(number)),
        Value::String(text) => out.push_str(&quoted(text)),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_one_line(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (index, (key, item)) in entries.into_iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                out.push_str(&quoted(key));
                out.push_str(": ");
                write_one_line(item, out);
            }
            out.push('}');
        }
    }
}

/// `repr` of a string: single quotes, unless only those occur inside.
#[must_use]
pub fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            _ if c == quote => {
                out.push('\\');
                out.push(c);
            }
            _ if is_printable(c) => out.push(c),
            _ => escape(c, &mut out),
        }
    }
    out.push(quote);
    out
}

fn escape(c: char, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = match u32::from(c) {
        code @ ..=0xff => write!(out, "\\x{code:02x}"),
        code @ ..=0xffff => write!(out, "\\u{code:04x}"),
        code => write!(out, "\\U{code:08x}"),
    };
}

fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // The standard library shows its table only through this door, and treats a combining mark as
    // printable only behind another character.
    let mut probe = [b'a', 0, 0, 0, 0];
    let Some(place) = probe.get_mut(1..) else { return false };
    let len = 1 + c.encode_utf8(place).len();
    let text = probe.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.is_some_and(|text| text.escape_debug().nth(1) == Some(c))
}

/// `repr` of a number: the shortest digits that read back the same.
fn numeral(number: &Number) -> String {
    if number.is_f64() {
        number.as_f64().map_or_else(|| number.to_string(), float)
    } else {
        number.to_string()
    }
}

/// Plain digits between 1e-4 and 1e16, an exponent of at least two digits outside.
fn float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(-4..=15) => {
            let plain = value.to_string();
            if plain.contains('.') { plain } else { plain + ".0" }
        }
        Ok(exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
        }
        Err(_) => scientific,
    }
}

#[cfg(test)]
mod tests;
