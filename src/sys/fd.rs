// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptors that a foreign library owns and only tells the number of.
#![allow(unsafe_code, reason = "a number must be borrowed as a descriptor for one call")]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// A duplicate of the descriptor with this number, ours to close, closed on exec.
///
/// # Errors
/// The number is not an open descriptor, or the process has too many.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: the number is not -1, and is borrowed for one fcntl, which fails with EBADF when it
    // is not open.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_duplicate_outlives_the_original_and_a_bad_number_is_an_error() {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let copy = duplicate(writer.as_raw_fd()).expect("a duplicate");
        drop(writer);
        assert_eq!(rustix::io::write(&copy, b"x"), Ok(1));
        drop(copy);
        let mut buffer = [0; 2];
        assert_eq!(rustix::io::read(&reader, &mut buffer), Ok(1));
        assert_eq!(rustix::io::read(&reader, &mut buffer), Ok(0), "both ends are closed");
        for number in [-1, i32::MIN, i32::MAX] {
            assert!(duplicate(number).is_err(), "{number}");
        }
    }
}
