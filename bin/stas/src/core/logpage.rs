// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Discovery log page entries (NVM Express Base Specification, log page identifier 70h).
//!
//! Owns the byte layout of header and entry, the text names of the codes, and the dictionary form
//! in which entries travel to stacd and to the clients. Fetching pages is left to
//! [`fetch`](super::fetch), judging entries to the daemons' cores. Nothing is assumed about the
//! bytes: text is cut at the first NUL, blanks are stripped, and what is not UTF-8 or could
//! break out of an option list is kept for display but never [`usable`](Entry::usable).

use std::collections::BTreeMap;

use super::python;

/// Bytes of the header, and of every entry.
pub const ENTRY_LEN: usize = 1024;
/// The bytes of the header that carry information: GENCTR, NUMREC, RECFMT, rounded to dwords.
pub const HEADER_LEN: u32 = 20;

/// EFLAGS bit 1: the discovery controller supports explicit persistent connections.
const EFLAGS_EPCSD: u16 = 1 << 1;
/// EFLAGS bit 2: the discovery controller has no connection to the centralized one.
const EFLAGS_NCC: u16 = 1 << 2;

const TRTYPES: &[(u8, &str)] =
    &[(0, "unspecified"), (1, "rdma"), (2, "fc"), (3, "tcp"), (254, "loop")];
const ADRFAMS: &[(u8, &str)] =
    &[(0, "pci"), (1, "ipv4"), (2, "ipv6"), (3, "infiniband"), (4, "fc")];
const SUBTYPES: &[(u8, &str)] = &[(1, "referral"), (2, "nvme"), (3, "discovery")];
const TREQS: &[(u8, &str)] =
    &[(0, "not specified"), (1, "required"), (2, "not required"), (4, "disable sqflow")];

/// Subtype: another discovery controller to ask.
pub const SUBTYPE_REFERRAL: u8 = 1;
/// Subtype: an NVM subsystem to connect to.
pub const SUBTYPE_NVME: u8 = 2;
/// Subtype: the discovery subsystem that was asked.
const SUBTYPE_CURRENT: u8 = 3;
/// TREQ bits 1:0: whether a secure channel is demanded.
const TREQ_SECURE: u8 = 0b11;
const TREQ_SECURE_REQUIRED: u8 = 1;
/// TREQ bit 2: the host may switch submission queue flow control off.
const TREQ_DISABLE_SQFLOW: u8 = 1 << 2;

/// The header of a discovery log page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Generation counter: moves whenever the page changes.
    pub genctr: u64,
    /// Number of entries.
    pub numrec: u64,
    /// Format of the entries; 0 is the only one understood.
    pub recfmt: u16,
}

impl Header {
    /// Decodes the first bytes of the page; `None` when there are too few.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            genctr: u64::from_le_bytes(bytes.get(0..8)?.try_into().ok()?),
            numrec: u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?),
            recfmt: u16::from_le_bytes(bytes.get(16..18)?.try_into().ok()?),
        })
    }
}

/// One discovery log page entry, reduced to what the daemons use and show.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// TRTYPE.
    pub trtype: u8,
    /// ADRFAM.
    pub adrfam: u8,
    /// SUBTYPE.
    pub subtype: u8,
    /// TREQ.
    pub treq: u8,
    /// PORTID.
    pub portid: u16,
    /// CNTLID.
    pub cntlid: u16,
    /// ASQSZ.
    pub asqsz: u16,
    /// EFLAGS.
    pub eflags: u16,
    /// TRSVCID: the port, for IP transports.
    pub trsvcid: Box<str>,
    /// SUBNQN.
    pub subnqn: Box<str>,
    /// TRADDR; the comma of Fibre Channel addresses is written as a colon.
    pub traddr: Box<str>,
    /// TSAS in its text form; empty for transports without one.
    pub tsas: Box<str>,
    /// A text field was not UTF-8: for display only.
    mangled: bool,
}

