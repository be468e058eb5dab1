// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory that the kernel or BPF programs change while we look: mappings and variables.
//!
//! Owns the mappings and the rule for touching them: through volatile or atomic accesses of the
//! natural sizes, never through long-lived references. The one exception is `Mapping::bytes`,
//! whose caller knows from a protocol that nobody writes there.
#![allow(unsafe_code, reason = "shared memory")]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::last;
use crate::errno::Errno;

/// A range of memory that others change.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    start: NonNull<u8>,
    size: usize,
}

impl Place {
    /// # Safety
    /// `size` bytes from `start` stay mapped while the place is used; they may be written to unless
    /// the place is only handed to [`copy_out`].
    pub(super) const unsafe fn new(start: NonNull<u8>, size: usize) -> Self {
        Self { start, size }
    }
}

macro_rules! by_natural_size {
    ($place:expr, $bytes:expr, $access:ident) => {{
        let start = $place.start;
        match $bytes.len() {
            2 if start.cast::<u16>().is_aligned() => $access!(u16),
            4 if start.cast::<u32>().is_aligned() => $access!(u32),
            8 if start.cast::<u64>().is_aligned() => $access!(u64),
            _ => {}
        }
    }};
}

/// Fills `into`, of at most the place's size, from `place`.
pub(super) fn copy_out(place: Place, into: &mut [u8]) {
    assert!(into.len() <= place.size, "the caller checked the range");
    macro_rules! read {
        ($kind:ty) => {{
            // SAFETY: inside the place, aligned; volatile, since others write there.
            let value = unsafe { place.start.cast::<$kind>().read_volatile() };
            into.copy_from_slice(&value.to_ne_bytes());
            return;
        }};
    }
    by_natural_size!(place, into, read);
    for (index, byte) in into.iter_mut().enumerate() {
        // SAFETY: `index` is below the place's size.
        let at = unsafe { place.start.add(index) };
        // SAFETY: inside the place; volatile, since others write there.
        *byte = unsafe { at.read_volatile() };
    }
}

/// Writes `from`, of at most the place's size, to `place`.
pub(super) fn copy_in(place: Place, from: &[u8]) {
    assert!(from.len() <= place.size, "the caller checked the range");
    macro_rules! write {
        ($kind:ty) => {{
            let mut bytes = [0; size_of::<$kind>()];
            bytes.copy_from_slice(from);
            let value = <$kind>::from_ne_bytes(bytes);
            // SAFETY: inside the place, aligned, writable; volatile, since others look there.
            unsafe { place.start.cast::<$kind>().write_volatile(value) };
            return;
        }};
    }
    by_natural_size!(place, from, write);
    for (index, byte) in from.iter().enumerate() {
        // SAFETY: `index` is below the place's size.
        let at = unsafe { place.start.add(index) };
        // SAFETY: inside the place, writable; volatile, since others look there.
        unsafe { at.write_volatile(*byte) };
    }
}

/// What a mapping may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// A shared mapping of a descriptor, unmapped by the drop.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    size: usize,
    access: Access,
}

