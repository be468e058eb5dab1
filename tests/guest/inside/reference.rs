// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The reference implementation, run from its own disk in a changed root.
//!
//! It shares `/proc`, `/sys`, `/dev`, `/run` and the network with everything else in the guest, so
//! that both implementations see the same kernel and the same bus, each with its own configuration.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::process::{self, Process, Said};
use super::stas::Role;
use super::trouble::Naming;
use super::{Outcome, bus, controllers, wait};

/// Where its disk is mounted.
const ROOT: &str = "/ref";
/// For an interpreter to start on an emulated processor.
pub const START_LIMIT: Duration = Duration::from_secs(60);

/// Gives it the identity of this host and its bus rules to the bus; before the bus is started.
///
/// # Errors
/// When its disk is not there.
pub fn prepare() -> Outcome {
    for (name, text) in [("hostnqn", controllers::HOST_NQN), ("hostid", controllers::HOST_ID)] {
        let path = format!("{ROOT}/etc/nvme/{name}");
        fs::create_dir_all(format!("{ROOT}/etc/nvme"))?;
        fs::write(&path, format!("{text}\n")).named(&path)?;
    }
    for role in [Role::Finder, Role::Connector] {
        // No packaged conflict rule to mask, no log of the bus clients of another life.
        drop(fs::remove_dir_all(format!("/run/{}", role.daemon())));
        fs::create_dir_all(format!("/run/{}", role.daemon()))?;
    }
    Ok(())
}

/// Writes its configuration file.
///
/// # Errors
/// When it cannot be written.
pub fn configure(role: Role, text: &str) -> Outcome {
    let path = format!("{ROOT}/etc/stas/{}.conf", role.daemon());
    fs::write(&path, text).named(&path)
}

/// Starts one of its daemons and waits until its name is on the bus.
///
/// # Errors
/// When it does not come up.
pub fn start(role: Role) -> Outcome<Process> {
    let program = format!("/usr/sbin/{}", role.daemon());
    let words = ["/bin/busybox", "chroot", ROOT, program.as_str(), "--tron"];
    let mut daemon = Process::start(&format!("reference-{}", role.daemon()), &words, &[])?;
    let client = bus::Client::connect()?;
    wait::until_found(
        &format!("the reference {} is on the bus", role.daemon()),
        START_LIMIT,
        || {
            if !daemon.alive() {
                return Err(super::Trouble::new(format!("it has ended: {}", daemon.log())));
            }
            Ok(client.owned(role).then_some(()))
        },
    )?;
    Ok(daemon)
}

/// Runs one of its clients.
///
/// # Errors
/// When it cannot be run, or hangs.
pub fn client(role: Role, arguments: &[&str]) -> Outcome<Said> {
    let program = format!("/usr/bin/{}", role.client());
    let mut words = vec!["/bin/busybox", "chroot", ROOT, program.as_str()];
    words.extend(arguments);
    process::run(&words)
}

/// Whether its disk is there.
#[must_use]
pub fn present() -> bool {
    Path::new(ROOT).join("usr/sbin/stafd").exists()
}
