// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The examples are what the file of their constants says, and valid.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use microvm::build::load;
use microvm::cli::{World, run};
use microvm::config::{Hypervisor, InterfaceType, Vm};
use microvm::pipeline::{Loaded, Options};
use microvm::trial::constants::{Constants, constants};
use microvm::trial::nested;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The descriptions below the directory of the examples, by example and file.
fn descriptions() -> BTreeMap<(String, String), Loaded> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory()).expect("the examples") {
        let dir = entry.expect("an entry").path();
        let name = dir.file_name().expect("a name").to_string_lossy().into_owned();
        if !dir.is_dir() || name == "guest" {
            continue;
        }
        for file in ["vm.toml", "nested.toml"] {
            let path = dir.join(file);
            if path.exists() {
                let loaded = load(&path, &Options::default()).expect("a readable file");
                found.insert((name.clone(), file.to_owned()), loaded);
            }
        }
    }
    found
}

fn one(example: &str) -> Vm {
    let mut all = descriptions();
    let key = (example.to_owned(), "vm.toml".to_owned());
    let loaded = all.remove(&key).expect("the example");
    loaded.machines.into_iter().next().expect("a machine").vm
}

fn known() -> Constants {
    constants().expect("constants")
}

#[test]
fn every_example_is_there_with_its_explanation() {
    let names: BTreeSet<String> = descriptions().into_keys().map(|(name, _)| name).collect();
    let mut wanted: BTreeSet<String> = known().examples.into_keys().collect();
    wanted.extend(["net-tap-bridge", "net-routed", "net-macvtap", "tcg-ci"].map(str::to_owned));
    for hypervisor in Hypervisor::ALL {
        wanted.insert(format!("minimal-{hypervisor}"));
        if hypervisor != Hypervisor::Vfkit {
            wanted.insert(format!("minimal-{hypervisor}-tap"));
        }
    }
    assert_eq!(names, wanted);
    for name in names {
        let text = fs::read_to_string(directory().join(&name).join("README.md"));
        assert!(text.is_ok_and(|text| text.contains(&name)), "{name} has a README.md");
    }
}

#[test]
fn every_example_is_valid() {
    for ((name, file), loaded) in descriptions() {
        assert!(!loaded.report.has_errors(), "{name}: {}", loaded.report.text(&loaded.files));
        assert!(!loaded.machines.is_empty(), "{name}/{file}");
        if !loaded.is_fleet {
            assert_eq!(loaded.machines[0].vm.host_name, name);
        }
    }
    let mut out = Vec::new();
    let mut world = World { env: &|_| None, out: &mut out, terminal: false };
    let path = directory().join("tcg-ci/vm.toml").into_os_string();
    assert_eq!(run([OsString::from("check"), path], &mut world).ok(), Some(0));
}

#[test]
fn an_example_whose_image_was_not_made_fails_before_it_starts() {
    let mut out = Vec::new();
    let mut world = World { env: &|_| None, out: &mut out, terminal: false };
    let dir = directory();
    let words = ["test-examples", "--dir", dir.to_str().expect("a path"), "--skip-preflight"];
    let words = words.into_iter().chain(["--set", "kernel=/nowhere/vmlinuz", "valkey-server"]);
    let status = run(words.map(OsString::from), &mut world);
    assert_eq!(status.ok(), Some(1));
    let said = String::from_utf8_lossy(&out);
    assert!(said.starts_with("valkey-server: failed: "), "{said}");
    assert!(said.ends_with("passed: 0, failed: 1, skipped: 0\n"), "{said}");
}

#[test]
fn descriptions_say_what_the_constants_say() {
    for (name, constant) in known().examples {
        let vm = one(&name);
        assert_eq!((vm.mem, vm.vcpu), (constant.mem, constant.vcpu), "{name}");
        let words = vm.qemu.extra_args.join(" ");
        for port in [constant.serial, constant.virtio].into_iter().flatten() {
            assert!(words.contains(&format!("host=localhost,port={port},")), "{name}: {words}");
        }
        if let (Some(port), true) = (constant.vnc, vm.hypervisor == Hypervisor::Qemu) {
            assert!(words.contains(&format!("-vnc 127.0.0.1:{}", port - 5900)), "{name}: {words}");
        }
        let forwards: Vec<(u32, u32)> =
            vm.forward_ports.iter().map(|it| (it.host.port, it.guest.port)).collect();
        let wanted = constant.host.zip(constant.guest);
        let wanted: Vec<(u32, u32)> =
            wanted.into_iter().map(|(host, guest)| (host.into(), guest.into())).collect();
        assert_eq!(forwards, wanted, "{name}");
        if let (Some(mac), Some(interface)) = (&constant.mac, vm.interfaces.first()) {
            assert_eq!(&interface.mac, mac, "{name}");
        }
        let text = fs::read_to_string(directory().join(&name).join("vm.toml")).expect("text");
        for value in [&constant.tap, &constant.address].into_iter().flatten() {
            assert!(text.contains(value.as_str()), "{name}: {value}");
        }
        if let Some(service) = &constant.service {
            assert!(text.contains(&format!("example.service={service}")), "{name}");
        }
    }
}

#[test]
fn machines_inside_have_the_addresses_that_follow_from_their_names() {
    let mut all = descriptions();
    let key = ("microvms-host".to_owned(), "nested.toml".to_owned());
    let loaded = all.remove(&key).expect("the fleet");
    let network = known().nested;
    let inner = nested::machines(&network);
    // Only macOS has the last one.
    assert_eq!(loaded.machines.len(), inner.len() - 1);
    for machine in &loaded.machines {
        let wanted = inner.iter().find(|it| it.hypervisor == machine.vm.hypervisor);
        let wanted = wanted.expect("a machine for the hypervisor");
        let interface = &machine.vm.interfaces[0];
        assert_eq!((&interface.id, &interface.mac), (&wanted.tap, &wanted.mac));
        assert_eq!(interface.tap.bridge.as_ref(), Some(&network.bridge));
        let params = machine.vm.kernel_params.join(" ");
        assert!(params.contains(&format!("{}/24,{}", wanted.address, network.gateway)), "{params}");
    }
}

#[test]
fn taps_of_the_smallest_machines_are_named_after_their_hypervisors() {
    for (index, hypervisor) in Hypervisor::ALL.into_iter().enumerate().take(7) {
        let vm = one(&format!("minimal-{hypervisor}-tap"));
        assert_eq!(vm.hypervisor, hypervisor);
        let interface = &vm.interfaces[0];
        let letters: String = hypervisor.name().chars().take(4).collect();
        assert_eq!((interface.kind, &interface.id), (InterfaceType::Tap, &format!("vm-{letters}")));
        assert_eq!(interface.mac, format!("02:00:00:00:01:{:02x}", index + 1));
    }
}

#[test]
fn examples_do_not_share_taps_or_addresses() {
    let mut seen = BTreeSet::new();
    // What is in `nested.toml` runs on a host of its own.
    let here = descriptions().into_iter().filter(|((_, file), _)| file == "vm.toml");
    for ((name, _), loaded) in here {
        for machine in &loaded.machines {
            for interface in &machine.vm.interfaces {
                assert!(seen.insert(interface.mac.clone()), "{name}: {}", interface.mac);
                let is_user = interface.kind == InterfaceType::User;
                assert!(is_user || seen.insert(interface.id.clone()), "{name}: {}", interface.id);
            }
        }
    }
}
