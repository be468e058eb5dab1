// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Texts inside other languages, one encoder for each.
//!
//! Whatever a description says stays inside its argument: in a shell script, and inside the value
//! of a hypervisor's option. What a language cannot express is refused before, in `validate`.

mod alioth;
mod shell;
mod vmm;

pub use alioth::Objects;
pub use shell::{EDITS, shell, shell_word};

pub use vmm::{
    bare, cloud_hypervisor, crosvm, crosvm_first, kvmtool_disk, qemu, qemu_file, qemu_first,
    uri_path,
};
