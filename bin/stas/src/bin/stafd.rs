// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `stafd`: see its manual page.
fn main() {}
