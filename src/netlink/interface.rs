// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of network interfaces, and the questions that programs ask of it.
//!
//! Owns the meaning of a link with its addresses. Decoding is [`super::route`], asking the kernel
//! is not done here. The order of interfaces and of addresses is the kernel's: the first address of
//! a family is the primary one.

use std::net::IpAddr;

/// `ARPHRD_ETHER`: [`Interface::hardware`] of Ethernet, and of what behaves like it.
pub const ETHERNET: u16 = 1;
/// `ARPHRD_LOOPBACK`: [`Interface::hardware`] of the loopback interface.
pub const LOOPBACK: u16 = 772;

/// Kinds of interface that borrow the hardware address of the one below.
const KINDS_ON_TOP: [&str; 5] = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"];

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number, never zero.
    pub index: u32,
    /// The name, such as `eth0`.
    pub name: String,
    /// The hardware type, `ARPHRD_*`.
    pub hardware: u16,
    /// Whether it was set up by the administrator (`IFF_UP`).
    pub up: bool,
    /// Whether the layer below is ready too (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// The hardware address in use, when it has six bytes.
    pub mac: Option<[u8; 6]>,
    /// The hardware address that the device was made with, when the driver knows it.
    pub permanent_mac: Option<[u8; 6]>,
    /// What software made it: `vlan`, `bond`, `bridge`, `dummy`...; nothing for most hardware.
    pub kind: Option<String>,
    /// The VLAN identifier, for the kind `vlan`.
    pub vlan: Option<u16>,
    /// The interface that this one sits on, such as the carrier of a VLAN.
    pub parent: Option<u32>,
    /// The bond, bridge or team that this one is part of.
    pub master: Option<u32>,
    /// Its addresses; left empty by [`super::route::decode`].
    pub addresses: Vec<IpAddr>,
}

impl Interface {
    fn has_mac(&self, mac: [u8; 6]) -> bool {
        matches!(self.hardware, ETHERNET | LOOPBACK)
            && (self.permanent_mac == Some(mac) || self.mac == Some(mac))
    }

    /// Whether it is part of, or on top of, another interface that may have the same address.
    fn is_subordinate(&self) -> bool {
        self.master.is_some() || self.kind.as_ref().is_some_and(|it| KINDS_ON_TOP.contains(&&**it))
    }
}

/// One address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's number.
    pub index: u32,
    /// The local address; on point-to-point links not that of the peer.
    pub address: IpAddr,
    /// Leading bits shared by the addresses on this link.
    pub prefix_len: u8,
}

/// Puts addresses to their interfaces, by number. Addresses of unknown interfaces are dropped: the
/// interface appeared between the two dumps, and a change will tell of it.
#[must_use]
pub fn assemble(mut interfaces: Vec<Interface>, addresses: &[Address]) -> Vec<Interface> {
    for interface in &mut interfaces {
        let own = addresses.iter().filter(|it| it.index == interface.index);
        interface.addresses = own.map(|it| it.address).collect();
    }
    interfaces
}

