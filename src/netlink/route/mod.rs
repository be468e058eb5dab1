// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The route protocol (`rtnetlink(7)`): links, addresses and routes, in both directions.
//!
//! Owns the layout of the messages that this toolkit reads (`RTM_NEWLINK`, `RTM_DELLINK`,
//! `RTM_NEWADDR`, `RTM_DELADDR`, `RTM_NEWROUTE`, `RTM_DELROUTE`) and sends. [`decode`] and
//! [`encode`] are inverse to each other for everything a kernel can say. Messages and attributes
//! that are not needed here are passed over.

mod order;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use order::{LinkOrder, MacvtapMode};

use super::interface::{Address, Interface};
use super::message::{self, Attribute, Encoder, Header, Malformed, Message};

/// `RTM_NEWLINK`, `RTM_DELLINK`, `RTM_GETLINK`.
const LINK: Kinds = Kinds { new: 16, delete: 17, get: 18 };
/// `RTM_NEWADDR`, `RTM_DELADDR`, `RTM_GETADDR`.
const ADDRESS: Kinds = Kinds { new: 20, delete: 21, get: 22 };
/// `RTM_NEWROUTE`, `RTM_DELROUTE`, `RTM_GETROUTE`.
const ROUTE: Kinds = Kinds { new: 24, delete: 25, get: 26 };

/// The groups that announce changes of links and addresses: `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`,
/// `RTMGRP_IPV6_IFADDR`.
pub const CHANGES: u32 = 0x1 | 0x10 | 0x100;

const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

const IFF_UP: u32 = 0x1;
const IFF_LOWER_UP: u32 = 0x1_0000;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_PERM_ADDRESS: u16 = 54;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
/// `RTEXT_FILTER_SKIP_STATS`: counters would double the size of a dump.
const SKIP_STATISTICS: u32 = 0x8;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;

struct Kinds {
    new: u16,
    delete: u16,
    get: u16,
}

/// News of one link, address or route. A dump is a sequence of those that say what exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link exists, new or with new properties. Its addresses are told apart from it.
    Link(Interface),
    /// The link of this number is gone.
    LinkGone(u32),
    /// An address exists.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// A route exists.
    Route(Route),
    /// A route is gone.
    RouteGone(Route),
}

/// A unicast route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network reached; the unspecified address with a length of zero is the default route.
    pub destination: IpAddr,
    /// Leading bits of `destination` that count.
    pub prefix_len: u8,
    /// The next hop; nothing when the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The number of the interface to leave by.
    pub index: Option<u32>,
}

/// Understands one message; `None` for those that say nothing of the subjects above.
///
/// Link messages of the bridge family are among the latter: they speak of ports, so that the
/// deletion of one does not mean that the link is gone.
///
/// # Errors
/// The message contradicts its own format.
pub fn decode(message: &Message<'_>) -> Result<Option<Change>, Malformed> {
    let kind = message.header.kind;
    Ok(if kind == LINK.new {
        decode_link(message)?.map(Change::Link)
    } else if kind == LINK.delete {
        decode_link(message)?.map(|link| Change::LinkGone(link.index))
    } else if kind == ADDRESS.new {
        decode_address(message)?.map(Change::Address)
    } else if kind == ADDRESS.delete {
        decode_address(message)?.map(Change::AddressGone)
    } else if kind == ROUTE.new {
        decode_route(message)?.map(Change::Route)
    } else if kind == ROUTE.delete {
        decode_route(message)?.map(Change::RouteGone)
    } else {
        None
    })
}

fn decode_link(message: &Message<'_>) -> Result<Option<Interface>, Malformed> {
    let (body, attributes) = message.body::<16>()?;
    let [family, _, h0, h1, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *body;
    if family != AF_UNSPEC {
        return Ok(None);
    }
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let mut link = Interface {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        hardware: u16::from_ne_bytes([h0, h1]),
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        ..Interface::default()
    };
    let mut parent_is_elsewhere = false;
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            IFLA_IFNAME => link.name = attribute.text(),
            IFLA_ADDRESS => link.mac = attribute.bytes().ok(), // other hardware, other lengths
            IFLA_PERM_ADDRESS => link.permanent_mac = attribute.bytes().ok(),
            IFLA_LINK => link.parent = Some(attribute.u32()?).filter(|&parent| parent != 0),
            IFLA_MASTER => link.master = Some(attribute.u32()?).filter(|&master| master != 0),
            IFLA_LINK_NETNSID => parent_is_elsewhere = true,
            IFLA_LINKINFO => (link.kind, link.vlan) = decode_kind(&attribute)?,
            _ => {}
        }
    }
    if parent_is_elsewhere {
        link.parent = None; // a number of another network namespace
    }
    Ok(Some(link))
}

