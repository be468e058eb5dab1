// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bytes to values, and bytes to JSON without values in between; one walk serves both.

use std::fmt;
use std::sync::Arc;

use super::Value;
use super::format::{Format, JsonSink};
use super::shape::{Base, Bits, Field, Names, Node, Shape, mask};
use crate::btf::ByteOrder;

/// A sample is shorter than its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeError {
    /// Bytes that there are.
    pub got: usize,
    /// Bytes that there should be.
    pub want: usize,
    /// The type.
    pub name: String,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "size {}, type {} needs {}", self.got, self.name, self.want)
    }
}

impl std::error::Error for SizeError {}

/// What a walk over bytes tells of what it finds.
pub(super) trait Sink {
    fn unsigned(&mut self, value: u64);
    fn signed(&mut self, value: i64);
    fn wide_unsigned(&mut self, value: u128);
    fn wide_signed(&mut self, value: i128);
    fn boolean(&mut self, value: bool);
    fn float32(&mut self, value: f32);
    fn float64(&mut self, value: f64);
    fn text(&mut self, bytes: &[u8]);
    fn bytes(&mut self, bytes: &[u8]);
    fn raw(&mut self, bytes: &[u8]);
    fn pointer(&mut self, value: u64);
    fn enumerator(&mut self, value: i128, name: Option<&Arc<str>>);
    fn opaque(&mut self);
    fn begin_list(&mut self);
    fn end_list(&mut self);
    fn begin_map(&mut self);
    fn key(&mut self, name: &Arc<str>);
    fn end_map(&mut self);
}

impl Shape {
    /// Reads a value from the beginning of `bytes`; bytes behind it are left alone, unless the type
    /// ends in a flexible array. `all` keeps members that only fill gaps.
    ///
    /// # Errors
    /// There are fewer bytes than the type has.
    pub fn decode(&self, bytes: &[u8], all: bool) -> Result<Value, SizeError> {
        let mut sink = ValueSink::default();
        self.walk(bytes, all, &mut sink)?;
        Ok(sink.done)
    }

    /// Appends the value at the beginning of `bytes` to `out` as JSON, as [`Shape::decode`] and
    /// [`Value::write_json`] would.
    ///
    /// # Errors
    /// There are fewer bytes than the type has; `out` is as it was.
    pub fn write_json(
        &self,
        bytes: &[u8],
        format: Format,
        out: &mut String,
    ) -> Result<(), SizeError> {
        self.walk(bytes, format.all, &mut JsonSink::new(format, out))
    }

    fn walk(&self, bytes: &[u8], all: bool, sink: &mut impl Sink) -> Result<(), SizeError> {
        if bytes.len() < self.size {
            let name = self.name.clone();
            return Err(SizeError { got: bytes.len(), want: self.size, name });
        }
        Walk { order: self.order, all, sink }.node(&self.root, bytes);
        Ok(())
    }
}

/// The integer that up to 16 bytes hold.
pub(super) fn integer(bytes: &[u8], order: ByteOrder) -> u128 {
    let push = |value: u128, byte: &u8| value << 8 | u128::from(*byte);
    match order {
        ByteOrder::Little => bytes.iter().rev().take(16).fold(0, push),
        ByteOrder::Big => bytes.iter().take(16).fold(0, push),
    }
}

/// Extends the sign of a number of `bits` bits.
pub(super) const fn extend(value: u64, bits: u32) -> i64 {
    let unused = u64::BITS.saturating_sub(bits);
    i64::from_ne_bytes(value.wrapping_shl(unused).to_ne_bytes()).wrapping_shr(unused)
}

/// A float of half precision: 1 sign bit, 5 of the exponent, 10 of the fraction.
pub(super) fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    match exponent {
        0x1f if fraction == 0.0 => sign * f32::INFINITY,
        0x1f => f32::NAN,
        0 => sign * fraction * 2_f32.powi(-24),
        _ => sign * (1.0 + fraction / 1024.0) * 2_f32.powi(exponent - 15),
    }
}

/// The bytes of a struct that a bitfield touches, at most 9, and how far to shift them.
pub(super) fn span(bits: Bits, order: ByteOrder) -> Option<(usize, usize, u32)> {
    let first = usize::try_from(bits.offset / 8).ok()?;
    let skip = u32::try_from(bits.offset % 8).ok()?;
    let len = usize::try_from((skip + bits.len).div_ceil(8)).ok()?;
    let total = u32::try_from(len * 8).ok()?;
    let shift = match order {
        ByteOrder::Little => skip,
        ByteOrder::Big => total - skip - bits.len,
    };
    Some((first, len, shift))
}

struct Walk<'a, S> {
    order: ByteOrder,
    all: bool,
    sink: &'a mut S,
}

