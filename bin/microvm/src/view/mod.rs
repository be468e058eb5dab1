// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine in other forms than a package.
//!
//! Pure: what a guest mounts and which modules it needs, what a host sets up by hand, every option
//! on a line of its own.

mod guest;
mod network;
mod options;

pub use guest::{fstab, modules};
pub use network::net_setup;
pub use options::{Difference, differences, options};
