// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The end of a process that is not our child.

use std::os::fd::OwnedFd;

use plinth::time::Time;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::CtlError;

/// A process, held by a descriptor: its number may come to mean another one, this does not.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// The process of this number; `None` when there is none.
    ///
    /// # Errors
    /// What pidfd_open(2) says.
    pub fn open(pid: Pid) -> Result<Option<Self>, CtlError> {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(Errno::SRCH) => Ok(None),
            Err(errno) => Err(CtlError::Io("watch the hypervisor's process", errno.into())),
        }
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// [`CtlError::TimedOut`] at the deadline.
    pub fn wait(&self, deadline: Time) -> Result<(), CtlError> {
        if self.ends_by(deadline)? {
            return Ok(());
        }
        Err(CtlError::TimedOut("waiting for the hypervisor to end"))
    }

    /// Whether it ends by `deadline`.
    ///
    /// # Errors
    /// [`CtlError::Io`].
    pub fn ends_by(&self, deadline: Time) -> Result<bool, CtlError> {
        loop {
            let left = Time::monotonic().until(deadline);
            let timeout = Timespec::try_from(left).ok();
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            match rustix::event::poll(&mut fds, timeout.as_ref()) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => {
                    return Err(CtlError::Io("watch the hypervisor's process", errno.into()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_end_of_a_process_is_seen_and_waiting_for_it_is_bounded() {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("sleep runs");
        let pid = Pid::from_child(&child);
        let process = Process::open(pid).expect("open").expect("it runs");
        let error = process.wait(Time::monotonic()).expect_err("it still runs");
        assert!(matches!(error, CtlError::TimedOut(_)), "{error}");
        child.kill().expect("kill");
        process.wait(Time::monotonic() + Duration::from_secs(60)).expect("it ended");
        child.wait().expect("reaped");
        assert!(Process::open(pid).expect("open").is_none());
    }
}
