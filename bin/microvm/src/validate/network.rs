// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interfaces, and ports that are forwarded.

use std::net::Ipv4Addr;

use super::names::{QEMU_ID, is_qemu_id};
use super::{Findings, duplicates};
use crate::config::{From, Hypervisor, Interface, InterfaceType, Vm};
use crate::diag::Diagnostic;

/// The most bytes of the name of an interface of Linux.
const ID_MAX: usize = 15;
/// The longest name that an interface may have besides, in bytes.
const ALTNAME_MAX: usize = 127;

pub(super) fn check(vm: &Vm, found: &mut Findings) {
    for (at, interface) in vm.interfaces.iter().enumerate() {
        let path = format!("interfaces[{at}]");
        id(vm, &path, &interface.id, found);
        if let Some((text, hint)) = mac(&interface.mac) {
            let it = Diagnostic::error("MV122", format!("{path}.mac"), text);
            found.push(match hint {
                Some(hint) => it.hint(hint),
                None => it,
            });
        }
        attachment(vm, &path, interface, found);
        others(&path, interface, found);
    }
    let ids = vm.interfaces.iter().map(|it| it.id.as_str()).enumerate();
    duplicates(ids, |at, first| {
        let text = format!("interfaces[{first}] has the same id");
        found.error("MV121", format!("interfaces[{at}].id"), text);
    });
    let macs = vm.interfaces.iter().map(|it| it.mac.as_str()).enumerate();
    duplicates(macs, |at, first| {
        let text = format!("interfaces[{first}] has the same address");
        found.error("MV123", format!("interfaces[{at}].mac"), text);
    });
    forwards(vm, found);
}

fn id(vm: &Vm, path: &str, id: &str, found: &mut Findings) {
    let path = format!("{path}.id");
    if id.len() > ID_MAX {
        let text = format!("interface id \"{id}\" is longer than {ID_MAX} bytes");
        let hint = "longer names can stand in \"altname\"";
        found.push(Diagnostic::error("MV120", path, text).hint(hint));
    } else if !is_name(id) {
        found.push(no_name(path, id));
    } else if vm.hypervisor == Hypervisor::Qemu && !is_qemu_id(id) {
        let text = format!("QEMU cannot use \"{id}\" as the id of an interface");
        found.push(Diagnostic::error("MV120", path, text).hint(QEMU_ID));
    }
}

/// Does the kernel take this as the name of an interface, whatever its length?
fn is_name(name: &str) -> bool {
    let odd = |letter: char| letter.is_whitespace() || letter == '/' || letter == ':';
    !(name.is_empty() || name == "." || name == ".." || name.contains(odd))
}

fn no_name(path: String, name: &str) -> Diagnostic {
    let text = format!("\"{name}\" is no name of an interface");
    let hint = "not empty, \".\" or \"..\", and without \"/\", \":\" and blanks";
    Diagnostic::error("MV120", path, text).hint(hint)
}

/// Names of interfaces that the host has, and names besides.
fn others(path: &str, interface: &Interface, found: &mut Findings) {
    let mut check = |path: String, name: &str, most: usize| {
        if !is_name(name) {
            found.push(no_name(path, name));
        } else if name.len() > most {
            let text = format!("\"{name}\" is longer than {most} bytes");
            found.error("MV120", path, text);
        }
    };
    for (at, name) in interface.altname.iter().enumerate() {
        check(format!("{path}.altname[{at}]"), name, ALTNAME_MAX);
    }
    for (key, name) in [
        ("bridge", &interface.bridge),
        ("tap.bridge", &interface.tap.bridge),
        ("macvtap.link", &interface.macvtap.link),
    ] {
        name.iter().for_each(|name| check(format!("{path}.{key}"), name, ID_MAX));
    }
}

/// What is wrong with the address, and what to do.
fn mac(mac: &str) -> Option<(String, Option<&'static str>)> {
    let parts: Vec<&str> = mac.split(':').collect();
    let is_pair =
        |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if parts.len() != 6 || !parts.iter().all(is_pair) {
        let hint = "six pairs of hexadecimal digits with colons between, or \"auto\"";
        return Some((format!("{mac:?} is no MAC address"), Some(hint)));
    }
    if parts.iter().all(|part| *part == "00") {
        return Some(("the MAC address must not be all zero".to_owned(), None));
    }
    let first = parts.first().and_then(|part| u8::from_str_radix(part, 16).ok())?;
    (first & 1 == 1).then(|| {
        let hint = "a locally administered address has 2, 6, A or E as its second digit, as 02:…";
        (format!("{mac} is a multicast address"), Some(hint))
    })
}

