// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cloud Hypervisor.
//!
//! An option holds keys in their order, joined by commas; one that may be repeated holds several
//! values behind one flag. Three options may also be given by the user, who adds to them; the rest
//! of the user's words stand at the end.

use std::collections::BTreeMap;

use super::common::{
    argv0, at_least, command_line, fds, graphics_process, macvtaps, relay, serial_console,
    tap_queues, uncompressed_kernel,
};
use super::{
    Builder, GRAPHICS_WAIT, Launch, MUX_SOCKET, NOTIFY_PORT, Options, Plan, Shutdown, Step,
    tap_multi_queue,
};
use crate::config::{Interface, InterfaceType, Proto, Vm, Volume};
use crate::quote::{bare, cloud_hypervisor as value};

/// The options that the user may add to.
#[derive(Default)]
struct Extra<'a> {
    vsock: Vec<&'a str>,
    platform: Vec<&'a str>,
    cpus: Vec<&'a str>,
    serial: Option<&'a str>,
    has_console: bool,
    /// The words that stay where they are.
    rest: Vec<&'a str>,
}

impl<'a> Extra<'a> {
    fn new(words: &'a [String]) -> Self {
        let mut extra = Self::default();
        let mut words = words.iter().map(String::as_str).peekable();
        while let Some(word) = words.next() {
            let (flag, joined) = match word.split_once('=') {
                Some((flag, joined)) if word.starts_with("--") => (flag, Some(joined)),
                _ => (word, None),
            };
            let merged = match flag {
                "--vsock" => Some(&mut extra.vsock),
                "--platform" => Some(&mut extra.platform),
                "--cpus" => Some(&mut extra.cpus),
                _ => None,
            };
            if let Some(values) = merged {
                values.extend(joined.or_else(|| words.next()));
                continue;
            }
            match flag {
                "--serial" => extra.serial = joined.or_else(|| words.peek().copied()),
                "--console" => extra.has_console = true,
                _ => {}
            }
            extra.rest.push(word);
        }
        extra
    }
}

/// The keys of an option, in their order.
#[derive(Default)]
struct Keys(BTreeMap<String, String>);

impl Keys {
    fn set(&mut self, key: &str, value: impl Into<String>) -> &mut Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    fn switch(&mut self, key: &str, on: bool) -> &mut Self {
        self.set(key, if on { "on" } else { "off" })
    }

    fn text(&self) -> String {
        self.0.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    }
}

/// An option with several values.
struct Many {
    flag: &'static str,
    /// Does the flag stand before each of them?
    repeats: bool,
    started: bool,
}

impl Many {
    fn new(vm: &Vm, flag: &'static str) -> Self {
        let version = &vm.cloud_hypervisor.version;
        let repeats = at_least(version, &[30]) && !at_least(version, &[36]);
        Self { flag, repeats, started: false }
    }

    fn add(&mut self, b: &mut Builder, keys: &Keys) {
        if self.repeats || !self.started {
            b.word(self.flag);
        }
        self.started = true;
        b.word(keys.text());
    }
}

/// Plans a machine for Cloud Hypervisor.
pub(super) fn plan(vm: &Vm, options: &Options) -> Plan {
    let extra = Extra::new(&vm.cloud_hypervisor.extra_args);
    let vsock = vsock(vm, &extra);
    let notify = vm.notify && vm.vsock.cid.is_some();
    let mut b = Builder::default();
    base(&mut b, vm, &extra, options.compat);
    platform(&mut b, vm, &extra, notify, options.compat);
    console(&mut b, &extra);
    if !vsock.0.is_empty() {
        b.from("vsock.cid", "sockets to the host").pair("--vsock", vsock.text());
    }
    if vm.graphics.enable {
        let socket = value(&vm.graphics.socket);
        b.from("graphics.enable", "a display").pair("--gpu", format!("socket={socket}"));
    }
    if vm.balloon {
        let mut keys = Keys::default();
        if vm.deflate_on_oom {
            keys.set("deflate_on_oom", "on");
        }
        keys.set("free_page_reporting", "on").set("size", format!("{}M", vm.initial_balloon_mem));
        b.from("balloon", "a device that gives memory back").pair("--balloon", keys.text());
    }
    disks(&mut b, vm);
    shares(&mut b, vm);
    if let Some(socket) = &vm.socket {
        b.from("socket", "the control socket").pair("--api-socket", api_socket(socket));
    }
    networks(&mut b, vm);
    devices(&mut b, vm);
    b.from("cloud-hypervisor.extraArgs", "your own words").words(&extra.rest);
    let mux = vsock.0.get("socket").map(|path| unquoted(path));
    Plan {
        program: vm.cloud_hypervisor.binary.clone(),
        words: b.finish(),
        steps: steps(vm, mux.as_deref(), notify),
        launch: launch(vm, mux.as_deref().filter(|_| notify)),
        mux,
        shutdown: vm.socket.is_some().then_some(Shutdown::Own),
        balloon: vm.balloon && vm.socket.is_some(),
        notify,
        tap_multi_queue: tap_multi_queue(vm),
        ..Plan::default()
    }
}

