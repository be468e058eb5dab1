// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which addresses are worth a connection attempt.
//!
//! Owns the judgement of one completed identifier. Logging what was dropped is left to the callers.

use std::fmt;
use std::net::IpAddr;

use super::iface::Family;
use super::ip;
use super::settings::Families;
use super::tid::{self, Tid};

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

/// Judges the literal address of a configured entry before its name is looked up: host names pass.
///
/// # Errors
/// [`Invalid::FamilyDisabled`].
pub fn check_family(transport: &str, traddr: &str, families: Families) -> Result<(), Invalid> {
    match ip::meaning(traddr).filter(|_| tid::is_ip(transport)) {
        Some(address) if !families.contains(Family::of(address)) => {
            Err(Invalid::FamilyDisabled(traddr.to_owned()))
        }
        _ => Ok(()),
    }
}

fn is_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !broadcast
}
