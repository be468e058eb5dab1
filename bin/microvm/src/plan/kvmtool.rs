// SPDX-License-Identifier: Apache-2.0 OR MIT
//! kvmtool, whose program is called `lkvm`.
//!
//! Nothing can be escaped in its options; what would have to be is refused before. It has no way
//! to ask a guest to stop. A macvtap interface is opened by the path of its device, whose number is
//! known at the start only.

use super::common::{argv0, command_line};
use super::{Builder, Launch, Options, Plan, Step, tap_multi_queue};
use crate::config::{InterfaceType, Vm, Volume};
use crate::quote::{bare, kvmtool_disk};

/// Plans a machine for kvmtool.
pub(super) fn plan(vm: &Vm, options: &Options) -> Plan {
    let mut b = Builder::default();
    b.from("", "a machine is run").word("run");
    b.from("hostName", "the name of the machine").pair("--name", &vm.host_name);
    b.from("mem", "memory").pair("-m", vm.mem.to_string());
    b.from("vcpu", "virtual processors").pair("-c", vm.vcpu.to_string());
    b.from("console", "where the console of the guest is").pair("--console", "serial");
    b.from("", "random numbers of the host").word("--rng");
    b.from("kernel", "the kernel is started directly").pair("-k", &vm.kernel);
    if let Some(initrd) = &vm.initrd_path {
        b.from("initrdPath", "the initial file system").pair("-i", initrd);
    }
    let line = command_line(vm, &["console=ttyS0 reboot=k panic=1"], &[], options.compat);
    b.from("kernelParams", "the kernel's command line").pair("-p", line);
    if let Some(image) = vm.root_image() {
        b.from("storeDisk", "the root image").pair("-d", format!("{},ro", kvmtool_disk(image)));
    }
    if vm.balloon {
        b.from("balloon", "a device that gives memory back").word("--balloon");
    }
    for (at, volume) in vm.volumes.iter().enumerate() {
        b.element("volumes", at, "a block device").pair("-d", disk(volume));
    }
    for (at, share) in vm.shares.iter().enumerate() {
        b.element("shares", at, "a directory that the guest sees");
        b.pair("--9p", format!("{},{}", bare(&share.source), share.tag));
    }
    networks(&mut b, vm, options);
    for (at, device) in vm.devices.iter().enumerate() {
        b.element("devices", at, "a device of the host");
        b.word(format!("--vfio-pci={}", device.path));
    }
    if let Some(cid) = vm.vsock.cid {
        b.from("vsock.cid", "sockets to the host").pair("--vsock", cid.to_string());
    }
    b.from("kvmtool.extraArgs", "your own words").words(&vm.kvmtool.extra_args);
    let macvtaps = vm.interfaces_of(InterfaceType::Macvtap);
    let tap_paths = macvtaps.map(|(_, it)| (it.id.clone(), tap_path(&it.id))).collect();
    // The sockets of instances lie under it.
    let mut steps = vec![Step::HomeIsHere];
    if vm.balloon {
        // What the balloon of the last run held; this one begins empty.
        steps.push(Step::Remove("balloon.state".to_owned()));
    }
    Plan {
        program: vm.kvmtool.binary.clone(),
        words: b.finish(),
        steps,
        launch: Launch { argv0: argv0(vm), tap_paths, ..Launch::default() },
        balloon: vm.balloon,
        tap_multi_queue: tap_multi_queue(vm),
        ..Plan::default()
    }
}

/// What stands for the device of a macvtap interface.
fn tap_path(id: &str) -> String {
    format!("/dev/tap{{{id}}}")
}

fn disk(volume: &Volume) -> String {
    let direct = if volume.direct { ",direct" } else { "" };
    let read_only = if volume.read_only { ",ro" } else { "" };
    format!("{}{direct}{read_only}", kvmtool_disk(&volume.image))
}

fn networks(b: &mut Builder, vm: &Vm, options: &Options) {
    if vm.interfaces.is_empty() && !options.compat {
        // Without a word it adds a network of its own.
        b.from("interfaces", "no network").pair("-n", "mode=none");
    }
    for (at, interface) in vm.interfaces.iter().enumerate() {
        let (mode, tap) = match interface.kind {
            InterfaceType::Macvtap => ("tap", tap_path(&interface.id)),
            kind => (kind.name(), interface.id.clone()),
        };
        b.element("interfaces", at, "a network device");
        b.pair("-n", format!("mode={mode},tapif={tap},guest_mac={}", interface.mac));
    }
}
