// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can be changed of the programs and maps of an open object.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::OpenObject;
use crate::bpffs::{self, c_path, c_text};
use crate::diagnosis::log::Log;
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
use crate::kinds::{AttachType, MapType, ProgType};
use crate::map::{Map, Shape};
use crate::sys::object::{MapSetting, ProgramSetting};
use crate::sys::print::{Detail, capture};

/// A program that is not loaded yet.
#[derive(Debug)]
pub struct OpenProgram<'a> {
    pub(super) object: &'a mut OpenObject,
    pub(super) index: usize,
}

impl OpenProgram<'_> {
    /// The program's name.
    #[must_use]
    pub fn name(&self) -> String {
        self.object.handle.program_names(self.index).0
    }

    /// Its section, which says what it is for.
    #[must_use]
    pub fn section(&self) -> String {
        self.object.handle.program_names(self.index).1
    }

    /// Its type.
    #[must_use]
    pub fn prog_type(&self) -> ProgType {
        ProgType(self.object.handle.program_type(self.index).0)
    }

    /// Where it expects to be attached.
    #[must_use]
    pub fn attach_type(&self) -> AttachType {
        AttachType(self.object.handle.program_type(self.index).1)
    }

    /// How many instructions it has.
    #[must_use]
    pub fn instructions(&self) -> usize {
        self.object.handle.program_instructions(self.index)
    }

    /// Whether it will be loaded.
    #[must_use]
    pub fn autoload(&self) -> bool {
        self.object.handle.program_auto(self.index).0
    }

    fn set(&mut self, setting: ProgramSetting<'_>) -> Result<()> {
        self.object
            .handle
            .set_program(self.index, setting)
            .map_err(|errno| Error::from_errno(errno, Op::Set, self.name()))
    }

    /// Whether to load it.
    ///
    /// # Errors
    /// None that is known; what libbpf says.
    pub fn set_autoload(&mut self, on: bool) -> Result<()> {
        self.set(ProgramSetting::Autoload(on))
    }

    /// Whether to attach it when everything is attached.
    ///
    /// # Errors
    /// None that is known; what libbpf says.
    pub fn set_autoattach(&mut self, on: bool) -> Result<()> {
        self.set(ProgramSetting::Autoattach(on))
    }

    /// The type, for a section that does not say.
    ///
    /// # Errors
    /// What libbpf says.
    pub fn set_type(&mut self, kind: ProgType) -> Result<()> {
        self.set(ProgramSetting::Type(kind.0))
    }

    /// Where it expects to be attached, for a section that does not say.
    ///
    /// # Errors
    /// What libbpf says.
    pub fn set_expected_attach_type(&mut self, kind: AttachType) -> Result<()> {
        self.set(ProgramSetting::ExpectedAttachType(kind.0))
    }

    /// The function to trace or replace; of the kernel, or of the program `of`.
    ///
    /// # Errors
    /// [`Kind::NoSuchTarget`] when that program has no such function.
    pub fn set_attach_target(&mut self, of: Option<BorrowedFd<'_>>, function: &str) -> Result<()> {
        let name = c_text(function, Op::Set)?;
        // The caller's descriptor may be closed, and its number another's, by the time of the load.
        let own = of.map(|fd| fd.try_clone_to_owned()).transpose().map_err(|failed| {
            let errno = Errno(failed.raw_os_error().unwrap_or(libc::EIO));
            Error::from_errno(errno, Op::Set, self.name())
        })?;
        let target = own.as_ref().map(AsFd::as_fd);
        let setting = ProgramSetting::Target(target, &name);
        let (set, log) = capture(Detail::Normal, || self.set(setting));
        self.object.targets.extend(own);
        set.map_err(|error| match error.errno() {
            Some(Errno::SRCH | Errno::NOENT) => error
                .with_kind(Kind::NoSuchTarget)
                .with_detail(format!("there is no function '{function}'"))
                .with_log(Log::from_lines(log)),
            _ => error.with_log(Log::from_lines(log)),
        })
    }

    /// Load flags (`BPF_F_..`).
    ///
    /// # Errors
    /// What libbpf says.
    pub fn set_flags(&mut self, flags: u32) -> Result<()> {
        self.set(ProgramSetting::Flags(flags))
    }

    /// The verifier's level for this program alone; its words are then in
    /// [`Object::log`](crate::object::Object::log).
    ///
    /// # Errors
    /// What libbpf says.
    pub fn set_log_level(&mut self, level: u32) -> Result<()> {
        self.object.log_level = self.object.log_level.max(level);
        self.set(ProgramSetting::LogLevel(level))
    }

    /// The interface that runs it, for hardware offload.
    ///
    /// # Errors
    /// None that is known.
    pub fn set_ifindex(&mut self, ifindex: u32) -> Result<()> {
        self.set(ProgramSetting::Ifindex(ifindex))
    }
}

/// A map that does not exist yet.
#[derive(Debug)]
pub struct OpenMap<'a> {
    pub(super) object: &'a mut OpenObject,
    pub(super) index: usize,
}

