// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Disks, networks, shares, devices, displays.
#![expect(missing_docs, reason = "the fields are the keys; the schema says what each means")]

use serde::{Deserialize, Serialize};

/// An element of `forwardPorts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Forward {
    /// Who opens the connection.
    pub from: From,
    /// `tcp` or `udp`.
    pub proto: String,
    /// The end on the host.
    pub host: End,
    /// The end in the guest.
    pub guest: End,
}

/// Who opens a forwarded connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// Somebody on the host.
    #[default]
    Host,
    /// The guest.
    Guest,
}

/// One end of a forward.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct End {
    /// An IPv4 address; empty for any.
    pub address: String,
    /// The port.
    pub port: u32,
}

/// An element of `volumes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the description")]
pub struct Volume {
    pub image: String,
    pub serial: Option<String>,
    pub direct: bool,
    pub read_only: bool,
    pub label: Option<String>,
    pub mount_point: Option<String>,
    pub size: Option<u64>,
    pub auto_create: bool,
    pub mkfs_extra_args: Vec<String>,
    pub fs_type: String,
    pub image_type: String,
    pub device: bool,
}

/// How an interface reaches the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceType {
    #[default]
    User,
    Tap,
    Macvtap,
    Bridge,
}

impl InterfaceType {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Tap => "tap",
            Self::Macvtap => "macvtap",
            Self::Bridge => "bridge",
        }
    }
}

/// An element of `interfaces`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    #[serde(rename = "type")]
    pub kind: InterfaceType,
    pub id: String,
    pub mac: String,
    pub bridge: Option<String>,
    pub macvtap: Macvtap,
    pub tap: Tap,
    pub altname: Vec<String>,
    pub mtu: Option<u32>,
}

/// `interfaces.macvtap`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Macvtap {
    pub link: Option<String>,
    pub mode: Option<String>,
}

/// `interfaces.tap`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tap {
    pub vhost: bool,
    pub bridge: Option<String>,
}

/// The protocol of a share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proto {
    /// 9p, served by the hypervisor.
    #[default]
    #[serde(rename = "9p")]
    NineP,
    /// virtio-fs, served by virtiofsd.
    #[serde(rename = "virtiofs")]
    Virtiofs,
}

/// An element of `shares`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Share {
    pub tag: String,
    pub source: String,
    pub proto: Proto,
    pub socket: Option<String>,
    pub security_model: String,
    pub mount_point: Option<String>,
    pub read_only: bool,
    pub cache: String,
    pub posix_acl: bool,
    pub extra_args: Vec<String>,
}

/// An element of `devices`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Device {
    pub bus: String,
    pub path: String,
    pub allow_group: bool,
    pub qemu: DeviceQemu,
}

/// `devices.qemu`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceQemu {
    pub id: Option<String>,
    pub bus: Option<String>,
    pub device_extra_args: Option<String>,
}

/// `graphics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Graphics {
    pub enable: bool,
    pub backend: String,
    pub socket: String,
    pub vulkan: Option<String>,
    pub hostmem: String,
    pub crosvm_binary: String,
}