impl Entry {
    /// Decodes one entry; `None` when `bytes` is shorter than [`ENTRY_LEN`].
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let byte = |at: usize| bytes.get(at).copied();
        let word = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let tsas = bytes.get(768..ENTRY_LEN)?;
        let mut mangled = false;
        let mut text = |from: usize, to: usize| {
            let (text, exact) = field(bytes.get(from..to)?);
            mangled |= !exact;
            Some(text)
        };
        let (trtype, traddr) = (byte(0)?, text(512, 768)?);
        Some(Self {
            trtype,
            adrfam: byte(1)?,
            subtype: byte(2)?,
            treq: byte(3)?,
            portid: word(4)?,
            cntlid: word(6)?,
            asqsz: word(8)?,
            eflags: word(10)?,
            trsvcid: text(32, 64)?.into(),
            subnqn: text(256, 512)?.into(),
            traddr: if trtype == 2 { traddr.replacen(",pn-", ":pn-", 1) } else { traddr }.into(),
            tsas: tsas_text(trtype, tsas).into(),
            mangled,
        })
    }

    /// The transport's name in option lists and candidates.
    #[must_use]
    pub fn transport(&self) -> String {
        name_of(TRTYPES, self.trtype)
    }

    /// Whether the entry may be used for connecting: no text of it can leave its place in an
    /// option list, and none had to be repaired to be shown.
    #[must_use]
    pub fn usable(&self) -> bool {
        let tame = |text: &str| !text.contains(|c: char| c == ',' || c.is_control());
        !self.mangled && tame(&self.traddr) && tame(&self.trsvcid) && tame(&self.subnqn)
    }

    /// Whether the entry names a place at all; `0.0.0.0`, `::` and blanks are placeholders.
    #[must_use]
    pub fn has_address(&self) -> bool {
        !matches!(&*self.traddr, "" | "0.0.0.0" | "::") || self.trtype == 254
    }

    /// "Not connected to CDC".
    #[must_use]
    pub const fn ncc(&self) -> bool {
        self.eflags & EFLAGS_NCC != 0
    }

    /// Whether the controller lets the host switch submission queue flow control off.
    #[must_use]
    pub const fn may_disable_sqflow(&self) -> bool {
        self.treq & TREQ_DISABLE_SQFLOW != 0
    }

    /// Whether the controller can be reached over a TLS channel only.
    #[must_use]
    pub fn requires_tls(&self) -> bool {
        self.treq & TREQ_SECURE == TREQ_SECURE_REQUIRED && self.tsas.contains("'sectype': 'tls")
    }

    /// The dictionary form, in the order of the specification's fields; all values are text.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![
            ("trtype", name_of(TRTYPES, self.trtype)),
            ("adrfam", name_of(ADRFAMS, self.adrfam)),
            ("subtype", name_of(SUBTYPES, self.subtype)),
            ("treq", name_of(TREQS, self.treq)),
            ("portid", self.portid.to_string()),
            ("cntlid", self.cntlid.to_string()),
            ("asqsz", self.asqsz.to_string()),
            ("eflags", self.eflags.to_string()),
            ("trsvcid", self.trsvcid.to_string()),
            ("subnqn", self.subnqn.to_string()),
            ("traddr", self.traddr.to_string()),
        ];
        if !self.tsas.is_empty() {
            pairs.push(("tsas", self.tsas.to_string()));
        }
        pairs
    }

    /// The dictionary form, sorted by key.
    #[must_use]
    pub fn dictionary(&self) -> BTreeMap<String, String> {
        self.pairs().into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// The dictionary as the text that Python would print for it.
    #[must_use]
    pub fn python(&self) -> String {
        python::dict(self.pairs().iter().map(|(key, value)| (*key, python::string(value))))
    }

    /// Reads the dictionary form back, as a peer sent it. Keys that are missing count as zero or
    /// empty, unknown ones are ignored, values that are not text are not understood.
    #[must_use]
    pub fn from_dictionary(dictionary: &serde_json::Map<String, serde_json::Value>) -> Self {
        let text =
            |key: &str| dictionary.get(key).and_then(|value| value.as_str()).unwrap_or("").trim();
        let number = |key: &str| text(key).parse::<u16>().unwrap_or(0);
        Self {
            trtype: code_of(TRTYPES, text("trtype")),
            adrfam: code_of(ADRFAMS, text("adrfam")),
            subtype: code_of(SUBTYPES, text("subtype")),
            treq: code_of(TREQS, text("treq")),
            portid: number("portid"),
            cntlid: number("cntlid"),
            asqsz: number("asqsz"),
            eflags: number("eflags"),
            trsvcid: text("trsvcid").into(),
            subnqn: text("subnqn").into(),
            traddr: text("traddr").into(),
            tsas: text("tsas").into(),
            mangled: false,
        }
    }
}

/// Cuts a fixed field at its first NUL and strips blanks; says whether it was UTF-8.
fn field(bytes: &[u8]) -> (String, bool) {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
    (text.trim().to_owned(), matches!(text, std::borrow::Cow::Borrowed(_)))
}

