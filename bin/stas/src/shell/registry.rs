// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host's registry of owners of NVMe controllers, as libnvme keeps it.
//!
//! `/run/nvme/registry/nvmeN/` holds the files `owner` (a word) and `seqnum` (the number of the
//! kernel's latest uevent when the entry was made). A udev rule of libnvme's removes the directory
//! of a controller that is gone; the number keeps it from removing that of a successor. Entries
//! appear and go as a whole, by renaming. Which controllers are entered is decided in the core.
//!
//! An entry that is older than the controller's device node belongs to a former controller of that
//! name and says nothing.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use plinth::file::Root;

use crate::core::cid::OWNER;

const NVME: &str = "/run/nvme";
const REGISTRY: &str = "/run/nvme/registry";
const SEQNUM: &str = "/sys/kernel/uevent_seqnum";
const UDEVD: &str = "/run/udev/control";
/// The longest owner that is read, in bytes.
const OWNER_LEN_MAX: usize = 256;

/// Whose the controller of this name is; empty when nobody says so.
#[must_use]
pub fn owner(root: &Root, name: &str) -> String {
    let path = root.join(format!("{REGISTRY}/{name}/owner"));
    let Ok(bytes) = plinth::file::read(&path, OWNER_LEN_MAX) else { return String::new() };
    let made = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let node = made(&root.join(format!("/dev/{name}")));
    if node.zip(made(&path)).is_some_and(|(node, entry)| entry < node) {
        return String::new();
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// Enters the controller of this name as ours. Without a registry nothing is done, unless one is to
/// be made.
///
/// # Errors
/// The entry cannot be written.
pub fn claim(root: &Root, name: &str, make: bool) -> io::Result<()> {
    if !make && !root.exists(NVME) {
        return Ok(());
    }
    let registry = root.join(REGISTRY);
    for directory in [root.join(NVME), registry.clone()] {
        if !directory.is_dir() {
            make_directory(&directory)?;
        }
    }
    let seqnum = root.read_text(SEQNUM).unwrap_or_else(|_| "0".to_owned());
    let draft = registry.join(format!(".{name}.{}", std::process::id()));
    let written = write(&draft, seqnum.trim()).and_then(|()| {
        remove(&registry, name)?;
        fs::rename(&draft, registry.join(name))
    });
    if written.is_err() {
        drop(fs::remove_dir_all(&draft)); // the error that counts is the first
    }
    written
}

/// A directory that all may look into, whatever the umask is.
fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn write(draft: &Path, seqnum: &str) -> io::Result<()> {
    make_directory(draft)?;
    for (attribute, text) in [("owner", OWNER), ("seqnum", seqnum)] {
        let path = draft.join(attribute);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        writeln!(file, "{text}")?;
    }
    Ok(())
}

/// Takes the entry of a controller that is gone out, where no udev daemon does so and the entry is
/// ours.
///
/// # Errors
/// The entry cannot be removed.
pub fn disclaim(root: &Root, name: &str) -> io::Result<()> {
    let entry = root.read_text(format!("{REGISTRY}/{name}/owner"));
    if root.exists(UDEVD) || !entry.is_ok_and(|owner| owner.trim() == OWNER) {
        return Ok(());
    }
    remove(&root.join(REGISTRY), name)
}

fn remove(registry: &Path, name: &str) -> io::Result<()> {
    let leaving = registry.join(format!(".{name}.{}.old", std::process::id()));
    match fs::rename(registry.join(name), &leaving) {
        Ok(()) => fs::remove_dir_all(&leaving),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use plinth::testing::Place;

    use super::*;

    struct Tree(Place);

    impl Tree {
        fn new() -> Self {
            let place = Place::new();
            place.file("sys/kernel/uevent_seqnum", "4711\n");
            place.file("dev/nvme3", "");
            place.directory("run");
            Self(place)
        }

        fn root(&self) -> Root {
            self.0.root()
        }

        fn write(&self, path: &str, text: &str) {
            self.0.file(path.trim_start_matches('/'), text);
        }

        fn text(&self, path: &str) -> Option<String> {
            self.root().read_text(format!("{REGISTRY}/{path}")).ok()
        }

        fn names(&self) -> Vec<String> {
            self.root().list(REGISTRY).unwrap_or_default()
        }
    }

    // R216
    #[test]
    fn an_entry_names_owner_and_number_for_all_to_read() {
        let tree = Tree::new();
        claim(&tree.root(), "nvme3", true).unwrap();
        assert_eq!(tree.text("nvme3/owner").as_deref(), Some("stas\n"));
        assert_eq!(tree.text("nvme3/seqnum").as_deref(), Some("4711\n"));
        for (path, expected) in [("", 0o755), ("nvme3", 0o755), ("nvme3/owner", 0o644)] {
            let data = fs::metadata(tree.root().join(format!("{REGISTRY}/{path}"))).unwrap();
            assert_eq!(data.permissions().mode() & 0o7777, expected);
        }
        assert_eq!(owner(&tree.root(), "nvme3"), "stas");
        // One that a former controller of the name left is replaced whole.
        tree.write("/run/nvme/registry/nvme3/note", "x");
        claim(&tree.root(), "nvme3", false).unwrap();
        assert_eq!((tree.text("nvme3/note"), tree.names()), (None, vec!["nvme3".to_owned()]));
    }

    // R216
    #[test]
    fn a_registry_is_made_only_where_that_is_wanted() {
        let tree = Tree::new();
        claim(&tree.root(), "nvme3", false).unwrap();
        assert!(!tree.root().exists(NVME));
        fs::create_dir_all(tree.root().join(NVME)).unwrap();
        claim(&tree.root(), "nvme3", false).unwrap();
        assert_eq!(tree.names(), ["nvme3"]);
    }

    // R216
    #[test]
    fn an_entry_older_than_its_device_says_nothing() {
        let tree = Tree::new();
        assert_eq!(owner(&tree.root(), "nvme3"), "");
        tree.write("/run/nvme/registry/nvme3/owner", "nbft\n");
        assert_eq!(owner(&tree.root(), "nvme3"), "nbft");
        let node = OpenOptions::new().write(true).open(tree.root().join("/dev/nvme3")).unwrap();
        let entered = tree.root().join(format!("{REGISTRY}/nvme3/owner"));
        let entered = fs::metadata(entered).unwrap().modified().unwrap();
        node.set_modified(entered + Duration::from_secs(60)).unwrap();
        assert_eq!(owner(&tree.root(), "nvme3"), "");
        tree.write("/run/nvme/registry/nvme4/owner", "nbft");
        assert_eq!(owner(&tree.root(), "nvme4"), "nbft", "no node to compare with");
        tree.write("/run/nvme/registry/nvme4/owner", &"x".repeat(OWNER_LEN_MAX + 1));
        assert_eq!(owner(&tree.root(), "nvme4"), "");
    }

    // R216
    #[test]
    fn an_entry_is_taken_out_where_no_udev_daemon_does_so() {
        let tree = Tree::new();
        claim(&tree.root(), "nvme3", true).unwrap();
        tree.write("/run/nvme/registry/nvme4/owner", "nbft\n");
        for name in ["nvme3", "nvme4", "nvme5"] {
            disclaim(&tree.root(), name).unwrap();
        }
        assert_eq!(tree.names(), ["nvme4"], "that of another stays");
        claim(&tree.root(), "nvme3", true).unwrap();
        tree.write(UDEVD, "");
        disclaim(&tree.root(), "nvme3").unwrap();
        assert_eq!(tree.names(), ["nvme3", "nvme4"]);
    }

    #[test]
    fn a_registry_that_cannot_be_written_is_an_error() {
        let tree = Tree::new();
        tree.write("/run/nvme", "a file");
        assert!(claim(&tree.root(), "nvme3", false).is_err());
    }
}
