// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Keys that upstream has, and that mean nothing without Nix.

/// A key that is refused with its reason.
#[derive(Clone, Copy, Debug)]
pub struct Gone {
    /// The path, such as `qemu.package`.
    pub path: &'static str,
    /// What to do instead.
    pub hint: &'static str,
}

const fn gone(path: &'static str, hint: &'static str) -> Gone {
    Gone { path, hint }
}

/// All of them.
pub const GONE: &[Gone] = &[
    gone("registerClosure", "there is no Nix database in the guest to register paths in"),
    gone(
        "writableStoreOverlay",
        "the guest's own matter: kernelParams = [\"systemd.volatile=overlay\"], or an initramfs \
         that mounts an overlay",
    ),
    gone("bootDisk", "every hypervisor here boots the kernel directly; set kernel and initrdPath"),
    gone("vmHostPackages", "set hostSystem, and the binary key of the hypervisor"),
    gone("runner", "use `microvm build --hypervisor NAME`"),
    gone("declaredRunner", "use `microvm build`"),
    gone("balloonMem", "use balloon = true"),
    gone("deploy", "use `microvm deploy`"),
    gone("guest", "set enable = false in a fleet to leave a machine out"),
    gone("host", "options of the host stand in /etc/microvm/host.toml"),
    gone("vms", "each machine of the host has a file in /etc/microvm/vms.d"),
    gone("evaluatedConfig", "a fleet's entry holds the keys of the machine themselves"),
    gone("config", "a fleet's entry holds the keys of the machine themselves"),
    gone("nixpkgs", "there are no packages to choose; keys for several machines stand in extends"),
    gone("pkgs", "there are no packages to choose; keys for several machines stand in extends"),
    gone("specialArgs", "keys for several machines stand in extends"),
    gone("extraModules", "keys for several machines stand in extends"),
    gone("flake", "a file of /etc/microvm/vms.d names another description by source"),
    gone("updateFlake", "a file of /etc/microvm/vms.d names another description by updateSource"),
    gone("stateDir", "options of the host stand in /etc/microvm/host.toml"),
    gone("qemu.package", "use qemu.binary and qemu.version"),
    gone("cloud-hypervisor.package", "use cloud-hypervisor.binary and cloud-hypervisor.version"),
    gone("crosvm.package", "use crosvm.binary"),
    gone("firecracker.package", "use firecracker.binary and firecracker.version"),
    gone("kvmtool.package", "use kvmtool.binary"),
    gone("stratovirt.package", "use stratovirt.binary"),
    gone("alioth.package", "use alioth.binary and alioth.version"),
    gone("vfkit.package", "use vfkit.binary"),
    gone("virtiofsd.package", "use virtiofsd.binary"),
    gone("graphics.crosvmPackage", "use graphics.crosvmBinary"),
];
