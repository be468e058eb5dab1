// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the route codec: both directions agree, and nothing a peer sends causes a panic.

use super::*;
use crate::netlink::message::messages;
use proptest::prelude::*;

/// A link message of the kernel with chosen attributes.
fn link(family: u8, kind: u16, fill: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut body = link_body(1, 7, IFF_UP | IFF_LOWER_UP, 0);
    body[0] = family;
    let mut out = Encoder::new(Header { kind, ..Header::default() }, &body);
    out.text(IFLA_IFNAME, "eth0");
    fill(&mut out);
    out.finish()
}

fn address(family: u8, fill: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut out = Encoder::new(
        Header { kind: ADDRESS.new, ..Header::default() },
        &[family, 24, 0, 0, 7, 0, 0, 0],
    );
    fill(&mut out);
    out.finish()
}

fn decoded(bytes: &[u8]) -> Result<Option<Change>, Malformed> {
    decode(&messages(bytes).next().expect("one message")?)
}

fn decoded_address(bytes: &[u8]) -> String {
    match decoded(bytes) {
        Ok(Some(Change::Address(it))) => format!("{} {}/{}", it.index, it.address, it.prefix_len),
        other => panic!("not an address: {other:?}"),
    }
}

fn decoded_link(bytes: &[u8]) -> Interface {
    match decoded(bytes) {
        Ok(Some(Change::Link(link))) => link,
        other => panic!("not a link: {other:?}"),
    }
}

#[test]
fn the_local_address_of_a_point_to_point_link_is_not_that_of_the_peer() {
    // R106; the order of the two attributes does not matter.
    let (local, peer) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    for swapped in [false, true] {
        let bytes = address(AF_INET, |out| {
            let pairs = [(IFA_ADDRESS, peer), (IFA_LOCAL, local)];
            let order = if swapped { [1, 0] } else { [0, 1] };
            for at in order {
                out.attribute(pairs[at].0, &pairs[at].1);
            }
        });
        assert_eq!(decoded_address(&bytes), "7 10.0.0.1/24");
    }
}

#[test]
fn an_address_without_local_part_or_label_is_understood() {
    // R106: IPv6 has neither; upstream loses interfaces that have nothing else.
    let ip = Ipv6Addr::LOCALHOST.octets();
    let bytes = address(AF_INET6, |out| out.attribute(IFA_ADDRESS, &ip));
    assert_eq!(decoded_address(&bytes), "7 ::1/24");
}

#[test]
fn an_alias_label_changes_nothing() {
    let bytes = address(AF_INET, |out| {
        out.attribute(IFA_LOCAL, &[10, 0, 0, 1]);
        out.text(3, "eth0:1");
    });
    assert_eq!(decoded_address(&bytes), "7 10.0.0.1/24");
}

#[test]
fn addresses_of_other_families_are_passed_over() {
    let bytes = address(28, |out| out.attribute(IFA_LOCAL, &[1, 2, 3])); // AF_MPLS
    assert_eq!(decoded(&bytes), Ok(None));
    assert_eq!(decoded(&address(AF_INET, |_| {})), Ok(None));
}

#[test]
fn an_address_of_the_wrong_size_is_malformed() {
    let bytes = address(AF_INET, |out| out.attribute(IFA_LOCAL, &[10, 0, 0]));
    assert_eq!(decoded(&bytes), Err(Malformed::Attribute(IFA_LOCAL)));
}

#[test]
fn a_vlan_is_recognised_with_its_number_and_carrier() {
    let bytes = link(AF_UNSPEC, LINK.new, |out| {
        out.attribute(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 9]);
        out.attribute(IFLA_LINK, &3_u32.to_ne_bytes());
        out.nested(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "vlan");
            info.nested(IFLA_INFO_DATA, |data| {
                data.attribute(2, &[0; 8]); // IFLA_VLAN_FLAGS
                data.attribute(IFLA_VLAN_ID, &100_u16.to_ne_bytes());
            });
        });
    });
    let link = decoded_link(&bytes);
    assert_eq!((link.index, link.name.as_str(), link.up, link.carrier), (7, "eth0", true, true));
    assert_eq!((link.kind.as_deref(), link.vlan), (Some("vlan"), Some(100)));
    assert_eq!((link.parent, link.mac), (Some(3), Some([2, 0, 0, 0, 0, 9])));
}

#[test]
fn the_data_of_another_kind_is_not_taken_for_a_vlan() {
    let bytes = link(AF_UNSPEC, LINK.new, |out| {
        out.nested(IFLA_LINKINFO, |info| {
            info.nested(IFLA_INFO_DATA, |data| data.attribute(1, &[1, 2, 3]));
            info.text(IFLA_INFO_KIND, "macvlan");
        });
    });
    let link = decoded_link(&bytes);
    assert_eq!((link.kind.as_deref(), link.vlan), (Some("macvlan"), None));
}

#[test]
fn a_parent_in_another_namespace_is_no_parent() {
    for before in [true, false] {
        let bytes = link(AF_UNSPEC, LINK.new, |out| {
            let foreign = |out: &mut Encoder| out.attribute(IFLA_LINK_NETNSID, &[0; 4]);
            if before {
                foreign(out);
            }
            out.attribute(IFLA_LINK, &3_u32.to_ne_bytes());
            if !before {
                foreign(out);
            }
        });
        assert_eq!(decoded_link(&bytes).parent, None);
    }
}

