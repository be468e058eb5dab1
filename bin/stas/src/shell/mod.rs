// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What touches the system for `stafd` and `stacd`: descriptors, processes, files, the bus.
//!
//! Decides nothing: readiness becomes an input of a core, and a core's actions become calls.

pub mod config;
pub mod kernel;
pub mod key;
pub mod probe;
pub mod resolve;
pub mod sysfs;
