// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Stream sockets between a virtual machine and its host (vsock(7)).
//!
//! Owns `struct sockaddr_vm`. Descriptors come out connected or listening; what is said over them
//! is the caller's.
#![allow(unsafe_code, reason = "rustix has no address of this family")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Any context, for listening.
pub const ANY: u32 = libc::VMADDR_CID_ANY;
/// The host.
pub const HOST: u32 = libc::VMADDR_CID_HOST;

fn address(cid: u32, port: u32) -> libc::sockaddr_vm {
    libc::sockaddr_vm {
        svm_family: AddressFamily::VSOCK.as_raw(),
        svm_reserved1: 0,
        svm_port: port,
        svm_cid: cid,
        svm_zero: [0; 4],
    }
}

type Call =
    unsafe extern "C" fn(libc::c_int, *const libc::sockaddr, libc::socklen_t) -> libc::c_int;

fn with_address(call: Call, fd: BorrowedFd<'_>, to: libc::sockaddr_vm) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_vm>())
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `call` is bind or connect, which read `len` bytes of the address.
    let code = unsafe { call(fd.as_raw_fd(), (&raw const to).cast(), len) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    let flags = flags | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(AddressFamily::VSOCK, SocketType::STREAM, flags, None)?)
}

/// Connects to `port` of the context `cid`. Blocks for as long as the kernel waits, 2 s by default.
///
/// # Errors
/// What socket(2) and connect(2) say: `ENODEV` for a context that does not exist, `ECONNRESET` for
/// a port that nobody listens on, `EAFNOSUPPORT`.
pub fn connect(cid: u32, port: u32) -> io::Result<OwnedFd> {
    let fd = socket(SocketFlags::empty())?;
    with_address(libc::connect, std::os::fd::AsFd::as_fd(&fd), address(cid, port))?;
    Ok(fd)
}

/// Listens on `port` for every context; the descriptor does not block.
///
/// # Errors
/// What socket(2), bind(2) and listen(2) say: `EADDRINUSE`, `EAFNOSUPPORT`.
pub fn listen(port: u32, backlog: i32) -> io::Result<OwnedFd> {
    let fd = socket(SocketFlags::NONBLOCK)?;
    with_address(libc::bind, std::os::fd::AsFd::as_fd(&fd), address(ANY, port))?;
    rustix::net::listen(&fd, backlog)?;
    Ok(fd)
}

/// The context at the other end of a connection.
///
/// # Errors
/// What getpeername(2) says; `InvalidData` for a socket of another family.
pub fn peer(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut from = address(ANY, 0);
    let size = size_of::<libc::sockaddr_vm>();
    let mut len = libc::socklen_t::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel writes at most `len` bytes of the address, and its length.
    let code = unsafe { libc::getpeername(fd.as_raw_fd(), (&raw mut from).cast(), &raw mut len) };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    let known = from.svm_family == AddressFamily::VSOCK.as_raw();
    if known { Ok(from.svm_cid) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_that_does_not_exist_is_an_error() {
        // Without the module even the family is unknown.
        let error = connect(3, 1).expect_err("there is no such machine");
        let code = error.raw_os_error();
        let possible = [libc::ENODEV, libc::EAFNOSUPPORT, libc::ECONNRESET, libc::ETIMEDOUT];
        assert!(possible.into_iter().any(|it| code == Some(it)), "{error}");
    }

    #[test]
    fn a_socket_of_another_family_has_no_context() {
        let (near, _far) = std::os::unix::net::UnixStream::pair().expect("sockets");
        let error = peer(std::os::fd::AsFd::as_fd(&near)).expect_err("no context");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_address_is_the_kernels() {
        assert_eq!(size_of::<libc::sockaddr_vm>(), 16);
        let address = address(HOST, 8888);
        assert_eq!((address.svm_cid, address.svm_port, address.svm_family), (2, 8888, 40));
    }
}
