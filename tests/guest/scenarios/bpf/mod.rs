// SPDX-License-Identifier: Apache-2.0 OR MIT
//! tinybpf in a guest: a static command in an image without anything else, on kernels that allow
//! what this host's may not.

pub mod boot;
pub mod kinds;
pub mod programs;

use super::Needs;

/// The command and its objects, and the modules of devices and hooks that some need.
const NEEDS: Needs = Needs {
    bpf: true,
    ip: true,
    modules: &["dummy", "veth", "sch_ingress", "cls_bpf"],
    ..Needs::BARE
};
