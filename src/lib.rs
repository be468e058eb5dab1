// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The shared utility crate of the Plinth toolkit.
//!
//! Modules form layers; a module imports only from layers below its own, and in L0 from others of
//! L0 without going round in circles (`tests/tidy.rs`).
//!
//! | layer | modules | may touch |
//! |---|---|---|
//! | L0 | [`backoff`], [`cli`], [`err`], [`near`], [`rand`], [`sorting`], [`text`], [`time`] | memory, and the clock in `time` |
//! | L1 | [`file`], [`log`], [`sys`] | files, descriptors; `sys` holds all unsafe code |
//! | L2 | [`config`], [`event`], [`netlink`], [`proc`], [`udev`] | sockets, child processes |
//! | L3 | [`bus`], [`pool`], [`service`], [`sim`] | the loop and what lives on it |
//!
//! [`file`]: mod@file

pub mod backoff;
#[cfg(feature = "bus")]
pub mod bus;
pub mod cli;
pub mod config;
pub mod err;
pub mod event;
pub mod file;
pub mod log;
pub mod near;
pub mod netlink;
pub mod pool;
pub mod proc;
pub mod rand;
pub mod service;
#[cfg(feature = "sim")]
pub mod sim;
pub mod sorting;
pub mod sys;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod time;
pub mod udev;
