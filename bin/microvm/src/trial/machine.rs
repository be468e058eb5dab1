// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine that this process started, and that does not outlive it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use plinth::sys::exec::die_with_parent;
use plinth::time::Time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::TrialError;

/// How long a machine may take to stop, and how long after it was told less politely.
const STOP: Duration = Duration::from_secs(30);
const TERMINATE: Duration = Duration::from_secs(10);
/// The file with the number of the process and the time at which it started.
const PID: &str = "pid";
/// What the machine prints.
const LOG: &str = "log";
/// The most of a log that is looked at.
const LOG_MAX: usize = 16 << 20;

/// The directory for the machine `name`: private to this user, the same each time.
///
/// # Errors
/// It cannot be made, or belongs to somebody else.
pub fn directory(name: &str) -> Result<PathBuf, TrialError> {
    let top = top();
    let failed = |error| TrialError::Io(format!("make {}", top.display()), error);
    let mut builder = DirBuilder::new();
    match builder.mode(0o700).create(&top) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(failed)?,
    }
    let status = rustix::fs::lstat(&top).map_err(|errno| failed(errno.into()))?;
    let mine = status.st_uid == rustix::process::getuid().as_raw();
    let is_private = (status.st_mode & 0o170_077) == 0o040_000;
    if !mine || !is_private {
        return Err(failed(io::ErrorKind::PermissionDenied.into()));
    }
    let dir = top.join(name);
    match builder.create(&dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(dir),
        made => made.map(|()| dir).map_err(failed),
    }
}

fn top() -> PathBuf {
    std::env::temp_dir().join(format!("microvm-trial-{}", rustix::process::getuid().as_raw()))
}

/// Stops what earlier trials left behind; the names of what was stopped.
///
/// # Errors
/// The directory cannot be read.
pub fn clean_up() -> Result<Vec<String>, TrialError> {
    let top = top();
    let failed = |error| TrialError::Io(format!("read {}", top.display()), error);
    let entries = match fs::read_dir(&top) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(failed)?,
    };
    let mut stopped = Vec::new();
    for entry in entries {
        let dir = entry.map_err(failed)?.path();
        let Some((pid, start)) = recorded(&dir) else { continue };
        if start_of(pid) == Some(start) {
            stop_process(pid);
            stopped.push(dir.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
        // It says nothing any more.
        drop(fs::remove_file(dir.join(PID)));
    }
    stopped.sort();
    Ok(stopped)
}

fn recorded(dir: &Path) -> Option<(Pid, u64)> {
    let bytes = plinth::file::read(&dir.join(PID), 128).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (pid, start) = text.trim().split_once(' ')?;
    Some((Pid::from_raw(pid.parse().ok()?)?, start.parse().ok()?))
}

/// When a process started, in the kernel's ticks; another one of the same number started later.
fn start_of(pid: Pid) -> Option<u64> {
    let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let bytes = plinth::file::read(Path::new(&stat), 1 << 16).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // The name may hold anything, blanks and brackets among it.
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Ends a process that is not our child.
fn stop_process(pid: Pid) {
    for (signal, time) in [(Signal::TERM, TERMINATE), (Signal::KILL, TERMINATE)] {
        let Ok(Some(process)) = crate::ctl::process::Process::open(pid) else { return };
        // Only fails for a process that is gone.
        let _ = kill_process(pid, signal);
        if process.wait(Time::monotonic() + time).is_ok() {
            return;
        }
    }
}

/// A machine that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    package: PathBuf,
    dir: PathBuf,
    stopped: bool,
}

impl Running {
    /// Starts the machine of the package at the absolute path `package`, in the directory `dir`.
    /// What it prints goes to a file; `notify` is where it reports that it is ready.
    ///
    /// # Errors
    /// The script cannot be started.
    pub fn start(package: &Path, dir: &Path, notify: Option<&Path>) -> Result<Self, TrialError> {
        let script = package.join("bin/microvm-run");
        let failed = |error| TrialError::Io(format!("start {}", script.display()), error);
        let log = File::create(dir.join(LOG)).map_err(failed)?;
        let mut command = Command::new(&script);
        command.current_dir(dir).stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?);
        command.stderr(log).env_remove("NOTIFY_SOCKET");
        if let Some(socket) = notify {
            command.env("NOTIFY_SOCKET", socket);
        }
        if let Ok(program) = std::env::current_exe() {
            command.env("MICROVM", program);
        }
        die_with_parent(&mut command, Signal::TERM);
        let child = command.spawn().map_err(failed)?;
        let running =
            Self { child, package: package.to_owned(), dir: dir.to_owned(), stopped: false };
        let pid = running.pid();
        let text = format!("{} {}\n", pid.as_raw_nonzero(), start_of(pid).unwrap_or_default());
        fs::write(dir.join(PID), text).map_err(failed)?;
        Ok(running)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for this long, or for the end of the machine, which is `Ended`.
    ///
    /// # Errors
    /// [`TrialError::Ended`], before what `what` says.
    pub fn pause(&self, time: Duration, what: &str) -> Result<(), TrialError> {
        if self.ends_within(time)? { Err(TrialError::Ended(what.to_owned())) } else { Ok(()) }
    }

    /// Whether the machine ends within this time.
    fn ends_within(&self, time: Duration) -> Result<bool, TrialError> {
        let failed = |errno: Errno| TrialError::Io("watch the machine".to_owned(), errno.into());
        if self.stopped {
            return Ok(true);
        }
        let process = pidfd_open(self.pid(), PidfdFlags::empty()).map_err(failed)?;
        let deadline = Time::monotonic() + time;
        loop {
            let left = Time::monotonic().until(deadline);
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&process, PollFlags::IN)], timeout.as_ref()) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(failed(errno)),
            }
        }
    }

    /// What the machine printed.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = plinth::file::read(&self.dir.join(LOG), LOG_MAX).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Stops the machine: by its own script, else by a signal, else by a worse one. Whether it went
    /// when it was asked to.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn stop(&mut self, patience: Duration) -> Result<bool, TrialError> {
        let mut was_polite = self.ends_within(Duration::ZERO)?;
        let script = self.package.join("bin/microvm-shutdown");
        if !was_polite && script.exists() {
            let mut command = Command::new("timeout");
            command.arg(STOP.as_secs().to_string()).arg(script).current_dir(&self.dir);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            if let Ok(program) = std::env::current_exe() {
                command.env("MICROVM", program);
            }
            command.env("MAINPID", self.pid().as_raw_nonzero().to_string());
            // What it achieved is looked at below.
            drop(command.status());
            was_polite = self.ends_within(patience)?;
        }
        if !was_polite {
            let _ = kill_process(self.pid(), Signal::TERM);
            was_polite = self.ends_within(TERMINATE)?;
        }
        if !was_polite {
            drop(self.child.kill());
        }
        let failed = |error| TrialError::Io("wait for the machine".to_owned(), error);
        self.child.wait().map_err(failed)?;
        self.stopped = true;
        drop(fs::remove_file(self.dir.join(PID)));
        Ok(was_polite)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.stopped {
            drop(self.stop(Duration::ZERO));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = rustix::process::getpid();
        assert!(start_of(own).is_some_and(|start| start > 0));
        assert_eq!(start_of(Pid::from_raw(i32::MAX).expect("a number")), None);
    }
}
