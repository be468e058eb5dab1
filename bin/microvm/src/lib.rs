// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The library behind `microvm`: one description of a virtual machine, a runner package for each of
//! eight hypervisors, and the management of such packages on a host.
//!
//! A description goes one way, and each step is a function of the one before it alone: no clock, no
//! chance, no look at the host. The same input gives the same bytes on every machine.
//!
//! | step | module | from, to |
//! |---|---|---|
//! | parse | `source` | text, a tree of values that know their places |
//! | merge | `merge` | layers, one tree |
//! | check | `schema`, `check` | a tree, the same held to the table of keys |
//! | defaults | `config` | a tree, a typed machine with every value set |
//! | validate | `validate` | a machine, diagnostics |
//! | plan | `plan` | a machine, the words of the hypervisor's command line and what surrounds them |
//! | emit | `emit`, `package` | a plan, a tree of files in memory |
//!
//! `view` shows a machine in other forms: what its guest mounts, how two of them differ. `import`
//! reads options of microvm.nix, `kernel` finds the kernel in a compressed one.
//!
//! What touches the system stands apart: `build` reads files, `image` makes root images, `ctl`
//! talks to hypervisors, `helper` does for the scripts what a shell cannot, `host` keeps the
//! packages of a host, `trial` starts machines to see how they do, and `cli` is the command. What
//! is done to many machines is done by `parallel`, on all processors.
#![forbid(unsafe_code)]

pub mod build;
pub mod check;
pub mod cli;
pub mod config;
pub mod ctl;
pub mod diag;
pub mod emit;
pub mod facts;
pub mod helper;
pub mod host;
pub mod image;
pub mod import;
pub mod kernel;
pub mod merge;
pub mod package;
mod parallel;
pub mod pipeline;
pub mod plan;
pub mod quote;
pub mod schema;
pub mod source;
pub mod trial;
pub mod validate;
pub mod view;
