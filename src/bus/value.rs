// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values as they travel over the bus, and their conversion from and to Rust types.
//!
//! Owns [`Value`] and the invariant that every value is well formed: an array's items all have its
//! element signature, an object path is valid, nesting stays within the limits. The wire form is
//! left to [`super::wire`]. Not supported, since no peer of ours uses them: signatures (`g`) and
//! descriptors (`h`) as values. Implements the D-Bus Specification, section "Type System". Pure.

use std::collections::BTreeMap;

use super::signature;

/// One value of any supported type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    Int16(i16),
    /// `q`
    Uint16(u16),
    /// `i`
    Int32(i32),
    /// `u`
    Uint32(u32),
    /// `x`
    Int64(i64),
    /// `t`
    Uint64(u64),
    /// `d`
    Double(f64),
    /// `s`; a NUL, which the bus cannot carry, is sent as U+FFFD.
    Str(String),
    /// `o`
    Path(ObjectPath),
    /// `ay`, always: an array of bytes is never an [`Array`].
    Bytes(Vec<u8>),
    /// Any other array, dictionaries included.
    Array(Array),
    /// `(..)`, never empty.
    Struct(Vec<Value>),
    /// `{..}`: only as an item of an array.
    Entry(Box<(Value, Value)>),
    /// `v`
    Variant(Box<Value>),
}

/// An array that is not of bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    element: String,
    items: Vec<Value>,
}

impl Array {
    /// An array of items of the signature `element` (a dictionary's is `{..}`); `None` when that
    /// is not a valid element signature, is `y`, or is not the signature of every item.
    #[must_use]
    pub fn new(element: &str, items: Vec<Value>) -> Option<Self> {
        let fits = signature::is_element(element)
            && element != "y"
            && items.iter().all(|item| item.signature() == element);
        fits.then(|| Self { element: element.to_owned(), items })
    }

    /// As [`Array::new`], for items that libdbus has checked.
    pub(super) fn from_wire(element: &str, items: Vec<Value>) -> Self {
        Self { element: element.to_owned(), items }
    }

    /// The signature of each item.
    #[must_use]
    pub fn element(&self) -> &str {
        &self.element
    }

    /// The items.
    #[must_use]
    pub fn items(&self) -> &[Value] {
        &self.items
    }
}

/// A valid object path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectPath(String);

impl ObjectPath {
    /// Checks `path`: absolute, elements of ASCII letters, digits and `_`, no empty element.
    #[must_use]
    pub fn new(path: &str) -> Option<Self> {
        let element = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let valid = path == "/" || path.strip_prefix('/')?.split('/').all(element);
        valid.then(|| Self(path.to_owned()))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value {
    /// The signature of this value: one complete type, or a dictionary entry.
    #[must_use]
    pub fn signature(&self) -> String {
        let mut text = String::new();
        self.write_signature(&mut text);
        text
    }

    fn write_signature(&self, out: &mut String) {
        match self {
            Self::Byte(_) => out.push('y'),
            Self::Bool(_) => out.push('b'),
            Self::Int16(_) => out.push('n'),
            Self::Uint16(_) => out.push('q'),
            Self::Int32(_) => out.push('i'),
            Self::Uint32(_) => out.push('u'),
            Self::Int64(_) => out.push('x'),
            Self::Uint64(_) => out.push('t'),
            Self::Double(_) => out.push('d'),
            Self::Str(_) => out.push('s'),
            Self::Path(_) => out.push('o'),
            Self::Variant(_) => out.push('v'),
            Self::Bytes(_) => out.push_str("ay"),
            Self::Array(array) => {
                out.push('a');
                out.push_str(&array.element);
            }
            Self::Struct(fields) => {
                out.push('(');
                fields.iter().for_each(|field| field.write_signature(out));
                out.push(')');
            }
            Self::Entry(entry) => {
                out.push('{');
                entry.0.write_signature(out);
                entry.1.write_signature(out);
                out.push('}');
            }
        }
    }

    /// An upper estimate of the bytes that this value takes on the wire.
    #[must_use]
    pub fn wire_size(&self) -> usize {
        const ALIGN: usize = 8;
        match self {
            Self::Str(text) => text.len() * 3 + ALIGN, // each NUL becomes three bytes
            Self::Path(path) => path.0.len() + ALIGN,
            Self::Bytes(bytes) => bytes.len() + ALIGN,
            Self::Array(array) => {
                array.items.iter().map(Self::wire_size).sum::<usize>() + 2 * ALIGN
            }
            Self::Struct(fields) => fields.iter().map(Self::wire_size).sum::<usize>() + ALIGN,
            Self::Entry(entry) => entry.0.wire_size() + entry.1.wire_size() + ALIGN,
            Self::Variant(inner) => inner.wire_size() + signature::SIGNATURE_LEN_MAX + ALIGN,
            _ => ALIGN + 1,
        }
    }

    /// The text of a string or an object path.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            Self::Path(path) => Some(path.as_str()),
            _ => None,
        }
    }

