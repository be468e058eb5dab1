// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Directories that the guest sees.

use super::disks::is_inside;
use super::{Findings, Options, duplicates};
use crate::config::{Hypervisor, Proto, Share, Vm};
use crate::diag::Diagnostic;

/// The most bytes of a tag that QEMU's 9p takes.
const TAG_9P_MAX: usize = 31;
/// The most bytes of a tag of virtio-fs.
const TAG_VIRTIOFS_MAX: usize = 36;

pub(super) fn check(vm: &Vm, options: &Options, found: &mut Findings) {
    for (at, share) in vm.shares.iter().enumerate() {
        let path = format!("shares[{at}]");
        tag(&path, share, found);
        source(&path, share, options, found);
        if share.proto == Proto::Virtiofs {
            daemon(vm, &path, share, found);
        }
    }
    let tags = vm.shares.iter().map(|share| share.tag.as_str()).enumerate();
    duplicates(tags, |at, first| {
        let text = format!("shares[{first}] has the same tag");
        found.error("MV135", format!("shares[{at}].tag"), text);
    });
    let sockets = vm.shares_of(Proto::Virtiofs);
    let sockets = sockets.filter_map(|(at, share)| share.socket.as_deref().map(|it| (at, it)));
    duplicates(sockets, |at, first| {
        let text = format!("shares[{first}] has the same socket");
        found.error("MV137", format!("shares[{at}].socket"), text);
    });
}

fn tag(path: &str, share: &Share, found: &mut Findings) {
    let path = format!("{path}.tag");
    let (most, proto) = match share.proto {
        Proto::NineP => (TAG_9P_MAX, "9p"),
        Proto::Virtiofs => (TAG_VIRTIOFS_MAX, "virtiofs"),
    };
    let tag = &share.tag;
    if tag.len() > most {
        let text = format!("tag \"{tag}\" is longer than {most} bytes, the limit of {proto}");
        found.error("MV136", path, text);
    } else if tag.is_empty() || tag == "." || tag == ".." || tag.contains(['/', ',']) {
        let text = format!("\"{tag}\" is no tag of a share");
        let hint = "not empty, \".\" or \"..\", and without \"/\" and \",\"";
        found.push(Diagnostic::error("MV136", path, text).hint(hint));
    }
}

fn source(path: &str, share: &Share, options: &Options, found: &mut Findings) {
    let path = format!("{path}.source");
    let plain = share.source.trim_end_matches('/');
    if share.source.is_empty() {
        found.error("MV006", path, "\"source\" of a share must not be empty");
    } else if plain.is_empty() {
        found.warn("MV139", path, "the whole file system of the host is shared");
    } else if plain == options.state_dir.trim_end_matches('/')
        || is_inside(&options.state_dir, plain)
    {
        let text = format!("{plain} holds the state of all machines ({})", options.state_dir);
        found.warn("MV139", path, text);
    }
}

/// What virtiofsd is asked for.
fn daemon(vm: &Vm, path: &str, share: &Share, found: &mut Findings) {
    if vm.hypervisor != Hypervisor::Vfkit && share.socket.as_deref().unwrap_or_default().is_empty()
    {
        let text = format!("virtiofs share \"{}\" needs \"socket\"", share.tag);
        found.error("MV137", format!("{path}.socket"), text);
    }
    let words = share.extra_args.iter().chain(&vm.virtiofsd.extra_args);
    let translation = words
        .filter_map(|word| word.split('=').next())
        .find(|flag| ["--translate-uid", "--translate-gid"].contains(flag));
    if let Some(flag) = translation.filter(|_| share.posix_acl) {
        let text = format!("virtiofsd refuses {flag} together with --posix-acl");
        let hint = "set posixAcl = false";
        found.push(Diagnostic::error("MV138", format!("{path}.posixAcl"), text).hint(hint));
    }
}
