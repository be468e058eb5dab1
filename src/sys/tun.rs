// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Persistent tap devices (`/dev/net/tun`, Linux `Documentation/networking/tuntap.rst`).
//!
//! Owns `TUNSETIFF`, `TUNSETOWNER` and `TUNSETPERSIST`. Links are set up and deleted over netlink.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::io::Errno;

use super::ioctl::{Number, Structure};

/// `_IOW('T', 202, int)`, with a `struct ifreq` all the same.
const TUNSETIFF: Structure<Request> = Structure::with_unsaid_size(0x4004_54CA);
/// `_IOW('T', 203, int)`.
const TUNSETPERSIST: Number = Number::new(0x4004_54CB);
/// `_IOW('T', 204, int)`.
const TUNSETOWNER: Number = Number::new(0x4004_54CC);

const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_MULTI_QUEUE: u16 = 0x0100;
const IFF_VNET_HDR: u16 = 0x4000;

/// A tap device to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap<'a> {
    /// The name, at most 15 bytes.
    pub name: &'a str,
    /// The user who may attach to it; root may always.
    pub owner: Option<u32>,
    /// Frames have a header for offloads.
    pub vnet_hdr: bool,
    /// Several queues may attach at once; then all that attach must say so.
    pub multi_queue: bool,
}

/// The flags that make a difference, of those that the kernel shows as `tun_flags`.
pub const MEANT: u32 = (IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE | IFF_VNET_HDR) as u32;

impl Tap<'_> {
    /// Its flags, as the kernel shows them.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.bits().into()
    }

    const fn bits(&self) -> u16 {
        IFF_TAP
            | IFF_NO_PI
            | if self.vnet_hdr { IFF_VNET_HDR } else { 0 }
            | if self.multi_queue { IFF_MULTI_QUEUE } else { 0 }
    }
}

/// `struct ifreq` as these calls use it.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: u16,
    padding: [u8; 22],
}

const _: () = assert!(size_of::<Request>() == 40);

/// Makes the device, which stays when the call is over.
///
/// # Errors
/// `ENODEV` for a name that is none, `EBUSY` for a device that exists and is in use, `EINVAL` for
/// one that exists with other flags, `EPERM`.
pub fn create(tun: &Path, tap: &Tap<'_>) -> io::Result<()> {
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags: 0, padding: [0; 22] };
    // The kernel would make up a name for an empty one, and number one with a `%d`.
    let odd = |byte| matches!(byte, b'%' | b'/' | 0);
    if tap.name.is_empty() || tap.name.len() >= libc::IFNAMSIZ || tap.name.bytes().any(odd) {
        return Err(Errno::NODEV.into());
    }
    for (to, from) in request.name.iter_mut().zip(tap.name.bytes()) {
        *to = from;
    }
    request.flags = tap.bits();
    let file = File::options().read(true).write(true).open(tun)?;
    let fd = file.as_fd();
    TUNSETIFF.make(fd, &mut request)?;
    if let Some(owner) = tap.owner {
        TUNSETOWNER.make(fd, libc::c_ulong::from(owner))?;
    }
    TUNSETPERSIST.make(fd, 1).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::isolated;

    const TUN: &str = "/dev/net/tun";

    fn tap(name: &str) -> Tap<'_> {
        Tap { name, owner: Some(7), vnet_hdr: true, multi_queue: true }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "tap%d", "a/b", "a-name-of-16-byte"] {
            let error = create(Path::new(TUN), &tap(name)).expect_err("refused");
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{name}");
        }
    }

    #[test]
    fn root_a_tap_stays_with_its_owner_and_flags() {
        if !isolated(module_path!(), "root_a_tap_stays_with_its_owner_and_flags") {
            return;
        }
        create(Path::new(TUN), &tap("vm-a")).expect("a tap");
        let other = Tap { multi_queue: false, vnet_hdr: false, owner: None, ..tap("vm-a") };
        let error = create(Path::new(TUN), &other).expect_err("other flags");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        let shown = std::process::Command::new("ip").args(["-d", "link", "show", "vm-a"]).output();
        let shown = String::from_utf8(shown.expect("ip runs").stdout).expect("text");
        for part in ["type tap", "multi_queue", "vnet_hdr on", "persist on", "user"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
