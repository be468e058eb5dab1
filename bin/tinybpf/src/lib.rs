// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loads pre-compiled eBPF objects, attaches their programs, reads and writes their maps, streams
//! their events.
//!
//! What is pure (BTF, values, hooks, the manifest's plan, the ring protocol) is compiled always;
//! what speaks to the kernel through libbpf is behind the feature `libbpf`, and its unsafe code is
//! confined to `sys`.

pub mod btf;
pub mod diagnosis;
pub mod errno;
pub mod error;
pub mod event;
pub mod hook;
pub mod kinds;
pub mod near;
pub mod number;
pub mod reference;
pub mod typed;
pub mod value;
