// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Keeps nvme-cli's udev rules from connecting what stacd connects, while stafd runs.
//!
//! nvme-cli installs `70-nvmf-autoconnect.rules`, which connects everything in a discovery log as
//! soon as the log changes. A file of the same name under `/run` masks it (udev(7)); ours keeps the
//! one rule that stafd does not replace, that of Fibre Channel. It is made only where a udev daemon
//! runs and nobody else has put a file there, and taken away only when it still is what we made.
//! udevd notices both by itself: it looks at the directory's time of change.

use std::fs;
use std::io;
use std::path::PathBuf;

use plinth::file::{Root, replace_atomic};

const UDEVD: &str = "/run/udev/control";
const RULES: &str = "/run/udev/rules.d/70-nvmf-autoconnect.rules";
const MODE: u32 = 0o644;

const TEXT: &str = concat!(
    "# Made by stafd while it runs, in place of the file of this name that nvme-cli installs:\n",
    "# stacd connects what discovery controllers report. Only Fibre Channel is left to nvme-cli.\n",
    r#"ACTION=="change", SUBSYSTEM=="fc", ENV{FC_EVENT}=="nvmediscovery", "#,
    r#"ENV{NVMEFC_HOST_TRADDR}=="*", ENV{NVMEFC_TRADDR}=="*", "#,
    r#"RUN+="/usr/bin/systemctl --no-block restart nvmf-connect@--device\x3dnone"#,
    r"\x09--transport\x3dfc\x09--traddr\x3d$env{NVMEFC_TRADDR}\x09--trsvcid\x3dnone",
    r"\x09--host-traddr\x3d$env{NVMEFC_HOST_TRADDR}.service",
    "\"\n",
);

/// The mask, for as long as this value lives.
#[derive(Debug)]
pub struct Mask {
    path: PathBuf,
}

impl Mask {
    /// Puts the mask into its place; nothing without a udev daemon, or when somebody else was there
    /// first. One that a crash left behind is ours again. Where no mask is wanted, such a one is
    /// taken away.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn put(root: &Root, wanted: bool) -> io::Result<Option<Self>> {
        if !root.exists(UDEVD) {
            return Ok(None);
        }
        let path = root.join(RULES);
        if !wanted {
            drop(Self { path }); // what a crash left behind
            return Ok(None);
        }
        match fs::read_to_string(&path) {
            Ok(text) if text == TEXT => return Ok(Some(Self { path })),
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        replace_atomic(&path, TEXT.as_bytes(), MODE)?;
        Ok(Some(Self { path }))
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        if fs::read_to_string(&self.path).is_ok_and(|text| text == TEXT) {
            if let Err(error) = fs::remove_file(&self.path) {
                log::warn!("Cannot remove {}: {error}", self.path.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use plinth::testing::Place;

    use super::*;

    struct Tree(Place);

    impl Tree {
        fn new(udevd: bool) -> Self {
            let place = Place::new();
            place.directory("run/udev");
            if udevd {
                place.file("run/udev/control", "");
            }
            Self(place)
        }

        fn root(&self) -> Root {
            self.0.root()
        }

        fn rules(&self) -> PathBuf {
            self.root().join(RULES)
        }
    }

    #[test]
    fn the_mask_comes_and_goes_with_stafd() {
        let tree = Tree::new(true);
        let mask = Mask::put(&tree.root(), true).unwrap().unwrap();
        let text = fs::read_to_string(tree.rules()).unwrap();
        assert!(text.contains("nvmediscovery"));
        assert!(!text.contains("NVME_AEN") && !text.contains("rediscover"));
        drop(mask);
        assert!(!tree.rules().exists());
    }

    #[test]
    fn a_mask_left_by_a_crash_is_taken_over() {
        let tree = Tree::new(true);
        std::mem::forget(Mask::put(&tree.root(), true).unwrap().unwrap());
        drop(Mask::put(&tree.root(), true).unwrap().unwrap());
        assert!(!tree.rules().exists());
    }

    // R214
    #[test]
    fn the_mask_can_be_switched_off() {
        let tree = Tree::new(true);
        assert!(Mask::put(&tree.root(), false).unwrap().is_none());
        assert!(!tree.rules().exists());
        std::mem::forget(Mask::put(&tree.root(), true).unwrap().unwrap());
        assert!(Mask::put(&tree.root(), false).unwrap().is_none());
        assert!(!tree.rules().exists(), "ours, from before");
        fs::write(tree.rules(), "# mine\n").unwrap();
        assert!(Mask::put(&tree.root(), false).unwrap().is_none());
        assert_eq!(fs::read_to_string(tree.rules()).unwrap(), "# mine\n");
    }

    #[test]
    fn a_file_of_somebody_else_is_left_alone() {
        let tree = Tree::new(true);
        fs::create_dir_all(tree.rules().parent().unwrap()).unwrap();
        fs::write(tree.rules(), "# mine\n").unwrap();
        assert!(Mask::put(&tree.root(), true).unwrap().is_none());
        fs::remove_file(tree.rules()).unwrap();
        let mask = Mask::put(&tree.root(), true).unwrap().unwrap();
        fs::write(tree.rules(), "# mine\n").unwrap();
        drop(mask);
        assert_eq!(fs::read_to_string(tree.rules()).unwrap(), "# mine\n");
    }

    #[test]
    fn without_a_udev_daemon_nothing_is_made() {
        let tree = Tree::new(false);
        assert!(Mask::put(&tree.root(), true).unwrap().is_none());
        assert!(!tree.rules().exists());
    }
}
