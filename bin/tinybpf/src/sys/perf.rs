// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Perf events (`perf_event_open(2)`): as hooks for programs and as buffers that programs write to.
#![allow(unsafe_code, reason = "neither rustix nor libc wraps the call and its ioctls")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libbpf_sys as ffi;

use super::{last, size_word};
use crate::errno::Errno;

/// `_IO('$', 0)`.
const ENABLE: libc::Ioctl = 0x2400;
/// `_IOW('$', 8, __u32)`.
const SET_BPF: libc::Ioctl = 0x4004_2408;

/// What an event counts.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A tracepoint, by its number in tracefs.
    Tracepoint(u64),
    /// A hardware (`hardware`) or software counter, every `period` events or at a frequency.
    Counter {
        /// Of the processor, not of the kernel.
        hardware: bool,
        /// Its number.
        config: u64,
        /// Events between two samples, or (`frequency`) samples per second.
        period: u64,
        /// `period` is a frequency.
        frequency: bool,
    },
    /// A probe of the performance monitoring unit `unit`: a kernel function, or a file's offset.
    Probe {
        /// The unit's number in sysfs.
        unit: u32,
        /// Function or file.
        name: &'a CStr,
        /// Bytes into it.
        offset: u64,
        /// Flags of the unit: the bit for return probes, the counter's offset.
        config: u64,
    },
    /// What programs write with `bpf_perf_event_output`.
    Output {
        /// Records between two wake-ups.
        wakeup: u32,
    },
}

/// Opens an event for a process (-1 for all) on a CPU (-1 for all).
///
/// # Errors
/// The kernel's number.
pub fn open(event: Event<'_>, pid: i32, cpu: i32) -> Result<OwnedFd, Errno> {
    let mut attributes =
        ffi::perf_event_attr { size: size_word::<ffi::perf_event_attr>(), ..Default::default() };
    match event {
        Event::Tracepoint(id) => {
            attributes.type_ = ffi::PERF_TYPE_TRACEPOINT;
            attributes.config = id;
            attributes.sample_type = u64::from(ffi::PERF_SAMPLE_RAW);
            attributes.__bindgen_anon_1.sample_period = 1;
            attributes.__bindgen_anon_2.wakeup_events = 1;
        }
        Event::Counter { hardware, config, period, frequency } => {
            attributes.type_ =
                if hardware { ffi::PERF_TYPE_HARDWARE } else { ffi::PERF_TYPE_SOFTWARE };
            attributes.config = config;
            attributes.set_freq(u64::from(frequency));
            attributes.__bindgen_anon_1.sample_period = period;
        }
        Event::Probe { unit, name, offset, config } => {
            attributes.type_ = unit;
            attributes.config = config;
            attributes.__bindgen_anon_3.config1 = name.as_ptr().expose_provenance() as u64;
            attributes.__bindgen_anon_4.config2 = offset;
        }
        Event::Output { wakeup } => {
            attributes.type_ = ffi::PERF_TYPE_SOFTWARE;
            attributes.config = u64::from(ffi::PERF_COUNT_SW_BPF_OUTPUT);
            attributes.sample_type = u64::from(ffi::PERF_SAMPLE_RAW);
            attributes.__bindgen_anon_1.sample_period = 1;
            attributes.__bindgen_anon_2.wakeup_events = wakeup;
        }
    }
    let no_group = -1;
    // SAFETY: the kernel reads the attributes and the name they point to, which live throughout
    // the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            pid,
            cpu,
            no_group,
            libc::c_ulong::from(ffi::PERF_FLAG_FD_CLOEXEC),
        )
    };
    let Some(fd) = i32::try_from(fd).ok().filter(|fd| *fd >= 0) else { return Err(last()) };
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Starts counting.
///
/// # Errors
/// The kernel's number.
pub fn enable(event: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the request takes no argument.
    if unsafe { libc::ioctl(event.as_raw_fd(), ENABLE, 0) } < 0 { Err(last()) } else { Ok(()) }
}

/// Makes a program run on every event, as kernels before 5.15 do it: it ends with the descriptor.
///
/// # Errors
/// The kernel's number.
pub fn set_program(event: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the request takes a descriptor's number.
    let code = unsafe { libc::ioctl(event.as_raw_fd(), SET_BPF, program.as_raw_fd()) };
    if code < 0 { Err(last()) } else { Ok(()) }
}
