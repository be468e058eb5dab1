// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `stacd`: see its manual page.
fn main() {}
