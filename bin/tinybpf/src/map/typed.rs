// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Maps whose keys and values are Rust types, or values by the map's own types.
//!
//! Owns the comparison of both when the view is made, so that every access afterwards is plain.
//! Views own a descriptor and outlive the map that they came from.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{Flags, Map};
use crate::btf::{Btf, TypeId};
use crate::error::{Error, Kind, Op, Result};
use crate::ids::Table;
use crate::typed::check::{Check, check_type};
use crate::typed::{Plain, bytes_of, read};
use crate::value::{Encode, Shape, Value};

/// The types of a map, in the kernel's copy of its object's table.
struct Types {
    btf: Arc<Btf>,
    key: TypeId,
    value: TypeId,
}

impl Map {
    fn types(&self) -> Result<Option<Types>> {
        let info = self.info()?;
        if info.btf == 0 {
            return Ok(None);
        }
        let btf = Table::from_id(info.btf)?.parse()?;
        let (key, value) = (TypeId(info.shape.key_type), TypeId(info.shape.value_type));
        Ok(Some(Types { btf, key, value }))
    }

    fn type_error(&self, what: &str, why: &dyn std::fmt::Display) -> Error {
        Error::new(Kind::Type, Op::Check, self.name()).with_detail(format!("the {what}: {why}"))
    }

    /// The map with keys and values as Rust types. Sizes are always compared; the types too where
    /// the map has any.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] for other sizes, [`Kind::Type`] for other types; [`Kind::Unsupported`]
    /// for a map with a value per CPU.
    pub fn typed<K: Plain, V: Plain>(&self) -> Result<TypedMap<K, V>> {
        if self.is_percpu() {
            let detail = "values per CPU have no typed view: use sum_percpu or get_percpu";
            return Err(Error::new(Kind::Unsupported, Op::Check, self.name()).with_detail(detail));
        }
        if size_of::<K>() != self.key_size() {
            return Err(self.size_error("key", size_of::<K>(), self.key_size(), Op::Check));
        }
        self.check_value_type::<V>()?;
        if let Some(types) = self.types()?.filter(|types| types.key != TypeId::VOID) {
            check_type::<K>(&types.btf, types.key, Check::default())
                .map_err(|why| self.type_error("key", &why))?;
        }
        Ok(TypedMap { map: self.try_clone()?, types: PhantomData })
    }

    /// Checks that the values are of the type `V`, as [`Map::typed`] does.
    pub(crate) fn check_value_type<V: Plain>(&self) -> Result<()> {
        if size_of::<V>() != self.value_size() {
            return Err(self.size_error("value", size_of::<V>(), self.value_size(), Op::Check));
        }
        let Some(types) = self.types()?.filter(|types| types.value != TypeId::VOID) else {
            return Ok(());
        };
        let checked = check_type::<V>(&types.btf, types.value, Check::default());
        checked.map(drop).map_err(|why| self.type_error("value", &why))
    }

    /// The map with keys and values by its own types.
    ///
    /// # Errors
    /// [`Kind::MissingBtf`] for a map without types, [`Kind::Type`] for types without values.
    pub fn dynamic(&self) -> Result<DynamicMap> {
        let missing = || {
            let error = Error::new(Kind::MissingBtf, Op::Check, self.name());
            error.with_detail("the map has no types of key and value")
        };
        let types = self.types()?.ok_or_else(missing)?;
        let shape = |what: &str, id: TypeId, size: usize| {
            if id == TypeId::VOID {
                return Err(missing());
            }
            let shape = Shape::of(&types.btf, id).map_err(|why| self.type_error(what, &why))?;
            if shape.size() == size {
                Ok(shape)
            } else {
                Err(self.size_error(what, shape.size(), size, Op::Check))
            }
        };
        let key = shape("key", types.key, self.key_size())?;
        let value = shape("value", types.value, self.value_size())?;
        Ok(DynamicMap { map: self.try_clone()?, key, value })
    }
}

