// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Processors and memory.

use super::Findings;
use crate::config::{Hypervisor, Vm};
use crate::diag::Diagnostic;

/// The most virtual processors.
const VCPU_MAX: u32 = 255;
/// Memory in MiB below which nothing is likely to boot.
const SMALL: u64 = 32;
/// What virtio-mem plugs at once, in MiB.
const BLOCK: u64 = 2;
/// What Linux adds at once, in MiB.
const SECTION: u64 = 128;

pub(super) fn check(vm: &Vm, found: &mut Findings) {
    if vm.vcpu == 0 || vm.vcpu > VCPU_MAX {
        let text = format!("\"vcpu\" must be 1 to {VCPU_MAX}, found {}", vm.vcpu);
        found.error("MV101", "vcpu", text);
    }
    if vm.mem == 0 {
        found.error("MV102", "mem", "\"mem\" must not be 0");
    } else if vm.mem < SMALL {
        found.warn("MV103", "mem", format!("{SMALL} MiB or less is unlikely to boot"));
    }
    let is_microvm = vm.hypervisor == Hypervisor::Qemu && vm.qemu.machine.starts_with("microvm");
    if is_microvm && vm.mem == 2048 {
        let text = "some QEMU builds hang with exactly 2048 MiB; use 2047 or 2049 (#171)";
        found.warn("MV104", "mem", text);
    }
    if vm.initial_balloon_mem > vm.mem {
        let text = format!(
            "initialBalloonMem ({} MiB) is more than mem ({} MiB)",
            vm.initial_balloon_mem, vm.mem
        );
        found.error("MV112", "initialBalloonMem", text);
    }
    if has_hotplug(vm) {
        hotplug(vm, found);
    }
}

/// Can the hypervisor plug memory? Where it cannot, another rule says so, and that alone.
fn has_hotplug(vm: &Vm) -> bool {
    match vm.hypervisor {
        Hypervisor::Qemu => vm.hotplug_mem == 0 || !vm.qemu.machine.starts_with("microvm"),
        other => other == Hypervisor::CloudHypervisor,
    }
}

fn hotplug(vm: &Vm, found: &mut Findings) {
    if vm.hotplugged_mem > vm.hotplug_mem {
        let text = format!(
            "hotpluggedMem ({} MiB) is more than hotplugMem ({} MiB)",
            vm.hotplugged_mem, vm.hotplug_mem
        );
        found.error("MV113", "hotpluggedMem", text);
    } else if vm.hotplugged_mem % BLOCK != 0 {
        let text = format!("hotpluggedMem ({} MiB) is not a multiple of 2", vm.hotplugged_mem);
        let hint = "virtio-mem plugs blocks of 2 MiB";
        found.push(Diagnostic::error("MV113", "hotpluggedMem", text).hint(hint));
    }
    if vm.hotplug_mem % SECTION != 0 {
        let text = format!("hotplugMem ({} MiB) is not a multiple of {SECTION}", vm.hotplug_mem);
        let hint = "Linux cannot use the rest";
        found.push(Diagnostic::warning("MV114", "hotplugMem", text).hint(hint));
    }
}
