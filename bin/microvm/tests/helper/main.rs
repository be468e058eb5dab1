// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm internal` as a process: beside QEMU, file systems and terminals of this host, and
//! beside peers that follow a script.
//!
//! Nothing here judges speed. Waits are long, and end with an event.

mod control;
mod host;
mod launch;
mod net;
mod relay;
mod support;
mod virtiofs;
mod volume;
