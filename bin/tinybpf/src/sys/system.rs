// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What libbpf knows of itself and of the machine.
#![allow(unsafe_code, reason = "libbpf's functions")]

use std::ffi::CStr;
use std::sync::OnceLock;

use libbpf_sys as ffi;

/// libbpf's version, as numbers and as it calls itself.
#[must_use]
pub fn libbpf_version() -> (u32, u32, &'static str) {
    // SAFETY: takes nothing, returns a number; so below.
    let major = unsafe { ffi::libbpf_major_version() };
    // SAFETY: as above.
    let minor = unsafe { ffi::libbpf_minor_version() };
    // SAFETY: as above.
    let text = unsafe { ffi::libbpf_version_string() };
    // SAFETY: a C string that is part of libbpf.
    let text = unsafe { CStr::from_ptr(text) };
    (major, minor, text.to_str().unwrap_or("unknown"))
}

/// How many CPUs the kernel may ever have, by which per-CPU values are sized.
#[must_use]
pub fn possible_cpus() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        super::print::install();
        // SAFETY: takes nothing, returns a number.
        let count = unsafe { ffi::libbpf_num_possible_cpus() };
        // Without sysfs: more than any kernel has, so that a buffer is never too small.
        usize::try_from(count).ok().filter(|count| *count > 0).unwrap_or(8192)
    })
}

/// What libbpf calls a program type, such as `xdp`.
#[must_use]
pub fn program_type_name(kind: u32) -> Option<&'static str> {
    // SAFETY: takes a number, returns NULL or a C string that is part of libbpf.
    let text = unsafe { ffi::libbpf_bpf_prog_type_str(kind) };
    name(text)
}

/// What libbpf calls a map type, such as `hash`.
#[must_use]
pub fn map_type_name(kind: u32) -> Option<&'static str> {
    // SAFETY: as for `program_type_name`.
    let text = unsafe { ffi::libbpf_bpf_map_type_str(kind) };
    name(text)
}

/// What libbpf calls a kind of link, such as `tracing`.
#[must_use]
pub fn link_type_name(kind: u32) -> Option<&'static str> {
    // SAFETY: as for `program_type_name`.
    let text = unsafe { ffi::libbpf_bpf_link_type_str(kind) };
    name(text)
}

/// What libbpf calls an attach type, such as `cgroup_inet_ingress`.
#[must_use]
pub fn attach_type_name(kind: u32) -> Option<&'static str> {
    // SAFETY: as for `program_type_name`.
    let text = unsafe { ffi::libbpf_bpf_attach_type_str(kind) };
    name(text)
}

/// The ids of types of the kernel, by kind (as BTF numbers them) and name; 0 for those that it does
/// not have.
#[must_use]
pub fn kernel_types(wanted: &[(u32, &CStr)]) -> Vec<u32> {
    super::print::install();
    // SAFETY: takes nothing; NULL when the kernel shows no types.
    let btf = unsafe { ffi::btf__load_vmlinux_btf() };
    if btf.is_null() {
        return vec![0; wanted.len()];
    }
    let find = |(kind, name): &(u32, &CStr)| {
        // SAFETY: the table lives until it is freed below; the name is a C string.
        let id = unsafe { ffi::btf__find_by_name_kind(btf, name.as_ptr(), *kind) };
        u32::try_from(id).unwrap_or(0)
    };
    let ids = wanted.iter().map(find).collect();
    // SAFETY: loaded above and freed once.
    unsafe { ffi::btf__free(btf) };
    ids
}

fn name(text: *const std::ffi::c_char) -> Option<&'static str> {
    if text.is_null() {
        return None;
    }
    // SAFETY: libbpf's tables of names are constant.
    unsafe { CStr::from_ptr(text) }.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libbpf_is_linked_and_knows_its_names() {
        let (major, minor, text) = libbpf_version();
        assert!(major >= 1, "{major}.{minor}");
        assert_eq!(text, format!("v{major}.{minor}"));
        assert_eq!(program_type_name(6), Some("xdp"));
        assert_eq!(map_type_name(27), Some("ringbuf"));
        assert_eq!(link_type_name(6), Some("xdp"));
        assert_eq!(attach_type_name(0), Some("cgroup_inet_ingress"));
        assert_eq!(map_type_name(9999), None);
    }

    #[test]
    fn there_is_at_least_one_cpu() {
        assert!(possible_cpus() >= 1);
    }
}
