// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packs the first root file system of the guest: what every scenario has, and what one asks for.
//!
//! Owns the layout of the image and the search for libraries. Programs of ours are static and stand
//! alone; foreign ones bring the libraries they name, found in the tree they were unpacked to.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use super::cpio::Archive;
use super::modules::Modules;
use super::{build, elf, lab, nested, services};
use crate::scenarios::{Kernel, Scenario};

/// Where a foreign program's libraries may be, in its tree.
const LIBRARY_DIRS: [&str; 6] =
    ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib"];
/// Modules that each guest loads: the initiator and the target over TCP.
const MODULES: [&str; 5] = ["configfs", "nvmet", "nvmet-tcp", "nvme-fabrics", "nvme-tcp"];
/// What virtual PCI devices take besides, in this order.
const PCI_MODULES: [&str; 3] = ["virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci"];
/// Our daemons, clients and the administrator's tool, and where they go.
pub const STAS: [(&str, &str); 5] = [
    ("stafd", "usr/sbin"),
    ("stacd", "usr/sbin"),
    ("stafctl", "usr/bin"),
    ("stacctl", "usr/bin"),
    ("stasadm", "usr/bin"),
];
/// What makes file systems, and what looks at them.
const FILE_SYSTEMS: [&str; 5] =
    ["sbin/mkfs.xfs", "sbin/mkfs.btrfs", "sbin/mkfs.vfat", "sbin/xfs_repair", "bin/btrfs"];
/// Files that name users, hosts and this machine.
const FILES: [(&str, &str); 7] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:101:101::/run/dbus:/bin/false\n\
         avahi:x:102:102::/run/avahi-daemon:/bin/false\n\
         nobody:x:65534:65534::/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nmessagebus:x:101:\navahi:x:102:\nnogroup:x:65534:\ndisk:x:6:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
    ("etc/nvme/hostnqn", "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555\n"),
    ("etc/nvme/hostid", "11111111-2222-3333-4444-555555555555\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
];

/// Packs the image for one scenario on one kernel.
///
/// # Errors
/// Whatever is missing or unreadable, by name.
pub fn pack(
    found: &lab::Lab,
    scenario: &Scenario,
    kernel: Kernel,
    shell: bool,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut archive = Archive::new();
    skeleton(&mut archive);
    let init = build::init(found.workspace())?.join("guest-init");
    archive.file("init", 0o755, &read(&init)?);
    self::shell(&mut archive)?;

    let mut wanted: Vec<&str> = MODULES.to_vec();
    wanted.extend(scenario.needs.modules);
    if scenario.needs.reference || scenario.needs.iommu {
        wanted.extend(PCI_MODULES);
    }
    if scenario.needs.reference {
        wanted.push("virtio_blk");
    }
    modules(&mut archive, &found.modules(kernel)?, &wanted)?;

    if scenario.needs.stas {
        let folder = build::stas(found.workspace())?;
        for (name, place) in STAS {
            archive.file(&format!("{place}/{name}"), 0o755, &read(&folder.join(name))?);
        }
    }
    if scenario.needs.bpf {
        let program = build::tinybpf(found.workspace())?.join("tinybpf");
        archive.file("usr/sbin/tinybpf", 0o755, &read(&program)?);
    }
    if scenario.needs.microvm {
        let program = build::microvm(found.workspace())?.join("microvm");
        archive.file("usr/bin/microvm", 0o755, &read(&program)?);
    }
    if scenario.needs.manager {
        services::manager(&mut archive, &found.manager()?)?;
    }
    if scenario.needs.machined {
        services::machined(&mut archive, found)?;
    }
    if scenario.needs.nested {
        nested::put(&mut archive, found)?;
    }
    if scenario.needs.objects {
        objects(&mut archive, found)?;
    }
    foreign(&mut archive, found, scenario)?;
    if scenario.needs.file_systems {
        let tree = found.file_systems()?;
        for path in FILE_SYSTEMS {
            program(&mut archive, &tree, &tree.join(path), path)?;
        }
    }
    let setting = format!(
        "scenario={}\nkernel={kernel}\nseconds={}\nshell={}\n",
        scenario.name,
        scenario.seconds,
        u8::from(shell)
    );
    archive.file("etc/rig", 0o644, setting.as_bytes());
    Ok(archive.finish())
}

/// Puts busybox in, and a link to it for a shell.
///
/// # Errors
/// It is missing on this host.
pub fn shell(archive: &mut Archive) -> Result<(), Box<dyn Error>> {
    let busybox = lab::on_path("busybox").ok_or("busybox is missing, run tests/setup.sh system")?;
    program(archive, Path::new("/"), &busybox, "bin/busybox")?;
    archive.link("bin/sh", "busybox");
    Ok(())
}

fn skeleton(archive: &mut Archive) {
    for path in ["proc", "sys", "dev", "run", "mnt", "ref", "root", "var/lib", "etc/stas"] {
        archive.dir(path, 0o755);
    }
    archive.dir("tmp", 0o1777);
    archive.device("dev/console", 0o600, 5, 1);
    archive.device("dev/null", 0o666, 1, 3);
    archive.link("var/run", "/run");
    for (path, text) in FILES {
        archive.file(path, 0o644, text.as_bytes());
    }
}

