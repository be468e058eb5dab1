// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Configuration files, from their syntax to the settings of both daemons.
//!
//! Nothing may be reported at a line that the file does not have.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plinth::config::ini::Ini;
use stas::core::settings::{Role, Settings};

fuzz_target!(|text: &str| {
    let lines = u32::try_from(text.lines().count()).expect("short");
    match Ini::parse(text) {
        Ok(ini) => {
            assert!(ini.entries.iter().all(|it| (1..=lines).contains(&it.line)));
            assert!(ini.sections.iter().all(|(_, line)| (1..=lines).contains(line)));
        }
        Err(error) => assert!((1..=lines).contains(&error.line), "{error}"),
    }
    for role in [Role::Finder, Role::Connector] {
        let (_, diagnostics) = Settings::parse(role, &[("fuzz.conf", text)]);
        let lines_told = diagnostics.iter().filter_map(|it| it.line);
        assert!(lines_told.into_iter().all(|line| (1..=lines).contains(&line)));
    }
});
