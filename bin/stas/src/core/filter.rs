// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which addresses are worth a connection attempt.
//!
//! Owns the judgement of one completed identifier. Logging what was dropped is left to the callers.

use std::fmt;
use std::net::IpAddr;

use super::iface::Family;
use super::ip;
use super::settings::Families;
use super::tid::Tid;

/// Why a candidate is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// The transport is none that this program connects.
    Transport(String),
    /// The target is no IP address.
    NotAnAddress(String),
    /// The target's family is switched off by `ip-family`.
    FamilyDisabled(String),
    /// The target is an unspecified, multicast or broadcast address.
    NotUnicast(String),
    /// The target is link-local and no interface is known to reach it by.
    NoInterface(String),
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(name) => write!(f, "transport '{name}' is not supported"),
            Self::NotAnAddress(text) => write!(f, "'{text}' is not an IP address"),
            Self::FamilyDisabled(text) => {
                write!(f, "Excluding configured IP address {text} based on \"ip-family\" setting")
            }
            Self::NotUnicast(text) => write!(f, "{text} is not the address of a single host"),
            Self::NoInterface(text) => {
                write!(f, "link-local address {text} needs an interface (host-iface)")
            }
        }
    }
}

impl std::error::Error for Invalid {}

/// Judges a candidate whose names are resolved.
///
/// # Errors
/// The reason to drop it.
pub fn check(candidate: &Tid, families: Families) -> Result<(), Invalid> {
    let text = candidate.fields().traddr.clone();
    match candidate.transport() {
        "fc" | "loop" => return Ok(()),
        "tcp" | "rdma" => {}
        other => return Err(Invalid::Transport(other.to_owned())),
    }
    let (bare, zone) = ip::split_zone(candidate.traddr());
    let Some(address) = ip::parse(bare) else { return Err(Invalid::NotAnAddress(text)) };
    if !families.contains(Family::of(address)) {
        return Err(Invalid::FamilyDisabled(text));
    }
    if !is_unicast(address) {
        return Err(Invalid::NotUnicast(text));
    }
    let needs_zone = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let has_zone = match candidate.transport() {
        "tcp" => !candidate.host_iface().is_empty(),
        _ => zone.is_some(),
    };
    if needs_zone && !has_zone { Err(Invalid::NoInterface(text)) } else { Ok(()) }
}

fn is_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !broadcast
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tid::{Fields, TidDefaults};

    fn tid(transport: &str, traddr: &str, host_iface: &str) -> Tid {
        let fields = Fields {
            transport: transport.to_owned(),
            traddr: traddr.to_owned(),
            host_iface: host_iface.to_owned(),
            ..Fields::default()
        };
        Tid::new(&fields, &TidDefaults::default())
    }

    // R167
    #[test]
    fn addresses_pass_by_family() {
        for (transport, traddr, [both, four, six]) in [
            ("tcp", "10.10.10.10", [true, true, false]),
            ("rdma", "192.168.0.1", [true, true, false]),
            ("tcp", "::1", [true, false, true]),
            ("tcp", "::ffff:10.0.0.1", [true, true, false]),
            ("tcp", "555.555.555.555", [false; 3]),
            ("tcp", "not-an-ip-address", [false; 3]),
            ("tcp", "", [false; 3]),
            ("unknown", "10.10.10.10", [false; 3]),
            ("whatever", "::1", [false; 3]),
            ("", "::1", [false; 3]),
            ("fc", "nn-0x1000000044001123:pn-0x2000000055001123", [true; 3]),
            ("fc", "blah", [true; 3]),
            ("loop", "", [true; 3]),
        ] {
            for (families, expected) in
                [(Families::Both, both), (Families::V4, four), (Families::V6, six)]
            {
                let passed = check(&tid(transport, traddr, ""), families).is_ok();
                assert_eq!(passed, expected, "{transport} {traddr} {families:?}");
            }
        }
    }

    // R168
    #[test]
    fn addresses_of_no_single_host_are_dropped() {
        for traddr in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:0.0.0.0"]
        {
            let result = check(&tid("tcp", traddr, "eth0"), Families::Both);
            assert_eq!(result, Err(Invalid::NotUnicast(traddr.to_owned())));
        }
    }

    // R098
    #[test]
    fn link_local_targets_need_an_interface() {
        for (transport, traddr, iface, passes) in [
            ("tcp", "fe80::1", "", false),
            ("tcp", "fe80::1", "eth0", true),
            ("tcp", "fe80::1%eth0", "", true),
            ("rdma", "fe80::1%eth0", "", true),
            ("rdma", "fe80::1", "eth0", false),
            ("tcp", "169.254.1.1", "", true),
        ] {
            let result = check(&tid(transport, traddr, iface), Families::Both);
            assert_eq!(result.is_ok(), passes, "{transport} {traddr} {iface}");
        }
    }

    // R166
    #[test]
    fn literals_of_a_disabled_family_are_named() {
        let error = check(&tid("tcp", "10.10.10.10", ""), Families::V6).expect_err("disabled");
        assert_eq!(
            error.to_string(),
            "Excluding configured IP address 10.10.10.10 based on \"ip-family\" setting"
        );
    }
}
