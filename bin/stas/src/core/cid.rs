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

/// Whether `child` names a namespace of `controller`: `nvme0n1`, `nvme0c0n1`, `ng0n1`, `ng0c0n1`.
fn is_namespace(controller: &str, child: &str) -> bool {
    if child.strip_prefix("ng").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
        return true;
    }
    let Some(rest) = child.strip_prefix(controller) else { return false };
    match rest.strip_prefix('c') {
        Some(path) => {
            let after = path.trim_start_matches(|c: char| c.is_ascii_digit());
            after.len() < path.len() && is_numbered(after)
        }
        None => is_numbered(rest),
    }
}

fn is_numbered(rest: &str) -> bool {
    rest.strip_prefix('n').is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
}
