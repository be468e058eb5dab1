// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is read from `/dev/nvme-fabrics`: the answer to a connect, and the list of options.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stas::core::fabrics::{self, Support};

fuzz_target!(|text: &str| {
    match fabrics::parse_reply(text) {
        Ok(instance) => assert!(
            text.contains("instance")
                && text.contains(instance.to_string().trim_start_matches('0'))
        ),
        Err(error) => drop(error.to_string()),
    }
    let listed = Support::from_listing(text);
    assert!(!listed.has("no such option") || text.contains("no such option"));
    assert!(!Support::from_kernel_version(text).has("no such option"));
});
