// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether a Rust type and a type of an object are the same bytes.
//!
//! The struct, its size, the number of fields, then of every field its place, size, class and
//! name: the first difference is reported. A difference of signs alone is a warning, since both
//! read the same bits.

use std::fmt;

use super::{BpfType, Class, Field, Plain};
use crate::btf::{Body, Btf, BtfError, Kind, Member, TypeId};
use plinth::near::nearest;

/// Names that a message lists.
const NEAR_MAX: usize = 5;

/// Which differences matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whether fields must have equal names.
    pub names: bool,
}

impl Default for Check {
    fn default() -> Self {
        Self { names: true }
    }
}

/// How a Rust type and a type of an object differ.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TypeError {
    /// There is no such struct.
    NotFound {
        /// The name.
        name: String,
        /// Structs that may have been meant, the nearest first.
        near: Vec<String>,
    },
    /// The sizes differ.
    Size {
        /// The Rust type.
        rust: &'static str,
        /// Its bytes.
        rust_size: usize,
        /// The other type.
        btf: String,
        /// Its bytes.
        btf_size: u64,
    },
    /// The numbers of fields differ.
    Count {
        /// The Rust type.
        rust: &'static str,
        /// Its fields.
        rust_fields: usize,
        /// The other type.
        btf: String,
        /// Its fields.
        btf_fields: usize,
    },
    /// A field lies elsewhere.
    Offset {
        /// The Rust field.
        field: &'static str,
        /// Its place.
        offset: usize,
        /// The other field.
        btf: String,
        /// Its place.
        want: u64,
    },
    /// A field has another size.
    FieldSize {
        /// The Rust field.
        field: &'static str,
        /// Its bytes.
        size: usize,
        /// The other field.
        btf: String,
        /// Its bytes.
        want: u64,
    },
    /// A field is something else.
    Class {
        /// The Rust field or type.
        field: &'static str,
        /// What it is.
        class: &'static str,
        /// The other field or type.
        btf: String,
        /// What it is.
        want: &'static str,
    },
    /// A field has another name.
    Name {
        /// The Rust field.
        field: &'static str,
        /// The other field.
        btf: String,
        /// Where both lie.
        offset: usize,
    },
    /// A Rust type or a name already belongs to another one.
    Registered {
        /// The Rust type that is registered.
        rust: &'static str,
        /// The name that it is registered under.
        name: String,
        /// The Rust type that was to be.
        new_rust: &'static str,
        /// The name that it was to have.
        new_name: String,
    },
    /// The type information itself is unusable.
    Btf(BtfError),
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { name, near } => {
                write!(f, "struct '{name}' not found")?;
                if !near.is_empty() {
                    write!(f, "; near are {}", near.join(", "))?;
                }
                write!(f, "; a global variable of a type keeps the type in the object")
            }
            Self::Size { rust, rust_size, btf, btf_size } => {
                write!(f, "size mismatch: {rust} is {rust_size} bytes, BTF {btf} is {btf_size}")
            }
            Self::Count { rust, rust_fields, btf, btf_fields } => write!(
                f,
                "field count mismatch: {rust} has {rust_fields} fields, BTF {btf} has {btf_fields}"
            ),
            Self::Offset { field, offset, btf, want } => {
                write!(f, "field '{field}' at offset {offset}, BTF field '{btf}' expects {want}")
            }
            Self::FieldSize { field, size, btf, want } => {
                write!(f, "field '{field}' is {size} bytes, BTF field '{btf}' is {want}")
            }
            Self::Class { field, class, btf, want } => {
                write!(f, "'{field}' is {class}, BTF '{btf}' is {want}")
            }
            Self::Name { field, btf, offset } => {
                write!(f, "field name mismatch: '{field}' vs '{btf}' at offset {offset}")
            }
            Self::Registered { rust, name, new_rust, new_name } => write!(
                f,
                "{new_rust} cannot be registered as '{new_name}': {rust} is registered as '{name}'"
            ),
            Self::Btf(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TypeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Btf(error) => Some(error),
            _ => None,
        }
    }
}

impl From<BtfError> for TypeError {
    fn from(error: BtfError) -> Self {
        Self::Btf(error)
    }
}

/// Two fields of the same bits, one of which has a sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignWarning {
    /// The field.
    pub field: &'static str,
    /// Whether it has a sign in Rust.
    pub is_signed: bool,
}

impl fmt::Display for SignWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (own, other) =
            if self.is_signed { ("signed", "unsigned") } else { ("unsigned", "signed") };
        write!(f, "field '{}' is {own}, in BTF it is {other}", self.field)
    }
}

