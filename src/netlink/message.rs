// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The framing that all netlink families share: messages in a datagram, attributes in a message.
//!
//! Owns the layout of `struct nlmsghdr` and `struct nlattr` (`netlink(7)`, RFC 3549) and their
//! checks. What payloads mean is left to the families. Decoding borrows from the datagram and
//! allocates nothing; a length that points outside the data ends the iteration with [`Malformed`].

use std::error::Error;
use std::fmt;

/// `NLMSG_ERROR`: the answer to one request; error number zero is an acknowledgement.
pub const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub const DONE: u16 = 3;
/// `NLMSG_OVERRUN`: data was lost.
pub const OVERRUN: u16 = 4;

/// `NLM_F_REQUEST`: set on everything sent to the kernel.
pub const REQUEST: u16 = 0x001;
/// `NLM_F_MULTI`: one of several messages, ended by [`DONE`].
pub const MULTI: u16 = 0x002;
/// `NLM_F_ACK`: asks for an [`ERROR`] message also on success.
pub const ACK: u16 = 0x004;
/// `NLM_F_DUMP_INTR`: the objects changed while they were dumped.
pub const DUMP_INTERRUPTED: u16 = 0x010;
/// `NLM_F_DUMP`: asks for all objects (root and match).
pub const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`: a new object takes the place of an existing one.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`: a new object must not exist.
pub const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`: a new object is made.
pub const CREATE: u16 = 0x400;

/// Bytes of a message header.
pub const HEADER_LEN: usize = 16;
/// Bytes of an attribute header.
const ATTRIBUTE_LEN: usize = 4;
/// Clears `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` from an attribute's type.
const KIND_MASK: u16 = 0x3fff;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

/// Why bytes are no netlink message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// A header claims more, or less, than there is.
    Length,
    /// The fixed part of this message type is incomplete.
    Body,
    /// The attribute of this number has a value of the wrong size, or is missing.
    Attribute(u16),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("malformed netlink message: wrong length"),
            Self::Body => f.write_str("malformed netlink message: incomplete body"),
            Self::Attribute(kind) => {
                write!(f, "malformed netlink message: attribute {kind} is missing or of wrong size")
            }
        }
    }
}

impl Error for Malformed {}

/// `struct nlmsghdr` without the length, which the codec keeps to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The message type; below 16 common to all families.
    pub kind: u16,
    /// `NLM_F_*` bits.
    pub flags: u16,
    /// Repeated by the kernel in its answer.
    pub sequence: u32,
    /// Port of the process concerned; zero means the kernel.
    pub port: u32,
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its header.
    pub header: Header,
    /// What follows the header, without padding.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Splits the payload into the fixed part of `N` bytes and the attributes behind it.
    ///
    /// # Errors
    /// The payload is shorter than the fixed part.
    pub fn body<const N: usize>(&self) -> Result<(&'a [u8; N], Attributes<'a>), Malformed> {
        let (body, rest) = self.payload.split_first_chunk::<N>().ok_or(Malformed::Body)?;
        let padding = align(N) - N;
        Ok((body, attributes(rest.get(padding..).unwrap_or_default())))
    }

    /// The error number of an [`ERROR`] or [`DONE`] message, positive as in `errno(3)`, zero for
    /// success; `None` for every other message. A [`DONE`] without a number is a success.
    ///
    /// # Errors
    /// The number of an [`ERROR`] message is cut off.
    pub fn errno(&self) -> Result<Option<i32>, Malformed> {
        let number = self.payload.first_chunk().map(|raw| i32::from_ne_bytes(*raw));
        match (self.header.kind, number) {
            (ERROR, None) => Err(Malformed::Body),
            (ERROR | DONE, number) => Ok(Some(number.unwrap_or(0).saturating_neg())),
            _ => Ok(None),
        }
    }
}

/// The messages of one datagram, in order. See [`messages`].
#[derive(Clone, Debug)]
pub struct Messages<'a>(&'a [u8]);

/// Iterates over the messages of a datagram. An error is the last item.
#[must_use]
pub const fn messages(datagram: &[u8]) -> Messages<'_> {
    Messages(datagram)
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((message, rest)) = split_message(self.0) else {
            self.0 = &[];
            return Some(Err(Malformed::Length));
        };
        self.0 = rest;
        Some(Ok(message))
    }
}

fn split_message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let len = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let payload = bytes.get(HEADER_LEN..len)?;
    let header = Header {
        kind: u16_at(bytes, 4)?,
        flags: u16_at(bytes, 6)?,
        sequence: u32_at(bytes, 8)?,
        port: u32_at(bytes, 12)?,
    };
    // The padding of the last message may be missing.
    Some((Message { header, payload }, bytes.get(align(len)..).unwrap_or_default()))
}

/// One attribute: a number that the message type gives meaning to, and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The number, without flag bits.
    pub kind: u16,
    /// The value, without padding.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The value as a fixed number of bytes.
    ///
    /// # Errors
    /// The value has another size.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], Malformed> {
        self.value.try_into().map_err(|_| Malformed::Attribute(self.kind))
    }

    /// The value as a 16-bit integer.
    ///
    /// # Errors
    /// The value has another size.
    pub fn u16(&self) -> Result<u16, Malformed> {
        self.bytes().map(u16::from_ne_bytes)
    }

    /// The value as a 32-bit integer.
    ///
    /// # Errors
    /// The value has another size.
    pub fn u32(&self) -> Result<u32, Malformed> {
        self.bytes().map(u32::from_ne_bytes)
    }

    /// The value as text up to its first NUL; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let end = self.value.iter().position(|&byte| byte == 0).unwrap_or(self.value.len());
        String::from_utf8_lossy(self.value.get(..end).unwrap_or_default()).into_owned()
    }

    /// The value as attributes of its own.
    #[must_use]
    pub const fn nested(&self) -> Attributes<'a> {
        attributes(self.value)
    }
}

/// Attributes in order. See [`attributes`].
#[derive(Clone, Debug)]
pub struct Attributes<'a>(&'a [u8]);

/// Iterates over the attributes in `bytes`. An error is the last item.
#[must_use]
pub const fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes(bytes)
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((attribute, rest)) = split_attribute(self.0) else {
            self.0 = &[];
            return Some(Err(Malformed::Length));
        };
        self.0 = rest;
        Some(Ok(attribute))
    }
}

fn split_attribute(bytes: &[u8]) -> Option<(Attribute<'_>, &[u8])> {
    let len = usize::from(u16_at(bytes, 0)?);
    let kind = u16_at(bytes, 2)? & KIND_MASK;
    let value = bytes.get(ATTRIBUTE_LEN..len)?;
    Some((Attribute { kind, value }, bytes.get(align(len)..).unwrap_or_default()))
}

/// Writes one message.
#[derive(Clone, Debug)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// Begins a message with its fixed part.
    #[must_use]
    pub fn new(header: Header, body: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(header.kind.to_ne_bytes());
        bytes.extend(header.flags.to_ne_bytes());
        bytes.extend(header.sequence.to_ne_bytes());
        bytes.extend(header.port.to_ne_bytes());
        bytes.extend(body);
        let mut encoder = Self(bytes);
        encoder.pad();
        encoder
    }

    /// Appends an attribute.
    ///
    /// # Panics
    /// The value is longer than an attribute can be (65531 bytes).
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(ATTRIBUTE_LEN + value.len()).expect("an attribute fits 16 bits");
        self.0.extend(len.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.pad();
    }

    /// Appends an attribute that holds a text and the NUL behind it.
    ///
    /// # Panics
    /// As for [`Encoder::attribute`].
    pub fn text(&mut self, kind: u16, text: &str) {
        let value: Vec<u8> = text.bytes().chain([0]).collect();
        self.attribute(kind, &value);
    }

    /// Appends an attribute that holds attributes, which `fill` writes.
    ///
    /// # Panics
    /// As for [`Encoder::attribute`].
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self(Vec::new());
        fill(&mut inner);
        self.attribute(kind | NESTED, &inner.0);
    }

    /// The message, with its length filled in and padded for another one to follow.
    ///
    /// # Panics
    /// The message is longer than 4 GiB.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).expect("a message is shorter than 4 GiB");
        self.0.splice(..4, len.to_ne_bytes());
        self.0
    }

    fn pad(&mut self) {
        self.0.resize(align(self.0.len()), 0);
    }
}

/// Rounds up to the alignment of headers (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
const fn align(len: usize) -> usize {
    len.saturating_add(3) & !3
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(kind: u16, sequence: u32) -> Vec<u8> {
        let mut encoder =
            Encoder::new(Header { kind, flags: MULTI, sequence, port: 9 }, &[1, 2, 3, 4]);
        encoder.attribute(7, &[5]);
        encoder.finish()
    }

    #[test]
    fn several_messages_share_a_datagram() {
        let datagram = [sample(16, 1), sample(17, 1)].concat();
        let kinds: Vec<u16> =
            messages(&datagram).map(|message| message.expect("well-formed").header.kind).collect();
        assert_eq!(kinds, [16, 17]);
    }

    #[test]
    fn a_message_cut_anywhere_is_an_error_and_ends_the_iteration() {
        let whole = sample(16, 1);
        // The last three bytes are padding of the attribute, which the message length includes.
        for cut in 1..whole.len() {
            let items: Vec<_> = messages(&whole[..cut]).collect();
            assert_eq!(items, [Err(Malformed::Length)], "cut at {cut}");
        }
        assert_eq!(messages(&[]).count(), 0);
    }

    #[test]
    fn a_length_below_the_header_does_not_loop_forever() {
        let mut bytes = sample(16, 1);
        for len in 0_u32..16 {
            bytes.splice(..4, len.to_ne_bytes());
            assert_eq!(messages(&bytes).collect::<Vec<_>>(), [Err(Malformed::Length)]);
        }
        for len in 0_u8..4 {
            assert_eq!(attributes(&[len, 0, 1, 0]).collect::<Vec<_>>(), [Err(Malformed::Length)]);
        }
    }

    #[test]
    fn flag_bits_are_not_part_of_an_attribute_number() {
        let mut encoder = Encoder::new(Header::default(), &[]);
        encoder.nested(18, |inner| inner.text(1, "vlan"));
        let bytes = encoder.finish();
        let message = messages(&bytes).next().expect("one message").expect("well-formed");
        let (_, mut outer) = message.body::<0>().expect("no fixed part");
        let outer = outer.next().expect("one attribute").expect("well-formed");
        assert_eq!(outer.kind, 18);
        let inner = outer.nested().next().expect("one attribute").expect("well-formed");
        assert_eq!((inner.kind, inner.text().as_str()), (1, "vlan"));
    }

    #[test]
    fn error_numbers_become_positive() {
        for (kind, payload, want) in [
            (ERROR, (-17_i32).to_ne_bytes().to_vec(), Ok(Some(17))),
            (ERROR, 0_i32.to_ne_bytes().to_vec(), Ok(Some(0))),
            (ERROR, i32::MIN.to_ne_bytes().to_vec(), Ok(Some(i32::MAX))),
            (ERROR, vec![1, 2], Err(Malformed::Body)),
            (DONE, vec![], Ok(Some(0))),
            (DONE, (-4_i32).to_ne_bytes().to_vec(), Ok(Some(4))),
            (16, 0_i32.to_ne_bytes().to_vec(), Ok(None)),
        ] {
            let bytes = Encoder::new(Header { kind, ..Header::default() }, &payload).finish();
            let message = messages(&bytes).next().expect("one message").expect("well-formed");
            // Padding that the encoder adds is not part of what was cut off.
            let message = Message { payload: &payload, ..message };
            assert_eq!(message.errno(), want);
        }
    }

    #[test]
    fn a_value_of_the_wrong_size_is_refused() {
        let attribute = Attribute { kind: 3, value: &[1, 2, 3] };
        assert_eq!(attribute.u16(), Err(Malformed::Attribute(3)));
        assert_eq!(attribute.u32(), Err(Malformed::Attribute(3)));
        assert_eq!(Attribute { kind: 3, value: b"eth0\0\0" }.text(), "eth0");
        assert_eq!(Attribute { kind: 3, value: b"a\xffb" }.text(), "a\u{fffd}b");
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..256),
        ) {
            for message in messages(&bytes).flatten() {
                let _ = message.errno();
                if let Ok((_, attributes)) = message.body::<16>() {
                    for attribute in attributes.flatten() {
                        prop_assert!(attribute.nested().count() <= attribute.value.len());
                    }
                }
            }
        }

        #[test]
        fn what_is_written_is_read_back(
            kind: u16, flags: u16, sequence: u32, port: u32, body: [u8; 6],
            values in proptest::collection::vec(
                (0..=KIND_MASK, proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
        ) {
            let header = Header { kind, flags, sequence, port };
            let mut encoder = Encoder::new(header, &body);
            for (kind, value) in &values {
                encoder.attribute(*kind, value);
            }
            let bytes = encoder.finish();
            let found: Vec<_> = messages(&bytes).collect::<Result<_, _>>()?;
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found[0].header, header);
            let (read, attributes) = found[0].body::<6>()?;
            prop_assert_eq!(read, &body);
            let read: Vec<_> = attributes
                .map(|attribute| attribute.map(|it| (it.kind, it.value.to_vec())))
                .collect::<Result<_, _>>()?;
            prop_assert_eq!(read, values);
        }
    }
}
