// SPDX-License-Identifier: Apache-2.0 OR MIT
//! References to programs, maps and links that exist in the kernel.
//!
//! Two words (`id 7`, `pin /sys/fs/bpf/x`, `name events`, `tag 3b185187f1855c4c`), or one with a
//! colon where only one fits (`id:7`). A lone word is a path if it begins with `/`, a number if it
//! has only digits, and else a name.

use std::fmt;

use crate::number;

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// The kernel's number.
    Id(u32),
    /// A path on a bpf file system.
    Pin(String),
    /// A name; to be unique among those of its kind.
    Name(String),
    /// The tag of a program: what the kernel hashes its instructions to.
    Tag([u8; 8]),
}

/// Text that is no reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceError {
    text: String,
    why: &'static str,
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reference '{}': {}", self.text, self.why)
    }
}

impl std::error::Error for ReferenceError {}

impl Reference {
    /// Reads a reference.
    ///
    /// # Errors
    /// Nothing is named, or an `id` or `tag` is no number of its kind.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let fail = |why| ReferenceError { text: text.to_owned(), why };
        let text = text.trim();
        let split = text.split_once([' ', ':']);
        let (form, rest) = match split {
            Some((form @ ("id" | "pin" | "name" | "tag"), rest)) => (form, rest.trim()),
            _ if text.starts_with('/') => ("pin", text),
            _ if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => ("id", text),
            _ if matches!(text, "id" | "pin" | "name" | "tag") => {
                return Err(fail("what follows is missing"));
            }
            _ => ("name", text),
        };
        match form {
            _ if rest.is_empty() => Err(fail("what it names is missing")),
            "id" => number::parse(rest).map(Self::Id).map_err(|_| fail("the id is no number")),
            "pin" => Ok(Self::Pin(rest.to_owned())),
            "tag" => number::hex_bytes(rest)
                .and_then(|bytes| <[u8; 8]>::try_from(bytes).ok())
                .map(Self::Tag)
                .ok_or_else(|| fail("a tag has 16 hexadecimal digits")),
            _ => Ok(Self::Name(rest.to_owned())),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "id {id}"),
            Self::Pin(path) => write!(f, "pin {path}"),
            Self::Name(name) => write!(f, "name {name}"),
            Self::Tag(tag) => {
                f.write_str("tag ")?;
                tag.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_is_read() {
        for (text, want) in [
            ("id 7", Reference::Id(7)),
            ("id:7", Reference::Id(7)),
            ("7", Reference::Id(7)),
            ("pin /sys/fs/bpf/x y", Reference::Pin("/sys/fs/bpf/x y".to_owned())),
            ("/sys/fs/bpf/a:b", Reference::Pin("/sys/fs/bpf/a:b".to_owned())),
            ("name 7", Reference::Name("7".to_owned())),
            (" events ", Reference::Name("events".to_owned())),
            (
                "tag 3b185187f1855c4c",
                Reference::Tag([0x3b, 0x18, 0x51, 0x87, 0xf1, 0x85, 0x5c, 0x4c]),
            ),
        ] {
            assert_eq!(Reference::parse(text), Ok(want), "{text}");
        }
        for (text, want) in [
            ("", "reference '': what it names is missing"),
            ("id", "reference 'id': what follows is missing"),
            ("id x", "reference 'id x': the id is no number"),
            ("id -1", "reference 'id -1': the id is no number"),
            ("tag 3b18", "reference 'tag 3b18': a tag has 16 hexadecimal digits"),
            ("pin ", "reference 'pin ': what follows is missing"),
        ] {
            assert_eq!(Reference::parse(text).map_err(|it| it.to_string()), Err(want.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(text in "(id |pin |name |tag |id:)?[a-f0-9/: é]{0,18}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(Reference::parse(&reference.to_string()), Ok(reference));
            }
        }
    }
}
