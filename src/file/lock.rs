// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Advisory locks between processes (flock(2)): one holder per file, released when it ends,
//! however.
//!
//! The kernel ties the lock to the open file, which a child has too between fork and exec. So
//! dropping a lock says that it ends; closing the file alone would leave it to such a child.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Held until dropped. The file stays: removing it would let two processes lock two files of one
/// name.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of `path`, creating the file where there is none; `None` when another holds
    /// it. A link is refused, and so is a pipe that nobody reads: others may be able to write
    /// where the file is.
    ///
    /// # Errors
    /// What open(2) and flock(2) say.
    pub fn try_exclusive(path: &Path) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A failure leaves it to the closing of the file.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_not_followed() {
        let place = crate::testing::Place::new();
        std::os::unix::fs::symlink("elsewhere", place.join("lock")).expect("a link");
        assert!(Lock::try_exclusive(&place.join("lock")).is_err());
        assert!(!place.join("elsewhere").exists());
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up() {
        let place = crate::testing::Place::new();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, place.join("lock"), kind, mode, 0).expect("a pipe");
        assert!(Lock::try_exclusive(&place.join("lock")).is_err());
    }

    #[test]
    fn a_child_that_is_not_yet_another_program_does_not_hold_it() {
        let place = crate::testing::Place::new();
        let path = place.join("lock");
        let held = Lock::try_exclusive(&path).expect("open").expect("free");
        let of_the_child = held.file.try_clone().expect("a copy of the descriptor");
        drop(held);
        assert!(Lock::try_exclusive(&path).expect("open").is_some());
        drop(of_the_child);
    }
}
