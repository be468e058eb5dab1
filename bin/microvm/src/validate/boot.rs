// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernel, initial file system, processor model, what the command line gives away.

use super::{Evidence, Facts, Findings, Options};
use crate::config::{Arch, Hypervisor, Vm};
use crate::diag::{Diagnostic, Severity};

const ELF: &[u8] = b"\x7fELF";
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

pub(super) fn check(vm: &Vm, facts: &dyn Facts, options: &Options, found: &mut Findings) {
    let (key, kernel) = image(vm);
    if kernel.is_empty() {
        found.error("MV105", "kernel", "the description has no \"kernel\"");
    } else {
        files(vm, facts, options, found);
        format(vm, key, facts.head(kernel), found);
        if vm.kernel_btf {
            btf(key, kernel, facts, found);
        }
    }
    if vm.cpu.is_some() && vm.hypervisor != Hypervisor::Qemu {
        let text = format!("{} cannot emulate a processor", vm.hypervisor);
        let hint = "remove \"cpu\" or use hypervisor \"qemu\"";
        found.push(Diagnostic::error("MV110", "cpu", text).hint(hint));
    }
    system(vm, found);
    if vm.store_on_disk && vm.store_disk.is_none() && vm.store_disk_source.is_none() {
        let text = "\"storeOnDisk\" needs \"storeDisk\" or \"storeDiskSource\"";
        found.error("MV158", "storeOnDisk", text);
    }
    secrets(vm, found);
}

/// The key of the image that is booted, and its path.
fn image(vm: &Vm) -> (&'static str, &str) {
    let takes_elf = match vm.hypervisor {
        Hypervisor::CloudHypervisor | Hypervisor::Firecracker => {
            vm.guest_system.arch() == Arch::X86
        }
        Hypervisor::Crosvm => true,
        _ => false,
    };
    match &vm.vmlinux {
        Some(vmlinux) if takes_elf => ("vmlinux", vmlinux),
        _ => ("kernel", &vm.kernel),
    }
}

fn files(vm: &Vm, facts: &dyn Facts, options: &Options, found: &mut Findings) {
    let (key, kernel) = image(vm);
    let initrd = vm.initrd_path.as_deref().map(|path| ("initrdPath", path));
    // Where the image is made of a directory, that is what stands in the description.
    let (of, hint) = match &vm.store_disk_source {
        Some(_) => ("storeDiskSource", Some("`microvm image build` of the description makes it")),
        None => ("storeDisk", None),
    };
    let image = vm.root_image().map(|path| (of, path));
    for (key, path) in [(key, kernel)].into_iter().chain(initrd).chain(image) {
        let severity = if options.strict { Severity::Error } else { Severity::Warning };
        if facts.is_directory(path) == Some(true) {
            let text = format!("{path} is a directory");
            found.push(Diagnostic { severity, ..Diagnostic::error("MV106", key, text) });
        } else if facts.exists(path) == Some(false) {
            let text = format!("{path} is not on this machine");
            let missing = Diagnostic { severity, ..Diagnostic::error("MV106", key, text) };
            found.push(match hint.filter(|_| key == of) {
                Some(hint) => missing.hint(hint),
                None => missing,
            });
        }
    }
}

/// Whether the hypervisor can load a kernel that begins with `head`.
fn format(vm: &Vm, key: &'static str, head: Option<[u8; 4]>, found: &mut Findings) {
    let Some(head) = head else { return };
    let is_x86 = vm.guest_system.arch() == Arch::X86;
    match vm.hypervisor {
        Hypervisor::Firecracker if is_x86 && !head.starts_with(ELF) => {
            let text = "firecracker needs an uncompressed ELF kernel";
            let hint = "`microvm kernel extract` makes one; set \"vmlinux\" to it";
            found.push(Diagnostic::error("MV117", key, text).hint(hint));
        }
        Hypervisor::Vfkit if head.starts_with(GZIP) || head.starts_with(ZSTD) => {
            let by = if head.starts_with(GZIP) { "gzip" } else { "zstd" };
            let text = format!("vfkit needs an uncompressed kernel; this one is packed by {by}");
            found.error("MV117", key, text);
        }
        _ => {}
    }
}

fn btf(key: &'static str, kernel: &str, facts: &dyn Facts, found: &mut Findings) {
    match facts.btf(kernel) {
        Some(Evidence::Absent) => {
            let text = format!("{kernel} has no BTF type information");
            let hint = "build it with CONFIG_DEBUG_INFO_BTF=y";
            found.push(Diagnostic::error("MV118", key, text).hint(hint));
        }
        Some(Evidence::Unknown) => {
            let text = format!("there is no telling whether {kernel} has BTF type information");
            let hint = "an ELF kernel shows it, and so does the file config-VERSION beside it";
            found.push(Diagnostic::warning("MV118", key, text).hint(hint));
        }
        Some(Evidence::Present) | None => {}
    }
}

fn system(vm: &Vm, found: &mut Findings) {
    let (host, guest) = (vm.host_system, vm.guest_system);
    let is_foreign = host.arch() != guest.arch();
    if guest.is_darwin() {
        let text = format!("guestSystem {guest} is no Linux");
        found.error("MV111", "guestSystem", text);
    } else if is_foreign && vm.hypervisor == Hypervisor::Qemu && vm.cpu.is_none() {
        let text = format!("guestSystem {guest} on hostSystem {host} needs \"cpu\"");
        let hint = "\"cpu\" is the processor to emulate, such as \"cortex-a53\" or \"max\"";
        found.push(Diagnostic::error("MV111", "guestSystem", text).hint(hint));
    } else if is_foreign && !matches!(vm.hypervisor, Hypervisor::Qemu | Hypervisor::Vfkit) {
        let hv = vm.hypervisor;
        let text = format!("{hv} cannot run guestSystem {guest} on hostSystem {host}");
        found.error("MV111", "guestSystem", text);
    }
}

/// Words that give away what everybody who lists processes can read.
fn secrets(vm: &Vm, found: &mut Findings) {
    let lists = [
        ("kernelParams", &vm.kernel_params),
        ("cloud-hypervisor.platformOEMStrings", &vm.cloud_hypervisor.platform_oem_strings),
    ];
    for (key, words) in lists {
        for (at, word) in words.iter().enumerate() {
            if is_secret(word) {
                let path = format!("{key}[{at}]");
                let text = format!("{path} looks like a secret, and is visible in `ps`");
                let hint = "give secrets to the guest in \"credentialFiles\" or a share";
                found.push(Diagnostic::warning("MV170", path, text).hint(hint));
            }
        }
    }
}

fn is_secret(word: &str) -> bool {
    const MARKS: [&str; 6] = ["passw", "secret", "token", "apikey", "api_key", "private_key"];
    let word = word.to_ascii_lowercase();
    let key = word.split_once('=').map_or("", |(key, _)| key);
    let credential = ["systemd.set_credential", "io.systemd.credential"];
    let is_credential = credential.iter().any(|prefix| word.starts_with(prefix));
    let is_harmless = word.contains("vmm.notify_socket");
    (is_credential && !is_harmless) || MARKS.iter().any(|mark| key.contains(mark))
}
