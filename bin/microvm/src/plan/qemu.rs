// SPDX-License-Identifier: Apache-2.0 OR MIT
//! QEMU.
//!
//! The order of the words is upstream's, so that the two can be compared. Inside a value a comma is
//! doubled; ids and socket paths that cannot hold one are refused before.

use std::collections::BTreeMap;

use super::common::{
    argv0, at_least, command_line, drive_letter, fds, macvtaps, relay, serial_console,
};
use super::{Builder, Launch, NOTIFY_PORT, Options, Piece, Plan, Shutdown, Word, tap_multi_queue};
use crate::config::{
    Arch, Console, Forward, From, Interface, InterfaceType, Proto, Share, Vm, Volume,
};
use crate::quote::{self, qemu as value};

/// What follows from several options.
struct Facts<'a> {
    vm: &'a Vm,
    /// Are devices on a PCI bus, and not on the machine's own transport?
    pci: bool,
    /// Is a USB bus needed?
    usb: bool,
    /// Is it the machine type `microvm` or one of its versions?
    is_microvm: bool,
    /// Is the processor emulated because the accelerator says so?
    is_tcg: bool,
    compat: bool,
}

impl<'a> Facts<'a> {
    fn new(vm: &'a Vm, options: &Options) -> Self {
        let is_microvm = vm.qemu.machine.starts_with("microvm");
        let has_pci_device = vm.devices.iter().any(|device| device.bus == "pci");
        Self {
            vm,
            pci: vm.graphics.enable || !is_microvm || !vm.shares.is_empty() || has_pci_device,
            usb: vm.devices.iter().any(|device| device.bus == "usb"),
            is_microvm,
            is_tcg: vm.qemu.accel == "tcg",
            compat: options.compat,
        }
    }

    /// A device on the bus that this machine has.
    fn device(&self, name: &str) -> String {
        format!("{name}-{}", if self.pci { "pci" } else { "device" })
    }

    fn machine(&self) -> String {
        let vm = self.vm;
        let on = |on: bool| if on { "on" } else { "off" };
        let mut options: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        if let Some(given) = &vm.qemu.machine_opts {
            options.extend(given.iter().map(|(key, value)| (key.as_str(), value.as_deref())));
        } else {
            options.insert("accel", Some(&vm.qemu.accel));
            match vm.guest_system.arch() {
                Arch::X86 => options.extend([("acpi", Some("on")), ("mem-merge", Some("on"))]),
                Arch::Arm if !vm.host_system.is_darwin() => {
                    options.insert("gic-version", Some("max"));
                }
                Arch::Arm => {}
            }
            if self.is_microvm && vm.guest_system.arch() == Arch::X86 {
                options.extend([
                    ("pcie", Some(on(self.pci))),
                    ("pic", Some("off")),
                    ("pit", Some("off")),
                    ("rtc", Some("on")),
                    ("usb", Some(on(self.usb))),
                ]);
            }
        }
        let mut text = vm.qemu.machine.clone();
        for (key, option) in options {
            text.push(',');
            text.push_str(key);
            if let Some(option) = option {
                text.push('=');
                text.push_str(&value(option));
            }
        }
        text
    }

    /// The processor model.
    fn cpu(&self) -> &str {
        match &self.vm.cpu {
            Some(cpu) => cpu,
            None if self.is_tcg => "max",
            None if self.vm.host_system.is_darwin() => "host",
            None => match self.vm.guest_system.arch() {
                // QEMU crashes with SGX on the machine microvm.
                Arch::X86 => "host,+x2apic,-sgx",
                Arch::Arm => "host",
            },
        }
    }

    fn append(&self) -> String {
        let vm = self.vm;
        let console = if vm.qemu.serial_console { serial_console(vm) } else { "" };
        let mut extra = Vec::new();
        let mut tsc = false;
        if self.is_tcg && self.is_microvm {
            // Without KVM's clock the kernel cannot measure the processor's here, and hangs.
            tsc = !vm.kernel_params.iter().any(|word| word.starts_with("tsc_early_khz="));
        }
        let id = vm.machine_id.as_ref().map(|id| id.replace('-', ""));
        let id = format!("systemd.machine_id={}", id.unwrap_or_default());
        // This machine shows the guest no SMBIOS.
        if self.is_microvm && vm.machine_id_given && !self.compat {
            extra.push(id.as_str());
        }
        if tsc {
            extra.push("tsc_early_khz=2000000");
        }
        command_line(vm, &[console, "reboot=t panic=-1"], &extra, self.compat)
    }
}