/// The interface that has the hardware address `mac` and carries the VLAN `vlan`.
///
/// Without `vlan`, what only borrows the address (a VLAN, a part of a bond or bridge) is chosen
/// when nothing else has it; then the permanent address counts more than the one in use, and the
/// kernel's order decides between equals. With `vlan`, the answer is the VLAN interface of that
/// number on top of an interface with that address. The address of all zeros belongs to nobody.
#[must_use]
pub fn find_by_mac(
    interfaces: &[Interface],
    mac: [u8; 6],
    vlan: Option<u16>,
) -> Option<&Interface> {
    if mac == [0; 6] {
        return None;
    }
    let holders = interfaces.iter().filter(|it| it.has_mac(mac));
    let Some(vlan) = vlan else {
        return holders.min_by_key(|it| (it.is_subordinate(), it.permanent_mac != Some(mac)));
    };
    let carries = |it: &&Interface| it.kind.as_deref() == Some("vlan") && it.vlan == Some(vlan);
    let below: Vec<u32> = holders.map(|it| it.index).collect();
    interfaces.iter().filter(carries).find(|it| it.parent.is_some_and(|it| below.contains(&it)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
    const OTHER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];

    fn ethernet(index: u32, mac: [u8; 6]) -> Interface {
        let name = format!("eth{index}");
        Interface { index, name, hardware: ETHERNET, mac: Some(mac), ..Interface::default() }
    }

    fn vlan(index: u32, id: u16, parent: u32, mac: [u8; 6]) -> Interface {
        let kind = Some("vlan".to_owned());
        Interface { kind, vlan: Some(id), parent: Some(parent), ..ethernet(index, mac) }
    }

    fn found(interfaces: &[Interface], mac: [u8; 6], vlan: Option<u16>) -> Option<u32> {
        find_by_mac(interfaces, mac, vlan).map(|it| it.index)
    }

    #[test]
    fn addresses_keep_the_kernels_order() {
        let address = |index, text: &str| Address {
            index,
            address: text.parse().expect("an address"),
            prefix_len: 24,
        };
        let table = assemble(
            vec![ethernet(2, MAC), ethernet(3, OTHER)],
            &[
                address(3, "10.0.0.9"),
                address(2, "192.0.2.7"),
                address(7, "192.0.2.8"),
                address(3, "10.0.0.1"),
                address(3, "fe80::1"),
            ],
        );
        let shown: Vec<String> = table.iter().map(|it| format!("{:?}", it.addresses)).collect();
        assert_eq!(shown, ["[192.0.2.7]", "[10.0.0.9, 10.0.0.1, fe80::1]"]);
    }

    #[test]
    fn a_vlan_that_shares_the_address_is_chosen_only_by_its_number() {
        // R107: the VLAN comes first in the table, and still loses.
        let table = [vlan(5, 100, 2, MAC), vlan(6, 200, 2, MAC), ethernet(2, MAC)];
        assert_eq!(found(&table, MAC, None), Some(2));
        assert_eq!(found(&table, MAC, Some(200)), Some(6));
        assert_eq!(found(&table, MAC, Some(300)), None);
        assert_eq!(found(&table[..1], MAC, None), Some(5), "nothing better is there");
    }

    #[test]
    fn a_vlan_of_the_right_number_on_another_interface_is_not_it() {
        let table = [ethernet(2, MAC), ethernet(3, OTHER), vlan(5, 100, 3, MAC)];
        assert_eq!(found(&table, MAC, Some(100)), None);
        assert_eq!(found(&table, OTHER, Some(100)), Some(5));
    }

    #[test]
    fn a_bond_is_preferred_to_its_parts_and_a_part_is_known_by_its_permanent_address() {
        let part = |index, permanent| Interface {
            permanent_mac: Some(permanent),
            master: Some(9),
            ..ethernet(index, MAC)
        };
        let bond = Interface { kind: Some("bond".to_owned()), ..ethernet(9, MAC) };
        let table = [part(2, MAC), part(3, OTHER), bond];
        assert_eq!(found(&table, MAC, None), Some(9));
        assert_eq!(found(&table, OTHER, None), Some(3));
    }

    #[test]
    fn the_permanent_address_counts_more_than_a_borrowed_one() {
        let original = Interface { permanent_mac: Some(MAC), ..ethernet(3, OTHER) };
        assert_eq!(found(&[ethernet(2, MAC), original], MAC, None), Some(3));
    }

    #[test]
    fn zero_addresses_and_foreign_hardware_are_never_found() {
        let lo = Interface { hardware: LOOPBACK, ..ethernet(1, [0; 6]) };
        assert_eq!(found(&[lo], [0; 6], None), None);
        let tunnel = Interface { hardware: 65534, ..ethernet(2, MAC) };
        assert_eq!(found(&[tunnel], MAC, None), None);
        assert_eq!(found(&[], MAC, Some(1)), None);
    }
}
