// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Machines that are started to see whether they work, and how soon.
//!
//! Owns the test of an example, from ports that are free to a machine that is gone, and the
//! measurement of a start. [`constants`] and [`nested`] are pure: what the examples share. The
//! machine is that of a runner package, started by its own script and stopped by its own script; it
//! is gone when this process is.

mod benchmark;
mod check;
pub mod constants;
mod error;
mod machine;
mod measure;
pub mod nested;
mod probe;
mod test;

pub use benchmark::benchmark;
pub use check::{Check, check};
pub use error::TrialError;
pub use machine::{Running, clean_up, directory};
pub use measure::{Measured, Wanted, measure};
pub use probe::is_open;
pub use test::{Package, Verdict, test};
