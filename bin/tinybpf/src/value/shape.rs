// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A type compiled into a tree that can be walked without its table.
//!
//! Typedefs and qualifiers are gone, names are resolved, and what made a type impossible to use is
//! an error here and not later. The tree is bounded in nodes and in values, since a few lines of a
//! hostile table could otherwise ask for any amount of either.

use std::collections::BTreeSet;
use std::sync::Arc;

use plinth::sorting;

use crate::btf::{
    Body, Btf, BtfError, ByteOrder, Composite, DEPTH_MAX, Enumeration, Int, TypeId, is_padding,
};

/// Nodes of a tree. The largest structs of a kernel have a few thousand.
const NODES_MAX: usize = 1 << 16;
/// Values that one decoding may yield.
const VALUES_MAX: u64 = 1 << 24;
/// Bytes of a value.
const SIZE_MAX: u64 = 1 << 28;

/// A type that bytes can be read and written as.
#[derive(Clone, Debug)]
pub struct Shape {
    pub(super) name: String,
    pub(super) order: ByteOrder,
    pub(super) size: usize,
    pub(super) is_flexible: bool,
    pub(super) root: Node,
}

/// The type of a part.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Int {
        size: usize,
        is_signed: bool,
    },
    Bool {
        size: usize,
    },
    Float {
        size: usize,
    },
    Ptr,
    Enum {
        size: usize,
        is_signed: bool,
        names: Arc<Names>,
    },
    /// An integer whose bits do not fill its bytes.
    Narrow {
        bits: Bits,
        base: Base,
    },
    /// Text, up to the first NUL.
    Chars {
        len: usize,
    },
    /// Unsigned 1-byte integers.
    Bytes {
        len: usize,
    },
    List {
        element: Box<Node>,
        stride: usize,
        len: usize,
    },
    /// An array that takes what is left of the sample.
    Rest {
        element: Box<Node>,
        stride: usize,
    },
    Struct {
        size: usize,
        is_union: bool,
        fields: Vec<Field>,
    },
    Opaque,
}

/// A member.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// `None` for those whose members are lifted into the parent, and for bits without a name.
    pub(super) name: Option<Arc<str>>,
    /// Bytes from the beginning of the parent; 0 for bitfields.
    pub(super) offset: usize,
    /// Where it lies and what it is, if it is a bitfield.
    pub(super) bits: Option<(Bits, Base)>,
    pub(super) node: Node,
    pub(super) is_padding: bool,
}

/// Where a bitfield lies, in bits from the beginning of its struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    pub(super) offset: u64,
    /// 1 to 64.
    pub(super) len: u32,
}

/// What the bits of a bitfield are.
#[derive(Clone, Debug)]
pub(super) enum Base {
    Int { is_signed: bool },
    Bool,
    Enum { is_signed: bool, names: Arc<Names> },
}

/// The enumerators of a type, their values cut to its width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names(Vec<(u64, Arc<str>)>);

impl Names {
    fn new(btf: &Btf, enumeration: &Enumeration) -> Self {
        let mut names: Vec<(u64, Arc<str>)> =
            enumeration.values.iter().map(|it| (it.value, Arc::from(btf.text(it.name)))).collect();
        // Stable, so that the first of several names for a value is found first.
        sorting::sort_by_key(&mut names, |it| it.0);
        Self(names)
    }

    /// The first name of a value, both modulo `bits`.
    pub(super) fn of(&self, value: u64, bits: u32) -> Option<&Arc<str>> {
        let mask = mask(bits);
        let exact = self.0.partition_point(|it| it.0 < value);
        match self.0.get(exact) {
            Some((found, name)) if *found == value => Some(name),
            _ => self.0.iter().find(|it| it.0 & mask == value & mask).map(|(_, name)| name),
        }
    }

    /// The value of a name.
    pub(super) fn value(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|it| &*it.1 == name).map(|it| it.0)
    }

    /// All names, for messages.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, name)| &**name)
    }
}

/// The lowest `bits` of a word.
pub(super) const fn mask(bits: u32) -> u64 {
    if bits >= u64::BITS { u64::MAX } else { (1 << bits) - 1 }
}

impl Shape {
    /// Compiles a type; variables and sections too, whose members are the variables.
    ///
    /// # Errors
    /// Circles, types nested deeper than [`DEPTH_MAX`], more members, values or bytes than the
    /// limits here, members outside their struct, two members of one name.
    pub fn of(btf: &Btf, id: TypeId) -> Result<Self, BtfError> {
        let mut compiler = Compiler { btf, nodes: 0, is_flexible: false, names: Vec::new() };
        let built = compiler.node(id, 0, true)?;
        if built.values > VALUES_MAX {
            return Err(BtfError::TooLarge(id));
        }
        Ok(Self {
            name: btf.name(id).to_owned(),
            order: btf.byte_order(),
            size: built.size,
            is_flexible: compiler.is_flexible,
            root: built.node,
        })
    }

    /// The name of the type; empty if it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of a value; without the elements of a flexible array.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// The order of the bytes of its numbers.
    #[must_use]
    pub const fn order(&self) -> ByteOrder {
        self.order
    }

