// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which Rust type stands for which struct of an object: one for one.

use std::any::TypeId;

use super::BpfType;
use super::check::TypeError;

/// A pair of names, and how many bytes both are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    id: TypeId,
    /// The Rust type.
    pub rust: &'static str,
    /// The struct of the object.
    pub name: String,
    /// Bytes.
    pub size: usize,
}

/// Pairs of Rust types and structs of an object.
#[derive(Clone, Debug, Default)]
pub struct TypeRegistry(Vec<Registered>);

impl TypeRegistry {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Registers `T` as the struct `name`; the same pair again changes nothing.
    ///
    /// # Errors
    /// [`TypeError::Registered`] if either is part of another pair.
    pub fn register<T: BpfType>(&mut self, name: &str) -> Result<(), TypeError> {
        let id = TypeId::of::<T>();
        let other = self.0.iter().find(|it| (it.id == id) != (it.name == name));
        if let Some(other) = other {
            return Err(TypeError::Registered {
                rust: other.rust,
                name: other.name.clone(),
                new_rust: T::NAME,
                new_name: name.to_owned(),
            });
        }
        if !self.0.iter().any(|it| it.id == id) {
            self.0.push(Registered { id, rust: T::NAME, name: name.to_owned(), size: T::SIZE });
        }
        Ok(())
    }

    /// The struct that `T` stands for.
    #[must_use]
    pub fn name_of<T: BpfType>(&self) -> Option<&str> {
        let id = TypeId::of::<T>();
        self.0.iter().find(|it| it.id == id).map(|it| it.name.as_str())
    }

    /// The Rust type that stands for the struct `name`.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Registered> {
        self.0.iter().find(|it| it.name == name)
    }

    /// The struct to check `T` against: the one that is named, else the registered one.
    ///
    /// # Errors
    /// [`TypeError::Registered`] if the name that is given is not the registered one.
    pub fn resolve<'a, T: BpfType>(
        &'a self,
        explicit: Option<&'a str>,
    ) -> Result<Option<&'a str>, TypeError> {
        match (explicit, self.name_of::<T>()) {
            (Some(explicit), Some(known)) if explicit != known => Err(TypeError::Registered {
                rust: T::NAME,
                name: known.to_owned(),
                new_rust: T::NAME,
                new_name: explicit.to_owned(),
            }),
            (explicit, known) => Ok(explicit.or(known)),
        }
    }
}
