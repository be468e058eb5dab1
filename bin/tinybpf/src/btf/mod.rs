// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The type table of an object or a kernel: BTF, the BPF Type Format of the Linux documentation.
//!
//! Owns the reading of a raw `.BTF` section of either byte order, look-up by kind and name, sizes,
//! variables, declaration tags, and the C text of a struct. What values look like is left to
//! [`crate::value`]; fetching the bytes is left to others.
//!
//! The bytes are not trusted. A table that was parsed has only names that are text and only
//! references to types that exist; references may still form circles, so that everything that
//! follows them counts its steps ([`DEPTH_MAX`]).

mod ext;
mod layout;
mod parse;
mod render;

#[cfg(test)]
pub(crate) mod build;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub use ext::core_relocations;
pub use layout::{Variable, is_padding};

/// How deep types may be nested, and how long a chain of typedefs and qualifiers may be.
pub const DEPTH_MAX: usize = 32;

/// Bytes of the longest name that is read; tags of declarations count as names.
pub const NAME_LEN_MAX: usize = 4096;

/// The order of the bytes of a number in an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first.
    #[default]
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// That of this machine.
    pub const NATIVE: Self = if cfg!(target_endian = "big") { Self::Big } else { Self::Little };
}

impl fmt::Display for ByteOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Little => "little-endian",
            Self::Big => "big-endian",
        })
    }
}

/// The number of a type in its table; 0 is `void`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub u32);

impl TypeId {
    /// The type that every table begins with.
    pub const VOID: Self = Self(0);
}

/// Where a name begins in the strings of its table; resolved by [`Btf::text`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Name(pub(crate) u32);

/// What a type is, with the numbers of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub enum Kind {
    Void = 0,
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Fwd = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    Datasec = 15,
    Float = 16,
    DeclTag = 17,
    TypeTag = 18,
    Enum64 = 19,
}

impl Kind {
    /// All kinds, each at its number.
    pub const ALL: [Self; 20] = [
        Self::Void,
        Self::Int,
        Self::Ptr,
        Self::Array,
        Self::Struct,
        Self::Union,
        Self::Enum,
        Self::Fwd,
        Self::Typedef,
        Self::Volatile,
        Self::Const,
        Self::Restrict,
        Self::Func,
        Self::FuncProto,
        Self::Var,
        Self::Datasec,
        Self::Float,
        Self::DeclTag,
        Self::TypeTag,
        Self::Enum64,
    ];

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        usize::try_from(number).ok().and_then(|at| Self::ALL.get(at)).copied()
    }

    /// The kind's name as `bpftool btf dump` and the kernel write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Void => "VOID",
            Self::Int => "INT",
            Self::Ptr => "PTR",
            Self::Array => "ARRAY",
            Self::Struct => "STRUCT",
            Self::Union => "UNION",
            Self::Enum => "ENUM",
            Self::Fwd => "FWD",
            Self::Typedef => "TYPEDEF",
            Self::Volatile => "VOLATILE",
            Self::Const => "CONST",
            Self::Restrict => "RESTRICT",
            Self::Func => "FUNC",
            Self::FuncProto => "FUNC_PROTO",
            Self::Var => "VAR",
            Self::Datasec => "DATASEC",
            Self::Float => "FLOAT",
            Self::DeclTag => "DECL_TAG",
            Self::TypeTag => "TYPE_TAG",
            Self::Enum64 => "ENUM64",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int {
    /// Bytes that it occupies: 1, 2, 4, 8 or 16.
    pub size: u32,
    /// Bits that count; fewer than the bytes hold in the bitfields of old compilers.
    pub bits: u8,
    /// Where these bits begin.
    pub offset: u8,
    /// Whether the highest bit is a sign.
    pub is_signed: bool,
    /// Whether the compiler calls it a character. Clang never does.
    pub is_char: bool,
    /// Whether it is a truth value.
    pub is_bool: bool,
}

/// A member of a struct or a union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Empty for anonymous structs and unions.
    pub name: Name,
    /// Its type.
    pub ty: TypeId,
    /// Bits from the beginning of the struct.
    pub bit_offset: u32,
    /// Bits of a bitfield; 0 if it is none.
    pub bit_size: u8,
}

/// A struct or a union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composite {
    /// Bytes.
    pub size: u32,
    /// In the order of declaration.
    pub members: Vec<Member>,
}

/// A named value of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enumerator {
    /// Its name.
    pub name: Name,
    /// Its bits; to be compared modulo the size of the type, since old compilers lose the sign.
    pub value: u64,
}

/// An enumeration of either width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enumeration {
    /// Bytes: 1, 2, 4 or 8.
    pub size: u32,
    /// Whether the compiler said that values may be negative. Clang before 15 never does.
    pub is_signed: bool,
    /// In the order of declaration.
    pub values: Vec<Enumerator>,
}

/// A parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// Empty in prototypes.
    pub name: Name,
    /// Its type; `void` without a name stands for `...`.
    pub ty: TypeId,
}

