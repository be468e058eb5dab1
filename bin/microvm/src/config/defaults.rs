// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What holds when a key is absent.
//!
//! Works on the JSON of a checked tree. Constants first, then what depends on other values.

use serde_json::{Map, Value, json};

use super::Vm;
use super::identity::{automatic_mac, machine_id};
use super::system::{Arch, Hypervisor, System};

/// What a description does not say itself.
#[derive(Clone, Debug)]
pub struct Context {
    /// The name when there is no `hostName`: the stem of the file, or the key in the fleet.
    pub name: String,
    /// The system when there is no `hostSystem`.
    pub system: System,
    /// Is `restartIfChanged` true when absent?
    pub declarative: bool,
    /// The directory of the description.
    pub directory: String,
}

type Object = Map<String, Value>;

/// Completes the JSON of a checked description, and makes the machine of it.
///
/// # Errors
/// The text says which value does not fit its type; the check lets none such through.
pub fn fill(mut description: Object, context: &Context) -> Result<Vm, String> {
    let machine_id_given = matches!(description.get("machineId"), Some(Value::String(_)));
    constants(&mut description);
    elements(&mut description);
    dependent(&mut description, context);
    description.insert("machineIdGiven".to_owned(), Value::Bool(machine_id_given));
    // The words that say "none" in the description are no value here.
    for key in ["socket", "machineId"] {
        if description.get(key) == Some(&Value::Bool(false)) {
            description.insert(key.to_owned(), Value::Null);
        }
    }
    let mut vm: Vm =
        serde_json::from_value(Value::Object(description)).map_err(|error| error.to_string())?;
    for at in 0..vm.interfaces.len() {
        if let Some(interface) = vm.interfaces.get_mut(at) {
            if interface.mac == "auto" {
                interface.mac = automatic_mac(&vm.host_name, &interface.id);
            }
            interface.mac.make_ascii_lowercase();
        }
    }
    Ok(vm)
}

/// Sets what is absent to what `defaults` has.
fn under(object: &mut Object, defaults: Value) {
    let Value::Object(defaults) = defaults else { return };
    for (key, default) in defaults {
        match (object.get_mut(&key), default) {
            (Some(Value::Object(inner)), default @ Value::Object(_)) => under(inner, default),
            (Some(_), _) => {}
            (None, default) => {
                object.insert(key, default);
            }
        }
    }
}

fn constants(description: &mut Object) {
    under(
        description,
        json!({
            "enable": true,
            "autostart": true,
            "hypervisor": "qemu",
            "optimize": { "enable": true },
            "vcpu": 1,
            "mem": 512,
            "deflateOnOOM": true,
            "shell": "/bin/sh",
            "storeDiskType": "erofs",
            "storeDiskIsRoot": true,
            "storeDiskErofsFlags": ["-zlz4hc"],
            "storeDiskSquashfsFlags": ["-comp", "zstd"],
            "prettyProcnames": true,
            "console": "stdio",
            "shutdownTimeout": 90,
            "graphics": { "hostmem": "256M", "crosvmBinary": "crosvm" },
            "qemu": {
                "serialConsole": true,
                "version": "10.0",
                "bridgeHelper": "/usr/lib/qemu/qemu-bridge-helper",
                "shutdown": "ctrl-alt-del",
                "sandbox": true,
            },
            "cloud-hypervisor": { "binary": "cloud-hypervisor", "version": "53.0" },
            "firecracker": {
                "binary": "firecracker", "version": "1.16.1", "driveIoEngine": "Async",
            },
            "crosvm": { "binary": "crosvm" },
            "kvmtool": { "binary": "lkvm" },
            "stratovirt": { "binary": "stratovirt" },
            "alioth": { "binary": "alioth", "version": "0.12.0" },
            "vfkit": { "binary": "vfkit", "logLevel": "info" },
            "virtiofsd": {
                "binary": "virtiofsd", "inodeFileHandles": "prefer", "threadPoolSize": "nproc",
                "group": "kvm",
            },
        }),
    );
}

