// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Requests to devices and file systems (ioctl(2)), each with the kind of argument that it takes.
//!
//! Owns the call and its answer. The numbers, and the layouts that go with them, stay where they
//! are used: a constant there pairs a number with its argument once, and every call is checked
//! against it. The request of NVMe is not here, since its structure points to more memory.
#![allow(unsafe_code, reason = "rustix has no ioctls whose numbers others know")]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// A request whose argument is a number, or that has none.
#[derive(Clone, Copy)]
pub(super) struct Number(libc::Ioctl);

impl Number {
    /// The request with this number. Of a request that takes a pointer this must not be made.
    pub(super) const fn new(number: u32) -> Self {
        Self(number as libc::Ioctl)
    }

    /// Makes the request; what the kernel answers.
    pub(super) fn make(self, fd: BorrowedFd<'_>, argument: libc::c_ulong) -> io::Result<i32> {
        // SAFETY: the argument is a number to the kernel, as whoever made the constant says.
        answer(unsafe { libc::ioctl(fd.as_raw_fd(), self.0, argument) })
    }
}

/// A request whose argument is a structure, which the kernel reads or fills.
pub(super) struct Structure<T>(libc::Ioctl, PhantomData<T>);

impl<T> Structure<T> {
    /// The request with this number, which has the size of its structure in it: another size does
    /// not compile. The structure is plain numbers, in which nothing that is written is invalid.
    pub(super) const fn new(number: u32) -> Self {
        assert!((number >> 16 & 0x3FFF) as usize == size_of::<T>(), "a structure of another size");
        Self::with_unsaid_size(number)
    }

    /// The same for a number that does not tell the size, or not this one.
    pub(super) const fn with_unsaid_size(number: u32) -> Self {
        Self(number as libc::Ioctl, PhantomData)
    }

    /// Makes the request.
    pub(super) fn make(&self, fd: BorrowedFd<'_>, argument: &mut T) -> io::Result<()> {
        // SAFETY: the kernel reads or writes one `T` there, as whoever made the constant says;
        // nothing in it is invalid in Rust, whatever is written.
        answer(unsafe { libc::ioctl(fd.as_raw_fd(), self.0, &raw mut *argument) }).map(drop)
    }
}

/// `errno`, read directly after the call, where that failed.
fn answer(code: libc::c_int) -> io::Result<i32> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    /// `FIONREAD`, which writes an `int`.
    const UNREAD: Structure<libc::c_int> = Structure::with_unsaid_size(0x541B);
    /// A number that no pipe knows.
    const NOTHING: Number = Number::new(0xFF00);

    #[test]
    fn the_kernel_fills_the_structure_or_says_why_not() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        io::Write::write_all(&mut writer, b"seven b").expect("room");
        let mut unread = 0;
        UNREAD.make(reader.as_fd(), &mut unread).expect("a pipe tells");
        assert_eq!(unread, 7);
        let error = NOTHING.make(reader.as_fd(), 0).expect_err("no such request");
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
    }
}
