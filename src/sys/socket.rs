// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Socket options that rustix does not offer.
#![allow(unsafe_code, reason = "rustix has no SO_BINDTODEVICE, and no peer without process number")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Binds a socket to the network interface `name` (`SO_BINDTODEVICE`, socket(7)).
///
/// # Errors
/// `ENODEV` when there is no such interface, also when `name` could be none; `EPERM` without the
/// right to.
pub fn bind_to_device(socket: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    // An empty name would undo a binding, and a longer one would be cut.
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Err(Errno::NODEV.into());
    }
    let len = libc::socklen_t::try_from(name.len()).map_err(|_| Errno::NODEV)?;
    // SAFETY: the pointer and the length describe `name`, which the call only reads.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            len,
        )
    };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The user id of the process at the other end of a connected `AF_UNIX` socket (`SO_PEERCRED`,
/// unix(7)), as it was when the connection was made.
///
/// # Errors
/// What getsockopt(2) says, such as `ENOTSOCK`.
pub fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    peer(socket).map(|peer| peer.uid)
}

/// The number of that process; zero when this process has no name for it. For a socket that was
/// connected to, it is the process that listened.
///
/// # Errors
/// As for [`peer_uid`].
pub fn peer_pid(socket: BorrowedFd<'_>) -> io::Result<i32> {
    peer(socket).map(|peer| peer.pid)
}

fn peer(socket: BorrowedFd<'_>) -> io::Result<libc::ucred> {
    // The process number of a peer in another namespace is zero, which rustix' type cannot hold.
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or(0);
    // SAFETY: the pointers are those of `peer` and of `len`, which is the size of `peer`.
    let code = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut len,
        )
    };
    if code == 0 { Ok(peer) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_no_interface_is_refused() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for name in ["", "no-such-iface", "an-interface-name-that-is-too-long", "l\0"] {
            let error = bind_to_device(socket.as_fd(), name).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::NODEV.raw_os_error()), "{name:?}");
        }
        bind_to_device(socket.as_fd(), "lo").unwrap();
    }

    #[test]
    fn the_peer_of_a_socket_is_known_by_its_user() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(peer_uid(ours.as_fd()).unwrap(), rustix::process::getuid().as_raw());
        let number = u32::try_from(peer_pid(ours.as_fd()).unwrap()).unwrap();
        assert_eq!(number, std::process::id());
        let file = std::fs::File::open("/dev/null").unwrap();
        let error = peer_uid(file.as_fd()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::NOTSOCK.raw_os_error()));
    }
}
