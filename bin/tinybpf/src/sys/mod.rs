// SPDX-License-Identifier: Apache-2.0 OR MIT
//! libbpf, bpf(2) and shared memory behind safe functions: the only unsafe code of the crate.
//!
//! Descriptors are borrowed in and owned out. Every function is safe to call with any argument:
//! sizes are checked here, against what the kernel said of the descriptor. Failures are bare
//! [`Errno`]s; what they mean is found out above.
//!
//! libbpf answers with `-errno` or with NULL and `errno`; the latter is read directly after the
//! call. After a success `errno` means nothing.
#![allow(unsafe_code, reason = "one file per interface of libbpf and the kernel")]

#[cfg(small)]
mod absent;
pub mod dump;
pub mod filter;
pub mod link;
pub mod managed;
pub mod map;
pub mod memory;
pub mod object;
pub mod perf;
pub mod print;
pub mod program;
pub mod sockets;
pub mod system;
pub mod unpack;

use std::ffi::{CStr, c_char, c_int};
use std::os::fd::{FromRawFd, OwnedFd};

use crate::errno::Errno;

/// The answer of a function that returns `-errno`.
fn check(code: c_int) -> Result<(), Errno> {
    if code < 0 { Err(Errno(-code)) } else { Ok(()) }
}

/// The descriptor that a function returned, or its error.
fn owned(code: c_int) -> Result<OwnedFd, Errno> {
    if code < 0 {
        return Err(Errno(-code));
    }
    // SAFETY: the kernel just made this descriptor for the caller, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(code) })
}

/// `errno`, to be read directly after the call that failed.
fn last() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// Text that belongs to libbpf, copied. NULL is the empty text.
///
/// # Safety
/// `text` is NULL or a C string that lives throughout the call.
unsafe fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// The size of an option structure, as libbpf wants it in the first field.
const fn size_field<T>() -> libbpf_sys::size_t {
    size_of::<T>() as libbpf_sys::size_t
}

/// The size of a structure, as the kernel wants it beside its address.
const fn size_word<T>() -> u32 {
    const { assert!(size_of::<T>() < 4096, "the kernel's structures are small") };
    #[expect(clippy::cast_possible_truncation, reason = "just checked")]
    let size = size_of::<T>() as u32;
    size
}

/// The length of a buffer as the kernel counts it.
fn length(bytes: &[u8]) -> Result<u32, Errno> {
    u32::try_from(bytes.len()).map_err(|_| Errno::TOO_BIG)
}
