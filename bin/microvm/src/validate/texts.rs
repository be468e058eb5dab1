// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Characters that the option language of a hypervisor cannot express.
//!
//! QEMU doubles commas, cloud-hypervisor and crosvm quote, Alioth refers to objects; what is left
//! is refused here, so that no text leaves its argument.

use super::Findings;
use super::sockets;
use crate::config::{Hypervisor, Proto, Vm};

pub(super) fn check(vm: &Vm, found: &mut Findings) {
    match vm.hypervisor {
        Hypervisor::Qemu => refuse(vm, sockets::all(vm), &[','], found),
        Hypervisor::Kvmtool => {
            refuse(vm, disks(vm), &[','], found);
            refuse(vm, shares(vm), &[','], found);
            refuse(vm, ids(vm), &[',', '='], found);
        }
        Hypervisor::Stratovirt => {
            refuse(vm, sockets::all(vm), &[','], found);
            refuse(vm, disks(vm), &[','], found);
            refuse(vm, serials(vm), &[','], found);
            refuse(vm, ids(vm), &[','], found);
        }
        Hypervisor::Crosvm => refuse(vm, shares(vm), &[':'], found),
        Hypervisor::Vfkit => {
            refuse(vm, disks(vm), &['"', ','], found);
            refuse(vm, boot(vm), &['"', ','], found);
            refuse(vm, shares(vm), &['"', ','], found);
            let params = vm.kernel_params.iter().enumerate();
            let params = params.map(|(at, word)| (format!("kernelParams[{at}]"), word.clone()));
            refuse(vm, params.collect(), &['"'], found);
        }
        Hypervisor::CloudHypervisor | Hypervisor::Firecracker | Hypervisor::Alioth => {}
    }
}

fn refuse(vm: &Vm, texts: Vec<(String, String)>, without: &[char], found: &mut Findings) {
    for (path, text) in texts {
        if let Some(letter) = text.chars().find(|letter| without.contains(letter)) {
            let text = format!("{} cannot express \"{letter}\" in {path}", vm.hypervisor);
            found.error("MV141", path, text);
        }
    }
}

fn disks(vm: &Vm) -> Vec<(String, String)> {
    let volumes = vm.volumes.iter().enumerate();
    let volumes = volumes.map(|(at, it)| (format!("volumes[{at}].image"), it.image.clone()));
    let store = vm.root_image().map(|image| ("storeDisk".to_owned(), image.to_owned()));
    store.into_iter().chain(volumes).collect()
}

fn serials(vm: &Vm) -> Vec<(String, String)> {
    let volumes = vm.volumes.iter().enumerate();
    let serial = |(at, it): (usize, &crate::config::Volume)| {
        it.serial.clone().map(|serial| (format!("volumes[{at}].serial"), serial))
    };
    volumes.filter_map(serial).collect()
}

fn boot(vm: &Vm) -> Vec<(String, String)> {
    let initrd = vm.initrd_path.iter().map(|path| ("initrdPath".to_owned(), path.clone()));
    initrd.chain([("kernel".to_owned(), vm.kernel.clone())]).collect()
}

/// Source and tag of the shares that stand on the command line.
fn shares(vm: &Vm) -> Vec<(String, String)> {
    let proto = if vm.hypervisor == Hypervisor::Vfkit { Proto::Virtiofs } else { Proto::NineP };
    let parts = |(at, share): (usize, &crate::config::Share)| {
        let source = (format!("shares[{at}].source"), share.source.clone());
        [source, (format!("shares[{at}].tag"), share.tag.clone())]
    };
    vm.shares_of(proto).flat_map(parts).collect()
}

fn ids(vm: &Vm) -> Vec<(String, String)> {
    let interfaces = vm.interfaces.iter().enumerate();
    interfaces.map(|(at, it)| (format!("interfaces[{at}].id"), it.id.clone())).collect()
}
