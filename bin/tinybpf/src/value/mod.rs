// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values of BTF types: bytes to values, values to bytes, values to JSON and from it.
//!
//! Owns what a value is and how it is written. A type is compiled once into a [`Shape`]; everything
//! else works on shapes and needs no table. Types come from [`crate::btf`].
//!
//! Nothing is lost on the way: integers of every width are exact, floats print their shortest text
//! that reads back, and every line of JSON is valid whatever the type. Shapes of untrusted tables
//! have a bounded number of nodes and a bounded number of values.

mod decode;
mod encode;
mod format;
mod input;
mod shape;

#[cfg(test)]
mod roundtrip;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use decode::SizeError;
pub use encode::{Encode, EncodeError, Why};
pub(crate) use format::push_hex;
pub use format::{BytesForm, EnumForm, Format, Int64Form, push_json_text};
pub use input::{JsonError, parse_json};
pub use shape::Shape;

/// A value, decoded from bytes or given by a person.
///
/// Decoding yields the variant that the type demands. Encoding also takes what JSON and TOML can
/// say: any integer for an integer type, text for numbers that are too wide for JSON, lists of
/// numbers for bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An unsigned integer of up to 8 bytes.
    U64(u64),
    /// A signed integer of up to 8 bytes; also a single `char`.
    I64(i64),
    /// An unsigned integer of 16 bytes.
    U128(u128),
    /// A signed integer of 16 bytes.
    I128(i128),
    /// A truth value.
    Bool(bool),
    /// A float of 2 or 4 bytes.
    F32(f32),
    /// A float of 8 bytes.
    F64(f64),
    /// The bytes of an array of `char` before its first NUL; not necessarily UTF-8.
    Str(Vec<u8>),
    /// An array of unsigned 1-byte integers.
    Bytes(Vec<u8>),
    /// A number that no integer or float here can hold, as its bytes: `long double`.
    Raw(Vec<u8>),
    /// An array.
    List(Vec<Value>),
    /// An address; never followed.
    Ptr(u64),
    /// A value of an enumeration.
    Enum {
        /// The number.
        value: i128,
        /// Its name, if it has one.
        name: Option<Arc<str>>,
    },
    /// A struct in the order of declaration, or all members of a union.
    Map(Vec<(Arc<str>, Value)>),
    /// Something without a value: `void`, a function, a type that was only announced; JSON's null.
    Opaque,
}

impl Value {
    /// The member or the element at a path such as `stats[2].bytes`.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Self> {
        let mut found = self;
        for step in path.split('.') {
            let (name, indices) = step.split_once('[').unwrap_or((step, ""));
            if !name.is_empty() {
                let Self::Map(members) = found else { return None };
                found = members.iter().find(|(key, _)| &**key == name).map(|(_, value)| value)?;
            }
            for index in indices.split('[').filter(|it| !it.is_empty()) {
                let Self::List(items) = found else { return None };
                found = items.get(index.strip_suffix(']')?.parse::<usize>().ok()?)?;
            }
        }
        Some(found)
    }

    /// The number that an integer, an enumerator, a truth value or a pointer stands for; `None`
    /// beyond 127 bits.
    #[must_use]
    pub fn as_integer(&self) -> Option<i128> {
        match self {
            Self::U64(value) | Self::Ptr(value) => Some(i128::from(*value)),
            Self::I64(value) => Some(i128::from(*value)),
            Self::U128(value) => i128::try_from(*value).ok(),
            Self::I128(value) | Self::Enum { value, .. } => Some(*value),
            Self::Bool(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    /// What the value is, in the words of a person.
    #[must_use]
    pub const fn describe(&self) -> &'static str {
        match self {
            Self::U64(_) | Self::I64(_) | Self::U128(_) | Self::I128(_) => "an integer",
            Self::Bool(_) => "a truth value",
            Self::F32(_) | Self::F64(_) => "a float",
            Self::Str(_) => "text",
            Self::Bytes(_) | Self::Raw(_) => "bytes",
            Self::List(_) => "a list",
            Self::Ptr(_) => "an address",
            Self::Enum { .. } => "an enumerator",
            Self::Map(_) => "a table",
            Self::Opaque => "nothing",
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::U64(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::U64(value.into())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::I64(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::I64(value.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::F64(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Str(value.as_bytes().to_vec())
    }
}
