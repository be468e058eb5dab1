// SPDX-License-Identifier: Apache-2.0 OR MIT
//! NVMe admin commands through a controller's character device (`NVME_IOCTL_ADMIN_CMD`).
//!
//! Owns the layout of `struct nvme_passthru_cmd` (`linux/nvme_ioctl.h`) and keeps the two ways to
//! fail apart: the device's status and the kernel's error number. The meaning of commands is the
//! caller's. The call blocks, for as long as the kernel waits for the device: never call it in the
//! loop.
#![allow(unsafe_code, reason = "the ioctl is not known to rustix")]

use std::error::Error;
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `_IOWR('N', 0x41, struct nvme_passthru_cmd)`.
const ADMIN_CMD: libc::Ioctl = 0xC048_4E41_u32 as libc::Ioctl;

/// One admin command; the names are those of the NVM Express Base Specification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passthru {
    /// Which command.
    pub opcode: u8,
    /// Namespace identifier.
    pub nsid: u32,
    /// Command dwords 10 to 15.
    pub cdw: [u32; 6],
    /// How long the kernel waits, in milliseconds; 0 for its own limit (60 s for admin commands).
    pub timeout_ms: u32,
}

/// Why a command failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdminError {
    /// The controller said no: status code in bits 7:0, status code type in bits 10:8, DNR in bit
    /// 14.
    Status(u16),
    /// The kernel did: the error number. `EINTR` also stands for a command cancelled by a reset.
    Errno(i32),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Status(status) => write!(f, "the controller reports NVMe status {status:#06x}"),
            Self::Errno(errno) => std::io::Error::from_raw_os_error(errno).fmt(f),
        }
    }
}

impl Error for AdminError {}

/// `struct nvme_passthru_cmd`.
#[repr(C)]
#[derive(Debug, Default)]
struct Command {
    opcode: u8,
    flags: u8,
    reserved: u16,
    nsid: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    addr: u64,
    metadata_len: u32,
    data_len: u32,
    cdw10_15: [u32; 6],
    timeout_ms: u32,
    result: u32,
}

const _: () = assert!(size_of::<Command>() == 72);

/// Sends `command` to the controller behind `fd` and returns dword 0 of the completion.
///
/// `data` goes to the controller, or is filled by it, as the opcode's lowest bits say (01b to the
/// controller, 10b from it). It may be empty.
///
/// # Errors
/// [`AdminError`]; `Errno(EINVAL)` also for more than 4 GiB of data.
pub fn admin(fd: BorrowedFd<'_>, command: &Passthru, data: &mut [u8]) -> Result<u32, AdminError> {
    let Ok(data_len) = u32::try_from(data.len()) else {
        return Err(AdminError::Errno(libc::EINVAL));
    };
    let mut raw = Command {
        opcode: command.opcode,
        nsid: command.nsid,
        addr: if data.is_empty() { 0 } else { data.as_mut_ptr().expose_provenance() as u64 },
        data_len,
        cdw10_15: command.cdw,
        timeout_ms: command.timeout_ms,
        ..Command::default()
    };
    // SAFETY: the kernel reads and writes one `Command`, and `data_len` bytes of `data`, which is
    // borrowed for the whole call. Another driver's descriptor answers ENOTTY: the request's number
    // encodes letter, direction and size of this structure.
    let code = unsafe { libc::ioctl(fd.as_raw_fd(), ADMIN_CMD, &raw mut raw) };
    match code {
        0 => Ok(raw.result),
        1.. => Err(AdminError::Status(u16::try_from(code).unwrap_or(u16::MAX))),
        _ => {
            let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
            Err(AdminError::Errno(errno))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::mem::offset_of;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(offset_of!(Command, nsid), 4);
        assert_eq!(offset_of!(Command, metadata), 16);
        assert_eq!(offset_of!(Command, addr), 24);
        assert_eq!(offset_of!(Command, data_len), 36);
        assert_eq!(offset_of!(Command, cdw10_15), 40);
        assert_eq!(offset_of!(Command, timeout_ms), 64);
        assert_eq!(offset_of!(Command, result), 68);
        assert_eq!(size_of::<Command>(), (ADMIN_CMD >> 16 & 0x3fff) as usize);
    }

    #[test]
    fn other_devices_answer_with_an_error_number() {
        let null = File::open("/dev/null").expect("/dev/null");
        let mut data = [0; 4096];
        let command = Passthru { opcode: 0x06, cdw: [1, 0, 0, 0, 0, 0], ..Passthru::default() };
        let answer = admin(null.as_fd(), &command, &mut data);
        assert_eq!(answer, Err(AdminError::Errno(libc::ENOTTY)));
        assert_eq!(admin(null.as_fd(), &command, &mut []), Err(AdminError::Errno(libc::ENOTTY)));
    }

    #[test]
    fn both_ways_to_fail_have_words() {
        let status = AdminError::Status(0x4002).to_string();
        assert_eq!(status, "the controller reports NVMe status 0x4002");
        assert!(AdminError::Errno(libc::EINTR).to_string().contains("nterrupted"));
    }
}
