// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What one hypervisor cannot do: the table of abilities, and the rules of single programs.

use super::Findings;
use crate::config::{Arch, Hypervisor, InterfaceType, Proto, Vm};
use crate::diag::Diagnostic;
use crate::schema::{AL, ALL, CH, CR, FC, KT, Q, SV, VF, Who};

/// Something that is asked for, and who has it not.
struct Ability {
    code: &'static str,
    path: &'static str,
    /// Who lacks it.
    lacking: Who,
    is_asked: fn(&Vm) -> bool,
    /// What is said; `{hv}` stands for the hypervisor.
    text: &'static str,
}

const ABILITIES: &[Ability] = &[
    Ability {
        code: "MV200",
        path: "user",
        lacking: ALL & !Q,
        is_asked: |vm| vm.user.is_some(),
        text: "{hv} cannot change user; remove \"user\" or use hypervisor \"qemu\"",
    },
    Ability {
        code: "MV201",
        path: "balloon",
        lacking: FC | SV | AL | VF,
        is_asked: |vm| vm.balloon,
        text: "balloon is not available for {hv}",
    },
    Ability {
        code: "MV202",
        path: "initialBalloonMem",
        lacking: ALL & !CH,
        is_asked: |vm| vm.initial_balloon_mem != 0,
        text: "initialBalloonMem is only available for cloud-hypervisor",
    },
    Ability {
        code: "MV203",
        path: "hotplugMem",
        lacking: ALL & !(Q | CH),
        is_asked: |vm| vm.hotplug_mem != 0,
        text: "memory hotplug is not available for {hv}",
    },
    Ability {
        code: "MV203",
        path: "hotpluggedMem",
        lacking: ALL & !(Q | CH),
        is_asked: |vm| vm.hotplug_mem == 0 && vm.hotplugged_mem != 0,
        text: "memory hotplug is not available for {hv}",
    },
    Ability {
        code: "MV205",
        path: "credentialFiles",
        lacking: ALL & !Q,
        is_asked: |vm| !vm.credential_files.is_empty(),
        text: "credentialFiles is only available for qemu",
    },
    Ability {
        code: "MV206",
        path: "shares",
        lacking: FC,
        is_asked: |vm| !vm.shares.is_empty(),
        text: "firecracker has no shared directories; use a volume",
    },
    Ability {
        code: "MV213",
        path: "socket",
        lacking: FC,
        is_asked: |vm| vm.socket.is_none(),
        text: "firecracker needs a control socket",
    },
    Ability {
        code: "MV214",
        path: "graphics.enable",
        lacking: FC | KT | SV | AL,
        is_asked: |vm| vm.graphics.enable,
        text: "graphics is not available for {hv}",
    },
    Ability {
        code: "MV215",
        path: "vsock.cid",
        lacking: VF,
        is_asked: |vm| vm.vsock.cid.is_some(),
        text: "vsock is not implemented for vfkit",
    },
    Ability {
        code: "MV235",
        path: "hostSystem",
        lacking: ALL & !(Q | VF),
        is_asked: |vm| vm.host_system.is_darwin(),
        text: "{hv} runs on Linux only (hostSystem is aarch64-darwin)",
    },
];

/// Types of interfaces, each with who has it.
const INTERFACES: [(InterfaceType, Who); 4] = [
    (InterfaceType::User, Q | KT | VF),
    (InterfaceType::Tap, ALL & !VF),
    (InterfaceType::Macvtap, Q | CH | CR | KT | SV),
    (InterfaceType::Bridge, Q),
];

/// Sections of firecracker's configuration.
const FIRECRACKER_SECTIONS: [&str; 13] = [
    "balloon",
    "drives",
    "boot-source",
    "cpu-config",
    "logger",
    "machine-config",
    "metrics",
    "mmds-config",
    "network-interfaces",
    "vsock",
    "entropy",
    "pmem",
    "memory-hotplug",
];

pub(super) fn check(vm: &Vm, found: &mut Findings) {
    let who = vm.hypervisor.who();
    for ability in ABILITIES {
        if ability.lacking & who != 0 && (ability.is_asked)(vm) {
            let text = ability.text.replace("{hv}", vm.hypervisor.name());
            found.error(ability.code, ability.path, text);
        }
    }
    shares(vm, who, found);
    devices(vm, who, found);
    interfaces(vm, who, found);
    match vm.hypervisor {
        Hypervisor::Qemu => qemu(vm, found),
        Hypervisor::Firecracker => firecracker(vm, found),
        Hypervisor::Crosvm => crosvm(vm, found),
        Hypervisor::Stratovirt if vm.mem < 128 => {
            found.error("MV224", "mem", "stratovirt needs at least 128 MiB");
        }
        Hypervisor::Vfkit => vfkit(vm, found),
        _ => {}
    }
}