// SAFETY: a mapping belongs to the process, not to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `size` bytes of `fd` from `offset` on.
    ///
    /// # Errors
    /// What `mmap(2)` says.
    pub fn new(
        fd: BorrowedFd<'_>,
        offset: u64,
        size: usize,
        access: Access,
    ) -> Result<Self, Errno> {
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        let offset = libc::off_t::try_from(offset).map_err(|_| Errno::INVAL)?;
        let anywhere = std::ptr::null_mut();
        // SAFETY: a new mapping, at an address of the kernel's choice, touches nothing of ours.
        let start = unsafe {
            libc::mmap(anywhere, size, protection, libc::MAP_SHARED, fd.as_raw_fd(), offset)
        };
        if start == libc::MAP_FAILED {
            return Err(last());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(Errno(libc::ENOMEM))?;
        Ok(Self { start, size, access })
    }

    /// Bytes mapped.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    #[inline]
    fn cell<T>(&self, offset: usize) -> NonNull<T> {
        assert!(offset.checked_add(size_of::<T>()).is_some_and(|end| end <= self.size), "outside");
        assert_eq!(offset % align_of::<T>(), 0, "not aligned");
        // SAFETY: just checked to be inside the mapping.
        unsafe { self.start.add(offset) }.cast()
    }

    /// The number at `offset`, and all that was written before it.
    ///
    /// # Panics
    /// The offset is outside, or not a multiple of 8.
    #[must_use]
    #[inline]
    pub fn load_u64(&self, offset: usize) -> u64 {
        // SAFETY: inside, aligned, and every bit pattern is a number. Others access it atomically.
        unsafe { self.cell::<AtomicU64>(offset).as_ref() }.load(Ordering::Acquire)
    }

    /// As [`Mapping::load_u64`], for 32 bits at a multiple of 4.
    ///
    /// # Panics
    /// The offset is outside, or not a multiple of 4.
    #[must_use]
    #[inline]
    pub fn load_u32(&self, offset: usize) -> u32 {
        // SAFETY: as in `load_u64`.
        unsafe { self.cell::<AtomicU32>(offset).as_ref() }.load(Ordering::Acquire)
    }

    /// Writes the number at `offset`, after all that was read and written before.
    ///
    /// # Panics
    /// The offset is outside or not a multiple of 8, or the mapping is for reading only.
    #[inline]
    pub fn store_u64(&self, offset: usize, value: u64) {
        assert_eq!(self.access, Access::ReadWrite, "mapped for reading");
        // SAFETY: inside, aligned, writable. Others access it atomically.
        unsafe { self.cell::<AtomicU64>(offset).as_ref() }.store(value, Ordering::Release);
    }

    /// As [`Mapping::store_u64`], for 32 bits at a multiple of 4.
    ///
    /// # Panics
    /// The offset is outside or not a multiple of 4, or the mapping is for reading only.
    #[inline]
    pub fn store_u32(&self, offset: usize, value: u32) {
        assert_eq!(self.access, Access::ReadWrite, "mapped for reading");
        // SAFETY: as in `store_u64`.
        unsafe { self.cell::<AtomicU32>(offset).as_ref() }.store(value, Ordering::Release);
    }

    /// The `size` bytes at `offset`, which by the mapping's protocol the kernel leaves alone until
    /// the reader gives them back; only the readers here, which follow it, can call this.
    ///
    /// # Panics
    /// The range is not all inside.
    #[inline]
    pub(crate) fn bytes(&self, offset: usize, size: usize) -> &[u8] {
        assert!(offset.checked_add(size).is_some_and(|end| end <= self.size), "outside");
        // SAFETY: just checked to be inside the mapping.
        let start = unsafe { self.start.add(offset) };
        // SAFETY: inside the mapping, which is borrowed. Records between the consumer's and the
        // producer's position are not written to.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), size) }
    }

    /// The same for writing, where the protocol gives the range to user space.
    ///
    /// # Panics
    /// The range is not all inside, or the mapping is for reading only.
    pub(crate) fn bytes_mut(&mut self, offset: usize, size: usize) -> &mut [u8] {
        assert_eq!(self.access, Access::ReadWrite, "mapped for reading");
        assert!(offset.checked_add(size).is_some_and(|end| end <= self.size), "outside");
        // SAFETY: just checked to be inside the mapping.
        let start = unsafe { self.start.add(offset) };
        // SAFETY: inside the mapping, which is borrowed exclusively; a reserved record is ours.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), size) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size, and no borrow of it is left.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_keep_every_size_and_alignment() {
        let mut memory = [0_u64; 4];
        let start = NonNull::from(&mut memory).cast::<u8>();
        let from: Vec<u8> = (1..=16).collect();
        for offset in 0..9 {
            for size in 0..=9 {
                // SAFETY: 32 bytes are there, at most 18 are used.
                let start = unsafe { start.add(offset) };
                // SAFETY: as above; nobody else looks at the array.
                let place = unsafe { Place::new(start, size) };
                let (expected, mut found) = (&from[..size], vec![0; size]);
                copy_in(place, expected);
                copy_out(place, &mut found);
                assert_eq!(found, expected, "{size} bytes at {offset}");
            }
        }
    }

    #[test]
    fn a_descriptor_that_cannot_be_mapped_is_an_error() {
        use std::os::fd::AsFd as _;
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let error = Mapping::new(reader.as_fd(), 0, 4096, Access::Read).expect_err("a pipe");
        assert_eq!(error, Errno::NODEV);
    }
}
