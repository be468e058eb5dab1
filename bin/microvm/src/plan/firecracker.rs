// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Firecracker.
//!
//! The machine is described by a JSON file of the package; the command line names it. A processor
//! template is a file beside it, which is reached by a link in the working directory, because the
//! place of a package is not known when it is made.

use serde_json::{Map, Value, json};

use super::common::{argv0, at_least, command_line, relay, uncompressed_kernel};
use super::{
    Builder, Launch, MUX_SOCKET, NOTIFY_PORT, Options, Piece, Plan, Shutdown, Step, drive_letter,
    tap_multi_queue,
};
use crate::config::{Arch, Interface, Vm};
use crate::quote::bare;

/// The configuration, in the package.
const CONFIG: &str = "share/microvm/firecracker.json";
/// The processor template, in the package.
const CPU_CONFIG: &str = "share/microvm/cpu-config.json";
/// The link to it, in the working directory.
const CPU_LINK: &str = "cpu-config.json";

const PREFIX: &[&str] = &[
    "console=ttyS0,115200",
    "reboot=k",
    "panic=1",
    "i8042.noaux",
    "i8042.nomux",
    "i8042.nopnp",
    "i8042.dumbkbd",
];

/// Plans a machine for Firecracker.
pub(super) fn plan(vm: &Vm, options: &Options) -> Plan {
    let notify = vm.notify && vm.vsock.cid.is_some();
    let mut b = Builder::default();
    b.from("", "the description of the machine").word("--config-file");
    b.pieces(vec![Piece::Package, Piece::Text(format!("/{CONFIG}"))]);
    if let Some(socket) = &vm.socket {
        b.from("socket", "the control socket").pair("--api-sock", bare(socket));
    }
    if at_least(&vm.firecracker.version, &[1, 13]) {
        b.from("firecracker.version", "devices on a PCI bus").word("--enable-pci");
    }
    b.from("firecracker.extraArgs", "your own words").words(&vm.firecracker.extra_args);
    let config = config(vm, notify, options.compat);
    // The description's own configuration may name another.
    let mux = config.pointer("/vsock/uds_path").and_then(Value::as_str).map(str::to_owned);
    let mux = mux.filter(|_| vm.vsock.cid.is_some());
    let mut files = vec![(CONFIG.to_owned(), file(&config))];
    let mut steps = Vec::new();
    if let Some(socket) = &vm.socket {
        steps.push(Step::Move(socket.clone(), format!("{socket}.old")));
    }
    if let Some(mux) = &mux {
        steps.push(Step::Remove(mux.clone()));
        steps.push(Step::Remove(format!("{mux}_*")));
    }
    if let Some(template) = &vm.firecracker.cpu {
        files.push((CPU_CONFIG.to_owned(), file(template)));
        steps.push(Step::Link(CPU_LINK.to_owned(), CPU_CONFIG));
    }
    let relay = |mux| relay("--unix", format!("{mux}_{NOTIFY_PORT}"));
    let with = mux.iter().filter(|_| notify).map(relay).collect();
    let has_keyboard = vm.guest_system.arch() == Arch::X86;
    Plan {
        program: vm.firecracker.binary.clone(),
        words: b.finish(),
        steps,
        launch: Launch { argv0: argv0(vm), with, ..Launch::default() },
        files,
        shutdown: (has_keyboard && vm.socket.is_some()).then_some(Shutdown::Own),
        mux,
        notify,
        tap_multi_queue: tap_multi_queue(vm),
        ..Plan::default()
    }
}

/// JSON with sorted keys, two blanks a step, and a line's end.
fn file(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

fn config(vm: &Vm, notify: bool, compat: bool) -> Value {
    let credential =
        format!("systemd.set_credential=vmm.notify_socket:vsock-stream:2:{NOTIFY_PORT}");
    let extra: &[&str] = if notify { &[credential.as_str()] } else { &[] };
    let line = command_line(vm, &[&PREFIX.join(" ")], extra, compat);
    let (_, kernel) = uncompressed_kernel(vm);
    let mut boot = json!({ "kernel_image_path": kernel, "boot_args": line });
    if let Some(initrd) = &vm.initrd_path {
        set(&mut boot, "initrd_path", json!(initrd));
    }
    let interfaces: Vec<Value> = vm.interfaces.iter().map(|it| interface(vm, it)).collect();
    let mut config = json!({
        "boot-source": boot,
        "machine-config": {
            "vcpu_count": vm.vcpu,
            "mem_size_mib": vm.mem,
            "smt": vm.guest_system.arch() == Arch::X86,
        },
        "drives": drives(vm, compat),
        "network-interfaces": interfaces,
    });
    if let Some(cid) = vm.vsock.cid {
        set(&mut config, "vsock", json!({ "guest_cid": cid, "uds_path": MUX_SOCKET }));
    }
    if vm.firecracker.cpu.is_some() {
        set(&mut config, "cpu-config", json!(CPU_LINK));
    }
    merge(&mut config, Value::Object(vm.firecracker.extra_config.clone()));
    config
}

fn interface(vm: &Vm, interface: &Interface) -> Value {
    let Interface { id, mac, .. } = interface;
    let mut value = json!({ "iface_id": id, "host_dev_name": id, "guest_mac": mac });
    if let Some(mtu) = interface.mtu.filter(|_| firecracker_tells_mtu(vm)) {
        set(&mut value, "mtu", json!(mtu));
    }
    value
}

/// Does this version tell the guest how large packets may be?
#[must_use]
pub fn firecracker_tells_mtu(vm: &Vm) -> bool {
    at_least(&vm.firecracker.version, &[1, 16])
}

fn drives(vm: &Vm, compat: bool) -> Vec<Value> {
    let engine = &vm.firecracker.drive_io_engine;
    let drive = |id: &str, path: &str, read_only: bool| {
        json!({
            "drive_id": id,
            "path_on_host": path,
            "is_root_device": false,
            "is_read_only": read_only,
            "io_engine": engine,
        })
    };
    let image = vm.root_image().or_else(|| vm.store_disk.as_deref().filter(|_| compat));
    let mut drives: Vec<Value> = image.map(|path| drive("store", path, true)).into_iter().collect();
    for (at, volume) in vm.volumes.iter().enumerate() {
        let letter = format!("vd{}", drive_letter(vm, at));
        let id = if compat { &volume.image } else { &letter };
        drives.push(drive(id, &volume.image, volume.read_only));
    }
    drives
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(members) = object {
        members.insert(key.to_owned(), value);
    }
}

/// Lays `over` over `under`: objects merge, all else is replaced.
fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => members(under, over),
        (under, over) => *under = over,
    }
}

fn members(under: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match under.get_mut(&key) {
            Some(before) => merge(before, value),
            None => {
                under.insert(key, value);
            }
        }
    }
}
