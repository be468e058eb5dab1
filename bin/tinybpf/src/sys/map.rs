// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Maps by descriptor: creation, elements, batches.
//!
//! Owns the check that buffers are as long as the kernel will read or write: [`Elements`] asks the
//! kernel for the sizes once and compares every key and value with them. A descriptor of something
//! else than a map cannot become an [`Elements`] unless the caller lies about it, and then the
//! sizes are those the kernel told for it.
#![allow(unsafe_code, reason = "element operations take raw buffers")]

use std::ffi::{CStr, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use libbpf_sys as ffi;

use super::object::{Fd, Shape};
use super::{check, owned, size_field, size_word};
use crate::errno::Errno;

/// What the kernel says of a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Its identifier, unique while it lives.
    pub id: u32,
    /// Its name, cut to 15 bytes.
    pub name: String,
    /// Its shape; the types are ids in the BTF object `btf`.
    pub shape: Shape,
    /// The interface it is offloaded to; 0 for none.
    pub ifindex: u32,
    /// The id of the BTF object with the types of key and value; 0 for none.
    pub btf: u32,
    /// The id of the kernel's type of the value, for struct operations; 0 for others.
    pub kernel_value_type: u32,
}

/// What a new map is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Creation<'a> {
    /// Its name; at most 15 bytes.
    pub name: Option<&'a CStr>,
    /// Its shape; the ids of types are ignored.
    pub shape: Shape,
    /// The template of the maps in it.
    pub inner: Option<BorrowedFd<'a>>,
    /// The token that allows it.
    pub token: Option<BorrowedFd<'a>>,
    /// The memory node, with the flag that says so.
    pub numa_node: u32,
}

/// Makes a map.
///
/// # Errors
/// The kernel's number.
pub fn create(what: &Creation<'_>) -> Result<OwnedFd, Errno> {
    let shape = what.shape;
    let raw = |fd: Option<BorrowedFd<'_>>| fd.map_or(0, |fd| fd.as_raw_fd().unsigned_abs());
    let mut flags = shape.flags;
    if what.token.is_some() {
        flags |= ffi::BPF_F_TOKEN_FD;
    }
    let options = ffi::bpf_map_create_opts {
        sz: size_field::<ffi::bpf_map_create_opts>(),
        inner_map_fd: raw(what.inner),
        map_flags: flags,
        map_extra: shape.extra,
        numa_node: what.numa_node,
        token_fd: raw(what.token),
        ..Default::default()
    };
    let name = what.name.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: name and options live throughout the call.
    owned(unsafe {
        ffi::bpf_map_create(
            shape.map_type,
            name,
            shape.key_size,
            shape.value_size,
            shape.max_entries,
            &raw const options,
        )
    })
}

/// What the kernel says of the map behind `fd`.
///
/// # Errors
/// The kernel's number. The descriptor of a program or link is not noticed here.
pub fn info(fd: BorrowedFd<'_>) -> Result<Info, Errno> {
    let mut raw = ffi::bpf_map_info::default();
    let mut size = size_word::<ffi::bpf_map_info>();
    // SAFETY: the kernel writes at most `size` bytes, of plain numbers.
    check(unsafe {
        ffi::bpf_obj_get_info_by_fd(fd.as_raw_fd(), (&raw mut raw).cast(), &raw mut size)
    })?;
    Ok(Info {
        id: raw.id,
        name: super::program::name_of(&raw.name),
        shape: Shape {
            map_type: raw.type_,
            key_size: raw.key_size,
            value_size: raw.value_size,
            max_entries: raw.max_entries,
            flags: raw.map_flags,
            extra: raw.map_extra,
            key_type: raw.btf_key_type_id,
            value_type: raw.btf_value_type_id,
        },
        ifindex: raw.ifindex,
        btf: raw.btf_id,
        kernel_value_type: raw.btf_vmlinux_value_type_id,
    })
}

/// Whether values of this type have one slot per possible CPU.
#[must_use]
pub const fn is_percpu(map_type: u32) -> bool {
    matches!(
        map_type,
        ffi::BPF_MAP_TYPE_PERCPU_HASH
            | ffi::BPF_MAP_TYPE_PERCPU_ARRAY
            | ffi::BPF_MAP_TYPE_LRU_PERCPU_HASH
            | ffi::BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE
    )
}

