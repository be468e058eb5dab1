// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine in other forms than a package.
//!
//! Pure: what a guest mounts and which modules it needs, what a host sets up by hand, every option
//! on a line of its own, what a change of one needs, and where each word of a command line comes
//! from.

mod guest;
mod need;
mod network;
mod options;
mod origin;

pub use guest::{fstab, modules};
pub use need::{Need, need};
pub use network::net_setup;
pub use options::{Difference, differences, options};
pub use origin::{Group, Known, groups, is_heeded, option, set_at};
