// SPDX-License-Identifier: Apache-2.0 OR MIT
//! IP addresses by meaning: two spellings of one address are equal.
//!
//! Owns parsing, the mapping of IPv4-mapped IPv6 addresses (RFC 4291, 2.5.5.2) and the separation
//! of zones (RFC 4007, 11). Interfaces and their addresses are left to [`super::iface`].

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_equal_by_meaning() {
        for (one, other, expected) in [
            ("", "1.1.1.1", false),
            ("1.1.1.1", "", false),
            ("1.1.1.1", "1.1.1.1", true),
            ("1.2.3.4", "::ffff:102:304", true),
            ("::ffff:192.168.56.101", "192.168.56.101", true),
            ("192.168.56.101", "::ffff:192.168.56.101", true),
            ("::ffff:192.168.56.222", "192.168.56.101", false),
            ("2001:0db8:0000:0000:0000:ff00:0042:8329", "2001:0db8::ff00:0042:8329", true),
            ("2001:0db8:0001::ff00:0042:8329", "2001:0db8::ff00:0042:8329", false),
            ("!@#$", "1.1.1.1", false),
            ("!@#$", "!@#$", false),
            ("fe80::1%eth0", "FE80:0::1", true),
        ] {
            assert_eq!(equal(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn parsing_keeps_and_mapping_maps() {
        for (text, plain, mapped) in [
            ("", None, None),
            ("not-an-ip", None, None),
            ("1.2.3.4", Some("1.2.3.4"), Some("1.2.3.4")),
            ("::1", Some("::1"), Some("::1")),
            ("::ffff:1.2.3.4", Some("::ffff:102:304"), Some("1.2.3.4")),
            ("[::1]", None, None),
            ("1.2.3", None, None),
        ] {
            let address = |text: Option<&str>| -> Option<IpAddr> {
                text.map(|text| text.parse().expect("an address"))
            };
            assert_eq!(parse(text), address(plain), "{text}");
            assert_eq!(parse(text).map(canonical), address(mapped), "{text}");
            assert_eq!(meaning(text), address(mapped), "{text}");
        }
    }

    #[test]
    fn zones_are_split_off() {
        for (text, expected) in [
            ("fe80::1", ("fe80::1", None)),
            ("fe80::1%eth0", ("fe80::1", Some("eth0"))),
            ("fe80::1%", ("fe80::1", None)),
            ("%eth0", ("", Some("eth0"))),
            ("a%b%c", ("a", Some("b%c"))),
        ] {
            assert_eq!(split_zone(text), expected, "{text}");
        }
    }

    #[test]
    fn link_local_addresses_are_told() {
        for (text, expected) in [
            ("fe80::1", true),
            ("febf::1", true),
            ("fec0::1", false),
            ("169.254.1.1", true),
            ("::ffff:169.254.1.1", true),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_link_local(text.parse().expect("an address")), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_not(text in any::<String>()) {
            prop_assert_eq!(meaning(&text).is_some(), equal(&text, &text));
        }

        #[test]
        fn every_address_is_read_back(bytes in any::<[u8; 16]>(), quad in any::<[u8; 4]>()) {
            for address in [IpAddr::from(bytes), IpAddr::from(quad)] {
                prop_assert_eq!(parse(&address.to_string()), Some(address));
                let mapped = canonical(address);
                prop_assert_eq!(canonical(mapped), mapped);
                prop_assert!(equal(&address.to_string(), &mapped.to_string()));
            }
        }
    }
}
