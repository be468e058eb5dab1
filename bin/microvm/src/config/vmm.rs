// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What belongs to one program.
#![expect(missing_docs, reason = "the fields are the keys; the schema says what each means")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `qemu`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Qemu {
    pub machine: String,
    /// Replaces the options of the machine; an option without value stands alone.
    pub machine_opts: Option<BTreeMap<String, Option<String>>>,
    pub extra_args: Vec<String>,
    pub serial_console: bool,
    pub pcie_root_ports: Vec<RootPort>,
    pub binary: String,
    pub version: String,
    pub accel: String,
    pub bridge_helper: String,
    pub shutdown: String,
    pub sandbox: bool,
    pub aio: String,
}

/// An element of `qemu.pcieRootPorts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootPort {
    pub id: String,
    pub bus: Option<String>,
    pub chassis: Option<u64>,
    pub slot: Option<u64>,
    pub addr: Option<String>,
}

/// `cloud-hypervisor`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CloudHypervisor {
    #[serde(rename = "platformOEMStrings")]
    pub platform_oem_strings: Vec<String>,
    pub extra_args: Vec<String>,
    pub binary: String,
    pub version: String,
}

/// `firecracker`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Firecracker {
    pub cpu: Option<Value>,
    pub drive_io_engine: String,
    pub extra_args: Vec<String>,
    pub extra_config: Map<String, Value>,
    pub binary: String,
    pub version: String,
}

/// `crosvm`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Crosvm {
    pub extra_args: Vec<String>,
    pub pivot_root: Option<String>,
    pub binary: String,
}

/// `kvmtool`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kvmtool {
    pub extra_args: Vec<String>,
    pub binary: String,
}

/// `stratovirt`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stratovirt {
    pub extra_args: Vec<String>,
    pub binary: String,
}

/// `alioth`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Alioth {
    pub extra_args: Vec<String>,
    pub binary: String,
    pub version: String,
}

/// `vfkit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Vfkit {
    pub extra_args: Vec<String>,
    pub log_level: String,
    pub binary: String,
    pub rosetta: Rosetta,
}

/// `vfkit.rosetta`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rosetta {
    pub enable: bool,
    pub install: bool,
    pub ignore_if_missing: bool,
}

/// `virtiofsd`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Virtiofsd {
    /// `off` leaves the option out.
    pub inode_file_handles: String,
    /// Threads; `nproc` is resolved where the daemon starts.
    pub thread_pool_size: Value,
    pub group: String,
    pub extra_args: Vec<String>,
    pub binary: String,
}
