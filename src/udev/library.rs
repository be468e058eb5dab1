// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The monitor of the system's libudev, for events that a udev daemon has worked on.
//!
//! Owns the library's objects. Without a udev daemon this monitor stays silent: the library has no
//! way to the kernel's own messages. The same events as [`super::Monitor`] brings from the group of
//! the daemon; use this one where the library's view of them is wanted.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libudev::{Context, Event, MonitorSocket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;

use super::monitor::RECV_BUFFER_LEN;
use super::{DeviceEvents, Lost, Taken, Uevent};
use crate::sys::fd::duplicate;

/// Messages that the library refuses in a row before we give up on it.
const REFUSALS_MAX: u32 = 256;

/// See the module's documentation.
pub struct LibudevMonitor {
    socket: MonitorSocket,
    fd: OwnedFd,
    /// Messages refused since the last one that was not.
    refusals: u32,
    /// The kernel dropped messages, and may still do so.
    overrun: bool,
}

impl LibudevMonitor {
    /// Begins to listen for events of these subsystems, or of all when there are none.
    ///
    /// # Errors
    /// What the library says: mostly lack of memory or descriptors.
    pub fn open(subsystems: &[&str]) -> io::Result<Self> {
        let failed = |error: libudev::Error| io::Error::other(error);
        let mut monitor =
            libudev::Monitor::new(&Context::new().map_err(failed)?).map_err(failed)?;
        for subsystem in subsystems {
            monitor.match_subsystem(subsystem).map_err(failed)?;
        }
        let socket = monitor.listen().map_err(failed)?;
        let fd = duplicate(socket.as_raw_fd())?;
        if sockopt::set_socket_recv_buffer_size_force(&fd, RECV_BUFFER_LEN).is_err() {
            sockopt::set_socket_recv_buffer_size(&fd, RECV_BUFFER_LEN)?;
        }
        Ok(Self { socket, fd, refusals: 0, overrun: false })
    }

    fn is_readable(&self) -> Result<bool, Errno> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        Ok(poll(&mut fds, Some(&Timespec::default()))? > 0)
    }
}

impl DeviceEvents for LibudevMonitor {
    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn take(&mut self) -> Result<Taken, Lost> {
        if let Some(event) = self.socket.receive_event() {
            self.refusals = 0;
            return Ok(convert(&event).map_or(Taken::Unwanted, Taken::Event));
        }
        let error = io::Error::last_os_error();
        if Errno::from_io_error(&error) == Some(Errno::NOBUFS) {
            self.overrun = true;
            return Ok(Taken::Unwanted);
        }
        // A refused message also looks like the end of the queue.
        if !self.is_readable().map_err(|errno| Lost::Broken(errno.into()))? {
            self.refusals = 0;
            let overrun = std::mem::take(&mut self.overrun);
            return if overrun { Err(Lost::Overrun) } else { Ok(Taken::Empty) };
        }
        self.refusals += 1;
        if self.refusals < REFUSALS_MAX { Ok(Taken::Unwanted) } else { Err(Lost::Broken(error)) }
    }
}

/// `None` when something is missing that every event has.
fn convert(event: &Event) -> Option<Uevent> {
    let mut properties = std::collections::BTreeMap::new();
    for property in event.properties() {
        let text = |it: &std::ffi::OsStr| it.to_string_lossy().into_owned();
        properties.entry(text(property.name())).or_insert_with(|| text(property.value()));
    }
    Some(Uevent {
        action: properties.remove("ACTION")?,
        devpath: properties.remove("DEVPATH")?,
        subsystem: properties.remove("SUBSYSTEM")?,
        seqnum: properties.remove("SEQNUM")?.parse().ok(),
        properties,
    })
}