/// Plans a machine for QEMU.
pub(super) fn plan(vm: &Vm, options: &Options) -> Plan {
    let facts = Facts::new(vm, options);
    let mut b = Builder::default();
    base(&mut b, &facts);
    passthrough(&mut b, &facts);
    processor(&mut b, &facts);
    root_image(&mut b, &facts);
    display(&mut b, &facts);
    control(&mut b, &facts);
    for (at, volume) in vm.volumes.iter().enumerate() {
        b.element("volumes", at, "a block device");
        disk(&mut b, &facts, at, volume);
    }
    shares(&mut b, &facts);
    for (at, interface) in vm.interfaces.iter().enumerate() {
        b.element("interfaces", at, "a network device");
        network(&mut b, &facts, at, interface);
    }
    if facts.usb && facts.compat {
        b.from("devices", "a USB bus").pair("-device", "qemu-xhci");
    }
    if let Some(cid) = vm.vsock.cid {
        let device = facts.device("vhost-vsock");
        b.from("vsock.cid", "sockets to the host")
            .pair("-device", format!("{device},guest-cid={cid}"));
    }
    b.from("qemu.extraArgs", "your own words").words(&vm.qemu.extra_args);
    let notify = vm.notify && vm.vsock.cid.is_some();
    let shutdown = match vm.qemu.shutdown.as_str() {
        "powerdown" => Shutdown::Powerdown,
        _ => Shutdown::Keys,
    };
    Plan {
        program: vm.qemu.binary.clone(),
        words: b.finish(),
        launch: Launch {
            argv0: argv0(vm),
            macvtaps: macvtaps(vm),
            with: notify_relay(vm).into_iter().collect(),
            ..Launch::default()
        },
        shutdown: vm.socket.is_some().then_some(shutdown),
        balloon: vm.balloon && vm.socket.is_some(),
        notify,
        tap_multi_queue: tap_multi_queue(vm),
        ..Plan::default()
    }
}

/// The port on which the relay of the guest with this CID listens. Ports belong to the whole host,
/// so that each machine has its own; the highest number stands for any port.
fn notify_port(cid: u32) -> u32 {
    match cid.wrapping_add(NOTIFY_PORT) {
        u32::MAX => NOTIFY_PORT,
        port => port,
    }
}

/// The relay that hears the guest, if it reports.
fn notify_relay(vm: &Vm) -> Option<Vec<Word>> {
    let cid = vm.vsock.cid.filter(|_| vm.notify)?;
    let mut words = relay("--vsock", notify_port(cid).to_string());
    words.extend(["--cid".to_owned(), cid.to_string()].map(Word::text));
    Some(words)
}

fn base(b: &mut Builder, facts: &Facts<'_>) {
    let vm = facts.vm;
    b.from("hostName", "the name of the machine").pair("-name", value(&vm.host_name));
    b.from("qemu.machine", "the machine type and its options").pair("-M", facts.machine());
    let most = match vm.hotplug_mem {
        0 => String::new(),
        more => format!(",maxmem={}M", vm.mem + more),
    };
    b.from("mem", "memory").pair("-m", format!("{}M{most}", vm.mem));
    b.from("vcpu", "virtual processors").pair("-smp", vm.vcpu.to_string());
    b.from("", "no device that was not asked for; a guest that reboots ends");
    b.words(["-nodefaults", "-no-user-config", "-no-reboot"]);
    b.from("kernel", "the kernel is started directly").pair("-kernel", &vm.kernel);
    if let Some(initrd) = &vm.initrd_path {
        b.from("initrdPath", "the initial file system").pair("-initrd", initrd);
    }
    b.from("console", "where the console of the guest is");
    match vm.console {
        Console::Stdio => b.pair("-chardev", "stdio,id=stdio,signal=off"),
        Console::Socket => {
            let path = value(&format!("{}-console.sock", vm.host_name));
            b.pair("-chardev", format!("socket,id=stdio,path={path},server=on,wait=off"))
        }
        Console::None => b.pair("-chardev", "null,id=stdio"),
    };
    b.from("", "random numbers of the host").pair("-device", facts.device("virtio-rng"));
    if let Some(id) = &vm.machine_id {
        b.from("machineId", "the machine's UUID").pair("-smbios", format!("type=1,uuid={id}"));
    }
}

