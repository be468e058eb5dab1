// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `guest-init`: process 1 of the guest.

use std::process::ExitCode;

fn main() -> ExitCode {
    rig::inside::boot::main()
}
