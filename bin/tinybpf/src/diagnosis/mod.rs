// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds out what an error number meant: from libbpf's log and from facts about the system.
//!
//! Owns the judgement, as pure functions: [`log`] reads what libbpf and the verifier wrote,
//! [`load`] names the cause of a failed open or load, [`permission`] explains a refusal. Gathering
//! facts is left to the callers. libbpf's own advice about `ulimit -l` is dropped: it is printed
//! for every `EPERM`, whatever the cause.

pub mod load;
pub mod log;
pub mod permission;
