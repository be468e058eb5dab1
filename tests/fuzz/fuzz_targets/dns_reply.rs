// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packets of name servers.
//!
//! The question that an input seems to answer is taken from the input itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stas::core::names::packet::{Kind, Reply, reply};

fuzz_target!(|data: &[u8]| {
    let Some(id) = data.first_chunk().map(|raw| u16::from_be_bytes(*raw)) else { return };
    for kind in [Kind::V4, Kind::V6] {
        let Some(Reply::Addresses(addresses)) = reply(data, id, "target.example", kind) else {
            continue;
        };
        assert!(addresses.iter().all(|it| it.is_ipv4() == (kind == Kind::V4)));
    }
});
