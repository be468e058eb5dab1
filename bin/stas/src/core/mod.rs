// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the daemons decide, without touching the system.
//!
//! Values come in as [`port::Input`], wishes go out as [`port::Action`]; the modules below are either
//! the machines that turn the one into the other, or the pure rules that these machines apply.

/// The subsystem NQN that every discovery controller answers to (NVM Express Base Specification,
/// "well-known Discovery Service NQN").
pub const DISC_NQN: &str = "nqn.2014-08.org.nvmexpress.discovery";

pub mod cid;
pub mod confedit;
pub mod control;
pub mod exclude;
pub mod fabrics;
pub mod filter;
pub mod hostid;
pub mod identity;
pub mod iface;
pub mod ip;
pub mod matching;
pub mod names;
pub mod port;
pub mod secret;
pub mod settings;
pub mod tid;
pub mod timespan;
