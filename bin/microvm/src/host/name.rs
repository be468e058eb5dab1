// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names of machines: each is a directory, a part of unit names, and a word of messages.
//!
//! Pure. Everything that takes a name from outside goes through [`Name::parse`], so that no name
//! leads out of the state directory.

use std::fmt;

/// The longest name, in bytes.
const LEN_MAX: usize = 63;

/// The name of a machine on this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name, if it is one: `[a-z0-9][a-z0-9_.-]{0,62}`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_first = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_inner = |c: u8| is_first(c) || matches!(c, b'_' | b'.' | b'-');
        let (first, rest) = text.as_bytes().split_first()?;
        let is_name =
            text.len() <= LEN_MAX && is_first(*first) && rest.iter().all(|c| is_inner(*c));
        is_name.then(|| Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The unit that runs the machine. No character of a name needs escaping there, but `-`, which
    /// systemd undoes only in `%I`.
    #[must_use]
    pub fn unit(&self) -> String {
        format!("microvm@{}.service", self.0)
    }

    /// The machine of a unit's name.
    #[must_use]
    pub fn of_unit(unit: &str) -> Option<Self> {
        Self::parse(unit.strip_prefix("microvm@")?.strip_suffix(".service")?)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_their_directory() {
        for good in ["web1", "0", "a_b.c-d", &"a".repeat(63)] {
            assert_eq!(Name::parse(good).expect("a name").as_str(), good);
        }
        for bad in ["", ".", "..", "-a", ".a", "A", "a/b", "a b", "a\n", "é", &"a".repeat(64)] {
            assert_eq!(Name::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_unit_names_its_machine() {
        let name = Name::parse("web-1").expect("a name");
        assert_eq!(name.unit(), "microvm@web-1.service");
        assert_eq!(Name::of_unit(&name.unit()), Some(name));
        assert_eq!(Name::of_unit("microvm@.service"), None);
        assert_eq!(Name::of_unit("microvm-tap-interfaces@a.service"), None);
    }
}
