// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ring buffers: what programs send to user space, and what user space sends to programs.
//!
//! [`protocol`] is the consumer's side as a pure machine over memory; [`RingReader`] is its shell
//! with mappings and an epoll descriptor. [`UserRing`] goes the other way.

pub mod protocol;
#[cfg(feature = "libbpf")]
mod reader;
#[cfg(feature = "libbpf")]
mod user;

#[cfg(feature = "libbpf")]
pub(crate) use reader::wait;
#[cfg(feature = "libbpf")]
pub use reader::{BUDGET, RingId, RingReader, RingStats, Sample};
#[cfg(feature = "libbpf")]
pub use user::{Slot, UserRing};

/// How a drain went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Samples that were handed out.
    pub events: u64,
    /// The callback broke off.
    pub stopped: bool,
    /// Samples are left, by a stop or the budget: come back without waiting, since the kernel wakes
    /// only readers that had caught up.
    pub more: bool,
}
