// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Texts inside other languages, one encoder for each.
//!
//! Whatever a description says stays inside its argument: in a shell script, and inside the value
//! of a hypervisor's option. What a language cannot express is refused before, in `validate`.

mod shell;

pub use shell::{shell, shell_word};

/// A value among others that commas separate, for QEMU: a comma is doubled.
#[must_use]
pub fn qemu(text: &str) -> String {
    text.replace(',', ",,")
}
