// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a package says about itself, below `share/microvm`.

use serde_json::{Value, json};

use super::Options;
use crate::config::{Hypervisor, InterfaceType, Proto, Share, Vm};
use crate::package::{Entry, RUNNER, Tree, pretty};
use crate::plan::{MUX_SOCKET, Plan};
use crate::quote::shell;

/// Puts all files there.
pub(super) fn put(vm: &Vm, plan: &Plan, options: &Options, tree: &mut Tree) {
    let mut data = |name: &str, text: String| {
        tree.put(format!("share/microvm/{name}"), Entry::Data(text.into_bytes()));
    };
    data("hypervisor", format!("{}\n", vm.hypervisor));
    let queues = if plan.tap_multi_queue { "multi_queue\n" } else { "" };
    data("tap-flags", format!("vnet_hdr\n{queues}"));
    let taps: Vec<&str> =
        vm.interfaces_of(InterfaceType::Tap).map(|(_, it)| it.id.as_str()).collect();
    if !taps.is_empty() {
        data("tap-interfaces", lines(taps));
    }
    let macvtaps: Vec<String> = vm
        .interfaces_of(InterfaceType::Macvtap)
        .filter_map(|(_, it)| {
            let (link, mode) = (it.macvtap.link.as_ref()?, it.macvtap.mode.as_ref()?);
            Some(format!("{} {} {link} {mode}", it.id, it.mac))
        })
        .collect();
    if !macvtaps.is_empty() {
        data("macvtap-interfaces", lines(macvtaps));
    }
    for (_, share) in vm.shares_of(Proto::Virtiofs) {
        let at = format!("virtiofs/{}", share.tag);
        data(&format!("{at}/socket"), format!("{}\n", share.socket.as_deref().unwrap_or_default()));
        data(&format!("{at}/source"), format!("{}\n", share.source));
    }
    for bus in ["pci", "usb"] {
        let of_bus = vm.devices.iter().filter(|device| device.bus == bus);
        let paths: Vec<&str> = of_bus.map(|device| device.path.as_str()).collect();
        if !paths.is_empty() {
            data(&format!("{bus}-devices"), lines(paths));
        }
    }
    if let Some(cid) = vm.vsock.cid {
        data("vsock-cid", format!("{cid}\n"));
    }
    let words: Vec<String> = [plan.program.clone()]
        .into_iter()
        .chain(plan.words.iter().map(crate::plan::Word::shown))
        .collect();
    data("command.txt", lines(words.iter().map(|word| shell(word))));
    if let Some(path) = vm.system_path.as_ref().filter(|_| vm.system_symlink) {
        tree.put("share/microvm/system", Entry::Link(path.clone()));
    }
    tree.put(RUNNER, Entry::Data(pretty(&runner(vm, plan, options, &words))));
}

fn lines<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| format!("{}\n", item.as_ref())).collect()
}

/// Everything that is known of the package, in one document.
fn runner(vm: &Vm, plan: &Plan, options: &Options, words: &[String]) -> Value {
    let mut value = json!({
        "name": vm.host_name,
        "generator": { "name": "microvm", "version": env!("CARGO_PKG_VERSION") },
        "source": options.source,
        "hypervisor": vm.hypervisor,
        "argv": words,
        "capabilities": {
            "canShutdown": plan.shutdown.is_some(),
            "supportsNotifySocket": plan.notify,
            "tapMultiQueue": plan.tap_multi_queue,
            "requiresMacvtapAsFds": !plan.launch.macvtaps.is_empty(),
            "balloon": plan.balloon,
        },
        "config": vm.to_json(),
    });
    let daemons: Vec<Value> = vm
        .shares_of(Proto::Virtiofs)
        .map(|(_, share)| {
            json!({ "tag": share.tag, "socket": share.socket, "args": virtiofsd(vm, share) })
        })
        .collect();
    let Value::Object(members) = &mut value else { return value };
    if !daemons.is_empty() && vm.hypervisor != Hypervisor::Vfkit {
        members.insert("virtiofsd".to_owned(), Value::Array(daemons));
    }
    // The usual one goes without saying.
    if let Some(socket) = plan.mux.as_ref().filter(|socket| *socket != MUX_SOCKET) {
        members.insert("vsockSocket".to_owned(), json!(socket));
    }
    value
}

/// The arguments of the daemon of one share; those that depend on the host are its supervisor's.
fn virtiofsd(vm: &Vm, share: &Share) -> Vec<String> {
    let daemon = &vm.virtiofsd;
    let socket = share.socket.as_deref().unwrap_or_default();
    let mut args = vec![format!("--socket-path={socket}")];
    if !daemon.group.is_empty() {
        args.push(format!("--socket-group={}", daemon.group));
    }
    args.push(format!("--shared-dir={}", share.source));
    let threads = match &daemon.thread_pool_size {
        Value::String(word) => word.clone(),
        number => number.to_string(),
    };
    args.extend(["--thread-pool-size".to_owned(), threads]);
    if share.posix_acl {
        args.extend(["--posix-acl".to_owned(), "--xattr".to_owned()]);
    }
    args.push(format!("--cache={}", share.cache));
    if daemon.inode_file_handles != "off" {
        args.push(format!("--inode-file-handles={}", daemon.inode_file_handles));
    }
    if vm.hypervisor == Hypervisor::Crosvm {
        args.push(format!("--tag={}", share.tag));
    }
    if share.read_only {
        args.push("--readonly".to_owned());
    }
    args.extend(daemon.extra_args.iter().cloned());
    args.extend(share.extra_args.iter().cloned());
    args
}
