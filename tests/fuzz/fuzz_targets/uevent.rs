// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Uevent messages of the kernel and of udev daemons.
//!
//! What was understood must survive being written in either format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plinth::udev::Uevent;
use plinth::udev::packet::Format;

fuzz_target!(|data: &[u8]| {
    let Ok(event) = Uevent::decode(data) else { return };
    assert!(!event.sysname().contains('/'));
    let udev = Uevent::decode(&event.encode(Format::Udev));
    assert_eq!(udev.as_ref(), Ok(&event));
    // The header of a kernel message ends at the path, which must look like one.
    if event.devpath.starts_with('/') && !event.action.contains('@') {
        assert_eq!(Uevent::decode(&event.encode(Format::Kernel)), Ok(event));
    }
});
