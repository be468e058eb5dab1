// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Unpacking with zlib, which is linked in for libbpf and libelf.
//!
//! zlib reads the format of gzip from descriptors only, so that a file in memory stands between.
#![allow(unsafe_code, reason = "an interface of zlib")]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::IntoRawFd as _;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::errno::Errno;

unsafe extern "C" {
    fn gzdopen(descriptor: c_int, mode: *const c_char) -> *mut c_void;
    fn gzread(file: *mut c_void, into: *mut c_void, len: c_uint) -> c_int;
    fn gzclose_r(file: *mut c_void) -> c_int;
}

/// The `len` bytes that `packed` makes, a file in the format of gzip.
///
/// # Errors
/// `EBADMSG` when it makes others or fewer, and what creating a file in memory fails with.
pub fn unpack(packed: &[u8], len: usize) -> Result<Vec<u8>, Errno> {
    let of_io = |error: std::io::Error| Errno(error.raw_os_error().unwrap_or(libc::EIO));
    let memory =
        memfd_create(c"packed", MemfdFlags::CLOEXEC).map_err(|it| Errno(it.raw_os_error()))?;
    let mut file = File::from(memory);
    file.write_all(packed).and_then(|()| file.rewind()).map_err(of_io)?;
    // One more: only who reads to the end learns that the check sum is right.
    let mut out = vec![0; len + 1];
    let room = c_uint::try_from(out.len()).map_err(|_| Errno(libc::EOVERFLOW))?;
    let descriptor = file.into_raw_fd();
    // SAFETY: the descriptor is ours, and becomes zlib's.
    let stream = unsafe { gzdopen(descriptor, c"rb".as_ptr()) };
    if stream.is_null() {
        // Leaks the descriptor, in a process that has no memory left.
        return Err(Errno(libc::ENOMEM));
    }
    // SAFETY: the stream is open, and there is room for that many bytes.
    let read = unsafe { gzread(stream, out.as_mut_ptr().cast(), room) };
    // SAFETY: the stream is open and not used after this.
    let closed = unsafe { gzclose_r(stream) };
    let is_whole = usize::try_from(read).is_ok_and(|read| read == len) && closed == 0;
    out.truncate(len);
    if is_whole { Ok(out) } else { Err(Errno(libc::EBADMSG)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `printf 'plinth\n' | gzip -n` makes.
    const PACKED: &[u8] = &[
        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x2b, 0xc8, 0xc9, 0xcc, 0x2b,
        0xc9, 0xe0, 0x02, 0x00, 0x45, 0x9d, 0xe0, 0x5f, 0x07, 0x00, 0x00, 0x00,
    ];

    #[test]
    fn unpacks_what_gzip_packed() {
        assert_eq!(unpack(PACKED, 7), Ok(b"plinth\n".to_vec()));
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(unpack(PACKED, 8), Err(Errno(libc::EBADMSG)));
        assert_eq!(unpack(&PACKED[..12], 7), Err(Errno(libc::EBADMSG)));
        let mut damaged = PACKED.to_vec();
        damaged[12] ^= 0x40;
        assert_eq!(unpack(&damaged, 7), Err(Errno(libc::EBADMSG)));
    }
}
