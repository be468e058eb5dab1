// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Type tables, alone and laid over another, and everything that follows their references.
//!
//! Whatever type can be decoded gives valid JSON of whatever bytes.
#![no_main]

use std::sync::Arc;

use bpf::btf::{Btf, core_relocations};
use bpf::value::{Format, Shape};
use libfuzzer_sys::fuzz_target;

/// Bytes of a value that is decoded here; larger ones only take longer.
const VALUE_LEN_MAX: usize = 4096;

fuzz_target!(|data: &[u8]| {
    drop(core_relocations(data));
    let Ok(btf) = Btf::parse(data) else { return };
    for (id, _) in btf.types() {
        drop(btf.size_of(id));
        assert!(btf.spell(id).len() < 1 << 20);
        drop(btf.c_struct(id));
        assert!(btf.struct_of(id).is_none_or(|it| btf.get(it).is_ok()));
        let Ok(shape) = Shape::of(&btf, id) else { continue };
        if shape.size() > VALUE_LEN_MAX {
            continue;
        }
        let bytes: Vec<u8> = data.iter().copied().cycle().take(shape.size()).collect();
        let mut line = String::new();
        shape.write_json(&bytes, Format::default(), &mut line).expect("long enough");
        serde_json::from_str::<serde::de::IgnoredAny>(&line).expect("JSON");
    }
    drop(btf.anchored());
    let base = Arc::new(btf);
    if let Ok(split) = Btf::parse_split(data, Arc::clone(&base)) {
        assert!(split.len() >= base.len());
        drop(split.anchored());
    }
});
