// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rust types that stand for types of an object: which ones may, and the bytes of them.
//!
//! Owns the traits and the macro that implements them. Whether a type agrees with the type
//! information of an object is judged in [`check`]; which type belongs to which name is kept in
//! [`registry`].
//!
//! Only types of which every bit pattern is a value, and which have no gaps, may stand for bytes
//! that come from elsewhere: integers, floats, arrays of these, and structs of these. `bool`,
//! `char`, enumerations and references have invalid patterns, and are refused by the compiler.
#![allow(unsafe_code, reason = "bytes become values here, under the promise of an unsafe trait")]

pub mod check;
pub mod registry;

#[cfg(test)]
mod tests;

/// What a field is, as far as it can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An integer, a pointer, an enumeration or a truth value.
    Integer {
        /// Whether it has a sign.
        is_signed: bool,
    },
    /// A float.
    Float,
    /// An array of anything.
    Array,
    /// A struct or a union.
    Struct,
}

/// A field of a Rust struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Bytes from the beginning.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
    /// What it is.
    pub class: Class,
}

/// A type whose values are exactly its bytes.
///
/// # Safety
/// Every pattern of bits is a value, and no byte of it is padding.
pub unsafe trait Plain: Copy + 'static {
    /// What it is.
    const CLASS: Class;
    /// The fields, if it is a struct.
    const FIELDS: &'static [Field] = &[];
    /// Its name in messages.
    const NAME: &'static str;
}

/// A `#[repr(C)]` struct that stands for a struct of an object; made by [`bpf_type!`].
///
/// # Safety
/// [`Plain`] holds; the fields are listed as they lie, gaps spelled out.
///
/// [`bpf_type!`]: crate::bpf_type
pub unsafe trait BpfType: Plain {
    /// Bytes.
    const SIZE: usize = size_of::<Self>();
    /// Bytes that its place is a multiple of.
    const ALIGN: usize = align_of::<Self>();
}

macro_rules! plain {
    ($($class:expr => $($ty:ident)*;)*) => {
        $($(
            // SAFETY: primitive numbers have neither padding nor invalid patterns.
            unsafe impl Plain for $ty {
                const CLASS: Class = $class;
                const NAME: &'static str = stringify!($ty);
            }
        )*)*
    };
}

plain! {
    Class::Integer { is_signed: false } => u8 u16 u32 u64 u128;
    Class::Integer { is_signed: true } => i8 i16 i32 i64 i128;
    Class::Float => f32 f64;
}

// SAFETY: an array has the bytes of its elements and no others.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {
    const CLASS: Class = Class::Array;
    const NAME: &'static str = "array";
}

/// The value at the beginning of `bytes`; `None` if there are too few.
#[must_use]
pub fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: there are as many bytes as the type has, in any alignment, and by `Plain` whatever
    // they are is a value.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// The bytes of a value.
#[must_use]
pub const fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    let start = std::ptr::from_ref(value).cast::<u8>();
    // SAFETY: the value is that long, lives as long as the result, and by `Plain` has no padding,
    // so that every byte is initialised.
    unsafe { std::slice::from_raw_parts(start, size_of::<T>()) }
}

/// Declares structs that stand for structs of an object.
///
/// The fields are integers, floats, arrays and other such structs; gaps are spelled out as fields
/// (`_pad`), as the type information of the object has them, else the compiler refuses.
///
/// ```
/// bpf::bpf_type! {
///     /// What the program sends.
///     #[derive(Debug)]
///     pub struct Event {
///         pub pid: u32,
///         pub _pad: u32,
///         pub bytes: u64,
///         pub comm: [u8; 16],
///     }
/// }
/// let event: Event = bpf::typed::read(&[0; 32]).unwrap();
/// assert_eq!(event.bytes, 0);
/// ```
#[macro_export]
macro_rules! bpf_type {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident {
            $($(#[$field_attribute:meta])* $field_visibility:vis $field:ident: $ty:ty),* $(,)?
        }
    )*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Copy)]
        #[repr(C)]
        $visibility struct $name {
            $($(#[$field_attribute])* $field_visibility $field: $ty,)*
        }

        const _: () = assert!(
            ::core::mem::size_of::<$name>() == 0 $(+ ::core::mem::size_of::<$ty>())*,
            "a gap between fields must be spelled out as a field",
        );

        // SAFETY: every field is `Plain`, as the list of fields demands, and the assertion above
        // excludes padding.
        #[allow(unsafe_code, reason = "what the trait demands is checked by the macro")]
        unsafe impl $crate::typed::Plain for $name {
            const CLASS: $crate::typed::Class = $crate::typed::Class::Struct;
            const FIELDS: &'static [$crate::typed::Field] = &[$(
                $crate::typed::Field {
                    name: stringify!($field),
                    offset: ::core::mem::offset_of!($name, $field),
                    size: ::core::mem::size_of::<$ty>(),
                    class: <$ty as $crate::typed::Plain>::CLASS,
                },
            )*];
            const NAME: &'static str = stringify!($name);
        }

        // SAFETY: the fields above are all, in their order and at their places.
        #[allow(unsafe_code, reason = "what the trait demands is checked by the macro")]
        unsafe impl $crate::typed::BpfType for $name {}
    )*};
}
