// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The blocking calls: connect, delete, admin commands.
//!
//! Each function blocks for as long as the kernel likes and is called by the helper's threads only.
//! A device is checked against its sysfs directory before anything is done to it, so that a number
//! that the kernel gave to another controller in the meantime is never hit.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use plinth::sys::nvme::{self, Passthru};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::wire::{DATA_LEN_MAX, Job, Outcome, is_device_name};
use crate::core::port::{AdminCommand, AdminError, DeviceId};

const GET_LOG_PAGE: u8 = 0x02;
const IDENTIFY: u8 = 0x06;
const IDENTIFY_CONTROLLER: u32 = 1;
const IDENTIFY_LEN: usize = 4096;
const REPLY_LEN_MAX: usize = 4096;

/// Where the kernel's files are.
#[derive(Clone, Debug)]
pub struct Places {
    /// The character device that creates controllers.
    pub fabrics: PathBuf,
    /// The directory with one entry per controller.
    pub class: PathBuf,
    /// The directory of device nodes.
    pub dev: PathBuf,
}

impl Places {
    /// The places on a running system.
    #[must_use]
    pub fn system() -> Self {
        Self {
            fabrics: "/dev/nvme-fabrics".into(),
            class: "/sys/class/nvme".into(),
            dev: "/dev".into(),
        }
    }
}

/// Makes the call. Blocks.
#[must_use]
pub fn carry_out(places: &Places, job: &Job) -> Outcome {
    let result = match job {
        Job::Connect { options } => connect(&places.fabrics, options),
        Job::Delete { device } => delete(&places.class, device),
        Job::Admin { device, command, limit_ms } => admin(places, device, *command, *limit_ms),
    };
    match result {
        Ok(data) => Outcome::Done(data),
        Err(error) => Outcome::Failed(error),
    }
}

fn connect(fabrics: &Path, options: &str) -> Result<Vec<u8>, AdminError> {
    let mut device =
        OpenOptions::new().read(true).write(true).open(fabrics).map_err(|error| errno(&error))?;
    // One write makes one controller: `write_all` would begin a second after a short one.
    device.write(options.as_bytes()).map_err(|error| errno(&error))?;
    let mut reply = vec![0; REPLY_LEN_MAX];
    let len = device.read(&mut reply).map_err(|error| errno(&error))?;
    reply.truncate(len);
    Ok(reply)
}

fn delete(class: &Path, device: &DeviceId) -> Result<Vec<u8>, AdminError> {
    let directory = verified(class, device)?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&directory, "delete_controller", flags, Mode::empty())?;
    rustix::io::write(&file, b"1")?;
    Ok(Vec::new())
}

fn admin(
    places: &Places,
    device: &DeviceId,
    command: AdminCommand,
    limit_ms: u32,
) -> Result<Vec<u8>, AdminError> {
    let (request, len) = passthru(command, limit_ms)?;
    let directory = verified(&places.class, device)?;
    let mut number = String::new();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&directory, "dev", flags, Mode::empty())?;
    File::from(file).read_to_string(&mut number).map_err(|error| errno(&error))?;
    let node = File::open(places.dev.join(&device.name)).map_err(|error| errno(&error))?;
    let rdev = rustix::fs::fstat(&node)?.st_rdev;
    if number.trim_end() != format!("{}:{}", rustix::fs::major(rdev), rustix::fs::minor(rdev)) {
        return Err(Errno::NODEV.into());
    }
    let mut data = vec![0; len];
    match nvme::admin(node.as_fd(), &request, &mut data) {
        Ok(_) => Ok(data),
        Err(nvme::AdminError::Status(status)) => Err(AdminError::Status(status)),
        Err(nvme::AdminError::Errno(errno)) => Err(AdminError::Errno(errno)),
        Err(_) => Err(Errno::IO.into()),
    }
}

/// The command as the kernel takes it, and the bytes that come back.
fn passthru(command: AdminCommand, limit_ms: u32) -> Result<(Passthru, usize), AdminError> {
    match command {
        AdminCommand::GetLog { lid, lsp, rae, offset, len } => {
            if len == 0 || len > DATA_LEN_MAX || len % 4 != 0 || lsp > 0x7f {
                return Err(Errno::INVAL.into());
            }
            let dwords = len / 4 - 1;
            let cdw10 = u32::from(lid)
                | u32::from(lsp) << 8
                | u32::from(rae) << 15
                | (dwords & 0xffff) << 16;
            let request = Passthru {
                opcode: GET_LOG_PAGE,
                // The page that lists pages is the controller's; the discovery log has no name
                // space.
                nsid: if lid == 0 { u32::MAX } else { 0 },
                cdw: [cdw10, dwords >> 16, low(offset), low(offset >> 32), 0, 0],
                timeout_ms: limit_ms,
            };
            Ok((request, usize::try_from(len).unwrap_or(usize::MAX)))
        }
        AdminCommand::Identify => {
            let cdw = [IDENTIFY_CONTROLLER, 0, 0, 0, 0, 0];
            Ok((Passthru { opcode: IDENTIFY, nsid: 0, cdw, timeout_ms: limit_ms }, IDENTIFY_LEN))
        }
    }
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or(0)
}

