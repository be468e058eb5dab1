// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptors that the service manager left open for us (sd_listen_fds(3)).
//!
//! Owns the one moment at which a number becomes an owned descriptor. Whether the numbers are meant
//! for this process is decided by [`crate::service`].
#![allow(unsafe_code, reason = "a bare number has no owner until we say so")]

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first inherited descriptor: those before are standard input, output and error.
const FIRST: u32 = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the descriptors 3 to 3 + `count` - 1 and marks them to be closed on exec.
///
/// Works once in the life of the process, and only when all of them are open; else the answer is
/// empty. It is meant for the start of `main`, before anything else opens descriptors.
#[must_use]
pub fn take(count: u32) -> Vec<OwnedFd> {
    let Some(end) = FIRST.checked_add(count) else { return Vec::new() };
    let numbers: Vec<i32> = (FIRST..end).filter_map(|number| i32::try_from(number).ok()).collect();
    let open = numbers.iter().all(|&number| {
        // SAFETY: the number is borrowed for one fcntl, which fails with EBADF when it is not open.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC).is_ok()
    });
    if !open || TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    // SAFETY: each number is open, and is taken once: the manager opened it for us to own.
    numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect()
}
