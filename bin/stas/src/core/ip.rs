// SPDX-License-Identifier: Apache-2.0 OR MIT
//! IP addresses by meaning: two spellings of one address are equal.
//!
//! Owns parsing, the mapping of IPv4-mapped IPv6 addresses (RFC 4291, 2.5.5.2) and the separation of
//! zones (RFC 4007, 11). Interfaces and their addresses are left to [`super::iface`].

use std::net::IpAddr;

/// Reads a literal address without zone and brackets. No mapping takes place.
#[must_use]
pub fn parse(text: &str) -> Option<IpAddr> {
    text.trim().parse().ok()
}

/// The IPv4 address that an IPv4-mapped IPv6 address stands for; any other address unchanged.
#[must_use]
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Reads a literal address, ignores its zone, and maps it: the address that is meant.
#[must_use]
pub fn meaning(text: &str) -> Option<IpAddr> {
    parse(split_zone(text.trim()).0).map(canonical)
}

/// Whether both texts are addresses, and the same one. Zones are not compared.
#[must_use]
pub fn equal(one: &str, other: &str) -> bool {
    match (meaning(one), meaning(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// Splits `fe80::1%eth0` into address and zone; an empty zone counts as none.
#[must_use]
pub fn split_zone(text: &str) -> (&str, Option<&str>) {
    match text.split_once('%') {
        Some((address, zone)) => (address, (!zone.is_empty()).then_some(zone)),
        None => (text, None),
    }
}

/// Whether an address is valid on one link only: `fe80::/10`, or `169.254.0.0/16`.
#[must_use]
pub fn is_link_local(address: IpAddr) -> bool {
    match canonical(address) {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
