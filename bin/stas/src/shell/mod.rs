// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What touches the system for `stafd` and `stacd`: descriptors, processes, files, the bus.
//!
//! Decides nothing: readiness becomes an input of a core, and a core's actions become calls.

pub mod ask;
pub mod autoconnect;
pub mod bus;
pub mod children;
pub mod config;
pub mod control;
pub mod daemon;
pub mod devices;
pub mod fabrics;
pub mod kernel;
pub mod key;
pub mod manager;
pub mod options;
pub mod peer;
pub mod probe;
pub mod registry;
pub mod resolve;
pub mod start;
pub mod state;
pub mod sysfs;
pub mod units;
