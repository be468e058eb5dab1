// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Volumes.

use super::{Findings, Options, all, duplicates};
use crate::config::{Hypervisor, Vm, Volume};
use crate::diag::Diagnostic;

/// The most bytes of a serial number.
const SERIAL_MAX: usize = 20;
/// The most disks, by the letters that they are given.
const DISKS_MAX: usize = 26;
/// The most disks of kvmtool.
const KVMTOOL_MAX: usize = 4;

/// File systems that can be made, each with the most bytes of its label.
const FILE_SYSTEMS: [(&str, usize); 6] =
    [("ext2", 16), ("ext3", 16), ("ext4", 16), ("xfs", 12), ("btrfs", 255), ("vfat", 11)];

pub(super) fn check(vm: &Vm, options: &Options, found: &mut Findings) {
    for (at, volume) in vm.volumes.iter().enumerate() {
        let path = format!("volumes[{at}]");
        creation(&path, volume, found);
        if let Some(serial) = &volume.serial {
            let is_fine = all(serial, |byte| byte.is_ascii_graphic() || byte == b' ');
            if serial.len() > SERIAL_MAX || !is_fine {
                let text = format!("serial {serial:?} is not 1 to {SERIAL_MAX} printable letters");
                found.error("MV145", format!("{path}.serial"), text);
            }
        }
        let inside = is_inside(&volume.image, &options.state_dir);
        if volume.image.starts_with('/') && !inside && !volume.read_only && !volume.device {
            let text = format!("{} is outside {}", volume.image, options.state_dir);
            let hint = "the service user must be able to write there";
            let it = Diagnostic::warning("MV146", format!("{path}.image"), text);
            found.push(it.hint(hint));
        }
    }
    let images = vm.volumes.iter().map(|it| it.image.as_str()).enumerate();
    duplicates(images, |at, first| {
        let text = format!("volumes[{first}] has the same image");
        found.error("MV140", format!("volumes[{at}].image"), text);
    });
    let disks = vm.volumes.len() + usize::from(vm.store_on_disk);
    if vm.hypervisor == Hypervisor::Kvmtool && disks > KVMTOOL_MAX {
        let text = format!("kvmtool supports {KVMTOOL_MAX} disks including the store disk");
        found.error("MV225", "volumes", text);
    } else if disks > DISKS_MAX {
        let text = format!("{disks} disks; the limit is {DISKS_MAX} including the store disk");
        found.error("MV144", "volumes", text);
    }
}

/// Does `path` lie below `dir`?
pub(super) fn is_inside(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
}

fn creation(path: &str, volume: &Volume, found: &mut Findings) {
    let creates = volume.auto_create && !volume.device;
    let known = FILE_SYSTEMS.iter().find(|(name, _)| *name == volume.fs_type);
    if creates && volume.image_type != "raw" {
        let text = format!("autoCreate makes raw images, not {}", volume.image_type);
        let hint = "set autoCreate = false and make the image yourself";
        found.push(Diagnostic::error("MV142", format!("{path}.imageType"), text).hint(hint));
    }
    if creates && known.is_none() {
        let text = format!("autoCreate does not know fsType {:?}", volume.fs_type);
        let hint = "it knows ext2, ext3, ext4, xfs, btrfs and vfat; autoCreate = false for others";
        found.push(Diagnostic::error("MV142", format!("{path}.fsType"), text).hint(hint));
    }
    match volume.size {
        None if creates => {
            let text = format!("autoCreate needs \"size\" for {:?}", volume.image);
            let hint = "autoCreate = false for an image that is there";
            found.push(Diagnostic::error("MV142", format!("{path}.size"), text).hint(hint));
        }
        Some(0) => found.error("MV142", format!("{path}.size"), "\"size\" must not be 0"),
        _ => {}
    }
    let Some(label) = &volume.label else { return };
    let place = format!("{path}.label");
    if !creates {
        let text = format!("label {label:?} has no effect without autoCreate");
        found.warn("MV143", place, text);
    } else if let Some((name, most)) = known {
        if label.len() > *most {
            let text = format!("label {label:?} is longer than {most} bytes, the limit of {name}");
            found.error("MV143", place, text);
        } else if *name == "vfat" && label.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let text = format!("vfat writes label {label:?} in capitals");
            found.warn("MV143", place, text);
        }
    }
}
