// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What runs, and on what.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::schema::{self, Who};

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    X86,
    /// 64-bit Arm.
    Arm,
}

impl Arch {
    /// As QEMU and the kernel call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }
}

/// A processor and an operating system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum System {
    /// Linux on x86.
    #[default]
    #[serde(rename = "x86_64-linux")]
    X86Linux,
    /// Linux on Arm.
    #[serde(rename = "aarch64-linux")]
    ArmLinux,
    /// macOS on Apple silicon.
    #[serde(rename = "aarch64-darwin")]
    ArmDarwin,
}

impl System {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86Linux => "x86_64-linux",
            Self::ArmLinux => "aarch64-linux",
            Self::ArmDarwin => "aarch64-darwin",
        }
    }

    /// Its processor.
    #[must_use]
    pub const fn arch(self) -> Arch {
        match self {
            Self::X86Linux => Arch::X86,
            Self::ArmLinux | Self::ArmDarwin => Arch::Arm,
        }
    }

    /// Is it macOS?
    #[must_use]
    pub const fn is_darwin(self) -> bool {
        matches!(self, Self::ArmDarwin)
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The program that runs the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hypervisor {
    /// `qemu`.
    #[default]
    Qemu,
    /// `cloud-hypervisor`.
    CloudHypervisor,
    /// `firecracker`.
    Firecracker,
    /// `crosvm`.
    Crosvm,
    /// `kvmtool`.
    Kvmtool,
    /// `stratovirt`.
    Stratovirt,
    /// `alioth`.
    Alioth,
    /// `vfkit`.
    Vfkit,
}

impl Hypervisor {
    /// All of them, in the order of the manual.
    pub const ALL: [Self; 8] = [
        Self::Qemu,
        Self::CloudHypervisor,
        Self::Firecracker,
        Self::Crosvm,
        Self::Kvmtool,
        Self::Stratovirt,
        Self::Alioth,
        Self::Vfkit,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::Firecracker => "firecracker",
            Self::Crosvm => "crosvm",
            Self::Kvmtool => "kvmtool",
            Self::Stratovirt => "stratovirt",
            Self::Alioth => "alioth",
            Self::Vfkit => "vfkit",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Its bit in the schema.
    #[must_use]
    pub fn who(self) -> Who {
        schema::HYPERVISORS.iter().find(|(name, _)| *name == self.name()).map_or(0, |(_, who)| *who)
    }
}

impl fmt::Display for Hypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
