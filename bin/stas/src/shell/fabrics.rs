// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Makes sure that `/dev/nvme-fabrics` is there, as far as that can be done.
//!
//! Owns the attempts: the node may only need to be made, and the module may only need to be loaded.
//! Loading is left to modprobe(8) where it exists, since it knows dependencies and what the
//! administrator forbids; in an initramfs without it the modules are already loaded. It is waited
//! for: nothing else can be done before, and nothing runs yet that could be delayed.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use plinth::proc::{self, Limits};
use rustix::fs::{CWD, FileType, Mode};

use super::config::FABRICS;

const NUMBER: &str = "/sys/class/misc/nvme-fabrics/dev";
const MODULES: [&str; 2] = ["nvme-fabrics", "nvme-tcp"];
/// What loading may take.
const LOADING_MAX: Duration = Duration::from_secs(10);
/// What modprobe may say: nothing that we read.
const OUTPUT_MAX: usize = 4096;
const MODPROBE: [&str; 4] =
    ["/usr/sbin/modprobe", "/sbin/modprobe", "/usr/bin/modprobe", "/bin/modprobe"];

/// There is no way to make connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing;

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fatal error: missing nvme-tcp kernel module")
    }
}

impl std::error::Error for Missing {}

/// Finds, makes or brings about the device.
///
/// # Errors
/// None of that worked.
pub fn ensure() -> Result<(), Missing> {
    if present() {
        return Ok(());
    }
    if let Some(program) = MODPROBE.iter().find(|path| Path::new(path).exists()) {
        let mut command = Command::new(program);
        command.args(["-q", "-a"]).args(MODULES);
        // How it ended shows in the device.
        drop(proc::run(command, Limits { time: LOADING_MAX, output: OUTPUT_MAX }));
    }
    if present() { Ok(()) } else { Err(Missing) }
}

fn present() -> bool {
    Path::new(FABRICS).exists() || make_node().is_ok()
}

/// Makes the node from the number that sysfs tells, for hosts whose `/dev` nobody fills.
fn make_node() -> io::Result<()> {
    let text = fs::read_to_string(NUMBER)?;
    let (major, minor) = number(&text).ok_or(io::ErrorKind::InvalidData)?;
    let device = rustix::fs::makedev(major, minor);
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(CWD, FABRICS, FileType::CharacterDevice, mode, device)?;
    Ok(())
}

fn number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_number_is_two_numbers() {
        assert_eq!(number("10:124\n"), Some((10, 124)));
        for text in ["", "10", "10:", ":1", "10:1:2", "a:b", "-1:2"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }
}
