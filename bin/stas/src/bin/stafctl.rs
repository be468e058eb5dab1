// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `stafctl`: see its manual page.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use stas::ctl::{self, client::STAFCTL_CLIENT};

fn main() -> ExitCode {
    ctl::main("stafctl", |words, world| STAFCTL_CLIENT.run(words, world))
}
