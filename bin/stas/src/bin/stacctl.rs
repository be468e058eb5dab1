// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `stacctl`: see its manual page.
fn main() {}
