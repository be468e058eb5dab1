// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What several hypervisors share: the kernel's command line, drive letters, queues.

use super::{Builder, Piece, Word};
use crate::config::{Arch, Hypervisor, InterfaceType, Vm};

/// The most queue pairs of a network device of `StratoVirt`.
const STRATOVIRT_QUEUES: u32 = 16;

/// The kernel's command line: `prefix`, the parameters of the description, then `extra`, which are
/// words of the hypervisor's own; joined by single blanks.
///
/// With `compat` an empty part of the prefix, or the absence of parameters, leaves a blank, as
/// upstream does.
#[must_use]
pub fn command_line(vm: &Vm, prefix: &[&str], extra: &[&str], compat: bool) -> String {
    let mut words: Vec<&str> = Vec::new();
    if vm.optimize.enable {
        words.push("8250.nr_uarts=1");
    }
    words.extend(vm.kernel_params.iter().map(String::as_str));
    let root = format!("rootfstype={}", vm.store_disk_type);
    let has_root = vm.kernel_params.iter().any(|word| word.starts_with("root="));
    if vm.root_image().is_some() && vm.store_disk_is_root && !has_root {
        words.extend(["root=/dev/vda", &root, "ro"]);
    }
    words.extend(extra);
    if compat {
        let parameters = words.join(" ");
        return prefix.iter().copied().chain([parameters.as_str()]).collect::<Vec<_>>().join(" ");
    }
    let words = prefix.iter().copied().chain(words).map(str::trim).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// The words for a serial console, where the guest has one.
#[must_use]
pub(super) const fn serial_console(vm: &Vm) -> &'static str {
    match vm.guest_system.arch() {
        Arch::X86 => "earlyprintk=ttyS0 console=ttyS0",
        Arch::Arm => "console=ttyAMA0",
    }
}

/// The kernel for a program that wants it uncompressed on x86.
#[must_use]
pub(super) fn uncompressed_kernel(vm: &Vm) -> (&'static str, &str) {
    match (&vm.vmlinux, vm.guest_system.arch()) {
        (Some(vmlinux), Arch::X86) => ("vmlinux", vmlinux),
        _ => ("kernel", &vm.kernel),
    }
}

/// The letter of a volume: the root image, if there is one, is `a`.
#[must_use]
pub fn drive_letter(vm: &Vm, volume: usize) -> char {
    let at = volume + usize::from(vm.root_image().is_some());
    u8::try_from(at).map_or('z', |at| char::from(b'a'.saturating_add(at)))
}

/// Have taps a queue for each processor? The tap must be made the same way, or it cannot be opened.
#[must_use]
pub const fn tap_multi_queue(vm: &Vm) -> bool {
    vm.vcpu > 1
        && matches!(
            vm.hypervisor,
            Hypervisor::Qemu
                | Hypervisor::CloudHypervisor
                | Hypervisor::Stratovirt
                | Hypervisor::Alioth
        )
}

/// The queues of each tap.
#[must_use]
pub(super) fn tap_queues(vm: &Vm) -> u32 {
    match (tap_multi_queue(vm), vm.hypervisor) {
        (false, _) => 1,
        (true, Hypervisor::Stratovirt) => vm.vcpu.min(STRATOVIRT_QUEUES),
        (true, _) => vm.vcpu,
    }
}

/// The descriptors of each macvtap interface: place in the list, first descriptor, how many.
#[must_use]
pub fn macvtap_fds(vm: &Vm) -> Vec<(usize, u32, u32)> {
    let queues = tap_queues(vm);
    let first = (3..).step_by(usize::try_from(queues).unwrap_or(1));
    let interfaces = vm.interfaces_of(InterfaceType::Macvtap);
    interfaces.zip(first).map(|((at, _), first)| (at, first, queues)).collect()
}

/// The descriptors of the interface at `at`, joined by `separator`.
#[must_use]
pub(super) fn fds(vm: &Vm, at: usize, separator: &str) -> String {
    let found = macvtap_fds(vm).into_iter().find(|(other, ..)| *other == at);
    let (_, first, count) = found.unwrap_or_default();
    (first..first + count).map(|fd| fd.to_string()).collect::<Vec<_>>().join(separator)
}

/// The macvtap interfaces that are opened at the start.
#[must_use]
pub(super) fn macvtaps(vm: &Vm) -> Vec<(String, u32, u32)> {
    let named = macvtap_fds(vm).into_iter().filter_map(|(at, first, count)| {
        vm.interfaces.get(at).map(|interface| (interface.id.clone(), first, count))
    });
    named.collect()
}

/// The relay of the guest's notifications; it ends at once where nobody wants to be notified.
#[must_use]
pub(super) fn relay(way: &str, address: impl Into<String>) -> Vec<Word> {
    let mut b = Builder::default();
    b.from("notify", "the guest reports that it is ready");
    b.pieces(vec![Piece::Helper]).words(["internal", "notify-relay", way]).word(address);
    b.finish()
}

/// The process that draws, for those that leave it to one; `displays` is empty, or ends in a comma.
#[must_use]
pub(super) fn graphics_process(vm: &Vm, displays: &str) -> Vec<Word> {
    let mut b = Builder::default();
    b.from("graphics.enable", "the graphics process");
    b.word(&vm.graphics.crosvm_binary).words(["device", "gpu"]);
    b.pair("--socket", &vm.graphics.socket);
    b.word("--wayland-sock").pieces(vec![Piece::WaylandSocket]);
    let contexts = "virgl:virgl2:cross-domain";
    b.pair(
        "--params",
        format!(r#"{{"context-types":"{contexts}",{displays}"egl":true,"vulkan":true}}"#),
    );
    b.finish()
}

/// The name that the process shows, if it shows another than its program's.
#[must_use]
pub(super) fn argv0(vm: &Vm) -> Option<String> {
    vm.pretty_procnames.then(|| format!("microvm@{}", vm.host_name))
}

/// Is `version` at least `least`? Numbers separated by points; what is no number counts as zero.
#[must_use]
pub(super) fn at_least(version: &str, least: &[u32]) -> bool {
    let numbers: Vec<u32> = version.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    numbers.as_slice() >= least
}
