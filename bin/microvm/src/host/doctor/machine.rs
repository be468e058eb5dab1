// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What one machine needs of this host: files, devices, accounts, and the right to use them.
//!
//! Only what is wrong is told, each thing with what to do about it.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde_json::Value;

use super::{Finding, Level};
use crate::facts::FileFacts;
use crate::host::change::CURRENT;
use crate::host::profile::{FILE_KEYS, Profile};
use crate::host::{Host, Manager, Name};
use crate::package::{RUNNER, RUNNER_MAX};
use crate::validate::{Evidence, Facts as _};

/// A machine with its package.
pub(super) struct Machine<'a> {
    pub(super) host: &'a Host<'a>,
    pub(super) name: &'a Name,
    pub(super) profile: Profile,
    /// What its package says of itself; nothing in packages of other tools.
    runner: Value,
}

impl<'a> Machine<'a> {
    pub(super) fn read(host: &'a Host<'a>, name: &'a Name) -> Option<Self> {
        let package = host.package(name, CURRENT)?;
        let bytes = plinth::file::read(&package.join(RUNNER), RUNNER_MAX).unwrap_or_default();
        let runner = serde_json::from_slice(&bytes).unwrap_or_default();
        Some(Self { host, name, profile: host.profile(name, CURRENT)?, runner })
    }