impl<S: Sink> Walk<'_, S> {
    /// Tells of the part at the beginning of `bytes`. Parts lie within the whole, whose length was
    /// checked; what is missing nevertheless reads as zero.
    fn node(&mut self, node: &Node, bytes: &[u8]) {
        let part = |size: usize| bytes.get(..size).unwrap_or_default();
        match node {
            Node::Int { size: 16, is_signed } => {
                let value = integer(part(16), self.order);
                if *is_signed {
                    self.sink.wide_signed(i128::from_ne_bytes(value.to_ne_bytes()));
                } else {
                    self.sink.wide_unsigned(value);
                }
            }
            Node::Int { size, is_signed } => self.int(part(*size), *is_signed),
            Node::Bool { size } => self.sink.boolean(part(*size).iter().any(|&byte| byte != 0)),
            Node::Float { size } => self.float(part(*size)),
            Node::Ptr => self.sink.pointer(low(integer(part(8), self.order))),
            Node::Enum { size, is_signed, names } => {
                let bits = bit_count(*size);
                let value = low(integer(part(*size), self.order));
                self.enumerator(value, bits, *is_signed, names);
            }
            Node::Narrow { bits, base, .. } => self.bits(*bits, base, bytes),
            Node::Chars { len } => {
                let text = part(*len);
                let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
                self.sink.text(text.get(..end).unwrap_or_default());
            }
            Node::Bytes { len } => self.sink.bytes(part(*len)),
            Node::List { element, stride, len } => {
                self.list(element, part(stride.saturating_mul(*len)), *stride);
            }
            Node::Rest { element, stride } => self.list(element, bytes, *stride),
            Node::Struct { fields, size, .. } => {
                // A flexible array at the end sees beyond the struct.
                let bytes = if bytes.len() >= *size { bytes } else { &[] };
                self.sink.begin_map();
                self.fields(fields, bytes);
                self.sink.end_map();
            }
            Node::Opaque => self.sink.opaque(),
        }
    }

    fn fields(&mut self, fields: &[Field], bytes: &[u8]) {
        for field in fields {
            let at = bytes.get(field.offset..).unwrap_or_default();
            match (&field.name, &field.bits, &field.node) {
                (None, None, Node::Struct { fields, .. }) => self.fields(fields, at),
                // Bits that fill a gap; nobody gave them a name to be asked for.
                (None, ..) => {}
                (Some(_), ..) if field.is_padding && !self.all => {}
                (Some(name), Some((bits, base)), _) => {
                    self.sink.key(name);
                    self.bits(*bits, base, bytes);
                }
                (Some(name), None, node) => {
                    self.sink.key(name);
                    self.node(node, at);
                }
            }
        }
    }

    fn list(&mut self, element: &Node, bytes: &[u8], stride: usize) {
        self.sink.begin_list();
        for bytes in bytes.chunks_exact(stride.max(1)) {
            self.node(element, bytes);
        }
        self.sink.end_list();
    }

    fn int(&mut self, bytes: &[u8], is_signed: bool) {
        let value = match (self.order, bytes.first_chunk::<8>(), bytes.first_chunk::<4>()) {
            (ByteOrder::Little, Some(bytes), _) => u64::from_le_bytes(*bytes),
            (ByteOrder::Little, None, Some(bytes)) => u32::from_le_bytes(*bytes).into(),
            _ => low(integer(bytes, self.order)),
        };
        if is_signed {
            self.sink.signed(extend(value, bit_count(bytes.len())));
        } else {
            self.sink.unsigned(value);
        }
    }

    fn float(&mut self, bytes: &[u8]) {
        let value = integer(bytes, self.order);
        match bytes.len() {
            2 => self.sink.float32(half(u16::try_from(value).unwrap_or_default())),
            4 => self.sink.float32(f32::from_bits(u32::try_from(value).unwrap_or_default())),
            8 => self.sink.float64(f64::from_bits(low(value))),
            _ => self.sink.raw(bytes),
        }
    }

    fn bits(&mut self, bits: Bits, base: &Base, bytes: &[u8]) {
        let Some((first, len, shift)) = span(bits, self.order) else { return self.sink.opaque() };
        let touched = bytes.get(first..).and_then(|rest| rest.get(..len)).unwrap_or_default();
        let value = low(integer(touched, self.order) >> shift) & mask(bits.len);
        match base {
            Base::Bool => self.sink.boolean(value != 0),
            Base::Int { is_signed: true } => self.sink.signed(extend(value, bits.len)),
            Base::Int { is_signed: false } => self.sink.unsigned(value),
            Base::Enum { is_signed, names } => {
                self.enumerator(value, bits.len, *is_signed, names);
            }
        }
    }

    fn enumerator(&mut self, value: u64, bits: u32, is_signed: bool, names: &Names) {
        let extended = extend(value, bits);
        let (exact, number) = if is_signed {
            (u64::from_ne_bytes(extended.to_ne_bytes()), i128::from(extended))
        } else {
            (value, i128::from(value))
        };
        self.sink.enumerator(number, names.of(exact, bits));
    }
}

