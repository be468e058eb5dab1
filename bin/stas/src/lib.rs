// SPDX-License-Identifier: Apache-2.0 OR MIT
//! NVMe over Fabrics for small hosts: a finder (`stafd`), a connector (`stacd`) and their clients.
//!
//! [`core`] decides and touches nothing; [`shell`] touches the system and decides nothing;
//! [`ctl`] is what the client commands share.
#![forbid(unsafe_code)]

pub mod core;
pub mod ctl;
pub mod shell;
