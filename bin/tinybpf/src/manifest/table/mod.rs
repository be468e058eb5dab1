// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tables of TOML to typed values: what is there, of the right type, and nothing else.
//!
//! Owns the way from a parsed document to Rust's types, and the complaints about missing, unknown
//! and ill-typed keys. What values mean is judged by those who read them.
//!
//! Everything that is wrong is collected, each with its place, so that whoever reads goes on after
//! a problem; once there is one, no value comes out of [`read`]. A value that cannot be read is
//! told once, and is not missed on top of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use plinth::config::toml::{
    DeInteger, DeTable, DeValue, PROBLEMS_MAX, Problem, Problems, Sources, Spanned,
};
use plinth::sorting;
use serde_core::de::Unexpected;

use crate::value::Value;

/// What can be read from a value of TOML.
pub(super) trait Read: Sized {
    /// Reads it; `at` is its place. `None` if the reader has been told of a problem.
    fn read(reader: &mut Reader<'_>, at: &Range<usize>, value: DeValue<'_>) -> Option<Self>;
}

/// Reads a document.
///
/// # Errors
/// Everything that is wrong with its tables in the order of the text, at most [`PROBLEMS_MAX`].
pub(super) fn read<T: Read>(table: DeTable<'_>, sources: &Sources) -> Result<T, Problems> {
    let mut reader = Reader { sources, problems: Vec::new() };
    let value = T::read(&mut reader, &(0..0), DeValue::Table(table));
    let mut problems = reader.problems;
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => {
            sorting::sort_by_key(&mut problems, |it| it.position);
            problems.truncate(PROBLEMS_MAX);
            Err(Problems(problems))
        }
    }
}

/// Collects what is wrong.
pub(super) struct Reader<'s> {
    sources: &'s Sources,
    problems: Vec<Problem>,
}

impl<'s> Reader<'s> {
    fn complain(&mut self, at: &Range<usize>, message: String) {
        self.problems.push(self.sources.problem(at, message));
    }

    /// Complains about a value of another type than `expected`.
    pub(super) fn wrong<T>(
        &mut self,
        at: &Range<usize>,
        found: &Unexpected<'_>,
        expected: &str,
    ) -> Option<T> {
        self.complain(at, format!("invalid type: {found}, expected {expected}"));
        None
    }

    /// Begins to read a table.
    pub(super) fn table<'t>(
        &mut self,
        at: &Range<usize>,
        value: DeValue<'t>,
    ) -> Option<Table<'_, 's, 't>> {
        match value {
            DeValue::Table(rest) => {
                Some(Table { reader: self, at: at.clone(), rest, known: Vec::new() })
            }
            other => self.wrong(at, &kind(&other), "a table"),
        }
    }

    fn integer(&mut self, at: &Range<usize>, integer: &DeInteger<'_>) -> Option<Value> {
        let (text, radix) = (integer.as_str(), integer.radix());
        let value = i64::from_str_radix(text, radix).map(Value::I64);
        let value = value.or_else(|_| u64::from_str_radix(text, radix).map(Value::U64));
        let value = value.or_else(|_| i128::from_str_radix(text, radix).map(Value::I128));
        let value = value.or_else(|_| u128::from_str_radix(text, radix).map(Value::U128)).ok();
        if value.is_none() {
            self.complain(at, "integer number overflowed".to_owned());
        }
        value
    }
}

/// A table that is being read, key by key.
pub(super) struct Table<'r, 's, 't> {
    reader: &'r mut Reader<'s>,
    at: Range<usize>,
    /// What has not been asked for.
    rest: DeTable<'t>,
    /// What has been asked for.
    known: Vec<&'static str>,
}

impl Table<'_, '_, '_> {
    /// The value of a key; `None` if it is not there, or wrong.
    pub(super) fn optional<T: Read>(&mut self, key: &'static str) -> Option<T> {
        self.known.push(key);
        let value = self.rest.remove(key)?;
        T::read(self.reader, &value.span(), value.into_inner())
    }

    /// The value of a key that must be there.
    pub(super) fn required<T: Read>(&mut self, key: &'static str) -> Option<T> {
        if !self.rest.contains_key(key) {
            self.reader.complain(&self.at, format!("missing field `{key}`"));
        }
        self.optional(key)
    }

    /// Refuses all keys that have not been asked for.
    pub(super) fn close(self) {
        let names: Vec<String> = self.known.iter().map(|it| format!("`{it}`")).collect();
        let expected = match names.as_slice() {
            [one] => one.clone(),
            [one, other] => format!("{one} or {other}"),
            more => format!("one of {}", more.join(", ")),
        };
        for key in self.rest.keys() {
            let message = format!("unknown field `{}`, expected {expected}", key.get_ref());
            self.reader.complain(&key.span(), message);
        }
    }
}

