// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From log page entries to candidates.
//!
//! Owns what a candidate inherits from the discovery controller that reported it, and the question
//! whether the kernel already has a connection for it.

use super::cid::Class;
use super::fleet::Role;
use super::ip;
use super::logpage::Entry;
use super::matching::Index;
use super::port::Scan;
use super::tid::{Fields, Tid};

/// The identity of what `entry` describes. Host address, interface and NQN are those of the
/// reporting controller `parent`, as long as both are reached in the same way: a path of another
/// transport or address family says nothing about this one.
#[must_use]
pub fn fields(entry: &Entry, parent: &Fields) -> Fields {
    let transport = entry.transport();
    let same_way = parent.transport.eq_ignore_ascii_case(&transport)
        && is_v6(&parent.traddr) == is_v6(&entry.traddr);
    let inherited = |text: &str| if same_way { text.to_owned() } else { String::new() };
    Fields {
        transport,
        traddr: entry.traddr.to_string(),
        trsvcid: entry.trsvcid.to_string(),
        subsysnqn: entry.subnqn.to_string(),
        host_traddr: inherited(&parent.host_traddr),
        host_iface: inherited(&parent.host_iface),
        host_nqn: parent.host_nqn.clone(),
    }
}

/// `None` for what is no IP address.
fn is_v6(traddr: &str) -> Option<bool> {
    ip::meaning(ip::split_zone(traddr).0).map(|address| address.is_ipv6())
}

/// Whether two candidates go to the same address and port.
#[must_use]
pub fn same_portal(one: &Tid, other: &Tid) -> bool {
    one.transport() == other.transport()
        && one.traddr() == other.traddr()
        && one.trsvcid() == other.trsvcid()
}

/// Those of the candidates that a connection of the kernel can serve.
#[must_use]
pub fn connected<R: Role, T>(candidates: Vec<(Tid, T)>, scan: &Scan) -> Vec<(Tid, T)> {
    let class = if R::DISCOVERY { Class::Discovery } else { Class::Io };
    let index = Index::new(&scan.devices);
    let served = |tid: &Tid| index.best(tid, class, &scan.interfaces, &|_| false).is_some();
    candidates.into_iter().filter(|(tid, _)| served(tid)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::logpage::tests::raw;
    use super::*;

    fn parent() -> Fields {
        Fields {
            transport: "tcp".into(),
            traddr: "fe80::1".into(),
            trsvcid: "8009".into(),
            host_traddr: "fe80::2".into(),
            host_iface: "eth0".into(),
            host_nqn: "nqn.h".into(),
            ..Fields::default()
        }
    }

    fn entry(trtype: u8, traddr: &str) -> Entry {
        Entry::decode(&raw(trtype, 2, traddr, "4420", "nqn.s")).unwrap()
    }

    // R133
    #[test]
    fn a_candidate_inherits_the_path_of_its_reporter() {
        let fields = fields(&entry(3, "fe80::9"), &parent());
        assert_eq!(
            (&*fields.host_iface, &*fields.host_traddr, &*fields.host_nqn),
            ("eth0", "fe80::2", "nqn.h")
        );
        assert_eq!((&*fields.subsysnqn, &*fields.trsvcid), ("nqn.s", "4420"));
    }

    // R095
    #[test]
    fn without_a_host_name_of_the_reporter_the_default_counts() {
        let parent = Fields { host_nqn: String::new(), ..parent() };
        let defaults =
            crate::core::tid::TidDefaults { host_nqn: "nqn.default", ignore_iface: true };
        let tid = Tid::new(&fields(&entry(3, "fe80::9"), &parent), &defaults);
        assert_eq!((tid.host_nqn(), tid.host_iface()), ("nqn.default", ""));
    }

    // R134
    #[test]
    fn a_path_of_another_kind_is_not_inherited() {
        for entry in [entry(3, "10.0.0.1"), entry(1, "fe80::9")] {
            let fields = fields(&entry, &parent());
            assert_eq!((&*fields.host_iface, &*fields.host_traddr), ("", ""));
            assert_eq!(fields.host_nqn, "nqn.h");
        }
    }
}
