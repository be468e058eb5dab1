// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Looks up the devices that are there already, as if the kernel had just added them.
//!
//! Owns the walk through sysfs. Reads directories and `uevent` files only, no other attributes.
//! Devices that vanish during the walk are left out: their removal is told as an event.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::Uevent;
use crate::file::Root;

/// An `add` event, without a number, for every device of a subsystem, in the natural order of their
/// names (`nvme2` before `nvme10`). A subsystem that the kernel does not know has no devices.
///
/// # Errors
/// The directory of the subsystem, or the `uevent` file of a device that is there, cannot be read.
pub fn coldplug(root: &Root, subsystem: &str) -> io::Result<Vec<Uevent>> {
    let mut events = Vec::new();
    let Some(sysfs) = unless_gone(fs::canonicalize(root.join("/sys")))? else { return Ok(events) };
    for directory in [format!("/sys/class/{subsystem}"), format!("/sys/bus/{subsystem}/devices")] {
        let Some(mut names) = unless_gone(root.list(&directory))? else { continue };
        names.sort_by(|a, b| natural_order(a, b));
        for name in names {
            let path = root.join(format!("{directory}/{name}"));
            events.extend(unless_gone(device(&sysfs, &path, subsystem))?.flatten());
        }
        break;
    }
    Ok(events)
}

/// The event for one entry of the directory; `None` when it is no device.
fn device(sysfs: &Path, entry: &Path, subsystem: &str) -> io::Result<Option<Uevent>> {
    let path = fs::canonicalize(entry)?;
    let Some(below) = path.strip_prefix(sysfs).ok().and_then(Path::to_str) else { return Ok(None) };
    if !path.is_dir() {
        return Ok(None); // an attribute of the class itself
    }
    let bytes = crate::file::read(&path.join("uevent"), crate::file::READ_MAX)?;
    let mut properties = BTreeMap::new();
    for line in String::from_utf8_lossy(&bytes).lines() {
        if let Some((key, value)) = line.split_once('=') {
            properties.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    Ok(Some(Uevent {
        action: "add".to_owned(),
        devpath: format!("/{below}"),
        subsystem: subsystem.to_owned(),
        seqnum: None,
        properties,
    }))
}

/// `None` for what does not exist, or not any more (`ENOENT`, `ENODEV`).
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error)
            if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::NODEV) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Compares names that end in numbers by the number, when the rest is the same.
fn natural_order(a: &str, b: &str) -> Ordering {
    let split = |name| {
        let stem = str::trim_end_matches(name, |it: char| it.is_ascii_digit());
        let digits = name.get(stem.len()..).unwrap_or_default().trim_start_matches('0');
        (stem, digits.len(), digits)
    };
    split(a).cmp(&split(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// A directory of its own, removed in the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("plinth-{}-{name}", std::process::id()));
            fs::create_dir_all(path.join("sys")).expect("a directory");
            Self(path)
        }

        fn device(&self, class: &str, name: &str, uevent: Option<&str>) {
            let device = self.0.join("sys/devices/virtual").join(name);
            fs::create_dir_all(&device).expect("a device");
            if let Some(text) = uevent {
                fs::write(device.join("uevent"), text).expect("its properties");
            }
            let class = self.0.join("sys").join(class);
            fs::create_dir_all(&class).expect("a class");
            let up = "../".repeat(class.strip_prefix(&self.0).expect("below").iter().count() - 1);
            symlink(format!("{up}devices/virtual/{name}"), class.join(name)).expect("a link");
        }

        fn names(&self, subsystem: &str) -> Vec<String> {
            let events = coldplug(&Root::at(&self.0), subsystem).expect("readable");
            events.iter().map(|it| it.sysname().to_owned()).collect()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("removed");
        }
    }

    #[test]
    fn devices_are_told_as_if_just_added() {
        let tree = Tree::new("added");
        tree.device("class/nvme", "nvme0", Some("MAJOR=240\nDEVNAME=nvme0\nNVME_TRTYPE=tcp\n\n"));
        let events = coldplug(&Root::at(&tree.0), "nvme").expect("readable");
        let [event] = &events[..] else { panic!("{events:?}") };
        assert_eq!((event.action.as_str(), event.seqnum), ("add", None));
        assert_eq!(event.devpath, "/devices/virtual/nvme0");
        assert_eq!((event.sysname(), event.subsystem.as_str()), ("nvme0", "nvme"));
        assert_eq!(event.property("NVME_TRTYPE"), Some("tcp"));
        assert_eq!(event.properties.len(), 3);
    }

    #[test]
    fn names_come_in_their_natural_order() {
        let tree = Tree::new("order");
        for name in ["nvme10", "nvme2", "nvme-fabrics", "nvme1"] {
            tree.device("class/nvme", name, Some(""));
        }
        assert_eq!(tree.names("nvme"), ["nvme1", "nvme2", "nvme10", "nvme-fabrics"]);
    }

    #[test]
    fn buses_are_looked_at_where_there_is_no_class() {
        let tree = Tree::new("bus");
        tree.device("bus/pci/devices", "0000:00:1f.2", Some("DRIVER=ahci\n"));
        assert_eq!(tree.names("pci"), ["0000:00:1f.2"]);
    }

    #[test]
    fn what_is_no_device_and_what_just_vanished_is_left_out() {
        let tree = Tree::new("gone");
        tree.device("class/nvme", "nvme0", Some(""));
        tree.device("class/nvme", "nvme1", None);
        fs::write(tree.0.join("sys/class/nvme/version"), "1").expect("an attribute");
        symlink("../../devices/virtual/nvme9", tree.0.join("sys/class/nvme/nvme9")).expect("link");
        symlink("/", tree.0.join("sys/class/nvme/outside")).expect("link");
        assert_eq!(tree.names("nvme"), ["nvme0"]);
        assert_eq!(tree.names("nvme-subsystem"), [""; 0]);
        assert!(coldplug(&Root::at("/nonexistent"), "nvme").expect("nothing there").is_empty());
    }

    #[test]
    fn every_system_has_a_loopback_interface() {
        let events = coldplug(&Root::system(), "net").expect("readable");
        let lo = events.iter().find(|it| it.sysname() == "lo").expect("loopback");
        assert_eq!(lo.devpath, "/devices/virtual/net/lo");
        assert_eq!(lo.property("IFINDEX"), Some("1"));
    }

    #[test]
    fn numbers_are_compared_by_value_whatever_their_length() {
        let mut names = ["b2", "a10", "a9", "a009", "a", "a99999999999999999999999", "b", "a0"];
        names.sort_by(|a, b| natural_order(a, b));
        let want = ["a", "a0", "a009", "a9", "a10", "a99999999999999999999999", "b", "b2"];
        assert_eq!(names, want);
    }
}