/// Root ports, USB, devices of the host, credentials.
fn passthrough(b: &mut Builder, facts: &Facts<'_>) {
    let vm = facts.vm;
    let option = |text: &mut String, key: &str, it: Option<String>| {
        if let Some(it) = it {
            text.push_str(&format!(",{key}={}", value(&it)));
        }
    };
    for (at, port) in vm.qemu.pcie_root_ports.iter().enumerate() {
        let mut text = format!("pcie-root-port,id={}", value(&port.id));
        option(&mut text, "bus", port.bus.clone());
        option(&mut text, "chassis", port.chassis.map(|it| it.to_string()));
        option(&mut text, "slot", port.slot.map(|it| it.to_string()));
        option(&mut text, "addr", port.addr.clone());
        b.element("qemu.pcieRootPorts", at, "a port to plug devices into").pair("-device", text);
    }
    let needs_hub = facts.usb && !facts.is_microvm;
    if needs_hub && !facts.compat {
        b.from("devices", "a USB bus").pair("-device", "qemu-xhci");
    }
    for (at, device) in vm.devices.iter().enumerate() {
        b.element("devices", at, "a device of the host");
        if device.bus == "usb" {
            b.pair("-device", format!("usb-host,{}", device.path));
            continue;
        }
        let mut text = format!("vfio-pci,host={},multifunction=on", value(&device.path));
        option(&mut text, "id", device.qemu.id.clone());
        option(&mut text, "bus", device.qemu.bus.clone());
        if let Some(extra) = &device.qemu.device_extra_args {
            text.push_str(&format!(",{extra}"));
        }
        b.pair("-device", text);
    }
    for (name, file) in &vm.credential_files {
        b.from("credentialFiles", "a credential for systemd in the guest");
        b.pair("-fw_cfg", format!("name=opt/io.systemd.credentials/{name},file={}", value(file)));
    }
    if vm.notify && vm.vsock.cid.is_some() {
        b.from("notify", "where the guest reports that it is ready");
        let port = vm.vsock.cid.map_or(NOTIFY_PORT, notify_port);
        let to = format!("string=vsock-stream:2:{port}");
        b.pair("-fw_cfg", format!("name=opt/io.systemd.credentials/vmm.notify_socket,{to}"));
    }
}

fn processor(b: &mut Builder, facts: &Facts<'_>) {
    let vm = facts.vm;
    if vm.qemu.serial_console {
        b.from("qemu.serialConsole", "the console on a serial port")
            .pair("-serial", "chardev:stdio");
    }
    if !facts.is_tcg && vm.cpu.is_none() && !vm.host_system.is_darwin() {
        b.from("qemu.accel", "KVM").word("-enable-kvm");
    }
    b.from("cpu", "the processor model").pair("-cpu", facts.cpu());
    let is_x86 = vm.guest_system.arch() == Arch::X86;
    if is_x86 && (facts.is_microvm || facts.compat) {
        // Other machines have a keyboard controller; a second one would swallow ctrl-alt-del.
        b.from("qemu.machine", "the keyboard through which the guest is stopped");
        b.pair("-device", "i8042");
    }
    b.from("kernelParams", "the kernel's command line").pair("-append", facts.append());
}

fn root_image(b: &mut Builder, facts: &Facts<'_>) {
    let vm = facts.vm;
    let Some(image) = vm.root_image() else { return };
    b.from("storeDisk", "the root image");
    let drive = format!(
        "id=store,format=raw,read-only=on,file={},if=none,aio={}",
        quote::qemu_file(image),
        vm.qemu.aio
    );
    let legacy = if facts.pci { ",disable-legacy=on" } else { "" };
    b.pair("-drive", drive);
    b.pair("-device", format!("{},drive=store{legacy}", facts.device("virtio-blk")));
}

