// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the actions beside a machine read: messages of its guest, output of daemons, packages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use microvm::helper::lines::Prefixed;
use microvm::helper::virtiofsd::arguments;
use microvm::helper::{machined, net, notify, pci};

fuzz_target!(|data: &[u8]| {
    let passed = notify::passable(data);
    assert!(passed.len() <= data.len());
    assert_eq!(notify::passable(&passed), passed);
    let names: Vec<&[u8]> = passed.split(|&it| it == b'\n').collect();
    assert!(!names.iter().any(|line| line.starts_with(b"MAINPID=")));

    let mut lines = Prefixed::new("tag: ");
    let mut said = lines.feed(data);
    said += &lines.finish();
    assert!(said.lines().all(|line| line.starts_with("tag: ")));

    let host = arguments::Host { processors: 2, files: 1024 };
    for daemon in arguments::daemons(data).unwrap_or_default() {
        assert!(daemon.arguments(host).len() >= daemon.args.len());
    }
    let _ = arguments::binary(data);
    if let Ok(machine) = machined::Machine::parse(data) {
        assert!(machine.call(1, &[2], Some(3)).len() > 8);
    }
    let text = String::from_utf8_lossy(data);
    assert!(net::taps(&text, data).iter().all(|it| !it.id.is_empty()));
    let _ = net::macvtaps(&text, data).is_ok();
    for device in pci::devices(&text, data).unwrap_or_default() {
        assert_eq!(device.address.len(), 12);
    }
});