/// Finds the struct `name` and compares `T` with it; returns it, and what is odd.
///
/// # Errors
/// The first difference, in the order that the module has.
pub fn check_struct<T: BpfType>(
    btf: &Btf,
    name: &str,
    check: Check,
) -> Result<(TypeId, Vec<SignWarning>), TypeError> {
    let found = btf.find(Kind::Struct, name).or_else(|| {
        let typedef = btf.find(Kind::Typedef, name)?;
        let behind = btf.resolve(typedef).ok()?;
        (btf.get(behind).ok()?.kind() == Kind::Struct).then_some(behind)
    });
    let Some(id) = found else {
        let near = nearest(name, btf.names(Kind::Struct), NEAR_MAX);
        let near = near.into_iter().map(str::to_owned).collect();
        return Err(TypeError::NotFound { name: name.to_owned(), near });
    };
    Ok((id, check_type::<T>(btf, id, check)?))
}

/// Compares any type, such as that of a map's keys, with a type of the object. Only structs are
/// compared field by field; of everything else, size and class.
///
/// # Errors
/// The first difference.
pub fn check_type<T: Plain>(
    btf: &Btf,
    id: TypeId,
    check: Check,
) -> Result<Vec<SignWarning>, TypeError> {
    let at = btf.resolve(id)?;
    let ty = btf.get(at)?;
    let spelled = match (ty.kind(), btf.text(ty.name)) {
        (Kind::Struct, name) => format!("struct '{name}'"),
        (kind, name) => format!("{} '{name}'", kind.name().to_lowercase()),
    };
    let btf_size = btf.size_of(at)?;
    if u64::try_from(size_of::<T>()) != Ok(btf_size) {
        let rust_size = size_of::<T>();
        return Err(TypeError::Size { rust: T::NAME, rust_size, btf: spelled, btf_size });
    }
    let mut warnings = Vec::new();
    let want = class(btf, at)?;
    compare(T::NAME, T::CLASS, &spelled, want, &mut warnings)?;
    if T::CLASS != Class::Struct || ty.kind() != Kind::Struct {
        return Ok(warnings);
    }
    let members = ty.members();
    if members.len() != T::FIELDS.len() {
        return Err(TypeError::Count {
            rust: T::NAME,
            rust_fields: T::FIELDS.len(),
            btf: spelled,
            btf_fields: members.len(),
        });
    }
    for (field, member) in T::FIELDS.iter().zip(members) {
        check_field(btf, field, member, check, &mut warnings)?;
    }
    Ok(warnings)
}

fn check_field(
    btf: &Btf,
    field: &Field,
    member: &Member,
    check: Check,
    warnings: &mut Vec<SignWarning>,
) -> Result<(), TypeError> {
    let name = btf.text(member.name);
    let want = u64::from(member.bit_offset / 8);
    let is_bits = member.bit_size > 0 || member.bit_offset % 8 != 0;
    if is_bits {
        let (class, want) = (class_name(field.class), "a bitfield");
        return Err(TypeError::Class { field: field.name, class, btf: name.to_owned(), want });
    }
    if u64::try_from(field.offset) != Ok(want) {
        let (field, offset) = (field.name, field.offset);
        return Err(TypeError::Offset { field, offset, btf: name.to_owned(), want });
    }
    let want = btf.size_of(member.ty)?;
    if u64::try_from(field.size) != Ok(want) {
        let (field, size) = (field.name, field.size);
        return Err(TypeError::FieldSize { field, size, btf: name.to_owned(), want });
    }
    compare(field.name, field.class, name, class(btf, member.ty)?, warnings)?;
    if check.names && field.name != name {
        let (field, offset) = (field.name, field.offset);
        return Err(TypeError::Name { field, btf: name.to_owned(), offset });
    }
    Ok(())
}

fn compare(
    field: &'static str,
    got: Class,
    name: &str,
    want: Class,
    warnings: &mut Vec<SignWarning>,
) -> Result<(), TypeError> {
    match (got, want) {
        (Class::Integer { is_signed }, Class::Integer { is_signed: other }) => {
            if is_signed != other {
                warnings.push(SignWarning { field, is_signed });
            }
            Ok(())
        }
        (got, want) if got == want => Ok(()),
        (got, want) => Err(TypeError::Class {
            field,
            class: class_name(got),
            btf: name.to_owned(),
            want: class_name(want),
        }),
    }
}

fn class(btf: &Btf, id: TypeId) -> Result<Class, BtfError> {
    let at = btf.resolve(id)?;
    Ok(match &btf.get(at)?.body {
        Body::Int(int) => Class::Integer { is_signed: int.is_signed },
        Body::Enum(it) | Body::Enum64(it) => Class::Integer { is_signed: it.is_signed },
        Body::Ptr(_) => Class::Integer { is_signed: false },
        Body::Float { .. } => Class::Float,
        Body::Array { .. } => Class::Array,
        _ => Class::Struct,
    })
}

const fn class_name(class: Class) -> &'static str {
    match class {
        Class::Integer { .. } => "an integer",
        Class::Float => "a float",
        Class::Array => "an array",
        Class::Struct => "a struct",
    }
}