fn decode_kind(info: &Attribute<'_>) -> Result<(Option<String>, Option<u16>), Malformed> {
    let (mut kind, mut data, mut vlan) = (None, None, None);
    for attribute in info.nested() {
        let attribute = attribute?;
        match attribute.kind {
            IFLA_INFO_KIND => kind = Some(attribute.text()),
            IFLA_INFO_DATA => data = Some(attribute),
            _ => {}
        }
    }
    // Only the kind says what the data means.
    if let (Some("vlan"), Some(data)) = (kind.as_deref(), data) {
        for attribute in data.nested() {
            let attribute = attribute?;
            if attribute.kind == IFLA_VLAN_ID {
                vlan = Some(attribute.u16()?);
            }
        }
    }
    Ok((kind, vlan))
}

fn decode_address(message: &Message<'_>) -> Result<Option<Address>, Malformed> {
    let (&[family, prefix_len, _, _, i0, i1, i2, i3], attributes) = message.body::<8>()?;
    let index = u32::from_ne_bytes([i0, i1, i2, i3]);
    let (mut local, mut peer) = (None, None);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            IFA_LOCAL => local = ip(family, &attribute)?,
            IFA_ADDRESS => peer = ip(family, &attribute)?,
            _ => {}
        }
    }
    // Only where both ends have an address do the two differ.
    Ok(local.or(peer).map(|address| Address { index, address, prefix_len }))
}

fn decode_route(message: &Message<'_>) -> Result<Option<Route>, Malformed> {
    let (body, attributes) = message.body::<12>()?;
    let [family, prefix_len, _, _, table, _, _, kind, ..] = *body;
    let destination = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return Ok(None),
    };
    if (table, kind) != (RT_TABLE_MAIN, RTN_UNICAST) {
        return Ok(None);
    }
    let mut route = Route { destination, prefix_len, gateway: None, index: None };
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            RTA_DST => route.destination = ip(family, &attribute)?.unwrap_or(destination),
            RTA_GATEWAY => route.gateway = ip(family, &attribute)?,
            RTA_OIF => route.index = Some(attribute.u32()?),
            _ => {}
        }
    }
    Ok(Some(route))
}

/// An address of this family; `None` for a family that has no IP addresses.
fn ip(family: u8, attribute: &Attribute<'_>) -> Result<Option<IpAddr>, Malformed> {
    Ok(match family {
        AF_INET => Some(IpAddr::from(attribute.bytes::<4>()?)),
        AF_INET6 => Some(IpAddr::from(attribute.bytes::<16>()?)),
        _ => None,
    })
}

/// Writes news the way the kernel does, for simulations and tests.
#[must_use]
pub fn encode(change: &Change, sequence: u32) -> Vec<u8> {
    let header = |kind| Header { kind, flags: message::MULTI, sequence, port: 0 };
    match change {
        Change::Link(link) => encode_link(header(LINK.new), link),
        Change::LinkGone(index) => {
            let link = Interface { index: *index, ..Interface::default() };
            encode_link(header(LINK.delete), &link)
        }
        Change::Address(address) => encode_address(header(ADDRESS.new), address),
        Change::AddressGone(address) => encode_address(header(ADDRESS.delete), address),
        Change::Route(route) => encode_route(header(ROUTE.new), route),
        Change::RouteGone(route) => encode_route(header(ROUTE.delete), route),
    }
}