/// A map with keys of type `K` and values of type `V`.
#[derive(Debug)]
pub struct TypedMap<K, V> {
    map: Map,
    types: PhantomData<fn(K) -> V>,
}

impl<K: Plain, V: Plain> TypedMap<K, V> {
    /// The map underneath.
    #[must_use]
    pub const fn map(&self) -> &Map {
        &self.map
    }

    /// The value of `key`; `None` when there is none.
    ///
    /// # Errors
    /// As for [`Map::get`].
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        Ok(self.map.get(bytes_of(key))?.and_then(|value| read(&value)))
    }

    /// Writes the value of `key`.
    ///
    /// # Errors
    /// As for [`Map::set`].
    pub fn set(&self, key: &K, value: &V, flags: Flags) -> Result<()> {
        self.map.set(bytes_of(key), bytes_of(value), flags)
    }

    /// Removes `key`; `false` when it was not there.
    ///
    /// # Errors
    /// As for [`Map::delete`].
    pub fn delete(&self, key: &K) -> Result<bool> {
        self.map.delete(bytes_of(key))
    }

    /// The elements; see [`Map::iter`].
    pub fn iter(&self) -> impl Iterator<Item = Result<(K, V)>> {
        self.map.iter().filter_map(|element| match element {
            Ok((key, value)) => Some(Ok((read(&key)?, read(&value)?))),
            Err(error) => Some(Err(error)),
        })
    }
}

/// A map with keys and values by its own types.
#[derive(Debug)]
pub struct DynamicMap {
    map: Map,
    key: Shape,
    value: Shape,
}

impl DynamicMap {
    /// The map underneath.
    #[must_use]
    pub const fn map(&self) -> &Map {
        &self.map
    }

    /// The type of its keys.
    #[must_use]
    pub const fn key_type(&self) -> &Shape {
        &self.key
    }

    /// The type of its values; of one slot, where there is one for each CPU.
    #[must_use]
    pub const fn value_type(&self) -> &Shape {
        &self.value
    }

    fn encode(&self, shape: &Shape, root: &str, value: &Value) -> Result<Vec<u8>> {
        let encoded = shape.encode(root, value, Encode::default());
        encoded.map_err(|error| {
            Error::new(Kind::Type, Op::Encode, self.map.name()).with_detail(error.to_string())
        })
    }

    fn decode(&self, shape: &Shape, bytes: &[u8]) -> Result<Value> {
        shape.decode(bytes, true).map_err(|error| {
            Error::new(Kind::Type, Op::Decode, self.map.name()).with_detail(error.to_string())
        })
    }

    /// The value of `key`; `None` when there is none. Of a value per CPU the list of them.
    ///
    /// # Errors
    /// [`Kind::Type`] for a key that does not fit; else as for [`Map::get`].
    pub fn get(&self, key: &Value) -> Result<Option<Value>> {
        let key = self.encode(&self.key, "key", key)?;
        if !self.map.is_percpu() {
            return self.map.get(&key)?.map(|value| self.decode(&self.value, &value)).transpose();
        }
        let Some(slots) = self.map.get_percpu(&key)? else { return Ok(None) };
        let values: Result<Vec<Value>> =
            slots.iter().map(|slot| self.decode(&self.value, slot)).collect();
        values.map(|values| Some(Value::List(values)))
    }

    /// Writes the value of `key`.
    ///
    /// # Errors
    /// [`Kind::Type`] for what does not fit; else as for [`Map::set`].
    pub fn set(&self, key: &Value, value: &Value, flags: Flags) -> Result<()> {
        let key = self.encode(&self.key, "key", key)?;
        self.map.set(&key, &self.encode(&self.value, "value", value)?, flags)
    }

    /// Removes `key`; `false` when it was not there.
    ///
    /// # Errors
    /// [`Kind::Type`] for a key that does not fit; else as for [`Map::delete`].
    pub fn delete(&self, key: &Value) -> Result<bool> {
        self.map.delete(&self.encode(&self.key, "key", key)?)
    }
}