/// Keys that belong to one type of interface.
fn attachment(vm: &Vm, path: &str, interface: &Interface, found: &mut Findings) {
    let (kind, id) = (interface.kind, &interface.id);
    match (&interface.bridge, kind) {
        (None, InterfaceType::Bridge) => {
            let text = format!("interface \"{id}\" of type bridge needs \"bridge\"");
            found.error("MV124", format!("{path}.bridge"), text);
        }
        (Some(_), InterfaceType::User | InterfaceType::Tap | InterfaceType::Macvtap) => {
            let text = format!("\"bridge\" is for type bridge; \"{id}\" is {}", kind.name());
            let it = Diagnostic::error("MV124", format!("{path}.bridge"), text);
            found.push(match kind {
                InterfaceType::Tap => it.hint("\"tap.bridge\" attaches a tap to a bridge"),
                _ => it,
            });
        }
        _ => {}
    }
    if kind == InterfaceType::Macvtap {
        let parts = [("link", &interface.macvtap.link), ("mode", &interface.macvtap.mode)];
        for (key, _) in parts.into_iter().filter(|(_, value)| value.is_none()) {
            let text = format!("interface \"{id}\" of type macvtap needs \"macvtap.{key}\"");
            found.error("MV125", format!("{path}.macvtap.{key}"), text);
        }
    }
    if interface.tap.vhost && kind != InterfaceType::Tap {
        let text = format!("\"tap.vhost\" is for type tap; \"{id}\" is {}", kind.name());
        found.error("MV126", format!("{path}.tap.vhost"), text);
    } else if interface.tap.vhost && vm.hypervisor != Hypervisor::Qemu {
        let text = format!("{} has no vhost-net; \"tap.vhost\" is for qemu", vm.hypervisor);
        found.error("MV126", format!("{path}.tap.vhost"), text);
    }
    if kind == InterfaceType::Tap && interface.tap.bridge.is_none() {
        let text = format!("nothing attaches \"{id}\" to a network; see interfaces.tap.bridge");
        found.warn("MV127", path, text);
    }
}

fn forwards(vm: &Vm, found: &mut Findings) {
    let users = vm.interfaces_of(InterfaceType::User).count();
    if !vm.forward_ports.is_empty() && (vm.hypervisor != Hypervisor::Qemu || users == 0) {
        let text = "forwardPorts needs qemu and an interface of type user";
        found.error("MV130", "forwardPorts", text);
    }
    if vm.hypervisor == Hypervisor::Qemu && users > 1 && !vm.forward_ports.is_empty() {
        let text = "ports are forwarded by the first interface of type user alone";
        found.warn("MV227", "forwardPorts", text);
    }
    for (at, forward) in vm.forward_ports.iter().enumerate() {
        let path = format!("forwardPorts[{at}]");
        if forward.from == From::Guest && forward.proto == "udp" {
            let text = "QEMU forwards no UDP from the guest";
            found.error("MV131", format!("{path}.proto"), text);
        }
        if forward.from == From::Guest && forward.guest.address.is_empty() {
            let text = "a forward from the guest needs \"guest.address\"";
            found.error("MV131", format!("{path}.guest.address"), text);
        }
        for (side, end) in [("host", &forward.host), ("guest", &forward.guest)] {
            if end.port == 0 || end.port > 65535 {
                let text = format!("a port is 1 to 65535, found {}", end.port);
                found.error("MV132", format!("{path}.{side}.port"), text);
            }
            if !end.address.is_empty() && end.address.parse::<Ipv4Addr>().is_err() {
                let text = format!("{:?} is no IPv4 address", end.address);
                found.error("MV133", format!("{path}.{side}.address"), text);
            }
        }
    }
    let keys = vm.forward_ports.iter().enumerate().map(|(at, it)| {
        let listens = if it.from == From::Host { &it.host } else { &it.guest };
        (at, (it.from == From::Host, &listens.address, listens.port, &it.proto))
    });
    duplicates(keys, |at, first| {
        let text = format!("forwardPorts[{first}] listens there too");
        found.error("MV132", format!("forwardPorts[{at}]"), text);
    });
}
