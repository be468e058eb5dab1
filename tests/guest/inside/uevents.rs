// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Records the kernel's uevents of NVMe controllers, to count what really happened.
//!
//! A connection made and dropped between two looks at sysfs leaves its traces here only. A recorder
//! has a big buffer and a thread of its own; should the kernel still drop an event, that is
//! remembered.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use plinth::time::Time;
use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use super::{Outcome, wait};

/// Multicast group of the kernel's own messages.
const GROUP_KERNEL: u32 = 1;
/// Receive buffer: some ten thousand events.
const BUFFER_BYTES: usize = 16 << 20;
const EVENT_BYTES_MAX: usize = 8 << 10;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `add`, `change`, `remove`, ...
    pub action: String,
    /// Last part of the device's path, such as `nvme3`.
    pub device: String,
    /// All properties.
    pub properties: BTreeMap<String, String>,
}

impl Event {
    /// Reads the kernel's form: `action@path`, then `KEY=VALUE`, all ended by NUL.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let mut parts = text.split('\0');
        let (action, path) = parts.next()?.split_once('@')?;
        let device = path.rsplit('/').next()?.to_owned();
        let properties = parts
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Some(Self { action: action.to_owned(), device, properties })
    }

    /// One property; empty when absent.
    #[must_use]
    pub fn property(&self, key: &str) -> &str {
        self.properties.get(key).map_or("", String::as_str)
    }
}

#[derive(Debug, Default)]
struct Seen {
    events: Vec<(Time, Event)>,
    lost: bool,
}

/// Listens from its start on.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Mutex<Seen>>);

impl Recorder {
    /// Starts to listen.
    ///
    /// # Errors
    /// When the socket cannot be had.
    pub fn start() -> Outcome<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(KOBJECT_UEVENT),
        )?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUP_KERNEL))?;
        let recorder = Self(Arc::default());
        let own = recorder.clone();
        thread::spawn(move || own.listen(&socket));
        Ok(recorder)
    }

    fn listen(&self, socket: &OwnedFd) {
        let mut buffer = vec![0; EVENT_BYTES_MAX];
        loop {
            match recv(socket.as_fd(), &mut buffer[..], RecvFlags::empty()) {
                Ok((got, _)) => {
                    let event = buffer.get(..got).and_then(Event::parse);
                    let event = event.filter(|e| e.property("SUBSYSTEM") == "nvme");
                    let now = Time::monotonic();
                    self.with(|seen| seen.events.extend(event.map(|event| (now, event))));
                }
                Err(Errno::NOBUFS) => self.with(|seen| seen.lost = true),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many events of controllers so far satisfy `which`.
    #[must_use]
    pub fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.with(|seen| seen.events.iter().filter(|(_, event)| which(event)).count())
    }

    /// When the events since `start` that satisfy `which` were received, in order.
    #[must_use]
    pub fn times(&self, start: Time, which: impl Fn(&Event) -> bool) -> Vec<Time> {
        self.with(|seen| {
            let wanted = seen.events.iter().filter(|(at, event)| *at >= start && which(event));
            wanted.map(|(at, _)| *at).collect()
        })
    }

    /// Controllers made and removed so far.
    #[must_use]
    pub fn made_and_removed(&self) -> (usize, usize) {
        (self.count(|e| e.action == "add"), self.count(|e| e.action == "remove"))
    }

    /// Waits until exactly this many controllers were made and removed. Events arrive a moment
    /// after sysfs shows what they tell, so what was seen there says nothing about the count yet.
    ///
    /// # Errors
    /// A finding with the counts instead after `limit`.
    pub fn await_counts(&self, made: usize, removed: usize, limit: Duration) -> Outcome {
        let what = format!("controllers made and removed are {made} and {removed}");
        wait::until(&what, limit, || self.made_and_removed() == (made, removed))
            .map_err(|trouble| trouble.during(&format!("they are {:?}", self.made_and_removed())))
            .map(drop)
    }

    /// Whether the kernel dropped events before this recorder could read them.
    #[must_use]
    pub fn lost_some(&self) -> bool {
        self.with(|seen| seen.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_form_is_read() {
        let bytes = b"change@/devices/virtual/nvme-fabrics/ctl/nvme3\0ACTION=change\0\
            SUBSYSTEM=nvme\0NVME_AEN=0x70f002\0";
        let event = Event::parse(bytes).unwrap();
        assert_eq!((event.action.as_str(), event.device.as_str()), ("change", "nvme3"));
        assert_eq!(event.property("NVME_AEN"), "0x70f002");
        assert_eq!(event.property("NVME_EVENT"), "");
    }

    #[test]
    fn the_form_of_the_device_manager_is_not() {
        assert_eq!(Event::parse(b"libudev\0\xfe\xed\xca\xfe"), None);
    }
}
