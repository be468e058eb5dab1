// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values that people give, for types of hostile tables: the first two bytes say how long the table
//! is, JSON follows.
//!
//! What was encoded decodes, and is encoded to the same bytes again where no union hides a part.
#![no_main]

use bpf::btf::Btf;
use bpf::value::{Encode, Format, Shape, parse_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((len, rest)) = data.split_first_chunk::<2>() else { return };
    let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
    let (table, json) = rest.split_at(len);
    let (Ok(btf), Ok(text)) = (Btf::parse(table), std::str::from_utf8(json)) else { return };
    let Ok(value) = parse_json(text) else { return };
    let options = Encode { defaults: true, no_nul: true };
    for (id, _) in btf.types() {
        let Ok(shape) = Shape::of(&btf, id) else { continue };
        if shape.size() > 1 << 16 {
            continue;
        }
        let Ok(bytes) = shape.encode("value", &value, options) else { continue };
        let again = shape.decode(&bytes, true).expect("as long as its type");
        let line = again.to_json(Format::default());
        serde_json::from_str::<serde::de::IgnoredAny>(&line).expect("JSON");
        if let Ok(bytes) = shape.encode("value", &again, options) {
            let shown = shape.decode(&bytes, true).expect("as long as its type");
            assert_eq!(shown.to_json(Format::default()), line);
        }
    }
});
