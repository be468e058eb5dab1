// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the units: what they say, and what systemd's own tools say of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::host::Name;
use crate::host::profile::Profile;

/// The most that systemd may find exposed, of 10.
const EXPOSURE_MAX: f64 = 4.0;

fn name() -> Name {
    Name::parse("web1").expect("a name")
}

/// The settings that take new privileges from a service with `User=`, as systemd.exec(5) has them.
const IMPLY_NO_NEW_PRIVILEGES: &[&str] = &[
    "DynamicUser",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "PrivateDevices",
    "ProtectClock",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "SystemCallArchitectures",
    "SystemCallFilter",
    "SystemCallLog",
];

/// Packages that need much and little.
fn profiles() -> Vec<(&'static str, Profile)> {
    let plain =
        Profile { hypervisor: "qemu".to_owned(), shutdown_timeout: 90, ..Profile::default() };
    let full = Profile {
        notify: true,
        registered: true,
        tap: true,
        vhost_net: true,
        macvtap: true,
        pci: true,
        usb: true,
        cid: Some(7),
        resources: [Some("50".to_owned()), Some("1G".to_owned()), Some("0-1".to_owned())],
        writes: vec!["/srv/with a blank/100%".to_owned()],
        devices: vec!["/dev/sdz".to_owned()],
        ..plain.clone()
    };
    let home = Profile { paths: vec!["/root/vmlinuz".to_owned()], ..plain.clone() };
    vec![("plain", plain), ("full", full), ("home", home)]
}

