// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Conditions on events: `FIELD=VALUE`, or `FIELD!=VALUE`.

use std::fmt;

use crate::number;
use crate::value::Value;

/// A condition on a member of an event, such as `stats[0].state=RUNNING`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    path: String,
    text: String,
    number: Option<i128>,
    is_negated: bool,
}

/// Text that is no condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError(String);

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "filter '{}' is not of the form FIELD=VALUE", self.0)
    }
}

impl std::error::Error for FilterError {}

impl Filter {
    /// Reads `FIELD=VALUE` or `FIELD!=VALUE`.
    ///
    /// # Errors
    /// There is no sign of equality, or no field before it.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let (path, value) = text.split_once('=').ok_or_else(|| FilterError(text.to_owned()))?;
        let (path, is_negated) = match path.strip_suffix('!') {
            Some(path) => (path, true),
            None => (path, false),
        };
        if path.is_empty() {
            return Err(FilterError(text.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            text: value.to_owned(),
            number: number::integer(value).ok(),
            is_negated,
        })
    }

    /// The member that is asked for.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether an event passes. One without the member does not, whatever is asked.
    #[must_use]
    pub fn passes(&self, event: &Value) -> bool {
        event.at(&self.path).is_some_and(|value| self.equals(value) != self.is_negated)
    }

    fn equals(&self, value: &Value) -> bool {
        let same_text = |own: &str| own == self.text;
        match value {
            Value::Str(bytes) => same_text(&String::from_utf8_lossy(bytes)),
            Value::Bool(value) => {
                same_text(if *value { "true" } else { "false" })
                    || self.number == Some(i128::from(*value))
            }
            Value::Enum { value, name } => {
                name.as_deref().is_some_and(same_text) || self.number == Some(*value)
            }
            Value::U128(value) => same_text(&value.to_string()),
            Value::F32(value) => self.text.parse() == Ok(*value),
            Value::F64(value) => self.text.parse() == Ok(*value),
            Value::Opaque => same_text("null"),
            Value::Ptr(0) if same_text("null") => true,
            Value::Bytes(bytes) | Value::Raw(bytes) => {
                number::hex_bytes(&self.text).as_ref() == Some(bytes)
            }
            Value::List(_) | Value::Map(_) => false,
            value => self.number.is_some() && self.number == value.as_integer(),
        }
    }
}