fn name_of(table: &[(u8, &str)], code: u8) -> String {
    let named = table.iter().find(|(known, _)| *known == code);
    named.map_or_else(|| code.to_string(), |(_, name)| (*name).to_owned())
}

fn code_of(table: &[(u8, &str)], text: &str) -> u8 {
    let named = table.iter().find(|(_, name)| *name == text);
    // Codes without a name travel as numbers; 255 is reserved in every table.
    named.map_or_else(|| text.parse().unwrap_or(u8::MAX), |(code, _)| *code)
}

fn tsas_text(trtype: u8, tsas: &[u8]) -> String {
    let pick = |at: usize, first: u8, names: &[&'static str]| {
        let code = tsas.get(at).copied().and_then(|code| code.checked_sub(first));
        code.and_then(|code| names.get(usize::from(code))).copied().unwrap_or("reserved")
    };
    let pairs = match trtype {
        3 => vec![("sectype", pick(0, 0, &["none", "tls", "tls1.3"]))],
        1 => vec![
            ("qptype", pick(0, 1, &["connected", "datagram"])),
            ("prtype", pick(1, 1, &["not specified", "infiniband", "roce", "rocev2", "iwarp"])),
            ("cms", pick(2, 1, &["cm"])),
        ],
        _ => return String::new(),
    };
    python::dict(pairs.into_iter().map(|(key, value)| (key, python::string(value))))
}

/// A whole discovery log page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The generation that was read.
    pub genctr: u64,
    /// Entries that name a place, in the controller's order.
    pub entries: Vec<Entry>,
}

