// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Transport identifiers: the seven fields that tell one wanted controller from another.
//!
//! Owns the normal form in which identifiers are compared, and the spelling in which they are
//! shown. Whether an existing kernel connection can serve an identifier is left to
//! [`super::matching`]. Normalising is idempotent: an identifier made from the fields of another
//! one equals it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::ip;

/// The fields of an identifier as some source spelled them; an empty field is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fields {
    /// `tcp`, `rdma`, `fc` or `loop`.
    pub transport: String,
    /// The target's address.
    pub traddr: String,
    /// The target's port.
    pub trsvcid: String,
    /// The subsystem's NQN.
    pub subsysnqn: String,
    /// The source address, or the host port of Fibre Channel.
    pub host_traddr: String,
    /// The interface to leave by.
    pub host_iface: String,
    /// The NQN to introduce the host with.
    pub host_nqn: String,
}

impl Fields {
    /// The names that the fields have in dictionaries and on the bus, in order.
    pub const NAMES: [&'static str; 7] =
        ["transport", "traddr", "trsvcid", "subsysnqn", "host-traddr", "host-iface", "host-nqn"];

    /// The value of the field called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs().into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The field called `name`, for writing. `nqn` is another name of `subsysnqn`.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut String> {
        Some(match name {
            "transport" => &mut self.transport,
            "traddr" => &mut self.traddr,
            "trsvcid" => &mut self.trsvcid,
            "subsysnqn" | "nqn" => &mut self.subsysnqn,
            "host-traddr" => &mut self.host_traddr,
            "host-iface" => &mut self.host_iface,
            "host-nqn" => &mut self.host_nqn,
            _ => return None,
        })
    }

    /// All fields with their names, in order, empty ones included.
    #[must_use]
    pub fn pairs(&self) -> [(&'static str, &str); 7] {
        [
            ("transport", &self.transport),
            ("traddr", &self.traddr),
            ("trsvcid", &self.trsvcid),
            ("subsysnqn", &self.subsysnqn),
            ("host-traddr", &self.host_traddr),
            ("host-iface", &self.host_iface),
            ("host-nqn", &self.host_nqn),
        ]
    }
}

/// What fills the gaps of an identifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TidDefaults<'a> {
    /// The host's NQN, for identifiers that bring none.
    pub host_nqn: &'a str,
    /// Whether interfaces are ignored, wherever they come from.
    pub ignore_iface: bool,
}

/// The key of one wanted controller. Compared in normal form, shown as spelled.
///
/// A copy costs nothing but a count, since every table of a core has its own.
#[derive(Clone, Debug)]
pub struct Tid(Arc<Forms>);

#[derive(Debug)]
struct Forms {
    shown: Fields,
    key: Fields,
}

impl Tid {
    /// Completes and normalises `fields`.
    #[must_use]
    pub fn new(fields: &Fields, defaults: &TidDefaults<'_>) -> Self {
        let shown = complete(fields, defaults);
        let key = normalise(&shown);
        Self(Arc::new(Forms { shown, key }))
    }

    /// The transport in lower case.
    #[must_use]
    pub fn transport(&self) -> &str {
        &self.0.key.transport
    }

    /// The target's address: an IP address in canonical form, anything else in lower case.
    #[must_use]
    pub fn traddr(&self) -> &str {
        &self.0.key.traddr
    }

    /// The target's port without leading zeros; empty for transports without ports.
    #[must_use]
    pub fn trsvcid(&self) -> &str {
        &self.0.key.trsvcid
    }

    /// The subsystem's NQN.
    #[must_use]
    pub fn subsysnqn(&self) -> &str {
        &self.0.key.subsysnqn
    }

    /// The source address in the same form as [`Tid::traddr`].
    #[must_use]
    pub fn host_traddr(&self) -> &str {
        &self.0.key.host_traddr
    }

    /// The interface to leave by; empty unless the transport is TCP.
    #[must_use]
    pub fn host_iface(&self) -> &str {
        &self.0.key.host_iface
    }

