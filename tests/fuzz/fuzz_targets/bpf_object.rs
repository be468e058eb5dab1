// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Object files: the header's judgement, and everything that is read without loading.
#![no_main]

use bpf::btf::TypeId;
use bpf::elf::{check_loadable, identify, inspect, needs, sections};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let found = inspect(data);
    assert!(found.is_err() || identify(data).is_ok());
    if check_loadable(data).is_ok() {
        assert!(found.is_ok());
    }
    let Ok(found) = found else { return };
    drop(needs(&found));
    for program in &found.programs {
        let _ = program.meaning().attaches();
        drop(sections::near(&program.section));
    }
    let Some(btf) = &found.btf else { return };
    for map in &found.maps {
        drop(btf.spell(map.value.unwrap_or(TypeId::VOID)));
    }
});
