// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Netlink sockets that know who sent a message (netlink(7)).
//!
//! Owns the socket and the envelope: sender's port and groups, credentials, truncation, loss. The
//! messages inside are decoded elsewhere. Any process may send unicast messages to a netlink
//! socket; [`Envelope`] has what it takes to tell the kernel's apart.
#![allow(unsafe_code, reason = "rustix cannot represent credentials with process id 0")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sockopt};

/// Receive buffer asked for, in bytes: some hundred events may arrive while the loop is busy.
const RECV_BUFFER: usize = 2 << 20;

/// Room for one credentials message, in machine words, for their alignment.
const CONTROL_WORDS: usize = 8;

/// Which part of the kernel the socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses and routes (rtnetlink(7)).
    Route,
    /// Device events.
    Uevent,
    /// Between processes; the kernel takes no part.
    User,
}

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The process; 0 for the kernel, and for processes that this pid namespace cannot name.
    pub pid: i32,
    /// The user; for the kernel 0.
    pub uid: u32,
    /// The group; for the kernel 0.
    pub gid: u32,
}

/// What came with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// How many bytes of the buffer were filled.
    pub len: usize,
    /// The message was longer than the buffer; the rest is gone.
    pub truncated: bool,
    /// The sender's port; 0 for the kernel.
    pub port: u32,
    /// The multicast group the message was sent to, as a bit mask; 0 for unicast.
    pub groups: u32,
    /// The sender as the kernel vouches for it.
    pub credentials: Option<Credentials>,
}

/// The outcome of one attempt to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// A message is in the buffer.
    Message(Envelope),
    /// The receive buffer overflowed and messages were lost (`ENOBUFS`): take stock afresh.
    /// Messages that did fit follow.
    Lost,
    /// Nothing is waiting.
    Empty,
}

/// A bound, non-blocking netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// Opens a socket that hears the multicast groups of the bit mask `groups`.
    ///
    /// # Errors
    /// What socket(2) and bind(2) say, such as a group that only root may hear.
    pub fn open(protocol: Protocol, groups: u32) -> io::Result<Self> {
        let number = match protocol {
            Protocol::Route => None, // protocol 0
            Protocol::Uevent => Some(rustix::net::netlink::KOBJECT_UEVENT),
            Protocol::User => Some(rustix::net::netlink::USERSOCK),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, number)?;
        // Without privilege the system's limit applies; a smaller buffer only loses more often.
        if sockopt::set_socket_recv_buffer_size_force(&fd, RECV_BUFFER).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&fd, RECV_BUFFER);
        }
        sockopt::set_socket_passcred(&fd, true)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self { fd })
    }

    /// The descriptor to watch for reading.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The port the kernel gave this socket.
    ///
    /// # Errors
    /// What getsockname(2) says.
    pub fn port(&self) -> io::Result<u32> {
        let address = rustix::net::getsockname(&self.fd)?;
        Ok(SocketAddrNetlink::try_from(address)?.pid())
    }

    /// Sends one message to `port`; 0 is the kernel.
    ///
    /// # Errors
    /// What sendto(2) says.
    pub fn send(&self, port: u32, message: &[u8]) -> io::Result<()> {
        let to = SocketAddrNetlink::new(port, 0);
        rustix::net::sendto(&self.fd, message, SendFlags::empty(), &to)?;
        Ok(())
    }

    /// Takes the next message into `buffer`, from its start.
    ///
    /// # Errors
    /// What recvmsg(2) says, apart from what [`Reception`] covers.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Reception> {
        loop {
            match self.receive_once(buffer) {
                Ok(envelope) => return Ok(Reception::Message(envelope)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Reception::Empty),
                Err(Errno::NOBUFS) => return Ok(Reception::Lost),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn receive_once(&self, buffer: &mut [u8]) -> Result<Envelope, Errno> {
        let mut control = [0_u64; CONTROL_WORDS];
        let mut vector =
            libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: all zero is a valid address of no family.
        let mut from = unsafe { MaybeUninit::<libc::sockaddr_nl>::zeroed().assume_init() };
        // SAFETY: all zero is a valid header: no buffers, no flags.
        let mut header = unsafe { MaybeUninit::<libc::msghdr>::zeroed().assume_init() };
        header.msg_name = (&raw mut from).cast();
        header.msg_namelen = length(size_of::<libc::sockaddr_nl>());
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        // SAFETY: every pointer of the header points to a live local, or to `buffer`, with its
        // length.
        let code = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut header, libc::MSG_TRUNC) };
        let Ok(sent) = usize::try_from(code) else {
            return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO));
        };
        let known = header.msg_namelen >= length(size_of::<libc::sockaddr_nl>());
        Ok(Envelope {
            len: sent.min(buffer.len()),
            truncated: sent > buffer.len() || header.msg_flags & libc::MSG_TRUNC != 0,
            // Without an address, assume the least trustworthy sender.
            port: if known { from.nl_pid } else { u32::MAX },
            groups: if known { from.nl_groups } else { 0 },
            credentials: credentials(&header),
        })
    }
}

