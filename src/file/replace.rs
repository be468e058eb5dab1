// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Replacing a file as a whole: readers see the old content or the new, also after a power failure.
//!
//! A temporary file in the same directory is written, synchronised and renamed over the old one,
//! and the directory is synchronised. On any error the old file stays and the temporary one is
//! removed.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Gid, Uid};

/// The bits of a mode that chmod(2) sets.
const MODE_BITS: u32 = 0o7777;

/// Makes `bytes` the content of `path`.
///
/// A file that exists keeps its mode and owner, and a symbolic link its place: the file it leads to
/// is replaced. A new file gets `mode` whatever the umask is.
///
/// # Errors
/// What the calls say; also when the owner cannot be kept, which takes root for other users' files.
pub fn replace_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let before = match fs::metadata(&target) {
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    put(&target, bytes, before.as_ref(), mode)
}

/// Puts a new file with `bytes` and `mode` at `path`, whatever was there.
///
/// A symbolic link is replaced, not followed, and of a file neither mode nor owner are kept. So
/// this is for directories in which others may make names too.
///
/// # Errors
/// What the calls say; a directory is not replaced.
pub fn put_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    put(path, bytes, None, mode)
}

fn put(target: &Path, bytes: &[u8], before: Option<&fs::Metadata>, mode: u32) -> io::Result<()> {
    let directory = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let draft = draft_name(target)?;
    let written = write(&draft, bytes, before, mode).and_then(|()| fs::rename(&draft, target));
    if let Err(error) = written {
        drop(fs::remove_file(&draft)); // the error that counts is the first
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

fn write(draft: &Path, bytes: &[u8], before: Option<&fs::Metadata>, mode: u32) -> io::Result<()> {
    // Nobody else may look before the final mode is set.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(bytes)?;
    if let Some(before) = before {
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
            let (owner, group) = (Uid::from_raw(before.uid()), Gid::from_raw(before.gid()));
            rustix::fs::fchown(&file, Some(owner), Some(group))?;
        }
    }
    // After the owner: changing that clears the set-user-ID bits.
    let mode = before.map_or(mode, |before| before.mode());
    file.set_permissions(Permissions::from_mode(mode & MODE_BITS))?;
    file.sync_all()
}

/// A hidden name beside `target`, that no other thread or living process uses.
fn draft_name(target: &Path) -> io::Result<PathBuf> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let name = target.file_name().ok_or(ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    hidden.push(format!(".{}-{serial}.tmp", crate::rand::seed_from_os()));
    Ok(target.with_file_name(hidden))
}
