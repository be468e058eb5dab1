// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values to bytes. Gaps are written as zero, since a hash key with anything else in them never
//! matches; every refusal names the member at fault (`value.stats[2].bytes`).

use std::fmt;

use super::Value;
use super::decode::{integer, span};
use super::shape::{Base, Bits, Field, Names, Node, Shape, mask};
use crate::btf::ByteOrder;
use crate::number;

/// Bytes that an array without length of its own may take.
const REST_LEN_MAX: usize = 1 << 24;
/// Names that a message lists.
const NAMES_TOLD_MAX: usize = 8;

/// How values become bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encode {
    /// Whether members that are not given are zero; else they are an error, unless the table has a
    /// member `..`.
    pub defaults: bool,
    /// Whether text may fill its array without room for the NUL.
    pub no_nul: bool,
}

/// Why a value cannot become a value of the type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError {
    /// The member or element at fault, from `value` or what the caller calls it.
    pub path: String,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// Another kind of value is needed.
    Kind {
        /// What the type takes.
        want: &'static str,
        /// What was given.
        got: &'static str,
    },
    /// An integer that the type cannot hold.
    OutOfRange {
        /// The integer.
        value: String,
        /// Bits of the type.
        bits: u32,
        /// Whether it has a sign.
        is_signed: bool,
    },
    /// Text that should be a number.
    NotANumber(String),
    /// Text that is none of the enumerators.
    NoSuchName {
        /// The text.
        name: String,
        /// Some that exist.
        known: Vec<String>,
    },
    /// Text or bytes that do not fit.
    TooLong {
        /// Bytes given.
        got: usize,
        /// Bytes that fit.
        max: usize,
    },
    /// Text with a NUL inside would be read back shorter.
    InnerNul,
    /// An array with another number of elements.
    Length {
        /// Elements given.
        got: usize,
        /// Elements of the type.
        want: usize,
    },
    /// Members that are not given.
    Missing(Vec<String>),
    /// A member that the type does not have.
    NoSuchMember {
        /// The name.
        name: String,
        /// Some that exist.
        known: Vec<String>,
    },
    /// A member that is given twice.
    Twice(String),
    /// A union takes exactly one member.
    OneOf {
        /// Members given.
        got: usize,
        /// Those of the union.
        known: Vec<String>,
    },
    /// The type has no values.
    NoValue,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

impl std::error::Error for EncodeError {}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind { want, got } => write!(f, "{want} is needed, not {got}"),
            Self::OutOfRange { value, is_signed: false, .. } if value.starts_with('-') => {
                write!(f, "negative value {value} for an unsigned type")
            }
            Self::OutOfRange { value, bits, is_signed } => {
                let sign = if *is_signed { "signed" } else { "unsigned" };
                write!(f, "{value} is out of range of a {sign} type of {bits} bits")
            }
            Self::NotANumber(text) => write!(f, "'{text}' is no number of the type"),
            Self::NoSuchName { name, known } => {
                write!(f, "no enumerator '{name}'; there are {}", known.join(", "))
            }
            Self::TooLong { got, max } => write!(f, "{got} bytes do not fit, at most {max}"),
            Self::InnerNul => f.write_str("text with a NUL inside"),
            Self::Length { got, want } => write!(f, "{got} elements, {want} are needed"),
            Self::Missing(names) => {
                write!(f, "members are missing: {}", names.join(", "))
            }
            Self::NoSuchMember { name, known } => {
                write!(f, "no member '{name}'; there are {}", known.join(", "))
            }
            Self::Twice(name) => write!(f, "member '{name}' is given twice"),
            Self::OneOf { got, known } => {
                write!(f, "one member of {} is needed, not {got}", known.join(", "))
            }
            Self::NoValue => f.write_str("a type without values"),
        }
    }
}

impl Shape {
    /// The bytes of a value. Tables may leave members out with a member `..`; see [`Encode`].
    ///
    /// # Errors
    /// What is wrong with the value, and where; `root` is what the whole is called.
    pub fn encode(
        &self,
        root: &str,
        value: &Value,
        options: Encode,
    ) -> Result<Vec<u8>, EncodeError> {
        let mut writer = Writer {
            order: self.order,
            options,
            path: vec![Step::Name(root.to_owned())],
            bytes: vec![0; self.size],
        };
        match writer.node(&self.root, value, 0) {
            Ok(()) => Ok(writer.bytes),
            Err(why) => Err(EncodeError { path: writer.spelled(), why }),
        }
    }
}

enum Step {
    Name(String),
    Index(usize),
}

struct Writer {
    order: ByteOrder,
    options: Encode,
    /// Where the walk is; left as it is by a failure.
    path: Vec<Step>,
    bytes: Vec<u8>,
}

type Outcome = Result<(), Why>;