    /// A text of its description.
    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.config(pointer).and_then(Value::as_str)
    }

    fn config(&self, pointer: &str) -> Option<&Value> {
        self.runner.get("config")?.pointer(pointer)
    }

    /// A list of its description.
    pub(super) fn list(&self, key: &str) -> &[Value] {
        let list = self.config(&format!("/{key}")).and_then(Value::as_array);
        list.map_or(&[], Vec::as_slice)
    }

    /// The program that runs it, as its package calls it.
    pub(super) fn program(&self) -> Option<&str> {
        self.runner.pointer("/argv/0").and_then(Value::as_str)
    }

    /// Whether its hypervisor interprets it.
    pub(super) fn is_emulated(&self) -> bool {
        self.profile.hypervisor == "qemu" && self.text("/qemu/accel") == Some("tcg")
    }

    pub(super) fn finding(&self, level: Level, text: impl Into<String>) -> Finding {
        Finding::new(level, self.name.as_str(), text)
    }

    fn bad(&self, text: impl Into<String>) -> Finding {
        self.finding(Level::Bad, text)
    }

    /// Everything that is wrong with it.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = self.files();
        findings.extend(self.nodes());
        findings.extend(self.list("volumes").iter().flat_map(|it| self.volume(it)));
        findings.extend(self.io_uring());
        findings.extend(self.shares());
        let devices = self.list("devices").iter();
        findings.extend(devices.filter_map(|it| self.device(it)));
        findings
    }

    /// The images that it starts from, and what the kernel must have.
    fn files(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (key, path) in FILE_KEYS.iter().zip(&self.profile.files) {
            let Some(path) = path.as_deref().filter(|path| path.starts_with('/')) else { continue };
            if !self.host.root.exists(path) {
                findings.push(self.bad(format!("its {key} is gone: {path}")));
            }
        }
        let kernel = self.profile.files.iter().take(2).flatten().last();
        let wants = self.config("/kernelBtf").and_then(Value::as_bool) == Some(true);
        if let Some(path) = kernel.filter(|_| wants) {
            let there = self.host.root.join(path);
            if FileFacts.btf(&there.to_string_lossy()) == Some(Evidence::Absent) {
                let text = format!("{path} has no BTF type information, which kernelBtf asks for");
                findings.push(self.bad(text));
            }
        }
        findings
    }

    /// The devices of this host that its hypervisor opens.
    fn nodes(&self) -> Vec<Finding> {
        let profile = &self.profile;
        [
            (profile.tap || profile.bridge, "/dev/net/tun", "tun"),
            (profile.vhost_net, "/dev/vhost-net", "vhost_net"),
            (profile.is_kernel_vsock(), "/dev/vhost-vsock", "vhost_vsock"),
        ]
        .into_iter()
        .filter(|(is_needed, ..)| *is_needed)
        .filter_map(|(_, node, module)| {
            let Ok(found) = self.host.root.join(node).metadata() else {
                return Some(self.bad(format!("{node} is not there; modprobe {module}")));
            };
            self.refused(&found, 0o6).map(|who| {
                self.bad(format!("{who} may not use {node}; its owner or mode must change"))
            })
        })
        .collect()
    }

    /// The account that may not do this (bits of a mode) with a file, where machines have one.
    fn refused(&self, found: &Metadata, wanted: u32) -> Option<String> {
        if self.host.manager != Manager::Systemd {
            return None;
        }
        let (user, group) = (self.host.user()?, self.host.group()?);
        let shift = if found.uid() == user {
            6
        } else if found.gid() == group {
            3
        } else {
            0
        };
        let is_allowed = (found.mode() >> shift) & wanted == wanted;
        let who = || format!("{}:{}", self.host.settings.user, self.host.settings.group);
        (!is_allowed && user != 0).then(who)
    }

    /// Where an image is, as the machine sees it.
    fn place(&self, path: &str) -> PathBuf {
        if path.starts_with('/') {
            self.host.root.join(path)
        } else {
            self.host.directory(self.name).join(path)
        }
    }

    /// Whether the image can be written, and made where it is missing.
    fn volume(&self, volume: &Value) -> Vec<Finding> {
        let flag = |key: &str| volume.get(key).and_then(Value::as_bool) == Some(true);
        let Some(image) = volume.get("image").and_then(Value::as_str) else { return Vec::new() };
        let path = self.place(image);
        let mut findings = Vec::new();
        match path.metadata() {
            Ok(found) => {
                let wanted = if flag("readOnly") { 0o4 } else { 0o6 };
                let is_odd =
                    found.is_dir() || (flag("device") && !found.file_type().is_block_device());
                if is_odd {
                    findings.push(self.bad(format!("{image} is neither an image nor a device")));
                } else if let Some(who) = self.refused(&found, wanted) {
                    let verb = if flag("readOnly") { "read" } else { "write" };
                    findings.push(self.bad(format!("{who} may not {verb} {image}")));
                } else if flag("direct") && is_without_direct(&path) {
                    let text = format!(
                        "{image} is on a file system without direct access; leave direct out"
                    );
                    findings.push(self.bad(text));
                }
            }
            Err(_) if flag("autoCreate") && !flag("device") => {
                let parent = path.parent().unwrap_or(Path::new("/"));
                match parent.metadata() {
                    Ok(found) => {
                        let who = self.refused(&found, 0o3);
                        let text = |who| format!("{who} may not make {image}");
                        findings.extend(who.map(|who| self.bad(text(who))));
                    }
                    Err(_) => {
                        findings.push(self.bad(format!("the directory of {image} is missing")))
                    }
                }
            }
            Err(_) => findings.push(self.bad(format!("{image} is missing, and nothing makes it"))),
        }
        findings
    }

    /// QEMU's way to its images, which a host can switch off.
    fn io_uring(&self) -> Option<Finding> {
        let is_used = self.profile.hypervisor == "qemu"
            && self.text("/qemu/aio") == Some("io_uring")
            && !(self.list("volumes").is_empty() && self.profile.files[3].is_none());
        let off = self.host.root.read_text("/proc/sys/kernel/io_uring_disabled").ok()?;
        (is_used && off.trim() != "0").then(|| {
            self.bad("kernel.io_uring_disabled is set; volumes need qemu.aio = \"threads\"")
        })
    }

    /// Directories that are served, and the group that may connect to the daemons.
    fn shares(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for source in &self.profile.served {
            if !self.place(source).is_dir() {
                findings.push(self.bad(format!("{source}, which it shares, is no directory")));
            }
        }
        let group = self.text("/virtiofsd/group").filter(|group| !group.is_empty());
        if let Some(group) = group.filter(|_| !self.profile.served.is_empty()) {
            let groups = self.host.root.read_text("/etc/group").unwrap_or_default();
            let is_there = groups.lines().any(|line| line.split(':').next() == Some(group));
            if !is_there {
                let text = format!(
                    "the group {group} of virtiofsd.group is missing; \"\" stands for none"
                );
                findings.push(self.bad(text));
            }
        }
        findings
    }

    /// A PCI device that it is given.
    fn device(&self, device: &Value) -> Option<Finding> {
        let address = device.get("path").and_then(Value::as_str)?;
        if device.get("bus").and_then(Value::as_str) != Some("pci") {
            return None;
        }
        let path = self.host.root.join(format!("/sys/bus/pci/devices/{address}"));
        if !path.exists() {
            return Some(self.bad(format!("there is no PCI device {address}")));
        }
        (!path.join("iommu_group").exists()).then(|| {
            self.bad(format!("the PCI device {address} has no IOMMU group: enable the IOMMU"))
        })
    }
}

/// Whether an image that can be read cannot be read past the page cache.
fn is_without_direct(path: &Path) -> bool {
    let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
    File::open(path).is_ok()
        && OpenOptions::new().read(true).custom_flags(direct).open(path).is_err()
}
