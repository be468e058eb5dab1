// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the matching rules: every row of the tables, then preference and look-up.

use super::*;
use crate::core::iface::Interface;
use crate::core::tid::TidDefaults;

const SOURCE: &str = "192.168.1.20";
const SOURCE6: &str = "fe80::dead:beef";

fn interfaces() -> Interfaces {
    let make = |index, name: &str, addresses: &[&str]| Interface {
        index,
        name: name.to_owned(),
        up: true,
        mac: None,
        addresses: addresses.iter().map(|a| a.parse().expect("an address")).collect(),
    };
    Interfaces(vec![
        make(1, "eth0", &[SOURCE, SOURCE6]),
        make(2, "eth1", &["10.0.0.1", "10.0.0.2"]),
        make(3, "lo", &["127.0.0.1", "::1"]),
    ])
}

/// A live TCP device without source and interface.
fn device(number: u64, traddr: &str) -> Device {
    Device {
        id: DeviceId { name: format!("nvme{number}"), instance: number },
        transport: "tcp".to_owned(),
        traddr: traddr.to_owned(),
        trsvcid: "8009".to_owned(),
        host_traddr: String::new(),
        host_iface: String::new(),
        src_addr: String::new(),
        src_zone: String::new(),
        subsysnqn: "hello".to_owned(),
        host_nqn: String::new(),
        state: State::Live,
        cntrltype: "io".to_owned(),
        dctype: "none".to_owned(),
        namespaces: 1,
        holds_system: false,
        owner: String::new(),
    }
}

fn fields(traddr: &str, host_traddr: &str, host_iface: &str) -> Fields {
    Fields {
        transport: "tcp".to_owned(),
        traddr: traddr.to_owned(),
        trsvcid: "8009".to_owned(),
        subsysnqn: "hello".to_owned(),
        host_traddr: host_traddr.to_owned(),
        host_iface: host_iface.to_owned(),
        host_nqn: String::new(),
    }
}

fn tid_of(fields: &Fields) -> Tid {
    Tid::new(fields, &TidDefaults::default())
}

fn tid(traddr: &str, host_traddr: &str, host_iface: &str) -> Tid {
    tid_of(&fields(traddr, host_traddr, host_iface))
}

// R103
#[test]
fn every_field_of_a_candidate_is_compared() {
    let v4 = ("1.2.3.4", SOURCE);
    let v6 = ("FE80::aaaa:BBBB:cccc:dddd", SOURCE6);
    for (traddr, source) in [v4, v6] {
        for src_addr in [source, ""] {
            let existing = Device {
                host_traddr: source.to_owned(),
                host_iface: "eth0".to_owned(),
                src_addr: src_addr.to_owned(),
                ..device(1, traddr)
            };
            let base = fields(traddr, source, "eth0");
            let differing = |name: &str, value: &str| {
                let mut fields = base.clone();
                value.clone_into(fields.get_mut(name).expect("a known field"));
                judge(&tid_of(&fields), &existing, &interfaces()).map(|_| ())
            };
            for (name, value, expected) in [
                ("transport", "tcp", Ok(())),
                ("traddr", &traddr.to_lowercase(), Ok(())),
                ("traddr", &traddr.to_uppercase(), Ok(())),
                ("transport", "blah", Err(Mismatch::Transport)),
                ("traddr", "4.3.2.1", Err(Mismatch::Traddr)),
                ("trsvcid", "8010", Err(Mismatch::Trsvcid)),
                ("host-traddr", "255.255.255.255", Err(Mismatch::HostTraddr)),
                ("host-iface", "blah", Err(Mismatch::HostIface)),
                ("subsysnqn", "bob", Err(Mismatch::Subsysnqn)),
                ("host-traddr", "", Ok(())),
                ("host-iface", "", Ok(())),
                ("subsysnqn", DISC_NQN, Ok(())),
                ("host-nqn", "x", Err(Mismatch::HostNqn)),
            ] {
                assert_eq!(differing(name, value), expected, "{name}={value} src {src_addr:?}");
            }
            assert!(serves(&tid(traddr, "", ""), &existing, &interfaces()).is_some());
        }
    }
}

