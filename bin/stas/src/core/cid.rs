// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Existing kernel controllers, as sysfs describes them.
//!
//! Owns the reading of the attributes' texts and the classes of controllers. Reading files is left
//! to the shell; judging whether a device serves a candidate is left to [`super::matching`].

use std::fmt;

use super::DISC_NQN;
use super::port::DeviceId;
use super::{ip, tid};

/// The texts of one controller's sysfs directory; `None` for what does not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `address`.
    pub address: Option<String>,
    /// `transport`.
    pub transport: Option<String>,
    /// `subsysnqn`.
    pub subsysnqn: Option<String>,
    /// `hostnqn`.
    pub hostnqn: Option<String>,
    /// `state`.
    pub state: Option<String>,
    /// `cntrltype`, since Linux 5.18.
    pub cntrltype: Option<String>,
    /// `dctype`, since Linux 5.18.
    pub dctype: Option<String>,
    /// `uevent`.
    pub uevent: Option<String>,
}

/// The kernel's state of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Created, never started.
    New,
    /// Usable.
    Live,
    /// Being reset.
    Resetting,
    /// Connecting, for the first time or again.
    Connecting,
    /// Being removed, with or without I/O.
    Deleting,
    /// Lost for good.
    Dead,
    /// A text that this program does not know; empty when the attribute is missing.
    Other(String),
}

impl State {
    /// Reads the attribute's text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.trim() {
            "new" => Self::New,
            "live" => Self::Live,
            "resetting" => Self::Resetting,
            "connecting" => Self::Connecting,
            "dead" => Self::Dead,
            deleting if deleting.starts_with("deleting") => Self::Deleting,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The kernel's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::New => "new",
            Self::Live => "live",
            Self::Resetting => "resetting",
            Self::Connecting => "connecting",
            Self::Deleting => "deleting",
            Self::Dead => "dead",
            Self::Other(text) => text,
        }
    }

    /// Whether the device is on its way out: it counts as not connected.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Deleting | Self::Dead)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the registry of owners knows both daemons.
pub const OWNER: &str = "stas";

/// What a controller is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A discovery controller.
    Discovery,
    /// An I/O controller.
    Io,
    /// Neither, or not to be told yet.
    Unknown,
}

/// One existing controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name and instance.
    pub id: DeviceId,
    /// `tcp`, `rdma`, `fc`, `loop` or `pcie`.
    pub transport: String,
    /// The target's address; without zone for TCP.
    pub traddr: String,
    /// The target's port.
    pub trsvcid: String,
    /// The source address asked for at connect time.
    pub host_traddr: String,
    /// The interface asked for at connect time.
    pub host_iface: String,
    /// The source address in use, without zone; empty before Linux 6.1 and while not live.
    pub src_addr: String,
    /// The zone of the source address, where the kernel shows one.
    pub src_zone: String,
    /// The subsystem's NQN.
    pub subsysnqn: String,
    /// The NQN that the host introduced itself with.
    pub host_nqn: String,
    /// The kernel's state.
    pub state: State,
    /// `io`, `discovery`, `admin` or `reserved`; empty before Linux 5.18.
    pub cntrltype: String,
    /// `none`, `ddc`, `cdc` or `reserved`; empty before Linux 5.18.
    pub dctype: String,
    /// How many namespaces (and paths to such) hang below it.
    pub namespaces: usize,
    /// The running system cannot do without it: one of its namespaces carries the root file system
    /// or swap, directly or by way of other block devices.
    pub holds_system: bool,
    /// Whose connection it is, by the host's registry; empty when nobody says so.
    pub owner: String,
}

