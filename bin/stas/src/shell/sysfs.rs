// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads what the kernel shows of NVMe controllers in `/sys/class/nvme`.
//!
//! Owns the paths and the reading. Attributes of one device are read through its open directory, so
//! that they all belong to the same device even when its number is given to another one meanwhile;
//! the inode of that directory tells the two apart. A device that disappears while it is read is
//! passed over: nothing here is an error.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use plinth::file::Root;
use rustix::fs::{Dir, Mode, OFlags};

use super::kernel::wire::is_device_name;
use super::registry;
use crate::core::cid::{Attributes, Device};
use crate::core::port::DeviceId;
use crate::core::system::{self, Source};

const CLASS: &str = "/sys/class/nvme";
const BLOCK: &str = "/sys/class/block";
/// The longest attribute that is read; the kernel gives at most one page.
const VALUE_LEN_MAX: usize = 4096;
/// Children of a device that are looked at.
const CHILDREN_MAX: usize = 1024;
/// Block devices that the system's file systems and swap areas are stacked upon, at most.
const STACK_MAX: usize = 4096;

/// The kernel's view, under a root.
#[derive(Clone, Debug)]
pub struct Sysfs {
    root: Root,
}

impl Sysfs {
    /// Reads under `root`.
    #[must_use]
    pub const fn new(root: Root) -> Self {
        Self { root }
    }

