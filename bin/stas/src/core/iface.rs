// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host's network interfaces and which of them own an address.
//!
//! Owns the table as a value. Filling it (route netlink) is left to the shell. Interfaces and their
//! addresses stand in the kernel's order: the first address of a family is the primary one.

use std::net::IpAddr;

use super::ip;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family that an address is used with: IPv4-mapped addresses are IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match ip::canonical(address) {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number.
    pub index: u32,
    /// The kernel's name, such as `eth0`; never an address label.
    pub name: String,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its hardware address, when it has one of six bytes.
    pub mac: Option<[u8; 6]>,
    /// Its own addresses, in the kernel's order.
    pub addresses: Vec<IpAddr>,
}

/// All interfaces of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces(pub Vec<Interface>);

impl Interfaces {
    /// Every interface that owns `address`, in order.
    pub fn owners(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        let wanted = ip::canonical(address);
        self.0
            .iter()
            .filter(move |interface| {
                interface.addresses.iter().any(|&a| ip::canonical(a) == wanted)
            })
            .map(|interface| interface.name.as_str())
    }

    /// The interface that owns `address`. A link-local address may exist on many links: it has an
    /// owner only when there is exactly one.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Option<&str> {
        let mut owners = self.owners(address);
        let first = owners.next()?;
        (!ip::is_link_local(address) || owners.next().is_none()).then_some(first)
    }

    /// The first address of `family` on the interface called `name`.
    #[must_use]
    pub fn primary(&self, name: &str, family: Family) -> Option<IpAddr> {
        let interface = self.0.iter().find(|interface| interface.name == name)?;
        interface.addresses.iter().copied().find(|&address| Family::of(address) == family)
    }

    /// The interface with this hardware address, written as six hexadecimal pairs in any letter
    /// case. The zero address belongs to nobody.
    #[must_use]
    pub fn by_mac(&self, mac: &str) -> Option<&str> {
        let mac = parse_mac(mac).filter(|mac| *mac != [0; 6])?;
        let interface = self.0.iter().find(|interface| interface.mac == Some(mac))?;
        Some(&interface.name)
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut pairs = text.split([':', '-']);
    for byte in &mut mac {
        let pair = pairs.next().filter(|pair| pair.len() == 2)?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(mac)
}
