// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Advisory locks between processes (flock(2)): one holder per file, released when it ends,
//! however.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Held until dropped. The file stays: removing it would let two processes lock two files of one
/// name.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `path`, creating the file where there is none; `None` when another holds
    /// it.
    ///
    /// # Errors
    /// What open(2) and flock(2) say.
    pub fn try_exclusive(path: &Path) -> io::Result<Option<Self>> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}
