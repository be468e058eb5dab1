// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names: of the machine, its UUID, its programs, its credentials, its devices in QEMU.

use super::{Findings, all};
use crate::config::{Hypervisor, InterfaceType, Vm};
use crate::diag::Diagnostic;

/// The most bytes of a host name.
const HOST_NAME_MAX: usize = 63;
/// The most bytes of the name of a program of the package.
const PROGRAM_MAX: usize = 64;
/// The most bytes of the name of a credential.
const CREDENTIAL_MAX: usize = 50;

/// Programs that the package has itself, and that nothing may be added to.
const GENERATED: [&str; 8] = [
    "microvm-run",
    "microvm-shutdown",
    "microvm-balloon",
    "microvm-console",
    "microvm-register",
    "microvm-unregister",
    "pci-teardown",
    "virtiofsd-run",
];

pub(super) fn check(vm: &Vm, found: &mut Findings) {
    if let Some(it) = no_host_name(&vm.host_name, "hostName") {
        found.push(it);
    }
    if let Some(id) = &vm.machine_id {
        uuid(id, found);
    }
    for (name, body) in &vm.bin_scripts {
        program(name, found);
        interpreter(vm, name, body, found);
    }
    for name in vm.credential_files.keys() {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !all(name, fits) || name.len() > CREDENTIAL_MAX {
            let text = format!("{name:?} is no name of a credential");
            let hint = format!("letters, digits, \".\", \"_\" and \"-\", at most {CREDENTIAL_MAX}");
            let path = format!("credentialFiles.{name}");
            found.push(Diagnostic::error("MV154", path, text).hint(hint));
        }
    }
    if vm.system_symlink && vm.system_path.is_none() {
        found.error("MV157", "systemSymlink", "\"systemSymlink\" needs \"systemPath\"");
    }
    if vm.hypervisor == Hypervisor::Qemu {
        let ports = vm.qemu.pcie_root_ports.iter().enumerate();
        let ports = ports.map(|(at, port)| (format!("qemu.pcieRootPorts[{at}].id"), &port.id));
        let devices = vm.devices.iter().enumerate();
        let devices = devices.filter_map(|(at, device)| {
            device.qemu.id.as_ref().map(|id| (format!("devices[{at}].qemu.id"), id))
        });
        for (path, id) in ports.chain(devices) {
            if !is_qemu_id(id) {
                let text = format!("QEMU cannot use {id:?} as an identifier");
                found.push(Diagnostic::error("MV234", path, text).hint(QEMU_ID));
            }
        }
    }
}

/// What QEMU takes as an identifier.
pub(super) const QEMU_ID: &str =
    "it must start with a letter and hold letters, digits, \".\", \"_\" and \"-\" only";

/// Is it an identifier for QEMU?
pub(super) fn is_qemu_id(id: &str) -> bool {
    id.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && all(id, |byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Says that the name at `path` is no host name, unless it is one.
pub(crate) fn no_host_name(name: &str, path: &str) -> Option<Diagnostic> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_fine = all(name, inner)
        && name.len() <= HOST_NAME_MAX
        && !name.starts_with('-')
        && !name.ends_with('-');
    let hint = format!("letters, digits and inner dashes, at most {HOST_NAME_MAX}");
    let it = Diagnostic::error("MV010", path, format!("{name:?} is no host name"));
    (!is_fine).then(|| it.hint(hint))
}

fn uuid(id: &str, found: &mut Findings) {
    let parts: Vec<&str> = id.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let is_hex = parts.iter().all(|part| all(part, |byte| byte.is_ascii_hexdigit()));
    if lengths != [8, 4, 4, 4, 12] || !is_hex {
        let text = format!("{id:?} is no UUID");
        let hint = "hexadecimal digits in groups of 8, 4, 4, 4 and 12, with dashes between";
        found.push(Diagnostic::error("MV116", "machineId", text).hint(hint));
    } else if !id.bytes().any(|byte| byte != b'0' && byte != b'-') {
        let text = "the machine ID must not be all zero";
        let hint = "\"machineId = false\" for none";
        found.push(Diagnostic::error("MV116", "machineId", text).hint(hint));
    }
}

fn program(name: &str, found: &mut Findings) {
    let path = format!("binScripts.{name}");
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = |byte: u8| first(byte) || b"._-".contains(&byte);
    if !all(name, fits) || !name.bytes().next().is_some_and(first) || name.len() > PROGRAM_MAX {
        let text = format!("{name:?} is no name of a program");
        let hint = format!(
            "small letters, digits, and after the first \".\", \"_\" and \"-\"; at most \
             {PROGRAM_MAX}"
        );
        found.push(Diagnostic::error("MV150", path, text).hint(hint));
    } else if GENERATED.contains(&name) {
        let text = format!("the package has a program {name:?} of its own");
        let hint = "tap-up, tap-down, macvtap-up, macvtap-down and pci-setup can be added to";
        found.push(Diagnostic::error("MV150", path, text).hint(hint));
    }
}

/// What is added to a script runs in the interpreter of that script, whatever it says itself.
fn interpreter(vm: &Vm, name: &str, body: &str, found: &mut Findings) {
    let is_part = match name {
        "tap-up" | "tap-down" => vm.interfaces_of(InterfaceType::Tap).next().is_some(),
        "macvtap-up" | "macvtap-down" => vm.interfaces_of(InterfaceType::Macvtap).next().is_some(),
        "pci-setup" => vm.devices.iter().any(|device| device.bus == "pci"),
        _ => false,
    };
    let line = body.lines().next().and_then(|line| line.strip_prefix("#!"));
    if let Some(line) = line.map(str::trim).filter(|line| is_part && *line != vm.shell) {
        let text = format!("what is added to {name:?} cannot have an interpreter of its own");
        let hint = format!(
            "leave out its first line, or set shell = {line:?} for all scripts with commands of \
             yours"
        );
        let path = format!("binScripts.{name}");
        found.push(Diagnostic::error("MV150", path, text).hint(hint));
    }
}
