// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Classic filters of traffic control, which libbpf makes over netlink.
#![allow(unsafe_code, reason = "libbpf's functions")]

use std::os::fd::{AsRawFd, BorrowedFd};

use libbpf_sys as ffi;

use super::{check, size_field};
use crate::errno::Errno;

/// A classic traffic control filter: where it is, for its removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The interface.
    pub ifindex: i32,
    /// On packets that leave.
    pub egress: bool,
    /// The filter's handle.
    pub handle: u32,
    /// Its priority.
    pub priority: u32,
}

fn hook(ifindex: i32, egress: bool) -> ffi::bpf_tc_hook {
    ffi::bpf_tc_hook {
        sz: size_field::<ffi::bpf_tc_hook>(),
        ifindex,
        attach_point: if egress { ffi::BPF_TC_EGRESS } else { ffi::BPF_TC_INGRESS },
        ..Default::default()
    }
}

/// Makes sure that an interface has the queueing discipline that filters live in; returns whether
/// it was made here.
///
/// # Errors
/// libbpf's number.
pub fn create_clsact(ifindex: i32) -> Result<bool, Errno> {
    super::print::install();
    let mut hook = hook(ifindex, false);
    // SAFETY: libbpf reads the structure during the call.
    match check(unsafe { ffi::bpf_tc_hook_create(&raw mut hook) }) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Removes that discipline, and all filters with it.
///
/// # Errors
/// libbpf's number.
pub fn destroy_clsact(ifindex: i32) -> Result<(), Errno> {
    let mut hook = hook(ifindex, false);
    hook.attach_point = ffi::BPF_TC_INGRESS | ffi::BPF_TC_EGRESS;
    // SAFETY: libbpf reads the structure during the call.
    check(unsafe { ffi::bpf_tc_hook_destroy(&raw mut hook) })
}

/// Adds a filter; handle and priority 0 let the kernel choose. Returns where it is.
///
/// # Errors
/// libbpf's number.
pub fn add_filter(program: BorrowedFd<'_>, wanted: Filter, replace: bool) -> Result<Filter, Errno> {
    let hook = hook(wanted.ifindex, wanted.egress);
    let mut options = ffi::bpf_tc_opts {
        sz: size_field::<ffi::bpf_tc_opts>(),
        prog_fd: program.as_raw_fd(),
        flags: if replace { ffi::BPF_TC_F_REPLACE } else { 0 },
        handle: wanted.handle,
        priority: wanted.priority,
        ..Default::default()
    };
    // SAFETY: libbpf reads and writes both structures during the call.
    check(unsafe { ffi::bpf_tc_attach(&raw const hook, &raw mut options) })?;
    Ok(Filter { handle: options.handle, priority: options.priority, ..wanted })
}

/// Removes a filter.
///
/// # Errors
/// libbpf's number.
pub fn remove_filter(filter: Filter) -> Result<(), Errno> {
    let hook = hook(filter.ifindex, filter.egress);
    let options = ffi::bpf_tc_opts {
        sz: size_field::<ffi::bpf_tc_opts>(),
        handle: filter.handle,
        priority: filter.priority,
        ..Default::default()
    };
    // SAFETY: libbpf reads both structures during the call.
    check(unsafe { ffi::bpf_tc_detach(&raw const hook, &raw const options) })
}
