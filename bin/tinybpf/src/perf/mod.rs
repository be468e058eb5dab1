// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Perf buffers: one per CPU, written to by `bpf_perf_event_output`.
//!
//! [`protocol`] takes records out of a buffer's bytes; [`PerfReader`] is its shell with events,
//! mappings and an epoll descriptor.

pub mod protocol;
#[cfg(feature = "libbpf")]
mod reader;

#[cfg(feature = "libbpf")]
pub use reader::{PerfEvent, PerfOpts, PerfReader};
