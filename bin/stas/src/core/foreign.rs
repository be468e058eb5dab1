// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Discovery controllers that somebody else connected: their news go to nvme-cli's units.
//!
//! While stafd runs, nvme-cli's udev rules are masked, so that the two do not compete for what
//! stafd manages. For a discovery controller that stafd does not manage, it does what those rules
//! would have done: it has `nvmf-connect@.service` restarted. Owns which events call for that, the
//! unit's name, and the bound on how often; starting programs is left to the shell.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use plinth::time::Time;

use super::cid::Device;
use super::port::DeviceEvent;

/// The notice that the discovery log page changed.
const LOG_CHANGED: u32 = 0x70_f002;
/// One restart per device and this time: notices may come in storms.
pub const PAUSE: Duration = Duration::from_secs(1);

/// When each device was last told of.
#[derive(Debug, Default)]
pub struct Foreign {
    told: BTreeMap<String, Time>,
}

/// The device whose discovery log `event` calls to be read, if it does.
#[must_use]
pub fn calls(event: &DeviceEvent) -> Option<&str> {
    match event {
        DeviceEvent::Aen { name, aen: LOG_CHANGED } | DeviceEvent::Rediscover { name } => {
            Some(name)
        }
        _ => None,
    }
}

impl Foreign {
    /// The unit to restart for `device`; nothing when it is no discovery controller, or its unit
    /// was restarted a moment ago.
    pub fn unit(&mut self, now: Time, device: &Device) -> Option<String> {
        self.told.retain(|_, at| at.until(now) < PAUSE);
        if !device.is_discovery() || self.told.contains_key(&device.id.name) {
            return None;
        }
        self.told.insert(device.id.name.clone(), now);
        Some(unit(device))
    }
}

/// The unit's instance is the argument list of `nvme connect-all`, escaped as systemd does.
fn unit(device: &Device) -> String {
    let mut name = "nvmf-connect@".to_owned();
    let arguments = [
        ("--device", &device.id.name),
        ("--host-traddr", &device.host_traddr),
        ("--host-iface", &device.host_iface),
    ];
    for (at, (option, value)) in arguments.into_iter().enumerate() {
        if value.is_empty() || value == "none" {
            continue;
        }
        if at > 0 {
            name.push_str("\\x09");
        }
        name.push_str(option);
        name.push_str("\\x3d");
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b":_.-".contains(&byte) {
                name.push(char::from(byte));
            } else {
                // Writing to a string does not fail.
                let _ = write!(name, "\\x{byte:02x}");
            }
        }
    }
    name.push_str(".service");
    name
}

#[cfg(test)]
mod tests {
    use super::super::DISC_NQN;
    use super::super::cid::Attributes;
    use super::super::port::DeviceId;
    use super::*;

    fn device(name: &str, address: &str, kind: &str) -> Device {
        let text = |text: &str| Some(text.to_owned());
        let attributes = Attributes {
            address: text(address),
            transport: text("tcp"),
            subsysnqn: text(if kind == "io" { "nqn.2014-08.org.example:io" } else { DISC_NQN }),
            cntrltype: text(kind),
            ..Attributes::default()
        };
        let id = DeviceId { name: name.to_owned(), instance: 1 };
        Device::from_attributes(id, &attributes, &[])
    }

    #[test]
    fn only_a_changed_log_and_a_return_call_for_a_read() {
        let name = || "nvme1".to_owned();
        let aen = |aen| DeviceEvent::Aen { name: name(), aen };
        assert_eq!(calls(&aen(0x70_f002)), Some("nvme1"));
        assert_eq!(calls(&DeviceEvent::Rediscover { name: name() }), Some("nvme1"));
        assert_eq!(calls(&aen(0x0)), None);
        assert_eq!(calls(&DeviceEvent::Connected { name: name() }), None);
    }

    #[test]
    fn the_unit_is_named_after_the_arguments_of_its_program() {
        let plain = device("nvme1", "traddr=192.0.2.1,trsvcid=8009", "discovery");
        assert_eq!(unit(&plain), r"nvmf-connect@--device\x3dnvme1.service");
        let full = device(
            "nvme2",
            "traddr=fe80::1,trsvcid=8009,host_traddr=fe80::2%x/y,host_iface=eth0.5",
            "discovery",
        );
        let expected = concat!(
            r"nvmf-connect@--device\x3dnvme2\x09--host-traddr\x3dfe80::2\x25x\x2fy",
            r"\x09--host-iface\x3deth0.5.service"
        );
        assert_eq!(unit(&full), expected);
        let none = device("nvme3", "traddr=192.0.2.1,host_traddr=none,host_iface=none", "x");
        assert_eq!(unit(&none), r"nvmf-connect@--device\x3dnvme3.service");
    }

    #[test]
    fn a_storm_restarts_a_unit_once_a_second_for_each_device() {
        let mut foreign = Foreign::default();
        let one = device("nvme1", "traddr=192.0.2.1", "discovery");
        let two = device("nvme2", "traddr=192.0.2.2", "discovery");
        let mut now = Time::ZERO;
        assert!(foreign.unit(now, &one).is_some());
        assert!(foreign.unit(now, &two).is_some());
        now += Duration::from_millis(999);
        assert!(foreign.unit(now, &one).is_none());
        now += Duration::from_millis(1);
        assert!(foreign.unit(now, &one).is_some());
        assert!(foreign.told.len() <= 2);
    }

    #[test]
    fn storage_controllers_are_nobodys_log() {
        let io = device("nvme1", "traddr=192.0.2.1", "io");
        assert_eq!(Foreign::default().unit(Time::ZERO, &io), None);
    }
}