    /// The NQN to introduce the host with.
    #[must_use]
    pub fn host_nqn(&self) -> &str {
        &self.0.key.host_nqn
    }

    /// The completed fields in their original spelling.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        &self.0.shown
    }
}

impl PartialEq for Tid {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.key == other.0.key
    }
}

impl Eq for Tid {}

impl PartialOrd for Tid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Tid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

impl Hash for Tid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

impl fmt::Display for Tid {
    /// `(transport, traddr, trsvcid[, subsysnqn][, host_iface][, host_traddr])`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0.shown;
        write!(f, "({}, {}, {}", shown.transport, shown.traddr, shown.trsvcid)?;
        for optional in [&shown.subsysnqn, &shown.host_iface, &shown.host_traddr] {
            if !optional.is_empty() {
                write!(f, ", {optional}")?;
            }
        }
        f.write_str(")")
    }
}

/// Whether connections of this transport go to IP addresses and ports.
#[must_use]
pub fn is_ip(transport: &str) -> bool {
    transport.eq_ignore_ascii_case("tcp") || transport.eq_ignore_ascii_case("rdma")
}

/// A port number without leading zeros; any other text unchanged.
#[must_use]
pub fn port(text: &str) -> &str {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text;
    }
    let digits = text.trim_start_matches('0');
    if digits.is_empty() { "0" } else { digits }
}

/// An address in the form in which addresses of `transport` are compared: canonical with its zone
/// kept where it is an IP address, else in lower case.
#[must_use]
pub fn address(transport: &str, text: &str) -> String {
    let (bare, zone) = ip::split_zone(text);
    match ip::parse(bare).filter(|_| is_ip(transport)) {
        Some(address) => {
            let address = ip::canonical(address);
            zone.map_or_else(|| address.to_string(), |zone| format!("{address}%{zone}"))
        }
        None => text.to_ascii_lowercase(),
    }
}

/// The text that is meant: without blanks around it, and empty for `none` in any letter case.
#[must_use]
pub fn value(text: &str) -> &str {
    let text = text.trim();
    if text.eq_ignore_ascii_case("none") { "" } else { text }
}

fn complete(fields: &Fields, defaults: &TidDefaults<'_>) -> Fields {
    let transport = value(&fields.transport);
    let is_tcp = transport.eq_ignore_ascii_case("tcp");
    let mut shown = Fields {
        transport: transport.to_owned(),
        traddr: value(&fields.traddr).to_owned(),
        trsvcid: String::new(),
        subsysnqn: value(&fields.subsysnqn).to_owned(),
        host_traddr: value(&fields.host_traddr).to_owned(),
        host_iface: String::new(),
        host_nqn: value(&fields.host_nqn).to_owned(),
    };
    if is_ip(transport) {
        let default = if is_tcp { "8009" } else { "4420" };
        let given = value(&fields.trsvcid);
        shown.trsvcid = if given.is_empty() { default } else { given }.to_owned();
    }
    if is_tcp {
        // TCP wants the interface as an option of its own; only TCP knows that option.
        shown.host_iface = value(&fields.host_iface).to_owned();
        let zone = take_zone(&mut shown.traddr);
        let source_zone = take_zone(&mut shown.host_traddr);
        if shown.host_iface.is_empty() {
            shown.host_iface = zone.or(source_zone).unwrap_or_default();
        }
        if defaults.ignore_iface {
            shown.host_iface.clear();
        }
    }
    if shown.host_nqn.is_empty() {
        shown.host_nqn = value(defaults.host_nqn).to_owned();
    }
    shown
}

/// Cuts the zone off an IP address and returns it.
fn take_zone(address: &mut String) -> Option<String> {
    let (bare, zone) = ip::split_zone(address);
    ip::parse(bare)?;
    let (length, zone) = (bare.len(), zone.map(|zone| value(zone).to_owned()));
    address.truncate(length);
    zone
}

