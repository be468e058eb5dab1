// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Socket filters: programs of the classic BPF machine that the kernel runs on each message before
//! a socket gets it (`SO_ATTACH_FILTER`, socket(7)).
//!
//! Owns the call. What a program decides is the business of whoever writes it; the kernel refuses
//! one that could run for ever or read outside the message.
#![allow(unsafe_code, reason = "rustix has no SO_ATTACH_FILTER")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// One instruction: code, jumps when true and when false, operand (linux/filter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What is done.
    pub code: u16,
    /// Instructions passed over when a comparison holds.
    pub yes: u8,
    /// Instructions passed over when it does not.
    pub no: u8,
    /// The number that it is done with.
    pub operand: u32,
}

/// Has the kernel run `program` on each message for the socket; what it returns zero for is
/// dropped unseen, and counted as no loss.
///
/// # Errors
/// What setsockopt(2) says: `EINVAL` for a program that is empty, too long or not safe.
pub fn attach(socket: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let mut raw: Vec<libc::sock_filter> = program
        .iter()
        .map(|it| libc::sock_filter { code: it.code, jt: it.yes, jf: it.no, k: it.operand })
        .collect();
    let len = u16::try_from(raw.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let whole = libc::sock_fprog { len, filter: raw.as_mut_ptr() };
    let size = libc::socklen_t::try_from(size_of::<libc::sock_fprog>())
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel reads `size` bytes at `whole`, and from there `len` instructions of `raw`;
    // both live until the call is over.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const whole).cast(),
            size,
        )
    };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