/// Whether values of this type are descriptors when written and identifiers when read.
#[must_use]
pub const fn holds_descriptors(map_type: u32) -> bool {
    matches!(
        map_type,
        ffi::BPF_MAP_TYPE_PROG_ARRAY
            | ffi::BPF_MAP_TYPE_PERF_EVENT_ARRAY
            | ffi::BPF_MAP_TYPE_CGROUP_ARRAY
            | ffi::BPF_MAP_TYPE_ARRAY_OF_MAPS
            | ffi::BPF_MAP_TYPE_HASH_OF_MAPS
    )
}

/// Element operations on one map, with the sizes that they must have.
#[derive(Debug)]
pub struct Elements {
    fd: Fd,
    key: usize,
    value: usize,
}

/// Which batch operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Read elements.
    Lookup,
    /// Read elements and remove them.
    LookupAndDelete,
}

impl Elements {
    /// The elements of the map behind `fd`, whose sizes the kernel is asked for.
    ///
    /// # Errors
    /// The kernel's number; `EINVAL` when the sizes do not fit into memory.
    pub fn new(fd: Fd) -> Result<(Self, Info), Errno> {
        let info = info(fd.as_fd())?;
        let shape = &info.shape;
        let size = |bytes: u32| usize::try_from(bytes).map_err(|_| Errno::INVAL);
        let mut value = size(shape.value_size)?;
        if is_percpu(shape.map_type) {
            let slot = value.checked_next_multiple_of(8).ok_or(Errno::INVAL)?;
            let slots = super::system::possible_cpus();
            value = slot.checked_mul(slots).ok_or(Errno::INVAL)?;
        } else if holds_descriptors(shape.map_type) {
            value = size_of::<u32>();
        }
        Ok((Self { fd, key: size(shape.key_size)?, value }, info))
    }

    fn raw(&self) -> i32 {
        self.fd.as_fd().as_raw_fd()
    }

    /// Bytes of a key.
    #[must_use]
    pub const fn key_size(&self) -> usize {
        self.key
    }

    /// Bytes of a value, all slots of a per-CPU value included.
    #[must_use]
    pub const fn value_size(&self) -> usize {
        self.value
    }

    fn key(&self, key: &[u8]) -> Result<*const c_void, Errno> {
        if key.len() != self.key {
            return Err(Errno::INVAL);
        }
        // Queues, stacks and bloom filters have no keys and want NULL.
        Ok(if key.is_empty() { ptr::null() } else { key.as_ptr().cast() })
    }

    fn value(&self, value: &mut [u8]) -> Result<*mut c_void, Errno> {
        if value.len() == self.value { Ok(value.as_mut_ptr().cast()) } else { Err(Errno::INVAL) }
    }

