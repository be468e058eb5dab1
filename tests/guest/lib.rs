// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest in which the programs meet a real kernel: devices, modules, a storage target on
//! loopback.
//!
//! Two programs share this library. `guest` runs on the host: [`host`] packs the kernel, a few
//! modules, our static programs and what a scenario asks for into an image, boots it under QEMU
//! without any privilege, and judges the lines that come back. `guest-init` is the only process of
//! ours in the guest: [`inside`] mounts the file systems, loads the modules and runs one of the
//! [`scenarios`].
//!
//! | module | runs on | holds |
//! |---|---|---|
//! | [`host`] | the host | archive, library and module closures, image, QEMU, command line |
//! | [`inside`] | the guest | boot, waiting, targets, controllers, daemons, bus, uevents |
//! | [`fakedc`] | either | a discovery controller that says what it is told, and misbehaves |
//! | [`scenarios`] | both | what each scenario needs (for the host) and does (in the guest) |
//! | [`wire`] | both | the lines in which a guest reports |

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool of the tests, whose lines are its reports"
)]

pub mod fakedc;
pub mod host;
pub mod inside;
pub mod scenarios;
pub mod wire;
