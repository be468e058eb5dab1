// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Headers of compressed kernels: what is said to be packed lies within the image.
#![no_main]

use libfuzzer_sys::fuzz_target;
use microvm::kernel::payload;

fuzz_target!(|data: &[u8]| {
    if let Ok(found) = payload(data) {
        assert!(data.get(found.bytes).is_some());
    }
});
