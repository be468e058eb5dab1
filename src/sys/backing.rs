// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A file as a block device (loop(4)), and file systems that are made as large as their device.
//!
//! Owns `LOOP_CTL_GET_FREE`, `LOOP_CONFIGURE`, `XFS_IOC_FSGEOMETRY_V1`, `XFS_IOC_FSGROWFSDATA` and
//! `BTRFS_IOC_RESIZE`. The device lets go of its file by itself when nobody has it open any more,
//! so that nothing stays behind, however its user ends. Mounting is left to others.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use super::ioctl::{Number, Structure};

const LOOP_CTL_GET_FREE: Number = Number::new(0x4C82);
const LOOP_CONFIGURE: Structure<Config> = Structure::with_unsaid_size(0x4C0A);
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// `_IOR('X', 100, struct xfs_fsop_geom_v1)`.
const XFS_IOC_FSGEOMETRY_V1: Structure<Geometry> = Structure::new(0x8070_5864);
/// `_IOW('X', 110, struct xfs_growfs_data)`.
const XFS_IOC_FSGROWFSDATA: Structure<Growth> = Structure::new(0x4010_586E);
/// `_IOW(0x94, 3, struct btrfs_ioctl_vol_args)`.
const BTRFS_IOC_RESIZE: Structure<Resize> = Structure::new(0x5000_9403);

/// How often another process may take the device that was free a moment ago.
const TRIES: u32 = 64;

/// `struct loop_config` with its `struct loop_info64`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    /// Device, inode, device number, offset, size limit.
    places: [u64; 5],
    /// Number, encryption and its key's size.
    unused: [u32; 3],
    flags: u32,
    names: [u8; 160],
    more: [u64; 10],
}

const _: () = assert!(size_of::<Config>() == 304);

/// `struct xfs_fsop_geom_v1`.
#[repr(C)]
#[derive(Default)]
struct Geometry {
    block_size: u32,
    before: [u32; 6],
    inode_percent: u32,
    data_blocks: u64,
    after: [u64; 9],
}

const _: () = assert!(size_of::<Geometry>() == 112);

/// `struct xfs_growfs_data`.
#[repr(C)]
struct Growth {
    blocks: u64,
    inode_percent: u32,
    padding: u32,
}

const _: () = assert!(size_of::<Growth>() == 16);

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct Resize {
    fd: i64,
    amount: [u8; 4088],
}

const _: () = assert!(size_of::<Resize>() == 4096);

/// A block device that is a file; it ends when it is dropped and nothing else has it open.
#[derive(Debug)]
pub struct Backed {
    /// Keeps the device.
    _device: File,
    path: PathBuf,
}

impl Backed {
    /// The node of the device.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a block device of `file`, which is open for reading and writing.
///
/// # Errors
/// `ENOENT` where the kernel has no loop devices, `EACCES` and `EPERM` for ordinary users; what the
/// kernel has against the file.
pub fn attach(file: BorrowedFd<'_>) -> io::Result<Backed> {
    let control = File::options().read(true).write(true).open("/dev/loop-control")?;
    let mut tries = 0;
    loop {
        let number = LOOP_CTL_GET_FREE.make(control.as_fd(), 0)?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = File::options().read(true).write(true).open(&path)?;
        match configure(&device, file) {
            Ok(()) => return Ok(Backed { _device: device, path }),
            // Somebody else was faster.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

fn configure(device: &File, file: BorrowedFd<'_>) -> io::Result<()> {
    let mut config = Config {
        fd: u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?,
        block_size: 0,
        places: [0; 5],
        unused: [0; 3],
        flags: LO_FLAGS_AUTOCLEAR,
        names: [0; 160],
        more: [0; 10],
    };
    LOOP_CONFIGURE.make(device.as_fd(), &mut config)
}

/// Makes a mounted XFS with the directory `root` as large as its device of `size` bytes.
///
/// # Errors
/// `ENOTTY` for another file system, `EPERM`, `EIO`.
pub fn grow_xfs(root: BorrowedFd<'_>, size: u64) -> io::Result<()> {
    let mut geometry = Geometry::default();
    XFS_IOC_FSGEOMETRY_V1.make(root, &mut geometry)?;
    let blocks = size.checked_div(geometry.block_size.into()).unwrap_or(0);
    if blocks <= geometry.data_blocks {
        return Ok(());
    }
    let mut growth = Growth { blocks, inode_percent: geometry.inode_percent, padding: 0 };
    XFS_IOC_FSGROWFSDATA.make(root, &mut growth)
}

/// Makes a mounted btrfs with the directory `root` as large as its one device.
///
/// # Errors
/// `ENOTTY` for another file system, `EPERM`, `EIO`.
pub fn grow_btrfs(root: BorrowedFd<'_>) -> io::Result<()> {
    let mut resize = Resize { fd: 0, amount: [0; 4088] };
    for (to, from) in resize.amount.iter_mut().zip(b"max") {
        *to = *from;
    }
    BTRFS_IOC_RESIZE.make(root, &mut resize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_such_file_system_does_not_grow() {
        let root = File::open("/proc").expect("a directory");
        let errors = [grow_xfs(root.as_fd(), 1 << 40), grow_btrfs(root.as_fd())];
        for error in errors.map(|grown| grown.expect_err("another file system")) {
            assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
        }
    }
}