impl Device {
    /// Reads a controller's attributes. `children` are the names of the directory's entries.
    #[must_use]
    pub fn from_attributes(id: DeviceId, attributes: &Attributes, children: &[String]) -> Self {
        let address = attributes.address.as_deref().unwrap_or_default();
        let uevent = attributes.uevent.as_deref().unwrap_or_default();
        let pick = |variable: &str, key: &str| {
            let told = tid::value(lookup(uevent, '\n', variable).unwrap_or_default());
            let told = if told.is_empty() { lookup(address, ',', key) } else { Some(told) };
            tid::value(told.unwrap_or_default()).to_owned()
        };
        let (src_addr, src_zone) = source(address);
        let transport = match text(attributes.transport.as_ref()) {
            missing if missing.is_empty() => {
                tid::value(lookup(uevent, '\n', "NVME_TRTYPE").unwrap_or_default()).to_owned()
            }
            known => known,
        };
        let namespaces = children.iter().filter(|child| is_namespace(&id.name, child)).count();
        let mut device = Self {
            id,
            transport,
            traddr: pick("NVME_TRADDR", "traddr"),
            trsvcid: pick("NVME_TRSVCID", "trsvcid"),
            host_traddr: pick("NVME_HOST_TRADDR", "host_traddr"),
            host_iface: pick("NVME_HOST_IFACE", "host_iface"),
            src_addr,
            src_zone,
            subsysnqn: text(attributes.subsysnqn.as_ref()),
            host_nqn: text(attributes.hostnqn.as_ref()),
            state: State::parse(attributes.state.as_deref().unwrap_or_default()),
            cntrltype: text(attributes.cntrltype.as_ref()),
            dctype: text(attributes.dctype.as_ref()),
            namespaces,
            holds_system: false,
            owner: String::new(),
        };
        device.adopt_zone();
        device
    }

    /// A TCP target given with a zone is bound to that interface just as by `host_iface`.
    fn adopt_zone(&mut self) {
        if self.transport != "tcp" {
            return;
        }
        if let (bare, Some(zone)) = ip::split_zone(&self.traddr) {
            if self.host_iface.is_empty() {
                zone.clone_into(&mut self.host_iface);
            }
            self.traddr = bare.to_owned();
        }
    }

    /// Whether the host's registry knows an owner, and it is not us.
    #[must_use]
    pub fn is_others(&self) -> bool {
        !self.owner.is_empty() && self.owner != OWNER
    }

    /// Whether this passes for a discovery controller.
    #[must_use]
    pub fn is_discovery(&self) -> bool {
        if self.subsysnqn == DISC_NQN {
            return true;
        }
        match self.cntrltype.as_str() {
            "" => self.namespaces == 0 && self.is_settled(),
            told => told == "discovery",
        }
    }

    /// Whether this passes for an I/O controller.
    #[must_use]
    pub fn is_io(&self) -> bool {
        match self.cntrltype.as_str() {
            "" => self.namespaces > 0,
            told => told == "io",
        }
    }

    /// The class, where a discovery controller is told first.
    #[must_use]
    pub fn class(&self) -> Class {
        if self.is_discovery() {
            Class::Discovery
        } else if self.is_io() {
            Class::Io
        } else {
            Class::Unknown
        }
    }

    /// Whether missing namespaces mean anything: an I/O controller that still connects has none.
    const fn is_settled(&self) -> bool {
        !matches!(self.state, State::New | State::Connecting | State::Deleting | State::Dead)
    }
}

fn text(attribute: Option<&String>) -> String {
    tid::value(attribute.map_or("", String::as_str)).to_owned()
}

