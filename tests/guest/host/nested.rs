// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packs what a machine inside the machine takes: QEMU, and below `srv` a kernel and a guest.
//!
//! Emulation inside of emulation is slow where code is new, as all of a boot is. So the kernel is
//! there uncompressed, and the guest is a single program with the few modules that it needs.

use std::error::Error;
use std::fs;
use std::process::Command;

use super::build;
use super::cpio::Archive;
use super::image::{modules, program, read};
use super::lab::Lab;
use crate::scenarios::Kernel;

const KERNEL: Kernel = Kernel::V6_1;
const QEMU: &str = "usr/bin/qemu-system-x86_64";
/// Emulation, which QEMU loads when it starts.
const EMULATION: &str = "usr/lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so";
/// Firmware of the machine `microvm`, by the name that QEMU looks for, and what starts a kernel.
const FIRMWARE: [(&str, &str); 2] = [("qboot.rom", "bios-microvm.bin"), ("pvh.bin", "pvh.bin")];
/// What the guest loads: its devices, the host's credentials, the way to the host.
const MODULES: [&str; 4] =
    ["virtio_mmio", "qemu_fw_cfg", "vmw_vsock_virtio_transport", "virtio_balloon"];

/// Puts everything in.
///
/// # Errors
/// What is missing or unreadable, by name.
pub(super) fn put(archive: &mut Archive, found: &Lab) -> Result<(), Box<dyn Error>> {
    let tree = found.qemu("oldest")?;
    for path in [QEMU, EMULATION] {
        program(archive, &tree, &tree.join(path), path)?;
    }
    for (from, to) in FIRMWARE {
        let bytes = read(&tree.join("usr/share/qemu").join(from))?;
        archive.file(&format!("usr/share/qemu/{to}"), 0o644, &bytes);
    }
    archive.file("srv/vmlinux", 0o644, &kernel(found)?);
    archive.file("srv/initrd", 0o644, &guest(found)?);
    Ok(())
}

/// The kernel, uncompressed by our own command.
fn kernel(found: &Lab) -> Result<Vec<u8>, Box<dyn Error>> {
    let folder = found.folder("nested-kernel")?;
    let vmlinux = folder.join("vmlinux");
    let status = Command::new(build::microvm(found.workspace())?.join("microvm"))
        .args(["kernel", "extract"])
        .arg(found.kernel(KERNEL)?)
        .arg("-o")
        .arg(&vmlinux)
        .stdout(std::process::Stdio::null())
        .status()?;
    if !status.success() {
        return Err("microvm kernel extract failed".into());
    }
    let bytes = read(&vmlinux)?;
    fs::remove_dir_all(folder)?;
    Ok(bytes)
}

/// The first file system of the machine inside: process 1 and its modules.
fn guest(found: &Lab) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut archive = Archive::new();
    for path in ["sys", "dev"] {
        archive.dir(path, 0o755);
    }
    archive.device("dev/console", 0o600, 5, 1);
    let init = build::init(found.workspace())?.join("guest-init");
    archive.file("init", 0o755, &read(&init)?);
    modules(&mut archive, &found.modules(KERNEL)?, &MODULES)?;
    Ok(archive.finish())
}
