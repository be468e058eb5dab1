// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Turns uevents into what the core wants to know of NVMe controllers.
//!
//! Owns the monitor of the kernel's group and its loss. An event that cannot be understood is
//! passed over. After a loss the core is told to trust nothing; a mere gap in the numbers is most
//! often an event of a container's network and is told only now and then.

use std::io;
use std::time::Duration;

use plinth::event::{Loop, Progress, WatchId};
use plinth::time::Time;
use plinth::udev::{DeviceEvents, Group, Lost, Monitor, Taken, Uevent};

use super::key::Key;
use crate::core::port::{DeviceEvent, Input};

/// Messages taken in one turn, wanted or not.
const TURN_MAX: usize = 256;
/// Gaps in the event numbers within this time count as one. A host with containers sees one for
/// each network device of theirs, and every gap told costs a read of all log pages; what really is
/// lost, but for want of memory, is told as an overrun.
const GAP_PAUSE: Duration = Duration::from_secs(600);
const SUBSYSTEMS: &[&str] = &["nvme"];
/// The virtual devices that may be controllers.
const FABRICS: &str = "nvme-fabrics";

/// The source of device events.
pub struct Devices {
    monitor: Monitor,
    watch: WatchId,
    gap: Option<Time>,
}

impl Devices {
    /// Listens from now on.
    ///
    /// # Errors
    /// What `socket(2)` and `bind(2)` say.
    pub fn open(lp: &mut Loop<Key>) -> io::Result<Self> {
        let mut monitor = Monitor::open(Group::Kernel, SUBSYSTEMS)?;
        // Each new disk and network device of the host would wake the daemon, for nothing.
        if let Err(error) = monitor.pass_over_virtual_devices_except(FABRICS) {
            log::debug!("Listening to the events of all devices: {error}");
        }
        let watch = lp.watch(monitor.fd(), Key::Uevents)?;
        Ok(Self { monitor, watch, gap: None })
    }

    /// Takes what has arrived.
    ///
    /// # Errors
    /// The monitor failed and cannot be opened anew.
    pub fn ready(&mut self, lp: &mut Loop<Key>, inputs: &mut Vec<Input>) -> io::Result<Progress> {
        for _ in 0..TURN_MAX {
            match self.monitor.take() {
                Ok(Taken::Event(event)) => {
                    inputs.extend(device_event(&event).map(Input::Device));
                }
                Ok(Taken::Unwanted) => {}
                Ok(Taken::Empty) => return Ok(Progress::Drained),
                Err(lost) => self.lost(lp, &lost, inputs)?,
            }
        }
        Ok(Progress::More)
    }

    fn lost(&mut self, lp: &mut Loop<Key>, lost: &Lost, inputs: &mut Vec<Input>) -> io::Result<()> {
        if let Lost::Gap { .. } = lost {
            if self.gap.is_some_and(|at| at.until(lp.now()) < GAP_PAUSE) {
                return Ok(());
            }
            self.gap = Some(lp.now());
            log::debug!("{lost}");
        } else {
            log::warn!("{lost}; looking at all devices again");
        }
        inputs.push(Input::EventsLost);
        if let Lost::Broken(_) = lost {
            let old = self.watch;
            let new = Self::open(lp)?;
            lp.unwatch(old)?;
            *self = new;
        }
        Ok(())
    }
}

/// What `event` says of a controller, if it says anything.
#[must_use]
pub fn device_event(event: &Uevent) -> Option<DeviceEvent> {
    if event.subsystem != "nvme" {
        return None;
    }
    let name = event.sysname().to_owned();
    match event.action.as_str() {
        "add" => Some(DeviceEvent::Added { name }),
        "remove" => Some(DeviceEvent::Removed { name }),
        "change" => match (event.property("NVME_AEN"), event.property("NVME_EVENT")) {
            (Some(text), _) => Some(DeviceEvent::Aen { name, aen: aen(text)? }),
            (None, Some("connected")) => Some(DeviceEvent::Connected { name }),
            (None, Some("rediscover")) => Some(DeviceEvent::Rediscover { name }),
            _ => None,
        },
        _ => None,
    }
}

/// The number of an event notification, hexadecimal with or without its prefix.
fn aen(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    // The parser would take a sign.
    if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        u32::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(action: &str, properties: &[(&str, &str)]) -> Option<DeviceEvent> {
        let event = Uevent {
            action: action.to_owned(),
            devpath: "/devices/virtual/nvme-fabrics/ctl/nvme3".to_owned(),
            subsystem: "nvme".to_owned(),
            seqnum: Some(1),
            properties: properties
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        device_event(&event)
    }

    #[test]
    fn events_of_controllers_are_understood() {
        let name = || "nvme3".to_owned();
        let aen = DeviceEvent::Aen { name: name(), aen: 0x70_f002 };
        for text in ["0x70f002", "0X70F002", "70f002"] {
            assert_eq!(event("change", &[("NVME_AEN", text)]), Some(aen.clone()), "{text}");
        }
        assert_eq!(event("add", &[]), Some(DeviceEvent::Added { name: name() }));
        assert_eq!(event("remove", &[]), Some(DeviceEvent::Removed { name: name() }));
        assert_eq!(
            event("change", &[("NVME_EVENT", "connected")]),
            Some(DeviceEvent::Connected { name: name() })
        );
        assert_eq!(
            event("change", &[("NVME_EVENT", "rediscover")]),
            Some(DeviceEvent::Rediscover { name: name() })
        );
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        for text in ["", "0x", "+70f002", "0x70f002 ", "0x1ffffffff", "yes"] {
            assert_eq!(event("change", &[("NVME_AEN", text)]), None, "{text:?}");
        }
        assert_eq!(event("change", &[("NVME_EVENT", "other")]), None);
        assert_eq!(event("change", &[]), None);
        assert_eq!(event("bind", &[]), None);
    }
}
