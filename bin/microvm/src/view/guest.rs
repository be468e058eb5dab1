// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the guest must know of its machine: where volumes and shares are mounted, and which kernel
//! modules drive its devices.

use crate::config::{Arch, Hypervisor, Proto, Vm};
use crate::plan::drive_letter;

/// Lines for the guest's `/etc/fstab`: volumes and shares that have a `mountPoint`.
#[must_use]
pub fn fstab(vm: &Vm) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, volume) in vm.volumes.iter().enumerate() {
        let Some(mount_point) = &volume.mount_point else { continue };
        let device = match &volume.label {
            Some(label) => format!("/dev/disk/by-label/{}", by_label(label)),
            None => format!("/dev/vd{}", drive_letter(vm, at)),
        };
        let options = if volume.read_only { "ro" } else { "defaults" };
        lines.push(line(&device, mount_point, &volume.fs_type, options));
    }
    for share in &vm.shares {
        let Some(mount_point) = &share.mount_point else { continue };
        let (kind, mut options) = match share.proto {
            Proto::NineP => ("9p", "trans=virtio,version=9p2000.L,msize=65536".to_owned()),
            Proto::Virtiofs => ("virtiofs", "defaults".to_owned()),
        };
        if share.read_only {
            options.push_str(",ro");
        }
        lines.push(line(&share.tag, mount_point, kind, &options));
    }
    lines
}

fn line(source: &str, target: &str, kind: &str, options: &str) -> String {
    format!("{} {} {kind} {options} 0 0", field(source), field(target))
}

/// A field of fstab(5): blanks and backslashes as octal numbers.
fn field(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' ' | '\t' | '\n' | '\\' | '#' => out.push_str(&format!("\\{:03o}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out
}

/// A label as udev writes it into the name of a link: what is no plain character as `\xHH`.
fn by_label(label: &str) -> String {
    let mut out = String::with_capacity(label.len());
    for c in label.chars() {
        let plain = c.is_ascii_alphanumeric() || !c.is_ascii() || "#+-.:=@_".contains(c);
        if plain {
            out.push(c);
        } else {
            out.push_str(&format!("\\x{:02x}", u32::from(c)));
        }
    }
    out
}

/// The kernel modules that the guest needs for the devices it is given, in the order in which they
/// are loaded best.
#[must_use]
pub fn modules(vm: &Vm) -> Vec<&'static str> {
    let mut modules = vec!["virtio_mmio", "virtio_pci"];
    if vm.root_image().is_some() || !vm.volumes.is_empty() {
        modules.push("virtio_blk");
    }
    if !vm.interfaces.is_empty() {
        modules.push("virtio_net");
    }
    modules.extend(["virtio_console", "virtio_rng"]);
    if vm.balloon {
        modules.push("virtio_balloon");
    }
    if vm.hotplug_mem > 0 {
        modules.push("virtio_mem");
    }
    if vm.shares_of(Proto::NineP).next().is_some() {
        modules.extend(["9pnet_virtio", "9p"]);
    }
    if vm.shares_of(Proto::Virtiofs).next().is_some() {
        modules.push("virtiofs");
    }
    if vm.vsock.cid.is_some() {
        modules.push("vmw_vsock_virtio_transport");
    }
    if vm.root_image().is_some() {
        modules.push(if vm.store_disk_type == "squashfs" { "squashfs" } else { "erofs" });
        modules.push("overlay");
    }
    // The keys that ask the guest to stop come through a keyboard.
    let keys = match vm.hypervisor {
        Hypervisor::Firecracker => true,
        Hypervisor::Qemu => vm.qemu.shutdown != "powerdown",
        _ => false,
    };
    if keys && vm.guest_system.arch() == Arch::X86 {
        modules.extend(["i8042", "atkbd"]);
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Share, Volume};

    fn vm() -> Vm {
        let volume = |image: &str, label: Option<&str>| Volume {
            image: image.to_owned(),
            label: label.map(str::to_owned),
            mount_point: Some(format!("/mnt/{image}")),
            fs_type: "ext4".to_owned(),
            ..Volume::default()
        };
        let share = |proto, tag: &str| Share {
            proto,
            tag: tag.to_owned(),
            mount_point: Some("/srv/a b".to_owned()),
            read_only: true,
            ..Share::default()
        };
        Vm {
            store_on_disk: true,
            store_disk: Some("/root.erofs".to_owned()),
            volumes: vec![volume("a", None), volume("b", Some("my disk")), Volume::default()],
            shares: vec![share(Proto::NineP, "home"), share(Proto::Virtiofs, "x")],
            ..Vm::default()
        }
    }

    #[test]
    fn volumes_and_shares_have_their_lines() {
        assert_eq!(
            fstab(&vm()),
            [
                "/dev/vdb /mnt/a ext4 defaults 0 0",
                "/dev/disk/by-label/my\\134x20disk /mnt/b ext4 defaults 0 0",
                "home /srv/a\\040b 9p trans=virtio,version=9p2000.L,msize=65536,ro 0 0",
                "x /srv/a\\040b virtiofs defaults,ro 0 0",
            ]
        );
    }

    #[test]
    fn modules_follow_the_devices() {
        let all = modules(&vm());
        for module in ["virtio_blk", "9p", "virtiofs", "erofs", "overlay", "i8042"] {
            assert!(all.contains(&module), "{module} in {all:?}");
        }
        assert!(!all.contains(&"virtio_net") && !all.contains(&"virtio_balloon"), "{all:?}");
        let bare = Vm { hypervisor: Hypervisor::Kvmtool, ..Vm::default() };
        assert_eq!(modules(&bare), ["virtio_mmio", "virtio_pci", "virtio_console", "virtio_rng"]);
    }
}
