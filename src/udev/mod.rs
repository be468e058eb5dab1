// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Device events: what the kernel, or a udev daemon after it, tells about devices.
//!
//! [`packet`] decodes both message formats without allocating, [`Uevent`] is the event that
//! programs see, whatever its source. [`Monitor`] is the source that works everywhere,
//! `LibudevMonitor` (cargo feature `libudev`) another for hosts with a udev daemon; [`coldplug`]
//! tells what is there already. Nothing here reads the udev database.
//!
//! The two groups differ in more than the properties that rules add: the kernel's is in the order
//! of the numbers, while a udev daemon works on devices in parallel, so that events of different
//! devices overtake each other. State machines listen to the kernel.

mod coldplug;
mod filter;
mod intake;
#[cfg(feature = "libudev")]
mod library;
mod monitor;
pub mod packet;

use std::collections::BTreeMap;
use std::error::Error;
use std::os::fd::BorrowedFd;
use std::{fmt, io};

pub use coldplug::coldplug;
#[cfg(feature = "libudev")]
pub use library::LibudevMonitor;
pub use monitor::Monitor;
use packet::{Malformed, Packet};

use crate::file::Root;

/// What exists as long as a udev daemon runs.
const UDEVD_SOCKET: &str = "/run/udev/control";

/// One event of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `remove`, `change`, `move`, `online`, `offline`, `bind` or `unbind`.
    pub action: String,
    /// The device's path below `/sys`, such as `/devices/virtual/net/lo`.
    pub devpath: String,
    /// The device's subsystem, such as `nvme`.
    pub subsystem: String,
    /// The kernel's number of the event; `None` when it was made up from sysfs.
    pub seqnum: Option<u64>,
    /// All other properties. Of a key that is repeated, the first counts.
    pub properties: BTreeMap<String, String>,
}

impl Uevent {
    /// Decodes a message of the kernel or of a udev daemon.
    ///
    /// # Errors
    /// The bytes are in neither format.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Packet::parse(bytes)?.to_event()
    }

    /// A property other than the four that have fields of their own.
    #[must_use]
    pub fn property(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }

    /// The kernel's name of the device: the last part of its path, such as `nvme0`.
    #[must_use]
    pub fn sysname(&self) -> &str {
        self.devpath.rsplit('/').next().unwrap_or_default()
    }
}

/// Whom to listen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The kernel: events in their order, at once, on every host.
    Kernel,
    /// A udev daemon: each event after its rules ran, with the properties they added.
    Udev,
}

impl Group {
    /// The group that brings an event when all about it is done: that of the udev daemon where one
    /// runs, else the kernel's.
    #[must_use]
    pub fn choose(root: &Root) -> Self {
        if root.exists(UDEVD_SOCKET) { Self::Udev } else { Self::Kernel }
    }

    /// The bit mask of the netlink group.
    const fn mask(self) -> u32 {
        match self {
            Self::Kernel => 1,
            Self::Udev => 2,
        }
    }
}

/// Events did not reach us: whatever is known about devices may be wrong. The answer is always to
/// look at sysfs afresh.
#[derive(Debug)]
#[non_exhaustive]
pub enum Lost {
    /// The receive buffer overflowed, or a message was longer than ours. The kernel drops messages
    /// until all that waits is taken, so that an overflow is told only then: whoever looks at sysfs
    /// now sees everything.
    Overrun,
    /// The kernel's numbers are not consecutive. Besides a loss, this may be an event that belongs
    /// to a network namespace other than ours, or one that comes a little late.
    Gap {
        /// The number before the gap.
        after: u64,
        /// The number behind it.
        found: u64,
    },
    /// The monitor changed over from a udev daemon to the kernel.
    ChangeOver,
    /// The socket failed; the monitor must be opened anew.
    Broken(io::Error),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overrun => f.write_str("device events were lost: receive buffer overflowed"),
            Self::Gap { after, found } => {
                write!(f, "device events may be lost: number {after} was followed by {found}")
            }
            Self::ChangeOver => f.write_str("device events may be lost: source was changed"),
            Self::Broken(_) => f.write_str("cannot receive device events"),
        }
    }
}

impl Error for Lost {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Broken(source) => Some(source),
            _ => None,
        }
    }
}

/// A source of device events.
pub trait DeviceEvents {
    /// The descriptor to watch for reading.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Takes one message. A subscriber on a loop stops after some of them, wanted or not, and lets
    /// the loop call it again: see [`Progress::More`](crate::event::Progress::More).
    ///
    /// # Errors
    /// Events were lost; look at everything in sysfs afresh. Further calls are meaningful except
    /// after [`Lost::Broken`].
    fn take(&mut self) -> Result<Taken, Lost>;

    /// The next event, or `None` when there is no more for now. However many messages are unwanted,
    /// they are passed over in this one call.
    ///
    /// # Errors
    /// As for [`DeviceEvents::take`].
    fn next(&mut self) -> Result<Option<Uevent>, Lost> {
        loop {
            match self.take()? {
                Taken::Event(event) => return Ok(Some(event)),
                Taken::Unwanted => {}
                Taken::Empty => return Ok(None),
            }
        }
    }
}

/// What [`DeviceEvents::take`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// An event.
    Event(Uevent),
    /// A message that is no event for us: of another subsystem, or not to be believed.
    Unwanted,
    /// No message.
    Empty,
}

#[cfg(test)]
mod tests;
