// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Device events: what the kernel, or a udev daemon after it, tells about devices.
//!
//! [`packet`] decodes both message formats without allocating, [`Uevent`] is the event that
//! programs see, whatever its source. Nothing here reads the udev database; on a host without a
//! udev daemon everything works except that no rules have run.

pub mod packet;

use std::collections::BTreeMap;

use packet::{Malformed, Packet};

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