    /// All controllers, ordered by number.
    #[must_use]
    pub fn scan(&self) -> Vec<Device> {
        let Ok(entries) = std::fs::read_dir(self.root.join(CLASS)) else { return Vec::new() };
        let mut names: Vec<(u64, String)> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| is_device_name(name))
            .filter_map(|name| Some((name.strip_prefix("nvme")?.parse().ok()?, name)))
            .collect();
        names.sort_unstable();
        let system = OnceCell::new();
        let carries = |block: &str| system.get_or_init(|| self.system()).contains(block);
        names.iter().filter_map(|(_, name)| self.read(name, &carries)).collect()
    }

    /// The controller of this name, when there is one now.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<Device> {
        let system = OnceCell::new();
        self.read(name, &|block| system.get_or_init(|| self.system()).contains(block))
    }

    /// The controller of this name, when it was made a moment ago: the system cannot run on it yet,
    /// so that what it does run on is not looked at.
    #[must_use]
    pub fn new_device(&self, name: &str) -> Option<Device> {
        self.read(name, &|_| false)
    }

    /// Reads one controller; `carries` tells whether the system runs on a namespace.
    fn read(&self, name: &str, carries: &dyn Fn(&str) -> bool) -> Option<Device> {
        let (directory, id) = self.open(name)?;
        let text = |attribute| read(&directory, attribute);
        let (state, uevent) = (text("state"), text("uevent"));
        // Linux 6.12 follows a null pointer, which ends the reader, when `address` is read while a
        // TCP connection is being closed. It tells more than `uevent` only of live controllers.
        let is_live = state.as_deref().is_some_and(|state| state.trim() == "live");
        let is_told = uevent.as_deref().is_some_and(|uevent| uevent.contains("NVME_TRADDR="));
        let attributes = Attributes {
            address: if is_live || !is_told { text("address") } else { None },
            subsysnqn: text("subsysnqn"),
            hostnqn: text("hostnqn"),
            state,
            cntrltype: text("cntrltype"),
            dctype: text("dctype"),
            uevent,
            // Read last: an attribute that answers now proves that the device lived until here.
            transport: Some(text("transport")?),
        };
        let children = children(&directory);
        let mut reached = children.iter().filter_map(|child| system::reached_through(child));
        let holds_system = reached.any(|namespace| carries(&namespace));
        let owner = registry::owner(&self.root, name);
        Some(Device { holds_system, owner, ..Device::from_attributes(id, &attributes, &children) })
    }

    /// The namespaces that carry the root file system or swap, by whatever is stacked upon them.
    fn system(&self) -> BTreeSet<String> {
        let text = |path| {
            let bytes = self.root.read_bytes(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let sources = system::sources(&text("/proc/self/mountinfo"), &text("/proc/swaps"));
        let mut stack: Vec<String> =
            sources.iter().filter_map(|source| self.block_name(source)).collect();
        let mut seen = BTreeSet::new();
        while let Some(block) = stack.pop() {
            if seen.len() < STACK_MAX && seen.insert(block.clone()) {
                stack.extend(self.list(&format!("{BLOCK}/{block}/slaves")));
            }
        }
        seen.iter().filter_map(|block| system::namespace(block)).map(str::to_owned).collect()
    }

    /// The kernel's name of a block device.
    fn block_name(&self, source: &Source) -> Option<String> {
        let last = |path: std::path::PathBuf| path.file_name()?.to_str().map(str::to_owned);
        match source {
            Source::Number(number) => {
                let link = std::fs::read_link(self.root.join(format!("/sys/dev/block/{number}")));
                last(link.ok()?)
            }
            Source::Path(path) => match path.strip_prefix("mapper/") {
                Some(mapped) => self.list(BLOCK).into_iter().find(|block| {
                    let name = self.root.read_text(format!("{BLOCK}/{block}/dm/name"));
                    name.is_ok_and(|name| name.trim_end() == mapped)
                }),
                None => Some(path.clone()).filter(|name| !name.contains('/')),
            },
        }
    }

    fn list(&self, directory: &str) -> Vec<String> {
        self.root.list(directory).unwrap_or_default()
    }

    /// The identity of the controller of this name, when there is one now.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<DeviceId> {
        self.open(name).map(|(_, id)| id)
    }

    fn open(&self, name: &str) -> Option<(OwnedFd, DeviceId)> {
        if !is_device_name(name) {
            return None;
        }
        let path = self.root.join(format!("{CLASS}/{name}"));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).ok()?;
        let instance = rustix::fs::fstat(&directory).ok()?.st_ino;
        Some((directory, DeviceId { name: name.to_owned(), instance }))
    }

    /// The text of one attribute of one controller as people read it: without blanks at its ends,
    /// empty when it is absent or when the kernel could not tell (`(efault)`).
    #[must_use]
    pub fn shown(&self, name: &str, attribute: &str) -> Option<String> {
        if !attribute.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return None;
        }
        let (directory, _) = self.open(name)?;
        let text = read(&directory, attribute).unwrap_or_default();
        let text = text.trim();
        Some(if text == "(efault)" { String::new() } else { text.to_owned() })
    }
}

/// The text of an attribute; what is not UTF-8 in it is replaced.
fn read(directory: &OwnedFd, attribute: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, attribute, flags, Mode::empty()).ok()?;
    let mut buffer = [0; VALUE_LEN_MAX];
    let len = rustix::io::read(&file, &mut buffer).ok()?;
    Some(String::from_utf8_lossy(buffer.get(..len).unwrap_or_default()).into_owned())
}

