// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Questions and answers of the domain name system, for addresses only (RFC 1035, RFC 3596).
//!
//! Owns what is asked and what is believed of an answer: the number and the question must be the
//! ones sent, and only records that the asked name leads to, by aliases, count. The bytes are
//! left to the crate `simple-dns`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

use super::files::ADDRESSES_MAX;

/// Aliases followed from one name.
const ALIASES_MAX: usize = 16;
/// The longest name in its dotted form (RFC 1035, 2.3.4, less the two bytes of the wire form).
const NAME_LEN_MAX: usize = 253;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 (A).
    V4,
    /// IPv6 (AAAA).
    V6,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The name exists; it has these addresses of the kind asked for, possibly none.
    Addresses(Vec<IpAddr>),
    /// The name does not exist.
    NoName,
    /// The server cannot tell.
    Failed,
}

/// The packet that asks for `name`; `None` when that is not a name.
#[must_use]
pub fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let control = name.bytes().any(|byte| byte <= b' ' || byte == 0x7f);
    if control || name.len() > NAME_LEN_MAX || name.split('.').any(str::is_empty) {
        return None;
    }
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        Name::new(name).ok()?,
        QTYPE::TYPE(record_type(kind)),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().ok()
}

/// What `bytes` answers to the question `(id, name, kind)`; `None` when it does not answer it.
#[must_use]
pub fn reply(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Option<Reply> {
    let packet = Packet::parse(bytes).ok()?;
    let asked = Name::new(name).ok()?;
    let [question] = packet.questions.as_slice() else { return None };
    let same = packet.id() == id
        && packet.has_flags(PacketFlag::RESPONSE)
        && question.qname == asked
        && question.qtype == QTYPE::TYPE(record_type(kind))
        && question.qclass == QCLASS::CLASS(CLASS::IN);
    if !same {
        return None;
    }
    let found = match packet.rcode() {
        RCODE::NoError => addresses(&packet, &asked, kind),
        RCODE::NameError => return Some(Reply::NoName),
        _ => return Some(Reply::Failed),
    };
    // A truncated answer without a usable record says nothing about the name.
    if found.is_empty() && packet.has_flags(PacketFlag::TRUNCATION) {
        return Some(Reply::Failed);
    }
    Some(Reply::Addresses(found))
}

const fn record_type(kind: Kind) -> TYPE {
    match kind {
        Kind::V4 => TYPE::A,
        Kind::V6 => TYPE::AAAA,
    }
}

fn addresses(packet: &Packet<'_>, asked: &Name<'_>, kind: Kind) -> Vec<IpAddr> {
    let mut names = vec![asked];
    while names.len() <= ALIASES_MAX {
        let next = packet.answers.iter().find_map(|record| match &record.rdata {
            RData::CNAME(alias) if names.last() == Some(&&record.name) => Some(&alias.0),
            _ => None,
        });
        match next {
            Some(alias) if !names.contains(&alias) => names.push(alias),
            _ => break,
        }
    }
    let found =
        packet.answers.iter().filter(|record| names.contains(&&record.name)).filter_map(|record| {
            match (&record.rdata, kind) {
                (RData::A(v4), Kind::V4) => Some(IpAddr::V4(Ipv4Addr::from_bits(v4.address))),
                (RData::AAAA(v6), Kind::V6) => Some(IpAddr::V6(Ipv6Addr::from_bits(v6.address))),
                _ => None,
            }
        });
    found.take(ADDRESSES_MAX).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{A, AAAA, CNAME};

    use super::*;

    /// A record of an answer made up for a test: owner and data.
    pub(in super::super) enum Data {
        V4([u8; 4]),
        V6(&'static str),
        Alias(&'static str),
    }

    /// The answer of a well-behaved server to the question in `query`.
    pub(in super::super) fn answer(
        query: &[u8],
        rcode: RCODE,
        records: &[(&'static str, Data)],
    ) -> Vec<u8> {
        let asked = Packet::parse(query).unwrap();
        let mut packet = Packet::new_reply(asked.id());
        *packet.rcode_mut() = rcode;
        packet.questions = asked.questions.clone();
        for (owner, data) in records {
            let data = match data {
                Data::V4(v4) => RData::A(A { address: u32::from_be_bytes(*v4) }),
                Data::V6(text) => {
                    RData::AAAA(AAAA { address: text.parse::<Ipv6Addr>().unwrap().to_bits() })
                }
                Data::Alias(name) => RData::CNAME(CNAME(Name::new(name).unwrap())),
            };
            let owner = Name::new(owner).unwrap();
            packet.answers.push(ResourceRecord::new(owner, CLASS::IN, 60, data));
        }
        packet.build_bytes_vec_compressed().unwrap()
    }

    #[test]
    fn addresses_are_found_through_aliases_in_any_order() {
        let query = question(7, "array.example", Kind::V4).unwrap();
        let bytes = answer(
            &query,
            RCODE::NoError,
            &[
                ("c.example", Data::V4([10, 0, 0, 1])),
                ("b.example", Data::Alias("c.example")),
                ("array.example", Data::Alias("b.example")),
                ("c.example", Data::V4([10, 0, 0, 2])),
                ("other.example", Data::V4([6, 6, 6, 6])),
            ],
        );
        let expected = ["10.0.0.1", "10.0.0.2"].map(|a| a.parse::<IpAddr>().unwrap()).to_vec();
        assert_eq!(reply(&bytes, 7, "array.example", Kind::V4), Some(Reply::Addresses(expected)));
    }

    #[test]
    fn an_alias_loop_ends() {
        let query = question(7, "a.example", Kind::V4).unwrap();
        let records =
            [("a.example", Data::Alias("b.example")), ("b.example", Data::Alias("a.example"))];
        let bytes = answer(&query, RCODE::NoError, &records);
        assert_eq!(reply(&bytes, 7, "a.example", Kind::V4), Some(Reply::Addresses(Vec::new())));
    }

    #[test]
    fn an_answer_to_another_question_is_not_believed() {
        let query = question(7, "array.example", Kind::V4).unwrap();
        let records = [("array.example", Data::V4([10, 0, 0, 1]))];
        let bytes = answer(&query, RCODE::NoError, &records);
        assert!(reply(&bytes, 7, "ARRAY.example", Kind::V4).is_some(), "names ignore case");
        assert_eq!(reply(&bytes, 8, "array.example", Kind::V4), None, "other number");
        assert_eq!(reply(&bytes, 7, "array2.example", Kind::V4), None, "other name");
        assert_eq!(reply(&bytes, 7, "array.example", Kind::V6), None, "other kind");
        assert_eq!(reply(&query, 7, "array.example", Kind::V4), None, "a question is no answer");
    }

    #[test]
    fn a_missing_name_and_a_failing_server_are_told_apart() {
        let query = question(7, "x.example", Kind::V6).unwrap();
        let said = |rcode| reply(&answer(&query, rcode, &[]), 7, "x.example", Kind::V6);
        assert_eq!(said(RCODE::NameError), Some(Reply::NoName));
        assert_eq!(said(RCODE::ServerFailure), Some(Reply::Failed));
        assert_eq!(said(RCODE::Refused), Some(Reply::Failed));
        assert_eq!(said(RCODE::NoError), Some(Reply::Addresses(Vec::new())));
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        for name in ["", "a b", "a..b", &"x".repeat(64), &"x.".repeat(140), "a\0b"] {
            assert_eq!(question(1, name, Kind::V4), None, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_hurt(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(reply(&bytes, 7, "array.example", Kind::V4), None);
        }

        #[test]
        fn no_damage_to_an_answer_hurts(at in 0usize..60, value in any::<u8>()) {
            let query = question(7, "array.example", Kind::V6).unwrap();
            let records = [("array.example", Data::V6("fd00::1"))];
            let mut bytes = answer(&query, RCODE::NoError, &records);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            if let Some(Reply::Addresses(found)) = reply(&bytes, 7, "array.example", Kind::V6) {
                prop_assert!(found.len() <= 1);
            }
        }
    }
}
