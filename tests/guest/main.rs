// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `guest`: boots a guest under QEMU and runs scenarios in it.

use std::process::ExitCode;

fn main() -> ExitCode {
    rig::host::cli::main()
}
