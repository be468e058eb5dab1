// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Global variables of an object: their first values before the load, their memory after it.
//!
//! Owns the way from a variable's name to its place: the object's types tell section and offset,
//! and the section's map holds the bytes. After the load that map is shared with the programs:
//! variables of 1, 2, 4 and 8 bytes are read and written at once, larger ones byte by byte, and no
//! reference to that memory is ever handed out.

use std::sync::{Arc, OnceLock};

use plinth::sorting;

use super::{Object, OpenObject, Source, Variable};
use crate::btf::{Btf, TypeId};
use crate::error::{Error, Kind, Op, Result};
use crate::sys::object::Handle;
use crate::value::{Encode, EncodeError, Shape, Value, Why};
use plinth::near::nearest;

/// Bytes of the longest name that libbpf gives to the map of a section.
const MAP_NAME_MAX: usize = 15;

/// Names that an error lists.
const LISTED_MAX: usize = 20;

impl OpenObject {
    /// The object's types; `None` when it has none.
    ///
    /// # Errors
    /// [`Kind::Type`] for a table that is damaged.
    pub fn btf(&self) -> Result<Option<Arc<Btf>>> {
        table(&self.btf, &self.handle, &self.source)
    }

    /// The variables, of all sections.
    ///
    /// # Errors
    /// As for [`OpenObject::btf`].
    pub fn globals(&self) -> Result<Vec<Variable>> {
        Ok(self.btf()?.map_or_else(Vec::new, |btf| btf.variables().collect()))
    }

    /// The first value of a variable.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for an unknown one.
    pub fn global(&mut self, name: &str) -> Result<Value> {
        let (btf, variable) = self.variable(name, Op::Read)?;
        let bytes = self.place(&variable, Op::Read)?.to_vec();
        decode(&btf, variable.ty, &bytes, name)
    }

    /// Sets the first value of a variable; for constants this is the only time.
    ///
    /// # Errors
    /// [`Kind::NotFound`] with the variables there are; [`Kind::OutOfRange`] and [`Kind::Type`] for
    /// a value that does not fit; [`Kind::ReadOnly`] for the kernel's configuration.
    pub fn set_global(&mut self, name: &str, value: &Value) -> Result<()> {
        let (btf, variable) = self.variable(name, Op::Set)?;
        let bytes = encode(&btf, variable.ty, value, name)?;
        self.place(&variable, Op::Set)?.copy_from_slice(&bytes);
        Ok(())
    }

    /// The same, from bytes as they will lie in memory.
    ///
    /// # Errors
    /// As for [`OpenObject::set_global`]; [`Kind::Mismatch`] for another length.
    pub fn set_global_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let (_, variable) = self.variable(name, Op::Set)?;
        let place = self.place(&variable, Op::Set)?;
        if place.len() != bytes.len() {
            return Err(wrong_length(name, bytes.len(), place.len()));
        }
        place.copy_from_slice(bytes);
        Ok(())
    }

    fn variable(&self, name: &str, op: Op) -> Result<(Arc<Btf>, Variable)> {
        find(self.btf()?, name, op)
    }

    fn place(&mut self, variable: &Variable, op: Op) -> Result<&mut [u8]> {
        let index = section_map(&self.handle, &variable.section);
        let bytes = index.and_then(|index| self.handle.initial_value(index));
        let range = variable.offset as usize..variable.offset as usize + variable.size as usize;
        bytes.and_then(|bytes| bytes.get_mut(range)).ok_or_else(|| no_memory(variable, op))
    }
}

impl Object {
    /// The object's types; `None` when it has none.
    ///
    /// # Errors
    /// [`Kind::Type`] for a table that is damaged.
    pub fn btf(&self) -> Result<Option<Arc<Btf>>> {
        table(&self.about.btf, &self.handle, &self.about.source)
    }

    /// The variables, of all sections.
    ///
    /// # Errors
    /// As for [`Object::btf`].
    pub fn globals(&self) -> Result<Vec<Variable>> {
        Ok(self.btf()?.map_or_else(Vec::new, |btf| btf.variables().collect()))
    }

    /// A variable of the running programs.
    ///
    /// # Errors
    /// [`Kind::NotFound`] with the variables there are.
    pub fn global(&self, name: &str) -> Result<Global> {
        let (btf, variable) = find(self.btf()?, name, Op::Find)?;
        let map = section_map(&self.handle, &variable.section)
            .ok_or_else(|| no_memory(&variable, Op::Find))?;
        Ok(Global { handle: Arc::clone(&self.handle), btf, variable, map })
    }
}

/// A variable that programs are using.
#[derive(Clone, Debug)]
pub struct Global {
    handle: Arc<Handle>,
    btf: Arc<Btf>,
    variable: Variable,
    map: usize,
}

