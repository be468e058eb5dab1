// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What tests of the command share.

use std::ffi::OsString;

use microvm::cli::{World, run};

/// Runs a command line: its status, and what it printed.
pub(crate) fn microvm(words: &[&str]) -> (u8, String) {
    let mut out = Vec::new();
    let mut world = World { env: &|_| None, out: &mut out, terminal: false };
    let status = match run(words.iter().map(OsString::from), &mut world) {
        Ok(status) => status,
        Err(failure) => {
            out.extend(format!("failure: {failure}\n").into_bytes());
            failure.exit
        }
    };
    (status, String::from_utf8(out).expect("text"))
}
