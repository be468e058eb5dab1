// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The two formats of uevent messages: the kernel's, and that of udev daemons.
//!
//! Owns their layout and the checks. Whether the sender may be believed is decided by the monitor.
//!
//! A kernel message is `ACTION@DEVPATH`, then `KEY=VALUE` strings, each ended by NUL. A udev
//! message has a header of at least 24 bytes: `libudev` and NUL, the magic `0xFEEDCAFE`
//! (big-endian), and in the machine's order the size of the header, the offset of the properties
//! and their length; hashes for socket filters follow (big-endian), then the same strings.
//!
//! Parsing borrows, so that a subscriber can look at the subsystem before anything is allocated.

use std::error::Error;
use std::fmt;

use super::Uevent;

/// What every message of a udev daemon begins with.
const UDEV_PREFIX: &[u8; 8] = b"libudev\0";
/// Says that the filter hashes are there, and that the sender is a udev daemon.
const UDEV_MAGIC: u32 = 0xFEED_CAFE;
/// Bytes of the header that this codec writes; it reads any larger one too.
const UDEV_HEADER_LEN: usize = 40;
/// Bytes of the header up to and with the length of the properties.
const UDEV_HEADER_MIN: usize = 24;

/// Why bytes are no uevent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// The message begins neither like one of the kernel nor like one of a udev daemon.
    Header,
    /// The magic number of a udev message is wrong.
    Magic,
    /// The header of a udev message points outside the message.
    Offsets,
    /// A property that every event has is missing, or is no number where it should be.
    Property(&'static str),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("malformed uevent: unknown header"),
            Self::Magic => f.write_str("malformed uevent: wrong magic number"),
            Self::Offsets => f.write_str("malformed uevent: properties outside the message"),
            Self::Property(key) => write!(f, "malformed uevent: missing or invalid {key}"),
        }
    }
}

impl Error for Malformed {}

/// Who made a message, according to its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The kernel.
    Kernel,
    /// A udev daemon, after its rules ran.
    Udev,
}

/// A message as it lies in the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    format: Format,
    properties: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Recognises the format and finds the properties.
    ///
    /// # Errors
    /// The header is of neither format, or contradicts the size of the message.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.starts_with(UDEV_PREFIX) {
            return Self::parse_udev(bytes);
        }
        let end = bytes.iter().position(|&byte| byte == 0).ok_or(Malformed::Header)?;
        let (header, properties) = bytes.split_at_checked(end + 1).ok_or(Malformed::Header)?;
        let at = header.iter().position(|&byte| byte == b'@').ok_or(Malformed::Header)?;
        if at == 0 || header.get(at + 1) != Some(&b'/') {
            return Err(Malformed::Header);
        }
        Ok(Self { format: Format::Kernel, properties })
    }

    fn parse_udev(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if word(bytes, 8).map(u32::from_be_bytes) != Some(UDEV_MAGIC) {
            return Err(Malformed::Magic);
        }
        let number = |at| usize::try_from(u32::from_ne_bytes(word(bytes, at)?)).ok();
        let (Some(offset), Some(len)) = (number(16), number(20)) else {
            return Err(Malformed::Offsets);
        };
        let properties = (offset >= UDEV_HEADER_MIN)
            .then(|| bytes.get(offset..offset.checked_add(len)?))
            .flatten()
            .ok_or(Malformed::Offsets)?;
        Ok(Self { format: Format::Udev, properties })
    }

    /// Who made the message.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The value of the first property `key`.
    #[must_use]
    pub fn property(&self, key: &str) -> Option<&'a [u8]> {
        self.pairs().find(|(it, _)| *it == key.as_bytes()).map(|(_, value)| value)
    }

    /// The kernel's number of the event.
    ///
    /// # Errors
    /// It is missing, or no number.
    pub fn seqnum(&self) -> Result<u64, Malformed> {
        let value = self.property("SEQNUM").and_then(|value| std::str::from_utf8(value).ok());
        value.and_then(|value| value.parse().ok()).ok_or(Malformed::Property("SEQNUM"))
    }

    /// Copies the message into an event. What is not UTF-8 is replaced.
    ///
    /// # Errors
    /// A property that every event has is missing.
    pub fn to_event(&self) -> Result<Uevent, Malformed> {
        let required = |key| {
            self.property(key).filter(|value| !value.is_empty()).ok_or(Malformed::Property(key))
        };
        let mut event = Uevent {
            action: text(required("ACTION")?),
            devpath: text(required("DEVPATH")?),
            subsystem: text(required("SUBSYSTEM")?),
            seqnum: Some(self.seqnum()?),
            ..Uevent::default()
        };
        for (key, value) in self.pairs() {
            if !matches!(key, b"ACTION" | b"DEVPATH" | b"SUBSYSTEM" | b"SEQNUM") {
                event.properties.entry(text(key)).or_insert_with(|| text(value));
            }
        }
        Ok(event)
    }

    /// All properties in order. Strings without a key are passed over.
    fn pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.properties.split(|&byte| byte == 0).filter_map(|string| {
            let (key, rest) = string.split_at(string.iter().position(|&byte| byte == b'=')?);
            Some((key, rest.get(1..)?)).filter(|_| !key.is_empty())
        })
    }
}

