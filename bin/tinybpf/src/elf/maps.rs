// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Declarations of maps: the variables of the section `.maps`, whose types say everything.
//!
//! A number is the length of an array that a member points to, or an enumerator; types of keys and
//! values are what members point to.

use crate::btf::{Body, Btf, Member, TypeId};
use crate::kinds::MapType;

/// Whether the loader pins a map by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pinning {
    /// No.
    #[default]
    None,
    /// Under the map's name (`LIBBPF_PIN_BY_NAME`).
    ByName,
}

/// A map as an object declares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// Its name.
    pub name: String,
    /// Its type.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u64,
    /// Bytes of a value.
    pub value_size: u64,
    /// Entries, or bytes of a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*` of map creation.
    pub flags: u32,
    /// What else the type needs.
    pub extra: u64,
    /// Whether the loader pins it.
    pub pinning: Pinning,
    /// The type of its keys.
    pub key: Option<TypeId>,
    /// The type of its values.
    pub value: Option<TypeId>,
    /// The maps that it holds.
    pub inner: Option<Box<Map>>,
}

/// The maps that a table declares, in its order.
pub(super) fn declared(btf: &Btf) -> Vec<Map> {
    let mut maps = Vec::new();
    for variable in btf.variables() {
        match variable.section.as_str() {
            ".maps" => {
                let mut map = definition(btf, variable.ty, true);
                map.name = variable.name;
                maps.push(map);
            }
            ".struct_ops" | ".struct_ops.link" | "?.struct_ops" | "?.struct_ops.link" => {
                maps.push(Map {
                    name: variable.name,
                    map_type: MapType::STRUCT_OPS,
                    key_size: 4,
                    value_size: btf.size_of(variable.ty).unwrap_or_default(),
                    max_entries: 1,
                    value: Some(variable.ty),
                    ..Map::default()
                });
            }
            _ => {}
        }
    }
    maps
}

fn definition(btf: &Btf, id: TypeId, is_outer: bool) -> Map {
    let mut map = Map::default();
    let members = btf.resolve(id).and_then(|id| btf.get(id)).map_or(&[][..], |ty| ty.members());
    for member in members {
        let number = number(btf, member).unwrap_or_default();
        let small = u32::try_from(number).unwrap_or(u32::MAX);
        match btf.text(member.name) {
            "type" => map.map_type = MapType(small),
            "max_entries" => map.max_entries = small,
            "map_flags" => map.flags = small,
            "map_extra" => map.extra = number,
            "key_size" => map.key_size = number,
            "value_size" => map.value_size = number,
            "pinning" if number == 1 => map.pinning = Pinning::ByName,
            "key" => map.key = pointee(btf, member.ty),
            "value" => map.value = pointee(btf, member.ty),
            "values" if is_outer => {
                map.inner = inner(btf, member.ty).map(|id| Box::new(definition(btf, id, false)));
            }
            _ => {}
        }
    }
    let size = |id: Option<TypeId>| id.and_then(|id| btf.size_of(id).ok());
    map.key_size = size(map.key).unwrap_or(map.key_size);
    map.value_size = size(map.value).unwrap_or(map.value_size);
    if map.inner.is_some() {
        // What is stored is a descriptor.
        map.value_size = 4;
    }
    map
}

/// `int (*name)[NUMBER]`, or an enumeration of one value.
fn number(btf: &Btf, member: &Member) -> Option<u64> {
    match &btf.get(btf.resolve(member.ty).ok()?).ok()?.body {
        Body::Ptr(to) => match btf.get(btf.resolve(*to).ok()?).ok()?.body {
            Body::Array { len, .. } => Some(len.into()),
            _ => None,
        },
        Body::Enum(it) | Body::Enum64(it) => it.values.first().map(|it| it.value),
        _ => None,
    }
}

fn pointee(btf: &Btf, id: TypeId) -> Option<TypeId> {
    match btf.get(btf.resolve(id).ok()?).ok()?.body {
        Body::Ptr(to) => Some(to),
        _ => None,
    }
}

/// `struct inner *values[]`
fn inner(btf: &Btf, id: TypeId) -> Option<TypeId> {
    match btf.get(btf.resolve(id).ok()?).ok()?.body {
        Body::Array { element, .. } => pointee(btf, element),
        _ => None,
    }
}
