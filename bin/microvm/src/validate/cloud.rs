// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Words for cloud-hypervisor that would say something twice.

use super::Findings;
use crate::config::{Hypervisor, Vm};
use crate::diag::Diagnostic;

pub(super) fn check(vm: &Vm, found: &mut Findings) {
    if vm.hypervisor != Hypervisor::CloudHypervisor {
        return;
    }
    let own = &vm.cloud_hypervisor;
    for (at, item) in own.platform_oem_strings.iter().enumerate() {
        let path = format!("cloud-hypervisor.platformOEMStrings[{at}]");
        if item.contains("oem_strings") {
            let text = "an OEM string must not hold \"oem_strings\"";
            let hint = "each item is one string; \"oem_strings=\" is generated";
            found.push(Diagnostic::error("MV155", path, text).hint(hint));
        } else if let Some(letter) = item.chars().find(|it| ['[', ']', '"', ','].contains(it)) {
            let text = format!("an OEM string must not hold '{letter}'");
            found.error("MV155", path, text);
        }
    }
    // Values belong to the last option before them.
    let mut flag = "";
    for (at, word) in own.extra_args.iter().enumerate() {
        let path = format!("cloud-hypervisor.extraArgs[{at}]");
        let (name, value) = match word.split_once('=') {
            Some((name, value)) if word.starts_with("--") => (name, value),
            _ if word.starts_with("--") => (word.as_str(), ""),
            _ => ("", word.as_str()),
        };
        if !name.is_empty() {
            flag = name;
            repeated(vm, name, &path, found);
        }
        let has = |key: &str| {
            value.split(',').any(|part| part.split_once('=').is_some_and(|(name, _)| name == key))
        };
        match flag {
            "--vsock" if has("cid") && vm.vsock.cid.is_some() => {
                let text = "guest CID given twice (vsock.cid and extraArgs --vsock)";
                found.error("MV219", path, text);
            }
            "--platform" if value.contains("oem_strings=") => {
                let text = "use platformOEMStrings instead of --platform oem_strings";
                found.error("MV220", path, text);
            }
            "--cpus" if has("boot") => {
                let text = "vCPU count given twice (vcpu and extraArgs --cpus boot)";
                found.error("MV221", path, text);
            }
            _ => {}
        }
    }
}

/// An option that is generated, and that the program takes once.
fn repeated(vm: &Vm, flag: &str, path: &str, found: &mut Findings) {
    let (is_generated, key) = match flag {
        "--kernel" => (true, "\"kernel\" or \"vmlinux\""),
        "--initramfs" => (vm.initrd_path.is_some(), "\"initrdPath\""),
        "--cmdline" => (true, "\"kernelParams\""),
        "--memory" => (true, "\"mem\", \"hugepageMem\" and \"hotplugMem\""),
        "--seccomp" | "--watchdog" => (true, ""),
        "--api-socket" => (vm.socket.is_some(), "\"socket\""),
        "--balloon" => (vm.balloon, "\"balloon\", \"initialBalloonMem\" and \"deflateOnOOM\""),
        "--gpu" => (vm.graphics.enable, "\"graphics\""),
        _ => return,
    };
    if is_generated {
        let text = format!("{flag} is generated; cloud-hypervisor refuses a second one");
        let it = Diagnostic::error("MV222", path, text);
        found.push(if key.is_empty() { it } else { it.hint(format!("set {key}")) });
    }
}