/// The controller's sysfs directory, when it still is the one that is meant.
fn verified(class: &Path, device: &DeviceId) -> Result<OwnedFd, AdminError> {
    if !is_device_name(&device.name) {
        return Err(Errno::INVAL.into());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(class.join(&device.name), flags, Mode::empty())?;
    if rustix::fs::fstat(&directory)?.st_ino == device.instance {
        Ok(directory)
    } else {
        Err(Errno::NODEV.into())
    }
}

fn errno(error: &io::Error) -> AdminError {
    AdminError::Errno(error.raw_os_error().unwrap_or_else(|| Errno::IO.raw_os_error()))
}

impl From<Errno> for AdminError {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno.raw_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use plinth::testing::Place;

    use super::*;

    struct Tree(Place);

    impl Tree {
        fn new() -> Self {
            let place = Place::new();
            place.directory("class/nvme0");
            place.directory("dev");
            Self(place)
        }

        fn places(&self) -> Places {
            Places {
                fabrics: self.0.join("dev/nvme-fabrics"),
                class: self.0.join("class"),
                dev: self.0.join("dev"),
            }
        }

        fn device(&self) -> DeviceId {
            let directory = File::open(self.0.join("class/nvme0")).unwrap();
            let instance = rustix::fs::fstat(&directory).unwrap().st_ino;
            DeviceId { name: "nvme0".to_owned(), instance }
        }
    }

    fn failed(errno: Errno) -> Outcome {
        Outcome::Failed(errno.into())
    }

    #[test]
    fn a_deletion_is_written_to_the_right_device_only() {
        let tree = Tree::new();
        let attribute = tree.0.join("class/nvme0/delete_controller");
        fs::write(&attribute, "").unwrap();
        let older = DeviceId { instance: tree.device().instance + 1, ..tree.device() };
        let job = Job::Delete { device: older };
        assert_eq!(carry_out(&tree.places(), &job), failed(Errno::NODEV));
        assert_eq!(fs::read_to_string(&attribute).unwrap(), "");
        let job = Job::Delete { device: tree.device() };
        assert_eq!(carry_out(&tree.places(), &job), Outcome::Done(Vec::new()));
        assert_eq!(fs::read_to_string(&attribute).unwrap(), "1");
    }

    #[test]
    fn what_is_missing_is_named_by_its_errno() {
        let tree = Tree::new();
        let places = tree.places();
        let job = Job::Connect { options: "nqn=x,transport=tcp".to_owned() };
        assert_eq!(carry_out(&places, &job), failed(Errno::NOENT));
        let device = DeviceId { name: "nvme7".to_owned(), instance: 1 };
        assert_eq!(carry_out(&places, &Job::Delete { device }), failed(Errno::NOENT));
        let device = DeviceId { name: "../nvme0".to_owned(), instance: 1 };
        assert_eq!(carry_out(&places, &Job::Delete { device }), failed(Errno::INVAL));
    }

    #[test]
    fn a_node_of_another_device_gets_no_command() {
        let tree = Tree::new();
        fs::write(tree.0.join("class/nvme0/dev"), "240:0\n").unwrap();
        fs::write(tree.0.join("dev/nvme0"), "").unwrap();
        let command = AdminCommand::Identify;
        let job = Job::Admin { device: tree.device(), command, limit_ms: 1 };
        assert_eq!(carry_out(&tree.places(), &job), failed(Errno::NODEV));
        // The right number, but no such device behind it.
        fs::write(tree.0.join("class/nvme0/dev"), "0:0\n").unwrap();
        assert_eq!(carry_out(&tree.places(), &job), failed(Errno::NOTTY));
    }

    #[test]
    fn a_log_page_is_asked_for_in_the_words_of_the_standard() {
        let command =
            AdminCommand::GetLog { lid: 0x70, lsp: 2, rae: true, offset: 0x1_0000_0400, len: 4096 };
        let (request, len) = passthru(command, 1500).unwrap();
        assert_eq!(len, 4096);
        assert_eq!((request.opcode, request.nsid, request.timeout_ms), (2, 0, 1500));
        assert_eq!(request.cdw, [0x03ff_8270, 0, 0x400, 1, 0, 0]);
        let page = AdminCommand::GetLog { lid: 0, lsp: 0, rae: false, offset: 0, len: 1024 };
        assert_eq!(passthru(page, 0).unwrap().0.nsid, u32::MAX);
        for len in [0, 2, 1022, 4100] {
            let odd = AdminCommand::GetLog { lid: 0x70, lsp: 0, rae: false, offset: 0, len };
            assert_eq!(passthru(odd, 0).unwrap_err(), Errno::INVAL.into(), "{len}");
        }
    }
}
