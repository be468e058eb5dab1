// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Options that the chosen hypervisor does nothing with.
//!
//! Tables of other hypervisors are silent: a description may serve several. What is said here is
//! said of options that sound as if they worked.

use super::Findings;
use crate::config::{Console, Hypervisor, Vm};
use crate::schema::{AL, ALL, CH, CR, FC, KT, Q, SV, VF, Who};

/// An option, who heeds it, and where it is set.
struct Effect {
    heeded: Who,
    set: fn(&Vm) -> Vec<String>,
}

const EFFECTS: &[Effect] = &[
    Effect { heeded: CH, set: |vm| one(vm.hugepage_mem, "hugepageMem") },
    Effect { heeded: ALL & !(KT | AL), set: |vm| one(vm.socket.is_some(), "socket") },
    Effect { heeded: Q | CH, set: |vm| one(vm.balloon && !vm.deflate_on_oom, "deflateOnOOM") },
    Effect { heeded: Q | CH | FC, set: |vm| one(vm.notify, "notify") },
    Effect { heeded: Q, set: |vm| one(vm.console != Console::Stdio, "console") },
    Effect { heeded: Q, set: |vm| one(vm.graphics.vulkan.is_some(), "graphics.vulkan") },
    Effect {
        heeded: Q | CH | CR | SV,
        set: |vm| each("volumes", "serial", &vm.volumes, |it| it.serial.is_some()),
    },
    Effect {
        heeded: Q | CH | CR | KT | SV,
        set: |vm| each("volumes", "direct", &vm.volumes, |it| it.direct),
    },
    Effect {
        heeded: CH,
        set: |vm| each("volumes", "imageType", &vm.volumes, |it| it.image_type != "raw"),
    },
    Effect {
        heeded: Q | CH | FC | AL,
        set: |vm| each("interfaces", "mtu", &vm.interfaces, |it| it.mtu.is_some()),
    },
    Effect {
        heeded: ALL & !VF,
        set: |vm| each("shares", "readOnly", &vm.shares, |it| it.read_only),
    },
    Effect {
        heeded: Q,
        set: |vm| each("shares", "securityModel", &vm.shares, |it| it.security_model != "none"),
    },
    Effect {
        heeded: Q,
        set: |vm| each("devices", "qemu", &vm.devices, |it| it.qemu != Default::default()),
    },
];

pub(super) fn check(vm: &Vm, found: &mut Findings) {
    for effect in EFFECTS.iter().filter(|it| it.heeded & vm.hypervisor.who() == 0) {
        for path in (effect.set)(vm) {
            let text = format!("\"{path}\" has no effect with {}", vm.hypervisor);
            found.warn("MV231", path, text);
        }
    }
    let wants_notice = vm.hypervisor == Hypervisor::CloudHypervisor || vm.notify;
    let can = matches!(
        vm.hypervisor,
        Hypervisor::Qemu | Hypervisor::CloudHypervisor | Hypervisor::Firecracker
    );
    if wants_notice && can && vm.vsock.cid.is_none() {
        let text = "without \"vsock.cid\" the guest cannot report that it is ready";
        found.warn("MV233", if vm.notify { "notify" } else { "hypervisor" }, text);
    }
}

fn one(is_set: bool, path: &str) -> Vec<String> {
    if is_set { vec![path.to_owned()] } else { Vec::new() }
}

fn each<T>(list: &str, key: &str, items: &[T], is_set: impl Fn(&T) -> bool) -> Vec<String> {
    let set = items.iter().enumerate().filter(|(_, item)| is_set(item));
    set.map(|(at, _)| format!("{list}[{at}].{key}")).collect()
}
