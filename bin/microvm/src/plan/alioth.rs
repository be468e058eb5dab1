// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Alioth.
//!
//! A value that holds a comma or an equals sign goes by reference, as an object that stands after
//! the option. It needs a terminal, and has no way to ask a guest to stop.

use super::common::{argv0, at_least, command_line, tap_queues};
use super::{Builder, Launch, Options, Plan, tap_multi_queue};
use crate::config::{Proto, Vm};
use crate::quote::Objects;

/// The largest packet where the description says nothing; Alioth wants to be told.
const MTU: u32 = 1500;

/// Plans a machine for Alioth.
pub(super) fn plan(vm: &Vm, options: &Options) -> Plan {
    let version = &vm.alioth.version;
    let mut b = Builder::default();
    let mut objects = Objects::default();
    b.from("", "a machine is run").word("run");
    b.from("mem", "memory").pair("--memory", format!("size={}M,backend=memfd", vm.mem));
    b.from("vcpu", "virtual processors");
    if at_least(version, &[0, 10]) {
        b.pair("--cpu", format!("count={}", vm.vcpu));
    } else {
        b.pair("--num-cpu", vm.vcpu.to_string());
    }
    b.from("kernel", "the kernel is started directly").pair("-k", &vm.kernel);
    if let Some(initrd) = &vm.initrd_path {
        b.from("initrdPath", "the initial file system").pair("-i", initrd);
    }
    let line = command_line(vm, &["console=ttyS0 reboot=k panic=1"], &[], options.compat);
    b.from("kernelParams", "the kernel's command line").pair("-c", line);
    b.from("", "random numbers of the host").word("--entropy");
    // Older versions know one kind of each and do not want to be told which.
    let (file, tap) = if at_least(version, &[0, 8]) { ("file,", "tap,") } else { ("", "") };
    if let Some(image) = vm.root_image() {
        let path = objects.text(image);
        b.from("storeDisk", "the root image");
        b.pair("--blk", format!("{file}path={path},readonly=true"));
        rest(&mut b, &mut objects);
    }
    for (at, volume) in vm.volumes.iter().enumerate() {
        let path = objects.text(&volume.image);
        b.element("volumes", at, "a block device");
        b.pair("--blk", format!("{file}path={path},readonly={}", volume.read_only));
        rest(&mut b, &mut objects);
    }
    for (at, share) in vm.shares_of(Proto::Virtiofs) {
        let socket = objects.text(share.socket.as_deref().unwrap_or_default());
        let tag = objects.optional(&share.tag);
        b.element("shares", at, "a directory that the guest sees");
        b.pair("--fs", format!("vu,socket={socket},tag={tag}"));
        rest(&mut b, &mut objects);
    }
    for (at, interface) in vm.interfaces.iter().enumerate() {
        let id = objects.optional(&interface.id);
        let mtu = interface.mtu.unwrap_or(MTU);
        let device = format!("mac={},queue_pairs={},mtu={mtu}", interface.mac, tap_queues(vm));
        b.element("interfaces", at, "a network device");
        b.pair("--net", format!("{tap}if_name={id},{device}"));
        rest(&mut b, &mut objects);
    }
    if let Some(cid) = vm.vsock.cid {
        b.from("vsock.cid", "sockets to the host").pair("--vsock", format!("vhost,cid={cid}"));
    }
    b.from("alioth.extraArgs", "your own words").words(&vm.alioth.extra_args);
    Plan {
        program: vm.alioth.binary.clone(),
        words: b.finish(),
        launch: Launch { argv0: argv0(vm), pty: true, ..Launch::default() },
        tap_multi_queue: tap_multi_queue(vm),
        ..Plan::default()
    }
}

/// The values that the option before refers to.
fn rest(b: &mut Builder, objects: &mut Objects) {
    for object in objects.take() {
        b.pair("-o", object);
    }
}
