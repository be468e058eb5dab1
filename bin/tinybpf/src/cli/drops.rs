// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters of lost events: a ring buffer that is full refuses, and only the program can count it.

use plinth::err::Failure;

use super::find;
use super::words::usage;
use crate::btf::{Body, Btf, TypeId};
use crate::error::{Error, Kind, Op, Result};
use crate::map::Map;
use crate::object::{Global, Object};
use crate::reference::Reference;
use crate::value::{Shape, Value};

/// A counter that is looked at again and again.
pub(super) struct Drops {
    name: String,
    place: Place,
    last: u64,
}

enum Place {
    /// Of the object that runs.
    Global(Global),
    /// In a map of variables: bytes from its beginning, and what is there.
    Element(Map, usize, Shape),
}

impl Drops {
    /// The variable `VAR`, or `MAP.VAR`, of an object.
    pub(super) fn of_object(object: &Object, text: &str) -> Result<Self> {
        let name = text.rsplit_once('.').map_or(text, |(_, name)| name);
        let mut drops =
            Self { name: text.to_owned(), place: Place::Global(object.global(name)?), last: 0 };
        drops.last = drops.now().unwrap_or(0);
        Ok(drops)
    }

    /// The variable `MAP.VAR` of a map of variables in the kernel, such as `exec.bss.dropped`.
    pub(super) fn of_map(text: &str) -> std::result::Result<Self, Failure> {
        let (map, variable) = text
            .rsplit_once('.')
            .ok_or_else(|| usage(format!("--drop-var: '{text}' is not of the form MAP.VAR")))?;
        let map = find::map(&Reference::parse(map).map_err(|error| usage(error.to_string()))?)?;
        let missing = || {
            Error::new(Kind::NotFound, Op::Find, text)
                .with_detail("the map has no such variable, or no types")
        };
        let info = map.info()?;
        let btf = if info.btf == 0 { return Err(missing().into()) } else { find::btf(info.btf)? };
        let (offset, shape) =
            variable_of(&btf, TypeId(info.shape.value_type), variable).ok_or_else(missing)?;
        let place = Place::Element(map, offset, shape);
        let mut drops = Self { name: text.to_owned(), place, last: 0 };
        drops.last = drops.now().unwrap_or(0);
        Ok(drops)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn now(&self) -> Option<u64> {
        let value = match &self.place {
            Place::Global(global) => global.get().ok()?,
            Place::Element(map, offset, shape) => {
                let bytes = map.get(&0_u32.to_ne_bytes()).ok()??;
                shape.decode(bytes.get(*offset..)?, true).ok()?
            }
        };
        total(&value)
    }

    /// By how much it grew since the last look; `None` for not at all.
    pub(super) fn grown(&mut self) -> Option<u64> {
        let now = self.now()?;
        let grown = now.wrapping_sub(self.last);
        self.last = now;
        (grown > 0).then_some(grown)
    }
}

/// A number, or the sum of a list of them.
fn total(value: &Value) -> Option<u64> {
    match value {
        Value::List(items) => items.iter().map(total).sum(),
        value => u64::try_from(value.as_integer()?).ok(),
    }
}

/// Where a variable is in its section, and its type.
fn variable_of(btf: &Btf, section: TypeId, name: &str) -> Option<(usize, Shape)> {
    let Body::Datasec { vars, .. } = &btf.get(section).ok()?.body else { return None };
    let found = vars.iter().find(|it| btf.name(it.ty) == name)?;
    let Body::Var { ty, .. } = btf.get(found.ty).ok()?.body else { return None };
    Some((usize::try_from(found.offset).ok()?, Shape::of(btf, ty).ok()?))
}
