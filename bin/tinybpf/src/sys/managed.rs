// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Links that libbpf makes and owns: USDT, patterns of functions, probes through tracefs, struct
//! operations.
#![allow(unsafe_code, reason = "libbpf's links are C pointers")]

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use libbpf_sys as ffi;

use super::object::Handle;
use super::{check, last, size_field};
use crate::errno::Errno;

/// A link that only libbpf can make; it keeps its object open.
#[derive(Debug)]
pub struct Managed {
    link: NonNull<ffi::bpf_link>,
    /// It consists of several kernel objects, and libbpf answers 0 for its descriptor.
    composite: bool,
    /// Dropped after the link, whose destructor may write into the object's USDT manager.
    _object: Arc<Handle>,
}

// SAFETY: libbpf ties nothing of a link to the thread that made it.
unsafe impl Send for Managed {}
// SAFETY: through `&self` only the descriptor is read.
unsafe impl Sync for Managed {}

/// What libbpf attaches a program to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A kernel function, by a perf event or (`legacy`) by tracefs.
    Kprobe {
        /// The function's name.
        function: &'a CStr,
        /// Bytes into it.
        offset: usize,
        /// At its return.
        returns: bool,
        /// A number that the program reads.
        cookie: u64,
        /// Through tracefs, as kernels before 4.17 need it.
        legacy: bool,
    },
    /// All kernel functions that a pattern with `*` and `?` names.
    KprobeMulti {
        /// The pattern.
        pattern: &'a CStr,
        /// At their return.
        returns: bool,
    },
    /// All functions of a program file that a pattern names.
    UprobeMulti {
        /// The file.
        path: &'a CStr,
        /// The pattern.
        pattern: &'a CStr,
        /// The process; -1 for all.
        pid: i32,
        /// At their return.
        returns: bool,
    },
    /// Static probes of a program file.
    Usdt {
        /// The file.
        path: &'a CStr,
        /// The provider.
        provider: &'a CStr,
        /// The probe.
        name: &'a CStr,
        /// The process; -1 for all.
        pid: i32,
        /// A number that the program reads.
        cookie: u64,
    },
}

impl Managed {
    /// Attaches a program of an object.
    ///
    /// # Errors
    /// libbpf's number; `EINVAL` for an index out of range.
    pub fn attach(object: &Arc<Handle>, index: usize, to: Target<'_>) -> Result<Self, Errno> {
        let link = object.with_program(index, |program| {
            let (link, errno) = attach_raw(program.as_ptr(), to);
            NonNull::new(link).ok_or(errno)
        })?;
        let composite = matches!(to, Target::Usdt { .. });
        Ok(Self { link, composite, _object: Arc::clone(object) })
    }

    /// Registers the struct operations that a map holds.
    ///
    /// # Errors
    /// libbpf's number; `EINVAL` for an index out of range.
    pub fn register(object: &Arc<Handle>, map: usize) -> Result<Self, Errno> {
        let link = object.with_map(map, |map| {
            // SAFETY: a map of the open object, which the link keeps open.
            let link = unsafe { ffi::bpf_map__attach_struct_ops(map.as_ptr()) };
            let errno = last();
            NonNull::new(link).ok_or(errno)
        })?;
        Ok(Self { link, composite: false, _object: Arc::clone(object) })
    }

    /// The link's descriptor; none for a composite one.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        if self.composite {
            return None;
        }
        // SAFETY: the link lives.
        let fd = unsafe { ffi::bpf_link__fd(self.link.as_ptr()) };
        if fd <= 2 {
            return None;
        }
        // SAFETY: the descriptor is the link's own, which is borrowed.
        Some(unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// Detaches and frees.
    ///
    /// # Errors
    /// What libbpf says of the detachment; the link is gone in any case.
    pub fn destroy(self) -> Result<(), Errno> {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: destroyed once: the drop that would do it again is held back.
        let result = check(unsafe { ffi::bpf_link__destroy(this.link.as_ptr()) });
        // SAFETY: `this` is never used nor dropped again, so that this is the only drop.
        drop(unsafe { ptr::read(&raw const this._object) });
        result
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        // SAFETY: made by us and destroyed here only; the object is closed after it.
        unsafe { ffi::bpf_link__destroy(self.link.as_ptr()) };
    }
}

/// Whether the program was loaded to run at entry and return both (`.session` sections).
fn is_session(program: *mut ffi::bpf_program) -> bool {
    // SAFETY: a program of an open object.
    let kind = unsafe { ffi::bpf_program__expected_attach_type(program) };
    kind == ffi::BPF_TRACE_KPROBE_SESSION || kind == ffi::BPF_TRACE_UPROBE_SESSION
}

/// libbpf's call for `to`, and `errno` right after it.
fn attach_raw(program: *mut ffi::bpf_program, to: Target<'_>) -> (*mut ffi::bpf_link, Errno) {
    match to {
        Target::Kprobe { function, offset, returns, cookie, legacy } => {
            let options = ffi::bpf_kprobe_opts {
                sz: size_field::<ffi::bpf_kprobe_opts>(),
                bpf_cookie: cookie,
                offset: offset as ffi::size_t,
                retprobe: returns,
                attach_mode: if legacy { ffi::PROBE_ATTACH_MODE_LEGACY } else { 0 },
                ..Default::default()
            };
            let name = function.as_ptr();
            // SAFETY: a program of an open object; name and options live throughout the call.
            let link =
                unsafe { ffi::bpf_program__attach_kprobe_opts(program, name, &raw const options) };
            (link, last())
        }
        Target::KprobeMulti { pattern, returns } => {
            let options = ffi::bpf_kprobe_multi_opts {
                sz: size_field::<ffi::bpf_kprobe_multi_opts>(),
                retprobe: returns,
                session: is_session(program),
                ..Default::default()
            };
            let pattern = pattern.as_ptr();
            // SAFETY: as above.
            let link = unsafe {
                ffi::bpf_program__attach_kprobe_multi_opts(program, pattern, &raw const options)
            };
            (link, last())
        }
        Target::UprobeMulti { path, pattern, pid, returns } => {
            let options = ffi::bpf_uprobe_multi_opts {
                sz: size_field::<ffi::bpf_uprobe_multi_opts>(),
                retprobe: returns,
                session: is_session(program),
                ..Default::default()
            };
            let (path, pattern, options) = (path.as_ptr(), pattern.as_ptr(), &raw const options);
            // SAFETY: as above.
            let link = unsafe {
                ffi::bpf_program__attach_uprobe_multi(program, pid, path, pattern, options)
            };
            (link, last())
        }
        Target::Usdt { path, provider, name, pid, cookie } => {
            let options =
                ffi::bpf_usdt_opts { sz: size_field::<ffi::bpf_usdt_opts>(), usdt_cookie: cookie };
            let (path, provider, name) = (path.as_ptr(), provider.as_ptr(), name.as_ptr());
            // SAFETY: as above.
            let link = unsafe {
                ffi::bpf_program__attach_usdt(
                    program,
                    pid,
                    path,
                    provider,
                    name,
                    &raw const options,
                )
            };
            (link, last())
        }
    }
}
