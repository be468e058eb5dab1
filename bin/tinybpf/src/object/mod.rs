// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Objects: opened, adjusted, loaded.
//!
//! Owns the phases as types: [`OpenOptions`] opens a file as an [`OpenObject`], whose programs,
//! maps and variables can still be changed; [`OpenObject::load`] consumes it and gives an
//! [`Object`]. An object is a counted handle: its programs, maps and links hold it too, and libbpf
//! closes it when the last of them goes. Its drop removes no pins.

mod adjust;
mod global;
mod open;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub use adjust::{OpenMap, OpenProgram, ring_size};
pub use global::Global;
pub(crate) use open::refused_kind;
pub use open::{OpenObject, OpenOptions, Token};

pub use crate::btf::Variable;

use plinth::sorting;

use crate::btf::Btf;
use crate::diagnosis::log::Log;
use crate::error::{Error, Kind, Op, Result};
use crate::map::Map;
use crate::program::Program;
use crate::sys::object::Handle;

/// Where an object came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// The caller's memory.
    Memory,
}

impl Source {
    /// The path, or `memory`.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Memory => "memory".to_owned(),
        }
    }
}

/// A loaded object.
#[derive(Clone, Debug)]
pub struct Object {
    pub(crate) handle: Arc<Handle>,
    about: Arc<About>,
}

#[derive(Debug)]
struct About {
    source: Source,
    log: Log,
    btf: OnceLock<Option<Arc<Btf>>>,
}

impl Object {
    /// Opens and loads a file as it is.
    ///
    /// # Errors
    /// As for [`OpenOptions::open`] and [`OpenObject::load`].
    pub fn load(path: &Path) -> Result<Self> {
        OpenOptions::new().open(path)?.load()
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> String {
        self.handle.name()
    }

    /// Where it came from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.about.source
    }

    /// What libbpf and the verifier said while it was loaded.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.about.log
    }

    /// The object's type information in the kernel's format.
    #[must_use]
    pub fn btf_bytes(&self) -> Option<&[u8]> {
        self.handle.btf()
    }

    /// The programs that were loaded, in ELF order.
    pub fn programs(&self) -> impl Iterator<Item = Program> {
        (0..self.handle.program_count()).filter_map(|index| Program::of_object(&self.handle, index))
    }

    /// The program of this name.
    ///
    /// # Errors
    /// [`Kind::NoSuchProgram`], also for one that was not loaded; lists those that were.
    pub fn program(&self, name: &str) -> Result<Program> {
        self.programs().find(|program| program.name() == name).ok_or_else(|| {
            let names = self.programs().map(|program| program.name().to_owned());
            unknown(Kind::NoSuchProgram, "program", name, names)
        })
    }

    /// The maps that exist, those of variables included, in ELF order.
    pub fn maps(&self) -> impl Iterator<Item = Map> {
        (0..self.handle.map_count()).filter_map(|index| Map::of_object(&self.handle, index))
    }

    /// The map of this name.
    ///
    /// # Errors
    /// [`Kind::NoSuchMap`], also for one that was not created; lists those that were.
    pub fn map(&self, name: &str) -> Result<Map> {
        let index = (0..self.handle.map_count()).find(|index| self.handle.map_name(*index) == name);
        index.and_then(|index| Map::of_object(&self.handle, index)).ok_or_else(|| {
            let names = (0..self.handle.map_count()).map(|index| self.handle.map_name(index));
            unknown(Kind::NoSuchMap, "map", name, names)
        })
    }
}

/// The error for a name that an object does not have, with those it has, sorted.
fn unknown(kind: Kind, what: &str, name: &str, names: impl Iterator<Item = String>) -> Error {
    let mut names: Vec<String> = names.collect();
    sorting::sort(&mut names);
    let list = if names.is_empty() { "(none)".to_owned() } else { names.join(", ") };
    Error::new(kind, Op::Find, name).with_detail(format!("no such {what}; there are: {list}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_answered_with_the_known_ones() {
        let names = ["b".to_owned(), "a".to_owned()];
        let error = unknown(Kind::NoSuchMap, "map", "x", names.into_iter());
        assert_eq!(error.to_string(), "find 'x': no such map; there are: a, b");
        let error = unknown(Kind::NoSuchProgram, "program", "x", std::iter::empty());
        assert!(error.to_string().ends_with("there are: (none)"));
    }
}
