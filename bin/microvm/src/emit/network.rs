// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The scripts that make and remove network interfaces of the host.
//!
//! They call `ip`, so that people can read what happens and do it by hand. Where there is none, or
//! one that knows no taps, as in an initial file system, this program does the same through the
//! kernel's interfaces.

use super::script::Script;
use crate::config::{Interface, InterfaceType, Vm};
use crate::plan::Plan;
use crate::quote::shell;

/// Whether there is an `ip` that knows everything: busybox has its own, which has no version, and
/// whose shell takes it before any other.
const IPROUTE: &str = "ip -V >/dev/null 2>&1";

/// The name of the script for interfaces of this kind.
pub(super) const fn name(kind: InterfaceType, up: bool) -> &'static str {
    match (kind, up) {
        (InterfaceType::Macvtap, true) => "macvtap-up",
        (InterfaceType::Macvtap, false) => "macvtap-down",
        (_, true) => "tap-up",
        (_, false) => "tap-down",
    }
}

/// Writes the script.
pub(super) fn fill(script: &mut Script, vm: &Vm, plan: &Plan, kind: InterfaceType, up: bool) {
    let is_tap = kind == InterfaceType::Tap;
    script.uses_helper().uses_package();
    let call = format!("\"$MICROVM\" internal net {} --package \"$package\"", name(kind, up));
    if is_tap && up {
        // What is there and fits may be kept; only the kernel's own interface can tell.
        script.line("if [ \"${1-}\" = --keep ]; then");
        script.line(format!("  {call} --keep"));
        script.line(format!("elif {IPROUTE}; then"));
    } else {
        script.line(format!("if {IPROUTE}; then"));
    }
    if up {
        let assigned = if is_tap { "user" } else { "owner" };
        script.line(format!("  {assigned}=${{MICROVM_USER:-microvm}}"));
        if !is_tap {
            script.line("  group=${MICROVM_GROUP:-kvm}");
        }
    }
    for (_, interface) in vm.interfaces_of(kind) {
        match (kind, up) {
            (_, false) => down(script, interface),
            (InterfaceType::Macvtap, true) => macvtap(script, interface),
            (_, true) => tap(script, interface, plan.tap_multi_queue),
        }
    }
    script.line("else");
    script.line(format!("  {call}"));
    script.line("fi");
}

/// Removes the interface if it is there.
fn remove(script: &mut Script, interface: &Interface) {
    let id = shell(&interface.id);
    script.line(format!("  [ ! -e /sys/class/net/{id} ] || ip link delete {id}"));
}

fn down(script: &mut Script, interface: &Interface) {
    let id = shell(&interface.id);
    script.line(format!("  [ ! -e /sys/class/net/{id} ] || ip link delete {id} || :"));
}

fn tap(script: &mut Script, interface: &Interface, multi_queue: bool) {
    let id = shell(&interface.id);
    let queues = if multi_queue { " multi_queue" } else { "" };
    remove(script, interface);
    script.line(format!("  ip tuntap add name {id} mode tap user \"$user\" vnet_hdr{queues}"));
    common(script, interface);
    script.line(format!("  ip link set {id} up"));
    if let Some(bridge) = &interface.tap.bridge {
        script.line(format!("  ip link set {id} master {}", shell(bridge)));
    }
}

fn macvtap(script: &mut Script, interface: &Interface) {
    let id = shell(&interface.id);
    let (Some(link), Some(mode)) = (&interface.macvtap.link, &interface.macvtap.mode) else {
        return;
    };
    let (link, mac) = (shell(link), shell(&interface.mac));
    remove(script, interface);
    script.line(format!(
        "  ip link add link {link} name {id} address {mac} type macvtap mode {}",
        shell(mode)
    ));
    common(script, interface);
    script.line(format!("  ip link set {id} allmulticast on"));
    let ipv6 = format!("/proc/sys/net/ipv6/conf/{id}/disable_ipv6");
    script.line(format!("  [ ! -e {ipv6} ] || echo 1 >{ipv6}"));
    script.line(format!("  ip link set {id} up"));
    script.line(format!("  read -r index </sys/class/net/{id}/ifindex"));
    script.line("  chown \"$owner:$group\" \"/dev/tap$index\"");
}

/// The size of packets, and further names.
fn common(script: &mut Script, interface: &Interface) {
    let id = shell(&interface.id);
    if let Some(mtu) = interface.mtu {
        script.line(format!("  ip link set {id} mtu {mtu}"));
    }
    for name in &interface.altname {
        script.line(format!("  ip link property add dev {id} altname {}", shell(name)));
    }
}
