// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tells which libraries a program of 64-bit little-endian ELF form names (System V ABI, chapter
//! 5).
//!
//! Owns the few structures on the way to `DT_NEEDED`. Finding the files is left to
//! [`super::image`].

use std::fmt;

const TYPE_LOAD: u32 = 1;
const TYPE_DYNAMIC: u32 = 2;
const TYPE_INTERPRETER: u32 = 3;
const TAG_NEEDED: u64 = 1;
const TAG_STRINGS: u64 = 5;
const TAG_RUNPATH: u64 = 29;

/// What a program asks its loader for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linkage {
    /// Path of the loader; none in a static program or a library.
    pub interpreter: Option<String>,
    /// Names of libraries.
    pub needed: Vec<String>,
    /// Directories to look in first.
    pub search: Vec<String>,
}

/// The file is not a 64-bit little-endian ELF file, or it ends early.
#[derive(Debug, PartialEq, Eq)]
pub struct NotElf;

impl fmt::Display for NotElf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a complete 64-bit little-endian ELF file")
    }
}

impl std::error::Error for NotElf {}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

/// Reads the linkage of a program or library.
///
/// # Errors
/// [`NotElf`] when the bytes do not hold what the headers promise.
pub fn linkage(bytes: &[u8]) -> Result<Linkage, NotElf> {
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err(NotElf);
    }
    let (table, size, count) = (u64_at(bytes, 32)?, u16_at(bytes, 54)?, u16_at(bytes, 56)?);
    let mut segments = Vec::new();
    for n in 0..u64::from(count) {
        let at = n.checked_mul(size.into()).and_then(|o| o.checked_add(table)).ok_or(NotElf)?;
        segments.push(Segment {
            kind: u32_at(bytes, at)?,
            offset: u64_at(bytes, at + 8)?,
            address: u64_at(bytes, at + 16)?,
            size: u64_at(bytes, at + 32)?,
        });
    }
    let mut found = Linkage::default();
    if let Some(segment) = segments.iter().find(|s| s.kind == TYPE_INTERPRETER) {
        found.interpreter = Some(text_at(bytes, segment.offset)?);
    }
    let Some(dynamic) = segments.iter().find(|s| s.kind == TYPE_DYNAMIC) else {
        return Ok(found);
    };
    let mut tags = Vec::new();
    for at in (dynamic.offset..dynamic.offset.saturating_add(dynamic.size)).step_by(16) {
        tags.push((u64_at(bytes, at)?, u64_at(bytes, at + 8)?));
    }
    let Some((_, address)) = tags.iter().find(|t| t.0 == TAG_STRINGS) else { return Ok(found) };
    let strings = segments
        .iter()
        .filter(|s| s.kind == TYPE_LOAD)
        .find_map(|s| {
            let inside = address.checked_sub(s.address).filter(|inside| *inside < s.size)?;
            s.offset.checked_add(inside)
        })
        .ok_or(NotElf)?;
    for (tag, value) in tags {
        let text = || text_at(bytes, strings.checked_add(value).ok_or(NotElf)?);
        match tag {
            TAG_NEEDED => found.needed.push(text()?),
            TAG_RUNPATH => found.search.extend(text()?.split(':').map(str::to_owned)),
            _ => {}
        }
    }
    Ok(found)
}

fn slice<const N: usize>(bytes: &[u8], at: u64) -> Result<[u8; N], NotElf> {
    let at = usize::try_from(at).map_err(|_| NotElf)?;
    let end = at.checked_add(N).ok_or(NotElf)?;
    bytes.get(at..end).and_then(|s| s.try_into().ok()).ok_or(NotElf)
}

fn u16_at(bytes: &[u8], at: u64) -> Result<u16, NotElf> {
    slice(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: u64) -> Result<u32, NotElf> {
    slice(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: u64) -> Result<u64, NotElf> {
    slice(bytes, at).map(u64::from_le_bytes)
}

fn text_at(bytes: &[u8], at: u64) -> Result<String, NotElf> {
    let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).ok_or(NotElf)?;
    let end = rest.iter().position(|b| *b == 0).ok_or(NotElf)?;
    Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_test_names_its_loader_and_libc() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let found = linkage(&own).unwrap();
        assert!(found.interpreter.is_some_and(|i| i.contains("ld-linux")));
        assert!(found.needed.iter().any(|n| n.starts_with("libc.so")), "{:?}", found.needed);
    }

    #[test]
    fn other_files_and_cut_files_are_refused() {
        assert_eq!(linkage(b"#!/bin/sh\n"), Err(NotElf));
        assert_eq!(linkage(b""), Err(NotElf));
        let own = std::fs::read("/proc/self/exe").unwrap();
        for keep in [6, 40, 64, 200] {
            assert_eq!(linkage(&own[..keep]), Err(NotElf), "{keep} bytes");
        }
    }
}
