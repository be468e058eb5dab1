// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernels and disk images that came from another host, each kept under the hash of what is in it.
//!
//! Under such a name a file is whole: it is written beside it, and gets the name only when its
//! content has the hash. So it has to come but once, whichever machines use it.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use plinth::file::Lock;

use super::change::LOCK;
use super::{Host, HostError};
use crate::package::Hash;

/// The directory of images, beside those of the machines.
const IMAGES: &str = ".images";
/// What is on its way.
const DRAFT: &str = ".new";

/// The hash of what is in a file.
///
/// # Errors
/// It cannot be read.
pub(crate) fn hash_of(path: &Path) -> Result<Hash, HostError> {
    let file = File::open(path).map_err(HostError::io("open", path))?;
    copy(file, &mut io::sink()).map_err(HostError::io("read", path))
}

/// Copies all there is; its hash.
fn copy(mut from: impl Read, to: &mut dyn io::Write) -> io::Result<Hash> {
    let mut hash = hmac_sha256::Hash::new();
    let mut chunk = vec![0; 1 << 18];
    loop {
        let count = match from.read(&mut chunk) {
            Ok(0) => return Ok(Hash(hash.finalize())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let part = chunk.get(..count).unwrap_or_default();
        hash.update(part);
        to.write_all(part)?;
    }
}

impl Host<'_> {
    /// The path by which packages name the image of this hash, and whether it is there.
    #[must_use]
    pub fn image(&self, hash: &Hash) -> (String, bool) {
        let path = format!("{}/{IMAGES}/{hash}", self.settings.state_dir);
        let is_there = self.root.exists(&path);
        (path, is_there)
    }

    /// Takes an image from a stream.
    ///
    /// # Errors
    /// It is not what was announced; another command takes one; it cannot be written.
    pub fn take_image(&self, hash: &Hash, from: impl Read) -> Result<(), HostError> {
        self.make_state()?;
        let store = self.state().join(IMAGES);
        fs::create_dir_all(&store).map_err(HostError::io("create", &store))?;
        // Hypervisors read what is in it, whatever the mask of whoever came first.
        fs::set_permissions(&store, Permissions::from_mode(0o755))
            .map_err(HostError::io("change the mode of", &store))?;
        let lock = store.join(LOCK);
        let Some(_lock) = Lock::try_exclusive(&lock).map_err(HostError::io("lock", lock))? else {
            return Err(HostError::ImagesLocked);
        };
        let draft = store.join(DRAFT);
        let taken = write(&draft, hash, from).and_then(|()| {
            let path = store.join(hash.to_string());
            fs::rename(&draft, &path).map_err(HostError::io("rename", &draft))?;
            super::hands::sync(&store)
        });
        if taken.is_err() {
            // What went wrong is told; the next one begins anew.
            drop(fs::remove_file(&draft));
        }
        taken
    }
}

/// Writes a stream to a file, which is then on stable storage, and what was announced.
fn write(path: &Path, hash: &Hash, from: impl Read) -> Result<(), HostError> {
    let mut file = File::create(path).map_err(HostError::io("create", path))?;
    let found = copy(from, &mut file).map_err(HostError::io("write", path))?;
    if found != *hash {
        return Err(HostError::Bad("the image is not the one that was announced".to_owned()));
    }
    file.flush()
        .and_then(|()| file.set_permissions(Permissions::from_mode(0o644)))
        .and_then(|()| file.sync_all())
        .map_err(HostError::io("write", path))
}
