// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The scenarios: what each needs in its guest, and what it does there.
//!
//! A scenario is a function that runs in the guest; the table [`ALL`] is read on both sides. One
//! file holds one scenario or a few that tell one story.

pub mod bare;
pub mod bench;
pub mod bpf;
pub mod buses;
pub mod central;
pub mod clients;
pub mod connects;
pub mod demo;
pub mod fake;
pub mod follow;
pub mod hostile;
pub mod kernel;
pub mod machines;
pub mod many;
pub mod mixed;
pub mod names;
pub mod nested;
pub mod scopes;
pub mod storms;
mod world;

use std::fmt;

use crate::inside::Outcome;

/// A kernel of the guest, by its version as a person names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// Debian 12's own.
    V6_1,
    /// The same with the drivers of real machines, and 9p.
    Generic,
    /// The newer one that Debian 12 offers.
    V6_12,
    /// The newest that Debian's unstable suite carries, whatever its number is today.
    Sid,
}

impl Kernel {
    /// Those of a release: what storage is proven on.
    pub const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];
    /// These, and the one that moves.
    pub const KNOWN: [Self; 3] = [Self::V6_1, Self::V6_12, Self::Sid];
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V6_1 => "6.1",
            Self::Generic => "6.1-generic",
            Self::V6_12 => "6.12",
            Self::Sid => "sid",
        })
    }
}

/// What the guest of a scenario holds beside the kernel, its target and this program.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Memory in MiB.
    pub memory_mib: u32,
    /// The programs under test.
    pub stas: bool,
    /// The BPF objects: ready-made programs in their place, all fixtures below `/bpf`.
    pub objects: bool,
    /// tinybpf.
    pub bpf: bool,
    /// microvm.
    pub microvm: bool,
    /// systemd, to be started as a service manager.
    pub manager: bool,
    /// A system bus below that, and systemd-machined.
    pub machined: bool,
    /// QEMU, and a guest for a machine inside the machine.
    pub nested: bool,
    /// dbus-daemon.
    pub bus: bool,
    /// avahi-daemon.
    pub avahi: bool,
    /// udevd and its basic rules.
    pub udev: bool,
    /// The foreign command `ip`.
    pub ip: bool,
    /// The foreign command `nvme`.
    pub nvme_cli: bool,
    /// The foreign commands that make and check XFS, btrfs and vfat.
    pub file_systems: bool,
    /// An IOMMU, and PCI devices that nobody needs.
    pub iommu: bool,
    /// The disk with the reference implementation.
    pub reference: bool,
    /// A clock that goes by the guest's instructions, whatever else the host does.
    pub steady: bool,
    /// Further kernel modules, each `NAME [PARAMETERS]`.
    pub modules: &'static [&'static str],
}

impl Needs {
    /// Nothing but the kernel.
    pub const BARE: Self = Self {
        memory_mib: 512,
        stas: false,
        objects: false,
        bpf: false,
        microvm: false,
        manager: false,
        machined: false,
        nested: false,
        bus: false,
        avahi: false,
        udev: false,
        ip: false,
        nvme_cli: false,
        file_systems: false,
        iommu: false,
        reference: false,
        steady: false,
        modules: &[],
    };
}

/// What a scenario is told about its guest.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// The running kernel.
    pub kernel: Kernel,
}

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line for the list.
    pub about: &'static str,
    /// What goes into the image.
    pub needs: Needs,
    /// Where it runs.
    pub kernels: &'static [Kernel],
    /// Seconds after which it has failed.
    pub seconds: u64,
    /// What it does.
    pub run: fn(&Guest) -> Outcome,
}

/// Every scenario that judges; [`bench::ALL`] only measures.
pub const ALL: &[Scenario] = &[
    demo::DEMO,
    connects::CONNECTS,
    fake::FAKE_DC,
    bare::BARE_START,
    bare::NO_STATE,
    bpf::boot::BOOT,
    bpf::boot::FAILURES,
    bpf::command::COMMAND,
    bpf::kinds::KINDS,
    bpf::programs::PROGRAMS,
    buses::BUS_LOST,
    buses::BUS_SIGNALS,
    clients::CLIENTS,
    clients::CLIENTS_NO_BUS,
    clients::COST,
    follow::ONE_DC,
    follow::ONE_DC_NO_BUS,
    follow::RELOAD_BURST,
    follow::TARGET_CHANGES,
    follow::WITHDRAWN,
    follow::TAKEN_AWAY,
    hostile::HOSTILE_LOG,
    hostile::STALLING_DC,
    hostile::MUTE_DC,
    names::NAMES,
    scopes::SCOPE_OWN,
    scopes::SCOPE_ALL,
    scopes::SCOPE_NONE,
    scopes::AUDIT_WAITS,
    central::NOT_CONNECTED,
    central::REPORTED_TWICE,
    storms::EVENT_STORM,
    storms::DEAD_TARGETS,
    storms::ADDRESS_COMES,
    machines::MACHINES,
    kernel::KERNEL,
    nested::NESTED,
    many::MANY,
    mixed::REFERENCE,
    mixed::MIXED_FINDER,
    mixed::MIXED_CONNECTOR,
    mixed::UPGRADE,
];

/// The scenario or the measurement of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().chain(bench::ALL).find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit_a_command_line() {
        for (n, scenario) in ALL.iter().enumerate() {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(scenario.name.chars().all(fits), "{}", scenario.name);
            assert!(ALL[..n].iter().all(|s| s.name != scenario.name), "{}", scenario.name);
            assert!(!scenario.kernels.is_empty(), "{} runs nowhere", scenario.name);
        }
    }
}
