// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Root images made of directories: the same directory gives the same bytes, everywhere and always.
//!
//! Owns the hash of a directory's content, which gives an image identifier and name, and the words
//! of the programs that make images. Owners and times of the directory do not count, and do not
//! reach the image.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hmac_sha256::Hash as Sha256;

use crate::package::Hash;

/// How an image is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// erofs.
    #[default]
    Erofs,
    /// squashfs.
    Squashfs,
}

impl Kind {
    /// The one of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "erofs" => Some(Self::Erofs),
            "squashfs" => Some(Self::Squashfs),
            _ => None,
        }
    }

    /// Its name, which images end with.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Erofs => "erofs",
            Self::Squashfs => "squashfs",
        }
    }

    /// The program that makes such images.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Erofs => "mkfs.erofs",
            Self::Squashfs => "mksquashfs",
        }
    }
}

/// What an image is made of.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// How it is laid out.
    pub kind: Kind,
    /// The flags that the description asks for.
    pub flags: &'a [String],
    /// A label, for erofs; versions before 1.7 have none.
    pub label: Option<&'a str>,
    /// The directory.
    pub source: &'a Path,
}

impl Plan<'_> {
    /// The words for the program that makes `out` of a directory whose hash is `hash`.
    #[must_use]
    pub fn words(&self, hash: &Hash, out: &Path) -> Vec<PathBuf> {
        let mut words: Vec<PathBuf> = Vec::new();
        let mut add = |word: &str| words.push(PathBuf::from(word));
        match self.kind {
            Kind::Erofs => {
                add("--quiet");
                self.flags.iter().for_each(|flag| add(flag));
                ["-T0", "--all-root", "-U", &uuid(hash)].into_iter().for_each(&mut add);
                if let Some(label) = self.label {
                    add("-L");
                    add(label);
                }
                words.extend([out.to_owned(), self.source.to_owned()]);
            }
            Kind::Squashfs => {
                words.extend([self.source.to_owned(), out.to_owned()]);
                let fixed = ["-all-root", "-noappend", "-no-progress", "-quiet"];
                let times = ["-all-time", "0", "-mkfs-time", "0"];
                words.extend(fixed.iter().chain(&times).map(PathBuf::from));
                words.extend(self.flags.iter().map(PathBuf::from));
            }
        }
        words
    }
}

/// An identifier of the eighth version, made of the content.
fn uuid(hash: &Hash) -> String {
    let mut digits: Vec<char> = hash.to_string().chars().take(32).collect();
    if let Some(version) = digits.get_mut(12) {
        *version = '8';
    }
    if let Some(variant) = digits.get_mut(16) {
        *variant = 'a';
    }
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default().iter().collect();
    let parts: [String; 5] = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)];
    parts.join("-")
}

/// The hash of what a directory holds: paths, kinds, permissions, content and targets of links.
///
/// # Errors
/// What of it cannot be read, with its path.
pub fn content_hash(directory: &Path) -> Result<Hash, (PathBuf, io::Error)> {
    let mut hash = Sha256::new();
    let mut all = Vec::new();
    walk(directory, &mut all)?;
    all.sort();
    for path in all {
        let failed = |error| (path.clone(), error);
        let metadata = fs::symlink_metadata(&path).map_err(failed)?;
        let kind = metadata.file_type();
        hash.update(path.strip_prefix(directory).unwrap_or(&path).as_os_str().as_bytes());
        hash.update([0]);
        hash.update(format!("{:o}", metadata.permissions().mode()));
        hash.update([0]);
        if kind.is_symlink() {
            hash.update(fs::read_link(&path).map_err(failed)?.as_os_str().as_bytes());
        } else if kind.is_file() {
            hash.update(metadata.len().to_string());
            hash.update([0]);
            add(&mut hash, &path).map_err(failed)?;
        } else if kind.is_char_device() || kind.is_block_device() {
            use std::os::unix::fs::MetadataExt as _;
            hash.update(metadata.rdev().to_string());
        }
        hash.update([0]);
    }
    Ok(Hash(hash.finalize()))
}

fn add(hash: &mut Sha256, path: &Path) -> io::Result<()> {
    use std::io::Read as _;
    let mut file = fs::File::open(path)?;
    let mut bytes = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        hash.update(bytes.get(..count).unwrap_or_default());
    }
}

fn walk(directory: &Path, all: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let failed = |error| (directory.to_owned(), error);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        all.push(path.clone());
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(&path, all)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identifier_follows_from_the_content() {
        let uuid = uuid(&Hash([0x5f; 32]));
        assert_eq!(uuid, "5f5f5f5f-5f5f-8f5f-af5f-5f5f5f5f5f5f");
    }

    #[test]
    fn words_leave_out_what_differs_from_host_to_host() {
        let flags = ["-zlz4hc".to_owned()];
        let source = Path::new("/src");
        let plan = Plan { kind: Kind::Erofs, flags: &flags, label: None, source };
        let words: Vec<String> = plan
            .words(&Hash([0; 32]), Path::new("/out"))
            .iter()
            .map(|word| word.display().to_string())
            .collect();
        let uuid = "00000000-0000-8000-a000-000000000000";
        assert_eq!(words, ["--quiet", "-zlz4hc", "-T0", "--all-root", "-U", uuid, "/out", "/src"]);
        let squashfs = Plan { kind: Kind::Squashfs, ..plan };
        let words = squashfs.words(&Hash([0; 32]), Path::new("/out"));
        assert_eq!(words[..2], [PathBuf::from("/src"), PathBuf::from("/out")]);
        assert!(words.contains(&PathBuf::from("-mkfs-time")), "{words:?}");
    }
}