impl Writer {
    fn spelled(&self) -> String {
        let mut out = String::new();
        for (at, step) in self.path.iter().enumerate() {
            match step {
                Step::Name(name) => {
                    out.push_str(if at == 0 { "" } else { "." });
                    out.push_str(name);
                }
                Step::Index(index) => out.push_str(&format!("[{index}]")),
            }
        }
        out
    }

    fn inside(&mut self, step: Step, run: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        self.path.push(step);
        run(self)?;
        self.path.pop();
        Ok(())
    }

    fn node(&mut self, node: &Node, value: &Value, at: usize) -> Outcome {
        match node {
            Node::Int { size, is_signed } => {
                let bits = bit_count(*size);
                let word = wide(value, bits, *is_signed)?;
                self.put_word(at, *size, word);
            }
            Node::Bool { size } => {
                let word = u128::from(truth(value)?);
                self.put_word(at, *size, word);
            }
            Node::Float { size } => self.float(at, *size, value)?,
            Node::Ptr => {
                let word = match value {
                    Value::Opaque => 0,
                    value => wide(value, 64, false)?,
                };
                self.put_word(at, 8, word);
            }
            Node::Enum { size, is_signed, names } => {
                let word = enumerator(value, bit_count(*size), *is_signed, names)?;
                self.put_word(at, *size, word.into());
            }
            Node::Narrow { bits, base, .. } => self.bits(*bits, base, value, at)?,
            Node::Chars { len } => self.chars(*len, value, at)?,
            Node::Bytes { len } => self.octets(*len, value, at)?,
            Node::List { element, stride, len } => {
                let items = list(value, *len)?;
                for (index, item) in items.iter().enumerate() {
                    let place = at + index * stride;
                    self.inside(Step::Index(index), |it| it.node(element, item, place))?;
                }
            }
            Node::Rest { element, stride } => self.rest(element, *stride, value, at)?,
            Node::Struct { fields, is_union, .. } => self.table(fields, *is_union, value, at)?,
            Node::Opaque if *value == Value::Opaque => {}
            Node::Opaque => return Err(Why::NoValue),
        }
        Ok(())
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        let place = self.bytes.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len()));
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
    }

    /// Writes the lowest bytes of a word.
    fn put_word(&mut self, at: usize, size: usize, word: u128) {
        let little = word.to_le_bytes();
        let mut bytes = little.get(..size).unwrap_or_default().to_vec();
        if self.order == ByteOrder::Big {
            bytes.reverse();
        }
        self.put(at, &bytes);
    }

    fn float(&mut self, at: usize, size: usize, value: &Value) -> Outcome {
        let want = "a float";
        if !matches!(size, 4 | 8) {
            // What has no number here is given as it is shown: as its bytes.
            let bytes = match value {
                Value::Raw(bytes) | Value::Bytes(bytes) => bytes.clone(),
                Value::Str(text) => number::hex_bytes(&String::from_utf8_lossy(text))
                    .ok_or(Why::Kind { want: "hexadecimal digits", got: "other text" })?,
                Value::F32(_) | Value::F64(_) => return Err(Why::NoValue),
                other => return Err(Why::Kind { want, got: other.describe() }),
            };
            if bytes.len() != size {
                return Err(Why::Length { got: bytes.len(), want: size });
            }
            self.put(at, &bytes);
            return Ok(());
        }
        let not_a_number =
            |text: &[u8]| Why::NotANumber(String::from_utf8_lossy(text).into_owned());
        let float = match value {
            Value::F32(value) if size == 4 => {
                self.put_word(at, size, value.to_bits().into());
                return Ok(());
            }
            Value::F32(value) => f64::from(*value),
            Value::F64(value) => *value,
            Value::Str(text) => match text.as_slice() {
                b"NaN" => f64::NAN,
                b"Infinity" => f64::INFINITY,
                b"-Infinity" => f64::NEG_INFINITY,
                other => return Err(not_a_number(other)),
            },
            Value::Bool(_) | Value::Enum { .. } | Value::Ptr(_) => {
                return Err(Why::Kind { want, got: value.describe() });
            }
            other => {
                let whole = other.as_integer();
                let whole = whole.ok_or(Why::Kind { want, got: other.describe() })?;
                // An integer reads as the nearest float, as in every language.
                whole.to_string().parse().unwrap_or(f64::NAN)
            }
        };
        let word = match size {
            4 => u128::from(narrow(float).to_bits()),
            _ => u128::from(float.to_bits()),
        };
        self.put_word(at, size, word);
        Ok(())
    }

    fn bits(&mut self, bits: Bits, base: &Base, value: &Value, at: usize) -> Outcome {
        let word = match base {
            Base::Bool => u64::from(truth(value)?),
            Base::Int { is_signed } => super::decode::low(wide(value, bits.len, *is_signed)?),
            Base::Enum { is_signed, names } => enumerator(value, bits.len, *is_signed, names)?,
        };
        let Some((first, len, shift)) = span(bits, self.order) else { return Err(Why::NoValue) };
        let start = at + first;
        let present = self.bytes.get(start..).and_then(|rest| rest.get(..len)).unwrap_or_default();
        let field = u128::from(mask(bits.len)) << shift;
        let merged = integer(present, self.order) & !field;
        self.put_word(start, len, merged | (u128::from(word & mask(bits.len)) << shift));
        Ok(())
    }

    fn chars(&mut self, len: usize, value: &Value, at: usize) -> Outcome {
        let bytes = match value {
            Value::Str(text) if text.contains(&0) => return Err(Why::InnerNul),
            Value::Str(text) => {
                let max = if self.options.no_nul { len } else { len.saturating_sub(1) };
                if text.len() > max {
                    return Err(Why::TooLong { got: text.len(), max });
                }
                text.clone()
            }
            other => return self.octets_of("text", len, other, at),
        };
        self.put(at, &bytes);
        Ok(())
    }

    fn octets(&mut self, len: usize, value: &Value, at: usize) -> Outcome {
        if let Value::Str(text) = value {
            let text = String::from_utf8_lossy(text);
            let bytes = number::hex_bytes(text.strip_prefix("hex:").unwrap_or(&text))
                .ok_or(Why::Kind { want: "a list or hexadecimal digits", got: "other text" })?;
            return self.octets_of("a list", len, &Value::Bytes(bytes), at);
        }
        self.octets_of("a list", len, value, at)
    }

    /// Exactly `len` bytes, as such or as a list of numbers.
    fn octets_of(&mut self, want: &'static str, len: usize, value: &Value, at: usize) -> Outcome {
        match value {
            Value::Bytes(bytes) if bytes.len() == len => self.put(at, bytes),
            Value::Bytes(bytes) => return Err(Why::Length { got: bytes.len(), want: len }),
            Value::List(_) => {
                for (index, item) in list(value, len)?.iter().enumerate() {
                    self.inside(Step::Index(index), |it| {
                        // A plain char is signed on some machines and not on others.
                        let word = wide(item, 8, false).or_else(|_| wide(item, 8, true))?;
                        it.put_word(at + index, 1, word);
                        Ok(())
                    })?;
                }
            }
            other => return Err(Why::Kind { want, got: other.describe() }),
        }
        Ok(())
    }

    fn rest(&mut self, element: &Node, stride: usize, value: &Value, at: usize) -> Outcome {
        let items = match value {
            Value::List(items) => items,
            other => return Err(Why::Kind { want: "a list", got: other.describe() }),
        };
        let end = items.len().saturating_mul(stride).saturating_add(at);
        if end > REST_LEN_MAX {
            return Err(Why::TooLong { got: end, max: REST_LEN_MAX });
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        for (index, item) in items.iter().enumerate() {
            let place = at + index * stride;
            self.inside(Step::Index(index), |it| it.node(element, item, place))?;
        }
        Ok(())
    }

    fn table(&mut self, fields: &[Field], is_union: bool, value: &Value, at: usize) -> Outcome {
        let Value::Map(given) = value else {
            return Err(Why::Kind { want: "a table", got: value.describe() });
        };
        let mut defaults = self.options.defaults;
        for (index, (name, _)) in given.iter().enumerate() {
            if &**name == ".." {
                defaults = true;
            } else if !has(fields, name) {
                let known = told(fields);
                return Err(Why::NoSuchMember { name: name.to_string(), known });
            } else if given.iter().take(index).any(|it| it.0 == *name) {
                return Err(Why::Twice(name.to_string()));
            }
        }
        self.members(fields, is_union, given, defaults, at)
    }

    /// Writes those of `given` that belong here; the anonymous members share them.
    fn members(
        &mut self,
        fields: &[Field],
        is_union: bool,
        given: &[(std::sync::Arc<str>, Value)],
        defaults: bool,
        at: usize,
    ) -> Outcome {
        let is_given = |field: &Field| match (&field.name, &field.node) {
            (Some(name), _) => given.iter().any(|it| it.0 == *name),
            (None, Node::Struct { fields, .. }) => given.iter().any(|it| has(fields, &it.0)),
            (None, _) => false,
        };
        if is_union {
            let got = fields.iter().filter(|&field| is_given(field)).count();
            if got > 1 || got == 0 && !defaults && !fields.is_empty() {
                return Err(Why::OneOf { got, known: told(fields) });
            }
        }
        let mut missing = Vec::new();
        for field in fields {
            let place = at + field.offset;
            match (&field.name, &field.node) {
                (None, Node::Struct { fields, is_union: is_inner_union, .. }) => {
                    if !is_union || is_given(field) {
                        self.members(fields, *is_inner_union, given, defaults, place)?;
                    }
                }
                (None, _) => {}
                (Some(name), node) => match given.iter().find(|it| it.0 == *name) {
                    Some((_, value)) => {
                        self.inside(Step::Name(name.to_string()), |it| match &field.bits {
                            Some((bits, base)) => it.bits(*bits, base, value, at),
                            None => it.node(node, value, place),
                        })?;
                    }
                    None if is_union || defaults || field.is_padding => {}
                    None if matches!(node, Node::Rest { .. } | Node::Opaque) => {}
                    None => missing.push(name.to_string()),
                },
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(Why::Missing(missing)) }
    }
}

/// Whether a member of this name is here or is lifted to here.
fn has(fields: &[Field], name: &str) -> bool {
    fields.iter().any(|field| match (&field.name, &field.node) {
        (Some(own), _) => **own == *name,
        (None, Node::Struct { fields, .. }) => has(fields, name),
        (None, _) => false,
    })
}

/// Some names of members, those of anonymous members among them.
fn told(fields: &[Field]) -> Vec<String> {
    let mut names = Vec::new();
    for field in fields {
        match (&field.name, &field.node) {
            (Some(name), _) => names.push(name.to_string()),
            (None, Node::Struct { fields, .. }) => names.extend(told(fields)),
            (None, _) => {}
        }
    }
    shortened(names)
}

fn shortened(mut names: Vec<String>) -> Vec<String> {
    if names.len() > NAMES_TOLD_MAX {
        names.truncate(NAMES_TOLD_MAX);
        names.push("...".to_owned());
    }
    names
}

fn list(value: &Value, want: usize) -> Result<&[Value], Why> {
    match value {
        Value::List(items) if items.len() == want => Ok(items),
        Value::List(items) => Err(Why::Length { got: items.len(), want }),
        other => Err(Why::Kind { want: "a list", got: other.describe() }),
    }
}

fn truth(value: &Value) -> Result<bool, Why> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::U64(0) | Value::I64(0) => Ok(false),
        Value::U64(1) | Value::I64(1) => Ok(true),
        other => Err(Why::Kind { want: "true or false", got: other.describe() }),
    }
}