impl Uevent {
    /// Writes the event the way `format`'s sender does, for simulations and tests. An event without
    /// a number gets the number zero.
    ///
    /// # Panics
    /// The properties are longer than 4 GiB.
    #[must_use]
    pub fn encode(&self, format: Format) -> Vec<u8> {
        let seqnum = self.seqnum.unwrap_or(0).to_string();
        let own = [("ACTION", &self.action), ("DEVPATH", &self.devpath)];
        let own = own.into_iter().chain([("SUBSYSTEM", &self.subsystem), ("SEQNUM", &seqnum)]);
        let others = self.properties.iter().map(|(key, value)| (key.as_str(), value));
        let mut strings = Vec::new();
        for (key, value) in own.chain(others) {
            strings.extend(format!("{key}={value}\0").into_bytes());
        }
        let mut bytes = match format {
            Format::Kernel => format!("{}@{}\0", self.action, self.devpath).into_bytes(),
            Format::Udev => udev_header(strings.len(), &self.subsystem, self.property("DEVTYPE")),
        };
        bytes.extend(strings);
        bytes
    }
}

fn udev_header(properties_len: usize, subsystem: &str, devtype: Option<&str>) -> Vec<u8> {
    let len = u32::try_from(properties_len).expect("properties are shorter than 4 GiB");
    let header_len = u32::try_from(UDEV_HEADER_LEN).expect("a small constant");
    let mut bytes = UDEV_PREFIX.to_vec();
    bytes.extend(UDEV_MAGIC.to_be_bytes());
    bytes.extend([header_len, header_len, len].into_iter().flat_map(u32::to_ne_bytes));
    bytes.extend(filter_hash(subsystem.as_bytes()).to_be_bytes());
    bytes.extend(devtype.map_or(0, |it| filter_hash(it.as_bytes())).to_be_bytes());
    bytes.extend([0; 8]); // no tags
    bytes
}

