// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Devices of the host, the display, sockets between host and guest.

use super::{Findings, all};
use crate::config::Vm;
use crate::diag::Diagnostic;

/// The first address of vsock that a guest can have.
const CID_MIN: u32 = 3;
/// The last one.
const CID_MAX: u32 = u32::MAX - 1;

pub(super) fn check(vm: &Vm, found: &mut Findings) {
    for (at, device) in vm.devices.iter().enumerate() {
        let path = format!("devices[{at}].path");
        if device.bus == "pci" && !is_pci(&device.path) {
            let text = format!("{:?} is no PCI address", device.path);
            let short = format!("0000:{}", device.path);
            let hint = if is_pci(&short) {
                format!("did you mean {short:?}?")
            } else {
                "small hexadecimal digits, such as 0000:03:00.0".to_owned()
            };
            found.push(Diagnostic::error("MV151", path, text).hint(hint));
        } else if device.bus == "usb"
            && !all(&device.path, |it| it.is_ascii_alphanumeric() || b"=,._-".contains(&it))
        {
            let text = format!("{:?} are no properties of usb-host", device.path);
            let hint = "such as vendorid=0x1234,productid=0x5678";
            found.push(Diagnostic::error("MV152", path, text).hint(hint));
        }
    }
    let graphics = &vm.graphics;
    let amount = graphics.hostmem.strip_suffix(['M', 'G']).unwrap_or_default();
    if !all(amount, |byte| byte.is_ascii_digit()) {
        let text = format!("\"graphics.hostmem\" must end in M or G, found {:?}", graphics.hostmem);
        found.error("MV153", "graphics.hostmem", text);
    }
    if graphics.enable && graphics.vulkan.is_some() && graphics.backend == "cocoa" {
        let text = "backend cocoa has no Vulkan";
        found.error("MV153", "graphics.vulkan", text);
    }
    match vm.vsock.cid {
        Some(cid) if !(CID_MIN..=CID_MAX).contains(&cid) => {
            let text = format!("CID {cid} is reserved; use {CID_MIN} to {CID_MAX}");
            found.error("MV119", "vsock.cid", text);
        }
        None if vm.vsock.ssh.enable => {
            let text = "\"vsock.ssh.enable\" needs \"vsock.cid\"";
            found.error("MV159", "vsock.ssh.enable", text);
        }
        _ => {}
    }
}

/// Is it `dddd:bb:dd.f`?
fn is_pci(text: &str) -> bool {
    let form = b"xxxx:xx:xx.7";
    let fits = |(byte, wanted): (u8, u8)| match wanted {
        b'x' => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        b'7' => (b'0'..=b'7').contains(&byte),
        literal => byte == literal,
    };
    text.len() == form.len() && text.bytes().zip(form.iter().copied()).all(fits)
}
