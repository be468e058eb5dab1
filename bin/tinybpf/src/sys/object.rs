// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A `bpf_object` of libbpf, with its programs and maps by index.
//!
//! Owns the object's life: it is opened once, loaded at most once, and closed by the drop. Programs
//! and maps are named by their index in ELF order, so that no pointer outlives the object. What
//! changes it takes `&mut self`; what is possible through `&self` is safe from several threads:
//! libbpf only reads then, apart from the USDT manager, which a lock guards.
#![allow(unsafe_code, reason = "libbpf's objects are C pointers")]

use std::ffi::{CStr, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex};

use libbpf_sys as ffi;

use super::{check, last, print, size_field, text_of};
use crate::errno::Errno;

/// What is opened.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A file.
    File(&'a CStr),
    /// The object's bytes; libbpf copies them.
    Bytes(&'a [u8]),
}

/// How it is opened; see `bpf_object_open_opts` in `libbpf.h`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The object's name.
    pub name: Option<&'a CStr>,
    /// Where maps that ask for it are pinned.
    pub pin_root: Option<&'a CStr>,
    /// Types for field relocation instead of the kernel's.
    pub kernel_btf: Option<&'a CStr>,
    /// More lines of kernel configuration.
    pub kconfig: Option<&'a CStr>,
    /// A delegating bpf file system; empty to use none.
    pub token: Option<&'a CStr>,
    /// The verifier's level for every program; 0 to ask only after a failure.
    pub log_level: u32,
    /// Accept unknown attributes of maps.
    pub relaxed_maps: bool,
}

/// One property of a program that is not loaded yet.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each is the setter of libbpf of that name")]
pub enum ProgramSetting<'a> {
    Autoload(bool),
    Autoattach(bool),
    Type(u32),
    ExpectedAttachType(u32),
    Flags(u32),
    LogLevel(u32),
    Ifindex(u32),
    /// The function to trace or replace, of the kernel or of another program.
    Target(Option<BorrowedFd<'a>>, &'a CStr),
}

/// One property of a map that does not exist yet.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each is the setter of libbpf of that name")]
pub enum MapSetting<'a> {
    Type(u32),
    KeySize(u32),
    ValueSize(u32),
    MaxEntries(u32),
    Flags(u32),
    Extra(u64),
    NumaNode(u32),
    Ifindex(u32),
    Autocreate(bool),
    PinPath(Option<&'a CStr>),
    Reuse(BorrowedFd<'a>),
    Inner(BorrowedFd<'a>),
}

/// The shape of a map as the object declares it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The number of the type.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// The most elements.
    pub max_entries: u32,
    /// Creation flags.
    pub flags: u32,
    /// What the type makes of it.
    pub extra: u64,
    /// The id of the key's type in the object's BTF; 0 for none.
    pub key_type: u32,
    /// The id of the value's type; 0 for none.
    pub value_type: u32,
}

/// A descriptor of a program or map: of one's own, or an object's, which it keeps open.
#[derive(Debug)]
pub enum Fd {
    /// Ours alone.
    Owned(OwnedFd),
    /// An object's.
    Kept(KeptFd),
}

/// A descriptor that belongs to an object, and keeps it open.
#[derive(Debug)]
pub struct KeptFd {
    fd: RawFd,
    _object: Arc<Handle>,
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Owned(fd) => fd.as_fd(),
            // SAFETY: libbpf keeps the descriptors of a loaded object until it is closed, which is
            // held back here.
            Self::Kept(kept) => unsafe { BorrowedFd::borrow_raw(kept.fd) },
        }
    }
}

/// An open object.
#[derive(Debug)]
pub struct Handle {
    object: NonNull<ffi::bpf_object>,
    programs: Vec<NonNull<ffi::bpf_program>>,
    maps: Vec<NonNull<ffi::bpf_map>>,
    attaching: Mutex<()>,
}

// SAFETY: libbpf ties nothing of an object to the thread that opened it.
unsafe impl Send for Handle {}
// SAFETY: functions that take `&self` only read the object, or hold the lock `attaching`.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the object was opened by us and is closed here only; the lists of its parts go
        // with it.
        unsafe { ffi::bpf_object__close(self.object.as_ptr()) };
    }
}

fn pointer(text: Option<&CStr>) -> *const std::ffi::c_char {
    text.map_or(ptr::null(), CStr::as_ptr)
}

