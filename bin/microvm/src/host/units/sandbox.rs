// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The cage around a hypervisor: what its package needs stays open, the rest closes.

use std::path::Path;

use super::super::profile::Profile;
use super::super::settings::Settings;
use super::super::units::drop_in::quoted;

/// Holds for every machine. Nothing here may imply `NoNewPrivileges=`, as each filter of system
/// calls does for a service with `User=` (systemd.exec(5)).
const ALWAYS: &str = "\
ProtectSystem=strict
DevicePolicy=closed
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=all
RemoveIPC=yes
UMask=0027
";

/// Also that, unless a set-user-ID helper attaches the machine to a bridge.
const NO_PRIVILEGE: &str = "\
NoNewPrivileges=yes
RestrictSUIDSGID=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
RestrictRealtime=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_VSOCK AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=~@clock @cpu-emulation @debug @module @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
";

/// And that, unless the hypervisor makes a cage of its own.
const NO_NAMESPACE: &str = "RestrictNamespaces=yes\n";

/// The lines of `[Service]` for a package.
pub(super) fn lines(settings: &Settings, profile: &Profile) -> String {
    let mut text = String::from(ALWAYS);
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!("ReadWritePaths={}/%i", settings.state_dir));
    // A kernel below somebody's home has to be seen from inside.
    let kept = [Some(&settings.state_dir), settings.package_dir.as_ref()];
    let uses = |places: &[&str]| {
        let mut paths = kept.into_iter().flatten().chain(&profile.paths);
        paths.any(|path| places.iter().any(|place| Path::new(path).starts_with(place)))
    };
    let home = if uses(&["/home", "/root", "/run/user"]) { "read-only" } else { "yes" };
    line(format!("ProtectHome={home}"));
    let tmp = if uses(&["/tmp", "/var/tmp"]) { "no" } else { "yes" };
    line(format!("PrivateTmp={tmp}"));
    for path in &profile.writes {
        // What is not there is no reason not to start: the machine will say it better.
        line(format!("ReadWritePaths={}", quoted(&format!("-{path}"))));
    }
    let mut device = |path: &str, is_needed: bool| {
        if is_needed {
            line(format!("DeviceAllow={} rw", quoted(path)));
        }
    };
    device("/dev/kvm", true);
    device("/dev/net/tun", profile.tap || profile.bridge);
    device("/dev/vhost-net", profile.vhost_net);
    device("/dev/vhost-vsock", profile.is_kernel_vsock());
    device("char-macvtap", profile.macvtap);
    device("/dev/vfio/vfio", profile.pci);
    device("char-vfio", profile.pci);
    device("char-usb_device", profile.usb);
    for path in &profile.devices {
        device(path, true);
    }
    if !profile.bridge {
        text.push_str(NO_PRIVILEGE);
        if profile.hypervisor != "crosvm" {
            text.push_str(NO_NAMESPACE);
        }
    }
    text
}