/// An integer as the bits of a type, two's complement where it is signed.
fn wide(value: &Value, bits: u32, is_signed: bool) -> Result<u128, Why> {
    let error = |value: String| Why::OutOfRange { value, bits, is_signed };
    let number = match value {
        Value::U128(value) if !is_signed && bits == u128::BITS => return Ok(*value),
        Value::U128(value) => i128::try_from(*value).map_err(|_| error(value.to_string()))?,
        Value::U64(_) | Value::I64(_) | Value::I128(_) | Value::Ptr(_) | Value::Enum { .. } => {
            value.as_integer().unwrap_or_default()
        }
        Value::Str(text) => {
            let text = String::from_utf8_lossy(text);
            if let (true, Ok(word)) = (bits == u128::BITS && !is_signed, text.parse::<u128>()) {
                return Ok(word);
            }
            number::integer(&text).map_err(|_| Why::NotANumber(text.into_owned()))?
        }
        other => return Err(Why::Kind { want: "an integer", got: other.describe() }),
    };
    let unused = u128::BITS.saturating_sub(bits);
    let all = u128::MAX.checked_shr(unused).unwrap_or(0);
    let fits = if is_signed {
        let top = i128::MAX.checked_shr(unused).unwrap_or(0);
        (!top..=top).contains(&number)
    } else {
        u128::try_from(number).is_ok_and(|number| number <= all)
    };
    if fits {
        Ok(u128::from_ne_bytes(number.to_ne_bytes()) & all)
    } else {
        Err(error(number.to_string()))
    }
}

/// An enumerator by name, or any number that the type holds in either reading: compilers lose the
/// sign of enumerations.
fn enumerator(value: &Value, bits: u32, is_signed: bool, names: &Names) -> Result<u64, Why> {
    if let Value::Str(text) = value {
        let text = String::from_utf8_lossy(text);
        if let Some(value) = names.value(&text) {
            return Ok(value & mask(bits));
        }
        if number::integer(&text).is_err() {
            let known = shortened(names.all().map(str::to_owned).collect());
            return Err(Why::NoSuchName { name: text.into_owned(), known });
        }
    }
    let word = wide(value, bits, is_signed).or_else(|why| {
        let other = wide(value, bits, !is_signed);
        other.map_err(|_| why)
    })?;
    Ok(super::decode::low(word))
}

/// The nearest float of 4 bytes.
#[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest is what is meant")]
const fn narrow(value: f64) -> f32 {
    value as f32
}

fn bit_count(bytes: usize) -> u32 {
    u32::try_from(bytes.saturating_mul(8)).unwrap_or(u32::MAX)
}