fn shares(vm: &Vm, who: Who, found: &mut Findings) {
    let hv = vm.hypervisor;
    for (at, share) in vm.shares.iter().enumerate() {
        let path = format!("shares[{at}].proto");
        match share.proto {
            Proto::NineP if (CH | SV | AL | VF) & who != 0 => {
                let text = format!("{hv} has no 9p; set proto = \"virtiofs\"");
                found.error("MV207", path, text);
            }
            Proto::NineP if (CR | KT) & who != 0 && share.read_only => {
                let text = format!("{hv} cannot make a 9p share read-only");
                found.error("MV209", format!("shares[{at}].readOnly"), text);
            }
            // The guest could write what it was not to.
            Proto::Virtiofs if VF & who != 0 && share.read_only => {
                let text = format!("{hv} cannot make a share read-only");
                found.error("MV209", format!("shares[{at}].readOnly"), text);
            }
            Proto::Virtiofs if KT & who != 0 => {
                found.error("MV208", path, "kvmtool has no virtiofs; set proto = \"9p\"");
            }
            _ => {}
        }
        let is_new = match share.proto {
            Proto::NineP => CR,
            Proto::Virtiofs => SV | AL,
        };
        if is_new & who != 0 {
            let proto = if share.proto == Proto::NineP { "9p" } else { "virtiofs" };
            let text = format!("{proto} shares are experimental with {hv}");
            found.warn("MV232", format!("shares[{at}]"), text);
        }
    }
}

fn devices(vm: &Vm, who: Who, found: &mut Findings) {
    for (at, device) in vm.devices.iter().enumerate() {
        let path = format!("devices[{at}].bus");
        if device.bus == "pci" && (FC | SV | AL | VF) & who != 0 {
            found.error("MV211", path, format!("{} has no PCI passthrough", vm.hypervisor));
        } else if device.bus == "usb" && Q & who == 0 {
            found.error("MV212", path, "USB passthrough is only available for qemu");
        }
    }
}

fn interfaces(vm: &Vm, who: Who, found: &mut Findings) {
    for (at, interface) in vm.interfaces.iter().enumerate() {
        let kind = interface.kind;
        if !INTERFACES.iter().any(|(other, has)| *other == kind && has & who != 0) {
            let has = INTERFACES.iter().filter(|(_, has)| has & who != 0);
            let has: Vec<&str> = has.map(|(kind, _)| kind.name()).collect();
            let text = format!(
                "{} does not support interface type \"{}\" (interface \"{}\"); supported: {}",
                vm.hypervisor,
                kind.name(),
                interface.id,
                has.join(", ")
            );
            found.error("MV210", format!("interfaces[{at}].type"), text);
        }
    }
    if vm.hypervisor == Hypervisor::Kvmtool {
        for (at, _) in vm.interfaces_of(InterfaceType::User).skip(1) {
            let path = format!("interfaces[{at}].type");
            found.error("MV226", path, "kvmtool allows one user-mode interface");
        }
    }
}

fn qemu(vm: &Vm, found: &mut Findings) {
    if vm.hotplug_mem > 0 && vm.qemu.machine.starts_with("microvm") {
        let machine = &vm.qemu.machine;
        let text =
            format!("QEMU machine \"{machine}\" has no virtio-mem; set qemu.machine = \"q35\"");
        found.error("MV204", "hotplugMem", text);
    }
}

fn firecracker(vm: &Vm, found: &mut Findings) {
    let is_odd = vm.host_system.arch() == Arch::X86 && vm.vcpu > 1 && vm.vcpu % 2 == 1;
    let smt = vm.firecracker.extra_config.get("machine-config").and_then(|it| it.get("smt"));
    let has_smt = smt.and_then(serde_json::Value::as_bool).unwrap_or(true);
    if (is_odd && has_smt) || vm.vcpu > 32 {
        let text = "firecracker needs 1 or an even number of vCPUs, at most 32";
        found.error("MV223", "vcpu", text);
    }
    for section in vm.firecracker.extra_config.keys() {
        if !FIRECRACKER_SECTIONS.contains(&section.as_str()) {
            let text = format!(
                "firecracker ignores unknown section \"{section}\"; known: {}",
                FIRECRACKER_SECTIONS.join(", ")
            );
            found.error("MV230", format!("firecracker.extraConfig.{section}"), text);
        }
    }
}

fn crosvm(vm: &Vm, found: &mut Findings) {
    if vm.crosvm.pivot_root.as_deref().is_some_and(|path| !path.starts_with('/')) {
        found.error("MV228", "crosvm.pivotRoot", "crosvm.pivotRoot must be absolute");
    }
}

fn vfkit(vm: &Vm, found: &mut Findings) {
    let host = vm.host_system;
    if !host.is_darwin() {
        let text = format!("vfkit runs on macOS only (hostSystem is {host})");
        let hint = "set hostSystem = \"aarch64-darwin\" to prepare a package for another machine";
        found.push(Diagnostic::error("MV216", "hostSystem", text).hint(hint));
    }
    if vm.guest_system.arch() != host.arch() {
        found.error("MV217", "guestSystem", "vfkit needs equal host and guest architecture");
    }
    if vm.vfkit.rosetta.enable && !(host.is_darwin() && host.arch() == Arch::Arm) {
        found.error("MV218", "vfkit.rosetta.enable", "Rosetta needs an Apple Silicon host");
    }
}