fn display(b: &mut Builder, facts: &Facts<'_>) {
    let graphics = &facts.vm.graphics;
    if !graphics.enable {
        b.from("graphics.enable", "no display").word("-nographic");
        return;
    }
    b.from("graphics.backend", "a display");
    let vulkan = graphics.vulkan.as_ref().map_or_else(String::new, |way| {
        format!(",blob=true,hostmem={},{way}=on", graphics.hostmem)
    });
    match graphics.backend.as_str() {
        "headless" => {
            b.pair("-display", "egl-headless");
            b.pair("-device", format!("virtio-gpu-gl{vulkan}"));
        }
        "cocoa" => {
            b.pair("-display", "cocoa").pair("-device", "virtio-gpu");
        }
        _ => {
            b.pair("-display", "gtk,gl=on");
            b.pair("-device", format!("virtio-vga-gl{vulkan}"));
        }
    }
    let has_hub = facts.usb && !facts.is_microvm && !facts.compat;
    if !has_hub {
        b.pair("-device", "qemu-xhci");
    }
    b.pair("-device", "usb-tablet").pair("-device", "usb-kbd");
}

fn control(b: &mut Builder, facts: &Facts<'_>) {
    let vm = facts.vm;
    // The helper of a bridge is a program, which the sandbox would not let start.
    let has_bridge = vm.interfaces_of(InterfaceType::Bridge).next().is_some();
    // macOS has no such thing.
    if vm.qemu.sandbox && !has_bridge && !vm.host_system.is_darwin() {
        b.from("qemu.sandbox", "QEMU gives up system calls").pair("-sandbox", "on");
    }
    if let Some(user) = &vm.user {
        b.from("user", "the account that QEMU changes to");
        if at_least(&vm.qemu.version, &[9, 1]) {
            b.pair("-run-with", format!("user={}", value(user)));
        } else {
            b.pair("-runas", user);
        }
    }
    if let Some(socket) = &vm.socket {
        let socket = quote::qemu_first("path", socket);
        b.from("socket", "the control socket").pair("-qmp", format!("unix:{socket},server,nowait"));
    }
    if vm.balloon {
        let deflate = if vm.deflate_on_oom { ",deflate-on-oom=on" } else { "" };
        let device = facts.device("virtio-balloon");
        b.from("balloon", "a device that gives memory back");
        b.pair("-device", format!("{device},free-page-reporting=on,id=balloon0{deflate}"));
    }
    if vm.hotplug_mem > 0 {
        b.from("hotplugMem", "memory that can be added");
        b.pair("-object", format!("memory-backend-ram,id=vmem0,size={}M", vm.hotplug_mem));
        let plugged = vm.hotplugged_mem;
        b.pair("-device", format!("virtio-mem-pci,id=vm0,memdev=vmem0,requested-size={plugged}M"));
    }
}

fn disk(b: &mut Builder, facts: &Facts<'_>, at: usize, volume: &Volume) {
    let id = format!("vd{}", drive_letter(facts.vm, at));
    let cache = if volume.direct { ",cache=none" } else { "" };
    let read_only = if volume.read_only { "on" } else { "off" };
    b.pair(
        "-drive",
        format!(
            "id={id},format=raw,file={},if=none,aio={},discard=unmap{cache},read-only={read_only}",
            quote::qemu_file(&volume.image),
            facts.vm.qemu.aio,
        ),
    );
    let serial = volume.serial.as_ref().map(|it| format!(",serial={}", value(it)));
    let device = facts.device("virtio-blk");
    b.pair("-device", format!("{device},drive={id}{}", serial.unwrap_or_default()));
}

fn shares(b: &mut Builder, facts: &Facts<'_>) {
    let vm = facts.vm;
    if vm.shares.is_empty() {
        return;
    }
    if !vm.host_system.is_darwin() {
        b.from("shares", "memory that virtiofsd can see");
        b.pair("-numa", "node,memdev=mem");
        b.pair("-object", format!("memory-backend-memfd,id=mem,size={}M,share=on", vm.mem));
    }
    for (at, share) in vm.shares.iter().enumerate() {
        b.element("shares", at, "a directory that the guest sees");
        self::share(b, facts, at, share);
    }
}

