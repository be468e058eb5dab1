// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Netlink: the message format, the route protocol, and a socket that speaks it.
//!
//! [`message`] knows the framing that every netlink family shares, [`route`] the links, addresses
//! and routes of `rtnetlink(7)`; both are pure and never panic on any bytes. [`interface`] builds
//! the table of interfaces from them, [`socket`] asks the kernel. Descriptors with the credentials
//! of the sender are [`crate::sys::netlink`]; device events are [`crate::udev`].
//!
//! Multi-byte integers are in the byte order of the machine (`netlink(7)`) unless said otherwise.

pub mod interface;
pub mod message;
pub mod route;
pub mod socket;

pub use interface::Interface;
pub use message::Malformed;
pub use socket::{News, RouteSocket};