fn length(size: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(size).expect("a socket address is small")
}

/// The first control message, when it is credentials and complete.
fn credentials(header: &libc::msghdr) -> Option<Credentials> {
    if header.msg_flags & libc::MSG_CTRUNC != 0 {
        return None;
    }
    // SAFETY: the kernel filled the control buffer and its length; the result is null or within it.
    let message = unsafe { libc::CMSG_FIRSTHDR(header) };
    if message.is_null() {
        return None;
    }
    // SAFETY: not null, within the buffer, and aligned, as the buffer is made of words.
    let envelope = unsafe { message.read() };
    let wanted =
        (envelope.cmsg_level, envelope.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS);
    // SAFETY: computes a number from a number.
    let need = unsafe { libc::CMSG_LEN(length(size_of::<libc::ucred>())) };
    if !wanted || (envelope.cmsg_len as u64) < u64::from(need) {
        return None;
    }
    // SAFETY: `message` is a valid header, so that its data begins behind it.
    let data = unsafe { libc::CMSG_DATA(message) };
    // SAFETY: the length was checked to cover a whole `ucred`, which any bytes make valid.
    let raw = unsafe { data.cast::<libc::ucred>().read_unaligned() };
    Some(Credentials { pid: raw.pid, uid: raw.uid, gid: raw.gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Socket, Socket, u32) {
        let (to, from) = (Socket::open(Protocol::User, 0), Socket::open(Protocol::User, 0));
        let (to, from) = (to.expect("socket"), from.expect("socket"));
        let port = to.port().expect("port");
        (to, from, port)
    }

    #[test]
    fn a_message_comes_with_its_sender() {
        let (to, from, port) = pair();
        let mut buffer = [0; 16];
        assert_eq!(to.receive(&mut buffer).expect("receive"), Reception::Empty);
        from.send(port, b"hello").expect("send");
        let Reception::Message(envelope) = to.receive(&mut buffer).expect("receive") else {
            panic!("no message")
        };
        assert_eq!(&buffer[..envelope.len], b"hello");
        let me = Credentials {
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        };
        let expected = Envelope {
            len: 5,
            truncated: false,
            port: from.port().expect("port"),
            groups: 0,
            credentials: Some(me),
        };
        assert_eq!(envelope, expected);
        assert_eq!(to.receive(&mut buffer).expect("receive"), Reception::Empty);
    }

    #[test]
    fn a_message_that_does_not_fit_is_marked() {
        let (to, from, port) = pair();
        from.send(port, b"0123456789").expect("send");
        let mut buffer = [0; 4];
        let Reception::Message(envelope) = to.receive(&mut buffer).expect("receive") else {
            panic!("no message")
        };
        assert_eq!((envelope.len, envelope.truncated, &buffer), (4, true, b"0123"));
    }

    #[test]
    fn the_kernel_answers_from_port_zero() {
        let socket = Socket::open(Protocol::Route, 0).expect("socket");
        // An RTM_GETLINK dump request: header of 16 bytes, then an empty `struct ifinfomsg`.
        let mut request = [0_u8; 32];
        request[..4].copy_from_slice(&32_u32.to_ne_bytes());
        request[4..6].copy_from_slice(&18_u16.to_ne_bytes());
        request[6..8].copy_from_slice(&0x301_u16.to_ne_bytes());
        socket.send(0, &request).expect("send");
        let mut buffer = vec![0; 32 << 10];
        let Reception::Message(envelope) = socket.receive(&mut buffer).expect("receive") else {
            panic!("no answer")
        };
        assert_eq!(envelope.port, 0);
        assert_eq!(envelope.credentials.map(|sender| (sender.pid, sender.uid)), Some((0, 0)));
        assert!(envelope.len > 16);
    }

    #[test]
    fn root_an_overflow_is_reported_and_then_reading_goes_on() {
        const GROUP: u32 = 1 << 4;
        let to = Socket::open(Protocol::User, GROUP).expect("only root may hear groups");
        let from = Socket::open(Protocol::User, 0).expect("socket");
        sockopt::set_socket_recv_buffer_size(&to.fd, 4096).expect("shrink");
        let group = SocketAddrNetlink::new(0, GROUP);
        for _ in 0..100 {
            // A multicast that some receiver had no room for is an error here too, or is not.
            let _ = rustix::net::sendto(&from.fd, &[7; 512], SendFlags::empty(), &group);
        }
        let mut buffer = [0; 1024];
        assert_eq!(to.receive(&mut buffer).expect("receive"), Reception::Lost);
        let mut messages = 0;
        while let Reception::Message(envelope) = to.receive(&mut buffer).expect("receive") {
            assert_eq!((envelope.len, envelope.groups), (512, GROUP));
            messages += 1;
        }
        assert!((1..100).contains(&messages), "{messages}");
    }
}
