// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A package in memory.
//!
//! The hash covers paths, modes and content, so that it names a generation. The file
//! `share/microvm/runner.json` carries it, and is hashed as if it did not.

use std::collections::BTreeMap;
use std::fmt;

use hmac_sha256::Hash as Sha256;
use serde_json::Value;

/// The file that says what the package is, and by which a package is known.
pub const RUNNER: &str = "share/microvm/runner.json";

/// The most bytes that it has: those who write packages refuse more, so that all who read it agree.
pub const RUNNER_MAX: usize = 16 << 20;

/// The member of [`RUNNER`] with the hash.
const HASH_KEY: &str = "contentHash";

/// A file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Mode 0755.
    Program(Vec<u8>),
    /// Mode 0644.
    Data(Vec<u8>),
    /// A symbolic link and its target.
    Link(String),
}

impl Entry {
    /// The permission bits of the file, in octal digits; a link has `120000`.
    #[must_use]
    pub const fn mode(&self) -> &'static str {
        match self {
            Self::Program(_) => "755",
            Self::Data(_) => "644",
            Self::Link(_) => "120000",
        }
    }

    /// The content; for a link, its target.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Program(bytes) | Self::Data(bytes) => bytes.as_slice(),
            Self::Link(target) => target.as_bytes(),
        }
    }
}

/// The SHA-256 of a package's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash that 64 hexadecimal digits stand for.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        plinth::text::hex(text).map(Self)
    }

    /// The first eight digits, by which people tell generations apart.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }

    /// The name of the generation's directory: sixteen digits.
    #[must_use]
    pub fn directory(&self) -> String {
        self.to_string().chars().take(16).collect()
    }
}

impl fmt::Display for Hash {
    /// 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The files of a package by their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, Entry>);

impl Tree {
    /// Puts `entry` at `path`, which is relative and has no `.` or `..` in it.
    pub fn put(&mut self, path: impl Into<String>, entry: Entry) {
        self.0.insert(path.into(), entry);
    }

    /// What is at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path)
    }

    /// Everything, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// The hash of the content: over `path NUL mode NUL length NUL bytes` of all files.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut hash = Sha256::new();
        for (path, entry) in self.iter() {
            let bare = (path == RUNNER).then(|| without_hash(entry.bytes())).flatten();
            let bytes = bare.as_deref().unwrap_or(entry.bytes());
            hash.update(path);
            hash.update([0]);
            hash.update(entry.mode());
            hash.update([0]);
            hash.update(bytes.len().to_string());
            hash.update([0]);
            hash.update(bytes);
        }
        Hash(hash.finalize())
    }

    /// Writes the hash into [`RUNNER`], as the last act of making a package.
    pub fn seal(&mut self) -> Hash {
        let hash = self.hash();
        if let Some(Entry::Data(bytes)) = self.0.get_mut(RUNNER) {
            if let Ok(Value::Object(mut members)) = serde_json::from_slice(bytes) {
                members.insert(HASH_KEY.to_owned(), Value::String(hash.to_string()));
                *bytes = pretty(&Value::Object(members));
            }
        }
        hash
    }

    /// The hash that the package says it has.
    #[must_use]
    pub fn sealed(&self) -> Option<Hash> {
        let value: Value = serde_json::from_slice(self.get(RUNNER)?.bytes()).ok()?;
        Hash::parse(value.get(HASH_KEY)?.as_str()?)
    }
}

/// JSON as packages hold it: indented, one line feed at the end.
#[must_use]
pub(crate) fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

fn without_hash(bytes: &[u8]) -> Option<Vec<u8>> {
    let Ok(Value::Object(mut members)) = serde_json::from_slice(bytes) else { return None };
    members.remove(HASH_KEY)?;
    Some(pretty(&Value::Object(members)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.put("bin/run", Entry::Program(b"#!/bin/sh\n".to_vec()));
        tree.put(RUNNER, Entry::Data(pretty(&serde_json::json!({"b": 1, "a": [2]}))));
        tree
    }

    #[test]
    fn a_sealed_package_has_the_hash_it_had_before() {
        let mut tree = tree();
        assert_eq!(tree.sealed(), None);
        let hash = tree.seal();
        assert_eq!((tree.sealed(), tree.hash()), (Some(hash), hash));
        assert_eq!(Hash::parse(&hash.to_string()), Some(hash));
        assert_eq!((hash.short().len(), hash.directory().len()), (8, 16));
    }

    #[test]
    fn path_mode_and_content_make_the_hash() {
        let before = tree().hash();
        let changes: [fn(&mut Tree); 3] = [
            |tree| tree.put("bin/run", Entry::Program(b"#!/bin/ash\n".to_vec())),
            |tree| tree.put("bin/run", Entry::Data(b"#!/bin/sh\n".to_vec())),
            |tree| tree.put("bin/other", Entry::Program(Vec::new())),
        ];
        for change in changes {
            let mut tree = tree();
            change(&mut tree);
            assert_ne!(tree.hash(), before);
        }
    }

    #[test]
    fn what_is_no_hash_is_none() {
        for text in ["", "12", &"g".repeat(64), &"+1".repeat(32), &"é".repeat(32)] {
            assert_eq!(Hash::parse(text), None, "{text}");
        }
    }
}
