// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether an existing connection can serve a wanted controller, and which one serves it best.
//!
//! Owns the comparison rules and the preference among several matches. What a core does with the
//! answer (adopt, connect, leave alone) is left to it. Connections that this program did not make
//! rarely name source and interface; the rules then infer, and [`Rule`] tells how far.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use super::DISC_NQN;
use super::cid::{Class, Device, State};
use super::iface::{Family, Interfaces};
use super::ip;
use super::port::DeviceId;
use super::tid::{self, Fields, Tid};

/// The rule that decided for a match, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// 4b-1: the connection was made with this source address.
    HostTraddr,
    /// 4b-4: the connection was made with this interface.
    HostIface,
    /// 5: the host port is the one wanted.
    FcHostTraddr,
    /// 6: the connection was made with this source address.
    RdmaHostTraddr,
    /// 4a: the source address in use is, or is owned by, what is wanted.
    SourceAddress,
    /// 4b-5: the connection's source address is owned by the wanted interface.
    InferredIface,
    /// 4b-2: the wanted source address is the primary one of the connection's interface.
    InferredAddress,
    /// 7: the candidate asks for nothing in particular.
    Otherwise,
    /// 4b-3: nothing is known of the connection's source address.
    AssumedAddress,
    /// 4b-6: nothing is known of the connection's interface.
    AssumedIface,
}

impl Rule {
    /// The rule's number in the table of the documentation.
    #[must_use]
    pub const fn number(self) -> &'static str {
        match self {
            Self::SourceAddress => "4a",
            Self::HostTraddr => "4b-1",
            Self::InferredAddress => "4b-2",
            Self::AssumedAddress => "4b-3",
            Self::HostIface => "4b-4",
            Self::InferredIface => "4b-5",
            Self::AssumedIface => "4b-6",
            Self::FcHostTraddr => "5",
            Self::RdmaHostTraddr => "6",
            Self::Otherwise => "7",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostTraddr | Self::RdmaHostTraddr => "same source address",
            Self::HostIface => "same interface",
            Self::FcHostTraddr => "same host port",
            Self::SourceAddress => "source address in use fits",
            Self::InferredIface => "source address belongs to the interface",
            Self::InferredAddress => "source address is the interface's primary one",
            Self::Otherwise => "no source or interface wanted",
            Self::AssumedAddress => "source address unknown, assumed",
            Self::AssumedIface => "interface unknown, assumed",
        })
    }
}

/// The field that speaks against a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// 1: another transport.
    Transport,
    /// 1: another port.
    Trsvcid,
    /// 1: the host introduced itself with another NQN.
    HostNqn,
    /// 2: another subsystem.
    Subsysnqn,
    /// 3: another target address.
    Traddr,
    /// 4, 5 or 6: another source address.
    HostTraddr,
    /// 4: another interface.
    HostIface,
}

/// Judges one connection, whatever its state.
///
/// # Errors
/// The first field that speaks against it.
pub fn judge(tid: &Tid, device: &Device, interfaces: &Interfaces) -> Result<Rule, Mismatch> {
    let transport = tid.transport();
    let expect = |agrees: bool, otherwise| if agrees { Ok(()) } else { Err(otherwise) };
    expect(transport.eq_ignore_ascii_case(&device.transport), Mismatch::Transport)?;
    let is_ip = tid::is_ip(transport);
    expect(!is_ip || tid.trsvcid() == tid::port(&device.trsvcid), Mismatch::Trsvcid)?;
    expect(tid.host_nqn() == device.host_nqn, Mismatch::HostNqn)?;
    let nqn = tid.subsysnqn();
    expect(nqn == device.subsysnqn || nqn == DISC_NQN, Mismatch::Subsysnqn)?;
    expect(same_target(tid, device), Mismatch::Traddr)?;
    match transport {
        "tcp" if tid.host_traddr().is_empty() && tid.host_iface().is_empty() => Ok(Rule::Otherwise),
        "tcp" if !device.src_addr.is_empty() => by_source(tid, device, interfaces),
        "tcp" => by_options(tid, device, interfaces),
        "fc" => {
            let agrees = tid.host_traddr().eq_ignore_ascii_case(&device.host_traddr);
            expect(agrees, Mismatch::HostTraddr).map(|()| Rule::FcHostTraddr)
        }
        "rdma" if !tid.host_traddr().is_empty() => {
            let agrees = ip::equal(tid.host_traddr(), &device.host_traddr);
            expect(agrees, Mismatch::HostTraddr).map(|()| Rule::RdmaHostTraddr)
        }
        _ => Ok(Rule::Otherwise),
    }
}

