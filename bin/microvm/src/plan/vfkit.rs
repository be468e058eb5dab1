// SPDX-License-Identifier: Apache-2.0 OR MIT
//! vfkit, on macOS.
//!
//! Only the kernel's command line stands in quotes, in which nothing can be escaped; what would
//! have to be is refused before. Directories are served by the framework itself, without a daemon.

use super::common::{argv0, command_line};
use super::{Builder, Launch, Options, Piece, Plan, Shutdown, Step};
use crate::config::{Proto, Vm};
use crate::quote::uri_path;

/// Plans a machine for vfkit.
pub(super) fn plan(vm: &Vm, options: &Options) -> Plan {
    let mut b = Builder::default();
    b.from("vcpu", "virtual processors").pair("--cpus", vm.vcpu.to_string());
    b.from("mem", "memory").pair("--memory", vm.mem.to_string());
    if !vm.vfkit.log_level.is_empty() {
        b.from("vfkit.logLevel", "how much vfkit tells").pair("--log-level", &vm.vfkit.log_level);
    }
    if vm.graphics.enable {
        b.from("graphics.enable", "a window").word("--gui");
    }
    b.from("kernel", "the kernel is started directly").pair("--bootloader", boot(vm, options));
    b.from("", "random numbers of the host").pair("--device", "virtio-rng");
    if vm.graphics.enable {
        b.from("graphics.enable", "a display, a keyboard, a pointer");
        b.pair("--device", "virtio-gpu").pair("--device", "virtio-input,keyboard");
        b.pair("--device", "virtio-input,pointing");
    } else {
        b.from("console", "where the console of the guest is");
        b.pair("--device", "virtio-serial,stdio");
    }
    if let Some(image) = vm.root_image() {
        b.from("storeDisk", "the root image");
        b.pair("--device", format!("virtio-blk,path={image},readonly"));
    }
    for (at, volume) in vm.volumes.iter().enumerate() {
        let read_only = if volume.read_only { ",readonly" } else { "" };
        b.element("volumes", at, "a block device");
        b.pair("--device", format!("virtio-blk,path={}{read_only}", volume.image));
    }
    for (at, share) in vm.shares_of(Proto::Virtiofs) {
        b.element("shares", at, "a directory that the guest sees");
        let shared = format!("sharedDir={},mountTag={}", share.source, share.tag);
        b.pair("--device", format!("virtio-fs,{shared}"));
    }
    for (at, interface) in vm.interfaces.iter().enumerate() {
        b.element("interfaces", at, "a network device");
        b.pair("--device", format!("virtio-net,nat,mac={}", interface.mac));
    }
    rosetta(&mut b, vm);
    b.from("vfkit.extraArgs", "your own words").words(&vm.vfkit.extra_args);
    if let Some(socket) = &vm.socket {
        b.from("socket", "the control socket").word("--restful-uri").pieces(uri(socket));
    }
    Plan {
        program: vm.vfkit.binary.clone(),
        words: b.finish(),
        steps: vm.socket.iter().cloned().map(Step::Remove).collect(),
        launch: Launch { argv0: argv0(vm), ..Launch::default() },
        shutdown: vm.socket.is_some().then_some(Shutdown::Own),
        ..Plan::default()
    }
}

fn boot(vm: &Vm, options: &Options) -> String {
    let console = if vm.graphics.enable { "console=tty0" } else { "console=hvc0" };
    let line = command_line(vm, &[console, "reboot=t panic=-1"], &[], options.compat);
    let initrd = vm.initrd_path.as_ref().map(|path| format!(",initrd={path}"));
    format!("linux,kernel={}{},cmdline=\"{line}\"", vm.kernel, initrd.unwrap_or_default())
}

fn rosetta(b: &mut Builder, vm: &Vm) {
    let rosetta = &vm.vfkit.rosetta;
    if !rosetta.enable {
        return;
    }
    let install = if rosetta.install { ",install" } else { "" };
    let ignore = if rosetta.ignore_if_missing { ",ignore-if-missing" } else { "" };
    b.from("vfkit.rosetta", "a translator of programs for x86_64");
    b.pair("--device", format!("rosetta,mountTag=rosetta{install}{ignore}"));
}

/// The address of the control socket, which must be absolute.
fn uri(socket: &str) -> Vec<Piece> {
    let path = uri_path(socket);
    if socket.starts_with('/') {
        return vec![Piece::Text(format!("unix://{path}"))];
    }
    vec![
        Piece::Text("unix://".to_owned()),
        Piece::WorkingDirectory,
        Piece::Text(format!("/{path}")),
    ]
}
