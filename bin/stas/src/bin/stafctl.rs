// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `stafctl`: see its manual page.
fn main() {}