    /// The value as a Rust type; `None` when it is of another type.
    #[must_use]
    pub fn get<T: Typed>(self) -> Option<T> {
        T::from_value(self)
    }
}

/// The signature of an argument list: that of its values, joined.
#[must_use]
pub fn signature_of(values: &[Value]) -> String {
    let mut text = String::new();
    values.iter().for_each(|value| value.write_signature(&mut text));
    text
}

/// A Rust type with one D-Bus type.
pub trait Typed: Sized {
    /// Its signature.
    fn signature() -> String;

    /// To the wire.
    fn into_value(self) -> Value;

    /// From the wire; `None` when the value is of another type.
    fn from_value(value: Value) -> Option<Self>;

    /// Many of them as one array.
    fn collect(items: Vec<Self>) -> Value {
        let items = items.into_iter().map(Self::into_value).collect();
        Value::Array(Array { element: Self::signature(), items })
    }

    /// The reverse of [`Typed::collect`].
    fn scatter(value: Value) -> Option<Vec<Self>> {
        match value {
            Value::Array(array) if array.element == Self::signature() => {
                array.items.into_iter().map(Self::from_value).collect()
            }
            _ => None,
        }
    }
}

macro_rules! typed {
    ($($rust:ty, $variant:ident, $code:literal;)*) => {$(
        impl Typed for $rust {
            fn signature() -> String {
                $code.to_owned()
            }

            fn into_value(self) -> Value {
                Value::$variant(self)
            }

            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::$variant(inner) => Some(inner),
                    _ => None,
                }
            }
        }
    )*};
}

typed! {
    bool, Bool, "b";
    i16, Int16, "n";
    u16, Uint16, "q";
    i32, Int32, "i";
    u32, Uint32, "u";
    i64, Int64, "x";
    u64, Uint64, "t";
    f64, Double, "d";
    String, Str, "s";
    ObjectPath, Path, "o";
}

impl Typed for u8 {
    fn signature() -> String {
        "y".to_owned()
    }

    fn into_value(self) -> Value {
        Value::Byte(self)
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Byte(byte) => Some(byte),
            _ => None,
        }
    }

    fn collect(items: Vec<Self>) -> Value {
        Value::Bytes(items)
    }

    fn scatter(value: Value) -> Option<Vec<Self>> {
        match value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// A variant's content is a value of any type.
impl Typed for Value {
    fn signature() -> String {
        "v".to_owned()
    }

    fn into_value(self) -> Value {
        Self::Variant(Box::new(self))
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Self::Variant(inner) => Some(*inner),
            _ => None,
        }
    }
}

impl<T: Typed> Typed for Vec<T> {
    fn signature() -> String {
        format!("a{}", T::signature())
    }

    fn into_value(self) -> Value {
        T::collect(self)
    }

    fn from_value(value: Value) -> Option<Self> {
        T::scatter(value)
    }
}

impl<K: Typed + Ord, V: Typed> Typed for BTreeMap<K, V> {
    fn signature() -> String {
        format!("a{{{}{}}}", K::signature(), V::signature())
    }

    fn into_value(self) -> Value {
        let entry =
            |(key, value): (K, V)| Value::Entry(Box::new((key.into_value(), value.into_value())));
        let element = format!("{{{}{}}}", K::signature(), V::signature());
        Value::Array(Array { element, items: self.into_iter().map(entry).collect() })
    }

    fn from_value(value: Value) -> Option<Self> {
        let Value::Array(array) = value else { return None };
        if array.element != format!("{{{}{}}}", K::signature(), V::signature()) {
            return None;
        }
        let entry = |item| match item {
            Value::Entry(entry) => Some((K::from_value(entry.0)?, V::from_value(entry.1)?)),
            _ => None,
        };
        array.items.into_iter().map(entry).collect()
    }
}

/// A Rust tuple that stands for a list of arguments.
pub trait Args: Sized {
    /// As values, in order.
    fn into_values(self) -> Vec<Value>;

    /// From values; `None` when number or types differ.
    fn from_values(values: Vec<Value>) -> Option<Self>;
}

macro_rules! args {
    ($($name:ident),*) => {
        impl<$($name: Typed),*> Args for ($($name,)*) {
            fn into_values(self) -> Vec<Value> {
                #[allow(non_snake_case, reason = "the type's name doubles as the field's")]
                let ($($name,)*) = self;
                vec![$($name.into_value()),*]
            }

            fn from_values(values: Vec<Value>) -> Option<Self> {
                let mut values = values.into_iter();
                let list = ($($name::from_value(values.next()?)?,)*);
                values.next().is_none().then_some(list)
            }
        }
    };
}

args!();
args!(A);
args!(A, B);
args!(A, B, C);
args!(A, B, C, D);
args!(A, B, C, D, E);
args!(A, B, C, D, E, F);
args!(A, B, C, D, E, F, G);
args!(A, B, C, D, E, F, G, H);
args!(A, B, C, D, E, F, G, H, I);
args!(A, B, C, D, E, F, G, H, I, J);
args!(A, B, C, D, E, F, G, H, I, J, K);
