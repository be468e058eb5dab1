// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Questions about types: what stands behind a typedef, how large, which variables, which tags.

use super::{Body, Btf, BtfError, DEPTH_MAX, Kind, Linkage, TypeId};

/// Bytes of a pointer of the BPF machine.
pub(crate) const POINTER_LEN: u32 = 8;

/// A global variable of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The `VAR`, to which declaration tags refer.
    pub id: TypeId,
    /// Its name.
    pub name: String,
    /// The data section that it lies in.
    pub section: String,
    /// Its type.
    pub ty: TypeId,
    /// Bytes from the beginning of the section; 0 in a file that no loader has seen.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Who sees it.
    pub linkage: Linkage,
}

/// Whether a member of this name only fills a gap (`_pad`, `__pad1`).
#[must_use]
pub fn is_padding(name: &str) -> bool {
    name.strip_prefix("__").or_else(|| name.strip_prefix('_')).is_some_and(|n| n.starts_with("pad"))
}

impl Btf {
    /// The type behind typedefs, qualifiers and tags.
    ///
    /// # Errors
    /// A chain longer than [`DEPTH_MAX`].
    pub fn resolve(&self, id: TypeId) -> Result<TypeId, BtfError> {
        let mut at = id;
        for _ in 0..=DEPTH_MAX {
            at = match self.get(at)?.body {
                Body::Typedef(to)
                | Body::Volatile(to)
                | Body::Const(to)
                | Body::Restrict(to)
                | Body::TypeTag(to) => to,
                _ => return Ok(at),
            };
        }
        Err(BtfError::TooDeep(id))
    }

    /// Bytes of a value of this type.
    ///
    /// # Errors
    /// Types without a size, chains without end, more bytes than 64 bits count.
    pub fn size_of(&self, id: TypeId) -> Result<u64, BtfError> {
        let (mut at, mut count) = (id, 1_u64);
        for _ in 0..=DEPTH_MAX {
            at = self.resolve(at)?;
            let ty = self.get(at)?;
            let one = match &ty.body {
                Body::Int(int) => int.size,
                Body::Float { size } | Body::Datasec { size, .. } => *size,
                Body::Ptr(_) => POINTER_LEN,
                Body::Struct(composite) | Body::Union(composite) => composite.size,
                Body::Enum(it) | Body::Enum64(it) => it.size,
                Body::Array { element, len, .. } => {
                    count = count.checked_mul(u64::from(*len)).ok_or(BtfError::TooLarge(id))?;
                    at = *element;
                    continue;
                }
                Body::Var { ty, .. } => {
                    at = *ty;
                    continue;
                }
                _ => return Err(BtfError::NoSize { id: at, kind: ty.kind() }),
            };
            return count.checked_mul(u64::from(one)).ok_or(BtfError::TooLarge(id));
        }
        Err(BtfError::TooDeep(id))
    }

    /// The global variables of all data sections, in the order of the table.
    pub fn variables(&self) -> impl Iterator<Item = Variable> {
        self.types().flat_map(|(_, section)| {
            let vars = match &section.body {
                Body::Datasec { vars, .. } => vars.as_slice(),
                _ => &[],
            };
            vars.iter().filter_map(|place| {
                let var = self.get(place.ty).ok()?;
                let Body::Var { ty, linkage } = var.body else { return None };
                Some(Variable {
                    id: place.ty,
                    name: self.text(var.name).to_owned(),
                    section: self.text(section.name).to_owned(),
                    ty,
                    offset: place.offset,
                    size: place.size,
                    linkage,
                })
            })
        })
    }

    /// The declaration tags of a type or a variable; those of its members are left out.
    pub fn tags(&self, target: TypeId) -> impl Iterator<Item = &str> {
        self.types().filter_map(move |(_, ty)| match ty.body {
            Body::DeclTag { ty: to, component: None } if to == target => Some(self.text(ty.name)),
            _ => None,
        })
    }

    /// The structs that somebody may want to decode: those that a variable of a writable data
    /// section has as its type, or points to. This is how objects keep the types of their events.
    #[must_use]
    pub fn anchored(&self) -> Vec<TypeId> {
        let mut found = Vec::new();
        let is_data = |name: &str| name.starts_with(".bss") || name.starts_with(".data");
        for variable in self.variables().filter(|it| is_data(&it.section)) {
            if let Some(id) = self.struct_of(variable.ty).filter(|id| !found.contains(id)) {
                found.push(id);
            }
        }
        found
    }

    /// The named struct that `id` is, or points to once.
    #[must_use]
    pub fn struct_of(&self, id: TypeId) -> Option<TypeId> {
        let mut at = self.resolve(id).ok()?;
        if let Body::Ptr(to) = self.get(at).ok()?.body {
            at = self.resolve(to).ok()?;
        }
        let ty = self.get(at).ok()?;
        (ty.kind() == Kind::Struct && !self.text(ty.name).is_empty()).then_some(at)
    }
}
