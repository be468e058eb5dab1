// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Samples of ring and perf buffers as lines: which type they have, what is written of them.
//!
//! Owns the choice of a type and the form of a line. Reading the buffers is left to the readers.
//! Whatever a sample holds, it becomes one line, and the stream goes on.

mod choice;
mod filter;
mod line;

#[cfg(test)]
mod tests;

pub use choice::{Choice, ChoiceError, Chosen, Variant, choose};
pub use filter::{Filter, FilterError};
pub use line::{Form, Padding, Stream, push_loss};
