// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packs a service manager: systemd as far as it takes to start and stop units and to shut down,
//! and beside it a system bus with systemd-machined.

use std::error::Error;
use std::fs;
use std::path::Path;

use super::cpio::Archive;
use super::image::{program, read};
use super::lab::Lab;

const UNITS: &str = "lib/systemd/system";
/// The programs of the service manager.
const MANAGER: [&str; 5] = [
    "lib/systemd/systemd",
    "lib/systemd/systemd-shutdown",
    "lib/systemd/systemd-modules-load",
    "bin/systemctl",
    "bin/systemd-sysusers",
];
/// Its units beside targets and slices.
const MANAGER_UNITS: [&str; 4] = [
    "systemd-reboot.service",
    "systemd-poweroff.service",
    "systemd-halt.service",
    "systemd-modules-load.service",
];
/// The list of machines, and who asks it.
const MACHINED: [&str; 3] = ["lib/systemd/systemd-machined", "bin/machinectl", "usr/bin/busctl"];
const MACHINED_FILES: [&str; 4] = [
    "lib/systemd/system/systemd-machined.service",
    "usr/share/dbus-1/system-services/org.freedesktop.machine1.service",
    "usr/share/dbus-1/system.d/org.freedesktop.machine1.conf",
    "usr/share/dbus-1/system.d/org.freedesktop.systemd1.conf",
];
/// The system bus.
const BUS_FILES: [&str; 3] = [
    "lib/systemd/system/dbus.service",
    "lib/systemd/system/dbus.socket",
    "usr/share/dbus-1/system.conf",
];

/// systemd without its services.
///
/// # Errors
/// What is missing or unreadable, by name.
pub(super) fn manager(archive: &mut Archive, tree: &Path) -> Result<(), Box<dyn Error>> {
    for path in MANAGER {
        program(archive, tree, &tree.join(path), path)?;
    }
    let folder = tree.join(UNITS);
    for entry in fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_target = name.ends_with(".target") || name.ends_with(".slice");
        if path.is_symlink() || !(is_target || MANAGER_UNITS.contains(&name)) {
            continue;
        }
        archive.file(&format!("{UNITS}/{name}"), 0o644, &read(&path)?);
    }
    archive.link("etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target");
    archive.link("etc/systemd/system/ctrl-alt-del.target", "/lib/systemd/system/reboot.target");
    // Nobody collects logs here; the kernel's are shown when something goes wrong.
    let settings = "[Manager]\nLogTarget=kmsg\nDefaultStandardOutput=kmsg\n\
                    DefaultStandardError=kmsg\nShowStatus=no\n";
    archive.file("etc/systemd/system.conf", 0o644, settings.as_bytes());
    Ok(())
}

/// systemd-machined, which the bus starts when it is asked for.
///
/// # Errors
/// What is missing or unreadable, by name.
pub(super) fn machined(archive: &mut Archive, found: &Lab) -> Result<(), Box<dyn Error>> {
    let (tree, programs) = (found.manager()?, found.programs()?);
    for path in MACHINED {
        program(archive, &tree, &tree.join(path), path)?;
    }
    program(archive, &programs, &programs.join("usr/bin/dbus-daemon"), "usr/bin/dbus-daemon")?;
    for (tree, files) in [(&tree, &MACHINED_FILES[..]), (&programs, &BUS_FILES[..])] {
        for path in files {
            archive.file(path, 0o644, &read(&tree.join(path))?);
        }
    }
    let alias = format!("{UNITS}/dbus-org.freedesktop.machine1.service");
    archive.link(&alias, "systemd-machined.service");
    archive.link(&format!("{UNITS}/sockets.target.wants/dbus.socket"), "../dbus.socket");
    Ok(())
}