fn share(b: &mut Builder, facts: &Facts<'_>, at: usize, share: &Share) {
    let tag = value(&share.tag);
    match share.proto {
        Proto::Virtiofs => {
            let socket = value(share.socket.as_deref().unwrap_or_default());
            let device = facts.device("vhost-user-fs");
            b.pair("-chardev", format!("socket,id=fs{at},path={socket}"));
            b.pair("-device", format!("{device},chardev=fs{at},tag={tag}"));
        }
        Proto::NineP => {
            let device = facts.device("virtio-9p");
            b.pair(
                "-fsdev",
                format!(
                    "local,id=fs{at},path={},security_model={},readonly={}",
                    value(&share.source),
                    share.security_model,
                    share.read_only,
                ),
            );
            b.pair("-device", format!("{device},fsdev=fs{at},mount_tag={tag}"));
        }
    }
}

fn network(b: &mut Builder, facts: &Facts<'_>, at: usize, interface: &Interface) {
    let vm = facts.vm;
    let id = value(&interface.id);
    let multi_queue = tap_multi_queue(vm);
    let takes_queues = matches!(interface.kind, InterfaceType::Tap | InterfaceType::Macvtap);
    match interface.kind {
        InterfaceType::User => {
            let first = vm.interfaces_of(InterfaceType::User).next().map(|(at, _)| at);
            b.word("-netdev");
            let mut pieces = vec![Piece::Text(format!("user,id={id}"))];
            if first == Some(at) {
                vm.forward_ports.iter().for_each(|it| forward(&mut pieces, it));
            }
            b.pieces(joined(pieces));
        }
        InterfaceType::Bridge => {
            let bridge = value(interface.bridge.as_deref().unwrap_or_default());
            let helper = value(&vm.qemu.bridge_helper);
            b.pair("-netdev", format!("bridge,id={id},br={bridge},helper={helper}"));
        }
        InterfaceType::Tap => {
            let vhost = if interface.tap.vhost { ",vhost=on" } else { "" };
            let queues = if multi_queue { format!(",queues={}", vm.vcpu) } else { String::new() };
            b.pair(
                "-netdev",
                format!("tap,id={id},ifname={id},script=no,downscript=no{vhost}{queues}"),
            );
        }
        InterfaceType::Macvtap => {
            let key = if multi_queue { "fds" } else { "fd" };
            b.pair("-netdev", format!("tap,id={id},{key}={}", fds(vm, at, ":")));
        }
    }
    let mut text = format!("{},netdev={id},mac={}", facts.device("virtio-net"), interface.mac);
    let is_foreign = vm.cpu.is_none() && vm.guest_system.arch() != Arch::X86;
    // A device on the machine's own transport has no such property.
    if facts.pci || (facts.compat && is_foreign) {
        text.push_str(",romfile=");
    }
    // A back end with one queue that says it has more makes incoming connections stall.
    if takes_queues && multi_queue && facts.pci {
        text.push_str(&format!(",mq=on,vectors={}", 2 * u64::from(vm.vcpu) + 2));
    }
    if let Some(mtu) = interface.mtu {
        text.push_str(&format!(",host_mtu={mtu}"));
    }
    b.pair("-device", text);
}

fn forward(pieces: &mut Vec<Piece>, forward: &Forward) {
    let (host, guest) = (&forward.host, &forward.guest);
    match forward.from {
        From::Host => pieces.push(Piece::Text(format!(
            ",hostfwd={}:{}:{}-{}:{}",
            forward.proto, host.address, host.port, guest.address, guest.port
        ))),
        From::Guest => {
            let to = if host.address.is_empty() { "127.0.0.1" } else { &host.address };
            pieces
                .push(Piece::Text(format!(",guestfwd=tcp:{}:{}-cmd:", guest.address, guest.port)));
            pieces.push(Piece::HelperInside);
            pieces.push(Piece::Text(format!(" internal tcp-relay {to} {}", host.port)));
        }
    }
}

/// Texts that follow each other as one.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (all.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
            (_, piece) => all.push(piece),
        }
    }
    all
}