/// The low word.
pub(super) fn low(value: u128) -> u64 {
    u64::try_from(value & u128::from(u64::MAX)).unwrap_or_default()
}

fn bit_count(bytes: usize) -> u32 {
    u32::try_from(bytes.saturating_mul(8)).unwrap_or(u32::MAX)
}

/// Builds a [`Value`].
struct ValueSink {
    done: Value,
    open: Vec<Open>,
}

/// A container that is being filled.
enum Open {
    List(Vec<Value>),
    Map(Vec<(Arc<str>, Value)>, Option<Arc<str>>),
}

impl Default for ValueSink {
    fn default() -> Self {
        Self { done: Value::Opaque, open: Vec::new() }
    }
}

impl ValueSink {
    fn push(&mut self, value: Value) {
        match self.open.last_mut() {
            None => self.done = value,
            Some(Open::List(items)) => items.push(value),
            Some(Open::Map(members, key)) => {
                if let Some(key) = key.take() {
                    members.push((key, value));
                }
            }
        }
    }

    fn close(&mut self) {
        let value = match self.open.pop() {
            None => return,
            Some(Open::List(items)) => Value::List(items),
            Some(Open::Map(members, _)) => Value::Map(members),
        };
        self.push(value);
    }
}

impl Sink for ValueSink {
    fn unsigned(&mut self, value: u64) {
        self.push(Value::U64(value));
    }
    fn signed(&mut self, value: i64) {
        self.push(Value::I64(value));
    }
    fn wide_unsigned(&mut self, value: u128) {
        self.push(Value::U128(value));
    }
    fn wide_signed(&mut self, value: i128) {
        self.push(Value::I128(value));
    }
    fn boolean(&mut self, value: bool) {
        self.push(Value::Bool(value));
    }
    fn float32(&mut self, value: f32) {
        self.push(Value::F32(value));
    }
    fn float64(&mut self, value: f64) {
        self.push(Value::F64(value));
    }
    fn text(&mut self, bytes: &[u8]) {
        self.push(Value::Str(bytes.to_vec()));
    }
    fn bytes(&mut self, bytes: &[u8]) {
        self.push(Value::Bytes(bytes.to_vec()));
    }
    fn raw(&mut self, bytes: &[u8]) {
        self.push(Value::Raw(bytes.to_vec()));
    }
    fn pointer(&mut self, value: u64) {
        self.push(Value::Ptr(value));
    }
    fn enumerator(&mut self, value: i128, name: Option<&Arc<str>>) {
        self.push(Value::Enum { value, name: name.cloned() });
    }
    fn opaque(&mut self) {
        self.push(Value::Opaque);
    }
    fn begin_list(&mut self) {
        self.open.push(Open::List(Vec::new()));
    }
    fn end_list(&mut self) {
        self.close();
    }
    fn begin_map(&mut self) {
        self.open.push(Open::Map(Vec::new(), None));
    }
    fn key(&mut self, name: &Arc<str>) {
        if let Some(Open::Map(_, key)) = self.open.last_mut() {
            *key = Some(Arc::clone(name));
        }
    }
    fn end_map(&mut self) {
        self.close();
    }
}

impl Value {
    /// Tells a sink of this value, as the walk that made it did.
    pub(super) fn tell(&self, sink: &mut impl Sink) {
        match self {
            Self::U64(value) => sink.unsigned(*value),
            Self::I64(value) => sink.signed(*value),
            Self::U128(value) => sink.wide_unsigned(*value),
            Self::I128(value) => sink.wide_signed(*value),
            Self::Bool(value) => sink.boolean(*value),
            Self::F32(value) => sink.float32(*value),
            Self::F64(value) => sink.float64(*value),
            Self::Str(bytes) => sink.text(bytes),
            Self::Bytes(bytes) => sink.bytes(bytes),
            Self::Raw(bytes) => sink.raw(bytes),
            Self::Ptr(value) => sink.pointer(*value),
            Self::Enum { value, name } => sink.enumerator(*value, name.as_ref()),
            Self::Opaque => sink.opaque(),
            Self::List(items) => {
                sink.begin_list();
                items.iter().for_each(|item| item.tell(sink));
                sink.end_list();
            }
            Self::Map(members) => {
                sink.begin_map();
                for (name, value) in members {
                    sink.key(name);
                    value.tell(sink);
                }
                sink.end_map();
            }
        }
    }
}