/// The ready-made programs where an installation has them, and the fixtures below `bpf`.
fn objects(archive: &mut Archive, found: &lab::Lab) -> Result<(), Box<dyn Error>> {
    let objects = build::objects(found.workspace())?;
    for (from, to) in [("programs", "usr/lib/tinybpf"), ("", "bpf"), ("broken", "bpf/broken")] {
        let folder = objects.join(from);
        for entry in fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(".bpf.o") || name.ends_with(".toml") {
                archive.file(&format!("{to}/{name}"), 0o644, &read(&path)?);
            }
        }
    }
    archive.file("bpf/probed", 0o755, &read(&objects.join("probed"))?);
    Ok(())
}

/// Puts the modules in and lists them in `etc/rig.modules`, one `PATH [PARAMETERS]` a line.
///
/// # Errors
/// A module is unknown or unreadable.
pub fn modules(archive: &mut Archive, tree: &Path, wanted: &[&str]) -> Result<(), Box<dyn Error>> {
    let text = |name| fs::read_to_string(tree.join(name));
    let known = Modules::parse(&text("modules.dep")?, &text("modules.builtin")?);
    let mut list = String::new();
    for wish in wanted {
        let (name, parameters) = wish.split_once(' ').unwrap_or((wish, ""));
        let closure = known.closure(&[name])?;
        let last = closure.len().saturating_sub(1);
        for (n, path) in closure.iter().enumerate() {
            let place = format!("lib/modules/{}", path.rsplit('/').next().unwrap_or(path));
            let parameters = if n == last { parameters } else { "" };
            if !archive.has(&place) {
                archive.file(&place, 0o644, &read(&tree.join(path))?);
                list.push_str(&format!("/{place} {parameters}\n"));
            }
        }
    }
    archive.file("etc/rig.modules", 0o644, list.as_bytes());
    Ok(())
}

/// Foreign programs and their own files.
fn foreign(
    archive: &mut Archive,
    found: &lab::Lab,
    scenario: &Scenario,
) -> Result<(), Box<dyn Error>> {
    let needs = scenario.needs;
    let mut wanted = Vec::new();
    if needs.bus {
        wanted.push("usr/bin/dbus-daemon");
        policies(archive, found)?;
    }
    if needs.avahi {
        wanted.push("usr/sbin/avahi-daemon");
    }
    if needs.ip {
        wanted.push("bin/ip");
    }
    if needs.nvme_cli {
        wanted.push("usr/sbin/nvme");
    }
    if needs.udev {
        wanted.push("bin/udevadm");
        archive.link("lib/systemd/systemd-udevd", "/bin/udevadm");
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let tree = found.programs()?;
    for path in wanted {
        program(archive, &tree, &tree.join(path), path)?;
    }
    if needs.udev {
        for name in ["50-udev-default.rules", "60-persistent-storage.rules"] {
            let path = format!("lib/udev/rules.d/{name}");
            archive.file(&path, 0o644, &read(&tree.join(&path))?);
        }
    }
    if needs.avahi {
        let path = "etc/dbus-1/system.d/avahi-dbus.conf";
        let policy = ["usr/share/dbus-1/system.d/avahi-dbus.conf", path];
        let policy = policy.iter().map(|p| tree.join(p)).find(|p| p.exists());
        archive.file(path, 0o644, &read(&policy.ok_or("avahi-daemon has no bus policy")?)?);
    }
    Ok(())
}

/// The bus policies that the programs under test ship.
fn policies(archive: &mut Archive, found: &lab::Lab) -> Result<(), Box<dyn Error>> {
    for name in ["org.nvmexpress.staf.conf", "org.nvmexpress.stac.conf"] {
        let path = found.workspace().join("bin/stas/dist/dbus").join(name);
        if path.exists() {
            archive.file(&format!("usr/share/dbus-1/system.d/{name}"), 0o644, &read(&path)?);
        }
    }
    Ok(())
}

/// Adds a program and every library that it names, from the tree that holds it.
pub(super) fn program(
    archive: &mut Archive,
    tree: &Path,
    from: &Path,
    to: &str,
) -> Result<(), Box<dyn Error>> {
    let bytes = read(from)?;
    archive.file(to, 0o755, &bytes);
    let mut waiting = vec![elf::linkage(&bytes).map_err(|e| format!("{}: {e}", from.display()))?];
    let mut seen = BTreeSet::new();
    while let Some(linkage) = waiting.pop() {
        for name in linkage.needed.iter().chain(&linkage.interpreter) {
            if !seen.insert(name.clone()) {
                continue;
            }
            let file = name.rsplit('/').next().unwrap_or(name);
            let path = library(tree, file, &linkage.search)
                .ok_or_else(|| format!("{}: no library {name}", from.display()))?;
            let bytes = read(&path)?;
            let place = match name.strip_prefix('/') {
                Some(absolute) => absolute.to_owned(),
                None => format!("lib/x86_64-linux-gnu/{file}"),
            };
            archive.file(&place, 0o755, &bytes);
            waiting.push(elf::linkage(&bytes).map_err(|e| format!("{}: {e}", path.display()))?);
        }
    }
    Ok(())
}

/// The library by its name; links to absolute paths inside the tree are not followed out of it.
fn library(tree: &Path, name: &str, search: &[String]) -> Option<PathBuf> {
    let first = search.iter().map(|dir| dir.trim_start_matches('/'));
    first.chain(LIBRARY_DIRS).map(|dir| tree.join(dir).join(name)).find(|path| path.exists())
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()).into())
}
