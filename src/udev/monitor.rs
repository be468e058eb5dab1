// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The monitor that needs no library: a netlink socket of the kernel's uevent family.
//!
//! Owns the socket. Works with and without a udev daemon: the caller names the group to listen to,
//! and may change over while it runs. Which messages count is decided by `intake`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt;

use super::intake::{Intake, Outcome};
use super::{DeviceEvents, Group, Lost, Taken, Uevent, filter};
use crate::sys::filter::attach;
use crate::sys::netlink::{Protocol, Reception, Socket};

/// How much the kernel may keep for us, in bytes; nothing is set aside before it is used. The
/// system's own limit applies where the process may not exceed it.
pub(super) const RECV_BUFFER_LEN: usize = 128 << 20;
/// The longest message: those of the kernel stay below 4 KiB, udev daemons add their properties.
const MESSAGE_LEN_MAX: usize = 64 << 10;

/// See the module's documentation.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    group: Group,
    intake: Intake,
    waiting: VecDeque<Result<Uevent, Lost>>,
    /// The kernel dropped messages, and may still do so.
    overrun: bool,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Begins to listen to `group` for events of these subsystems, or of all when there are none.
    ///
    /// # Errors
    /// What `socket(2)` and `bind(2)` say.
    pub fn open(group: Group, subsystems: &[&str]) -> io::Result<Self> {
        let socket = Socket::open(Protocol::Uevent, group.mask())?;
        let fd = socket.fd();
        if sockopt::set_socket_recv_buffer_size_force(fd, RECV_BUFFER_LEN).is_err() {
            sockopt::set_socket_recv_buffer_size(fd, RECV_BUFFER_LEN)?;
        }
        Ok(Self {
            socket,
            group,
            intake: Intake::new(subsystems),
            waiting: VecDeque::new(),
            overrun: false,
            buffer: vec![0; MESSAGE_LEN_MAX],
        })
    }

    /// Is no longer told by the kernel of virtual devices, but of those below
    /// `/devices/virtual/DIRECTORY`: a host that starts containers does not wake its subscriber for
    /// their network devices. Numbers then have gaps that mean nothing, and none is told; an
    /// overrun still is. Udev daemons are heard as before.
    ///
    /// # Errors
    /// The name is too long for a filter, or what setsockopt(2) says; everything is heard as before
    /// then.
    pub fn pass_over_virtual_devices_except(&mut self, directory: &str) -> io::Result<()> {
        let program = filter::virtual_devices_except(directory);
        attach(self.socket.fd(), &program.ok_or(io::ErrorKind::InvalidInput)?)?;
        self.intake.ignore_gaps();
        Ok(())
    }

    /// The group listened to.
    #[must_use]
    pub const fn group(&self) -> Group {
        self.group
    }

    /// Listens to another group from now on.
    ///
    /// On the way to udevd nothing is lost, and what the kernel told already is not told again. On
    /// the way back, what udevd still had in its hands is lost, and told as [`Lost::ChangeOver`].
    ///
    /// # Errors
    /// What `bind(2)` says; the group stays as it was.
    pub fn change_over(&mut self, group: Group) -> io::Result<()> {
        if group == self.group {
            return Ok(());
        }
        let address = SocketAddrNetlink::new(self.socket.port()?, group.mask());
        rustix::net::bind(self.socket.fd(), &address)?;
        if group == Group::Kernel {
            self.waiting.push_back(Err(Lost::ChangeOver));
        }
        self.group = group;
        Ok(())
    }
}

impl DeviceEvents for Monitor {
    /// The descriptor stays the same when the group changes.
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }

    fn take(&mut self) -> Result<Taken, Lost> {
        if let Some(waiting) = self.waiting.pop_front() {
            return waiting.map(Taken::Event);
        }
        match self.socket.receive(&mut self.buffer).map_err(Lost::Broken)? {
            Reception::Lost => {
                self.overrun = true;
                Ok(Taken::Unwanted)
            }
            Reception::Empty if self.overrun => {
                self.overrun = false;
                self.intake.expect_gap();
                Err(Lost::Overrun)
            }
            Reception::Empty => Ok(Taken::Empty),
            Reception::Message(envelope) => {
                let bytes = self.buffer.get(..envelope.len).unwrap_or_default();
                match self.intake.take(&envelope, bytes) {
                    Outcome { lost: Some(lost), event } => {
                        self.waiting.extend(event.map(Ok));
                        Err(lost)
                    }
                    Outcome { lost: None, event } => {
                        Ok(event.map_or(Taken::Unwanted, Taken::Event))
                    }
                }
            }
        }
    }
}