/// A variable's place in a data section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionVar {
    /// The `VAR`.
    pub ty: TypeId,
    /// Bytes from the beginning of the section; 0 in a file that no loader has seen.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// How far a function or a variable is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// In its file.
    Static,
    /// In the object.
    Global,
    /// Defined elsewhere.
    Extern,
    /// A number that the format does not define yet.
    Other(u32),
}

/// What a type consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the format, see Kind")]
pub enum Body {
    Void,
    Int(Int),
    Ptr(TypeId),
    Array { element: TypeId, index: TypeId, len: u32 },
    Struct(Composite),
    Union(Composite),
    Enum(Enumeration),
    Fwd { is_union: bool },
    Typedef(TypeId),
    Volatile(TypeId),
    Const(TypeId),
    Restrict(TypeId),
    Func { proto: TypeId, linkage: Linkage },
    FuncProto { ret: TypeId, params: Vec<Param> },
    Var { ty: TypeId, linkage: Linkage },
    Datasec { size: u32, vars: Vec<SectionVar> },
    Float { size: u32 },
    DeclTag { ty: TypeId, component: Option<u32> },
    TypeTag(TypeId),
    Enum64(Enumeration),
}

/// A type of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// Its name; empty where the format has none.
    pub name: Name,
    /// What it consists of.
    pub body: Body,
}

impl Type {
    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.body {
            Body::Void => Kind::Void,
            Body::Int(_) => Kind::Int,
            Body::Ptr(_) => Kind::Ptr,
            Body::Array { .. } => Kind::Array,
            Body::Struct(_) => Kind::Struct,
            Body::Union(_) => Kind::Union,
            Body::Enum(_) => Kind::Enum,
            Body::Fwd { .. } => Kind::Fwd,
            Body::Typedef(_) => Kind::Typedef,
            Body::Volatile(_) => Kind::Volatile,
            Body::Const(_) => Kind::Const,
            Body::Restrict(_) => Kind::Restrict,
            Body::Func { .. } => Kind::Func,
            Body::FuncProto { .. } => Kind::FuncProto,
            Body::Var { .. } => Kind::Var,
            Body::Datasec { .. } => Kind::Datasec,
            Body::Float { .. } => Kind::Float,
            Body::DeclTag { .. } => Kind::DeclTag,
            Body::TypeTag(_) => Kind::TypeTag,
            Body::Enum64(_) => Kind::Enum64,
        }
    }

    /// The members of a struct or a union; nothing for other kinds.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        match &self.body {
            Body::Struct(composite) | Body::Union(composite) => &composite.members,
            _ => &[],
        }
    }
}

/// Why bytes are no type table, or why a type cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BtfError {
    /// The bytes do not begin as BTF does.
    NotBtf,
    /// A version of the format that nobody has defined yet.
    Version(u8),
    /// The bytes end within this part.
    Truncated(&'static str),
    /// A name is outside the strings, is not terminated, or is not text.
    BadName {
        /// The type that has the name.
        id: TypeId,
        /// The name's place.
        offset: u32,
    },
    /// A kind without known length, so that the rest cannot be read either.
    UnknownKind {
        /// The type.
        id: TypeId,
        /// The kind's number.
        kind: u32,
    },
    /// A field of a type has an impossible value.
    Malformed {
        /// The type.
        id: TypeId,
        /// The field.
        what: &'static str,
    },
    /// A reference to a type that the table does not have.
    NoSuchType(TypeId),
    /// Nested deeper than [`DEPTH_MAX`], or in a circle.
    TooDeep(TypeId),
    /// More members or bytes than anyone needs.
    TooLarge(TypeId),
    /// The kind has no size: functions, forward declarations.
    NoSize {
        /// The type.
        id: TypeId,
        /// What it is.
        kind: Kind,
    },
    /// Two members of a struct, or of what is lifted into it, have one name.
    SameName {
        /// The type.
        id: TypeId,
        /// The name.
        name: String,
    },
}

impl fmt::Display for BtfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBtf => f.write_str("not BTF: the magic number is missing"),
            Self::Version(version) => write!(f, "BTF version {version} is not known"),
            Self::Truncated(part) => write!(f, "BTF ends within its {part}"),
            Self::BadName { id, offset } => {
                write!(f, "BTF type {} has no readable name at {offset}", id.0)
            }
            Self::UnknownKind { id, kind } => {
                write!(f, "BTF type {} is of the unknown kind {kind}", id.0)
            }
            Self::Malformed { id, what } => write!(f, "BTF type {} has a bad {what}", id.0),
            Self::NoSuchType(id) => write!(f, "BTF has no type {}", id.0),
            Self::TooDeep(id) => {
                write!(f, "BTF type {} is nested deeper than {DEPTH_MAX} levels", id.0)
            }
            Self::TooLarge(id) => write!(f, "BTF type {} is too large", id.0),
            Self::NoSize { id, kind } => write!(f, "BTF type {} ({kind}) has no size", id.0),
            Self::SameName { id, name } => {
                write!(f, "BTF type {} has two members '{name}'", id.0)
            }
        }
    }
}

