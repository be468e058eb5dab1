// SPDX-License-Identifier: Apache-2.0 OR MIT
//! crosvm.
//!
//! `-r`, `-s` and `o_direct` are older spellings that it still takes; they are upstream's.

use super::common::{argv0, command_line, fds, graphics_process, macvtaps, uncompressed_kernel};
use super::{Builder, GRAPHICS_WAIT, Launch, Options, Plan, Shutdown, Step, tap_multi_queue};
use crate::config::{InterfaceType, Proto, Vm, Volume};
use crate::quote::{bare, crosvm as value, crosvm_first};

/// The keys of `--block`, which a path that stands first must not begin with.
const BLOCK_KEYS: &[&str] = &[
    "path",
    "ro",
    "root",
    "sparse",
    "direct",
    "o_direct",
    "lock",
    "block-size",
    "block_size",
    "id",
    "multiple-workers",
    "async-executor",
    "packed-queue",
    "bootindex",
    "pci-address",
];

/// Plans a machine for crosvm.
pub(super) fn plan(vm: &Vm, options: &Options) -> Plan {
    let mut b = Builder::default();
    b.from("", "a machine is run").word("run");
    b.from("mem", "memory").pair("-m", vm.mem.to_string());
    b.from("vcpu", "virtual processors").pair("-c", vm.vcpu.to_string());
    b.from("console", "where the console of the guest is");
    b.pair("--serial", "type=stdout,console=true,stdin=true");
    let line = command_line(vm, &["console=ttyS0 reboot=k panic=1"], &[], options.compat);
    b.from("kernelParams", "the kernel's command line").pair("-p", line);
    let balloon = if vm.balloon { "--balloon-page-reporting" } else { "--no-balloon" };
    b.from("balloon", "a device that gives memory back, or none").word(balloon);
    if let Some(image) = vm.root_image() {
        b.from("storeDisk", "the root image").pair("-r", crosvm_first(BLOCK_KEYS, image));
    }
    if vm.graphics.enable {
        let socket = value(&vm.graphics.socket);
        b.from("graphics.enable", "a display").pair("--vhost-user", format!("gpu,socket={socket}"));
    }
    if let Some(dir) = &vm.crosvm.pivot_root {
        b.from("crosvm.pivotRoot", "the directory of the sandbox").pair("--pivot-root", dir);
    }
    if let Some(socket) = &vm.socket {
        b.from("socket", "the control socket").pair("-s", bare(socket));
    }
    for (at, volume) in vm.volumes.iter().enumerate() {
        b.element("volumes", at, "a block device").pair("--block", disk(volume));
    }
    shares(&mut b, vm);
    networks(&mut b, vm);
    if let Some(cid) = vm.vsock.cid {
        b.from("vsock.cid", "sockets to the host").pair("--vsock", cid.to_string());
    }
    if let Some(initrd) = &vm.initrd_path {
        b.from("initrdPath", "the initial file system").pair("--initrd", initrd);
    }
    let (option, kernel) = uncompressed_kernel(vm);
    b.from(option, "the kernel is started directly").word(kernel);
    for (at, device) in vm.devices.iter().enumerate() {
        let path = value(&format!("/sys/bus/pci/devices/{}", device.path));
        b.element("devices", at, "a device of the host");
        b.pair("--vfio", format!("{path},iommu=viommu"));
    }
    b.from("crosvm.extraArgs", "your own words").words(&vm.crosvm.extra_args);
    Plan {
        program: vm.crosvm.binary.clone(),
        words: b.finish(),
        steps: steps(vm),
        launch: launch(vm),
        shutdown: vm.socket.is_some().then_some(Shutdown::Own),
        balloon: vm.balloon && vm.socket.is_some(),
        tap_multi_queue: tap_multi_queue(vm),
        ..Plan::default()
    }
}

fn steps(vm: &Vm) -> Vec<Step> {
    let mut steps: Vec<Step> = vm.socket.iter().cloned().map(Step::Remove).collect();
    steps.extend(vm.crosvm.pivot_root.iter().cloned().map(Step::MakeDirectory));
    if vm.graphics.enable {
        steps.push(Step::Remove(vm.graphics.socket.clone()));
    }
    steps
}

fn launch(vm: &Vm) -> Launch {
    let mut launch = Launch { argv0: argv0(vm), macvtaps: macvtaps(vm), ..Launch::default() };
    if vm.graphics.enable {
        launch.with.push(graphics_process(vm, ""));
        launch.awaits.push((vm.graphics.socket.clone(), GRAPHICS_WAIT));
    }
    launch
}

fn disk(volume: &Volume) -> String {
    let serial = volume.serial.as_ref().map(|serial| format!(",id={}", value(serial)));
    format!(
        "{},o_direct={},ro={}{}",
        crosvm_first(BLOCK_KEYS, &volume.image),
        volume.direct,
        volume.read_only,
        serial.unwrap_or_default(),
    )
}

fn shares(b: &mut Builder, vm: &Vm) {
    for (at, share) in vm.shares.iter().enumerate() {
        b.element("shares", at, "a directory that the guest sees");
        match share.proto {
            Proto::Virtiofs => {
                let socket = value(share.socket.as_deref().unwrap_or_default());
                b.pair("--vhost-user", format!("type=fs,socket={socket}"));
            }
            Proto::NineP => {
                b.pair("--shared-dir", format!("{}:{}:type=p9", share.source, share.tag));
            }
        }
    }
}

fn networks(b: &mut Builder, vm: &Vm) {
    for (at, interface) in vm.interfaces.iter().enumerate() {
        let tap = match interface.kind {
            InterfaceType::Macvtap => format!("tap-fd={}", fds(vm, at, ",")),
            _ => format!("tap-name={}", value(&interface.id)),
        };
        b.element("interfaces", at, "a network device");
        b.pair("--net", format!("{tap},mac={}", interface.mac));
    }
}