fn encode_link(header: Header, link: &Interface) -> Vec<u8> {
    let flags = (u32::from(link.up) * IFF_UP) | (u32::from(link.carrier) * IFF_LOWER_UP);
    let mut out = Encoder::new(header, &link_body(link.hardware, link.index, flags, 0));
    out.text(IFLA_IFNAME, &link.name);
    if let Some(mac) = &link.mac {
        out.attribute(IFLA_ADDRESS, mac);
    }
    if let Some(mac) = &link.permanent_mac {
        out.attribute(IFLA_PERM_ADDRESS, mac);
    }
    if let Some(parent) = link.parent {
        out.attribute(IFLA_LINK, &parent.to_ne_bytes());
    }
    if let Some(master) = link.master {
        out.attribute(IFLA_MASTER, &master.to_ne_bytes());
    }
    if let Some(kind) = &link.kind {
        out.nested(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, kind);
            if let Some(vlan) = link.vlan {
                let fill = |data: &mut Encoder| data.attribute(IFLA_VLAN_ID, &vlan.to_ne_bytes());
                info.nested(IFLA_INFO_DATA, fill);
            }
        });
    }
    out.finish()
}

fn encode_address(header: Header, address: &Address) -> Vec<u8> {
    let mut body = vec![family_of(address.address), address.prefix_len, 0, RT_SCOPE_UNIVERSE];
    body.extend(address.index.to_ne_bytes());
    let mut out = Encoder::new(header, &body);
    ip_attribute(&mut out, IFA_LOCAL, address.address);
    ip_attribute(&mut out, IFA_ADDRESS, address.address);
    out.finish()
}

fn encode_route(header: Header, route: &Route) -> Vec<u8> {
    let scope = if route.gateway.is_some() { RT_SCOPE_UNIVERSE } else { RT_SCOPE_LINK };
    let family = family_of(route.destination);
    let mut body = vec![family, route.prefix_len, 0, 0];
    body.extend([RT_TABLE_MAIN, RTPROT_BOOT, scope, RTN_UNICAST]);
    body.extend(0_u32.to_ne_bytes());
    let mut out = Encoder::new(header, &body);
    if !route.destination.is_unspecified() {
        ip_attribute(&mut out, RTA_DST, route.destination);
    }
    if let Some(gateway) = route.gateway {
        ip_attribute(&mut out, RTA_GATEWAY, gateway);
    }
    if let Some(index) = route.index {
        out.attribute(RTA_OIF, &index.to_ne_bytes());
    }
    out.finish()
}

/// `struct ifinfomsg`.
fn link_body(hardware: u16, index: u32, flags: u32, mask: u32) -> Vec<u8> {
    let mut body = vec![AF_UNSPEC, 0];
    body.extend(hardware.to_ne_bytes());
    body.extend([index, flags, mask].into_iter().flat_map(u32::to_ne_bytes));
    body
}

fn ip_attribute(out: &mut Encoder, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => out.attribute(kind, &address.octets()),
        IpAddr::V6(address) => out.attribute(kind, &address.octets()),
    }
}

const fn family_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

/// A question or an order to the kernel, numbered when it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// All links, as a dump of [`Change::Link`].
    Links,
    /// All addresses of both families, as a dump of [`Change::Address`].
    Addresses,
    /// Set the link of this number up.
    SetUp(u32),
    /// Add an address.
    AddAddress(Address),
    /// Add a route.
    AddRoute(Route),
}

impl Request {
    /// The message for the kernel.
    #[must_use]
    pub fn encode(&self, sequence: u32) -> Vec<u8> {
        let dump = message::REQUEST | message::DUMP;
        let order = message::REQUEST | message::ACK;
        let create = order | message::CREATE | message::EXCLUSIVE;
        let header = |kind, flags| Header { kind, flags, sequence, port: 0 };
        match self {
            Self::Links => {
                let mut out = Encoder::new(header(LINK.get, dump), &link_body(0, 0, 0, 0));
                out.attribute(IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes());
                out.finish()
            }
            Self::Addresses => Encoder::new(header(ADDRESS.get, dump), &[0; 8]).finish(),
            Self::SetUp(index) => {
                let body = link_body(0, *index, IFF_UP, IFF_UP);
                Encoder::new(header(LINK.new, order), &body).finish()
            }
            Self::AddAddress(address) => encode_address(header(ADDRESS.new, create), address),
            Self::AddRoute(route) => encode_route(header(ROUTE.new, create), route),
        }
    }
}

#[cfg(test)]
mod tests;
