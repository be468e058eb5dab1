// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Command lines: what they must be, and what the programs say to them.

mod alioth;
mod decode;
mod golden;
mod options;
mod qemu;
mod support;
mod tables;
mod values;
