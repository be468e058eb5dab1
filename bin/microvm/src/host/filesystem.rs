// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A file system made as large as the image that it is in.
//!
//! The ext family grows by its own tools. XFS and btrfs grow only while they are mounted, by a
//! request to the kernel: the image becomes a block device, and this a mount that has no place in
//! any directory. Both belong to descriptors of this process, so that they end with it, however it
//! ends.
//!
//! Standards: xfs_growfs(8), btrfs-filesystem(8), fsopen(2), loop(4).

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use plinth::proc::{Ending, Limits};
use plinth::sys::backing::{self, Backed};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::{Host, HostError};

const WHY: &str = "to grow the file system of the volume";
/// A check and a growth of a large file system take their time.
const TOOL: Limits = Limits { time: Duration::from_secs(3600), output: 1 << 20 };
/// The highest status of e2fsck with which the file system is well, be it repaired.
const REPAIRED: i32 = 1;

/// Whether [`grow`] knows what to do with it.
pub(super) fn can_grow(fs: &str) -> bool {
    matches!(fs, "ext2" | "ext3" | "ext4" | "xfs" | "btrfs")
}

/// Makes the file system `fs` fill its image, which is open for reading and writing.
///
/// # Errors
/// A tool is missing or failed; the kernel does not mount it, or does not let it grow.
pub(super) fn grow(host: &Host<'_>, path: &Path, image: &File, fs: &str) -> Result<(), HostError> {
    match fs {
        "ext2" | "ext3" | "ext4" => grow_ext(host, path, image),
        "xfs" => {
            let size = size(image).map_err(HostError::io("look at", path))?;
            let grow = |root: BorrowedFd<'_>| backing::grow_xfs(root, size);
            // The image of another machine may be a copy with the same number.
            grow_mounted(path, image, fs, &["nouuid"], &grow)
        }
        "btrfs" => grow_mounted(path, image, fs, &[], &backing::grow_btrfs),
        other => Err(HostError::Bad(format!("a file system of type {other} cannot grow"))),
    }
}

/// The bytes of a file or a block device.
pub(super) fn size(mut file: &File) -> io::Result<u64> {
    io::Seek::seek(&mut file, io::SeekFrom::End(0))
}

fn grow_ext(host: &Host<'_>, path: &Path, image: &File) -> Result<(), HostError> {
    // The tools open what we have opened, whatever has its name by now.
    let opened = format!("/proc/{}/fd/{}", std::process::id(), image.as_raw_fd());
    let run = |program: &str, words: &[&OsStr], highest: i32| {
        let mut command = host.command(program);
        command.args(words).arg(&opened);
        let search = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{search}:/usr/sbin:/sbin"));
        let output = host.output(command, WHY, TOOL)?;
        match output.ending {
            Ending::Exited(status) if status <= highest => Ok(()),
            Ending::TimedOut => Err(HostError::TimedOut(program.to_owned())),
            _ => {
                // e2fsck says what is wrong on its standard output.
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said);
                let said = said.trim().replace(&opened, &path.to_string_lossy());
                Err(HostError::Failed(program.to_owned(), said))
            }
        }
    };
    // resize2fs insists on a check.
    run("e2fsck", &["-f".as_ref(), "-p".as_ref()], REPAIRED)?;
    run("resize2fs", &[], 0)
}

fn grow_mounted(
    path: &Path,
    image: &File,
    fs: &str,
    flags: &[&str],
    grow: &dyn Fn(BorrowedFd<'_>) -> io::Result<()>,
) -> Result<(), HostError> {
    let device =
        backing::attach(image.as_fd()).map_err(HostError::io("make a block device of", path))?;
    let root = mount(&device, fs, flags).map_err(|errno| match errno {
        Errno::NODEV => HostError::Bad(format!("the kernel of this host has no {fs}")),
        errno => HostError::io("mount", path)(errno.into()),
    })?;
    grow(root.as_fd()).map_err(HostError::io("grow the file system in", path))
}

/// The root of a mount that nobody else sees.
fn mount(device: &Backed, fs: &str, flags: &[&str]) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(fs, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", device.path())?;
    for flag in flags {
        fsconfig_set_flag(&context, *flag)?;
    }
    fsconfig_create(&context)?;
    let nobody = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mounted = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, nobody)?;
    // What fsmount gives stands for a place only; requests need an open directory.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(&mounted, ".", flags, Mode::empty())
}
