// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal pci-setup` and `internal pci-teardown`: devices of the host, given to the machine and
//! taken back.
//!
//! Everything is looked at before anything is changed: whether each device exists, has an IOMMU
//! group, and shares it with nobody who stays with the host. When one cannot be taken after all,
//! those before it go back. On the way back what fails does not keep the others.
//!
//! Standards: Linux `Documentation/driver-api/vfio.rst`, `Documentation/ABI/testing/sysfs-bus-pci`.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plinth::err::{Failure, tell};
use plinth::file::Root;
use plinth::proc::{self, Limits};
use serde_json::Value;

use super::Call;
use super::accounts::Owner;
use crate::cli::World;
use crate::package::{RUNNER, RUNNER_MAX};

const DRIVER: &str = "vfio-pci";
const DEVICES: &str = "/sys/bus/pci/devices";
const DRIVER_DIR: &str = "/sys/bus/pci/drivers/vfio-pci";
const MODPROBE: Limits = Limits { time: Duration::from_secs(60), output: 64 << 10 };
/// The class of a bridge, which stays with its own driver: the first two of three bytes.
const BRIDGE: &str = "0x0604";

/// What is wrong with a device.
#[derive(Debug)]
enum PciError {
    /// A file of the package cannot be read.
    Package(PathBuf, io::Error),
    /// This is no address of a device.
    Address(String),
    /// There is no such device.
    NoDevice(String),
    /// The kernel has no driver for it.
    NoDriver,
    /// The driver is there and does not take the device.
    NotTaken(String),
    /// The device cannot be isolated.
    NoGroup(String),
    /// Others of its group stay with the host.
    Shared(String, String, Vec<String>),
    /// The kernel refused.
    Io(&'static str, PathBuf, io::Error),
    /// Some could not be given back; each was told.
    Some(usize),
}

impl fmt::Display for PciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package(path, _) => write!(f, "cannot read {}", path.display()),
            Self::Address(text) => write!(f, "not the address of a PCI device: {text}"),
            Self::NoDevice(address) => write!(f, "the PCI device {address} does not exist"),
            Self::NoDriver => write!(f, "the kernel has no driver {DRIVER}"),
            Self::NotTaken(address) => {
                write!(f, "{DRIVER} does not take the PCI device {address}")
            }
            Self::NoGroup(address) => {
                write!(f, "the PCI device {address} has no IOMMU group: enable the IOMMU")
            }
            Self::Shared(address, group, others) => write!(
                f,
                "the PCI device {address} shares IOMMU group {group} with {}, not on {DRIVER}; \
                 devices.allowGroup = true passes over this",
                others.join(", ")
            ),
            Self::Io(what, path, _) => write!(f, "cannot {what} {}", path.display()),
            Self::Some(count) => write!(f, "devices that could not be given back: {count}"),
        }
    }
}

impl std::error::Error for PciError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Package(_, error) | Self::Io(_, _, error) => Some(error),
            _ => None,
        }
    }
}

/// A device to be given to the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its address: `dddd:bb:dd.f`.
    pub address: String,
    /// Others of its group may stay with the host.
    pub allow_group: bool,
}

/// The devices of a package: its list of addresses, and what its description says of each.
///
/// # Errors
/// The line that is no address.
pub fn devices(list: &str, runner: &[u8]) -> Result<Vec<Device>, String> {
    let runner: Value = serde_json::from_slice(runner).unwrap_or_default();
    let described = runner.pointer("/config/devices").and_then(Value::as_array);
    let described = described.map_or(&[][..], Vec::as_slice);
    let one = |address: &str| {
        let of = |it: &&Value| it.get("path").and_then(Value::as_str) == Some(address);
        let allow = described.iter().find(of).and_then(|it| it.get("allowGroup"));
        let device = Device {
            address: address.to_owned(),
            allow_group: allow.and_then(Value::as_bool).unwrap_or(false),
        };
        is_address(address).then_some(device).ok_or_else(|| address.to_owned())
    };
    list.lines().map(one).collect()
}

/// Whether `text` is `dddd:bb:dd.f`, in lower case.
fn is_address(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 12
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b':',
            10 => byte == b'.',
            11 => (b'0'..=b'7').contains(&byte),
            _ => hex(byte),
        })
}

pub(super) fn run(call: &Call<'_>, world: &World<'_>, up: bool) -> Result<u8, Failure> {
    call.at_most(0)?;
    let package = call.need(call.options.package.as_ref(), "package")?;
    let root = call.options.root.clone().map_or_else(Root::system, Root::at);
    let read = |name: &str| {
        let path = package.join(name);
        plinth::file::read(&path, RUNNER_MAX).map_err(|error| PciError::Package(path, error))
    };
    let list = String::from_utf8_lossy(&read("share/microvm/pci-devices")?).into_owned();
    let devices = devices(&list, &read(RUNNER)?).map_err(PciError::Address)?;
    let pci = Pci { root, devices };
    if up {
        let owner = Owner::from_env(world.env, &pci.root)?;
        pci.load_driver()?;
        let groups = pci.judge()?;
        pci.take(&owner, &groups)?;
    } else {
        pci.give_back()?;
    }
    Ok(0)
}

struct Pci {
    root: Root,
    devices: Vec<Device>,
}

impl Pci {
    fn file(&self, address: &str, name: &str) -> PathBuf {
        self.root.join(format!("{DEVICES}/{address}/{name}"))
    }

