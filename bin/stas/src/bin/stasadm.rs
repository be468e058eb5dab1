// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `stasadm`: see its manual page.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use stas::ctl::{self, admin};

fn main() -> ExitCode {
    ctl::main("stasadm", |words, world| admin::run(words, world))
}