impl OpenMap<'_> {
    /// The map's name.
    #[must_use]
    pub fn name(&self) -> String {
        self.object.handle.map_name(self.index)
    }

    /// Its shape as it stands.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.object.handle.map_shape(self.index)
    }

    /// Its type.
    #[must_use]
    pub fn map_type(&self) -> MapType {
        MapType(self.shape().map_type)
    }

    /// Whether it holds the object's variables.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.object.handle.map_is_internal(self.index)
    }

    /// Whether it will be created.
    #[must_use]
    pub fn autocreate(&self) -> bool {
        self.object.handle.map_autocreate(self.index)
    }

    /// Where it will be pinned, and taken from when it is there already.
    #[must_use]
    pub fn pin_path(&self) -> Option<PathBuf> {
        self.object.handle.map_pin_path(self.index).map(PathBuf::from)
    }

    fn set(&mut self, setting: MapSetting<'_>) -> Result<()> {
        let (set, log) =
            capture(Detail::Normal, || self.object.handle.set_map(self.index, setting));
        set.map_err(|errno| {
            Error::from_errno(errno, Op::Set, self.name()).with_log(Log::from_lines(log))
        })
    }

    /// The most elements. libbpf rounds ring buffers up to a power of two of pages.
    ///
    /// # Errors
    /// What libbpf says.
    pub fn set_max_entries(&mut self, most: u32) -> Result<()> {
        self.set(MapSetting::MaxEntries(most))
    }

    /// Bytes of a value. For maps of variables this resizes the last array.
    ///
    /// # Errors
    /// What libbpf says.
    pub fn set_value_size(&mut self, size: u32) -> Result<()> {
        // libbpf changes the types of variables with it.
        self.object.btf = OnceLock::new();
        self.set(MapSetting::ValueSize(size))
    }

    /// Bytes of a key.
    ///
    /// # Errors
    /// What libbpf says.
    pub fn set_key_size(&mut self, size: u32) -> Result<()> {
        self.set(MapSetting::KeySize(size))
    }

    /// The type.
    ///
    /// # Errors
    /// What libbpf says.
    pub fn set_type(&mut self, kind: MapType) -> Result<()> {
        self.set(MapSetting::Type(kind.0))
    }

    /// Creation flags (`BPF_F_..`).
    ///
    /// # Errors
    /// What libbpf says.
    pub fn set_flags(&mut self, flags: u32) -> Result<()> {
        self.set(MapSetting::Flags(flags))
    }

    /// What the type makes of it, such as the number of hashes of a bloom filter.
    ///
    /// # Errors
    /// What libbpf says.
    pub fn set_extra(&mut self, extra: u64) -> Result<()> {
        self.set(MapSetting::Extra(extra))
    }

    /// The memory node.
    ///
    /// # Errors
    /// What libbpf says.
    pub fn set_numa_node(&mut self, node: u32) -> Result<()> {
        self.set(MapSetting::NumaNode(node))
    }

    /// The interface, for hardware offload.
    ///
    /// # Errors
    /// What libbpf says.
    pub fn set_ifindex(&mut self, ifindex: u32) -> Result<()> {
        self.set(MapSetting::Ifindex(ifindex))
    }

    /// Whether to create it; programs that use it must not be loaded otherwise.
    ///
    /// # Errors
    /// None that is known; what libbpf says.
    pub fn set_autocreate(&mut self, on: bool) -> Result<()> {
        self.set(MapSetting::Autocreate(on))
    }

    /// Where to pin it, or nowhere.
    ///
    /// # Errors
    /// As for [`bpffs::check`].
    pub fn set_pin_path(&mut self, path: Option<&Path>) -> Result<()> {
        if let Some(path) = path {
            bpffs::check(path)?;
        }
        let path = path.map(|path| c_path(path, Op::Set)).transpose()?;
        self.set(MapSetting::PinPath(path.as_deref()))
    }

    /// Uses an existing map in its place.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] with the first difference; libbpf would take any map.
    pub fn reuse(&mut self, map: &Map) -> Result<()> {
        let (want, have) = (normal(self.shape()), normal(map.shape()));
        let fields = [
            ("type", want.map_type, have.map_type),
            ("key size", want.key_size, have.key_size),
            ("value size", want.value_size, have.value_size),
            ("max_entries", want.max_entries, have.max_entries),
            ("flags", want.flags, have.flags),
        ];
        if let Some((field, want, have)) = fields.into_iter().find(|(_, want, have)| want != have) {
            let (want, have) = if field == "type" {
                (MapType(want).to_string(), MapType(have).to_string())
            } else {
                (want.to_string(), have.to_string())
            };
            let detail = format!("{field} differs: the object wants {want}, the map has {have}");
            return Err(Error::new(Kind::Mismatch, Op::Reuse, self.name()).with_detail(detail));
        }
        self.set(MapSetting::Reuse(map.as_fd()))
    }

    /// The template of the maps in it.
    ///
    /// # Errors
    /// What libbpf says: it is not a map of maps, or has a template.
    pub fn set_inner(&mut self, map: &Map) -> Result<()> {
        self.set(MapSetting::Inner(map.as_fd()))
    }
}

/// A shape as libbpf will make it: sizes that it fills in or rounds.
fn normal(mut shape: Shape) -> Shape {
    match MapType(shape.map_type) {
        MapType::RINGBUF | MapType::USER_RINGBUF => {
            shape.max_entries = ring_size(shape.max_entries);
        }
        MapType::PERF_EVENT_ARRAY if shape.max_entries == 0 => {
            let cpus = crate::sys::system::possible_cpus();
            shape.max_entries = u32::try_from(cpus).unwrap_or(u32::MAX);
        }
        _ => {}
    }
    shape
}

/// The size of a ring buffer that holds at least `bytes`: a power of two of pages.
#[must_use]
pub fn ring_size(bytes: u32) -> u32 {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    let pages = bytes.div_ceil(page).max(1);
    pages.checked_next_power_of_two().and_then(|pages| pages.checked_mul(page)).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_sizes_are_rounded_up() {
        let page = u32::try_from(rustix::param::page_size()).expect("a small number");
        assert_eq!(ring_size(0), page);
        assert_eq!(ring_size(page), page);
        assert_eq!(ring_size(page + 1), 2 * page);
        assert_eq!(ring_size(u32::MAX), u32::MAX);
    }
}