// R103
#[test]
fn without_a_known_source_the_options_are_compared() {
    for (row, [known_traddr, known_iface, traddr, iface], expected) in [
        ("A1", ["", "", "1.1.1.1", ""], Some(Rule::AssumedAddress)),
        ("A2", ["", "eth0", "", ""], Some(Rule::Otherwise)),
        ("B", [SOURCE, "", "1.1.1.1", ""], None),
        ("C", [SOURCE, "", "", "blah"], None),
        ("D", [SOURCE, "", "", "eth0"], Some(Rule::InferredIface)),
        ("E", ["", "eth0", "1.1.1.1", "blah"], None),
        ("F", ["", "eth0", "1.1.1.1", ""], None),
        ("G1", ["", "eth0", SOURCE, ""], Some(Rule::InferredAddress)),
        ("G2", ["", "eth1", "10.0.0.2", ""], None),
        ("G3", ["", "eth9", "1.1.1.1", ""], Some(Rule::AssumedAddress)),
        ("exact", [SOURCE, "eth0", SOURCE, "eth0"], Some(Rule::HostIface)),
        ("no address", ["", "eth0", "garbage", ""], None),
    ] {
        let existing = Device {
            host_traddr: known_traddr.to_owned(),
            host_iface: known_iface.to_owned(),
            ..device(1, "1.2.3.4")
        };
        let rule = serves(&tid("1.2.3.4", traddr, iface), &existing, &interfaces());
        assert_eq!(rule, expected, "{row}");
    }
}

// R103
#[test]
fn other_transports_have_their_own_rules() {
    let existing = |transport: &str, traddr: &str, host_traddr: &str| Device {
        transport: transport.to_owned(),
        trsvcid: if transport == "rdma" { "4444".to_owned() } else { String::new() },
        host_traddr: host_traddr.to_owned(),
        ..device(1, traddr)
    };
    let wanted = |transport: &str, traddr: &str, host_traddr: &str| Fields {
        transport: transport.to_owned(),
        trsvcid: "4444".to_owned(),
        ..fields(traddr, host_traddr, "")
    };
    for (device, fields, expected) in [
        (existing("fc", "ABC", "AAA::BBBB"), wanted("fc", "ABC", "AAA::BBBB"), Some("5")),
        (existing("fc", "ABC", "AAA::BBBB"), wanted("fc", "ABC", "BBBB::AAA"), None),
        (existing("fc", "ABC", "AAA::BBBB"), wanted("fc", "ABC", ""), None),
        (existing("fc", "ABC", "AAA::BBBB"), wanted("fc", "abc", "aaa::bbbb"), Some("5")),
        (existing("rdma", "2.3.4.5", "5.4.3.2"), wanted("rdma", "2.3.4.5", "5.4.3.2"), Some("6")),
        (existing("rdma", "2.3.4.5", "5.4.3.2"), wanted("rdma", "2.3.4.5", "5.5.6.6"), None),
        (existing("rdma", "2.3.4.5", "5.4.3.2"), wanted("rdma", "2.3.4.5", ""), Some("7")),
        (existing("rdma", "fe80::1%eth0", ""), wanted("rdma", "fe80::1%eth1", ""), None),
        (existing("rdma", "fe80::1%eth0", ""), wanted("rdma", "FE80::1%eth0", ""), Some("7")),
        (existing("loop", "", ""), wanted("loop", "", ""), Some("7")),
        (existing("loop", "", ""), wanted("loop", "x", ""), None),
        (existing("pcie", "0000:00:04.0", ""), wanted("pcie", "0000:00:04.0", ""), None),
    ] {
        let rule = serves(&tid_of(&fields), &device, &interfaces());
        assert_eq!(rule.map(Rule::number), expected, "{fields:?}");
    }
}

/// One row of the matrix: what is known of the existing connection, and who is served.
struct Row {
    host_traddr: &'static str,
    host_iface: &'static str,
    src_addr: &'static str,
    served: [bool; 9],
}

