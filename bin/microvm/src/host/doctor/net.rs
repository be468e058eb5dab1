// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The network that machines of this host find: bridges, links, QEMU's helper, forwarding.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::Value;

use super::machine::Machine;
use super::{Finding, Level};
use crate::host::Host;

/// Where the helper for bridges is installed.
const HELPERS: [&str; 2] = ["/usr/lib/qemu/qemu-bridge-helper", "/usr/libexec/qemu-bridge-helper"];
/// The bridges that the helper may use.
const RULES: &str = "/etc/qemu/bridge.conf";
/// The number of the capability that the helper needs.
const CAP_NET_ADMIN: u32 = 12;
/// The bytes of the attribute with a file's capabilities.
const CAPABILITIES_MAX: usize = 64;

/// The helper that would be used, with whether it can do its work.
///
/// Capabilities are reported, never given.
pub(super) fn helper(host: &Host<'_>, described: Option<&str>) -> Option<Finding> {
    let path = match described {
        Some(path) => path,
        None => HELPERS.into_iter().find(|path| host.root.exists(path))?,
    };
    let there = host.root.join(path);
    let Ok(found) = there.metadata() else {
        let text = "is not there; interfaces of type bridge need it";
        return Some(Finding::new(Level::Bad, path, text));
    };
    let is_able = (found.mode() & 0o4000 != 0 && found.uid() == 0) || has_net_admin(&there);
    Some(if is_able {
        Finding::new(Level::Good, path, "may attach machines to the bridges of bridge.conf")
    } else {
        let level = if described.is_some() { Level::Bad } else { Level::Note };
        let text = format!(
            "may not attach machines to bridges: interfaces of type bridge need \
             setcap cap_net_admin+ep {path}"
        );
        Finding::new(level, path, text)
    })
}

/// Whether a file has the capability to change the network (capabilities(7), version 1 and on: a
/// number of the version, then the lower words of what is permitted).
fn has_net_admin(path: &Path) -> bool {
    let mut bytes = [0; CAPABILITIES_MAX];
    let read = rustix::fs::getxattr(path, "security.capability", &mut bytes);
    read.is_ok_and(|length| permits(bytes.get(..length).unwrap_or_default(), CAP_NET_ADMIN))
}

fn permits(attribute: &[u8], capability: u32) -> bool {
    let word = attribute.get(4..8).and_then(|word| word.try_into().ok());
    word.is_some_and(|word| u32::from_le_bytes(word) & (1 << capability) != 0)
}

/// What holds for all machines of the host.
pub(super) fn host(host: &Host<'_>) -> Vec<Finding> {
    let is =
        |path: &str, value: &str| host.root.read_text(path).is_ok_and(|text| text.trim() == value);
    let mut findings = Vec::new();
    findings.push(if is("/proc/sys/net/ipv4/ip_forward", "1") {
        Finding::new(Level::Good, "forwarding", "is on for IPv4")
    } else {
        let text = "is off for IPv4: without a bridge, machines reach this host and no further; \
                    sysctl net.ipv4.ip_forward=1";
        Finding::new(Level::Note, "forwarding", text)
    });
    if is("/proc/sys/net/bridge/bridge-nf-call-iptables", "1") {
        let text = "frames of bridges pass the rules of iptables, which may drop them";
        findings.push(Finding::new(Level::Note, "bridges", text));
    }
    findings
}

/// The interfaces of one machine, and what they are to be attached to.
pub(super) fn interfaces(machine: &Machine<'_>) -> Vec<Finding> {
    machine.list("interfaces").iter().flat_map(|it| interface(machine, it)).collect()
}

fn interface(machine: &Machine<'_>, interface: &Value) -> Vec<Finding> {
    let text = |pointer: &str| interface.pointer(pointer).and_then(Value::as_str);
    let id = text("/id").unwrap_or_default();
    let bad = |text: String| vec![machine.finding(Level::Bad, text)];
    let root = &machine.host.root;
    let place = |name: &str| format!("/sys/class/net/{name}");
    let is_up = |name: &str| {
        let flags = root.read_text(format!("{}/flags", place(name))).unwrap_or_default();
        let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16);
        flags.is_ok_and(|flags| flags & 1 == 1)
    };
    let bridge = |name: &str| {
        if !root.exists(place(name)) {
            bad(format!("the bridge {name} of {id} is missing; ip link add {name} type bridge"))
        } else if !root.exists(format!("{}/bridge", place(name))) {
            bad(format!("{name}, to which {id} belongs, is no bridge"))
        } else if !is_up(name) {
            bad(format!("the bridge {name} of {id} is down; ip link set {name} up"))
        } else {
            Vec::new()
        }
    };
    match text("/type") {
        Some("tap") => match text("/tap/bridge") {
            Some(name) => bridge(name),
            None if root.exists(format!("{}/master", place(id))) => Vec::new(),
            None => {
                let text = format!(
                    "nothing attaches {id} to a network; see interfaces.tap.bridge, or give it \
                     an address and a route"
                );
                vec![machine.finding(Level::Note, text)]
            }
        },
        Some("macvtap") => match text("/macvtap/link") {
            Some(link) if !root.exists(place(link)) => {
                bad(format!("the link {link} of {id} is missing"))
            }
            Some(link) if !is_up(link) => {
                bad(format!("the link {link} of {id} is down; ip link set {link} up"))
            }
            _ => Vec::new(),
        },
        Some("bridge") => {
            let name = text("/bridge").unwrap_or_default();
            let mut findings = bridge(name);
            let rules = root.read_text(RULES).unwrap_or_default();
            if !is_allowed(&rules, name) {
                findings.extend(bad(format!(
                    "{RULES} does not allow {name}; microvm host install --bridge {name}"
                )));
            }
            findings
        }
        _ => Vec::new(),
    }
}

/// Whether the rules let machines join a bridge: one allows it, by name or for all, and none denies
/// it, wherever they stand.
fn is_allowed(rules: &str, bridge: &str) -> bool {
    let rules = rules.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?))
    });
    let meant: Vec<&str> =
        rules.filter(|(_, name)| *name == bridge || *name == "all").map(|(verb, _)| verb).collect();
    meant.contains(&"allow") && !meant.contains(&"deny")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_bridges_or_all() {
        for (rules, is_right) in [
            ("", false),
            ("allow br0\n", true),
            ("allow br1\n", false),
            ("# allow br0\n", false),
            ("allow all\n", true),
            ("allow all\ndeny br0\n", false),
            ("deny all\n", false),
        ] {
            assert_eq!(is_allowed(rules, "br0"), is_right, "{rules:?}");
        }
    }

    #[test]
    fn a_capability_is_a_bit_of_what_is_permitted() {
        // What setcap writes for cap_net_admin+ep, and for cap_net_raw+ep.
        let attribute = |low: u8, high: u8| {
            let mut bytes = [0; 20];
            (bytes[0], bytes[3], bytes[4], bytes[5]) = (1, 2, low, high);
            bytes
        };
        assert!(permits(&attribute(0, 0x10), CAP_NET_ADMIN));
        assert!(!permits(&attribute(0, 0x20), CAP_NET_ADMIN));
        assert!(!permits(&attribute(0, 0x10)[..6], CAP_NET_ADMIN) && !permits(&[], 0));
    }
}