impl Global {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.variable.name
    }

    /// Its bytes now.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for kernels before 5.5, which do not share the memory.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.variable.size as usize];
        if self.handle.read_variables(self.map, self.variable.offset as usize, &mut bytes) {
            return Ok(bytes);
        }
        Err(no_memory(&self.variable, Op::Read))
    }

    /// Its value now.
    ///
    /// # Errors
    /// As for [`Global::bytes`].
    pub fn get(&self) -> Result<Value> {
        decode(&self.btf, self.variable.ty, &self.bytes()?, self.name())
    }

    /// Changes it.
    ///
    /// # Errors
    /// [`Kind::ReadOnly`] for a constant; [`Kind::OutOfRange`] and [`Kind::Type`] for a value that
    /// does not fit.
    pub fn set(&self, value: &Value) -> Result<()> {
        self.set_bytes(&encode(&self.btf, self.variable.ty, value, self.name())?)
    }

    /// The same, from bytes as they lie in memory.
    ///
    /// # Errors
    /// As for [`Global::set`]; [`Kind::Mismatch`] for another length.
    pub fn set_bytes(&self, bytes: &[u8]) -> Result<()> {
        let want = self.variable.size as usize;
        if bytes.len() != want {
            return Err(wrong_length(self.name(), bytes.len(), want));
        }
        if self.handle.write_variables(self.map, self.variable.offset as usize, bytes) {
            return Ok(());
        }
        let detail = format!("variables of '{}' are constant once loaded", self.variable.section);
        Err(Error::new(Kind::ReadOnly, Op::Set, self.name()).with_detail(detail))
    }
}

/// The table, parsed once.
fn table(
    cell: &OnceLock<Option<Arc<Btf>>>,
    handle: &Handle,
    source: &Source,
) -> Result<Option<Arc<Btf>>> {
    if let Some(parsed) = cell.get() {
        return Ok(parsed.clone());
    }
    let parsed = handle.btf().map(Btf::parse).transpose().map_err(|error| {
        Error::new(Kind::Type, Op::Parse, source.text()).with_detail(error.to_string())
    })?;
    Ok(cell.get_or_init(|| parsed.map(Arc::new)).clone())
}

fn find(btf: Option<Arc<Btf>>, name: &str, op: Op) -> Result<(Arc<Btf>, Variable)> {
    let Some(btf) = btf else {
        return Err(Error::new(Kind::MissingBtf, op, name).with_hint("compile with -g"));
    };
    let found = btf.variables().find(|variable| variable.name == name);
    if let Some(variable) = found {
        return Ok((btf, variable));
    }
    let mut names: Vec<String> = btf.variables().map(|variable| variable.name).collect();
    sorting::sort(&mut names);
    let list = match names.len() {
        0 => "(none)".to_owned(),
        1..=LISTED_MAX => names.join(", "),
        _ => nearest(name, names.iter().map(String::as_str), LISTED_MAX).join(", "),
    };
    let detail = format!("no such variable; there are: {list}");
    let error = Error::new(Kind::NotFound, op, name).with_detail(detail);
    Err(error.with_hint("a variable that is static or never used is optimised away"))
}

/// The map of a data section: named after it, with the object's name before the usual ones.
fn section_map(handle: &Handle, section: &str) -> Option<usize> {
    let cut = section.get(..section.len().min(MAP_NAME_MAX)).unwrap_or(section);
    let usual = !section.get(1..).unwrap_or_default().contains('.');
    (0..handle.map_count()).filter(|index| handle.map_is_internal(*index)).find(|index| {
        let name = handle.map_name(*index);
        name == section || name == cut || (usual && name.ends_with(section))
    })
}

fn no_memory(variable: &Variable, op: Op) -> Error {
    let detail = format!("variables of '{}' have no memory of their own here", variable.section);
    Error::new(Kind::Unsupported, op, variable.name.clone()).with_detail(detail)
}

fn wrong_length(name: &str, got: usize, want: usize) -> Error {
    let detail = format!("{got} bytes for a variable of {want}");
    Error::new(Kind::Mismatch, Op::Set, name).with_detail(detail)
}

fn encode(btf: &Btf, ty: TypeId, value: &Value, name: &str) -> Result<Vec<u8>> {
    let shape = shape(btf, ty, name)?;
    let encoded = shape.encode(name, value, Encode::default());
    encoded.map_err(|EncodeError { path, why }| {
        let kind = match why {
            Why::OutOfRange { .. } => Kind::OutOfRange,
            _ => Kind::Type,
        };
        Error::new(kind, Op::Set, path).with_detail(why.to_string())
    })
}

fn decode(btf: &Btf, ty: TypeId, bytes: &[u8], name: &str) -> Result<Value> {
    shape(btf, ty, name)?
        .decode(bytes, true)
        .map_err(|error| Error::new(Kind::Type, Op::Decode, name).with_detail(error.to_string()))
}

fn shape(btf: &Btf, ty: TypeId, name: &str) -> Result<Shape> {
    Shape::of(btf, ty)
        .map_err(|error| Error::new(Kind::Type, Op::Parse, name).with_detail(error.to_string()))
}
