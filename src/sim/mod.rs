// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The deterministic simulation kit: a clock that jumps, and a network that misbehaves on purpose.
//!
//! A simulated world is a [`Schedule`] of things that will happen, the machines that they happen
//! to, and a seed. Time passes by taking the next thing off the schedule; nothing sleeps, and the
//! same seed gives the same run. [`Link`] decides the fate of what travels: how late it arrives,
//! and whether it arrives. What the things are, and what must hold after each, is the world's.

mod link;
mod schedule;

pub use link::{Fate, Link};
pub use schedule::Schedule;
