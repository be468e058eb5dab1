// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `stasadm`: see its manual page.
fn main() {}
