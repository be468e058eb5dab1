// SPDX-License-Identifier: Apache-2.0 OR MIT
//! tinybpf in a guest: a static command in an image without anything else, on kernels that allow
//! what this host's may not.

pub mod boot;
pub mod command;
pub mod kinds;
mod matrix;
pub mod programs;

use super::Needs;

/// The objects, and the modules of devices and hooks that some need.
const OBJECTS: Needs = Needs {
    objects: true,
    ip: true,
    modules: &["dummy", "veth", "sch_ingress", "cls_bpf"],
    ..Needs::BARE
};

/// The command besides.
const NEEDS: Needs = Needs { bpf: true, ..OBJECTS };