/// The matrix, with `S` for a source on eth0, `X` for one on no interface, `L` for loopback.
const MATRIX: [Row; 7] = {
    const Y: bool = true;
    const N: bool = false;
    const fn row(known: [&'static str; 3], served: [bool; 9]) -> Row {
        let [host_traddr, host_iface, src_addr] = known;
        Row { host_traddr, host_iface, src_addr, served }
    }
    [
        row(["", "", ""], [Y; 9]),
        row(["S", "", ""], [Y, Y, Y, Y, N, N, N, N, N]),
        row(["", "eth0", ""], [Y, Y, Y, Y, N, N, N, N, N]),
        row(["S", "eth0", ""], [Y, Y, Y, Y, N, N, N, N, N]),
        row(["X", "", ""], [Y, N, N, N, Y, N, N, N, N]),
        row(["", "", "S"], [Y, Y, Y, Y, N, N, N, N, N]),
        row(["", "", "L"], [Y, N, N, N, N, N, Y, N, N]),
    ]
};

// R103
#[test]
fn the_full_matrix_holds_for_both_families() {
    let candidates = [
        ("", ""),
        ("S", ""),
        ("", "eth0"),
        ("S", "eth0"),
        ("X", ""),
        ("X", "eth0"),
        ("", "lo"),
        ("S", "lo"),
        ("X", "lo"),
    ];
    for (target, s, x, l) in [
        ("123.123.123.123", SOURCE, "192.168.1.21", "127.0.0.1"),
        ("aaaa::bbbb", SOURCE6, "fe80::dead:cafe", "::1"),
    ] {
        let spell = |name: &str| match name {
            "S" => s.to_owned(),
            "X" => x.to_owned(),
            "L" => l.to_owned(),
            other => other.to_owned(),
        };
        for (number, row) in (1..).zip(&MATRIX) {
            let existing = Device {
                host_traddr: spell(row.host_traddr),
                host_iface: row.host_iface.to_owned(),
                src_addr: spell(row.src_addr),
                ..device(1, target)
            };
            let served = candidates.map(|(host_traddr, host_iface)| {
                let tid = tid(target, &spell(host_traddr), host_iface);
                serves(&tid, &existing, &interfaces()).is_some()
            });
            assert_eq!(served, row.served, "r{number} {target}");
        }
    }
}

// R105
#[test]
fn a_link_local_source_is_on_the_link_that_is_known() {
    let mut table = interfaces();
    table.0[1].addresses.push(SOURCE6.parse().expect("an address"));
    for (zone, known_iface, wanted, expected) in [
        ("eth1", "", "eth1", true),
        ("eth1", "", "eth0", false),
        ("eth1", "eth0", "eth0", false),
        ("", "eth1", "eth1", true),
        ("", "eth1", "eth0", false),
        ("", "", "lo", false),
    ] {
        let existing = Device {
            src_addr: SOURCE6.to_owned(),
            src_zone: zone.to_owned(),
            host_iface: known_iface.to_owned(),
            ..device(1, "fe80::1")
        };
        let served = serves(&tid("fe80::1", "", wanted), &existing, &table).is_some();
        assert_eq!(served, expected, "zone {zone:?} iface {known_iface:?} wanted {wanted}");
    }
}

fn free(_: &DeviceId) -> bool {
    false
}

// R104
#[test]
fn live_devices_come_first_and_dying_ones_never() {
    let state = |number, state| Device { state, ..device(number, "1.1.1.1") };
    let devices = [
        state(0, State::Dead),
        state(1, State::Deleting),
        state(2, State::Connecting),
        state(3, State::Live),
        state(4, State::Live),
    ];
    let best = |count: usize| {
        let index = Index::new(&devices[..count]);
        let found = index.best(&tid("1.1.1.1", "", ""), Class::Io, &interfaces(), &free);
        found.map(|(device, _)| device.id.name.clone())
    };
    assert_eq!(best(2), None);
    assert_eq!(best(3).as_deref(), Some("nvme2"));
    assert_eq!(best(5).as_deref(), Some("nvme3"));
}

// R104
#[test]
fn exact_matches_are_preferred_to_inferred_ones() {
    let devices = [
        device(0, "1.1.1.1"),
        Device { host_traddr: SOURCE.to_owned(), ..device(1, "1.1.1.1") },
        Device {
            host_iface: "eth0".to_owned(),
            src_addr: SOURCE.to_owned(),
            ..device(2, "1.1.1.1")
        },
        Device { host_iface: "eth0".to_owned(), ..device(3, "1.1.1.1") },
    ];
    let index = Index::new(&devices);
    let (found, rule) =
        index.best(&tid("1.1.1.1", "", "eth0"), Class::Io, &interfaces(), &free).expect("a match");
    assert_eq!((found.id.name.as_str(), rule), ("nvme3", Rule::HostIface));
}

// R104
#[test]
fn a_device_in_use_is_never_chosen() {
    let devices = [device(0, "1.1.1.1"), device(1, "1.1.1.1")];
    let index = Index::new(&devices);
    for (taken, expected) in
        [(&[][..], Some("nvme0")), (&["nvme0"], Some("nvme1")), (&["nvme0", "nvme1"], None)]
    {
        let is_taken = |id: &DeviceId| taken.contains(&id.name.as_str());
        let found = index.best(&tid("1.1.1.1", "", ""), Class::Io, &interfaces(), &is_taken);
        assert_eq!(found.map(|(device, _)| device.id.name.as_str()), expected);
    }
}

// R103
#[test]
fn only_devices_of_the_right_class_are_considered() {
    let devices = [
        Device { cntrltype: "discovery".to_owned(), namespaces: 0, ..device(0, "1.1.1.1") },
        device(1, "1.1.1.1"),
    ];
    let index = Index::new(&devices);
    for (class, expected) in
        [(Class::Discovery, Some("nvme0")), (Class::Io, Some("nvme1")), (Class::Unknown, None)]
    {
        let found = index.best(&tid("1.1.1.1", "", ""), class, &interfaces(), &free);
        assert_eq!(found.map(|(device, _)| device.id.name.as_str()), expected, "{class:?}");
    }
}

// R138
#[test]
fn a_general_candidate_is_covered_by_a_more_specific_one() {
    let general = tid("1.1.1.1", "", "");
    let by_iface = tid("1.1.1.1", "", "eth0");
    let by_both = tid("1.1.1.1", SOURCE, "eth0");
    let well_known = tid_of(&Fields { subsysnqn: DISC_NQN.to_owned(), ..general.fields().clone() });
    let all = [&well_known, &general, &by_iface, &by_both];
    for (weaker, one) in all.iter().enumerate() {
        for (stronger, other) in all.iter().enumerate() {
            assert_eq!(covers(one, other), weaker <= stronger, "{one} {other}");
            assert_eq!(specificity(one).cmp(&specificity(other)), weaker.cmp(&stronger));
        }
    }
    assert!(!covers(&by_iface, &tid("1.1.1.1", "", "eth1")));
    assert!(!covers(&general, &tid("1.1.1.2", "", "")));
}

// R140, R142
#[test]
fn a_foreign_connection_is_wanted_by_its_own_fields() {
    let foreign = Device {
        src_addr: SOURCE.to_owned(),
        host_nqn: "nqn.host".to_owned(),
        ..device(0, "1.1.1.1")
    };
    let derived = fields_of(&foreign, &interfaces());
    assert_eq!((derived.host_iface.as_str(), derived.host_traddr.as_str()), ("eth0", ""));
    assert!(serves(&tid_of(&derived), &foreign, &interfaces()).is_some());
    let zoned = Device { src_zone: "eth7".to_owned(), ..foreign.clone() };
    assert_eq!(fields_of(&zoned, &interfaces()).host_iface, "eth7");
    let told = Device { host_iface: "eth1".to_owned(), ..foreign };
    assert_eq!(fields_of(&told, &interfaces()).host_iface, "eth1");
}

// R236
#[test]
fn a_look_up_visits_only_devices_of_the_same_target() {
    let address = |n: u64| format!("10.1.{}.{}", n / 250, n % 250);
    let devices: Vec<Device> = (0..1000).map(|n| device(n, &address(n))).collect();
    let index = Index::new(&devices);
    for n in 0..1000 {
        let tid = tid(&format!("::ffff:{}", address(n)), "", "");
        let found: Vec<u64> = index.candidates(&tid).map(|device| device.id.instance).collect();
        assert_eq!(found, [n]);
    }
}

// R236
#[test]
fn the_index_finds_every_device_that_serves() {
    let spelled = [
        ("tcp", "FE80::1", "08009"),
        ("TCP", "fe80:0::1", "8009"),
        ("rdma", "fe80::1%eth0", "8009"),
        ("fc", "NN-0xAB:pn-0x1", "4420"),
        ("loop", "", ""),
    ];
    let devices: Vec<Device> = (0..)
        .zip(spelled)
        .map(|(number, (transport, traddr, trsvcid))| Device {
            transport: transport.to_owned(),
            trsvcid: trsvcid.to_owned(),
            ..device(number, traddr)
        })
        .collect();
    let index = Index::new(&devices);
    for (transport, traddr, trsvcid) in spelled {
        let wanted = tid_of(&Fields {
            transport: transport.to_owned(),
            trsvcid: trsvcid.to_owned(),
            ..fields(traddr, "", "")
        });
        let direct: Vec<u64> = devices
            .iter()
            .filter(|device| serves(&wanted, device, &interfaces()).is_some())
            .map(|device| device.id.instance)
            .collect();
        let indexed: Vec<u64> = index
            .candidates(&wanted)
            .filter(|device| serves(&wanted, device, &interfaces()).is_some())
            .map(|device| device.id.instance)
            .collect();
        assert!(!direct.is_empty(), "{transport}");
        assert_eq!(direct, indexed, "{transport}");
    }
}
