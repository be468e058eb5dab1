// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs a scenario on the kernel of this host, without a machine of its own.
//!
//! For what an emulated processor would falsify, such as the time a program takes to start. The
//! image is unpacked into a directory, which becomes the root of a process with mounts, processes
//! and network of its own; neither its bus nor its daemons meet those of the host. Needs root, for
//! the name spaces and the device node.

use std::error::Error;
use std::fs::{self, File};
use std::process::{Command, Stdio};

use super::image;
use super::lab::{Lab, on_path};
use crate::inside::boot::BARE;
use crate::scenarios::Scenario;

/// Runs `scenario` and lets it report to standard output; whether it came to a good end.
///
/// # Errors
/// What is missing on this host.
pub fn run(scenario: &'static Scenario) -> Result<bool, Box<dyn Error>> {
    let lab = Lab::find();
    let kernel = *scenario.kernels.first().ok_or("the scenario has no kernel")?;
    let folder = lab.folder(&format!("{}-bare", scenario.name))?;
    let (packed, root) = (folder.join("image"), folder.join("root"));
    fs::write(&packed, image::pack(&lab, scenario, kernel, false)?)?;
    fs::create_dir(&root)?;
    let busybox = on_path("busybox").ok_or("busybox is missing, run tests/setup.sh system")?;
    let unpacked = Command::new(busybox)
        .args(["cpio", "-i", "-d", "-m"])
        .current_dir(&root)
        .stdin(File::open(&packed)?)
        .stdout(Stdio::null())
        .stderr(File::create(folder.join("unpacking"))?)
        .status()?;
    if !unpacked.success() {
        let words = fs::read_to_string(folder.join("unpacking"))?;
        return Err(format!("cannot unpack the image: {words}").into());
    }
    let limit = scenario.seconds.to_string();
    // The last of the name spaces' processes takes all others with it.
    let status = Command::new("timeout")
        .args(["--signal=KILL", &limit, "unshare", "--mount", "--pid", "--net", "--ipc", "--uts"])
        .args(["--fork", "--kill-child", "chroot"])
        .arg(&root)
        .args(["/init", BARE])
        .stdin(Stdio::null())
        .status()?;
    fs::remove_dir_all(&folder)?;
    Ok(status.success())
}
