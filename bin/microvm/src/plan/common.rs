// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What several hypervisors share: the kernel's command line, drive letters, queues.

use crate::config::{Arch, Hypervisor, InterfaceType, Vm};

/// The kernel's command line after `prefix`: words joined by single blanks.
///
/// `extra` are words of the hypervisor's own that stand at the end.
#[must_use]
pub fn command_line(vm: &Vm, prefix: &[&str], extra: &[&str]) -> String {
    let mut words: Vec<&str> = prefix.to_vec();
    if vm.optimize.enable {
        words.push("8250.nr_uarts=1");
    }
    words.extend(vm.kernel_params.iter().map(String::as_str));
    let root = format!("rootfstype={}", vm.store_disk_type);
    let has_root = vm.kernel_params.iter().any(|word| word.starts_with("root="));
    if vm.root_image().is_some() && vm.store_disk_is_root && !has_root {
        words.extend(["root=/dev/vda", &root, "ro"]);
    }
    words.extend(extra);
    words
        .iter()
        .map(|word| word.trim())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The words for a serial console, where the guest has one.
#[must_use]
pub(super) const fn serial_console(vm: &Vm) -> &'static [&'static str] {
    match vm.guest_system.arch() {
        Arch::X86 => &["earlyprintk=ttyS0", "console=ttyS0"],
        Arch::Arm => &["console=ttyAMA0"],
    }
}

/// The letter of a volume: the root image, if there is one, is `a`.
#[must_use]
pub fn drive_letter(vm: &Vm, volume: usize) -> char {
    let at = volume + usize::from(vm.root_image().is_some());
    u8::try_from(at).map_or('z', |at| char::from(b'a'.saturating_add(at)))
}

/// Have taps a queue for each processor? The tap must be made the same way, or it cannot be opened.
#[must_use]
pub const fn tap_multi_queue(vm: &Vm) -> bool {
    vm.vcpu > 1
        && matches!(
            vm.hypervisor,
            Hypervisor::Qemu
                | Hypervisor::CloudHypervisor
                | Hypervisor::Stratovirt
                | Hypervisor::Alioth
        )
}

/// The descriptors of each macvtap interface: place in the list, first descriptor, how many.
#[must_use]
pub fn macvtap_fds(vm: &Vm) -> Vec<(usize, u32, u32)> {
    let queues = if tap_multi_queue(vm) { vm.vcpu } else { 1 };
    let first = (3..).step_by(usize::try_from(queues).unwrap_or(1));
    let interfaces = vm.interfaces_of(InterfaceType::Macvtap);
    interfaces.zip(first).map(|((at, _), first)| (at, first, queues)).collect()
}

/// The descriptors of the interface at `at`, joined by `separator`.
#[must_use]
pub(super) fn fds(vm: &Vm, at: usize, separator: &str) -> String {
    let found = macvtap_fds(vm).into_iter().find(|(other, ..)| *other == at);
    let (_, first, count) = found.unwrap_or_default();
    (first..first + count).map(|fd| fd.to_string()).collect::<Vec<_>>().join(separator)
}

/// The name that the process shows, if it shows another than its program's.
#[must_use]
pub(super) fn argv0(vm: &Vm) -> Option<String> {
    vm.pretty_procnames.then(|| format!("microvm@{}", vm.host_name))
}

/// Is `version` at least `least`? Numbers separated by points; what is no number counts as zero.
#[must_use]
pub(super) fn at_least(version: &str, least: &[u32]) -> bool {
    let numbers: Vec<u32> = version.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    numbers.as_slice() >= least
}