/// The rule by which an existing connection can serve a candidate, whatever its state.
#[must_use]
pub fn serves(tid: &Tid, device: &Device, interfaces: &Interfaces) -> Option<Rule> {
    judge(tid, device, interfaces).ok()
}

fn same_target(tid: &Tid, device: &Device) -> bool {
    match tid.transport() {
        "tcp" | "rdma" => {
            let (here, there) = (ip::split_zone(tid.traddr()).1, ip::split_zone(&device.traddr).1);
            let zones_agree = here.is_none() || there.is_none() || here == there;
            ip::equal(tid.traddr(), &device.traddr) && zones_agree
        }
        "fc" | "loop" => tid.traddr().eq_ignore_ascii_case(&device.traddr),
        _ => false,
    }
}

/// 4a: the kernel tells the source address in use.
fn by_source(tid: &Tid, device: &Device, interfaces: &Interfaces) -> Result<Rule, Mismatch> {
    let (address, iface) = (tid.host_traddr(), tid.host_iface());
    if !address.is_empty() && !ip::equal(address, &device.src_addr) {
        return Err(Mismatch::HostTraddr);
    }
    if !iface.is_empty() && !source_is_on(iface, device, interfaces) {
        return Err(Mismatch::HostIface);
    }
    let exact = device.host_iface == iface && ip::equal(&device.host_traddr, address);
    let exact = exact && !iface.is_empty() && !address.is_empty();
    Ok(if exact { Rule::HostTraddr } else { Rule::SourceAddress })
}

/// Whether the source address in use is on `iface`. Link-local addresses exist on many links, so
/// for them the zone decides, then the interface that the connection was made with.
fn source_is_on(iface: &str, device: &Device, interfaces: &Interfaces) -> bool {
    let Some(source) = ip::meaning(&device.src_addr) else { return false };
    if ip::is_link_local(source) {
        for known in [&device.src_zone, &device.host_iface] {
            if !known.is_empty() {
                return known == iface;
            }
        }
        return interfaces.owners(source).any(|owner| owner == iface);
    }
    interfaces.owner(source) == Some(iface)
}

/// 4b: only the options that the connection was made with are known.
fn by_options(tid: &Tid, device: &Device, interfaces: &Interfaces) -> Result<Rule, Mismatch> {
    let by_address = match tid.host_traddr() {
        "" => None,
        wanted => Some(address_by_options(wanted, device, interfaces)?),
    };
    let by_iface = match tid.host_iface() {
        "" => None,
        wanted => Some(iface_by_options(wanted, device, interfaces)?),
    };
    // The weaker of both rules tells how sure the match is.
    Ok(by_address.max(by_iface).unwrap_or(Rule::Otherwise))
}

fn address_by_options(
    wanted: &str,
    device: &Device,
    interfaces: &Interfaces,
) -> Result<Rule, Mismatch> {
    if !device.host_traddr.is_empty() {
        let agrees = ip::equal(wanted, &device.host_traddr);
        return if agrees { Ok(Rule::HostTraddr) } else { Err(Mismatch::HostTraddr) };
    }
    if device.host_iface.is_empty() {
        return Ok(Rule::AssumedAddress);
    }
    let wanted = ip::meaning(wanted).ok_or(Mismatch::HostTraddr)?;
    match interfaces.primary(&device.host_iface, Family::of(wanted)).map(ip::canonical) {
        Some(primary) if primary == wanted => Ok(Rule::InferredAddress),
        Some(_) => Err(Mismatch::HostTraddr),
        None => Ok(Rule::AssumedAddress),
    }
}

fn iface_by_options(
    wanted: &str,
    device: &Device,
    interfaces: &Interfaces,
) -> Result<Rule, Mismatch> {
    if !device.host_iface.is_empty() {
        let agrees = wanted == device.host_iface;
        return if agrees { Ok(Rule::HostIface) } else { Err(Mismatch::HostIface) };
    }
    if device.host_traddr.is_empty() {
        return Ok(Rule::AssumedIface);
    }
    let source: Option<IpAddr> = ip::meaning(&device.host_traddr);
    let owned = source.is_some_and(|source| {
        if ip::is_link_local(source) {
            interfaces.owners(source).any(|owner| owner == wanted)
        } else {
            interfaces.owner(source) == Some(wanted)
        }
    });
    if owned { Ok(Rule::InferredIface) } else { Err(Mismatch::HostIface) }
}

