// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `stacd`: see its manual page.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use stas::core::connector::Connector;

fn main() -> ExitCode {
    stas::shell::start::main::<Connector>()
}
