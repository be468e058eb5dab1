// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Growing the image of a volume.
//!
//! Only grows, only while the machine is stopped; the file system in it is left alone unless asked
//! for.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::io::Errno;

use super::change::CURRENT;
use super::look::is_somebody_elses;
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
    let (path, file) = open(host, name, image)?;
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

/// The image itself, as the machine sees it from its directory, and its path. Where a machine may
/// have put a link, it does not lead root elsewhere.
fn open(host: &Host<'_>, name: &Name, image: &str) -> Result<(PathBuf, File), HostError> {
    let image = Path::new(image);
    // Links that lead to what is named by an absolute path are the administrator's.
    let (from, way, resolve) = if image.is_absolute() {
        (host.root.join("/"), image.strip_prefix("/").unwrap_or(image), ResolveFlags::empty())
    } else {
        let firm = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        (host.directory(name), image, firm)
    };
    let path = from.join(way);
    let failed = |errno: Errno| match errno {
        Errno::NOENT | Errno::NOTDIR => HostError::NoImage(path.clone()),
        Errno::LOOP => HostError::Bad(format!("{} is reached through a link", path.display())),
        Errno::XDEV => {
            HostError::Bad(format!("{} leads out of the machine's directory", path.display()))
        }
        errno => HostError::io("open", &path)(errno.into()),
    };
    let (above, last) = (way.parent().unwrap_or(way), way.file_name().unwrap_or_default());
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = rustix::fs::open(&from, directory, Mode::empty()).map_err(failed)?;
    let above = openat2(&from, above, directory, Mode::empty(), resolve).map_err(failed)?;
    let found = statat(&above, last, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    let is_link = FileType::from_raw_mode(found.st_mode) == FileType::Symlink;
    if is_link && is_somebody_elses(found.st_uid) {
        let text = format!("{} is a link that another account has made", path.display());
        return Err(HostError::Bad(text));
    }
    let follow = if is_link { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | follow;
    let file = openat(&above, last, flags, Mode::empty()).map_err(failed)?;
    Ok((path, File::from(file)))
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
    let found = found.ok_or_else(|| HostError::NoVolume(name.clone(), image.to_owned()))?;
    let text = |key: &str, or: &str| {
        found.get(key).and_then(serde_json::Value::as_str).unwrap_or(or).to_owned()
    };
    let size = found.get("size").and_then(serde_json::Value::as_u64);
    Ok(Volume { size, fs: text("fsType", "ext4"), kind: text("imageType", "raw") })
}
