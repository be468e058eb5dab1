// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Keys and values of a map as text, in both directions.

use std::path::Path;

use plinth::err::Failure;

use super::super::load::value_of;
use super::super::words::usage;
use super::super::{Args, input, notice};
use crate::btf::TypeId;
use crate::error::{Error, Kind, Op, Result};
use crate::kinds::MapType;
use crate::map::Map;
use crate::number;
use crate::value::{Encode, Format, Shape, Value, push_hex};

/// The types, unless they are not for this caller: then the bytes are shown as they are.
fn readable<T>(types: Result<T>, args: &Args) -> Result<Option<T>> {
    match types {
        Err(error) if error.kind() == Kind::Permission => {
            notice(args, &format!("elements are shown as bytes: {error}"));
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// What is known of a map's elements.
#[derive(Debug)]
pub(super) struct Elements {
    key: Option<Shape>,
    value: Option<Shape>,
    /// Keys are indices.
    is_indexed: bool,
    /// Bytes of a value of one CPU; `None` for maps with a value for all.
    slot: Option<usize>,
    format: Format,
    encode: Encode,
}

impl Elements {
    /// The types of a map that is in the kernel.
    pub(super) fn of(map: &Map, args: &Args) -> Result<Self> {
        let info = map.info()?;
        let btf = match info.btf {
            0 => None,
            _ if args.raw => None,
            id => readable(super::super::find::btf(id), args)?,
        };
        let shape = |id: u32| {
            let btf = btf.as_deref().filter(|_| id != 0)?;
            Shape::of(btf, TypeId(id)).ok()
        };
        let kind = map.map_type();
        let value = match kind {
            MapType::STRUCT_OPS => {
                let kernel = super::super::find::kernel_btf().ok().filter(|_| !args.raw);
                kernel.and_then(|it| Shape::of(&it, TypeId(info.kernel_value_type)).ok())
            }
            _ => shape(info.shape.value_type),
        };
        let is_indexed = !args.raw
            && map.key_size() == 4
            && matches!(
                kind,
                MapType::ARRAY
                    | MapType::PERCPU_ARRAY
                    | MapType::PROG_ARRAY
                    | MapType::PERF_EVENT_ARRAY
                    | MapType::CGROUP_ARRAY
                    | MapType::ARRAY_OF_MAPS
                    | MapType::STRUCT_OPS
            );
        Ok(Self {
            key: shape(info.shape.key_type),
            value,
            is_indexed,
            slot: map.is_percpu().then(|| map.value_size()),
            format: args.format,
            encode: Encode { defaults: args.defaults, no_nul: args.no_nul },
        })
    }

    /// Appends a key as JSON.
    pub(super) fn push_key(&self, key: &[u8], out: &mut String) {
        match (&self.key, <[u8; 4]>::try_from(key)) {
            (Some(shape), _) if shape.write_json(key, self.format, out).is_ok() => {}
            (None, Ok(index)) if self.is_indexed => {
                out.push_str(&u32::from_ne_bytes(index).to_string());
            }
            _ => push_bytes(out, key),
        }
    }

    /// Appends a value as JSON; of a map with a value per CPU as an array of them.
    pub(super) fn push_value(&self, value: &[u8], out: &mut String) {
        let Some(slot) = self.slot else { return self.push_one(value, out) };
        let stride = slot.next_multiple_of(8).max(8);
        out.push('[');
        for (number, part) in value.chunks(stride).enumerate() {
            if number > 0 {
                out.push(',');
            }
            self.push_one(part.get(..slot).unwrap_or(part), out);
        }
        out.push(']');
    }

    fn push_one(&self, value: &[u8], out: &mut String) {
        match &self.value {
            Some(shape) if shape.write_json(value, self.format, out).is_ok() => {}
            _ => push_bytes(out, value),
        }
    }

    /// The bytes of a key that a person gave.
    pub(super) fn key(&self, text: &str, map: &Map) -> std::result::Result<Vec<u8>, Failure> {
        if self.key.is_none() && self.is_indexed {
            if let Ok(index) = number::parse::<u32>(text) {
                return Ok(index.to_ne_bytes().to_vec());
            }
        }
        bytes_of(text, "key", self.key.as_ref(), map.key_size(), self.encode)
    }

    /// The bytes of a value that a person gave; for maps with a value per CPU: one for each, from
    /// a list, or the same for all.
    pub(super) fn values(
        &self,
        text: &str,
        map: &Map,
    ) -> std::result::Result<Vec<Vec<u8>>, Failure> {
        let one = |text: &str| {
            bytes_of(text, "value", self.value.as_ref(), map.value_size(), self.encode)
        };
        if self.slot.is_none() {
            return Ok(vec![one(text)?]);
        }
        let cpus = crate::sys::system::possible_cpus();
        match (value_of(text), &self.value) {
            (Value::List(items), Some(shape)) if items.len() == cpus => {
                items.iter().map(|item| Ok(encoded(shape, "value", item, self.encode)?)).collect()
            }
            _ => Ok(vec![one(text)?; cpus]),
        }
    }
}

/// Digits in quotes, as they are read again.
fn push_bytes(out: &mut String, bytes: &[u8]) {
    out.push_str("\"hex:");
    push_hex(out, bytes);
    out.push('"');
}

fn encoded(shape: &Shape, root: &str, value: &Value, encode: Encode) -> Result<Vec<u8>> {
    shape.encode(root, value, encode).map_err(|error| {
        let kind = match error.why {
            crate::value::Why::OutOfRange { .. } => Kind::OutOfRange,
            _ => Kind::Type,
        };
        Error::new(kind, Op::Encode, root).with_detail(error.to_string())
    })
}

/// The bytes that a word of the command line stands for: `hex:DIGITS`, `@FILE`, or a value of the
/// type; without a type a plain number of the size.
pub(in super::super) fn bytes_of(
    text: &str,
    what: &str,
    shape: Option<&Shape>,
    size: usize,
    encode: Encode,
) -> std::result::Result<Vec<u8>, Failure> {
    if let Some(digits) = text.strip_prefix("hex:") {
        return number::hex_bytes(digits)
            .ok_or_else(|| usage(format!("{what}: 'hex:' is followed by pairs of digits")));
    }
    if let Some(file) = text.strip_prefix('@') {
        return Ok(input(Path::new(file))?);
    }
    if let Some(shape) = shape {
        return Ok(encoded(shape, what, &value_of(text), encode)?);
    }
    let number = number::integer(text).ok();
    number.and_then(|number| plain(number, size)).ok_or_else(|| {
        usage(format!("{what}: its type is unknown; give a number that fits, or hex:DIGITS"))
    })
}

/// An integer as `size` bytes, where it fits.
fn plain(number: i128, size: usize) -> Option<Vec<u8>> {
    let bits = u32::try_from(size).ok()?.checked_mul(8)?;
    if !matches!(size, 1 | 2 | 4 | 8) {
        return None;
    }
    let (low, high) = (-(1_i128 << (bits - 1)), (1_i128 << bits) - 1);
    if !(low..=high).contains(&number) {
        return None;
    }
    let bytes = number.to_ne_bytes();
    let part = if cfg!(target_endian = "big") {
        bytes.get(bytes.len() - size..)
    } else {
        bytes.get(..size)
    };
    part.map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_size_that_is_asked_for() {
        assert_eq!(plain(258, 4), Some(258_u32.to_ne_bytes().to_vec()));
        assert_eq!(plain(-2, 8), Some((-2_i64).to_ne_bytes().to_vec()));
        assert_eq!(plain(256, 1), None);
        assert_eq!(plain(1, 3), None);
    }

    #[test]
    fn bytes_are_given_as_digits_or_files() {
        let bytes = |text: &str| bytes_of(text, "key", None, 2, Encode::default());
        assert_eq!(bytes("hex:0a ff").expect("bytes"), [10, 255]);
        assert_eq!(bytes("hex:0").expect_err("half a byte").exit, 2);
        let error = bytes("@/nonexistent").expect_err("no file");
        let kind = error.cause.downcast_ref::<Error>().map(Error::kind);
        assert_eq!(kind, Some(Kind::NotFound));
        assert_eq!(bytes("7").expect("a number"), 7_u16.to_ne_bytes());
        assert_eq!(bytes("{}").expect_err("no type").exit, 2);
    }
}