    /// Whether the type ends in an array that takes what is left of a sample.
    #[must_use]
    pub const fn is_flexible(&self) -> bool {
        self.is_flexible
    }

    /// Whether values are signed or unsigned integers, and nothing else.
    #[must_use]
    pub const fn is_integer(&self) -> bool {
        matches!(self.root, Node::Int { .. })
    }
}

/// A node, its bytes, and how many values it yields.
struct Built {
    node: Node,
    size: usize,
    values: u64,
}

struct Compiler<'a> {
    btf: &'a Btf,
    nodes: usize,
    is_flexible: bool,
    /// Enumerations that were met, so that their names are kept once.
    names: Vec<(TypeId, Arc<Names>)>,
}

impl Compiler<'_> {
    /// Compiles a type. `is_last` says that nothing follows it in the whole.
    fn node(&mut self, id: TypeId, depth: usize, is_last: bool) -> Result<Built, BtfError> {
        self.nodes += 1;
        if depth > DEPTH_MAX {
            return Err(BtfError::TooDeep(id));
        }
        if self.nodes > NODES_MAX {
            return Err(BtfError::TooLarge(id));
        }
        let btf = self.btf;
        let at = btf.resolve(id)?;
        let ty = btf.get(at)?;
        let node = match &ty.body {
            Body::Int(int) => return self.int(at, int),
            Body::Float { size } => Node::Float { size: bytes(at, (*size).into())? },
            Body::Ptr(_) => Node::Ptr,
            Body::Enum(it) | Body::Enum64(it) => Node::Enum {
                size: bytes(at, it.size.into())?,
                is_signed: it.is_signed,
                names: self.names(at, it),
            },
            Body::Struct(it) => return self.composite(at, it, false, depth, is_last),
            Body::Union(it) => return self.composite(at, it, true, depth, is_last),
            Body::Array { element, len, .. } => {
                return self.array(at, *element, *len, depth, is_last);
            }
            Body::Var { ty, .. } => return self.node(*ty, depth + 1, is_last),
            Body::Datasec { size, vars } => {
                let vars: Vec<_> = vars.iter().map(|it| (it.ty, it.offset)).collect();
                return self.section(at, *size, &vars, depth);
            }
            _ => return Ok(Built { node: Node::Opaque, size: 0, values: 1 }),
        };
        Ok(Built { node, size: bytes(at, btf.size_of(at)?)?, values: 1 })
    }

    fn names(&mut self, id: TypeId, enumeration: &Enumeration) -> Arc<Names> {
        if let Some((_, known)) = self.names.iter().find(|(known, _)| *known == id) {
            return Arc::clone(known);
        }
        let names = Arc::new(Names::new(self.btf, enumeration));
        self.names.push((id, Arc::clone(&names)));
        names
    }

    fn int(&mut self, id: TypeId, int: &Int) -> Result<Built, BtfError> {
        let size = bytes(id, int.size.into())?;
        let is_whole = int.offset == 0 && u32::from(int.bits) == int.size * 8;
        let node = match int {
            Int { is_bool: true, .. } if size <= 8 => Node::Bool { size },
            Int { is_signed, .. } if is_whole => Node::Int { size, is_signed: *is_signed },
            Int { is_signed, bits, offset, .. } if *bits <= 64 => Node::Narrow {
                bits: Bits { offset: (*offset).into(), len: (*bits).into() },
                base: Base::Int { is_signed: *is_signed },
            },
            _ => return Err(BtfError::Malformed { id, what: "number of bits" }),
        };
        Ok(Built { node, size, values: 1 })
    }

    fn array(
        &mut self,
        id: TypeId,
        element: TypeId,
        len: u32,
        depth: usize,
        is_last: bool,
    ) -> Result<Built, BtfError> {
        let is_char = self.is_char(element)?;
        let built = self.node(element, depth + 1, false)?;
        let len = bytes(id, len.into())?;
        let size = built.size.checked_mul(len).ok_or(BtfError::TooLarge(id))?;
        let size = bytes(id, u64::try_from(size).unwrap_or(u64::MAX))?;
        let count = u64::try_from(len).unwrap_or(u64::MAX);
        let values = built.values.saturating_mul(count.max(1));
        let stride = built.size;
        let (node, values) = match built.node {
            Node::Int { size: 1, .. } if is_char && len > 0 => (Node::Chars { len }, 1),
            Node::Int { size: 1, is_signed: false } if len > 0 => (Node::Bytes { len }, 1),
            // Elements without bytes would be any number of nothing.
            _ if stride == 0 => (Node::Opaque, 1),
            node if len == 0 && is_last && depth > 0 => {
                self.is_flexible = true;
                (Node::Rest { element: Box::new(node), stride }, values)
            }
            node => (Node::List { element: Box::new(node), stride, len }, values),
        };
        Ok(Built { node, size, values })
    }

    /// Whether the type is a character: by its encoding, or by its name as clang has it.
    fn is_char(&self, id: TypeId) -> Result<bool, BtfError> {
        let ty = self.btf.get(self.btf.resolve(id)?)?;
        Ok(matches!(ty.body, Body::Int(int)
            if int.size == 1 && (int.is_char || self.btf.text(ty.name) == "char")))
    }

    fn composite(
        &mut self,
        id: TypeId,
        composite: &Composite,
        is_union: bool,
        depth: usize,
        is_last: bool,
    ) -> Result<Built, BtfError> {
        let btf = self.btf;
        let size = bytes(id, composite.size.into())?;
        let mut fields = Vec::new();
        let mut values = 1_u64;
        for (at, member) in composite.members.iter().enumerate() {
            let is_last = is_last && (is_union || at + 1 == composite.members.len());
            let built = self.node(member.ty, depth + 1, is_last)?;
            values = values.saturating_add(built.values);
            let name = btf.text(member.name);
            let bits = self.bits(id, member.bit_offset, member.bit_size, &built)?;
            let offset = match &bits {
                Some(_) => 0,
                None => bytes(id, u64::from(member.bit_offset / 8))?,
            };
            let end = match &bits {
                Some((bits, _)) => bits.offset.saturating_add(bits.len.into()).div_ceil(8),
                None => u64::try_from(offset.saturating_add(built.size)).unwrap_or(u64::MAX),
            };
            if end > u64::from(composite.size) {
                return Err(BtfError::Malformed { id, what: "member: outside its struct" });
            }
            fields.push(Field {
                name: (!name.is_empty()).then(|| Arc::from(name)),
                offset,
                bits,
                node: built.node,
                is_padding: is_padding(name),
            });
        }
        let mut seen = BTreeSet::new();
        if let Some(name) = twice(&fields, &mut seen) {
            return Err(BtfError::SameName { id, name });
        }
        Ok(Built { node: Node::Struct { size, is_union, fields }, size, values })
    }

    /// A member's bits, if it is a bitfield: said by its struct, or by its type as old compilers
    /// did, or by an offset within a byte.
    fn bits(
        &self,
        id: TypeId,
        bit_offset: u32,
        bit_size: u8,
        built: &Built,
    ) -> Result<Option<(Bits, Base)>, BtfError> {
        let offset = u64::from(bit_offset);
        let (base, narrow) = match &built.node {
            Node::Int { is_signed, .. } => (Some(Base::Int { is_signed: *is_signed }), None),
            Node::Bool { .. } => (Some(Base::Bool), None),
            Node::Enum { is_signed, names, .. } => {
                (Some(Base::Enum { is_signed: *is_signed, names: Arc::clone(names) }), None)
            }
            Node::Narrow { bits, base, .. } => (Some(base.clone()), Some(*bits)),
            _ => (None, None),
        };
        let len = match (bit_size, narrow) {
            (0, None) if bit_offset % 8 == 0 => return Ok(None),
            (0, Some(narrow)) => {
                let bits = Bits { offset: offset + narrow.offset, len: narrow.len };
                return Ok(base.map(|base| (bits, base)));
            }
            (0, None) => u32::try_from(built.size * 8).unwrap_or(u32::MAX),
            (bit_size, _) => bit_size.into(),
        };
        let what = "bitfield";
        let base = base.filter(|_| (1..=64).contains(&len));
        let base = base.ok_or(BtfError::Malformed { id, what })?;
        Ok(Some((Bits { offset, len }, base)))
    }

    /// A section as a struct of its variables.
    fn section(
        &mut self,
        id: TypeId,
        size: u32,
        vars: &[(TypeId, u32)],
        depth: usize,
    ) -> Result<Built, BtfError> {
        let (mut fields, mut values) = (Vec::new(), 1_u64);
        let size = bytes(id, size.into())?;
        for &(var, offset) in vars {
            let built = self.node(var, depth + 1, false)?;
            values = values.saturating_add(built.values);
            let offset = bytes(id, offset.into())?;
            if offset.saturating_add(built.size) > size {
                return Err(BtfError::Malformed { id, what: "variable: outside its section" });
            }
            let name = Some(Arc::from(self.btf.name(var)));
            fields.push(Field { name, offset, bits: None, node: built.node, is_padding: false });
        }
        if let Some(name) = twice(&fields, &mut BTreeSet::new()) {
            return Err(BtfError::SameName { id, name });
        }
        Ok(Built { node: Node::Struct { size, is_union: false, fields }, size, values })
    }
}

/// A name that two members have, those of anonymous members among them.
fn twice<'a>(fields: &'a [Field], seen: &mut BTreeSet<&'a str>) -> Option<String> {
    for field in fields {
        let found = match (&field.name, &field.node) {
            (Some(name), _) => (!seen.insert(name)).then(|| name.to_string()),
            (None, Node::Struct { fields, .. }) => twice(fields, seen),
            (None, _) => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// A number of bytes or elements within [`SIZE_MAX`].
fn bytes(id: TypeId, number: u64) -> Result<usize, BtfError> {
    let number = (number <= SIZE_MAX).then_some(number).ok_or(BtfError::TooLarge(id))?;
    usize::try_from(number).map_err(|_| BtfError::TooLarge(id))
}
