// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether paths of sockets fit where the system takes them, and differ.

use std::collections::BTreeMap;

use super::{Findings, Options};
use crate::check::join;
use crate::config::{Console, Hypervisor, Proto, Vm};

/// How the paths of shares begin.
const SHARES: &str = "shares[";
/// The most bytes of the path of a socket.
const PATH_MAX: usize = 107;

pub(super) fn check(vm: &Vm, options: &Options, found: &mut Findings) {
    let directory = format!("{}/{}", options.state_dir, vm.host_name);
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for (key, path) in all(vm) {
        // Two shares are compared with each other in their own rule, and one without socket, too.
        if let Some(other) = seen.get(&join(&directory, &path)).filter(|_| !path.is_empty()) {
            if !(key.starts_with(SHARES) && other.starts_with(SHARES)) {
                let text = format!("\"{other}\" is the same socket");
                found.error("MV137", key.clone(), text);
            }
        } else {
            seen.insert(join(&directory, &path), key.clone());
        }
        let length = if path.starts_with('/') {
            path.len()
        } else {
            format!("{}/{}/{path}", options.state_dir, vm.host_name).len()
        };
        if length > PATH_MAX {
            let text = format!("socket path is {length} bytes; the limit is {PATH_MAX}");
            found.error("MV115", key, text);
        }
    }
}

/// Every socket of the machine, with the option that it follows from.
pub(super) fn all(vm: &Vm) -> Vec<(String, String)> {
    let mut sockets = Vec::new();
    if let Some(socket) = &vm.socket {
        sockets.push(("socket".to_owned(), socket.clone()));
    }
    if vm.hypervisor != Hypervisor::Vfkit {
        for (at, share) in vm.shares_of(Proto::Virtiofs) {
            let socket = share.socket.clone().unwrap_or_default();
            sockets.push((format!("shares[{at}].socket"), socket));
        }
    }
    let has_process = matches!(vm.hypervisor, Hypervisor::CloudHypervisor | Hypervisor::Crosvm);
    if vm.graphics.enable && has_process {
        sockets.push(("graphics.socket".to_owned(), vm.graphics.socket.clone()));
    }
    let is_mux = matches!(vm.hypervisor, Hypervisor::CloudHypervisor | Hypervisor::Firecracker);
    if vm.vsock.cid.is_some() && is_mux {
        let path = format!("notify.vsock_{}", crate::plan::NOTIFY_PORT);
        sockets.push(("vsock.cid".to_owned(), path));
    }
    if vm.console == Console::Socket && vm.hypervisor == Hypervisor::Qemu {
        sockets.push(("console".to_owned(), format!("{}-console.sock", vm.host_name)));
    }
    sockets
}
