// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `stacctl`: see its manual page.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use stas::ctl::{self, client::STACCTL_CLIENT};

fn main() -> ExitCode {
    ctl::main("stacctl", |words, world| STACCTL_CLIENT.run(words, world))
}
