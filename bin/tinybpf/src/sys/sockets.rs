// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs that a socket asks, which are set as options of the socket (socket(7)).
#![allow(unsafe_code, reason = "rustix has no such options")]

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::errno::Errno;

/// Sets `program` as an option of a socket: `SO_ATTACH_BPF` or `SO_ATTACH_REUSEPORT_EBPF`.
///
/// # Errors
/// The kernel's number; `EINVAL` for a program of another type.
pub fn attach(
    socket: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    option: libc::c_int,
) -> Result<(), Errno> {
    let value: libc::c_int = program.as_raw_fd();
    let size = libc::socklen_t::try_from(size_of_val(&value)).map_err(|_| Errno::INVAL)?;
    // SAFETY: the kernel reads `size` bytes at `value`, which lives until the call is over.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size,
        )
    };
    if code == 0 {
        Ok(())
    } else {
        Err(Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)))
    }
}
