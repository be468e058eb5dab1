// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Orders that make, change and delete links (`rtnetlink(7)`, `linux/if_link.h`).
//!
//! Owns their messages. Whether an order makes sense is for the kernel to say.

use super::super::message::{self, Encoder, Header};
use super::{
    IFF_UP, IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINK, IFLA_LINKINFO,
    IFLA_MASTER, LINK, link_body,
};

/// `RTM_NEWLINKPROP`.
const NEW_PROPERTY: u16 = 108;

const IFF_ALLMULTI: u32 = 0x200;
const IFLA_MTU: u16 = 4;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_MACVLAN_MODE: u16 = 1;

/// How the macvtaps of one link reach each other and their link (`MACVLAN_MODE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacvtapMode {
    /// Not at all.
    Private,
    /// Through the switch outside.
    Vepa,
    /// Directly.
    Bridge,
    /// There is one only, which takes the link's address.
    Passthru,
    /// By lists of source addresses.
    Source,
}

impl MacvtapMode {
    /// The mode of this name, as in `ip link`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "private" => Self::Private,
            "vepa" => Self::Vepa,
            "bridge" => Self::Bridge,
            "passthru" => Self::Passthru,
            "source" => Self::Source,
            _ => return None,
        })
    }

    const fn number(self) -> u32 {
        match self {
            Self::Private => 1,
            Self::Vepa => 2,
            Self::Bridge => 4,
            Self::Passthru => 8,
            Self::Source => 16,
        }
    }
}

/// An order about one link, which is named by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkOrder<'a> {
    /// Make a macvtap.
    Macvtap {
        /// Its name.
        name: &'a str,
        /// The link that it sits on.
        link: u32,
        /// Its hardware address.
        mac: [u8; 6],
        /// How it reaches the others.
        mode: MacvtapMode,
    },
    /// Delete it.
    Delete(u32),
    /// Set it up.
    Up(u32),
    /// Have it take all multicast frames.
    AllMulticast(u32),
    /// Make it a port of a bridge, or of what else has ports.
    Master {
        /// The link.
        index: u32,
        /// The bridge.
        master: u32,
    },
    /// Set the size of its packets.
    Mtu {
        /// The link.
        index: u32,
        /// Bytes.
        mtu: u32,
    },
    /// Give it one more name.
    AltName {
        /// The link.
        index: u32,
        /// At most 127 bytes.
        name: &'a str,
    },
}

impl LinkOrder<'_> {
    /// The message for the kernel.
    ///
    /// # Panics
    /// A name is longer than an attribute can be.
    #[must_use]
    pub fn encode(&self, sequence: u32) -> Vec<u8> {
        let order = message::REQUEST | message::ACK;
        let create = order | message::CREATE | message::EXCLUSIVE;
        let header = |kind, flags| Header { kind, flags, sequence, port: 0 };
        let change = |index, flags| {
            Encoder::new(header(LINK.new, order), &link_body(0, index, flags, flags))
        };
        let out = match *self {
            Self::Macvtap { name, link, mac, mode } => {
                let mut out = Encoder::new(header(LINK.new, create), &link_body(0, 0, 0, 0));
                out.text(IFLA_IFNAME, name);
                out.attribute(IFLA_LINK, &link.to_ne_bytes());
                out.attribute(IFLA_ADDRESS, &mac);
                out.nested(IFLA_LINKINFO, |info| {
                    info.text(IFLA_INFO_KIND, "macvtap");
                    info.nested(IFLA_INFO_DATA, |data| {
                        data.attribute(IFLA_MACVLAN_MODE, &mode.number().to_ne_bytes());
                    });
                });
                out
            }
            Self::Delete(index) => {
                Encoder::new(header(LINK.delete, order), &link_body(0, index, 0, 0))
            }
            Self::Up(index) => change(index, IFF_UP),
            Self::AllMulticast(index) => change(index, IFF_ALLMULTI),
            Self::Master { index, master } => {
                let mut out = change(index, 0);
                out.attribute(IFLA_MASTER, &master.to_ne_bytes());
                out
            }
            Self::Mtu { index, mtu } => {
                let mut out = change(index, 0);
                out.attribute(IFLA_MTU, &mtu.to_ne_bytes());
                out
            }
            Self::AltName { index, name } => {
                let body = link_body(0, index, 0, 0);
                let mut out = Encoder::new(header(NEW_PROPERTY, create), &body);
                out.nested(IFLA_PROP_LIST, |list| list.text(IFLA_ALT_IFNAME, name));
                out
            }
        };
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Change, decode};
    use super::*;

    #[test]
    fn a_macvtap_is_described_as_the_kernel_describes_one() {
        let order = LinkOrder::Macvtap {
            name: "vm-a",
            link: 7,
            mac: [2, 0, 0, 0, 0, 9],
            mode: MacvtapMode::Bridge,
        };
        let bytes = order.encode(5);
        let message = message::messages(&bytes).next().expect("one").expect("well-formed");
        assert_eq!((message.header.kind, message.header.sequence), (16, 5));
        assert_eq!(message.header.flags, 0x605);
        let Some(Change::Link(link)) = decode(&message).expect("well-formed") else {
            panic!("not a link: {message:?}");
        };
        assert_eq!((link.name.as_str(), link.parent, link.index), ("vm-a", Some(7), 0));
        assert_eq!((link.kind.as_deref(), link.mac), (Some("macvtap"), Some([2, 0, 0, 0, 0, 9])));
    }

    #[test]
    fn changes_touch_what_they_name() {
        let bytes = LinkOrder::Up(3).encode(1);
        let message = message::messages(&bytes).next().expect("one").expect("well-formed");
        let (body, mut attributes) = message.body::<16>().expect("a body");
        // Flags and mask: nothing else is set, nothing is cleared.
        assert_eq!(
            (&body[4..8], &body[8..12], &body[12..16]),
            (&3_u32.to_ne_bytes()[..], &1_u32.to_ne_bytes()[..], &1_u32.to_ne_bytes()[..])
        );
        assert_eq!(attributes.next(), None);
        let bytes = LinkOrder::AltName { index: 3, name: "a-long-name-for-it" }.encode(1);
        let message = message::messages(&bytes).next().expect("one").expect("well-formed");
        let (_, mut attributes) = message.body::<16>().expect("a body");
        let list = attributes.next().expect("a list").expect("well-formed");
        let name = list.nested().next().expect("a name").expect("well-formed");
        assert_eq!((list.kind, name.kind, name.text().as_str()), (52, 53, "a-long-name-for-it"));
    }

    #[test]
    fn modes_have_the_names_of_ip() {
        let names = ["private", "vepa", "bridge", "passthru", "source"];
        let numbers = names.map(|name| MacvtapMode::parse(name).map(MacvtapMode::number));
        assert_eq!(numbers, [1, 2, 4, 8, 16].map(Some));
        assert_eq!(MacvtapMode::parse("open"), None);
    }
}
