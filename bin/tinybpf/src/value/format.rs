// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values as JSON: exact numbers, one line, valid whatever the type.

use std::fmt::Write as _;
use std::sync::Arc;

use super::Value;
use super::decode::Sink;

/// Integers beyond this cannot be told apart by readers that keep numbers as doubles.
const EXACT_MAX: u64 = 1 << 53;

/// How integers beyond 2^53 are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Int64Form {
    /// As numbers, all digits.
    #[default]
    Number,
    /// As strings, for readers that keep numbers as doubles.
    String,
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BytesForm {
    /// Text with U+FFFD for what is not UTF-8, bytes as arrays of numbers.
    #[default]
    Plain,
    /// Text that is not UTF-8, and bytes, as hexadecimal digits.
    Hex,
}

/// How enumerators are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnumForm {
    /// By name; by number where there is none.
    #[default]
    Name,
    /// By number.
    Number,
    /// As an object with both.
    Both,
}

/// How values are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// Wide integers.
    pub int64: Int64Form,
    /// Text and bytes.
    pub bytes: BytesForm,
    /// Enumerators.
    pub enums: EnumForm,
    /// Whether members that only fill gaps are written.
    pub all: bool,
}

impl Value {
    /// Appends the value to `out` as JSON on one line.
    pub fn write_json(&self, format: Format, out: &mut String) {
        self.tell(&mut JsonSink::new(format, out));
    }

    /// The value as JSON on one line.
    #[must_use]
    pub fn to_json(&self, format: Format) -> String {
        let mut out = String::new();
        self.write_json(format, &mut out);
        out
    }
}

/// Appends `text` to `out` as a JSON string. Control characters, and those that reorder text on a
/// terminal, are escaped.
pub fn push_json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            ' '..='~' => out.push(c),
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                push_escape(out, c);
            }
            c if c.is_control() => push_escape(out, c),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Only for characters of the first plane, as all above are.
fn push_escape(out: &mut String, c: char) {
    let _ = write!(out, "\\u{:04x}", u32::from(c));
}

/// Appends bytes as a JSON string of lower-case hexadecimal digits.
pub(crate) fn push_hex_text(out: &mut String, bytes: &[u8]) {
    out.push('"');
    push_hex(out, bytes);
    out.push('"');
}

/// Appends bytes as lower-case hexadecimal digits.
pub(crate) fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    for byte in bytes {
        out.push(digit(byte >> 4));
        out.push(digit(byte & 15));
    }
}

/// Writes JSON as it is told.
pub(super) struct JsonSink<'a> {
    format: Format,
    out: &'a mut String,
    /// Whether the next item or key follows another one.
    comma: bool,
}

impl<'a> JsonSink<'a> {
    pub(super) const fn new(format: Format, out: &'a mut String) -> Self {
        Self { format, out, comma: false }
    }

    /// What separates an item from the one before.
    fn item(&mut self) {
        if self.comma {
            self.out.push(',');
        }
        self.comma = true;
    }

    fn number(&mut self, text: std::fmt::Arguments<'_>, is_quoted: bool) {
        let quote = if is_quoted { "\"" } else { "" };
        self.item();
        let _ = write!(self.out, "{quote}{text}{quote}");
    }

    /// The words for what JSON has no number for.
    fn special(&mut self, is_nan: bool, is_negative: bool) {
        self.item();
        self.out.push_str(match (is_nan, is_negative) {
            (true, _) => "\"NaN\"",
            (false, false) => "\"Infinity\"",
            (false, true) => "\"-Infinity\"",
        });
    }

    fn is_quoted(&self, magnitude: u64) -> bool {
        self.format.int64 == Int64Form::String && magnitude > EXACT_MAX
    }
}

impl Sink for JsonSink<'_> {
    fn unsigned(&mut self, value: u64) {
        let is_quoted = self.is_quoted(value);
        self.number(format_args!("{value}"), is_quoted);
    }

    fn signed(&mut self, value: i64) {
        let is_quoted = self.is_quoted(value.unsigned_abs());
        self.number(format_args!("{value}"), is_quoted);
    }

    fn wide_unsigned(&mut self, value: u128) {
        self.number(format_args!("{value}"), true);
    }

    fn wide_signed(&mut self, value: i128) {
        self.number(format_args!("{value}"), true);
    }

    fn boolean(&mut self, value: bool) {
        self.number(format_args!("{value}"), false);
    }

    fn float32(&mut self, value: f32) {
        if value.is_finite() {
            // Debug is the shortest text that reads back, and always JSON.
            self.number(format_args!("{value:?}"), false);
        } else {
            self.special(value.is_nan(), value.is_sign_negative());
        }
    }

    fn float64(&mut self, value: f64) {
        if value.is_finite() {
            self.number(format_args!("{value:?}"), false);
        } else {
            self.special(value.is_nan(), value.is_sign_negative());
        }
    }

    fn text(&mut self, bytes: &[u8]) {
        self.item();
        match (std::str::from_utf8(bytes), self.format.bytes) {
            (Ok(text), _) => push_json_text(self.out, text),
            (Err(_), BytesForm::Plain) => {
                push_json_text(self.out, &String::from_utf8_lossy(bytes));
            }
            (Err(_), BytesForm::Hex) => push_hex_text(self.out, bytes),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        match self.format.bytes {
            BytesForm::Hex => self.raw(bytes),
            BytesForm::Plain => {
                self.begin_list();
                bytes.iter().for_each(|&byte| self.unsigned(byte.into()));
                self.end_list();
            }
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.item();
        push_hex_text(self.out, bytes);
    }

    fn pointer(&mut self, value: u64) {
        if value == 0 {
            return self.opaque();
        }
        self.item();
        let _ = write!(self.out, "\"0x{value:x}\"");
    }

    fn enumerator(&mut self, value: i128, name: Option<&Arc<str>>) {
        let is_quoted = self.is_quoted(u64::try_from(value.unsigned_abs()).unwrap_or(u64::MAX));
        match (self.format.enums, name) {
            (EnumForm::Number, _) | (EnumForm::Name, None) => {
                self.number(format_args!("{value}"), is_quoted);
            }
            (EnumForm::Name, Some(name)) => {
                self.item();
                push_json_text(self.out, name);
            }
            (EnumForm::Both, name) => {
                self.item();
                self.out.push_str("{\"value\":");
                self.comma = false;
                self.number(format_args!("{value}"), is_quoted);
                self.out.push_str(",\"name\":");
                match name {
                    Some(name) => push_json_text(self.out, name),
                    None => self.out.push_str("null"),
                }
                self.out.push('}');
            }
        }
    }

    fn opaque(&mut self) {
        self.item();
        self.out.push_str("null");
    }

    fn begin_list(&mut self) {
        self.item();
        self.out.push('[');
        self.comma = false;
    }

    fn end_list(&mut self) {
        self.out.push(']');
        self.comma = true;
    }

    fn begin_map(&mut self) {
        self.item();
        self.out.push('{');
        self.comma = false;
    }

    fn key(&mut self, name: &Arc<str>) {
        self.item();
        push_json_text(self.out, name);
        self.out.push(':');
        self.comma = false;
    }

    fn end_map(&mut self) {
        self.out.push('}');
        self.comma = true;
    }
}
