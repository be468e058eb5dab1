// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host's half: packs an image, boots it, judges what comes back.
//!
//! Needs no privilege. What it reads (kernels, foreign programs, the reference disk) is brought by
//! `tests/setup.sh`; what it builds (our static programs) it builds once per process with cargo. No
//! emulator outlives the process that started it.

pub mod bare;
pub mod build;
pub mod cli;
pub mod cpio;
pub mod demo;
pub mod elf;
pub mod image;
pub mod kinds;
pub mod lab;
pub mod machine;
pub mod modules;
mod nested;
pub mod qemu;
pub mod remote;
pub mod run;
mod services;