    /// Reads the value of `key`.
    ///
    /// # Errors
    /// `ENOENT` where there is none; `EINVAL` for wrong lengths.
    pub fn lookup(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<(), Errno> {
        let (key, value) = (self.key(key)?, self.value(value)?);
        // SAFETY: both buffers are as long as the kernel reads and writes.
        check(unsafe { ffi::bpf_map_lookup_elem_flags(self.raw(), key, value, flags) })
    }

    /// Reads the value of `key` and removes it; without a key, takes the next element.
    ///
    /// # Errors
    /// As for [`Elements::lookup`].
    pub fn take(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let (key, value) = (self.key(key)?, self.value(value)?);
        // SAFETY: both buffers are as long as the kernel reads and writes.
        check(unsafe { ffi::bpf_map_lookup_and_delete_elem(self.raw(), key, value) })
    }

    /// Writes the value of `key`.
    ///
    /// # Errors
    /// The kernel's number; `EINVAL` also for wrong lengths.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        if value.len() != self.value {
            return Err(Errno::INVAL);
        }
        let (key, value) = (self.key(key)?, value.as_ptr().cast());
        // SAFETY: both buffers are as long as the kernel reads.
        check(unsafe { ffi::bpf_map_update_elem(self.raw(), key, value, flags) })
    }

    /// Removes `key`.
    ///
    /// # Errors
    /// `ENOENT` where it is not there.
    pub fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        let key = self.key(key)?;
        // SAFETY: the key is as long as the kernel reads.
        check(unsafe { ffi::bpf_map_delete_elem(self.raw(), key) })
    }

    /// The key after `key`, or the first one. When `key` was deleted, the first one again.
    ///
    /// # Errors
    /// `ENOENT` after the last.
    pub fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        if next.len() != self.key || self.key == 0 {
            return Err(Errno::INVAL);
        }
        let key = key.map_or(Ok(ptr::null()), |key| self.key(key))?;
        // SAFETY: both buffers are as long as the kernel reads and writes.
        check(unsafe { ffi::bpf_map_get_next_key(self.raw(), key, next.as_mut_ptr().cast()) })
    }

    /// How many elements fit into both buffers.
    fn batch_count(&self, keys: usize, values: usize) -> Result<u32, Errno> {
        let count = keys.checked_div(self.key).ok_or(Errno::INVAL)?;
        let all = values.checked_div(self.value).unwrap_or(count);
        u32::try_from(count.min(all)).map_err(|_| Errno::TOO_BIG)
    }

    /// Reads as many elements as fit into `keys` and `values`, going on at `token`.
    ///
    /// The token is opaque and at least [`Elements::token_size`] bytes; `start` says that it holds
    /// nothing yet. Returns how many were read, and the kernel's number: `ENOENT` is the end and
    /// comes with elements; `ENOSPC` asks for larger buffers.
    ///
    /// # Errors
    /// `EINVAL` for a token that is too short or a map without keys.
    pub fn read_batch(
        &self,
        how: Batch,
        start: bool,
        token: &mut [u8],
        keys: &mut [u8],
        values: &mut [u8],
    ) -> Result<(usize, Option<Errno>), Errno> {
        if token.len() < self.token_size() {
            return Err(Errno::INVAL);
        }
        let mut count = self.batch_count(keys.len(), values.len())?;
        let options = ffi::bpf_map_batch_opts {
            sz: size_field::<ffi::bpf_map_batch_opts>(),
            ..Default::default()
        };
        let function = match how {
            Batch::Lookup => ffi::bpf_map_lookup_batch,
            Batch::LookupAndDelete => ffi::bpf_map_lookup_and_delete_batch,
        };
        let out: *mut c_void = token.as_mut_ptr().cast();
        let into = if start { ptr::null_mut() } else { out };
        // SAFETY: the token holds what the kernel writes there, and the buffers `count` elements.
        let code = unsafe {
            function(
                self.raw(),
                into,
                out,
                keys.as_mut_ptr().cast(),
                values.as_mut_ptr().cast(),
                &raw mut count,
                &raw const options,
            )
        };
        let errno = check(code).err();
        // After EFAULT and for types without batches the count means nothing.
        let valid = matches!(errno, None | Some(Errno::NOENT));
        Ok((if valid { count as usize } else { 0 }, errno))
    }

    /// Bytes that a batch's token needs.
    #[must_use]
    pub fn token_size(&self) -> usize {
        self.key.max(8)
    }

    /// Writes the elements in `keys` and `values`, as many as both hold; returns how many were.
    ///
    /// # Errors
    /// The kernel's number, after the elements it counted.
    pub fn write_batch(
        &self,
        keys: &[u8],
        values: &[u8],
        flags: u64,
    ) -> Result<usize, (usize, Errno)> {
        let mut count = self.batch_count(keys.len(), values.len()).map_err(|errno| (0, errno))?;
        let options = ffi::bpf_map_batch_opts {
            sz: size_field::<ffi::bpf_map_batch_opts>(),
            elem_flags: flags,
            flags: 0,
        };
        // SAFETY: the buffers hold `count` elements.
        let code = unsafe {
            ffi::bpf_map_update_batch(
                self.raw(),
                keys.as_ptr().cast(),
                values.as_ptr().cast(),
                &raw mut count,
                &raw const options,
            )
        };
        batch_result(code, count)
    }

    /// Removes the elements in `keys`; returns how many were.
    ///
    /// # Errors
    /// The kernel's number, after the elements it counted.
    pub fn delete_batch(&self, keys: &[u8]) -> Result<usize, (usize, Errno)> {
        let mut count = self.batch_count(keys.len(), usize::MAX).map_err(|errno| (0, errno))?;
        let options = ffi::bpf_map_batch_opts {
            sz: size_field::<ffi::bpf_map_batch_opts>(),
            ..Default::default()
        };
        // SAFETY: the buffer holds `count` keys.
        let code = unsafe {
            ffi::bpf_map_delete_batch(
                self.raw(),
                keys.as_ptr().cast(),
                &raw mut count,
                &raw const options,
            )
        };
        batch_result(code, count)
    }

    /// Makes the map read-only for user space.
    ///
    /// # Errors
    /// The kernel's number.
    pub fn freeze(&self) -> Result<(), Errno> {
        // SAFETY: takes a number.
        check(unsafe { ffi::bpf_map_freeze(self.raw()) })
    }
}

fn batch_result(code: i32, count: u32) -> Result<usize, (usize, Errno)> {
    match check(code) {
        Ok(()) => Ok(count as usize),
        Err(Errno(errno)) if errno == libc::EFAULT => Err((0, Errno(errno))),
        Err(errno) => Err((count as usize, errno)),
    }
}

impl AsFd for Elements {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