impl Page {
    /// Whether the discovery controller says of itself that connections to it are not to last. One
    /// that has no entry for itself says nothing.
    #[must_use]
    pub fn asks_for_polling(&self) -> bool {
        let mut own = self.entries.iter().filter(|entry| entry.subtype == SUBTYPE_CURRENT);
        let transient = |entry: &Entry| entry.eflags & EFLAGS_EPCSD == 0;
        own.next().is_some_and(|first| transient(first) && own.all(transient))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An entry as a controller would send it: blanks behind address and port, NULs behind the NQN.
    pub(crate) fn raw(
        trtype: u8,
        subtype: u8,
        traddr: &str,
        trsvcid: &str,
        subnqn: &str,
    ) -> Vec<u8> {
        let mut bytes = vec![0; ENTRY_LEN];
        bytes[0] = trtype;
        bytes[1] = 1;
        bytes[2] = subtype;
        bytes[32..64].fill(b' ');
        bytes[512..768].fill(b' ');
        bytes[32..32 + trsvcid.len()].copy_from_slice(trsvcid.as_bytes());
        bytes[256..256 + subnqn.len()].copy_from_slice(subnqn.as_bytes());
        bytes[512..512 + traddr.len()].copy_from_slice(traddr.as_bytes());
        bytes
    }

    fn entry(trtype: u8, traddr: &str) -> Entry {
        Entry::decode(&raw(trtype, 2, traddr, "4420", "nqn.a")).unwrap()
    }

    // R184
    #[test]
    fn text_fields_lose_padding_and_may_fill_their_field() {
        let entry = entry(3, "10.0.0.1   ");
        assert_eq!(
            (&*entry.traddr, &*entry.trsvcid, &*entry.subnqn),
            ("10.0.0.1", "4420", "nqn.a")
        );
        let full = "8".repeat(32);
        let full_field = Entry::decode(&raw(3, 2, "10.0.0.1", &full, "nqn.a")).unwrap();
        assert_eq!(&*full_field.trsvcid, full);
    }

    // R132
    #[test]
    fn text_that_would_inject_options_is_shown_but_not_usable() {
        assert!(entry(3, "10.0.0.1").usable());
        assert!(!entry(3, "10.0.0.1,hostnqn=evil").usable());
        assert!(!entry(3, "10.0.0.1\nx").usable());
        let mut invalid = raw(3, 2, "10.0.0.1", "4420", "nqn.a");
        invalid[258] = 0xff;
        let invalid = Entry::decode(&invalid).unwrap();
        assert!(!invalid.usable());
        assert!(invalid.subnqn.contains('\u{fffd}'));
    }

    // R185
    #[test]
    fn a_fibre_channel_address_with_a_comma_gets_a_colon() {
        let fc = entry(2, "nn-0x1000000044001123,pn-0x2000000055001123");
        assert_eq!(&*fc.traddr, "nn-0x1000000044001123:pn-0x2000000055001123");
        assert!(fc.usable());
    }

    // R084
    #[test]
    fn placeholders_are_no_addresses() {
        for traddr in ["0.0.0.0", "::", "   ", ""] {
            assert!(!entry(3, traddr).has_address(), "{traddr:?}");
        }
        assert!(entry(3, "10.0.0.1").has_address());
        assert!(entry(254, "").has_address(), "loop has no address");
    }

    #[test]
    fn the_flag_ncc_is_bit_two_of_eflags() {
        for (eflags, set) in [(4, true), (0, false), (3, false), (6, true)] {
            assert_eq!(Entry { eflags, ..Entry::default() }.ncc(), set, "{eflags}");
        }
    }

    // R127
    #[test]
    fn a_controller_asks_for_polling_by_its_own_entry() {
        let own = |eflags| Entry { subtype: 3, eflags, ..Entry::default() };
        let other = || Entry { subtype: 2, ..Entry::default() };
        for (entries, expected) in [
            (vec![], false),
            (vec![other()], false),
            (vec![own(2)], false),
            (vec![other(), own(3), own(0)], false),
            (vec![own(5), other(), own(0)], true),
        ] {
            assert_eq!(Page { genctr: 1, entries }.asks_for_polling(), expected);
        }
    }

    // R131
    #[test]
    fn a_secure_channel_is_required_by_treq_and_named_by_tsas() {
        for (trtype, treq, sectype, required) in [
            (3, 1, 1, true),
            (3, 5, 2, true),
            (3, 1, 0, false),
            (3, 0, 2, false),
            (3, 2, 2, false),
            (3, 3, 2, false),
            (1, 1, 2, false),
        ] {
            let mut bytes = raw(trtype, 2, "10.0.0.1", "4420", "nqn.a");
            (bytes[3], bytes[768]) = (treq, sectype);
            let entry = Entry::decode(&bytes).unwrap();
            assert_eq!(entry.requires_tls(), required, "{trtype} {treq} {sectype}");
        }
    }

    // R082
    #[test]
    fn codes_are_named_and_unknown_codes_stay_numbers() {
        let mut bytes = raw(3, 2, "10.0.0.1", "4420", "nqn.a");
        bytes[3] = 5;
        bytes[6..8].copy_from_slice(&0xffff_u16.to_le_bytes());
        bytes[768] = 2;
        let dictionary = Entry::decode(&bytes).unwrap().dictionary();
        for (key, value) in [
            ("trtype", "tcp"),
            ("adrfam", "ipv4"),
            ("subtype", "nvme"),
            ("treq", "5"),
            ("cntlid", "65535"),
            ("tsas", "{'sectype': 'tls1.3'}"),
        ] {
            assert_eq!(dictionary[key], value);
        }
        let mut rdma = raw(1, 3, "10.0.0.1", "4420", "nqn.a");
        rdma[768..771].copy_from_slice(&[1, 4, 9]);
        let rdma = Entry::decode(&rdma).unwrap();
        assert_eq!(&*rdma.tsas, "{'qptype': 'connected', 'prtype': 'rocev2', 'cms': 'reserved'}");
        assert!(!entry(2, "x").dictionary().contains_key("tsas"));
        assert_eq!(entry(99, "x").dictionary()["trtype"], "99");
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1100)) {
            let decoded = Entry::decode(&bytes);
            prop_assert_eq!(decoded.is_some(), bytes.len() >= ENTRY_LEN);
            prop_assert_eq!(Header::decode(&bytes).is_some(), bytes.len() >= 18);
        }

        #[test]
        fn the_dictionary_reads_back(
            trtype in any::<u8>(), subtype in any::<u8>(), treq in any::<u8>(),
            traddr in "[0-9a-f.:]{0,40}", eflags in any::<u16>(),
        ) {
            prop_assume!(trtype != 255 && subtype != 255 && treq != 255);
            let mut bytes = raw(trtype, subtype, &traddr, "4420", "nqn.x");
            bytes[3] = treq;
            bytes[10..12].copy_from_slice(&eflags.to_le_bytes());
            let entry = Entry::decode(&bytes).unwrap();
            let json = entry.dictionary().into_iter().map(|(k, v)| (k, v.into())).collect();
            prop_assert_eq!(Entry::from_dictionary(&json), entry);
        }
    }
}