    /// The last part of where a link of a device leads.
    fn link(&self, address: &str, name: &str) -> Option<String> {
        let target = fs::read_link(self.file(address, name)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    fn write(&self, what: &'static str, path: &Path, text: &str) -> Result<(), PciError> {
        // Not created: what is not there cannot be told anything.
        let opened = fs::File::options().write(true).open(path);
        let written = opened.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
        written.map_err(|error| PciError::Io(what, path.to_owned(), error))
    }

    fn load_driver(&self) -> Result<(), PciError> {
        if !self.root.exists(DRIVER_DIR) {
            let mut command = Command::new("modprobe");
            command.arg(DRIVER);
            // Whether it worked is seen by what is there then.
            drop(proc::run(command, MODPROBE));
        }
        if self.root.exists(DRIVER_DIR) { Ok(()) } else { Err(PciError::NoDriver) }
    }

    /// Looks whether all devices can be taken; their groups.
    fn judge(&self) -> Result<Vec<String>, PciError> {
        let mut groups = Vec::new();
        for device in &self.devices {
            let address = &device.address;
            if !self.root.exists(format!("{DEVICES}/{address}")) {
                return Err(PciError::NoDevice(address.clone()));
            }
            let group = self.link(address, "iommu_group");
            let group = group.ok_or_else(|| PciError::NoGroup(address.clone()))?;
            let members = self.root.list(format!("/sys/kernel/iommu_groups/{group}/devices"));
            let ours = |other: &String| self.devices.iter().any(|it| it.address == *other);
            let others = members.unwrap_or_default().into_iter().filter(|other| !ours(other));
            let others: Vec<String> = others.filter(|other| self.stays(other)).collect();
            if !others.is_empty() && !device.allow_group {
                return Err(PciError::Shared(address.clone(), group, others));
            }
            groups.push(group);
        }
        Ok(groups)
    }

    /// Whether a device keeps its group from being given away.
    fn stays(&self, address: &str) -> bool {
        let class = self.root.read_text(format!("{DEVICES}/{address}/class"));
        let is_bridge = class.is_ok_and(|class| class.starts_with(BRIDGE));
        !is_bridge && self.link(address, "driver").as_deref() != Some(DRIVER)
    }

    /// Takes all devices; when one cannot be taken, none is.
    fn take(&self, owner: &Owner, groups: &[String]) -> Result<(), PciError> {
        let mut taken = Vec::new();
        for (device, group) in self.devices.iter().zip(groups) {
            let done = self.take_one(&device.address, &mut taken);
            if let Err(error) = done.and_then(|()| self.chown(owner, group)) {
                for address in taken.iter().rev() {
                    if let Err(error) = self.give_one_back(address) {
                        tell(format_args!("microvm: {}", plinth::err::chain(&error)));
                    }
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes a device that the driver does not have, and remembers that in `taken`.
    fn take_one<'a>(&self, address: &'a str, taken: &mut Vec<&'a str>) -> Result<(), PciError> {
        let driver = self.link(address, "driver");
        if driver.as_deref() == Some(DRIVER) {
            return Ok(());
        }
        taken.push(address);
        if driver.is_some() {
            self.write("unbind", &self.file(address, "driver/unbind"), address)?;
        }
        self.write("set", &self.file(address, "driver_override"), DRIVER)?;
        self.probe(address)?;
        // The kernel does not say that a driver has refused.
        let is_taken = self.link(address, "driver").as_deref() == Some(DRIVER);
        if is_taken { Ok(()) } else { Err(PciError::NotTaken(address.to_owned())) }
    }

    fn chown(&self, owner: &Owner, group: &str) -> Result<(), PciError> {
        let path = self.root.join(format!("/dev/vfio/{group}"));
        std::os::unix::fs::chown(&path, Some(owner.user), Some(owner.group))
            .map_err(|error| PciError::Io("change the owner of", path, error))
    }

    /// Has the kernel look for the driver of a device.
    fn probe(&self, address: &str) -> Result<(), PciError> {
        self.write("use", &self.root.join("/sys/bus/pci/drivers_probe"), address)
    }

    fn give_one_back(&self, address: &str) -> Result<(), PciError> {
        self.write("clear", &self.file(address, "driver_override"), "\n")?;
        if self.link(address, "driver").as_deref() == Some(DRIVER) {
            self.write("unbind", &self.file(address, "driver/unbind"), address)?;
        }
        self.probe(address)
    }

    fn give_back(&self) -> Result<(), PciError> {
        let mut failed = 0;
        for device in &self.devices {
            if let Err(error) = self.give_one_back(&device.address) {
                tell(format_args!("microvm: {}", plinth::err::chain(&error)));
                failed += 1;
            }
        }
        if failed > 0 { Err(PciError::Some(failed)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_whole_and_in_lower_case() {
        assert!(is_address("0000:3b:00.7"));
        for odd in ["", "3b:00.0", "0000:3B:00.0", "0000:3b:00.8", "0000:3b:00.0x", "../..:..:..."]
        {
            assert!(!is_address(odd), "{odd}");
        }
    }

    #[test]
    fn a_package_says_which_groups_may_be_shared() {
        let runner = br#"{"config": {"devices": [
            {"bus": "pci", "path": "0000:01:00.0", "allowGroup": true},
            {"bus": "pci", "path": "0000:02:00.0"}]}}"#;
        let found = devices("0000:01:00.0\n0000:02:00.0\n", runner).expect("devices");
        assert_eq!(found.iter().map(|it| it.allow_group).collect::<Vec<_>>(), [true, false]);
        assert_eq!(devices("0000:01:00.0\nx\n", runner), Err("x".to_owned()));
    }

    proptest! {
        #[test]
        fn an_address_is_never_a_way_out(list in "([0-9a-f:./]|\n){0,40}") {
            if let Ok(found) = devices(&list, b"") {
                prop_assert!(found.iter().all(|it| !it.address.contains('/')));
            }
        }
    }
}
