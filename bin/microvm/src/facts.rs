// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the files of this machine tell about a description.
//!
//! Owns the look at kernels: whether they are there, how they begin, whether an ELF kernel has a
//! section of BTF (ELF-64, little endian), or the configuration beside it says so. A file that
//! cannot be read tells nothing.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::validate::{Evidence, Facts};

/// Bytes of a section header.
const SECTION: usize = 64;
/// The most sections that are read; a kernel has some dozens.
const SECTIONS_MAX: usize = 4096;
/// The most bytes of the names of sections.
const NAMES_MAX: usize = 1 << 20;
/// The most bytes of a kernel's configuration.
const CONFIG_MAX: u64 = 4 << 20;

/// Looks at the files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileFacts;

impl Facts for FileFacts {
    fn exists(&self, path: &str) -> Option<bool> {
        Path::new(path).try_exists().ok()
    }

    fn is_directory(&self, path: &str) -> Option<bool> {
        Some(Path::new(path).metadata().ok()?.is_dir())
    }

    fn head(&self, path: &str) -> Option<[u8; 4]> {
        let mut head = [0; 4];
        open(Path::new(path))?.read_exact(&mut head).ok()?;
        Some(head)
    }

    fn btf(&self, path: &str) -> Option<Evidence> {
        let file = open(Path::new(path))?;
        Some(match section(&file, b".BTF") {
            Some(true) => Evidence::Present,
            Some(false) => Evidence::Absent,
            None => configuration(Path::new(path)),
        })
    }
}

/// Opens a regular file; others may keep who opens them waiting.
fn open(path: &Path) -> Option<File> {
    path.metadata().ok()?.is_file().then(|| File::open(path).ok())?
}

/// What the file `config-VERSION` beside `vmlinuz-VERSION` says.
fn configuration(kernel: &Path) -> Evidence {
    let name = kernel.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((_, version)) = name.split_once('-') else { return Evidence::Unknown };
    let mut text = String::new();
    let path = kernel.with_file_name(format!("config-{version}"));
    let read = open(&path).map(|file| file.take(CONFIG_MAX).read_to_string(&mut text));
    if !matches!(read, Some(Ok(_))) {
        return Evidence::Unknown;
    }
    if text.lines().any(|line| line == "CONFIG_DEBUG_INFO_BTF=y") {
        Evidence::Present
    } else {
        Evidence::Absent
    }
}

/// Has the ELF file a section of this name? `None` if it is no such file.
fn section(file: &File, wanted: &[u8]) -> Option<bool> {
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).ok()?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = number(&header, 0x28, 8)?;
    let count = usize::try_from(number(&header, 0x3c, 2)?).ok()?.min(SECTIONS_MAX);
    let names = usize::try_from(number(&header, 0x3e, 2)?).ok()?;
    if usize::try_from(number(&header, 0x3a, 2)?).ok()? != SECTION || names >= count {
        return None;
    }
    let mut sections = vec![0; count * SECTION];
    file.read_exact_at(&mut sections, table).ok()?;
    let at = sections.get(names * SECTION..)?;
    let (offset, size) = (number(at, 0x18, 8)?, usize::try_from(number(at, 0x20, 8)?).ok()?);
    let mut text = vec![0; size.min(NAMES_MAX)];
    file.read_exact_at(&mut text, offset).ok()?;
    let name = |section: &[u8]| {
        let rest = text.get(usize::try_from(number(section, 0, 4)?).ok()?..)?;
        rest.split(|byte| *byte == 0).next()
    };
    Some(sections.chunks_exact(SECTION).any(|section| name(section) == Some(wanted)))
}

/// The little-endian number of `size` bytes at `at`.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + size)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with the named sections; the first one holds the names.
    fn elf(sections: &[&str]) -> Vec<u8> {
        let mut names = Vec::new();
        let mut table = Vec::new();
        for section in sections {
            let mut header = vec![0; SECTION];
            header[..4].copy_from_slice(&u32::try_from(names.len()).unwrap().to_le_bytes());
            names.extend(section.as_bytes());
            names.push(0);
            table.push(header);
        }
        table[0][0x18..0x20].copy_from_slice(&64_u64.to_le_bytes());
        table[0][0x20..0x28].copy_from_slice(&(names.len() as u64).to_le_bytes());
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[0x28..0x30].copy_from_slice(&(64 + names.len() as u64).to_le_bytes());
        file[0x3a] = 64;
        file[0x3c] = u8::try_from(sections.len()).unwrap();
        file.extend(names);
        file.extend(table.concat());
        file
    }

    #[test]
    fn kernels_tell_whether_they_have_types() {
        let dir = std::env::temp_dir().join(format!("microvm-facts-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        for (name, bytes) in [
            ("vmlinux", elf(&[".shstrtab", ".text", ".BTF"])),
            ("bare", elf(&[".shstrtab", ".BTF_ids"])),
            ("cut", elf(&[".shstrtab", ".BTF"])[..80].to_vec()),
            ("vmlinuz-6.1", b"MZ".repeat(40)),
            ("config-6.1", b"CONFIG_X=y\nCONFIG_DEBUG_INFO_BTF=y\n".to_vec()),
            ("vmlinuz-5.4", b"MZ".repeat(40)),
            ("config-5.4", b"# CONFIG_DEBUG_INFO_BTF is not set\n".to_vec()),
            ("short", b"MZ".to_vec()),
        ] {
            std::fs::write(path(name), bytes).unwrap();
        }
        for (name, evidence) in [
            ("vmlinux", Some(Evidence::Present)),
            ("bare", Some(Evidence::Absent)),
            ("cut", Some(Evidence::Unknown)),
            ("vmlinuz-6.1", Some(Evidence::Present)),
            ("vmlinuz-5.4", Some(Evidence::Absent)),
            ("short", Some(Evidence::Unknown)),
            ("none", None),
        ] {
            assert_eq!(FileFacts.btf(&path(name)), evidence, "{name}");
        }
        assert_eq!(FileFacts.exists(&path("none")), Some(false));
        assert_eq!(FileFacts.exists(&path("short")), Some(true));
        assert_eq!(FileFacts.head(&path("vmlinux")), Some(*b"\x7fELF"));
        assert_eq!(FileFacts.head(&path("short")), None);
        // What would wait for somebody to write is not opened.
        let pipe = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(pipe.success());
        assert_eq!((FileFacts.head(&path("pipe")), FileFacts.btf(&path("pipe"))), (None, None));
        assert_eq!(FileFacts.is_directory(dir.to_str().unwrap()), Some(true));
        assert_eq!(FileFacts.is_directory(&path("short")), Some(false));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
