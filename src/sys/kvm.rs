// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether `/dev/kvm` runs a virtual machine, found out by running one (Linux
//! `Documentation/virt/kvm/api.rst`).
//!
//! Owns the few requests that this takes. A device node proves nothing: there are hosts on which
//! every request succeeds, or hangs, and no instruction is ever executed. So [`probe`] may never
//! return, not even for a signal: it belongs in a process that somebody else gives up on.
#![allow(unsafe_code, reason = "rustix does not know the ioctls of KVM")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr::NonNull;

const KVM_GET_API_VERSION: libc::Ioctl = 0xAE00_u32 as libc::Ioctl;
const KVM_CREATE_VM: libc::Ioctl = 0xAE01_u32 as libc::Ioctl;
const KVM_GET_VCPU_MMAP_SIZE: libc::Ioctl = 0xAE04_u32 as libc::Ioctl;
const KVM_CREATE_VCPU: libc::Ioctl = 0xAE41_u32 as libc::Ioctl;
const KVM_SET_TSS_ADDR: libc::Ioctl = 0xAE47_u32 as libc::Ioctl;
const KVM_SET_USER_MEMORY_REGION: libc::Ioctl = 0x4020_AE46_u32 as libc::Ioctl;
const KVM_RUN: libc::Ioctl = 0xAE80_u32 as libc::Ioctl;

/// The version that has not changed since 2007.
const API_VERSION: i32 = 12;
/// Where the processor finds its first instruction after a reset, within the last page below 4 GiB.
const RESET_OFFSET: usize = 0xFF0;
/// That page.
const RESET_PAGE: u64 = 0xFFFF_F000;
/// Three pages that some processors need for real mode, out of the way of everything.
const TSS: libc::c_ulong = 0xFFFB_D000;
/// Bytes of the page.
const PAGE: usize = 4096;
/// `hlt`.
const HLT: u8 = 0xF4;
/// Where `exit_reason` lies in `struct kvm_run`, and what it is after a `hlt`.
const EXIT_REASON: usize = 8;
const EXIT_HLT: u32 = 5;

/// `struct kvm_userspace_memory_region`.
#[repr(C)]
struct Region {
    slot: u32,
    flags: u32,
    guest: u64,
    size: u64,
    host: u64,
}

const _: () = assert!(size_of::<Region>() == 32);

/// Memory of the process, given back when dropped.
struct Mapping {
    at: NonNull<libc::c_void>,
    len: usize,
}

impl Mapping {
    /// Fresh memory, or that of `fd`.
    fn new(len: usize, fd: Option<RawFd>) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_SHARED | if fd.is_none() { libc::MAP_ANONYMOUS } else { 0 };
        // SAFETY: the kernel chooses the place, so that nothing of ours is mapped over.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), len, protection, kind, fd.unwrap_or(-1), 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { at, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is what mmap gave, and nobody holds a reference into it.
        let _ = unsafe { libc::munmap(self.at.as_ptr(), self.len) };
    }
}

/// A request whose argument is a number.
fn ask(fd: RawFd, request: libc::Ioctl, argument: libc::c_ulong) -> io::Result<i32> {
    // SAFETY: the argument of every request made through here is a number, not a pointer.
    let code = unsafe { libc::ioctl(fd, request, argument) };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

/// A request that makes a descriptor.
fn make(fd: RawFd, request: libc::Ioctl) -> io::Result<OwnedFd> {
    let number = ask(fd, request, 0)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Makes a machine with one processor and has it execute one instruction; on processors other than
/// x86-64 the machine is made, and nothing is executed.
///
/// # Errors
/// What the device says; `InvalidData` when it answers, but not as KVM does.
pub fn probe(device: &Path) -> io::Result<()> {
    let kvm = File::options().read(true).write(true).open(device)?;
    if ask(kvm.as_raw_fd(), KVM_GET_API_VERSION, 0)? != API_VERSION {
        return Err(odd("another version of the interface"));
    }
    let machine = make(kvm.as_raw_fd(), KVM_CREATE_VM)?;
    let page = Mapping::new(PAGE, None)?;
    if cfg!(target_arch = "x86_64") {
        ask(machine.as_raw_fd(), KVM_SET_TSS_ADDR, TSS)?;
        // SAFETY: the offset is within the page, which nobody else refers to.
        unsafe { page.at.as_ptr().cast::<u8>().wrapping_add(RESET_OFFSET).write(HLT) };
        let host = page.at.as_ptr().expose_provenance() as u64;
        let region = Region { slot: 0, flags: 0, guest: RESET_PAGE, size: PAGE as u64, host };
        // SAFETY: the kernel reads one region. Should the page go before the machine does, the
        // kernel takes it from the machine as well.
        let code = unsafe {
            libc::ioctl(machine.as_raw_fd(), KVM_SET_USER_MEMORY_REGION, &raw const region)
        };
        if code < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let processor = make(machine.as_raw_fd(), KVM_CREATE_VCPU)?;
    if cfg!(target_arch = "x86_64") {
        let size = usize::try_from(ask(kvm.as_raw_fd(), KVM_GET_VCPU_MMAP_SIZE, 0)?).unwrap_or(0);
        if size < PAGE {
            return Err(odd("no room for the state of a processor"));
        }
        let state = Mapping::new(size, Some(processor.as_raw_fd()))?;
        ask(processor.as_raw_fd(), KVM_RUN, 0)?;
        // SAFETY: the field lies within the mapping, aligned, and the kernel writes it in KVM_RUN
        // only.
        let reason = unsafe {
            state.at.as_ptr().cast::<u8>().wrapping_add(EXIT_REASON).cast::<u32>().read_volatile()
        };
        if reason != EXIT_HLT {
            return Err(odd("the instruction was not executed"));
        }
    }
    drop((processor, machine, page));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kvm_is_an_error() {
        let error = probe(Path::new("/dev/null")).expect_err("no KVM");
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
        let error = probe(Path::new("/nonexistent/kvm")).expect_err("nothing");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
