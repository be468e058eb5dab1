// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the daemons decide, without touching the system.
//!
//! Values come in as [`port::Input`], wishes go out as [`port::Action`]; the modules below are
//! either the machines that turn the one into the other, or the pure rules that these machines
//! apply.

/// The subsystem NQN that every discovery controller answers to (NVM Express Base Specification,
/// "well-known Discovery Service NQN").
pub const DISC_NQN: &str = "nqn.2014-08.org.nvmexpress.discovery";

pub mod api;
mod base;
pub mod candidate;
pub mod cid;
pub mod confedit;
pub mod connector;
pub mod control;
pub mod controller;
pub mod dc;
pub mod exclude;
pub mod fabrics;
pub mod fetch;
pub mod filter;
pub mod finder;
pub mod fleet;
pub mod foreign;
pub mod hostid;
pub mod hosts;
pub mod identity;
pub mod iface;
pub mod ioc;
pub mod ip;
pub mod lkc;
pub mod logpage;
pub mod machine;
pub mod matching;
pub mod names;
pub mod port;
pub mod portal;
pub mod python;
mod quiet;
pub mod report;
pub mod secret;
pub mod settings;
pub mod system;
#[cfg(test)]
mod testing;
pub mod tid;
pub mod timer;
pub mod timespan;
