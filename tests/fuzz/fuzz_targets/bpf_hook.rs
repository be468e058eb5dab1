// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What people type: hooks, references, numbers, filters, variants.
//!
//! What was understood is shown so that it is understood as the same.
#![no_main]

use bpf::event::{Filter, Variant};
use bpf::hook::Hook;
use bpf::number;
use bpf::reference::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(hook) = text.parse::<Hook>() {
        assert_eq!(hook.to_string().parse::<Hook>(), Ok(hook));
    }
    if let Ok(reference) = Reference::parse(text) {
        assert_eq!(Reference::parse(&reference.to_string()), Ok(reference));
    }
    if let Ok(value) = number::integer(text) {
        assert_eq!(number::integer(&value.to_string()), Ok(value));
    }
    drop(number::size(text));
    drop(number::hex_bytes(text));
    drop(Filter::parse(text));
    drop(Variant::parse(text));
});
