// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether `/dev/kvm` runs a virtual machine, found out by running one (Linux
//! `Documentation/virt/kvm/api.rst`).
//!
//! Owns the few requests that this takes. A device node proves nothing: there are hosts on which
//! every request succeeds, or hangs, and no instruction is ever executed. So [`probe`] may never
//! return, not even for a signal: it belongs in a process that somebody else gives up on.
#![allow(
    unsafe_code,
    reason = "memory that the machine shares, and descriptors that requests make"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;

use super::ioctl::{Number, Structure};

const KVM_GET_API_VERSION: Number = Number::new(0xAE00);
const KVM_CREATE_VM: Number = Number::new(0xAE01);
const KVM_GET_VCPU_MMAP_SIZE: Number = Number::new(0xAE04);
const KVM_CREATE_VCPU: Number = Number::new(0xAE41);
const KVM_SET_TSS_ADDR: Number = Number::new(0xAE47);
const KVM_SET_USER_MEMORY_REGION: Structure<Region> = Structure::new(0x4020_AE46);
const KVM_SET_REGS: Structure<General> = Structure::new(0x4090_AE82);
const KVM_GET_SREGS: Structure<Special> = Structure::new(0x8138_AE83);
const KVM_SET_SREGS: Structure<Special> = Structure::new(0x4138_AE84);
const KVM_RUN: Number = Number::new(0xAE80);

/// The version that has not changed since 2007.
const API_VERSION: i32 = 12;
/// Three pages that some processors need, out of the way of everything.
const TSS: libc::c_ulong = 0xFFFB_D000;
/// Bytes of a page.
const PAGE: usize = 4096;
/// Bytes of the machine's memory, from address zero.
const MEMORY: usize = 16 * PAGE;
/// The tables that map the first 2 MiB onto themselves, each pointing to the next, with the flags
/// present and writable; the last one has a large page.
const TABLES: [(usize, u64); 3] = [(0x1000, 0x2003), (0x2000, 0x3003), (0x3000, 0x83)];
/// Where the instructions are, and the end of the stack.
const CODE: usize = 0x4000;
const STACK: usize = 0x8000;
/// What is pushed there.
const MARK: u64 = 0x1122_3344_5566_7788;
/// `movabs MARK, %rax; push %rax; cpuid; mov $0x1000000, %ecx; loop .; hlt`.
const PROGRAM: [u8; 21] = [
    0x48, 0xB8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x50, 0x0F, 0xA2, 0xB9, 0x00, 0x00,
    0x00, 0x01, 0xE2, 0xFE, 0xF4,
];
/// Where `exit_reason` lies in `struct kvm_run`, and what it is after a `hlt`.
const EXIT_REASON: usize = 8;
const EXIT_HLT: u32 = 5;

/// `struct kvm_segment`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Segment {
    base: u64,
    limit: u32,
    selector: u16,
    /// Type, present, privilege, size, kind, long, granularity, available, unusable, padding.
    bits: [u8; 10],
}

/// `struct kvm_sregs`, its descriptor tables as bytes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Special {
    /// cs, ds, es, fs, gs, ss, tr, ldt.
    segments: [Segment; 8],
    tables: [u64; 4],
    cr0: u64,
    cr2: u64,
    cr3: u64,
    cr4: u64,
    cr8: u64,
    efer: u64,
    apic_base: u64,
    interrupts: [u64; 4],
}

/// `struct kvm_regs`: the general registers, instruction pointer and flags last.
#[repr(C)]
#[derive(Clone, Copy)]
struct General([u64; 18]);

const _: () = assert!(size_of::<Segment>() == 24);
const _: () = assert!(size_of::<Special>() == 0x138);
const _: () = assert!(size_of::<General>() == 0x90);

/// `struct kvm_userspace_memory_region`.
#[repr(C)]
#[derive(Clone, Copy)]
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
    fn new(len: usize, fd: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let number = fd.map_or(-1, |fd| fd.as_raw_fd());
        let kind = libc::MAP_SHARED | if fd.is_none() { libc::MAP_ANONYMOUS } else { 0 };
        // SAFETY: the kernel chooses the place, so that nothing of ours is mapped over.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, kind, number, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { at, len })
    }
}

impl Mapping {
    /// Writes `bytes`.
    fn put(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.len);
        let place = self.at.as_ptr().cast::<u8>().wrapping_add(at);
        // SAFETY: the place is within the mapping, which nobody else refers to.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
    }

    /// Reads `N` bytes, which the kernel or the machine may have written.
    fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        assert!(at + N <= self.len);
        let place = self.at.as_ptr().cast::<u8>().wrapping_add(at).cast::<[u8; N]>();
        // SAFETY: the place is within the mapping, and bytes have no alignment.
        unsafe { place.read_volatile() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is what mmap gave, and nobody holds a reference into it.
        let _ = unsafe { libc::munmap(self.at.as_ptr(), self.len) };
    }
}

