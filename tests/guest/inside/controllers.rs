// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The initiator's side as the kernel shows it in sysfs, and connections made by hand.
//!
//! Deliberately shares no code with the programs under test: what they claim is compared with this.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::trouble::Naming;
use super::{Outcome, Trouble, wait};

/// The name under which every discovery controller answers.
pub const DISCOVERY_NQN: &str = "nqn.2014-08.org.nvmexpress.discovery";
/// The identity in the image's `/etc/nvme`.
pub const HOST_ID: &str = "11111111-2222-3333-4444-555555555555";
/// The host name that belongs to [`HOST_ID`].
pub const HOST_NQN: &str = "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555";

/// One controller of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controller {
    /// Device name, such as `nvme3`.
    pub name: String,
    /// Such as `live` or `connecting`.
    pub state: String,
    /// Name of the subsystem.
    pub nqn: String,
    /// `discovery`, `io`, or empty on old kernels.
    pub kind: String,
    /// `none`, `ddc`, `cdc`, or empty.
    pub dctype: String,
    /// Such as `tcp`.
    pub transport: String,
    /// Where it is: `traddr`, `trsvcid`, `host_traddr`, `host_iface`, as far as they are set.
    pub address: BTreeMap<String, String>,
    /// The host name it was connected with.
    pub host_nqn: String,
}

impl Controller {
    /// One part of the address, such as `trsvcid`; empty when absent.
    #[must_use]
    pub fn part(&self, key: &str) -> &str {
        self.address.get(key).map_or("", String::as_str)
    }

    /// Whether it is connected and usable.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state == "live"
    }

    /// Whether it is a discovery controller.
    #[must_use]
    pub fn is_discovery(&self) -> bool {
        self.kind == "discovery" || self.nqn == DISCOVERY_NQN
    }
}

fn attribute(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default().trim().to_owned()
}

/// Every controller over a fabric, in the order of their numbers.
#[must_use]
pub fn all() -> Vec<Controller> {
    let Ok(folder) = fs::read_dir("/sys/class/nvme") else { return Vec::new() };
    let mut found: Vec<Controller> = folder
        .flatten()
        .map(|entry| {
            let path = entry.path();
            // Not from the attribute `address`: to read it while the connection is being closed is
            // a null pointer to Linux 6.12 (nvme_tcp_get_address), and the end of the reader.
            let address = attribute(&path, "uevent");
            let parts = address.lines().filter_map(|line| {
                let (key, value) = line.strip_prefix("NVME_")?.split_once('=')?;
                (value != "none").then(|| (key.to_lowercase(), value.to_owned()))
            });
            Controller {
                name: entry.file_name().to_string_lossy().into_owned(),
                state: attribute(&path, "state"),
                nqn: attribute(&path, "subsysnqn"),
                kind: attribute(&path, "cntrltype"),
                dctype: attribute(&path, "dctype"),
                transport: attribute(&path, "transport"),
                address: parts.collect(),
                host_nqn: attribute(&path, "hostnqn"),
            }
        })
        .collect();
    found.sort_by_key(|c| c.name.trim_start_matches("nvme").parse::<u32>().unwrap_or(0));
    found
}

/// The controllers that storage comes from.
#[must_use]
pub fn storage() -> Vec<Controller> {
    all().into_iter().filter(|c| !c.is_discovery()).collect()
}

/// The discovery controllers.
#[must_use]
pub fn discovery() -> Vec<Controller> {
    all().into_iter().filter(Controller::is_discovery).collect()
}

/// Names of the subsystems with a live storage controller, sorted, one for each controller.
#[must_use]
pub fn live_nqns() -> Vec<String> {
    let mut names: Vec<String> =
        storage().into_iter().filter(Controller::is_live).map(|c| c.nqn).collect();
    names.sort();
    names
}