impl Handle {
    /// Reads an object. Nothing reaches the kernel yet.
    ///
    /// # Errors
    /// libbpf's number; its messages say more.
    pub fn open(source: Source<'_>, request: &Request<'_>) -> Result<Self, Errno> {
        print::install();
        let options = ffi::bpf_object_open_opts {
            sz: size_field::<ffi::bpf_object_open_opts>(),
            object_name: pointer(request.name),
            relaxed_maps: request.relaxed_maps,
            pin_root_path: pointer(request.pin_root),
            kconfig: pointer(request.kconfig),
            btf_custom_path: pointer(request.kernel_btf),
            kernel_log_level: request.log_level,
            bpf_token_path: pointer(request.token),
            ..Default::default()
        };
        let (object, errno) = match source {
            Source::File(path) => {
                // SAFETY: path and options live throughout the call, and libbpf keeps neither.
                let object =
                    unsafe { ffi::bpf_object__open_file(path.as_ptr(), &raw const options) };
                (object, last())
            }
            Source::Bytes(bytes) => {
                let size = bytes.len() as ffi::size_t;
                let start = bytes.as_ptr().cast::<c_void>();
                // SAFETY: libbpf reads `size` bytes during the call and copies what it keeps.
                let object = unsafe { ffi::bpf_object__open_mem(start, size, &raw const options) };
                (object, last())
            }
        };
        let object = NonNull::new(object).ok_or(errno)?;
        let mut handle =
            Self { object, programs: Vec::new(), maps: Vec::new(), attaching: Mutex::new(()) };
        handle.collect();
        Ok(handle)
    }

    /// Lists the parts; they keep their addresses until the object is closed.
    fn collect(&mut self) {
        let object = self.object.as_ptr();
        let mut program = ptr::null_mut();
        let mut map = ptr::null_mut();
        loop {
            // SAFETY: the object is open, and `program` is NULL or the last one it gave.
            program = unsafe { ffi::bpf_object__next_program(object, program) };
            let Some(found) = NonNull::new(program) else { break };
            self.programs.push(found);
        }
        loop {
            // SAFETY: as above, for maps.
            map = unsafe { ffi::bpf_object__next_map(object, map) };
            let Some(found) = NonNull::new(map) else { break };
            self.maps.push(found);
        }
    }

