// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Options that the chosen hypervisor does nothing with.
//!
//! Tables of other hypervisors are silent: a description may serve several. What is said here is
//! said of options that sound as if they worked.

use super::Findings;
use crate::config::{Console, Hypervisor, InterfaceType, Proto, Share, Vm};
use crate::plan::firecracker_tells_mtu;
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
        heeded: Q,
        set: |vm| {
            let is_set = |it: &Share| it.proto == Proto::NineP && it.security_model != "none";
            each("shares", "securityModel", &vm.shares, is_set)
        },
    },
    Effect { heeded: ALL & !VF, set: |vm| served(vm, "cache", |it| it.cache != "auto") },
    Effect { heeded: ALL & !VF, set: |vm| served(vm, "posixAcl", |it| !it.posix_acl) },
    Effect { heeded: ALL & !VF, set: |vm| served(vm, "extraArgs", |it| !it.extra_args.is_empty()) },
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
    packets(vm, found);
    protocols(vm, found);
    if vm.hypervisor == Hypervisor::CloudHypervisor && vm.initial_balloon_mem > 0 && !vm.balloon {
        let text = "\"initialBalloonMem\" has no effect without \"balloon\"";
        found.warn("MV231", "initialBalloonMem", text);
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

/// Interfaces of the host have the size that they are given; not every guest is told.
fn packets(vm: &Vm, found: &mut Findings) {
    let is_told = match vm.hypervisor {
        Hypervisor::Qemu | Hypervisor::CloudHypervisor | Hypervisor::Alioth => true,
        Hypervisor::Firecracker => firecracker_tells_mtu(vm),
        _ => false,
    };
    let sized = vm.interfaces.iter().enumerate().filter(|(_, it)| it.mtu.is_some());
    for (at, interface) in sized.filter(|_| !is_told) {
        let (path, hv) = (format!("interfaces[{at}].mtu"), vm.hypervisor);
        let is_made = matches!(interface.kind, InterfaceType::Tap | InterfaceType::Macvtap);
        let text = if is_made {
            format!("{hv} does not tell the guest of \"{path}\"")
        } else {
            format!("\"{path}\" has no effect with {hv}")
        };
        found.warn("MV231", path, text);
    }
}

/// Keys of one protocol in a share of the other.
fn protocols(vm: &Vm, found: &mut Findings) {
    for (at, share) in vm.shares.iter().enumerate() {
        let (proto, keys): (_, &[(&str, bool)]) = match share.proto {
            Proto::Virtiofs => ("virtiofs", &[("securityModel", share.security_model != "none")]),
            Proto::NineP => (
                "9p",
                &[
                    ("socket", share.socket.is_some()),
                    ("cache", share.cache != "auto"),
                    ("posixAcl", !share.posix_acl),
                    ("extraArgs", !share.extra_args.is_empty()),
                ],
            ),
        };
        for (key, _) in keys.iter().filter(|(_, is_set)| *is_set) {
            let path = format!("shares[{at}].{key}");
            let text = format!("\"{path}\" has no effect on a share of proto {proto}");
            found.warn("MV231", path, text);
        }
    }
}

fn one(is_set: bool, path: &str) -> Vec<String> {
    if is_set { vec![path.to_owned()] } else { Vec::new() }
}

/// Where shares that a daemon serves elsewhere have `key` set.
fn served(vm: &Vm, key: &str, is_set: fn(&Share) -> bool) -> Vec<String> {
    each("shares", key, &vm.shares, |it| it.proto == Proto::Virtiofs && is_set(it))
}

fn each<T>(list: &str, key: &str, items: &[T], is_set: impl Fn(&T) -> bool) -> Vec<String> {
    let set = items.iter().enumerate().filter(|(_, item)| is_set(item));
    set.map(|(at, _)| format!("{list}[{at}].{key}")).collect()
}