/// A request that makes a descriptor.
fn made(fd: BorrowedFd<'_>, request: Number) -> io::Result<OwnedFd> {
    let number = request.make(fd, 0)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Makes a machine with one processor and has it execute a few instructions in long mode, with
/// paging and a stack; on processors other than x86-64 the machine is made, and nothing is
/// executed.
///
/// A single `hlt` proves too little: there are hosts whose KVM interprets a kernel's instructions
/// one by one, so that no kernel gets anywhere. Sixteen million rounds of a loop take some
/// hundredths of a second where a processor runs them, and half a minute there.
///
/// # Errors
/// What the device says; `InvalidData` when it answers, but not as KVM does.
pub fn probe(device: &Path) -> io::Result<()> {
    let kvm = File::options().read(true).write(true).open(device)?;
    if KVM_GET_API_VERSION.make(kvm.as_fd(), 0)? != API_VERSION {
        return Err(odd("another version of the interface"));
    }
    let machine = made(kvm.as_fd(), KVM_CREATE_VM)?;
    let memory = Mapping::new(MEMORY, None)?;
    if cfg!(target_arch = "x86_64") {
        KVM_SET_TSS_ADDR.make(machine.as_fd(), TSS)?;
        for (at, entry) in TABLES {
            memory.put(at, &entry.to_le_bytes());
        }
        memory.put(CODE, &PROGRAM);
        let host = memory.at.as_ptr().expose_provenance() as u64;
        let mut region = Region { slot: 0, flags: 0, guest: 0, size: MEMORY as u64, host };
        // Should the memory go before the machine does, the kernel takes it from the machine, too.
        KVM_SET_USER_MEMORY_REGION.make(machine.as_fd(), &mut region)?;
    }
    let processor = made(machine.as_fd(), KVM_CREATE_VCPU)?;
    if cfg!(target_arch = "x86_64") {
        let size = usize::try_from(KVM_GET_VCPU_MMAP_SIZE.make(kvm.as_fd(), 0)?).unwrap_or(0);
        if size < PAGE {
            return Err(odd("no room for the state of a processor"));
        }
        let state = Mapping::new(size, Some(processor.as_fd()))?;
        enter_long_mode(processor.as_fd())?;
        KVM_RUN.make(processor.as_fd(), 0)?;
        let reason = state.get::<4>(EXIT_REASON);
        let pushed = memory.get::<8>(STACK - 8);
        if u32::from_ne_bytes(reason) != EXIT_HLT || u64::from_le_bytes(pushed) != MARK {
            return Err(odd("the instructions were not executed"));
        }
    }
    drop((processor, machine, memory));
    Ok(())
}

/// Sets the processor up as a kernel finds it behind its boot loader: 64 bits, paging, flat
/// segments.
fn enter_long_mode(processor: BorrowedFd<'_>) -> io::Result<()> {
    let none = Segment { base: 0, limit: 0, selector: 0, bits: [0; 10] };
    let mut special = Special {
        segments: [none; 8],
        tables: [0; 4],
        cr0: 0,
        cr2: 0,
        cr3: 0,
        cr4: 0,
        cr8: 0,
        efer: 0,
        apic_base: 0,
        interrupts: [0; 4],
    };
    KVM_GET_SREGS.make(processor, &mut special)?;
    let flat =
        Segment { base: 0, limit: u32::MAX, selector: 16, bits: [3, 1, 0, 1, 1, 0, 1, 0, 0, 0] };
    let code = Segment { selector: 8, bits: [11, 1, 0, 0, 1, 1, 1, 0, 0, 0], ..flat };
    for (segment, value) in special.segments.iter_mut().zip([code, flat, flat, flat, flat, flat]) {
        *segment = value;
    }
    special.cr3 = 0x1000;
    special.cr4 = 0x20; // physical address extension
    special.cr0 = 0x8005_0033; // paging, write protection, protected mode
    special.efer = 0x500; // long mode, enabled and active
    KVM_SET_SREGS.make(processor, &mut special)?;
    let mut general = General([0; 18]);
    let [.., rip, flags] = &mut general.0;
    (*rip, *flags) = (CODE as u64, 2);
    // rax, rbx, rcx, rdx, rsi, rdi, rsp.
    if let Some(stack) = general.0.get_mut(6) {
        *stack = STACK as u64;
    }
    KVM_SET_REGS.make(processor, &mut general)
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
