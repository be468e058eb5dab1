// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the checks share: the tree of the project as text, Rust sources without their comments,
//! measurements and their bars.
//!
//! Owns reading; judging is left to each check. Paths are relative to the root of the project and
//! sorted, so that every run reports in the same order.
#![forbid(unsafe_code)]

pub mod bars;
pub mod code;
pub mod mdoc;
pub mod programs;
pub mod samples;
pub mod tree;
