// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `guest-init`: process 1 of the guest.

fn main() {
    rig::inside::boot::main();
}