fn steps(vm: &Vm, mux: Option<&str>, notify: bool) -> Vec<Step> {
    let mut steps: Vec<Step> = vm.socket.iter().cloned().map(Step::Remove).collect();
    if let Some(mux) = mux {
        steps.push(Step::Remove(mux.to_owned()));
        if notify {
            steps.push(Step::Remove(format!("{mux}_{NOTIFY_PORT}")));
        }
    }
    if vm.graphics.enable {
        steps.push(Step::Remove(vm.graphics.socket.clone()));
    }
    steps
}

fn launch(vm: &Vm, notify: Option<&str>) -> Launch {
    let mut launch = Launch { argv0: argv0(vm), macvtaps: macvtaps(vm), ..Launch::default() };
    if let Some(mux) = notify {
        launch.with.push(relay("--unix", format!("{mux}_{NOTIFY_PORT}")));
    }
    if vm.graphics.enable {
        launch.with.push(graphics_process(vm, r#""displays":[{"hidden":true}],"#));
        launch.awaits.push((vm.graphics.socket.clone(), GRAPHICS_WAIT));
    }
    launch
}

fn base(b: &mut Builder, vm: &Vm, extra: &Extra<'_>, compat: bool) {
    let cpus: String = extra.cpus.iter().map(|given| format!(",{given}")).collect();
    b.from("vcpu", "virtual processors").pair("--cpus", format!("boot={}{cpus}", vm.vcpu));
    b.from("", "a device that resets a guest which hangs").word("--watchdog");
    let (option, kernel) = uncompressed_kernel(vm);
    b.from(option, "the kernel is started directly").pair("--kernel", kernel);
    if let Some(initrd) = &vm.initrd_path {
        b.from("initrdPath", "the initial file system").pair("--initramfs", initrd);
    }
    let console = if extra.serial.is_none_or(|it| it == "tty") { serial_console(vm) } else { "" };
    let line = command_line(vm, &[console, "reboot=t panic=-1"], &[], compat);
    b.from("kernelParams", "the kernel's command line").pair("--cmdline", line);
    b.from("", "the program gives up system calls").pair("--seccomp", "true");
    b.from("mem", "memory").pair("--memory", memory(vm, compat));
}

fn memory(vm: &Vm, compat: bool) -> String {
    let shared = vm.graphics.enable || vm.shares_of(Proto::Virtiofs).next().is_some();
    let mut keys = Keys::default();
    keys.set("size", format!("{}M", vm.mem)).switch("shared", shared);
    if !shared {
        keys.set("mergeable", "on");
    }
    if vm.hugepage_mem {
        keys.set("hugepages", "on");
    }
    if vm.hotplug_mem > 0 {
        keys.set("hotplug_method", "virtio-mem");
        keys.set("hotplug_size", format!("{}M", vm.hotplug_mem));
        keys.set("hotplugged_size", format!("{}M", vm.hotplugged_mem));
        if compat {
            keys.set("size", format!("{}M", vm.hotplug_mem));
        }
    }
    keys.text()
}

fn platform(b: &mut Builder, vm: &Vm, extra: &Extra<'_>, notify: bool, compat: bool) {
    let mut strings = vm.cloud_hypervisor.platform_oem_strings.clone();
    if notify {
        let to = format!("vsock-stream:2:{NOTIFY_PORT}");
        strings.push(format!("io.systemd.credential:vmm.notify_socket={to}"));
    }
    let mut parts = Vec::new();
    if !strings.is_empty() {
        parts.push(format!("oem_strings=[{}]", strings.join(",")));
    }
    parts.extend(extra.platform.iter().map(|given| (*given).to_owned()));
    if !parts.is_empty() || compat {
        b.from("cloud-hypervisor.platformOEMStrings", "strings that the guest finds in SMBIOS");
        b.pair("--platform", parts.join(","));
    }
}

fn console(b: &mut Builder, extra: &Extra<'_>) {
    if !extra.has_console {
        b.from("console", "no second console").pair("--console", "null");
    }
    if extra.serial.is_none() {
        b.from("console", "where the console of the guest is").pair("--serial", "tty");
    }
}

/// The user's keys, and ours.
fn vsock(vm: &Vm, extra: &Extra<'_>) -> Keys {
    let mut keys = Keys::default();
    for (key, given) in extra.vsock.iter().flat_map(|given| pairs(given)) {
        keys.set(key, given);
    }
    if let Some(cid) = vm.vsock.cid {
        keys.set("cid", cid.to_string());
        keys.0.entry("socket".to_owned()).or_insert_with(|| MUX_SOCKET.to_owned());
    }
    keys
}

/// The keys of an option as the user wrote it; quotes and brackets hold commas together.
fn pairs(text: &str) -> Vec<(&str, &str)> {
    let (mut depth, mut quoted, mut start) = (0_u32, false, 0);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '[' if !quoted => depth += 1,
            ']' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().filter_map(|part| part.split_once('=')).collect()
}

/// A value without its quotes.
fn unquoted(text: &str) -> String {
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => text.to_owned(),
    }
}

/// The path alone, or with its key where it could be mistaken for keys or a flag.
fn api_socket(path: &str) -> String {
    let encoded = value(path);
    if encoded == path && !path.contains('=') {
        return bare(path);
    }
    format!("path={encoded}")
}

fn queues(keys: &mut Keys, vm: &Vm, each: u32) {
    if vm.vcpu > 1 {
        keys.set("num_queues", (u64::from(vm.vcpu) * u64::from(each)).to_string());
    }
}

fn disks(b: &mut Builder, vm: &Vm) {
    let mut disks = Many::new(vm, "--disk");
    if let Some(image) = vm.root_image() {
        let mut keys = Keys::default();
        queues(keys.set("path", value(image)).set("readonly", "on"), vm, 1);
        b.from("storeDisk", "the root image");
        disks.add(b, &keys);
    }
    for (at, volume) in vm.volumes.iter().enumerate() {
        b.element("volumes", at, "a block device");
        disks.add(b, &disk(vm, volume));
    }
}

fn disk(vm: &Vm, volume: &Volume) -> Keys {
    let mut keys = Keys::default();
    keys.switch("direct", volume.direct).switch("readonly", volume.read_only);
    keys.set("path", value(&volume.image));
    if at_least(&vm.cloud_hypervisor.version, &[50, 2]) {
        keys.set("image_type", &volume.image_type);
    }
    if let Some(serial) = &volume.serial {
        keys.set("serial", value(serial));
    }
    queues(&mut keys, vm, 1);
    keys
}

fn shares(b: &mut Builder, vm: &Vm) {
    let mut shares = Many::new(vm, "--fs");
    for (at, share) in vm.shares_of(Proto::Virtiofs) {
        let mut keys = Keys::default();
        keys.set("socket", value(share.socket.as_deref().unwrap_or_default()));
        keys.set("tag", value(&share.tag));
        b.element("shares", at, "a directory that the guest sees");
        shares.add(b, &keys);
    }
}

fn networks(b: &mut Builder, vm: &Vm) {
    let mut networks = Many::new(vm, "--net");
    for (at, interface) in vm.interfaces.iter().enumerate() {
        b.element("interfaces", at, "a network device");
        networks.add(b, &network(vm, at, interface));
    }
}

fn network(vm: &Vm, at: usize, interface: &Interface) -> Keys {
    let mut keys = Keys::default();
    keys.set("mac", &interface.mac);
    if let Some(mtu) = interface.mtu {
        keys.set("mtu", mtu.to_string());
    }
    if interface.kind == InterfaceType::Macvtap {
        keys.set("fd", format!("[{}]", fds(vm, at, ",")));
    } else {
        keys.set("tap", value(&interface.id));
    }
    if tap_queues(vm) > 1 {
        queues(&mut keys, vm, 2);
    }
    keys
}

fn devices(b: &mut Builder, vm: &Vm) {
    let mut devices = Many::new(vm, "--device");
    for (at, device) in vm.devices.iter().enumerate() {
        let mut keys = Keys::default();
        keys.set("path", value(&format!("/sys/bus/pci/devices/{}", device.path)));
        b.element("devices", at, "a device of the host");
        devices.add(b, &keys);
    }
}
