// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds what `tests/setup.sh` has brought: kernels, foreign programs, the reference disk.
//!
//! Everything lies under one directory, `$PLINTH_CACHE` or `lab` in cargo's target directory. A
//! missing piece is an error that names the command which brings it, never a reason to skip.

use std::fmt;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use plinth::testing;

use crate::scenarios::Kernel;

/// A piece that is not there.
#[derive(Debug)]
pub struct Missing {
    what: String,
    path: PathBuf,
    step: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, path, step } = self;
        write!(f, "{what} is missing ({}), run tests/setup.sh {step}", path.display())
    }
}

impl std::error::Error for Missing {}

/// The directory of downloaded and unpacked things.
#[derive(Clone, Debug)]
pub struct Lab {
    root: PathBuf,
    workspace: PathBuf,
    target: PathBuf,
}

impl Lab {
    /// The lab of this workspace.
    #[must_use]
    pub fn find() -> Self {
        let workspace = testing::workspace().to_owned();
        let (target, root) = (testing::target(), testing::fetched(""));
        Self { root, workspace, target }
    }

    /// The root of the sources.
    #[must_use]
    pub fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// Cargo's target directory.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The compressed kernel.
    ///
    /// # Errors
    /// [`Missing`] when it was not brought.
    pub fn kernel(&self, kernel: Kernel) -> Result<PathBuf, Missing> {
        self.piece(&format!("kernel-{kernel}/vmlinuz"), "the guest's kernel", "guest")
    }

    /// The directory with `modules.dep`.
    ///
    /// # Errors
    /// [`Missing`] when it was not brought.
    pub fn modules(&self, kernel: Kernel) -> Result<PathBuf, Missing> {
        let ready = self.piece(&format!("kernel-{kernel}/ready"), "the guest's kernel", "guest")?;
        let release = fs::read_to_string(&ready).unwrap_or_default();
        let path = format!("kernel-{kernel}/lib/modules/{}", release.trim());
        self.piece(&path, "the modules of the guest's kernel", "guest")
    }

    /// The tree with the foreign programs and their libraries.
    ///
    /// # Errors
    /// [`Missing`] when it was not brought.
    pub fn programs(&self) -> Result<PathBuf, Missing> {
        self.piece("programs/ready", "the tree of programs for the guest", "guest")?;
        Ok(self.root.join("programs"))
    }

    /// The tree with the programs that make file systems.
    ///
    /// # Errors
    /// [`Missing`] when it was not brought.
    pub fn file_systems(&self) -> Result<PathBuf, Missing> {
        self.piece("filesystems/ready", "the tree of file systems' programs", "guest")?;
        Ok(self.root.join("filesystems"))
    }

    /// The daemon that serves directories to virtual machines.
    ///
    /// # Errors
    /// [`Missing`] when it was not brought.
    pub fn virtiofsd(&self) -> Result<PathBuf, Missing> {
        self.piece("virtiofsd/ready", "virtiofsd", "guest")?;
        Ok(self.root.join("virtiofsd/run"))
    }

    /// The server for the example of microvm that needs one; its libraries are in the same tree.
    ///
    /// # Errors
    /// [`Missing`] when it was not brought.
    pub fn server(&self) -> Result<PathBuf, Missing> {
        self.piece("server/ready", "the server for an example", "guest")?;
        Ok(self.root.join("server/usr/bin/redis-server"))
    }

    /// The tree with the service manager and its libraries.
    ///
    /// # Errors
    /// [`Missing`] when it was not brought.
    pub fn manager(&self) -> Result<PathBuf, Missing> {
        self.piece("manager/ready", "the service manager for the guest", "guest")?;
        Ok(self.root.join("manager"))
    }

    /// The tree with the programs of another host: an ssh daemon, a shell, sudo.
    ///
    /// # Errors
    /// [`Missing`] when it was not brought.
    pub fn other_host(&self) -> Result<PathBuf, Missing> {
        self.piece("other-host/ready", "the programs of another host", "guest")?;
        Ok(self.root.join("other-host"))
    }

    /// The tree with the QEMU of a release, `oldest` or `newest`.
    ///
    /// # Errors
    /// [`Missing`] when it was not brought.
    pub fn qemu(&self, release: &str) -> Result<PathBuf, Missing> {
        self.piece(&format!("qemu-{release}/ready"), "QEMU of another release", "hypervisors")?;
        Ok(self.root.join(format!("qemu-{release}")))
    }

    /// The disk image with the reference implementation.
    ///
    /// # Errors
    /// [`Missing`] when it was not built.
    pub fn reference(&self) -> Result<PathBuf, Missing> {
        self.piece("reference.ext4", "the disk with the reference", "reference")
    }

    /// Makes a fresh directory for one run.
    ///
    /// # Errors
    /// As [`fs::create_dir_all`].
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.root.join("run").join(format!("{name}-{}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    fn piece(&self, path: &str, what: &str, step: &'static str) -> Result<PathBuf, Missing> {
        let path = self.root.join(path);
        if path.exists() { Ok(path) } else { Err(Missing { what: what.to_owned(), path, step }) }
    }
}

/// Where `program` is on this host, looking also where administrators' programs are.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
