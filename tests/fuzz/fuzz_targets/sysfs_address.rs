// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The attributes of a kernel controller, and what is compared with them.
//!
//! The input is the attributes, separated by NUL. A device always serves what is told of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stas::core::cid::{Attributes, Class, Device};
use stas::core::iface::Interfaces;
use stas::core::matching;
use stas::core::port::DeviceId;
use stas::core::tid::{Tid, TidDefaults};

fuzz_target!(|text: &str| {
    let mut parts = text.split('\0').map(|part| (!part.is_empty()).then(|| part.to_owned()));
    let mut next = || parts.next().flatten();
    let attributes = Attributes {
        address: next(),
        transport: next(),
        subsysnqn: next(),
        hostnqn: next(),
        state: next(),
        cntrltype: next(),
        dctype: next(),
        uevent: next(),
    };
    let children: Vec<String> = parts.flatten().collect();
    let id = DeviceId { name: "nvme0".to_owned(), instance: 1 };
    let device = Device::from_attributes(id, &attributes, &children);
    // Children alone make one of the others an I/O controller.
    assert_eq!(device.is_discovery(), device.class() == Class::Discovery, "{device:?}");
    assert!(device.is_io() || device.class() != Class::Io, "{device:?}");
    let interfaces = Interfaces(Vec::new());
    let fields = matching::fields_of(&device, &interfaces);
    let tid = Tid::new(&fields, &TidDefaults { host_nqn: "", ignore_iface: false });
    let _ = matching::serves(&tid, &device, &interfaces);
    drop(tid.to_string());
});
