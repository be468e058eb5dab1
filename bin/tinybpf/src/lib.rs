// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loads pre-compiled eBPF objects, attaches their programs, reads and writes their maps, streams
//! their events.
//!
//! What is pure (BTF, values, hooks, the manifest's plan, the ring protocol) is compiled always;
//! what speaks to the kernel through libbpf is behind the feature `libbpf`, and its unsafe code is
//! confined to `sys`.

#[cfg(feature = "libbpf")]
pub mod bpffs;
pub mod btf;
#[cfg(feature = "libbpf")]
pub mod cli;
pub mod diagnosis;
pub mod elf;
pub mod errno;
pub mod error;
pub mod event;
#[cfg(feature = "libbpf")]
pub mod features;
pub mod hook;
#[cfg(feature = "libbpf")]
pub mod host;
#[cfg(feature = "libbpf")]
pub mod ids;
pub mod kinds;
#[cfg(feature = "libbpf")]
pub mod link;
pub mod manifest;
#[cfg(feature = "libbpf")]
pub mod map;
pub mod number;
#[cfg(feature = "libbpf")]
pub mod object;
pub mod perf;
#[cfg(feature = "libbpf")]
pub mod program;
pub mod reference;
pub mod ring;
#[cfg(feature = "libbpf")]
pub mod skeleton;
pub mod symbols;
#[cfg(feature = "libbpf")]
pub mod sys;
pub mod typed;
pub mod value;

/// The version of this crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of the libbpf that is linked in: major, minor, and as it calls itself (`v1.7`).
#[cfg(feature = "libbpf")]
#[must_use]
pub fn libbpf_version() -> (u32, u32, &'static str) {
    sys::system::libbpf_version()
}
