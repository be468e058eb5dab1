// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which type the samples of a map have.
//!
//! The first that applies: what the caller says; a declaration tag `event:MAP` on a variable; a
//! struct named like the map; for the map `events`, the struct `event`; the only struct that the
//! object keeps in a variable. Else samples are hexadecimal digits.

use std::fmt;
use std::sync::Arc;

use crate::btf::{Btf, BtfError, Kind, TypeId};
use crate::number;
use crate::value::Shape;
use plinth::near::nearest;

/// Names that a message lists.
const NEAR_MAX: usize = 5;

/// A type that samples have if they hold a number at a place: `OFF:SIZE:VAL=STRUCT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Bytes from the beginning of the sample.
    pub offset: usize,
    /// Bytes of the number: 1, 2, 4 or 8.
    pub size: usize,
    /// The number, in the byte order of the object.
    pub value: u64,
    /// The struct.
    pub name: String,
}

impl Variant {
    /// Reads `OFF:SIZE:VAL=STRUCT`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ChoiceError> {
        let fail = |why: String| ChoiceError::Variant { text: text.to_owned(), why };
        let (tag, name) =
            text.split_once('=').ok_or_else(|| fail("OFFSET:SIZE:VALUE=STRUCT".to_owned()))?;
        let fields: Vec<&str> = tag.split(':').collect();
        let [offset, size, value] = fields[..] else {
            return Err(fail("OFFSET:SIZE:VALUE=STRUCT".to_owned()));
        };
        let offset = number::parse(offset).map_err(|error| fail(error.to_string()))?;
        let size = number::parse(size).map_err(|error| fail(error.to_string()))?;
        if !matches!(size, 1 | 2 | 4 | 8) {
            return Err(fail(format!("a tag has 1, 2, 4 or 8 bytes, not {size}")));
        }
        let value: u64 = number::parse(value).map_err(|error| fail(error.to_string()))?;
        if size < 8 && value >> (size * 8) != 0 {
            return Err(fail(format!("{value} does not fit {size} bytes")));
        }
        match name {
            "" => Err(fail("the struct is missing".to_owned())),
            name => Ok(Self { offset, size, value, name: name.to_owned() }),
        }
    }
}

/// What the caller says of the type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// All samples are of this type.
    pub name: Option<String>,
    /// Samples are of the type of the first variant that fits them.
    pub variants: Vec<Variant>,
}

/// The decision.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// All samples are of this type.
    One(Arc<Shape>),
    /// The type depends on the sample.
    Tagged(Vec<(Variant, Arc<Shape>)>),
    /// Nobody knows the type; the reason is for a notice.
    Hex(String),
}

/// What the caller said cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChoiceError {
    /// The form of a variant.
    Variant {
        /// The text.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// There is no type information to look the type up in.
    NoBtf(String),
    /// There is no such type.
    NotFound {
        /// The name.
        name: String,
        /// Structs that may have been meant.
        near: Vec<String>,
    },
    /// The type cannot be decoded.
    Unusable {
        /// The name.
        name: String,
        /// Why.
        source: BtfError,
    },
}

impl fmt::Display for ChoiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variant { text, why } => write!(f, "variant '{text}': {why}"),
            Self::NoBtf(name) => write!(f, "type '{name}': there is no BTF to find it in"),
            Self::NotFound { name, near } if near.is_empty() => {
                write!(f, "type '{name}' not found")
            }
            Self::NotFound { name, near } => {
                write!(f, "type '{name}' not found; near are {}", near.join(", "))
            }
            Self::Unusable { name, source } => write!(f, "type '{name}': {source}"),
        }
    }
}

impl std::error::Error for ChoiceError {}

/// Decides the type of the samples of `map`.
///
/// # Errors
/// The caller named a type that does not exist or cannot be decoded. What is found without being
/// named is never an error.
pub fn choose(btf: Option<&Btf>, map: &str, choice: &Choice) -> Result<Chosen, ChoiceError> {
    let find = |name: &str| named(btf, name);
    if let Some(name) = &choice.name {
        return find(name).map(Chosen::One);
    }
    if !choice.variants.is_empty() {
        let variants = choice.variants.iter();
        let variants = variants.map(|it| Ok((it.clone(), find(&it.name)?)));
        return variants.collect::<Result<_, _>>().map(Chosen::Tagged);
    }
    let Some(btf) = btf else {
        return Ok(Chosen::Hex(format!("map '{map}': the object has no BTF")));
    };
    let Some(id) = guess(btf, map) else {
        return Ok(Chosen::Hex(format!("map '{map}': nothing tells the type of its events")));
    };
    Ok(match Shape::of(btf, id) {
        Ok(shape) => Chosen::One(Arc::new(shape)),
        Err(error) => Chosen::Hex(format!("map '{map}': {error}")),
    })
}

fn named(btf: Option<&Btf>, name: &str) -> Result<Arc<Shape>, ChoiceError> {
    let btf = btf.ok_or_else(|| ChoiceError::NoBtf(name.to_owned()))?;
    let Some(id) = btf.find_spelled(name) else {
        let near = nearest(name, btf.names(Kind::Struct), NEAR_MAX);
        let near = near.into_iter().map(str::to_owned).collect();
        return Err(ChoiceError::NotFound { name: name.to_owned(), near });
    };
    let shape = Shape::of(btf, id);
    shape.map(Arc::new).map_err(|source| ChoiceError::Unusable { name: name.to_owned(), source })
}

fn guess(btf: &Btf, map: &str) -> Option<TypeId> {
    let wanted = format!("event:{map}");
    let tagged = btf.variables().find(|it| btf.tags(it.id).any(|tag| tag == wanted));
    if let Some(id) = tagged.and_then(|it| btf.struct_of(it.ty)) {
        return Some(id);
    }
    let like_map = btf.find(Kind::Struct, map);
    let by_custom = || match map {
        "events" => btf.find(Kind::Struct, "event"),
        _ => None,
    };
    let only = || match btf.anchored()[..] {
        [only] => Some(only),
        _ => None,
    };
    like_map.or_else(by_custom).or_else(only)
}
