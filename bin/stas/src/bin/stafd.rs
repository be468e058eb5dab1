// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `stafd`: see its manual page.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use stas::core::finder::Finder;

fn main() -> ExitCode {
    stas::shell::start::main::<Finder>()
}
