// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Proves that data written to a disk of the initiator arrives in the target's file.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use hmac_sha256::Hash;
use plinth::rand::Rng;

use super::trouble::Naming;
use super::{Outcome, ensure_eq, wait};

/// Bytes written.
const LENGTH: usize = 1 << 20;

/// Writes random bytes to `disk` from its second mebibyte on, then compares digests with `backing`.
///
/// # Errors
/// A finding when they differ, or the error of reading or writing.
pub fn travels(disk: &Path, backing: &Path, seed: u64) -> Outcome {
    let mut random = Rng::seeded(seed);
    let bytes: Vec<u8> = (0..LENGTH / 8).flat_map(|_| random.next_u64().to_le_bytes()).collect();
    let at = SeekFrom::Start(LENGTH as u64);
    // The node of a new disk may be there a moment before it can be opened.
    let limit = Duration::from_secs(5);
    let (mut device, _) = wait::until_found("the disk can be opened", limit, || {
        Ok(OpenOptions::new().read(true).write(true).open(disk).ok())
    })?;
    device.seek(at)?;
    device.write_all(&bytes).named(disk.display())?;
    device.sync_all().named(disk.display())?;
    let mut file = File::open(backing).named(backing.display())?;
    file.seek(at)?;
    let mut found = vec![0; LENGTH];
    file.read_exact(&mut found)?;
    ensure_eq("the digest at the target", &Hash::hash(&found), &Hash::hash(&bytes))
}
