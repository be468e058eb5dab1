// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine, typed and total: every value that can be known without the host is set.
//!
//! Owns the types, and the defaults that depend on other values. Whether values make sense together
//! is judged by `validate`, whether a hypervisor can do it by `plan`. The names in its JSON are
//! those of the description, so that two machines are compared key by key.
#![expect(missing_docs, reason = "the fields are the keys; the schema says what each means")]

mod defaults;
mod identity;
mod parts;
mod system;
mod vmm;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use defaults::{Context, fill, made_image};
pub use identity::{automatic_mac, machine_id};
pub use parts::{
    Device, End, Forward, From, Graphics, Interface, InterfaceType, Proto, Share, Volume,
};
pub use system::{Arch, Hypervisor, System};
pub use vmm::{
    Alioth, CloudHypervisor, Crosvm, Firecracker, Kvmtool, Qemu, RootPort, Rosetta, Stratovirt,
    Vfkit, Virtiofsd,
};

/// A virtual machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the description")]
pub struct Vm {
    pub host_name: String,
    pub description: Option<String>,
    pub enable: bool,
    pub autostart: bool,
    pub restart_if_changed: Option<bool>,
    pub hypervisor: Hypervisor,
    pub host_system: System,
    pub guest_system: System,
    pub optimize: Optimize,
    pub cpu: Option<String>,
    pub vcpu: u32,
    pub mem: u64,
    pub hugepage_mem: bool,
    pub hotplug_mem: u64,
    pub hotplugged_mem: u64,
    pub balloon: bool,
    pub initial_balloon_mem: u64,
    #[serde(rename = "deflateOnOOM")]
    pub deflate_on_oom: bool,
    pub pre_start: String,
    pub extra_args_script: Option<String>,
    pub shell: String,
    pub socket: Option<String>,
    pub user: Option<String>,
    pub kernel: String,
    pub vmlinux: Option<String>,
    pub initrd_path: Option<String>,
    pub kernel_params: Vec<String>,
    pub kernel_btf: bool,
    pub forward_ports: Vec<Forward>,
    pub volumes: Vec<Volume>,
    pub interfaces: Vec<Interface>,
    pub shares: Vec<Share>,
    pub devices: Vec<Device>,
    pub vsock: Vsock,
    pub register_with_machined: bool,
    pub machine_id: Option<String>,
    /// Was `machineId` set, and not made of the name?
    pub machine_id_given: bool,
    pub store_on_disk: bool,
    pub store_disk: Option<String>,
    pub store_disk_source: Option<String>,
    pub store_disk_type: String,
    pub store_disk_is_root: bool,
    pub store_disk_erofs_flags: Vec<String>,
    pub store_disk_squashfs_flags: Vec<String>,
    pub graphics: Graphics,
    pub pretty_procnames: bool,
    pub bin_scripts: BTreeMap<String, String>,
    pub system_symlink: bool,
    pub system_path: Option<String>,
    pub credential_files: BTreeMap<String, String>,
    pub notify: bool,
    pub console: Console,
    pub wrap_command: Vec<String>,
    pub shutdown_timeout: u32,
    pub resources: Resources,
    pub qemu: Qemu,
    #[serde(rename = "cloud-hypervisor")]
    pub cloud_hypervisor: CloudHypervisor,
    pub firecracker: Firecracker,
    pub crosvm: Crosvm,
    pub kvmtool: Kvmtool,
    pub stratovirt: Stratovirt,
    pub alioth: Alioth,
    pub vfkit: Vfkit,
    pub virtiofsd: Virtiofsd,
}

/// `optimize`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Optimize {
    /// Put `8250.nr_uarts=1` first among the kernel parameters.
    pub enable: bool,
}

/// `vsock`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vsock {
    /// The guest's address.
    pub cid: Option<u32>,
    /// ssh over it.
    pub ssh: Ssh,
}

/// `vsock.ssh`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ssh {
    /// Does the guest answer?
    pub enable: bool,
}

/// `resources`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    pub cpu_weight: Option<u32>,
    pub memory_max: Option<String>,
    #[serde(rename = "allowedCPUs")]
    pub allowed_cpus: Option<String>,
}

/// `console`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Console {
    /// On standard input and output.
    #[default]
    Stdio,
    /// On a socket.
    Socket,
    /// Nowhere.
    None,
}

impl Vm {
    /// The interfaces of one type, with their places in the list.
    pub fn interfaces_of(&self, kind: InterfaceType) -> impl Iterator<Item = (usize, &Interface)> {
        self.interfaces.iter().enumerate().filter(move |(_, it)| it.kind == kind)
    }

    /// The shares of one protocol, with their places in the list.
    pub fn shares_of(&self, proto: Proto) -> impl Iterator<Item = (usize, &Share)> {
        self.shares.iter().enumerate().filter(move |(_, share)| share.proto == proto)
    }

    /// The image that is attached as the first disk, if there is one.
    #[must_use]
    pub fn root_image(&self) -> Option<&str> {
        self.store_disk.as_deref().filter(|_| self.store_on_disk)
    }

    /// The binary of the hypervisor.
    #[must_use]
    pub fn program(&self) -> &str {
        match self.hypervisor {
            Hypervisor::Qemu => &self.qemu.binary,
            Hypervisor::CloudHypervisor => &self.cloud_hypervisor.binary,
            Hypervisor::Firecracker => &self.firecracker.binary,
            Hypervisor::Crosvm => &self.crosvm.binary,
            Hypervisor::Kvmtool => &self.kvmtool.binary,
            Hypervisor::Stratovirt => &self.stratovirt.binary,
            Hypervisor::Alioth => &self.alioth.binary,
            Hypervisor::Vfkit => &self.vfkit.binary,
        }
    }

    /// The machine as JSON, by the names of the description; absent values are left out.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        strip(&mut value);
        value
    }
}

/// Removes what is null.
fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
