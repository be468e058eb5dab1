// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Boot manifests and the state that is kept of them.
//!
//! Problems are at places that the file has; a state that was understood survives being written.
#![no_main]

use bpf::manifest::read::parse;
use bpf::manifest::state::State;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match parse("/fuzz.toml", text) {
        Ok(manifest) => {
            for object in &manifest.objects {
                assert!(!object.canonical().contains('\n'));
            }
        }
        Err(problems) => {
            let lines = text.matches('\n').count() + 1;
            assert!(!problems.0.is_empty());
            let positions = problems.0.iter().filter_map(|it| it.position);
            assert!(positions.into_iter().all(|(line, _)| (1..=lines).contains(&line)));
        }
    }
    if let Some(state) = State::decode(text) {
        assert_eq!(State::decode(&state.encode()), Some(state));
    }
});
