// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Growing the image of a volume.
//!
//! Only grows, only while the machine is stopped; the file system in it is left alone unless asked
//! for.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::change::CURRENT;
use super::look::is_foreign;
use super::{Host, HostError, Name, filesystem};
use crate::package::{RUNNER, RUNNER_MAX};

/// What came of it, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// The size before.
    pub from: u64,
    /// The size after.
    pub to: u64,
}

/// Grows the image of a volume to `size` MiB, by default what the description says.
///
/// # Errors
/// The machine runs, has no such volume, or would have to shrink it; a tool failed.
pub fn grow(
    host: &Host<'_>,
    name: &Name,
    image: &str,
    size: Option<u64>,
    with_file_system: bool,
) -> Result<Growth, HostError> {
    if host.activity(name)?.active {
        return Err(HostError::Running(name.clone()));
    }
    let volume = volume(host, name, image)?;
    if volume.kind != "raw" {
        let text = format!("{image} is of type {}, which its own tools grow", volume.kind);
        return Err(HostError::Bad(text));
    }
    if with_file_system && !filesystem::can_grow(&volume.fs) {
        return Err(HostError::Bad(format!("a file system of type {} cannot grow", volume.fs)));
    }
    let path = place(host, name, image)?;
    let file = open(&path)?;
    let length = filesystem::size(&file).map_err(HostError::io("look at", &path))?;
    let from = length >> 20;
    let is_file = file.metadata().map_err(HostError::io("look at", &path))?.is_file();
    let bytes = match size.or(volume.size) {
        Some(mib) => mib.checked_mul(1 << 20),
        // A device has the size that it has.
        None if !is_file => Some(length),
        None => {
            return Err(HostError::Bad(format!("{image}: no size is described, give --size")));
        }
    };
    let bytes = bytes.filter(|bytes| *bytes >= length).ok_or_else(|| {
        HostError::Bad(format!("{image} has {from} MiB already; volumes never shrink"))
    })?;
    if bytes > length {
        if !is_file {
            return Err(HostError::Bad(format!("{image} is a device, which grows elsewhere")));
        }
        file.set_len(bytes).and_then(|()| file.sync_all()).map_err(HostError::io("grow", &path))?;
    }
    if with_file_system {
        filesystem::grow(host, &path, &file, &volume.fs)?;
    }
    Ok(Growth { from, to: bytes >> 20 })
}

/// The image itself. Where a machine may have put a link, it does not lead root elsewhere.
fn open(path: &Path) -> Result<File, HostError> {
    let found = path.symlink_metadata().map_err(HostError::io("look at", path))?;
    if found.is_symlink() && is_foreign(path) {
        let text = format!("{} is a link that another account has made", path.display());
        return Err(HostError::Bad(text));
    }
    let follow = if found.is_symlink() { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = OFlags::RDWR | OFlags::CLOEXEC | follow;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    opened.map(File::from).map_err(|errno| HostError::io("open", path)(errno.into()))
}

struct Volume {
    size: Option<u64>,
    fs: String,
    kind: String,
}

fn volume(host: &Host<'_>, name: &Name, image: &str) -> Result<Volume, HostError> {
    let package = host.package(name, CURRENT).ok_or_else(|| HostError::NotFound(name.clone()))?;
    let bytes = plinth::file::read(&package.join(RUNNER), RUNNER_MAX)
        .map_err(HostError::io("read", package.join(RUNNER)))?;
    let runner: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| HostError::Bad(error.to_string()))?;
    let volumes = runner.pointer("/config/volumes").and_then(serde_json::Value::as_array);
    let found = volumes
        .into_iter()
        .flatten()
        .find(|volume| volume.get("image").and_then(serde_json::Value::as_str) == Some(image));
    let found =
        found.ok_or_else(|| HostError::Bad(format!("MicroVM {name} has no volume {image}")))?;
    let text = |key: &str, or: &str| {
        found.get(key).and_then(serde_json::Value::as_str).unwrap_or(or).to_owned()
    };
    let size = found.get("size").and_then(serde_json::Value::as_u64);
    Ok(Volume { size, fs: text("fsType", "ext4"), kind: text("imageType", "raw") })
}

/// Where the image is: as the machine sees it, from its directory.
fn place(host: &Host<'_>, name: &Name, image: &str) -> Result<PathBuf, HostError> {
    let path = Path::new(image);
    if path.is_absolute() {
        return Ok(host.root.join(path));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(HostError::Bad(format!("{image} leads out of the machine's directory")));
    }
    Ok(host.directory(name).join(path))
}