/// The hash by which socket filters of libudev select subsystems: `MurmurHash2`, seed zero.
fn filter_hash(bytes: &[u8]) -> u32 {
    const FACTOR: u32 = 0x5bd1_e995;
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut hash = len;
    let mut chunks = bytes.chunks_exact(4);
    for chunk in &mut chunks {
        let part = chunk.iter().rev().fold(0_u32, |part, &byte| part << 8 | u32::from(byte));
        let part = part.wrapping_mul(FACTOR);
        hash = hash.wrapping_mul(FACTOR) ^ (part ^ part >> 24).wrapping_mul(FACTOR);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let part = rest.iter().rev().fold(0_u32, |part, &byte| part << 8 | u32::from(byte));
        hash = (hash ^ part).wrapping_mul(FACTOR);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(FACTOR);
    hash ^ hash >> 15
}

fn word(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KERNEL: &[u8] = b"change@/devices/virtual/nvme-fabrics/ctl/nvme0\0ACTION=change\0\
        DEVPATH=/devices/virtual/nvme-fabrics/ctl/nvme0\0SUBSYSTEM=nvme\0NVME_AEN=0x70f002\0\
        NVME_TRTYPE=tcp\0DEVNAME=nvme0\0SEQNUM=1234\0";

    fn sample() -> Uevent {
        Uevent::decode(KERNEL).expect("a kernel message")
    }

    #[test]
    fn a_kernel_message_is_understood() {
        let event = sample();
        assert_eq!((event.action.as_str(), event.subsystem.as_str()), ("change", "nvme"));
        assert_eq!(event.devpath, "/devices/virtual/nvme-fabrics/ctl/nvme0");
        assert_eq!((event.sysname(), event.seqnum), ("nvme0", Some(1234)));
        assert_eq!(event.property("NVME_AEN"), Some("0x70f002"));
        assert_eq!(event.property("SUBSYSTEM"), None, "fields are not properties");
    }

    #[test]
    fn both_formats_carry_the_same_event() {
        let event = sample();
        for format in [Format::Kernel, Format::Udev] {
            let bytes = event.encode(format);
            assert_eq!(Packet::parse(&bytes).map(|it| it.format()), Ok(format));
            assert_eq!(Uevent::decode(&bytes).as_ref(), Ok(&event));
        }
    }

    #[test]
    fn the_header_of_a_udev_message_has_the_documented_layout() {
        let bytes = sample().encode(Format::Udev);
        assert_eq!(&bytes[..12], b"libudev\0\xfe\xed\xca\xfe");
        let number = |at: usize| u32::from_ne_bytes(word(&bytes, at).expect("in the header"));
        assert_eq!((number(12), number(16)), (40, 40));
        assert_eq!(usize::try_from(number(20)), Ok(bytes.len() - 40));
    }

    #[test]
    fn filter_hashes_are_those_of_libudev() {
        // Computed by another implementation; each length of the last part occurs.
        for (text, want) in [
            ("", 0),
            ("a", 0x9268_5f5e),
            ("ab", 0x1aa1_4063),
            ("net", 0xa74d_3cc8),
            ("nvme", 0x51cb_194e),
            ("block", 0xf003_1db7),
        ] {
            assert_eq!(filter_hash(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn a_larger_header_of_a_newer_daemon_is_accepted() {
        let old = sample().encode(Format::Udev);
        let mut bytes = [&old[..40], &[0xaa; 24], &old[40..]].concat();
        bytes.splice(16..20, 64_u32.to_ne_bytes());
        assert_eq!(Uevent::decode(&bytes), Ok(sample()));
    }

    #[test]
    fn a_udev_message_with_a_wrong_header_is_refused() {
        let good = sample().encode(Format::Udev);
        let len = u32::try_from(good.len()).expect("short");
        for (at, value, want) in [
            (8, 0xfeed_cafe_u32.to_le_bytes(), Malformed::Magic),
            (8, [0; 4], Malformed::Magic),
            (16, 0_u32.to_ne_bytes(), Malformed::Offsets),
            (16, len.to_ne_bytes(), Malformed::Offsets),
            (16, u32::MAX.to_ne_bytes(), Malformed::Offsets),
            (20, len.to_ne_bytes(), Malformed::Offsets),
            (20, u32::MAX.to_ne_bytes(), Malformed::Offsets),
            (20, 0_u32.to_ne_bytes(), Malformed::Property("ACTION")),
        ] {
            let mut bytes = good.clone();
            bytes.splice(at..at + 4, value);
            assert_eq!(Uevent::decode(&bytes), Err(want), "offset {at}, {value:?}");
        }
    }

    #[test]
    fn a_kernel_message_with_a_wrong_header_is_refused() {
        for bytes in [
            &b""[..],
            b"\0",
            b"add",
            b"add@/devices/x",
            b"@/devices/x\0ACTION=add\0",
            b"add@\0ACTION=add\0",
            b"add@devices\0ACTION=add\0",
            b"libudev",
        ] {
            assert_eq!(Uevent::decode(bytes), Err(Malformed::Header), "{bytes:?}");
        }
        assert_eq!(Uevent::decode(b"libudev\0"), Err(Malformed::Magic));
    }

    #[test]
    fn an_event_without_its_necessary_properties_is_refused() {
        let whole = b"add@/d\0ACTION=add\0DEVPATH=/d\0SUBSYSTEM=s\0SEQNUM=1\0";
        assert!(Uevent::decode(whole).is_ok());
        for key in ["ACTION", "DEVPATH", "SUBSYSTEM", "SEQNUM"] {
            let text = std::str::from_utf8(whole).expect("ASCII");
            let without = text.replacen(&format!("\0{key}="), "\0OTHER=", 1);
            assert_eq!(Uevent::decode(without.as_bytes()), Err(Malformed::Property(key)));
        }
        let wrong = b"add@/d\0ACTION=add\0DEVPATH=/d\0SUBSYSTEM=s\0SEQNUM=-1\0";
        assert_eq!(Uevent::decode(wrong), Err(Malformed::Property("SEQNUM")));
    }

    #[test]
    fn odd_strings_are_passed_over_and_the_first_of_a_key_counts() {
        let bytes = b"add@/d\0ACTION=add\0\0=x\0word\0DEVPATH=/d\0SUBSYSTEM=s\0SEQNUM=1\0\
            KEY=a=b\0KEY=c\0SUBSYSTEM=t\0BAD=\xff\0EMPTY=\0LAST=end";
        let event = Uevent::decode(bytes).expect("a kernel message");
        let got: Vec<_> = event.properties.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(got, ["BAD=\u{fffd}", "EMPTY=", "KEY=a=b", "LAST=end"]);
        assert_eq!(event.subsystem, "s");
    }

    fn any_event() -> impl Strategy<Value = Uevent> {
        let own = ("[a-z]{1,8}", "/[a-z0-9/:!.-]{0,40}", "[a-z_-]{1,12}", any::<u64>());
        let properties = proptest::collection::btree_map("X[A-Z_]{0,12}", "[^\0]{0,24}", 0..8);
        (own, properties).prop_map(|((action, devpath, subsystem, seqnum), properties)| Uevent {
            action,
            devpath,
            subsystem,
            seqnum: Some(seqnum),
            properties,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(event in any_event()) {
            for format in [Format::Kernel, Format::Udev] {
                let event = event.clone();
                prop_assert_eq!(Uevent::decode(&event.encode(format)), Ok(event));
            }
        }

        #[test]
        fn any_bytes_are_taken_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            drop(Uevent::decode(&bytes));
            drop(Uevent::decode(&[UDEV_PREFIX, &UDEV_MAGIC.to_be_bytes()[..], &bytes].concat()));
        }

        #[test]
        fn a_damaged_message_is_taken_without_panic(
            event in any_event(), at in any::<proptest::sample::Index>(), value: u8, cut: bool,
        ) {
            for format in [Format::Kernel, Format::Udev] {
                let mut bytes = event.encode(format);
                let at = at.index(bytes.len());
                if cut {
                    bytes.truncate(at);
                } else {
                    bytes[at] = value;
                }
                drop(Uevent::decode(&bytes));
            }
        }
    }
}
