// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Proves that data written to a disk of the initiator arrives in the target's file.
//!
//! Disks are written and read past every cache (`O_DIRECT`), so that what is compared has been at
//! the target. Offsets and lengths are multiples of [`BLOCK`].

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use hmac_sha256::Hash;
use plinth::rand::Rng;
use rustix::fs::OFlags;

use super::trouble::Naming;
use super::{Outcome, ensure_eq, wait};

/// Alignment of offsets, lengths and memory; file-backed namespaces have blocks of this size.
pub const BLOCK: usize = 4096;
/// Bytes that [`travels`] writes.
const LENGTH: usize = 1 << 20;
/// The node of a new disk may be there a moment before it can be opened.
const OPEN_LIMIT: Duration = Duration::from_secs(5);

/// Memory that begins at a multiple of [`BLOCK`], as direct access wants it.
struct Aligned {
    memory: Vec<u8>,
    begin: usize,
    length: usize,
}

impl Aligned {
    fn new(length: usize) -> Self {
        let memory = vec![0; length + BLOCK];
        let begin = memory.as_ptr().align_offset(BLOCK);
        Self { memory, begin, length }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.begin..self.begin + self.length]
    }
}

/// SHA-256 in hexadecimal.
fn sum(bytes: &[u8]) -> String {
    Hash::hash(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn open(disk: &Path) -> Outcome<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(i32::try_from(OFlags::DIRECT.bits())?);
    let what = format!("{} can be opened", disk.display());
    wait::until_found(&what, OPEN_LIMIT, || Ok(options.open(disk).ok())).map(|(file, _)| file)
}

/// Writes `length` random bytes to `disk` at `at`, for good; gives their digest.
///
/// # Errors
/// The error of opening or writing.
pub fn write(disk: &Path, at: u64, length: usize, seed: u64) -> Outcome<String> {
    let mut random = Rng::seeded(seed);
    let mut data = Aligned::new(length);
    for piece in data.bytes().chunks_exact_mut(8) {
        piece.copy_from_slice(&random.next_u64().to_le_bytes());
    }
    let mut device = open(disk)?;
    device.seek(SeekFrom::Start(at))?;
    device.write_all(data.bytes()).named(disk.display())?;
    device.sync_all().named(disk.display())?;
    Ok(sum(data.bytes()))
}

/// Reads `length` bytes of `disk` at `at`; gives their digest.
///
/// # Errors
/// The error of opening or reading.
pub fn read(disk: &Path, at: u64, length: usize) -> Outcome<String> {
    let mut data = Aligned::new(length);
    let mut device = open(disk)?;
    device.seek(SeekFrom::Start(at))?;
    device.read_exact(data.bytes()).named(disk.display())?;
    Ok(sum(data.bytes()))
}

/// The digest of `length` bytes of an ordinary file, such as the one behind a namespace.
///
/// # Errors
/// The error of opening or reading.
pub fn read_file(path: &Path, at: u64, length: usize) -> Outcome<String> {
    let mut file = File::open(path).named(path.display())?;
    let mut bytes = vec![0; length];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes).named(path.display())?;
    Ok(sum(&bytes))
}

/// Writes random bytes to `disk` from its second mebibyte on, then compares digests with `backing`.
///
/// # Errors
/// A finding when they differ, or the error of reading or writing.
pub fn travels(disk: &Path, backing: &Path, seed: u64) -> Outcome {
    let at = LENGTH as u64;
    let written = write(disk, at, LENGTH, seed)?;
    ensure_eq("the digest at the target", &read_file(backing, at, LENGTH)?, &written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_access_gets_memory_on_a_block_border() {
        let mut data = Aligned::new(3 * BLOCK);
        assert_eq!(data.bytes().len(), 3 * BLOCK);
        assert_eq!(data.bytes().as_ptr().align_offset(BLOCK), 0);
    }

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert!(sum(b"").starts_with("e3b0c44298fc1c14"));
    }
}
