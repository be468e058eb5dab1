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
    /// Whether it can carry anything: set up, with the layer below it ready.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Interfaces {
        let make = |index, name: &str, mac, addresses: &[&str]| Interface {
            index,
            name: name.to_owned(),
            up: true,
            mac,
            addresses: addresses.iter().map(|a| a.parse().expect("an address")).collect(),
        };
        Interfaces(vec![
            make(1, "lo", Some([0; 6]), &["127.0.0.1", "::1"]),
            make(2, "eth0", Some([0x52, 0x54, 0, 0xab, 0xcd, 1]), &["192.168.1.20", "fe80::1"]),
            make(3, "eth1", None, &["fe80::1", "fe80::2", "10.0.0.1", "10.0.0.2"]),
            make(4, "only6", Some([2; 6]), &["2001:db8::1"]),
        ])
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_belongs_to_its_interface() {
        let table = table();
        for (address, expected) in [
            ("192.168.1.20", Some("eth0")),
            ("::ffff:192.168.1.20", Some("eth0")),
            ("10.0.0.2", Some("eth1")),
            ("2001:db8::1", Some("only6")),
            ("::1", Some("lo")),
            ("fe80::2", Some("eth1")),
            ("255.255.255.255", None),
        ] {
            assert_eq!(table.owner(ip(address)), expected, "{address}");
        }
    }

    // R105
    #[test]
    fn a_link_local_address_on_two_links_has_no_owner() {
        let table = table();
        assert_eq!(table.owner(ip("fe80::1")), None);
        assert_eq!(table.owners(ip("fe80::1")).collect::<Vec<_>>(), ["eth0", "eth1"]);
    }

    // R106
    #[test]
    fn the_first_address_of_a_family_is_the_primary_one() {
        let table = table();
        for (name, family, expected) in [
            ("eth1", Family::V4, Some("10.0.0.1")),
            ("eth1", Family::V6, Some("fe80::1")),
            ("only6", Family::V4, None),
            ("eth9", Family::V4, None),
        ] {
            assert_eq!(table.primary(name, family), expected.map(ip), "{name} {family:?}");
        }
    }

    // R107
    #[test]
    fn hardware_addresses_are_found_in_any_letter_case() {
        let table = table();
        for (mac, expected) in [
            ("52:54:00:ab:cd:01", Some("eth0")),
            ("52:54:00:AB:CD:01", Some("eth0")),
            ("02-02-02-02-02-02", Some("only6")),
            ("52:54:00:ab:cd:02", None),
            ("00:00:00:00:00:00", None),
            ("52:54:00:ab:cd", None),
            ("52:54:00:ab:cd:01:02", None),
            ("+2:54:00:ab:cd:01", None),
            ("", None),
        ] {
            assert_eq!(table.by_mac(mac), expected, "{mac}");
        }
    }
}