fn normalise(shown: &Fields) -> Fields {
    let transport = shown.transport.to_ascii_lowercase();
    Fields {
        traddr: address(&transport, &shown.traddr),
        trsvcid: port(&shown.trsvcid).to_owned(),
        subsysnqn: shown.subsysnqn.clone(),
        host_traddr: address(&transport, &shown.host_traddr),
        host_iface: shown.host_iface.clone(),
        host_nqn: shown.host_nqn.clone(),
        transport,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NQN: &str = "nqn.1988-11.com.dell:SFSS:2:20220208134025e8";

    /// Fields in the order of [`Fields::NAMES`], from the left.
    fn fields(values: &[&str]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in Fields::NAMES.iter().zip(values) {
            fields.get_mut(name).expect("a known field").push_str(value);
        }
        fields
    }

    fn tid(values: &[&str]) -> Tid {
        Tid::new(&fields(values), &TidDefaults { host_nqn: "nqn.host", ignore_iface: false })
    }

    // R095
    #[test]
    fn the_text_form_leaves_out_what_is_empty() {
        for (values, text) in [
            (
                &["tcp", "10.10.10.10", "8009", NQN, "1.2.3.4", "wlp0s20f3"][..],
                format!("(tcp, 10.10.10.10, 8009, {NQN}, wlp0s20f3, 1.2.3.4)"),
            ),
            (&["tcp", "10.10.10.10"], "(tcp, 10.10.10.10, 8009)".to_owned()),
            (&["tcp", "::1", "1", "", "::2"], "(tcp, ::1, 1, ::2)".to_owned()),
            (&["fc", "nn-0xA", "4420", "n"], "(fc, nn-0xA, , n)".to_owned()),
        ] {
            assert_eq!(tid(values).to_string(), text);
        }
    }

    // R096
    #[test]
    fn ports_have_defaults_where_the_transport_has_ports() {
        for (transport, given, expected) in [
            ("tcp", "", "8009"),
            ("TCP", "none", "8009"),
            ("rdma", "", "4420"),
            ("rdma", "0004421", "4421"),
            ("tcp", "000", "0"),
            ("fc", "4420", ""),
            ("loop", "4420", ""),
        ] {
            assert_eq!(tid(&[transport, "1.1.1.1", given]).trsvcid(), expected, "{transport}");
        }
    }

    // R095, R096
    #[test]
    fn spellings_of_one_controller_are_equal() {
        let same: &[(&[&str], &[&str])] = &[
            (&["tcp", "FE80::1", "", "", "", "a"], &["tcp", "fe80:0::1", "", "", "", "a"]),
            (&["tcp", "::ffff:10.0.0.1"], &["TCP", "10.0.0.1"]),
            (&["tcp", "10.0.0.1", "08009"], &["tcp", "10.0.0.1", "8009"]),
            (&["tcp", "10.0.0.1", "", "", "NONE"], &["tcp", " 10.0.0.1 ", "none"]),
            (&["fc", "NN-0xAB:PN-0xCD"], &["fc", "nn-0xab:pn-0xcd", "4420"]),
            (&["tcp", "Storage.Example"], &["tcp", "storage.example"]),
            (
                &["rdma", "1.1.1.1", "", "", "::FFFF:1.2.3.4"],
                &["rdma", "1.1.1.1", "", "", "1.2.3.4"],
            ),
            (&["tcp", "1.1.1.1", "", "", "", "", "nqn.host"], &["tcp", "1.1.1.1"]),
        ];
        for (one, other) in same {
            assert_eq!(tid(one), tid(other));
            assert_eq!(tid(one).cmp(&tid(other)), Ordering::Equal);
        }
        let base = ["tcp", "10.0.0.1", "8009", "n", "1.2.3.4", "eth0", "h"];
        for position in 1..7 {
            let mut other = base;
            other[position] = "5.6.7.8";
            assert_ne!(tid(&base), tid(&other), "field {position}");
        }
        assert_ne!(tid(&["tcp", "10.0.0.1", "", "N"]), tid(&["tcp", "10.0.0.1", "", "n"]));
    }

    // R096
    #[test]
    fn the_original_spelling_is_shown() {
        let tid = tid(&["tcp", "FE80:0::1", "08009", "", "", "eth0"]);
        assert_eq!(tid.to_string(), "(tcp, FE80:0::1, 08009, eth0)");
        assert_eq!((tid.traddr(), tid.trsvcid()), ("fe80::1", "8009"));
    }

    // R097
    #[test]
    fn only_tcp_has_an_interface() {
        for (transport, expected) in [("tcp", "eth0"), ("rdma", ""), ("fc", ""), ("loop", "")] {
            let tid = tid(&[transport, "1.1.1.1", "", "", "", "eth0"]);
            assert_eq!(tid.host_iface(), expected, "{transport}");
            assert_eq!(tid.fields().host_iface, expected, "{transport}");
        }
        let ignoring = TidDefaults { host_nqn: "", ignore_iface: true };
        let tid = Tid::new(&fields(&["tcp", "fe80::1%eth1", "", "", "", "eth0"]), &ignoring);
        assert_eq!(tid.host_iface(), "");
        assert_eq!(tid.traddr(), "fe80::1");
    }

    // R098
    #[test]
    fn the_zone_becomes_the_interface_of_tcp_and_stays_with_rdma() {
        for (values, traddr, source, iface) in [
            (&["tcp", "fe80::1%eth0"][..], "fe80::1", "", "eth0"),
            (&["tcp", "fe80::1%eth0", "", "", "", "eth1"], "fe80::1", "", "eth1"),
            (&["tcp", "fe80::1", "", "", "fe80::2%eth2"], "fe80::1", "fe80::2", "eth2"),
            (&["tcp", "fe80::1%"], "fe80::1", "", ""),
            (&["rdma", "FE80::1%eth0"], "fe80::1%eth0", "", ""),
            (&["tcp", "no%address"], "no%address", "", ""),
        ] {
            let tid = tid(values);
            assert_eq!(
                (tid.traddr(), tid.host_traddr(), tid.host_iface()),
                (traddr, source, iface)
            );
        }
    }

    // R057, R095
    #[test]
    fn the_host_nqn_is_that_of_the_host_unless_given() {
        assert_eq!(tid(&["tcp", "1.1.1.1"]).host_nqn(), "nqn.host");
        assert_eq!(tid(&["tcp", "1.1.1.1", "", "", "", "", "none"]).host_nqn(), "nqn.host");
        assert_eq!(tid(&["tcp", "1.1.1.1", "", "", "", "", "nqn.h"]).host_nqn(), "nqn.h");
    }

    #[test]
    fn complete_fields_survive_unchanged() {
        let fields = fields(&["tcp", "10.10.10.10", "8009", NQN, "1.2.3.4", "eth0", "nqn.h"]);
        let tid = Tid::new(&fields, &TidDefaults::default());
        assert_eq!(tid.fields(), &fields);
        assert_eq!(fields.get("host-iface"), Some("eth0"));
        assert_eq!(fields.get("bogus"), None);
    }

    /// Texts like those found in addresses, ports and names.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("tcp".to_owned()),
            Just("rdma".to_owned()),
            "[ %:.0-9a-fA-F]{0,12}",
            "(fe80|FE80|::ffff)(:{1,2}[0-9]{1,3}(\\.[0-9]{1,3}){0,3})(%[a-z ]{0,5})?",
            "[nN][oO][nN][eE]%?",
            any::<String>(),
        ]
    }

    proptest! {
        // R096, R161
        #[test]
        fn normalising_is_idempotent(values in prop::collection::vec(texts(), 7), ignore: bool) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let defaults = TidDefaults { host_nqn: "nqn.host", ignore_iface: ignore };
            let once = Tid::new(&fields(&values), &defaults);
            let twice = Tid::new(once.fields(), &defaults);
            prop_assert_eq!(&once, &twice);
            prop_assert_eq!(once.fields(), twice.fields());
            let normal = Tid::new(&once.0.key, &defaults);
            prop_assert_eq!(&normal.0.key, &once.0.key);
            prop_assert_eq!(&normal.0.shown, &once.0.key);
        }
    }
}
