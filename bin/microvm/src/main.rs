// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm`: see its manual page.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    microvm::cli::main()
}