/// The names below a device that can be those of namespaces.
fn children(directory: &OwnedFd) -> Vec<String> {
    let Ok(entries) = Dir::read_from(directory) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
        .filter(|name| name.starts_with("nvme") || name.starts_with("ng"))
        .take(CHILDREN_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use plinth::testing::Place;

    use super::*;
    use crate::core::cid::State;

    struct Tree(Place);

    impl Tree {
        fn new() -> Self {
            let place = Place::new();
            place.directory("sys/class/nvme");
            Self(place)
        }

        /// A device as the kernel lays it out: the class directory holds a link.
        fn add(&self, name: &str, attributes: &[(&str, &str)]) -> PathBuf {
            let device = self.0.join("sys/devices/virtual/nvme-fabrics/ctl").join(name);
            fs::create_dir_all(&device).unwrap();
            for (attribute, text) in attributes {
                fs::write(device.join(attribute), text).unwrap();
            }
            let link = format!("../../devices/virtual/nvme-fabrics/ctl/{name}");
            std::os::unix::fs::symlink(link, self.0.join("sys/class/nvme").join(name)).unwrap();
            device
        }

        fn sysfs(&self) -> Sysfs {
            Sysfs::new(self.0.root())
        }
    }

    #[test]
    fn controllers_are_read_in_the_order_of_their_numbers() {
        let tree = Tree::new();
        tree.add("nvme10", &[("transport", "pcie\n"), ("address", "0000:00:04.0\n")]);
        let dc = tree.add(
            "nvme2",
            &[
                ("transport", "tcp\n"),
                ("address", "traddr=192.0.2.1,trsvcid=8009,src_addr=192.0.2.9\n"),
                ("subsysnqn", "nqn.2014-08.org.nvmexpress.discovery\n"),
                ("hostnqn", "nqn.2014-08.org.example:host\n"),
                ("state", "live\n"),
                ("cntrltype", "discovery\n"),
                ("dctype", "ddc\n"),
            ],
        );
        fs::create_dir(tree.0.join("sys/class/nvme/nvme-subsystem")).unwrap();
        let found = tree.sysfs().scan();
        let names: Vec<_> = found.iter().map(|device| device.id.name.as_str()).collect();
        assert_eq!(names, ["nvme2", "nvme10"]);
        let device = &found[0];
        assert_eq!(device.id.instance, rustix::fs::stat(&dc).unwrap().st_ino);
        assert_eq!((device.traddr.as_str(), device.trsvcid.as_str()), ("192.0.2.1", "8009"));
        assert_eq!(device.src_addr, "192.0.2.9");
        assert_eq!(device.state, State::Live);
        assert!(device.is_discovery());
        assert_eq!(tree.sysfs().id("nvme2"), Some(device.id.clone()));
    }

    #[test]
    fn the_address_of_a_dying_controller_is_left_unread() {
        let tree = Tree::new();
        let address = ("address", "traddr=192.0.2.1,trsvcid=8009,src_addr=192.0.2.9\n");
        let uevent = ("uevent", "NVME_TRTYPE=tcp\nNVME_TRADDR=192.0.2.1\nNVME_TRSVCID=8009\n");
        for (name, state, source) in [
            ("nvme0", "live\n", "192.0.2.9"),
            ("nvme1", "deleting\n", ""),
            ("nvme2", "connecting\n", ""),
        ] {
            tree.add(name, &[("transport", "tcp\n"), address, uevent, ("state", state)]);
            let device = tree.sysfs().device(name).unwrap();
            assert_eq!((device.traddr.as_str(), device.src_addr.as_str()), ("192.0.2.1", source));
        }
    }

    #[test]
    fn namespaces_below_a_controller_are_counted() {
        let tree = Tree::new();
        let device = tree.add("nvme0", &[("transport", "tcp\n"), ("state", "live\n")]);
        assert_eq!(tree.sysfs().device("nvme0").unwrap().namespaces, 0);
        fs::create_dir(device.join("nvme0c0n1")).unwrap();
        assert_eq!(tree.sysfs().device("nvme0").unwrap().namespaces, 1);
    }

    /// Controllers `nvme0` to `nvme3`, of which the last two are paths to one namespace, below a
    /// system with these mounts and swap areas.
    fn running(mountinfo: &str, swaps: &str) -> Vec<String> {
        let tree = Tree::new();
        for (controller, child) in [
            ("nvme0", "nvme0n1"),
            ("nvme1", "nvme1n1"),
            ("nvme2", "nvme2c2n1"),
            ("nvme3", "nvme2c3n1"),
        ] {
            let device = tree.add(controller, &[("transport", "tcp\n"), ("state", "live\n")]);
            fs::create_dir(device.join(child)).unwrap();
        }
        tree.0.file("proc/self/mountinfo", mountinfo);
        tree.0.file("proc/swaps", format!("Filename Type Size Used Priority\n{swaps}"));
        let block = tree.0.join("sys/class/block");
        tree.0.directory("sys/dev/block");
        for (number, name, below) in [
            ("259:1", "nvme0n1p2", None),
            ("259:2", "nvme2n1", None),
            ("253:0", "dm-0", Some("dm-1")),
            ("253:1", "dm-1", Some("nvme1n1p1")),
        ] {
            fs::create_dir_all(block.join(name).join("slaves")).unwrap();
            let link = tree.0.join("sys/dev/block").join(number);
            std::os::unix::fs::symlink(format!("../../class/block/{name}"), link).unwrap();
            if let Some(below) = below {
                fs::create_dir(block.join(name).join("slaves").join(below)).unwrap();
                fs::create_dir(block.join(name).join("dm")).unwrap();
                fs::write(block.join(name).join("dm/name"), format!("vg-{name}\n")).unwrap();
            }
        }
        let found = tree.sysfs().scan().into_iter().filter(|device| device.holds_system);
        found.map(|device| device.id.name).collect()
    }

    // R050
    #[test]
    fn controllers_that_carry_the_root_file_system_are_told() {
        let none: [&str; 0] = [];
        let mounted = |source: &str| format!("27 1 {source} rw\n");
        for (name, mountinfo, expected) in [
            ("none", String::new(), &none[..]),
            ("disk", mounted("8:1 / / rw - ext4 /dev/sda1"), &none),
            ("elsewhere", mounted("259:1 / /srv rw - ext4 /dev/nvme0n1p2"), &none),
            ("partition", mounted("259:1 / / rw - ext4 /dev/root"), &["nvme0"]),
            ("paths", mounted("259:2 / /usr rw shared:1 - xfs /dev/nvme2n1"), &["nvme2", "nvme3"]),
            ("stack", mounted("253:0 / / rw - ext4 /dev/mapper/vg-dm-0"), &["nvme1"]),
            ("btrfs", mounted("0:31 /@ / rw - btrfs /dev/mapper/vg-dm-0"), &["nvme1"]),
        ] {
            assert_eq!(running(&mountinfo, ""), expected, "{name}");
        }
    }

    // R050
    #[test]
    fn controllers_that_carry_swap_are_told() {
        let srv = "60 27 259:2 / /srv rw - xfs /dev/nvme2n1 rw\n";
        let swaps = "/dev/dm-1 partition 1024 0 -2\n";
        assert_eq!(running(srv, swaps), ["nvme1"]);
        let swaps = "/srv/swapfile file 1024 0 -2\n";
        assert_eq!(running(srv, swaps), ["nvme2", "nvme3"]);
    }

    #[test]
    fn nothing_is_read_of_what_is_no_controller() {
        let tree = Tree::new();
        tree.add("nvme0", &[]); // on its way out: the directory without attributes
        assert_eq!(tree.sysfs().device("nvme0"), None);
        assert_eq!(tree.sysfs().device("../nvme0"), None);
        assert_eq!(tree.sysfs().device("nvme7"), None);
        let nowhere = Sysfs::new(Root::at(tree.0.join("nowhere")));
        assert_eq!(nowhere.scan(), []);
    }

    #[test]
    fn attributes_are_shown_stripped_and_errors_as_nothing() {
        let tree = Tree::new();
        tree.add("nvme0", &[("model", "Linux    \n"), ("serial", "(efault)\n")]);
        let sysfs = tree.sysfs();
        assert_eq!(sysfs.shown("nvme0", "model"), Some("Linux".to_owned()));
        assert_eq!(sysfs.shown("nvme0", "serial"), Some(String::new()));
        assert_eq!(sysfs.shown("nvme0", "dctype"), Some(String::new()));
        assert_eq!(sysfs.shown("nvme0", "../nvme0/model"), None);
        assert_eq!(sysfs.shown("nvme1", "model"), None);
    }
}