    /// Loads everything. Once only: libbpf refuses to try again.
    ///
    /// # Errors
    /// The kernel's number or libbpf's.
    pub fn load(&mut self) -> Result<(), Errno> {
        // SAFETY: the object is open and nobody else refers to it.
        check(unsafe { ffi::bpf_object__load(self.object.as_ptr()) })
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> String {
        // SAFETY: the object is open.
        let name = unsafe { ffi::bpf_object__name(self.object.as_ptr()) };
        // SAFETY: a string of the open object.
        unsafe { text_of(name) }
    }

    /// The type information, after libbpf filled in the offsets of variables.
    #[must_use]
    pub fn btf(&self) -> Option<&[u8]> {
        // SAFETY: the object is open.
        let btf = unsafe { ffi::bpf_object__btf(self.object.as_ptr()) };
        if btf.is_null() {
            return None;
        }
        let mut size = 0;
        // SAFETY: `btf` is part of the object.
        let bytes = unsafe { ffi::btf__raw_data(btf, &raw mut size) };
        if bytes.is_null() {
            return None;
        }
        let size = usize::try_from(size).ok()?;
        // SAFETY: libbpf keeps `size` bytes there until the object is closed or its types change,
        // which takes `&mut self`.
        Some(unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), size) })
    }

    /// How many programs the object has.
    #[must_use]
    pub fn program_count(&self) -> usize {
        self.programs.len()
    }

    /// How many maps it has, those of its variables included.
    #[must_use]
    pub fn map_count(&self) -> usize {
        self.maps.len()
    }

    fn program(&self, index: usize) -> *mut ffi::bpf_program {
        self.programs.get(index).map_or(ptr::null_mut(), |program| program.as_ptr())
    }

    fn map(&self, index: usize) -> *mut ffi::bpf_map {
        self.maps.get(index).map_or(ptr::null_mut(), |map| map.as_ptr())
    }

    /// Name and section of a program; empty for an index out of range.
    #[must_use]
    pub fn program_names(&self, index: usize) -> (String, String) {
        let program = self.program(index);
        if program.is_null() {
            return Default::default();
        }
        // SAFETY: a program of the open object.
        let name = unsafe { ffi::bpf_program__name(program) };
        // SAFETY: as above.
        let section = unsafe { ffi::bpf_program__section_name(program) };
        // SAFETY: both strings belong to the open object.
        let name = unsafe { text_of(name) };
        // SAFETY: as above.
        (name, unsafe { text_of(section) })
    }

    /// Type and expected attach type of a program.
    #[must_use]
    pub fn program_type(&self, index: usize) -> (u32, u32) {
        let program = self.program(index);
        if program.is_null() {
            return (0, 0);
        }
        // SAFETY: a program of the open object.
        let kind = unsafe { ffi::bpf_program__type(program) };
        // SAFETY: as above.
        (kind, unsafe { ffi::bpf_program__expected_attach_type(program) })
    }

    /// Whether a program is to be loaded, and attached by libbpf's own rules.
    #[must_use]
    pub fn program_auto(&self, index: usize) -> (bool, bool) {
        let program = self.program(index);
        if program.is_null() {
            return (false, false);
        }
        // SAFETY: a program of the open object.
        let load = unsafe { ffi::bpf_program__autoload(program) };
        // SAFETY: as above.
        (load, unsafe { ffi::bpf_program__autoattach(program) })
    }

    /// How many instructions a program has.
    #[must_use]
    pub fn program_instructions(&self, index: usize) -> usize {
        let program = self.program(index);
        if program.is_null() {
            return 0;
        }
        // SAFETY: a program of the open object.
        let count = unsafe { ffi::bpf_program__insn_cnt(program) };
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// The descriptor of a loaded program.
    #[must_use]
    pub fn program_fd(&self, index: usize) -> Option<BorrowedFd<'_>> {
        let program = self.program(index);
        if program.is_null() {
            return None;
        }
        // SAFETY: a program of the open object.
        self.borrowed(unsafe { ffi::bpf_program__fd(program) })
    }

    /// The descriptor of an existing map.
    #[must_use]
    pub fn map_fd(&self, index: usize) -> Option<BorrowedFd<'_>> {
        let map = self.map(index);
        if map.is_null() {
            return None;
        }
        // SAFETY: a map of the open object.
        self.borrowed(unsafe { ffi::bpf_map__fd(map) })
    }

    fn borrowed(&self, fd: i32) -> Option<BorrowedFd<'_>> {
        // 0 to 2 are never libbpf's: it moves its descriptors out of the way.
        if fd <= 2 {
            return None;
        }
        // SAFETY: libbpf keeps the descriptor open as long as the object, which is borrowed.
        Some(unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// The descriptor of a loaded program, which keeps the object open.
    #[must_use]
    pub fn keep_program(self: &Arc<Self>, index: usize) -> Option<Fd> {
        let fd = self.program_fd(index)?.as_raw_fd();
        Some(Fd::Kept(KeptFd { fd, _object: Arc::clone(self) }))
    }

    /// The descriptor of an existing map, which keeps the object open.
    #[must_use]
    pub fn keep_map(self: &Arc<Self>, index: usize) -> Option<Fd> {
        let fd = self.map_fd(index)?.as_raw_fd();
        Some(Fd::Kept(KeptFd { fd, _object: Arc::clone(self) }))
    }

    /// Changes a program before the load.
    ///
    /// # Errors
    /// libbpf's number; `EINVAL` for an index out of range.
    pub fn set_program(&mut self, index: usize, to: ProgramSetting<'_>) -> Result<(), Errno> {
        let program = self.program(index);
        if program.is_null() {
            return Err(Errno::INVAL);
        }
        check(match to {
            // SAFETY: a program of the open object, which is borrowed exclusively; so below.
            ProgramSetting::Autoload(on) => unsafe { ffi::bpf_program__set_autoload(program, on) },
            ProgramSetting::Autoattach(on) => {
                // SAFETY: as above.
                unsafe { ffi::bpf_program__set_autoattach(program, on) };
                0
            }
            // SAFETY: as above.
            ProgramSetting::Type(kind) => unsafe { ffi::bpf_program__set_type(program, kind) },
            // SAFETY: as above.
            ProgramSetting::ExpectedAttachType(kind) => unsafe {
                ffi::bpf_program__set_expected_attach_type(program, kind)
            },
            // SAFETY: as above.
            ProgramSetting::Flags(flags) => unsafe { ffi::bpf_program__set_flags(program, flags) },
            // SAFETY: as above.
            ProgramSetting::LogLevel(level) => unsafe {
                ffi::bpf_program__set_log_level(program, level)
            },
            ProgramSetting::Ifindex(ifindex) => {
                // SAFETY: as above.
                unsafe { ffi::bpf_program__set_ifindex(program, ifindex) };
                0
            }
            ProgramSetting::Target(of, function) => {
                let of = of.map_or(0, |fd| fd.as_raw_fd());
                // SAFETY: as above; libbpf copies the name.
                unsafe { ffi::bpf_program__set_attach_target(program, of, function.as_ptr()) }
            }
        })
    }

    /// The name of a map: that of its variable, or of its section with the object's before it.
    #[must_use]
    pub fn map_name(&self, index: usize) -> String {
        let map = self.map(index);
        if map.is_null() {
            return String::new();
        }
        // SAFETY: a map of the open object.
        let name = unsafe { ffi::bpf_map__name(map) };
        // SAFETY: a string of that map.
        unsafe { text_of(name) }
    }

    /// Whether a map holds the object's variables.
    #[must_use]
    pub fn map_is_internal(&self, index: usize) -> bool {
        let map = self.map(index);
        // SAFETY: a map of the open object.
        !map.is_null() && unsafe { ffi::bpf_map__is_internal(map) }
    }

    /// Whether a map is to be created.
    #[must_use]
    pub fn map_autocreate(&self, index: usize) -> bool {
        let map = self.map(index);
        // SAFETY: a map of the open object.
        !map.is_null() && unsafe { ffi::bpf_map__autocreate(map) }
    }

    /// Where a map is, or will be, pinned.
    #[must_use]
    pub fn map_pin_path(&self, index: usize) -> Option<String> {
        let map = self.map(index);
        if map.is_null() {
            return None;
        }
        // SAFETY: a map of the open object.
        let path = unsafe { ffi::bpf_map__pin_path(map) };
        // SAFETY: NULL, or a string of that map.
        Some(unsafe { text_of(path) }).filter(|path| !path.is_empty())
    }

    /// The shape of a map.
    #[must_use]
    pub fn map_shape(&self, index: usize) -> Shape {
        let map = self.map(index);
        if map.is_null() {
            return Shape::default();
        }
        // SAFETY: a map of the open object; so for each getter below.
        let map_type = unsafe { ffi::bpf_map__type(map) };
        // SAFETY: as above.
        let key_size = unsafe { ffi::bpf_map__key_size(map) };
        // SAFETY: as above.
        let value_size = unsafe { ffi::bpf_map__value_size(map) };
        // SAFETY: as above.
        let max_entries = unsafe { ffi::bpf_map__max_entries(map) };
        // SAFETY: as above.
        let flags = unsafe { ffi::bpf_map__map_flags(map) };
        // SAFETY: as above.
        let extra = unsafe { ffi::bpf_map__map_extra(map) };
        // SAFETY: as above.
        let key_type = unsafe { ffi::bpf_map__btf_key_type_id(map) };
        // SAFETY: as above.
        let value_type = unsafe { ffi::bpf_map__btf_value_type_id(map) };
        Shape { map_type, key_size, value_size, max_entries, flags, extra, key_type, value_type }
    }

    /// Changes a map before the load.
    ///
    /// # Errors
    /// libbpf's number; `EINVAL` for an index out of range.
    pub fn set_map(&mut self, index: usize, to: MapSetting<'_>) -> Result<(), Errno> {
        let map = self.map(index);
        if map.is_null() {
            return Err(Errno::INVAL);
        }
        check(match to {
            // SAFETY: a map of the open object, which is borrowed exclusively, and so for each
            // below. Strings and descriptors are copied.
            MapSetting::Type(kind) => unsafe { ffi::bpf_map__set_type(map, kind) },
            // SAFETY: as above.
            MapSetting::KeySize(size) => unsafe { ffi::bpf_map__set_key_size(map, size) },
            // SAFETY: as above.
            MapSetting::ValueSize(size) => unsafe { ffi::bpf_map__set_value_size(map, size) },
            // SAFETY: as above.
            MapSetting::MaxEntries(most) => unsafe { ffi::bpf_map__set_max_entries(map, most) },
            // SAFETY: as above.
            MapSetting::Flags(flags) => unsafe { ffi::bpf_map__set_map_flags(map, flags) },
            // SAFETY: as above.
            MapSetting::Extra(extra) => unsafe { ffi::bpf_map__set_map_extra(map, extra) },
            // SAFETY: as above.
            MapSetting::NumaNode(node) => unsafe { ffi::bpf_map__set_numa_node(map, node) },
            // SAFETY: as above.
            MapSetting::Ifindex(index) => unsafe { ffi::bpf_map__set_ifindex(map, index) },
            // SAFETY: as above.
            MapSetting::Autocreate(on) => unsafe { ffi::bpf_map__set_autocreate(map, on) },
            // SAFETY: as above.
            MapSetting::PinPath(path) => unsafe { ffi::bpf_map__set_pin_path(map, pointer(path)) },
            // SAFETY: as above.
            MapSetting::Reuse(fd) => unsafe { ffi::bpf_map__reuse_fd(map, fd.as_raw_fd()) },
            // SAFETY: as above.
            MapSetting::Inner(fd) => unsafe { ffi::bpf_map__set_inner_map_fd(map, fd.as_raw_fd()) },
        })
    }

    /// The variables' first values, to be changed before the load; `None` for a map without.
    pub fn initial_value(&mut self, index: usize) -> Option<&mut [u8]> {
        let (start, size) = self.variables(index)?;
        // SAFETY: libbpf's buffer for the map, which lives until the load; the object is borrowed
        // exclusively.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), size) })
    }

    /// The memory of an internal map: libbpf's buffer before the load, the map itself after it.
    fn variables(&self, index: usize) -> Option<(NonNull<u8>, usize)> {
        if !self.map_is_internal(index) {
            return None;
        }
        let mut size = 0;
        // SAFETY: a map of the open object.
        let start = unsafe { ffi::bpf_map__initial_value(self.map(index), &raw mut size) };
        Some((NonNull::new(start.cast::<u8>())?, usize::try_from(size).ok()?))
    }

    /// Copies variables out of a loaded object; `false` when the range is not all inside.
    ///
    /// 1, 2, 4 and 8 bytes at a multiple of their size are read at once, others byte by byte.
    #[must_use]
    pub fn read_variables(&self, index: usize, offset: usize, into: &mut [u8]) -> bool {
        let Some(start) = self.variable(index, offset, into.len()) else { return false };
        super::memory::copy_out(start, into);
        true
    }

    /// Copies into variables of a loaded object; `false` when the range is not all inside, or the
    /// map is one that programs may only read.
    #[must_use]
    pub fn write_variables(&self, index: usize, offset: usize, from: &[u8]) -> bool {
        if self.map_shape(index).flags & ffi::BPF_F_RDONLY_PROG != 0 {
            return false;
        }
        let Some(start) = self.variable(index, offset, from.len()) else { return false };
        super::memory::copy_in(start, from);
        true
    }

    fn variable(&self, index: usize, offset: usize, size: usize) -> Option<super::memory::Place> {
        let (start, all) = self.variables(index)?;
        if offset.checked_add(size)? > all {
            return None;
        }
        // SAFETY: the range was just checked to lie in the memory.
        let start = unsafe { start.add(offset) };
        // SAFETY: the memory is the object's, at least until it is closed.
        Some(unsafe { super::memory::Place::new(start, size) })
    }

    /// The program of this index for functions of libbpf that attach, one at a time.
    pub(super) fn with_program<R>(
        &self,
        index: usize,
        attach: impl FnOnce(NonNull<ffi::bpf_program>) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        let program = *self.programs.get(index).ok_or(Errno::INVAL)?;
        let _one = self.attaching.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        attach(program)
    }

    /// The map of this index for functions of libbpf that attach, one at a time.
    pub(super) fn with_map<R>(
        &self,
        index: usize,
        attach: impl FnOnce(NonNull<ffi::bpf_map>) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        let map = *self.maps.get(index).ok_or(Errno::INVAL)?;
        let _one = self.attaching.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        attach(map)
    }
}