/// Defaults of the elements of lists.
fn elements(description: &mut Object) {
    let mut each = |list: &str, defaults: Value| {
        let items = description.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for item in items.filter_map(Value::as_object_mut) {
            under(item, defaults.clone());
        }
    };
    each("volumes", json!({ "autoCreate": true, "fsType": "ext4", "imageType": "raw" }));
    each("forwardPorts", json!({ "proto": "tcp" }));
    each("shares", json!({ "securityModel": "none", "cache": "auto", "posixAcl": true }));
}

fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

/// What depends on other values.
fn dependent(description: &mut Object, context: &Context) {
    under(description, json!({ "hostName": context.name, "hostSystem": context.system }));
    let name = text(description, "hostName").unwrap_or_default().to_owned();
    let host = description.get("hostSystem").and_then(system).unwrap_or_default();
    let linux = match host.arch() {
        Arch::X86 => System::X86Linux,
        Arch::Arm => System::ArmLinux,
    };
    under(description, json!({ "guestSystem": linux }));
    let guest = description.get("guestSystem").and_then(system).unwrap_or_default();
    let hypervisor = text(description, "hypervisor").and_then(Hypervisor::by_name);
    let has_cid = description.get("vsock").is_some_and(|vsock| vsock.get("cid").is_some());
    let has_image =
        description.contains_key("storeDisk") || description.contains_key("storeDiskSource");
    if description.contains_key("storeDiskSource") {
        let kind = text(description, "storeDiskType").unwrap_or_default();
        let image = made_image(&context.directory, &name, kind);
        under(description, json!({ "storeDisk": image }));
    }
    let (arm, darwin) = (guest.arch() == Arch::Arm, host.is_darwin());
    let hotplug = description.get("hotplugMem").cloned().unwrap_or_else(|| json!(0));
    under(
        description,
        json!({
            "hotpluggedMem": hotplug,
            "machineId": machine_id(&name),
            "storeOnDisk": has_image,
            "restartIfChanged": context.declarative,
            "notify": hypervisor == Some(Hypervisor::CloudHypervisor) && has_cid,
            "graphics": {
                "backend": if darwin { "cocoa" } else { "gtk" },
                "socket": format!("{name}-gpu.sock"),
            },
            "qemu": {
                "machine": if arm { "virt" } else { "microvm" },
                "binary": format!("qemu-system-{}", guest.arch().name()),
                "accel": if darwin { "hvf:tcg" } else { "kvm:tcg" },
                "aio": if darwin { "threads" } else { "io_uring" },
            },
        }),
    );
    if !matches!(hypervisor, Some(Hypervisor::Kvmtool | Hypervisor::Alioth)) {
        under(description, json!({ "socket": format!("{name}.sock") }));
    }
    off_means_null(description);
    let shares = description.get_mut("shares").and_then(Value::as_array_mut);
    for share in shares.into_iter().flatten().filter_map(Value::as_object_mut) {
        if text(share, "proto") == Some("virtiofs") {
            let tag = text(share, "tag").unwrap_or_default();
            let socket = format!("{name}-virtiofs-{tag}.sock");
            under(share, json!({ "socket": socket }));
        }
    }
    if let Some(Value::Object(virtiofsd)) = description.get_mut("virtiofsd") {
        if text(virtiofsd, "threadPoolSize") == Some("`nproc`") {
            virtiofsd.insert("threadPoolSize".to_owned(), json!("nproc"));
        }
    }
}

/// Where `microvm image build` puts the image of a machine, as a link to the newest one. It follows
/// from the description alone, so that packages do not depend on what is on the host.
#[must_use]
pub fn made_image(directory: &str, name: &str, kind: &str) -> String {
    format!("{}/{name}.{kind}", directory.trim_end_matches('/'))
}

/// `false` in a table of texts stands for an absent value.
fn off_means_null(description: &mut Object) {
    let options = description.get_mut("qemu").and_then(|qemu| qemu.get_mut("machineOpts"));
    let Some(Value::Object(options)) = options else { return };
    for value in options.values_mut().filter(|value| value.is_boolean()) {
        *value = Value::Null;
    }
}

fn system(value: &Value) -> Option<System> {
    serde_json::from_value(value.clone()).ok()
}