/// What a value is, for messages.
pub(super) fn kind<'v>(value: &'v DeValue<'_>) -> Unexpected<'v> {
    match value {
        DeValue::String(text) => Unexpected::Str(text),
        DeValue::Integer(it) => {
            let (text, radix) = (it.as_str(), it.radix());
            if let Ok(number) = i64::from_str_radix(text, radix) {
                Unexpected::Signed(number)
            } else if let Ok(number) = u64::from_str_radix(text, radix) {
                Unexpected::Unsigned(number)
            } else {
                Unexpected::Other("integer beyond 64 bits")
            }
        }
        DeValue::Float(it) => match it.as_str().parse() {
            Ok(number) => Unexpected::Float(number),
            Err(_) => Unexpected::Other("floating point"),
        },
        DeValue::Boolean(truth) => Unexpected::Bool(*truth),
        DeValue::Datetime(_) => Unexpected::Other("date or time"),
        DeValue::Array(_) => Unexpected::Seq,
        DeValue::Table(_) => Unexpected::Map,
    }
}

impl<T: Read> Read for Spanned<T> {
    fn read(reader: &mut Reader<'_>, at: &Range<usize>, value: DeValue<'_>) -> Option<Self> {
        T::read(reader, at, value).map(|it| Self::new(at.clone(), it))
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(reader: &mut Reader<'_>, at: &Range<usize>, value: DeValue<'_>) -> Option<Self> {
        let DeValue::Array(items) = value else {
            return reader.wrong(at, &kind(&value), "a sequence");
        };
        let read = |it: Spanned<DeValue<'_>>| T::read(reader, &it.span(), it.into_inner());
        Some(items.into_iter().filter_map(read).collect())
    }
}

impl<T: Read> Read for BTreeMap<String, T> {
    fn read(reader: &mut Reader<'_>, at: &Range<usize>, value: DeValue<'_>) -> Option<Self> {
        let DeValue::Table(table) = value else {
            return reader.wrong(at, &kind(&value), "a map");
        };
        let mut map = Self::new();
        for (key, it) in table {
            if let Some(value) = T::read(reader, &it.span(), it.into_inner()) {
                map.insert(key.into_inner().into_owned(), value);
            }
        }
        Some(map)
    }
}

impl Read for String {
    fn read(reader: &mut Reader<'_>, at: &Range<usize>, value: DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::String(text) => Some(text.into_owned()),
            other => reader.wrong(at, &kind(&other), "a string"),
        }
    }
}

impl Read for bool {
    fn read(reader: &mut Reader<'_>, at: &Range<usize>, value: DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::Boolean(truth) => Some(truth),
            other => reader.wrong(at, &kind(&other), "a boolean"),
        }
    }
}

impl Read for u32 {
    fn read(reader: &mut Reader<'_>, at: &Range<usize>, value: DeValue<'_>) -> Option<Self> {
        let DeValue::Integer(integer) = &value else {
            return reader.wrong(at, &kind(&value), "u32");
        };
        let number = Self::from_str_radix(integer.as_str(), integer.radix()).ok();
        if number.is_none() {
            let found = kind(&value);
            reader.complain(at, format!("invalid value: {found}, expected u32"));
        }
        number
    }
}

impl Read for Value {
    fn read(reader: &mut Reader<'_>, at: &Range<usize>, value: DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::String(text) => Some(Self::from(&*text)),
            DeValue::Integer(integer) => reader.integer(at, &integer),
            DeValue::Float(float) => {
                let text = float.as_str();
                let number = text.parse::<f64>().ok();
                let number = number.filter(|it| !it.is_infinite() || text.contains("inf"));
                if number.is_none() {
                    reader.complain(at, "floating-point number overflowed".to_owned());
                }
                number.map(Self::F64)
            }
            DeValue::Boolean(truth) => Some(Self::Bool(truth)),
            DeValue::Array(_) => Read::read(reader, at, value).map(Self::List),
            DeValue::Table(table) => {
                let mut members: Vec<(Arc<str>, Self)> = Vec::new();
                for (name, it) in table {
                    if let Some(value) = Self::read(reader, &it.span(), it.into_inner()) {
                        members.push((Arc::from(&**name.get_ref()), value));
                    }
                }
                Some(Self::Map(members))
            }
            DeValue::Datetime(_) => reader.wrong(at, &kind(&value), "a value"),
        }
    }
}

#[cfg(test)]
mod tests;
