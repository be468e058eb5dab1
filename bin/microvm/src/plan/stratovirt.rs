// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `StratoVirt`.
//!
//! Its words look like QEMU's, but nothing can be escaped in them, and no key may stand twice. It
//! runs on a terminal of its own and is not asked to stop, only told.

use super::common::{
    argv0, command_line, drive_letter, fds, macvtaps, tap_multi_queue, tap_queues,
};
use super::{Builder, Launch, Options, Plan};
use crate::config::{Arch, Interface, InterfaceType, Proto, Share, Vm, Volume};

/// Plans a machine for `StratoVirt`.
pub(super) fn plan(vm: &Vm, options: &Options) -> Plan {
    let mut b = Builder::default();
    base(&mut b, vm, options);
    if let Some(image) = vm.root_image() {
        b.from("storeDisk", "the root image");
        let common = "if=none,aio=io_uring,direct=false";
        b.pair("-drive", format!("id=store,format=raw,readonly=on,file={image},{common}"));
        b.pair("-device", "virtio-blk-device,drive=store,id=blk_store");
    }
    if let Some(socket) = &vm.socket {
        b.from("socket", "the control socket").pair("-qmp", format!("unix:{socket},server,nowait"));
    }
    for (at, volume) in vm.volumes.iter().enumerate() {
        b.element("volumes", at, "a block device");
        disk(&mut b, drive_letter(vm, at), volume);
    }
    for (at, share) in vm.shares_of(Proto::Virtiofs) {
        b.element("shares", at, "a directory that the guest sees");
        self::share(&mut b, at, share);
    }
    for (at, interface) in vm.interfaces.iter().enumerate() {
        b.element("interfaces", at, "a network device");
        network(&mut b, vm, at, interface);
    }
    if let Some(cid) = vm.vsock.cid {
        b.from("vsock.cid", "sockets to the host");
        b.pair("-device", format!("vhost-vsock-device,id=vsock0,guest-cid={cid}"));
    }
    b.from("stratovirt.extraArgs", "your own words").words(&vm.stratovirt.extra_args);
    Plan {
        program: vm.stratovirt.binary.clone(),
        words: b.finish(),
        launch: Launch { argv0: argv0(vm), macvtaps: macvtaps(vm), pty: true, ..Launch::default() },
        tap_multi_queue: tap_multi_queue(vm),
        ..Plan::default()
    }
}

fn base(b: &mut Builder, vm: &Vm, options: &Options) {
    b.from("hostName", "the name of the machine").pair("-name", &vm.host_name);
    let (machine, console) = match vm.guest_system.arch() {
        Arch::X86 => ("microvm", "console=ttyS0"),
        Arch::Arm => ("virt", "console=ttyAMA0"),
    };
    let shared = if vm.shares.is_empty() { "" } else { ",mem-share=on" };
    b.from("", "the machine type").pair("-machine", format!("{machine}{shared}"));
    b.from("mem", "memory").pair("-m", vm.mem.to_string());
    b.from("vcpu", "virtual processors").pair("-smp", vm.vcpu.to_string());
    b.from("kernel", "the kernel is started directly").pair("-kernel", &vm.kernel);
    if let Some(initrd) = &vm.initrd_path {
        b.from("initrdPath", "the initial file system").pair("-initrd", initrd);
    }
    let prefix = [console, "edd=off reboot=t panic=-1"];
    let line = command_line(vm, &prefix, &[], options.compat);
    b.from("kernelParams", "the kernel's command line").pair("-append", line);
    b.from("console", "where the console of the guest is").pair("-serial", "stdio");
    b.from("", "random numbers of the host");
    b.pair("-object", "rng-random,id=rng,filename=/dev/random");
    b.pair("-device", "virtio-rng-device,rng=rng,id=rng_dev");
}

fn disk(b: &mut Builder, letter: char, volume: &Volume) {
    let on = |on: bool| if on { "on" } else { "off" };
    let id = format!("vd{letter}");
    b.pair(
        "-drive",
        format!(
            "id={id},format=raw,if=none,aio=io_uring,file={},direct={},readonly={}",
            volume.image,
            on(volume.direct),
            on(volume.read_only),
        ),
    );
    let serial = volume.serial.as_ref().map(|serial| format!(",serial={serial}"));
    let serial = serial.unwrap_or_default();
    b.pair("-device", format!("virtio-blk-device,drive={id},id=blk_{id}{serial}"));
}

fn share(b: &mut Builder, at: usize, share: &Share) {
    let socket = share.socket.as_deref().unwrap_or_default();
    b.pair("-chardev", format!("socket,id=fs{at},path={socket}"));
    b.pair("-device", format!("vhost-user-fs-device,chardev=fs{at},tag={},id=fs{at}", share.tag));
}

fn network(b: &mut Builder, vm: &Vm, at: usize, interface: &Interface) {
    let id = &interface.id;
    let queues = tap_queues(vm);
    let tap = match interface.kind {
        InterfaceType::Macvtap => format!("tap,id={id},fds={}", fds(vm, at, ":")),
        _ if queues > 1 => format!("tap,id={id},ifname={id},queues={queues}"),
        _ => format!("tap,id={id},ifname={id}"),
    };
    let several = if queues > 1 { ",mq=on" } else { "" };
    b.pair("-netdev", tap);
    b.pair(
        "-device",
        format!("virtio-net-device,id=net_{id},netdev={id},mac={}{several}", interface.mac),
    );
}