impl std::error::Error for BtfError {}

/// A parsed table, or the part of one that is laid over a base.
#[derive(Clone, Debug)]
pub struct Btf {
    base: Option<Arc<Btf>>,
    order: ByteOrder,
    /// The number of the first type of this part.
    first_id: u32,
    types: Vec<Type>,
    /// Where this part's strings begin in the numbering that it shares with its base.
    first_name: u32,
    strings: Vec<u8>,
}

impl Btf {
    /// Reads a table that stands alone.
    ///
    /// # Errors
    /// Whatever is wrong with the bytes; a table is read whole or not at all.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        parse::table(bytes, None)
    }

    /// Reads a table, such as a module's, whose numbers go on where those of `base` end.
    ///
    /// # Errors
    /// As [`Btf::parse`]; the byte orders must agree.
    pub fn parse_split(bytes: &[u8], base: Arc<Self>) -> Result<Self, BtfError> {
        parse::table(bytes, Some(base))
    }

    /// The order of bytes of the machine that the table is for.
    #[must_use]
    pub const fn byte_order(&self) -> ByteOrder {
        self.order
    }

    /// The number of types, `void` and those of the base included.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.first_id).map_or(0, |first| first + self.types.len())
    }

    /// Whether there is no type but `void`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() <= 1
    }

    /// The type with this number.
    ///
    /// # Errors
    /// [`BtfError::NoSuchType`].
    pub fn get(&self, id: TypeId) -> Result<&Type, BtfError> {
        match id.0.checked_sub(self.first_id) {
            None => self.base.as_ref().ok_or(BtfError::NoSuchType(id))?.get(id),
            Some(own) => usize::try_from(own)
                .ok()
                .and_then(|own| self.types.get(own))
                .ok_or(BtfError::NoSuchType(id)),
        }
    }

    /// The text of a name of this table or its base; empty for the empty name and foreign ones.
    #[must_use]
    pub fn text(&self, name: Name) -> &str {
        match (name.0.checked_sub(self.first_name), &self.base) {
            (Some(own), _) => string_at(&self.strings, own).unwrap_or_default(),
            (None, Some(base)) => base.text(name),
            (None, None) => "",
        }
    }

    /// The name of a type; empty where it has none.
    #[must_use]
    pub fn name(&self, id: TypeId) -> &str {
        self.get(id).map_or("", |ty| self.text(ty.name))
    }

    /// All types with their numbers, those of the base first.
    pub fn types(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        let base = self.base.as_deref().into_iter().flat_map(|base| base.own());
        base.chain(self.own())
    }

    /// The types of this part alone; a base of a base is never built (kernels have two levels).
    fn own(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        (self.first_id..).map(TypeId).zip(&self.types)
    }

    /// The first type of this kind and name. Structs and typedefs have name spaces of their own.
    #[must_use]
    pub fn find(&self, kind: Kind, name: &str) -> Option<TypeId> {
        let mut all = self.types();
        all.find(|(_, ty)| ty.kind() == kind && self.text(ty.name) == name).map(|(id, _)| id)
    }

    /// A type as people write it: `struct event`, `union u`, `enum e`, or a bare name, which is
    /// sought among structs, unions, typedefs, enumerations and plain types in this order.
    #[must_use]
    pub fn find_spelled(&self, spelled: &str) -> Option<TypeId> {
        let (kinds, name): (&[Kind], &str) = match spelled.trim().split_once(' ') {
            Some(("struct", name)) => (&[Kind::Struct], name),
            Some(("union", name)) => (&[Kind::Union], name),
            Some(("enum", name)) => (&[Kind::Enum, Kind::Enum64], name),
            _ => (
                &[
                    Kind::Struct,
                    Kind::Union,
                    Kind::Typedef,
                    Kind::Enum,
                    Kind::Enum64,
                    Kind::Int,
                    Kind::Float,
                ],
                spelled,
            ),
        };
        let name = name.trim();
        kinds.iter().filter(|_| !name.is_empty()).find_map(|&kind| self.find(kind, name))
    }

    /// The names of all types of a kind, anonymous ones left out, in their order.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.types()
            .filter(move |(_, ty)| ty.kind() == kind)
            .map(|(_, ty)| self.text(ty.name))
            .filter(|name| !name.is_empty())
    }
}

/// The NUL-terminated text at `offset`; `None` if it is outside, open, too long or not UTF-8.
fn string_at(strings: &[u8], offset: u32) -> Option<&str> {
    let rest = strings.get(usize::try_from(offset).ok()?..)?;
    let rest = rest.get(..=NAME_LEN_MAX).unwrap_or(rest);
    let end = rest.iter().position(|&byte| byte == 0)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}
