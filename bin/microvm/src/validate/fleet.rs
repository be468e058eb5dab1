// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What several machines of one host cannot have in common.
//!
//! The second of two machines is told about the first one. Linear in the number of machines.

use std::collections::BTreeMap;

use super::Subject;
use crate::config::{From, Hypervisor, InterfaceType, Vm};
use crate::diag::{Diagnostic, Report};

/// The name of the machine that has a value first.
type Seen<'a, K> = BTreeMap<K, &'a str>;

/// Compares machines that are to run side by side.
#[must_use]
pub fn among(machines: &[Subject<'_>]) -> Report {
    let mut report = Report::default();
    if machines.len() < 2 {
        return report;
    }
    let mut all = All::default();
    for machine in machines {
        let mut found = Report::default();
        all.machine(*machine, &mut found);
        for it in found.iter_mut() {
            it.vm = Some(machine.name.to_owned());
        }
        report.extend(found);
    }
    report
}

/// Compares the address that a machine takes in the kernel with those that other machines of the
/// host have: the address, and the name of its machine.
#[must_use]
pub fn used_cid(name: &str, cid: Option<u32>, used: &BTreeMap<u32, String>) -> Option<Diagnostic> {
    let cid = cid?;
    used.get(&cid).filter(|other| *other != name).map(|other| shared_cid(cid, other))
}

fn shared_cid(cid: u32, other: &str) -> Diagnostic {
    let text = format!("CID {cid} is also used by VM \"{other}\"");
    Diagnostic::error("MV119", "vsock.cid", text)
}

/// The address that a machine takes in the kernel of the host. Two hypervisors keep theirs behind a
/// socket of the machine's own.
#[must_use]
pub fn kernel_cid(hypervisor: &str, cid: Option<u32>) -> Option<u32> {
    let has_own = [Hypervisor::CloudHypervisor, Hypervisor::Firecracker];
    cid.filter(|_| !has_own.iter().any(|it| it.name() == hypervisor))
}

/// Values of the machines so far.
#[derive(Default)]
struct All<'a> {
    names: Seen<'a, &'a str>,
    cids: Seen<'a, u32>,
    taps: Seen<'a, &'a str>,
    macs: Seen<'a, &'a str>,
    images: BTreeMap<&'a str, (&'a str, bool)>,
    ports: Seen<'a, (&'a str, u32, &'a str)>,
}

impl<'a> All<'a> {
    fn machine(&mut self, machine: Subject<'a>, found: &mut Report) {
        let (name, vm) = (machine.name, machine.vm);
        if let Some(other) = first(&mut self.names, vm.host_name.as_str(), name) {
            let text = format!("VM \"{other}\" has the same hostName");
            found.push(Diagnostic::error("MV008", "hostName", text));
        }
        if let Some(cid) = kernel_cid(vm.hypervisor.name(), vm.vsock.cid) {
            if let Some(other) = first(&mut self.cids, cid, name) {
                found.push(shared_cid(cid, other));
            }
        }
        self.interfaces(name, vm, found);
        for (at, volume) in vm.volumes.iter().enumerate() {
            // Other paths are taken from the directory of the machine.
            if !volume.image.starts_with('/') {
                continue;
            }
            let writes = !volume.read_only;
            match self.images.get_mut(volume.image.as_str()) {
                Some((other, written)) => {
                    if *other != name && (writes || *written) {
                        let text = format!("VM \"{other}\" has the same image, and one of the two");
                        let path = format!("volumes[{at}].image");
                        found.push(Diagnostic::error("MV140", path, text + " writes to it"));
                    }
                    *written |= writes;
                }
                None => {
                    self.images.insert(&volume.image, (name, writes));
                }
            }
        }
        for (at, forward) in vm.forward_ports.iter().enumerate() {
            if forward.from == From::Host {
                let key = (forward.host.address.as_str(), forward.host.port, &*forward.proto);
                if let Some(other) = first(&mut self.ports, key, name) {
                    let text = format!("VM \"{other}\" forwards the same port of the host");
                    let path = format!("forwardPorts[{at}].host.port");
                    found.push(Diagnostic::warning("MV132", path, text));
                }
            }
        }
    }

    fn interfaces(&mut self, name: &'a str, vm: &'a Vm, found: &mut Report) {
        for (at, interface) in vm.interfaces.iter().enumerate() {
            if matches!(interface.kind, InterfaceType::Tap | InterfaceType::Macvtap) {
                if let Some(other) = first(&mut self.taps, interface.id.as_str(), name) {
                    let text = format!("VM \"{other}\" has an interface of the same id");
                    let path = format!("interfaces[{at}].id");
                    found.push(Diagnostic::error("MV121", path, text));
                }
            }
            if let Some(other) = first(&mut self.macs, interface.mac.as_str(), name) {
                let text = format!("VM \"{other}\" has an interface of the same address");
                let path = format!("interfaces[{at}].mac");
                found.push(Diagnostic::warning("MV123", path, text));
            }
        }
    }
}

/// Files `key` under `name`; the name of another machine that has it already.
fn first<'a, K: Ord>(seen: &mut Seen<'a, K>, key: K, name: &'a str) -> Option<&'a str> {
    let other = *seen.entry(key).or_insert(name);
    (other != name).then_some(other)
}
