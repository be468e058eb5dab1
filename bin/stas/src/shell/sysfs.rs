// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads what the kernel shows of NVMe controllers in `/sys/class/nvme`.
//!
//! Owns the paths and the reading. Attributes of one device are read through its open directory, so
//! that they all belong to the same device even when its number is given to another one meanwhile;
//! the inode of that directory tells the two apart. A device that disappears while it is read is
//! passed over: nothing here is an error.

use std::os::fd::OwnedFd;

use plinth::file::Root;
use rustix::fs::{Dir, Mode, OFlags};

use super::kernel::wire::is_device_name;
use crate::core::cid::{Attributes, Device};
use crate::core::port::DeviceId;

const CLASS: &str = "/sys/class/nvme";
/// The longest attribute that is read; the kernel gives at most one page.
const VALUE_LEN_MAX: usize = 4096;
/// Children of a device that are looked at; only whether there are namespaces matters.
const CHILDREN_MAX: usize = 1024;

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
        names.iter().filter_map(|(_, name)| self.device(name)).collect()
    }

    /// The controller of this name, when there is one now.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<Device> {
        let (directory, id) = self.open(name)?;
        let text = |attribute| read(&directory, attribute);
        let attributes = Attributes {
            address: text("address"),
            transport: text("transport"),
            subsysnqn: text("subsysnqn"),
            hostnqn: text("hostnqn"),
            state: text("state"),
            cntrltype: text("cntrltype"),
            dctype: text("dctype"),
            uevent: text("uevent"),
        };
        // Read last: an attribute that answers now proves that the device lived until here.
        text("transport")?;
        Some(Device::from_attributes(id, &attributes, &children(&directory)))
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

    use super::*;
    use crate::core::cid::State;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("stas-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("sys/class/nvme")).unwrap();
            Self(path)
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
            Sysfs::new(Root::at(&self.0))
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn controllers_are_read_in_the_order_of_their_numbers() {
        let tree = Tree::new("scan");
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
    fn namespaces_below_a_controller_are_counted() {
        let tree = Tree::new("namespaces");
        let device = tree.add("nvme0", &[("transport", "tcp\n"), ("state", "live\n")]);
        assert_eq!(tree.sysfs().device("nvme0").unwrap().namespaces, 0);
        fs::create_dir(device.join("nvme0c0n1")).unwrap();
        assert_eq!(tree.sysfs().device("nvme0").unwrap().namespaces, 1);
    }

    #[test]
    fn nothing_is_read_of_what_is_no_controller() {
        let tree = Tree::new("none");
        tree.add("nvme0", &[]); // on its way out: the directory without attributes
        assert_eq!(tree.sysfs().device("nvme0"), None);
        assert_eq!(tree.sysfs().device("../nvme0"), None);
        assert_eq!(tree.sysfs().id("nvme7"), None);
        let nowhere = Sysfs::new(Root::at(tree.0.join("nowhere")));
        assert_eq!(nowhere.scan(), []);
    }

    #[test]
    fn attributes_are_shown_stripped_and_errors_as_nothing() {
        let tree = Tree::new("shown");
        tree.add("nvme0", &[("model", "Linux    \n"), ("serial", "(efault)\n")]);
        let sysfs = tree.sysfs();
        assert_eq!(sysfs.shown("nvme0", "model"), Some("Linux".to_owned()));
        assert_eq!(sysfs.shown("nvme0", "serial"), Some(String::new()));
        assert_eq!(sysfs.shown("nvme0", "dctype"), Some(String::new()));
        assert_eq!(sysfs.shown("nvme0", "../nvme0/model"), None);
        assert_eq!(sysfs.shown("nvme1", "model"), None);
    }
}