fn text(name: &str) -> String {
    let path = format!("{UNITS}/{name}");
    let pieces = pieces(&Settings::default(), "/usr/bin/microvm");
    match pieces.into_iter().find(|piece| piece.path() == path) {
        Some(Piece::File(_, text)) => text,
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn the_machine_starts_behind_its_helpers_and_restarts_below_the_limit() {
    let unit = text("microvm@.service");
    for line in [
        "Requires=microvm-set-booted@%i.service microvm-tap-interfaces@%i.service \
         microvm-macvtap-interfaces@%i.service microvm-pci-devices@%i.service \
         microvm-virtiofsd@%i.service",
        "ConditionPathExists=/var/lib/microvms/%i/current/bin/microvm-run",
        "ExecStart=/var/lib/microvms/%i/current/bin/microvm-run",
        "ExecStop=/usr/bin/microvm internal stop %i",
        "WorkingDirectory=/var/lib/microvms/%i",
        "TimeoutSec=150",
        "Restart=always",
        "RestartSec=5s",
        "StartLimitIntervalSec=0",
        "User=microvm",
        "Group=kvm",
        "LimitMEMLOCK=infinity",
    ] {
        assert!(unit.lines().any(|it| it == line), "{line}\n{unit}");
    }
}

#[test]
fn scripts_run_as_root_behind_the_look_at_their_owner() {
    for unit in ["tap-interfaces", "macvtap-interfaces", "pci-devices", "virtiofsd"] {
        let text = text(&format!("microvm-{unit}@.service"));
        let line = |begin: &str| text.lines().find(|it| it.starts_with(begin)).unwrap_or_default();
        assert_eq!(line("Requires="), "Requires=microvm-set-booted@%i.service", "{unit}");
        assert!(line("After=").ends_with("microvm-set-booted@%i.service"), "{unit}");
    }
}

#[test]
fn what_is_taken_down_is_what_was_booted() {
    for kind in ["tap", "macvtap"] {
        let unit = text(&format!("microvm-{kind}-interfaces@.service"));
        assert!(unit.contains(&format!("/%i/current/bin/{kind}-up\n")), "{unit}");
        assert!(unit.contains(&format!("ExecStop=/var/lib/microvms/%i/booted/bin/{kind}-down\n")));
        assert!(unit.contains("PartOf=microvm@%i.service"));
    }
}

#[test]
fn a_package_opens_what_it_needs_and_no_more() {
    let settings = Settings::default();
    let [plain, full, home] = profiles().try_into().expect("three of them");
    let (plain, full) = (drop_in(&settings, &plain.1), drop_in(&settings, &full.1));
    assert!(plain.contains("Type=simple\n") && full.contains("Type=notify\n"));
    assert!(plain.contains("TimeoutStopSec=105\n") && !plain.contains("machined"));
    let devices = |text: &str| {
        text.lines().filter_map(|it| it.strip_prefix("DeviceAllow=")).map(str::to_owned).collect()
    };
    let plain_devices: Vec<String> = devices(&plain);
    assert_eq!(plain_devices, ["/dev/kvm rw"]);
    let full_devices: Vec<String> = devices(&full);
    assert_eq!(
        full_devices,
        [
            "/dev/kvm rw",
            "/dev/net/tun rw",
            "/dev/vhost-net rw",
            "/dev/vhost-vsock rw",
            "char-macvtap rw",
            "/dev/vfio/vfio rw",
            "char-vfio rw",
            "char-usb_device rw",
            "/dev/sdz rw",
        ]
    );
    for line in [
        "ReadWritePaths=\"-/srv/with a blank/100%%\"",
        "CPUWeight=50",
        "MemoryMax=1G",
        "AllowedCPUs=0-1",
        "NoNewPrivileges=yes",
        "RestrictNamespaces=yes",
    ] {
        assert!(full.lines().any(|it| it == line), "{line}\n{full}");
    }
    assert!(drop_in(&settings, &home.1).contains("ProtectHome=read-only\n"));
}

#[test]
fn what_a_machine_names_is_not_hidden_from_it() {
    let of = |settings: &Settings, path: &str| {
        drop_in(settings, &Profile { paths: vec![path.to_owned()], ..profiles().remove(0).1 })
    };
    let settings = Settings::default();
    for path in ["/home", "/root/credential", "/run/user/0/x"] {
        assert!(of(&settings, path).contains("ProtectHome=read-only\nPrivateTmp=yes\n"), "{path}");
    }
    for path in ["/tmp/firmware", "/var/tmp/x"] {
        assert!(of(&settings, path).contains("ProtectHome=yes\nPrivateTmp=no\n"), "{path}");
    }
    assert!(of(&settings, "/homely/tmp").contains("ProtectHome=yes\nPrivateTmp=yes\n"));
    let at_home = Settings { state_dir: "/home".to_owned(), ..settings.clone() };
    assert!(of(&at_home, "/srv/k").contains("ProtectHome=read-only\n"));
    let in_tmp = Settings { package_dir: Some("/tmp/packages".to_owned()), ..settings };
    assert!(of(&in_tmp, "/srv/k").contains("PrivateTmp=no\n"));
}

#[test]
fn scripts_know_whose_devices_they_make() {
    let settings =
        Settings { user: "vm".to_owned(), group: "vms".to_owned(), ..Settings::default() };
    let pieces = pieces(&settings, "/usr/bin/microvm");
    for unit in ["tap-interfaces", "macvtap-interfaces", "pci-devices"] {
        let path = format!("{UNITS}/microvm-{unit}@.service");
        let Some(Piece::File(_, text)) = pieces.iter().find(|piece| piece.path() == path) else {
            panic!("{path}");
        };
        let line = "Environment=MICROVM_USER=vm MICROVM_GROUP=vms";
        assert!(text.lines().any(|it| it == line), "{text}");
    }
}

#[test]
fn what_starts_at_boot_is_asked_for_by_the_target() {
    let pieces = pieces(&Settings::default(), "/usr/bin/microvm");
    for (target, unit) in
        [("multi-user", "microvms.target"), ("microvms", "microvms-autostart.service")]
    {
        let link =
            Piece::Link(format!("{UNITS}/{target}.target.wants/{unit}"), format!("{UNITS}/{unit}"));
        assert!(pieces.contains(&link), "{link:?}");
        assert!(text(unit).contains(&format!("WantedBy={target}.target\n")), "{unit}");
    }
}

#[test]
fn the_cage_has_the_doors_that_its_inmates_need() {
    let settings = Settings::default();
    let of = |change: fn(&mut Profile)| {
        let mut profile = profiles().remove(0).1;
        change(&mut profile);
        drop_in(&settings, &profile)
    };
    let bridge = of(|it| it.bridge = true);
    let has = |text: &str, key: &str| text.lines().any(|it| it.starts_with(&format!("{key}=")));
    for key in IMPLY_NO_NEW_PRIVILEGES.iter().chain(&["NoNewPrivileges", "CapabilityBoundingSet"]) {
        assert!(!has(&bridge, key), "{key} keeps the helper from its privilege");
    }
    for key in ["ProtectSystem", "ProtectHome", "DevicePolicy", "ProtectProc", "UMask"] {
        assert!(has(&bridge, key), "{key} is in nobody's way");
    }
    assert!(bridge.contains("DeviceAllow=/dev/net/tun rw"));
    assert!(!of(|it| it.hypervisor = "crosvm".to_owned()).contains("RestrictNamespaces"));
    assert!(!of(|it| it.graphics = true).contains("ProtectSystem"));
    let open = Settings { sandbox: false, ..settings.clone() };
    assert!(!drop_in(&open, &profiles().remove(0).1).contains("ProtectSystem"));
}

#[test]
fn no_text_of_a_package_leaves_its_line() {
    let profile = Profile {
        resources: [Some("1\nExecStart=/bin/evil".to_owned()), Some("%h".to_owned()), None],
        writes: vec!["/a\nUser=root".to_owned(), "/b\"c\\d".to_owned()],
        ..profiles().remove(0).1
    };
    let text = drop_in(&Settings::default(), &profile);
    assert!(
        !text.lines().any(|it| it.starts_with("ExecStart") || it.starts_with("User")),
        "{text}"
    );
    assert!(text.contains("MemoryMax=%%h\n"));
    assert!(text.contains("ReadWritePaths=\"-/b\\\"c\\\\d\"\n"), "{text}");
}

/// A root with everything that an installation puts there, for systemd's own tools.
struct Tree(PathBuf);

impl Tree {
    fn new(profile: &Profile, what: &str) -> Self {
        let settings = Settings::default();
        let id = plinth::rand::uuid_v4();
        let at = std::env::temp_dir().join(format!("microvm-units-{what}-{id}"));
        let write = |path: &str, text: &str| {
            let path = at.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
            fs::write(path, text).expect("a file");
        };
        for piece in pieces(&settings, "/usr/bin/microvm") {
            if let Piece::File(path, text) = piece {
                write(&path, &text);
            }
        }
        write(&drop_in_path(&name().unit()), &drop_in(&settings, profile));
        Self(at)
    }

    fn units(&self) -> PathBuf {
        self.0.join(UNITS.trim_start_matches('/'))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Runs systemd-analyze over a directory of units; `None` where it is not installed.
fn analyze(units: &Path, words: &[&str]) -> Option<(bool, String)> {
    let output = Command::new("systemd-analyze")
        .args(words)
        .env("SYSTEMD_UNIT_PATH", format!("{}:", units.display()))
        .env("SYSTEMD_COLORS", "0")
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("systemd-analyze: {error}"),
    };
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    for (what, profile) in profiles() {
        let tree = Tree::new(&profile, what);
        let unit = name().unit();
        let words = ["verify", "--man=no", "--recursive-errors=yes", &unit, "microvms.target"];
        let Some((_, said)) = analyze(&tree.units(), &words) else { return };
        // The program and the package are not on this machine; all else would be a fault of ours.
        let faults: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("microvm") && !line.contains("is not executable"))
            .collect();
        assert!(faults.is_empty(), "{what}: {faults:#?}");
    }
}

#[test]
fn systemd_finds_little_exposed() {
    for (what, profile) in profiles() {
        let tree = Tree::new(&profile, what);
        let unit = name().unit();
        // Read from the directory, since no manager has them loaded.
        let words = ["security", "--offline=true", "--no-pager", &unit];
        let Some((_, said)) = analyze(&tree.units(), &words) else { return };
        let line = said.lines().find(|line| line.contains("Overall exposure")).expect(&said);
        let exposure: f64 = line
            .split_whitespace()
            .find_map(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("no number in {line}"));
        assert!(exposure <= EXPOSURE_MAX, "{what}: {said}");
        println!("{what}: {exposure}");
    }
}
