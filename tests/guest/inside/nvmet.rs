// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's storage target, steered through configfs.
//!
//! Subsystems let every host in unless told otherwise; namespaces lie in sparse files on the
//! guest's memory file system. A port listens only while a subsystem is linked to it, and its
//! discovery log holds its own subsystems and its referrals.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::trouble::Naming;
use super::{Outcome, Trouble};

const ROOT: &str = "/sys/kernel/config/nvmet";
/// Bytes of a namespace.
pub const NAMESPACE_BYTES: u64 = 16 << 20;

fn put(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).named(format_args!("write '{text}' to {}", path.display()))
}

fn make(path: &Path) -> Outcome {
    fs::create_dir(path).named(path.display())
}

fn subsystem_path(nqn: &str) -> PathBuf {
    Path::new(ROOT).join("subsystems").join(nqn)
}

fn port_path(id: u16) -> PathBuf {
    Path::new(ROOT).join("ports").join(id.to_string())
}

/// The file that holds namespace `id` of `nqn`.
#[must_use]
pub fn backing(nqn: &str, id: u32) -> PathBuf {
    PathBuf::from(format!("/tmp/{}-{id}.img", nqn.replace([':', '/'], "_")))
}

/// Makes a subsystem with `namespaces` namespaces, numbered from 1.
///
/// # Errors
/// The kernel's refusal.
pub fn subsystem(nqn: &str, namespaces: u32) -> Outcome {
    let path = subsystem_path(nqn);
    make(&path)?;
    put(&path.join("attr_allow_any_host"), "1")?;
    for id in 1..=namespaces {
        namespace(nqn, id)?;
    }
    Ok(())
}

/// Adds a namespace in a file of its own.
///
/// # Errors
/// The kernel's refusal.
pub fn namespace(nqn: &str, id: u32) -> Outcome {
    let file = backing(nqn, id);
    fs::File::create(&file)?.set_len(NAMESPACE_BYTES)?;
    namespace_on(nqn, id, &file.to_string_lossy(), true)
}

/// Adds a namespace on a given file (`buffered`) or block device.
///
/// # Errors
/// The kernel's refusal.
pub fn namespace_on(nqn: &str, id: u32, device: &str, buffered: bool) -> Outcome {
    let path = subsystem_path(nqn).join("namespaces").join(id.to_string());
    make(&path)?;
    put(&path.join("device_path"), device)?;
    if buffered {
        put(&path.join("buffered_io"), "1")?;
    }
    put(&path.join("enable"), "1")
}

/// Takes a namespace away.
///
/// # Errors
/// When there is none.
pub fn remove_namespace(nqn: &str, id: u32) -> Outcome {
    let path = subsystem_path(nqn).join("namespaces").join(id.to_string());
    put(&path.join("enable"), "0")?;
    fs::remove_dir(&path).named(path.display())
}

/// Makes a TCP port; it listens as soon as a subsystem is linked.
///
/// # Errors
/// The kernel's refusal.
pub fn port(id: u16, address: &str, service: u16) -> Outcome {
    let path = port_path(id);
    make(&path)?;
    address_of(&path, address, service)
}

fn address_of(path: &Path, address: &str, service: u16) -> Outcome {
    let family = if address.contains(':') { "ipv6" } else { "ipv4" };
    put(&path.join("addr_trtype"), "tcp")?;
    put(&path.join("addr_adrfam"), family)?;
    put(&path.join("addr_traddr"), address)?;
    put(&path.join("addr_trsvcid"), &service.to_string())
}

/// Offers a subsystem on a port.
///
/// # Errors
/// The kernel's refusal, for example an address in use.
pub fn link(port: u16, nqn: &str) -> Outcome {
    let path = port_path(port).join("subsystems").join(nqn);
    symlink(subsystem_path(nqn), &path).named(path.display())
}

/// Withdraws a subsystem from a port; the last one withdrawn stops the port.
///
/// # Errors
/// When it is not linked.
pub fn unlink(port: u16, nqn: &str) -> Outcome {
    let path = port_path(port).join("subsystems").join(nqn);
    fs::remove_file(&path).named(path.display())
}

/// Announces another discovery controller in the log of a port.
///
/// # Errors
/// The kernel's refusal.
pub fn refer(port: u16, name: &str, address: &str, service: u16) -> Outcome {
    let path = port_path(port).join("referrals").join(name);
    make(&path)?;
    address_of(&path, address, service)?;
    put(&path.join("enable"), "1")
}

/// Withdraws a referral.
///
/// # Errors
/// When there is none of this name.
pub fn unrefer(port: u16, name: &str) -> Outcome {
    let path = port_path(port).join("referrals").join(name);
    put(&path.join("enable"), "0")?;
    fs::remove_dir(&path).named(path.display())
}

/// Removes a subsystem with its namespaces; it must not be linked any more.
///
/// # Errors
/// The kernel's refusal.
pub fn remove_subsystem(nqn: &str) -> Outcome {
    let path = subsystem_path(nqn);
    for entry in fs::read_dir(path.join("namespaces"))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let id = name.parse().map_err(|_| Trouble::new(format!("namespace '{name}'")))?;
        remove_namespace(nqn, id)?;
    }
    fs::remove_dir(&path).named(path.display())
}
