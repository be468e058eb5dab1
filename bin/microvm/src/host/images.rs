// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernels and disk images that came from another host, each kept under the hash of what is in it.
//!
//! Under such a name a file is whole: it is written beside it, and gets the name only when its
//! content has the hash. So it has to come but once, whichever machines use it.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use plinth::file::Lock;
use plinth::time::Wall;
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};

use super::change::LOCK;
use super::{Host, HostError};
use crate::package::{Hash, RUNNER, RUNNER_MAX};

/// The directory of images, beside those of the machines.
const IMAGES: &str = ".images";
/// What is on its way.
const DRAFT: &str = ".new";
/// How long an image is kept that no package names: one may be on its way.
const UNNAMED_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

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

    /// As [`Host::image`], for somebody who is about to send a package that names the image: it
    /// stays as long as one that has just come.
    #[must_use]
    pub fn image_for_later(&self, hash: &Hash) -> (String, bool) {
        let (path, is_there) = self.image(hash);
        if is_there {
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            let now = Timestamps { last_access: now, last_modification: now };
            // Who may not do this has no command that removes images either.
            let file = File::open(self.root.join(&path));
            drop(file.and_then(|file| Ok(futimens(file, &now)?)));
        }
        (path, is_there)
    }

    /// Removes the images that no package of this host names and that came long before `now`; their
    /// hashes.
    ///
    /// # Errors
    /// Another command takes an image; a package cannot be read, so that nobody knows what it
    /// names; the system refused.
    pub fn collect_images(&self, now: Wall) -> Result<Vec<String>, HostError> {
        let store = self.state().join(IMAGES);
        if !store.is_dir() {
            return Ok(Vec::new());
        }
        let _lock = lock(&store)?;
        let named = self.runners()?;
        let mut gone = Vec::new();
        let io = |what| HostError::io(what, &store);
        for entry in fs::read_dir(&store).map_err(io("read"))? {
            let entry = entry.map_err(io("read"))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let since = entry.metadata().map_err(io("read"))?.mtime();
            let since = Wall(u64::try_from(since).unwrap_or_default());
            let is_old = since + UNNAMED_AGE_MAX < now;
            let is_named = named.iter().any(|runner| runner.contains(&name));
            if Hash::parse(&name).is_some() && is_old && !is_named {
                fs::remove_file(entry.path()).map_err(HostError::io("remove", entry.path()))?;
                gone.push(name);
            }
        }
        gone.sort_unstable();
        Ok(gone)
    }

    /// The descriptions in all packages. What a killed process left is none.
    fn runners(&self) -> Result<Vec<String>, HostError> {
        let mut found = Vec::new();
        for name in self.names()? {
            let packages = self.packages(&name);
            let generations = self.look(&name)?.generations.into_iter();
            for generation in generations.filter(super::seen::Generation::is_whole) {
                let path = packages.join(generation.name).join(RUNNER);
                let bytes = plinth::file::read(&path, RUNNER_MAX);
                let bytes = bytes.map_err(HostError::io("read", &path))?;
                found.push(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        Ok(found)
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
        let _lock = lock(&store)?;
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

/// Keeps other commands away from the images.
fn lock(store: &Path) -> Result<Lock, HostError> {
    let path = store.join(LOCK);
    let lock = Lock::try_exclusive(&path).map_err(HostError::io("lock", path))?;
    lock.ok_or(HostError::ImagesLocked)
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
