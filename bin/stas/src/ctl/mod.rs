// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the client commands share: how they ask, and how they print.

pub mod args;
pub mod json;
pub mod python;
pub mod table;
