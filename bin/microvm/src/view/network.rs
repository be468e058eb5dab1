// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a host sets up for a machine's network, as commands that a person can read and run.
//!
//! The same as the generated `tap-up` and `macvtap-up` do, without their care for what is there
//! already.

use crate::config::{InterfaceType, Vm};
use crate::plan::tap_multi_queue;
use crate::quote::shell;

/// The commands, one a line; `$USER` stands for the account that runs the hypervisor.
#[must_use]
pub fn net_setup(vm: &Vm) -> Vec<String> {
    let mut lines = Vec::new();
    let queues = if tap_multi_queue(vm) { " multi_queue" } else { "" };
    for interface in &vm.interfaces {
        let id = shell(&interface.id);
        match interface.kind {
            InterfaceType::Tap => {
                lines.push(format!(
                    "ip tuntap add name {id} mode tap user \"$USER\" vnet_hdr{queues}"
                ));
            }
            InterfaceType::Macvtap => {
                let (Some(link), Some(mode)) = (&interface.macvtap.link, &interface.macvtap.mode)
                else {
                    continue;
                };
                lines.push(format!(
                    "ip link add link {} name {id} address {} type macvtap mode {}",
                    shell(link),
                    shell(&interface.mac),
                    shell(mode)
                ));
                lines.push(format!("ip link set {id} allmulticast on"));
            }
            InterfaceType::User | InterfaceType::Bridge => continue,
        }
        if let Some(mtu) = interface.mtu {
            lines.push(format!("ip link set {id} mtu {mtu}"));
        }
        for name in &interface.altname {
            lines.push(format!("ip link property add dev {id} altname {}", shell(name)));
        }
        lines.push(format!("ip link set {id} up"));
        if let Some(bridge) = &interface.tap.bridge {
            lines.push(format!("ip link set {id} master {}", shell(bridge)));
        }
        if interface.kind == InterfaceType::Macvtap {
            lines.push(format!("chown \"$USER\" /dev/tap\"$(cat /sys/class/net/{id}/ifindex)\""));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Interface;

    #[test]
    fn taps_are_made_with_as_many_queues_as_the_machine_opens() {
        let tap = |id: &str| Interface {
            kind: InterfaceType::Tap,
            id: id.to_owned(),
            ..Interface::default()
        };
        let mut first = tap("vm-a");
        first.tap.bridge = Some("br 0".to_owned());
        first.mtu = Some(9000);
        let mut vm = Vm { interfaces: vec![first], vcpu: 2, ..Vm::default() };
        assert_eq!(
            net_setup(&vm),
            [
                "ip tuntap add name vm-a mode tap user \"$USER\" vnet_hdr multi_queue",
                "ip link set vm-a mtu 9000",
                "ip link set vm-a up",
                "ip link set vm-a master 'br 0'",
            ]
        );
        vm.vcpu = 1;
        assert!(net_setup(&vm).iter().all(|line| !line.contains("multi_queue")));
        vm.interfaces = vec![Interface::default()];
        assert!(net_setup(&vm).is_empty());
    }
}
