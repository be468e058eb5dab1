// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's half: process 1, and the hands with which a scenario works.
//!
//! A scenario returns [`Outcome`]; the first [`Trouble`] ends it and is reported together with the
//! logs of everything it started. Waiting is always for a condition and always bounded.

pub mod boot;
pub mod bpf;
pub mod bus;
pub mod controllers;
pub mod digest;
pub mod manager;
pub mod measure;
pub mod nested;
pub mod nvmet;
pub mod process;
pub mod reference;
pub mod say;
pub mod stas;
pub mod trouble;
pub mod uevents;
pub mod wait;

pub use trouble::{Outcome, Trouble, ensure, ensure_eq};
