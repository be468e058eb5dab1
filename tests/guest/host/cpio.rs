// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writes the archive that the kernel unpacks into its first root file system (cpio, "newc" form).
//!
//! Owns the byte layout and the rule that a directory precedes its entries. The archive is plain
//! data, so device nodes in it need no privilege. Times are zero and inode numbers count from one:
//! equal input gives equal bytes.

use std::collections::BTreeSet;

const KIND_DIR: u32 = 0o040_000;
const KIND_FILE: u32 = 0o100_000;
const KIND_LINK: u32 = 0o120_000;
const KIND_CHAR: u32 = 0o020_000;
const TRAILER: &str = "TRAILER!!!";

/// An archive under construction.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    present: BTreeSet<String>,
}

impl Archive {
    /// An empty archive.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `path` (absolute or not) is already there.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.present.contains(path.trim_matches('/'))
    }

    /// Adds a directory and those above it; one that is already there is left as it is.
    pub fn dir(&mut self, path: &str, mode: u32) {
        let path = path.trim_matches('/');
        if path.is_empty() || self.present.contains(path) {
            return;
        }
        self.parents(path);
        self.entry(path, KIND_DIR | mode, (0, 0), &[]);
    }

    /// Adds a file with these permission bits; the first of two with one name stays.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.add(path, KIND_FILE | mode, (0, 0), content);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.add(path, KIND_LINK | 0o777, (0, 0), target.as_bytes());
    }

    /// Adds a character device node.
    pub fn device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.add(path, KIND_CHAR | mode, (major, minor), &[]);
    }

    /// Closes the archive and hands out its bytes, padded to a block of 512.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, (0, 0), &[]);
        pad(&mut self.bytes, 512);
        self.bytes
    }

    fn add(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        let path = path.trim_matches('/');
        if !self.present.contains(path) {
            self.parents(path);
            self.entry(path, mode, device, content);
        }
    }

    fn parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.dir(parent, 0o755);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("a file of the image is below 4 GiB");
        let name = u32::try_from(path.len() + 1).expect("a path is short");
        let links = if mode & KIND_DIR != 0 { 2 } else { 1 };
        self.bytes.extend_from_slice(b"070701");
        for field in [self.entries, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name, 0] {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        pad(&mut self.bytes, 4);
        self.bytes.extend_from_slice(content);
        pad(&mut self.bytes, 4);
        self.present.insert(path.to_owned());
    }
}

fn pad(bytes: &mut Vec<u8>, unit: usize) {
    bytes.resize(bytes.len().next_multiple_of(unit), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode, device and content.
    type Entry = (String, u32, (u32, u32), Vec<u8>);

    /// Each entry of an archive, in order.
    fn entries(bytes: &[u8]) -> Vec<Entry> {
        let (mut at, mut found) = (0, Vec::new());
        loop {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let field = |n: usize| {
                let text = std::str::from_utf8(&bytes[at + 6 + n * 8..at + 14 + n * 8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (size, name) = (field(6) as usize, field(11) as usize);
            let start = (at + 110 + name).next_multiple_of(4);
            let path = String::from_utf8(bytes[at + 110..at + 109 + name].to_vec()).unwrap();
            if path == TRAILER {
                return found;
            }
            let content = bytes[start..start + size].to_vec();
            found.push((path, field(1), (field(9), field(10)), content));
            at = (start + size).next_multiple_of(4);
        }
    }

    #[test]
    fn directories_come_before_what_is_in_them() {
        let mut archive = Archive::new();
        archive.file("/usr/bin/tool", 0o755, b"abcde");
        archive.link("/usr/bin/alias", "tool");
        archive.device("/dev/console", 0o600, 5, 1);
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 512, 0);
        let found = entries(&bytes);
        let names: Vec<_> = found.iter().map(|e| e.0.as_str()).collect();
        assert_eq!(
            names,
            ["usr", "usr/bin", "usr/bin/tool", "usr/bin/alias", "dev", "dev/console"]
        );
        assert_eq!(found[2].1, 0o100_755);
        assert_eq!(found[2].3, b"abcde");
        assert_eq!(found[3].3, b"tool");
        assert_eq!((found[5].1, found[5].2), (0o020_600, (5, 1)));
    }

    #[test]
    fn the_first_of_two_equal_names_stays() {
        let mut archive = Archive::new();
        archive.file("a", 0o644, b"first");
        archive.file("/a", 0o644, b"second");
        assert!(archive.has("a"));
        assert_eq!(entries(&archive.finish()).len(), 1);
    }
}