/// The value of exactly `key` in a list of `key=value`.
fn lookup<'a>(list: &'a str, separator: char, key: &str) -> Option<&'a str> {
    list.split(separator).find_map(|item| {
        let (name, value) = item.split_once('=')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// The source address in use and its zone.
fn source(address: &str) -> (String, String) {
    let (bare, zone) =
        ip::split_zone(tid::value(lookup(address, ',', "src_addr").unwrap_or_default()));
    (bare.to_owned(), zone.unwrap_or_default().to_owned())
}

/// Whether `child` names a namespace of `controller`, or a path to one. Of a path, the first number
/// is the subsystem's and the second the controller's: below `nvme3` stand `nvme3n1`, `nvme0c3n1`,
/// `ng3n1`, `ng0c3n1`.
fn is_namespace(controller: &str, child: &str) -> bool {
    if child.strip_prefix("ng").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
        return true;
    }
    let numbers = controller.strip_prefix("nvme").zip(child.strip_prefix("nvme"));
    let Some((own, numbers)) = numbers else { return false };
    let rest = numbers.trim_start_matches(|c: char| c.is_ascii_digit());
    match rest.strip_prefix('c') {
        Some(path) => rest.len() < numbers.len() && path.strip_prefix(own).is_some_and(is_numbered),
        None => numbers.strip_prefix(own).is_some_and(is_numbered),
    }
}

fn is_numbered(rest: &str) -> bool {
    rest.strip_prefix('n').is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> DeviceId {
        DeviceId { name: "nvme3".to_owned(), instance: 7 }
    }

    fn read(address: Option<&str>, uevent: Option<&str>) -> Device {
        let attributes = Attributes {
            address: address.map(str::to_owned),
            transport: Some("tcp\n".to_owned()),
            uevent: uevent.map(str::to_owned),
            ..Attributes::default()
        };
        Device::from_attributes(id(), &attributes, &[])
    }

    // R099, R100
    #[test]
    fn the_source_address_is_found_wherever_it_stands() {
        for (address, addr, zone) in [
            (None, "", ""),
            (Some(""), "", ""),
            (Some("traddr=192.168.56.1,trsvcid=8009"), "", ""),
            (
                Some("traddr=192.168.56.1,trsvcid=8009,src_addr=192.168.56.250\n"),
                "192.168.56.250",
                "",
            ),
            (
                Some("traddr=192.168.56.1,src_addr=192.168.56.250,trsvcid=8009\n"),
                "192.168.56.250",
                "",
            ),
            (
                Some("traddr=1234::abcd,trsvcid=8009,src_addr=1111:2222::3333"),
                "1111:2222::3333",
                "",
            ),
            (
                Some("traddr=1234::abcd,src_addr=1111:2222::3333,trsvcid=8009"),
                "1111:2222::3333",
                "",
            ),
            (
                Some("traddr=1234::abcd,src_addr=1111:2222::3333%scope,trsvcid=8009"),
                "1111:2222::3333",
                "scope",
            ),
            (Some("src_addr=1111:2222::3333%scope"), "1111:2222::3333", "scope"),
            (Some("src_addr=None"), "", ""),
        ] {
            let device = read(address, None);
            assert_eq!((device.src_addr.as_str(), device.src_zone.as_str()), (addr, zone));
        }
    }

    // R100
    #[test]
    fn keys_are_compared_whole() {
        let device = read(Some("host_traddr=9.9.9.9,traddr=1.1.1.1,host_iface=eth0"), None);
        assert_eq!(device.traddr, "1.1.1.1");
        assert_eq!(device.host_traddr, "9.9.9.9");
        assert_eq!(device.host_iface, "eth0");
        assert_eq!(device.trsvcid, "");
    }

    // R099
    #[test]
    fn the_uevent_file_is_believed_first_and_none_is_empty() {
        let uevent = "MAJOR=240\nNVME_TRTYPE=tcp\nNVME_TRADDR=1.1.1.1\nNVME_TRSVCID=4420\n\
                      NVME_HOST_TRADDR=none\nNVME_HOST_IFACE=NONE\n";
        let device = read(Some("traddr=2.2.2.2,trsvcid=1,host_iface=eth1"), Some(uevent));
        assert_eq!((device.traddr.as_str(), device.trsvcid.as_str()), ("1.1.1.1", "4420"));
        assert_eq!((device.host_traddr.as_str(), device.host_iface.as_str()), ("", "eth1"));
    }

    // R102
    #[test]
    fn attributes_lose_their_newlines() {
        let own = |text: &str| Some(format!("{text}\n"));
        let attributes = Attributes {
            address: own("0000:00:04.0"),
            transport: own("pcie"),
            subsysnqn: own(DISC_NQN),
            hostnqn: own("nqn.host"),
            state: own("live"),
            cntrltype: own("io"),
            dctype: own("none"),
            uevent: None,
        };
        let device = Device::from_attributes(id(), &attributes, &[]);
        assert_eq!(device.transport, "pcie");
        assert_eq!(device.traddr, "");
        assert_eq!(device.subsysnqn, DISC_NQN);
        assert_eq!(device.host_nqn, "nqn.host");
        assert_eq!(device.state, State::Live);
        assert_eq!((device.cntrltype.as_str(), device.dctype.as_str()), ("io", ""));
    }

    // R098
    #[test]
    fn a_zone_in_the_target_binds_tcp_to_the_interface() {
        let device = read(Some("traddr=fe80::1%eth0,trsvcid=8009"), None);
        assert_eq!((device.traddr.as_str(), device.host_iface.as_str()), ("fe80::1", "eth0"));
    }

    #[test]
    fn states_are_told_apart() {
        for (text, state, gone) in [
            ("new\n", State::New, false),
            ("live\n", State::Live, false),
            ("resetting", State::Resetting, false),
            ("connecting", State::Connecting, false),
            ("deleting", State::Deleting, true),
            ("deleting (no IO)\n", State::Deleting, true),
            ("dead", State::Dead, true),
            ("later\n", State::Other("later".to_owned()), false),
        ] {
            assert_eq!(State::parse(text), state);
            assert_eq!(state.is_gone(), gone);
            assert_eq!(State::parse(&state.to_string()), state);
        }
    }

    fn classified(nqn: &str, cntrltype: &str, children: usize, state: &str) -> Device {
        let attributes = Attributes {
            subsysnqn: Some(nqn.to_owned()),
            cntrltype: Some(cntrltype.to_owned()).filter(|told| !told.is_empty()),
            state: Some(state.to_owned()),
            ..Attributes::default()
        };
        let children: Vec<String> = (0..children).map(|n| format!("nvme3n{n}")).collect();
        Device::from_attributes(id(), &attributes, &children)
    }

    // R101
    #[test]
    fn controllers_are_classified() {
        for (nqn, cntrltype, children, dc, ioc, class) in [
            ("", "", 3, false, true, Class::Io),
            (DISC_NQN, "", 3, true, true, Class::Discovery),
            ("", "discovery", 3, true, false, Class::Discovery),
            ("", "", 0, true, false, Class::Discovery),
            ("", "io", 0, false, true, Class::Io),
            ("nqn.2014-08.org.nvmexpress.discovery\n", "", 1, true, true, Class::Discovery),
            ("", "admin", 0, false, false, Class::Unknown),
            ("", "reserved", 0, false, false, Class::Unknown),
        ] {
            let device = classified(nqn, cntrltype, children, "live");
            assert_eq!((device.is_discovery(), device.is_io()), (dc, ioc), "{nqn} {cntrltype}");
            assert_eq!(device.class(), class);
        }
    }

    // R101
    #[test]
    fn an_old_kernels_unfinished_controller_is_of_no_class() {
        for state in ["new", "connecting", "deleting", "deleting (no IO)", "dead"] {
            assert_eq!(classified("nqn.x", "", 0, state).class(), Class::Unknown, "{state}");
            assert_eq!(classified("nqn.x", "", 1, state).class(), Class::Io, "{state}");
        }
        assert_eq!(classified("nqn.x", "", 0, "live").class(), Class::Discovery);
    }

    // R101
    #[test]
    fn only_namespaces_count_as_children() {
        for (child, counts) in [
            ("nvme3n1", true),
            ("nvme3c3n1", true),
            ("nvme0c3n34", true),
            ("nvme3c12n34", false),
            ("nvme0c31n1", false),
            ("nvmec3n1", false),
            ("ng3n1", true),
            ("ng3c3n1", true),
            ("nvme3", false),
            ("nvme4n1", false),
            ("nvme31n1", false),
            ("nvme3cn1", false),
            ("nvme3c3", false),
            ("nvme3n", false),
            ("hwmon4", false),
            ("power", false),
            ("ng", false),
        ] {
            let attributes = Attributes::default();
            let device = Device::from_attributes(id(), &attributes, &[child.to_owned()]);
            assert_eq!(device.namespaces, usize::from(counts), "{child}");
        }
    }

    proptest! {
        #[test]
        fn no_attribute_makes_the_reader_panic(
            address in any::<String>(),
            uevent in "([A-Z_]{0,12}=?[ -~]{0,8}\n){0,6}",
            child in any::<String>(),
        ) {
            let attributes = Attributes {
                address: Some(address),
                uevent: Some(uevent),
                ..Attributes::default()
            };
            let device = Device::from_attributes(id(), &attributes, &[child]);
            prop_assert!(!device.src_addr.contains('%'));
        }
    }
}
