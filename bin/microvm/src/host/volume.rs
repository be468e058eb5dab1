// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Growing the image of a volume.
//!
//! Only grows, only while the machine is stopped; the file system in it is left alone unless asked
//! for.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plinth::proc::Limits;

use super::change::CURRENT;
use super::{Host, HostError, Name};
use crate::package::RUNNER;

/// A check and a growth of a large file system take their time.
const TOOL: Limits = Limits { time: Duration::from_secs(3600), output: 1 << 20 };

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
    let path = place(host, name, image)?;
    let length = path.metadata().map_err(HostError::io("look at", &path))?.len();
    let to = size
        .or(volume.size)
        .ok_or_else(|| HostError::Bad(format!("{image}: no size is described, give --size")))?;
    let from = length >> 20;
    let bytes = to.checked_mul(1 << 20).filter(|bytes| *bytes >= length);
    let bytes = bytes.ok_or_else(|| {
        HostError::Bad(format!("{image} has {from} MiB already; volumes never shrink"))
    })?;
    if bytes > length {
        let file = OpenOptions::new().write(true).open(&path);
        file.and_then(|file| file.set_len(bytes).and_then(|()| file.sync_all()))
            .map_err(HostError::io("grow", &path))?;
    }
    if with_file_system {
        grow_file_system(host, &path, &volume.fs)?;
    }
    Ok(Growth { from, to })
}

struct Volume {
    size: Option<u64>,
    fs: String,
}

fn volume(host: &Host<'_>, name: &Name, image: &str) -> Result<Volume, HostError> {
    let package = host.package(name, CURRENT).ok_or_else(|| HostError::NotFound(name.clone()))?;
    let bytes = plinth::file::read(&package.join(RUNNER), 4 << 20)
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
    let fs = found.get("fsType").and_then(serde_json::Value::as_str).unwrap_or("ext4");
    let size = found.get("size").and_then(serde_json::Value::as_u64);
    Ok(Volume { size, fs: fs.to_owned() })
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

fn grow_file_system(host: &Host<'_>, path: &Path, fs: &str) -> Result<(), HostError> {
    const WHY: &str = "to grow the file system of the volume";
    let run = |program: &str, words: &[&OsStr]| {
        let mut command: Command = host.command(program);
        command.args(words);
        let search = std::env::var_os("PATH").unwrap_or_default().into_string();
        command.env("PATH", format!("{}:/usr/sbin:/sbin", search.unwrap_or_default()));
        host.run(command, WHY, TOOL).map(drop)
    };
    match fs {
        "ext2" | "ext3" | "ext4" => {
            // resize2fs insists on a check, whose status 1 says that it has repaired something.
            match run("e2fsck", &["-f".as_ref(), "-p".as_ref(), path.as_os_str()]) {
                Err(HostError::Failed(..)) | Ok(()) => {}
                Err(error) => return Err(error),
            }
            run("resize2fs", &[path.as_os_str()])
        }
        other => Err(HostError::Bad(format!(
            "{other} grows while it is mounted: start the machine and grow it there"
        ))),
    }
}
