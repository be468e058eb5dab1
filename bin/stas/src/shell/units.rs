// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asks systemd to restart units, without waiting for it.
//!
//! Owns when systemd is asked. Where it does not run there is nothing to ask; that is
//! logged once. At most [`CHILDREN_MAX`] requests are under way, further ones are dropped.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use plinth::event::Loop;
use plinth::sys::signal::with_empty_mask;

use super::children::{Children, Started};
use super::key::Key;

/// Requests under way at the same time.
pub const CHILDREN_MAX: usize = 16;
/// Exists where systemd is the init system: sd_booted(3).
const BOOTED: &str = "/run/systemd/system";

/// The way to systemd.
pub struct Units {
    program: PathBuf,
    booted: PathBuf,
    requests: Children,
    complained: bool,
}

impl Default for Units {
    fn default() -> Self {
        Self {
            program: "systemctl".into(),
            booted: BOOTED.into(),
            requests: Children::new(Key::UnitExit),
            complained: false,
        }
    }
}

impl Units {
    /// Has `unit` restarted. A failure is logged and has no other consequence.
    ///
    /// # Errors
    /// The loop cannot watch a descriptor.
    pub fn restart(&mut self, lp: &mut Loop<Key>, unit: &str) -> io::Result<()> {
        if !Path::exists(&self.booted) {
            if !self.complained {
                self.complained = true;
                log::info!("Without systemd, discovery controllers of others are left alone");
            }
            return Ok(());
        }
        if self.requests.count() >= CHILDREN_MAX {
            log::warn!("Too many units to restart at once: not restarting {unit}");
            return Ok(());
        }
        match self.begin(unit) {
            Ok(started) => {
                log::info!("Restarting {unit}");
                self.requests.watch(lp, started)?;
            }
            Err(error) => log::warn!("Cannot restart {unit}: {error}"),
        }
        Ok(())
    }

    fn begin(&self, unit: &str) -> io::Result<Started> {
        let mut command = Command::new(&self.program);
        command.args(["--quiet", "--no-block", "restart", unit]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        with_empty_mask(&mut command)?;
        Started::spawn(&mut command)
    }

    /// A request's process ended.
    ///
    /// # Errors
    /// The loop cannot forget a descriptor.
    pub fn exited(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        self.requests.exited(lp, |status| log::debug!("Restarting a unit failed: {status}"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use plinth::event::{Handler, Progress};

    use super::*;

    impl Handler for Units {
        type Key = Key;

        fn ready(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<Progress> {
            if key == Key::UnitExit {
                self.exited(lp)?;
            }
            Ok(Progress::Drained)
        }

        fn timer(&mut self, _: &mut Loop<Key>, _: Key) -> io::Result<()> {
            Err(io::ErrorKind::TimedOut.into())
        }

        fn settle(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
            if self.requests.count() == 0 {
                lp.stop(0);
            }
            Ok(())
        }
    }

    #[test]
    fn units_are_restarted_by_systemctl_and_only_where_systemd_runs() {
        let place = std::env::temp_dir().join(format!("stas-units-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let (program, said) = (place.join("systemctl"), place.join("said"));
        let script = format!("#!/bin/sh\nprintf '%s\\n' \"$*\" >>'{}'\n", said.display());
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut lp = Loop::new().unwrap();
        lp.set_timer(lp.now() + Duration::from_secs(20), Key::StopLimit);

        let booted = place.join("booted");
        let mut units = Units { program, booted: booted.clone(), ..Units::default() };
        units.restart(&mut lp, "x.service").unwrap();
        assert!(units.requests.count() == 0 && units.complained);

        fs::create_dir(&booted).unwrap();
        units.restart(&mut lp, r"nvmf-connect@--device\x3dnvme1.service").unwrap();
        lp.run(&mut units).unwrap();
        let expected = "--quiet --no-block restart nvmf-connect@--device\\x3dnvme1.service\n";
        assert_eq!(fs::read_to_string(&said).unwrap(), expected);
        fs::remove_dir_all(&place).unwrap();
    }
}
