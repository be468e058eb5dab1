// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The scenarios as tests, one for each scenario and kernel it names.
//!
//! The names begin with `root_`: what they show happens with all privileges, inside a guest. On the
//! host they need none, only what `tests/setup.sh` brings.

use rig::host::run::{Options, run};
use rig::scenarios::{Kernel, find};

/// Runs one scenario and panics with its whole story when it fails.
fn boot(name: &str, kernel: Kernel) {
    let scenario = find(name).expect("the test names a scenario");
    if let Err(error) = run(scenario, kernel, Options::default()) {
        panic!("{error}");
    }
}

macro_rules! scenarios {
    ($($test:ident: $name:literal on $kernel:ident;)*) => {
        $(#[test]
        fn $test() {
            boot($name, Kernel::$kernel);
        })*
    };
}

scenarios! {
    root_connects_6_1: "connects" on V6_1;
    root_connects_6_12: "connects" on V6_12;
    root_fake_dc_6_1: "fake-dc" on V6_1;
    root_fake_dc_6_12: "fake-dc" on V6_12;
    root_reference_6_12: "reference" on V6_12;
}
