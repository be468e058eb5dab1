// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runner packages: a tree of files with the hash of its content, in memory and on disk.
//!
//! Owns what a package is made of, how two are compared, and how one reaches the disk: whole or not
//! at all. What stands in the files is decided by their makers.

mod store;
mod tree;

pub use store::{Place, StoreError, Written, write_all};
pub(crate) use tree::pretty;
pub use tree::{Entry, Hash, RUNNER, RUNNER_MAX, Tree};