/// Waits until the live storage controllers are exactly those of `nqns`; tells how long that took.
///
/// # Errors
/// A finding with what is there instead after `limit`.
pub fn await_storage(nqns: &[&str], limit: Duration) -> Outcome<Duration> {
    let mut wanted: Vec<String> = nqns.iter().map(|n| (*n).to_owned()).collect();
    wanted.sort();
    wait::until(&format!("live storage is {wanted:?}"), limit, || live_nqns() == wanted)
        .map_err(|trouble| trouble.during(&format!("live storage is {:?}", live_nqns())))
}

/// Waits until a withdrawn subsystem has no connection left, live or not.
///
/// # Errors
/// When that does not come about within `limit`.
pub fn await_withdrawn(nqn: &str, limit: Duration) -> Outcome<Duration> {
    wait::until("the withdrawn subsystem is disconnected", limit, || {
        !storage().iter().any(|c| c.nqn == nqn)
    })
}

/// Waits until there are `count` live discovery controllers.
///
/// # Errors
/// A finding after `limit`.
pub fn await_discovery(count: usize, limit: Duration) -> Outcome<Duration> {
    wait::until(&format!("{count} live discovery controllers"), limit, || {
        let found = discovery();
        found.len() == count && found.iter().all(Controller::is_live)
    })
}

/// Connects by hand: the address part of the option string, the host's identity is added.
///
/// # Errors
/// The kernel's refusal.
pub fn connect(options: &str) -> Outcome<String> {
    let mut device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/nvme-fabrics")
        .named("/dev/nvme-fabrics")?;
    let text = format!("{options},hostnqn={HOST_NQN},hostid={HOST_ID}");
    device.write_all(text.as_bytes()).named(&text)?;
    let mut reply = [0; 128];
    let length = device.read(&mut reply)?;
    let reply = String::from_utf8_lossy(&reply[..length]).into_owned();
    let number = reply.strip_prefix("instance=").and_then(|rest| rest.split(',').next());
    number
        .map(|number| format!("nvme{number}"))
        .ok_or_else(|| Trouble::new(format!("the kernel answered '{reply}'")))
}

/// Connects by hand to a subsystem over TCP on loopback.
///
/// # Errors
/// The kernel's refusal.
pub fn connect_tcp(nqn: &str, port: u16) -> Outcome<String> {
    connect(&format!("nqn={nqn},transport=tcp,traddr=127.0.0.1,trsvcid={port}"))
}

/// Disconnects a controller by hand.
///
/// # Errors
/// When there is none of this name.
pub fn delete(name: &str) -> Outcome {
    let path = format!("/sys/class/nvme/{name}/delete_controller");
    fs::write(&path, "1").named(&path)
}

/// The block devices of a subsystem (the heads, not the hidden paths), by namespace number.
///
/// A disk's own number says nothing: a newer kernel scans namespaces in parallel and counts as they
/// come.
#[must_use]
pub fn disks(nqn: &str) -> Vec<PathBuf> {
    let Ok(folder) = fs::read_dir("/sys/class/nvme-subsystem") else { return Vec::new() };
    let mut found = Vec::new();
    for subsystem in folder.flatten().map(|entry| entry.path()) {
        if attribute(&subsystem, "subsysnqn") != nqn {
            continue;
        }
        let Ok(children) = fs::read_dir(&subsystem) else { continue };
        for child in children.flatten() {
            let name = child.file_name().to_string_lossy().into_owned();
            let numbers = name.strip_prefix("nvme").and_then(|rest| rest.split_once('n'));
            let is_head = numbers.is_some_and(|(subsystem, namespace)| {
                !subsystem.contains('c')
                    && subsystem.parse::<u32>().is_ok()
                    && namespace.parse::<u32>().is_ok()
            });
            if is_head {
                let namespace = attribute(&child.path(), "nsid").parse::<u32>().unwrap_or(0);
                found.push((namespace, PathBuf::from("/dev").join(name)));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, disk)| disk).collect()
}