#[test]
fn an_infiniband_address_is_no_mac() {
    let bytes = link(AF_UNSPEC, LINK.new, |out| out.attribute(IFLA_ADDRESS, &[7; 20]));
    assert_eq!(decoded_link(&bytes).mac, None);
}

#[test]
fn leaving_a_bridge_does_not_remove_the_link() {
    let bytes = link(7, LINK.delete, |_| {}); // AF_BRIDGE
    assert_eq!(decoded(&bytes), Ok(None));
    assert_eq!(decoded(&link(AF_UNSPEC, LINK.delete, |_| {})), Ok(Some(Change::LinkGone(7))));
}

#[test]
fn routes_of_other_tables_are_passed_over() {
    let gateway = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254));
    let route = Route {
        destination: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        prefix_len: 0,
        gateway: Some(gateway),
        index: Some(2),
    };
    let mut bytes = encode(&Change::Route(route), 1);
    assert_eq!(decoded(&bytes), Ok(Some(Change::Route(route))));
    bytes[message::HEADER_LEN + 4] = 255; // RT_TABLE_LOCAL
    assert_eq!(decoded(&bytes), Ok(None));
}

#[test]
fn requests_have_the_flags_that_the_kernel_expects() {
    let address = Address { index: 2, address: Ipv4Addr::LOCALHOST.into(), prefix_len: 8 };
    for (request, kind, flags) in [
        (Request::Links, 18, 0x301),
        (Request::Addresses, 22, 0x301),
        (Request::SetUp(2), 16, 0x005),
        (Request::AddAddress(address), 20, 0x605),
    ] {
        let bytes = request.encode(77);
        let message = messages(&bytes).next().expect("one message").expect("well-formed");
        let header = message.header;
        assert_eq!((header.kind, header.flags, header.sequence), (kind, flags, 77), "{request:?}");
    }
    let bytes = Request::AddAddress(address).encode(1);
    assert_eq!(decoded(&bytes), Ok(Some(Change::Address(address))));
    let up = decoded_link(&Request::SetUp(2).encode(1));
    assert_eq!((up.index, up.up), (2, true));
}

#[test]
fn every_truncation_is_survived() {
    let whole = link(AF_UNSPEC, LINK.new, |out| {
        out.nested(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "vlan");
            info.nested(IFLA_INFO_DATA, |data| data.attribute(IFLA_VLAN_ID, &[1, 0]));
        });
    });
    for cut in 16..whole.len() {
        // A header that agrees with the cut, so that the attributes are what ends early.
        let mut bytes = whole[..cut].to_vec();
        let len = u32::try_from(cut).expect("short");
        bytes.splice(..4, len.to_ne_bytes());
        // Only between attributes; the padding behind a name of five bytes is optional.
        let complete_attributes = cut == 32 || (41..=44).contains(&cut);
        assert_eq!(decoded(&bytes).is_ok(), complete_attributes, "cut at {cut}");
    }
}

fn any_name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9.]{0,14}"
}

prop_compose! {
    fn any_interface()(
        index: u32, name in any_name(), hardware: u16, up: bool, carrier: bool,
        mac: Option<[u8; 6]>, permanent_mac: Option<[u8; 6]>,
        kind in proptest::option::of(any_name()), vlan: Option<u16>,
        parent in proptest::option::of(1_u32..), master in proptest::option::of(1_u32..),
    ) -> Interface {
        let kind = if vlan.is_some() { Some("vlan".to_owned()) } else { kind };
        Interface {
            index, name, hardware, up, carrier, mac, permanent_mac,
            kind, vlan, parent, master, addresses: Vec::new(),
        }
    }
}

fn any_route() -> impl Strategy<Value = Route> {
    let pair = prop_oneof![
        any::<(Ipv4Addr, Option<Ipv4Addr>)>().prop_map(|(a, b)| (IpAddr::V4(a), b.map(IpAddr::V4))),
        any::<(Ipv6Addr, Option<Ipv6Addr>)>().prop_map(|(a, b)| (IpAddr::V6(a), b.map(IpAddr::V6))),
    ];
    (pair, any::<u8>(), any::<Option<u32>>()).prop_map(
        |((destination, gateway), prefix_len, index)| Route {
            destination,
            prefix_len,
            gateway,
            index,
        },
    )
}

fn any_change() -> impl Strategy<Value = Change> {
    let address = || {
        (any::<u32>(), any::<IpAddr>(), any::<u8>())
            .prop_map(|(index, address, prefix_len)| Address { index, address, prefix_len })
    };
    prop_oneof![
        any_interface().prop_map(Change::Link),
        any::<u32>().prop_map(Change::LinkGone),
        address().prop_map(Change::Address),
        address().prop_map(Change::AddressGone),
        any_route().prop_map(Change::Route),
        any_route().prop_map(Change::RouteGone),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(change in any_change(), sequence: u32) {
        prop_assert_eq!(decoded(&encode(&change, sequence)), Ok(Some(change)));
    }

    #[test]
    fn any_payload_is_taken_without_panic(
        kind in 16_u16..27, payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let header = Header { kind, ..Header::default() };
        drop(decode(&Message { header, payload: &payload }));
    }

    #[test]
    fn a_damaged_message_is_taken_without_panic(
        change in any_change(), at in any::<proptest::sample::Index>(), value: u8,
    ) {
        let mut bytes = encode(&change, 1);
        let at = at.index(bytes.len());
        bytes[at] = value;
        for message in messages(&bytes).flatten() {
            drop(decode(&message));
        }
    }
}