/// The fields under which an existing connection would be wanted: its own, with the interface
/// inferred from the source address where the kernel was not told one.
#[must_use]
pub fn fields_of(device: &Device, interfaces: &Interfaces) -> Fields {
    let iface = if device.host_iface.is_empty() {
        let owner = ip::meaning(&device.src_addr).and_then(|source| interfaces.owner(source));
        let zone = (!device.src_zone.is_empty()).then_some(device.src_zone.as_str());
        zone.or(owner).unwrap_or_default()
    } else {
        &device.host_iface
    };
    Fields {
        transport: device.transport.clone(),
        traddr: device.traddr.clone(),
        trsvcid: device.trsvcid.clone(),
        subsysnqn: device.subsysnqn.clone(),
        host_traddr: device.host_traddr.clone(),
        host_iface: iface.to_owned(),
        host_nqn: device.host_nqn.clone(),
    }
}

/// How much of its path a candidate pins down; of two candidates that one connection could serve,
/// the one with the greater number owns it.
#[must_use]
pub fn specificity(tid: &Tid) -> u8 {
    let pinned = [!tid.host_iface().is_empty(), !tid.host_traddr().is_empty()];
    let named = tid.subsysnqn() != DISC_NQN;
    pinned.into_iter().map(|pin| u8::from(pin) * 2).sum::<u8>() + u8::from(named)
}

/// Whether every connection made for `specific` could serve `general` as well: both go to the same
/// controller, and what `general` pins down of the path, `specific` pins down alike.
#[must_use]
pub fn covers(general: &Tid, specific: &Tid) -> bool {
    let same_or_open = |general: &str, specific: &str| general.is_empty() || general == specific;
    let nqn = general.subsysnqn();
    general.transport() == specific.transport()
        && general.traddr() == specific.traddr()
        && general.trsvcid() == specific.trsvcid()
        && general.host_nqn() == specific.host_nqn()
        && (nqn == specific.subsysnqn() || nqn == DISC_NQN)
        && same_or_open(general.host_traddr(), specific.host_traddr())
        && same_or_open(general.host_iface(), specific.host_iface())
}

/// What connections are looked up by: transport, target address, port.
type Key = (String, String, String);

/// The existing controllers by their targets, so that a look-up does not visit all of them.
#[derive(Debug)]
pub struct Index<'a> {
    devices: &'a [Device],
    by_target: HashMap<Key, Vec<usize>>,
}

impl<'a> Index<'a> {
    /// Indexes `devices`, which keep their order.
    #[must_use]
    pub fn new(devices: &'a [Device]) -> Self {
        let mut by_target: HashMap<Key, Vec<usize>> = HashMap::new();
        for (position, device) in devices.iter().enumerate() {
            let key = key(&device.transport, &device.traddr, &device.trsvcid);
            by_target.entry(key).or_default().push(position);
        }
        Self { devices, by_target }
    }

    /// The controllers that go to the candidate's target, in order; not yet judged.
    pub fn candidates(&self, tid: &Tid) -> impl Iterator<Item = &'a Device> {
        let key = key(tid.transport(), tid.traddr(), tid.trsvcid());
        let devices = self.devices;
        let found = self.by_target.get(&key).map_or(&[][..], Vec::as_slice);
        found.iter().filter_map(move |&position| devices.get(position))
    }

    /// The best controller of `class` to serve the candidate. Devices that are being deleted, and
    /// those for which `taken` is true, are never chosen; live ones come first, then those that
    /// match most surely, then those that stand first.
    #[must_use]
    pub fn best(
        &self,
        tid: &Tid,
        class: Class,
        interfaces: &Interfaces,
        taken: &dyn Fn(&DeviceId) -> bool,
    ) -> Option<(&'a Device, Rule)> {
        self.candidates(tid)
            .filter(|device| {
                device.class() == class && !device.state.is_gone() && !taken(&device.id)
            })
            .filter_map(|device| Some((device, serves(tid, device, interfaces)?)))
            .min_by_key(|(device, rule)| (device.state != State::Live, *rule))
    }
}

fn key(transport: &str, traddr: &str, trsvcid: &str) -> Key {
    let transport = transport.to_ascii_lowercase();
    let port = if tid::is_ip(&transport) { tid::port(trsvcid) } else { "" }.to_owned();
    let address = match ip::meaning(traddr).filter(|_| tid::is_ip(&transport)) {
        Some(address) => address.to_string(),
        None => traddr.to_ascii_lowercase(),
    };
    (transport, address, port)
}

#[cfg(test)]
mod tests;
