// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptions of machines in TOML, up to the rules.
//!
//! Findings stand inside the text and have a message; what was found without error has a name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use microvm::pipeline::{self, Options, Unread};

fuzz_target!(|text: &str| {
    let read = |path: &str| match path {
        "/f/in.toml" => Ok(text.to_owned()),
        _ => Err(Unread::Refused("not there".to_owned())),
    };
    let loaded = pipeline::load("/f/in.toml", "in.toml", &read, &Options::default());
    let lines = text.matches('\n').count() + 1;
    for it in loaded.report.iter() {
        assert!(!it.message.is_empty());
        if let Some(place) = it.place {
            assert!((1..=lines).contains(&loaded.files.position(place).line));
        }
    }
    assert!(loaded.machines.iter().all(|it| loaded.report.has_errors() || !it.name.is_empty()));
});
