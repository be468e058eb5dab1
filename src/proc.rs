// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Child processes with limits: on time, on output, and on how long anybody waits for them.
//!
//! Owns the process (as a pidfd), its process group and the reading ends of its output. A [`Child`]
//! lives on the loop and never blocks: watch [`Child::fds`], set a timer for [`Child::deadline`],
//! and call [`Child::advance`] on either. [`run`] is the same for tools without a loop.
//!
//! A child starts with standard input closed off, unless [`run_fed`] gives it one, without blocked
//! signals, and with a process group of its own, which is killed as a whole when a limit is passed
//! or the [`Child`] is dropped. Descendants that left the group and still hold the output open are
//! not waited for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, pidfd_open,
    waitid,
};

use crate::time::Time;

/// Bytes read at a time.
const CHUNK: usize = 16 << 10;

/// How long a killed child is waited for by [`run_or_leave`].
const LEAVE: Duration = Duration::from_secs(1);

/// What a child may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long it may run.
    pub time: Duration,
    /// How many bytes it may write to standard output, and as many to standard error.
    pub output: usize,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal, which was not ours.
    Signaled(i32),
    /// It ran too long and was killed.
    TimedOut,
    /// It wrote too much and was killed.
    TooMuchOutput,
    /// Someone else took its status: `SIGCHLD` is ignored in this process.
    Unknown,
}

/// A status as a shell tells it: that of the program, or 128 and the number of the signal that
/// ended it.
#[must_use]
pub fn shell_status(status: ExitStatus) -> u8 {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    number.and_then(|number| u8::try_from(number).ok()).unwrap_or(u8::MAX)
}

/// What a child left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub ending: Ending,
    /// What it wrote to standard output, up to the limit.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, up to the limit.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether it ended by itself with status 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.ending == Ending::Exited(0)
    }
}

/// A child on the loop; see the module's documentation.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    pipes: [Pipe; 2],
    limits: Limits,
    deadline: Time,
    killed: Option<Ending>,
    reaped: bool,
}

#[derive(Debug)]
struct Pipe {
    fd: OwnedFd,
    bytes: Vec<u8>,
}

impl Child {
    /// Starts `command` at `now`. Its standard streams are replaced, whatever was set before.
    ///
    /// # Errors
    /// What fork(2) and execve(2) say, such as `NotFound`.
    pub fn spawn(now: Time, command: Command, limits: Limits) -> io::Result<Self> {
        Self::spawn_fed(now, command, Stdio::null(), limits)
    }

    fn spawn_fed(
        now: Time,
        mut command: Command,
        input: Stdio,
        limits: Limits,
    ) -> io::Result<Self> {
        reap_orphans();
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        crate::sys::signal::with_empty_mask(&mut command)?;
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let opened = || -> io::Result<(OwnedFd, [Pipe; 2])> {
            let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
            let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
            let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
            Ok((pidfd, [Pipe::new(stdout.into())?, Pipe::new(stderr.into())?]))
        };
        match { opened }() {
            Ok((pidfd, pipes)) => {
                let deadline = now + limits.time;
                Ok(Self { pid, pidfd, pipes, limits, deadline, killed: None, reaped: false })
            }
            Err(error) => {
                // Out of descriptors: a killed child that was just started does not linger.
                drop(child.kill());
                drop(child.wait());
                Err(error)
            }
        }
    }

    /// The descriptors to watch: the end of the process, its standard output, its standard error.
    #[must_use]
    pub fn fds(&self) -> [BorrowedFd<'_>; 3] {
        let [stdout, stderr] = &self.pipes;
        [self.pidfd.as_fd(), stdout.fd.as_fd(), stderr.fd.as_fd()]
    }

    /// When the child is killed if it still runs; [`Child::advance`] does that.
    #[must_use]
    pub const fn deadline(&self) -> Time {
        self.deadline
    }

    /// Takes what is there and enforces the limits; the output once the child has ended.
    ///
    /// Does work for at most the output that the limits allow. After `Some` the child is used up,
    /// and further calls answer `None`.
    pub fn advance(&mut self, now: Time) -> Option<Output> {
        if self.reaped {
            return None;
        }
        // The status first: whatever was written before the end is then in the pipes.
        let ended = self.wait();
        for pipe in &mut self.pipes {
            if pipe.drain(self.limits.output) && self.killed.is_none() {
                self.killed = Some(Ending::TooMuchOutput);
            }
        }
        if ended.is_none() && self.killed.is_none() && self.deadline <= now {
            self.killed = Some(Ending::TimedOut);
        }
        if ended.is_none() && self.killed.is_some() {
            kill(self.pid);
        }
        let ending = self.killed.or(ended).filter(|_| ended.is_some())?;
        let [stdout, stderr] = &mut self.pipes;
        Some(Output {
            ending,
            stdout: std::mem::take(&mut stdout.bytes),
            stderr: std::mem::take(&mut stderr.bytes),
        })
    }

    fn wait(&mut self) -> Option<Ending> {
        let ending = match reap(&self.pidfd) {
            Ok(None) => return None,
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Ending::Exited(code),
                (_, Some(signal)) => Ending::Signaled(signal),
                _ => Ending::Unknown,
            },
            Err(_) => Ending::Unknown,
        };
        self.reaped = true;
        Some(ending)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            kill(self.pid);
            if let (Ok(None), Ok(pidfd)) = (reap(&self.pidfd), self.pidfd.try_clone()) {
                orphans().push(pidfd);
            }
        }
    }
}

impl Pipe {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd, bytes: Vec::new() })
    }

    /// Reads until the pipe is empty or closed; `true` when there is more than `max`.
    fn drain(&mut self, max: usize) -> bool {
        let mut chunk = [0; CHUNK];
        loop {
            match rustix::io::read(&self.fd, &mut chunk) {
                Ok(count @ 1..) => {
                    let room = max.saturating_sub(self.bytes.len());
                    self.bytes.extend_from_slice(chunk.get(..count.min(room)).unwrap_or_default());
                    if count > room {
                        return true;
                    }
                }
                Err(Errno::INTR) => {}
                _ => return false, // end of file, or nothing for now
            }
        }
    }
}

/// Runs `command` to its end, which the limits make sure of.
///
/// # Errors
/// As for [`Child::spawn`], and what poll(2) says.
pub fn run(command: Command, limits: Limits) -> io::Result<Output> {
    // Once killed, only its end matters; the kernel brings that about.
    run_until(command, Stdio::null(), limits, None)?.ok_or_else(|| io::ErrorKind::TimedOut.into())
}

/// The same with a standard input, such as a file.
///
/// # Errors
/// As for [`run`].
pub fn run_fed(command: Command, input: OwnedFd, limits: Limits) -> io::Result<Output> {
    run_until(command, input.into(), limits, None)?.ok_or_else(|| io::ErrorKind::TimedOut.into())
}

/// The same for a process that may be stuck in the kernel, where nothing can kill it: `None` when
/// it has not ended a second after it was killed. It is reaped by a later call of this module.
///
/// # Errors
/// As for [`run`].
pub fn run_or_leave(command: Command, limits: Limits) -> io::Result<Option<Output>> {
    run_until(command, Stdio::null(), limits, Some(LEAVE))
}

fn run_until(
    command: Command,
    input: Stdio,
    limits: Limits,
    leave: Option<Duration>,
) -> io::Result<Option<Output>> {
    let mut child = Child::spawn_fed(Time::monotonic(), command, input, limits)?;
    let (mut open, mut left_at) = ([true; 3], None);
    loop {
        let now = Time::monotonic();
        if let Some(output) = child.advance(now) {
            return Ok(Some(output));
        }
        let patience = match (child.killed, leave) {
            (None, _) => Some(now.until(child.deadline)),
            (Some(_), None) => None,
            (Some(_), Some(leave)) => {
                let at = *left_at.get_or_insert(now + leave);
                if at <= now {
                    return Ok(None);
                }
                Some(now.until(at))
            }
        };
        let timeout = patience.and_then(|span| Timespec::try_from(span).ok());
        // A closed pipe would be ready for ever: the process itself stands in for it.
        let [process, ..] = child.fds();
        let mut index = 0;
        let mut polled = child.fds().map(|fd| {
            let fd = if open.get(index) == Some(&true) { fd } else { process };
            index += 1;
            PollFd::from_borrowed_fd(fd, PollFlags::IN)
        });
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Err(Errno::INTR) => continue,
            ready => ready?,
        };
        for (open, fd) in open.iter_mut().zip(&polled) {
            *open &= fd.revents() != PollFlags::HUP;
        }
    }
}

/// Kills the child's process group. The number is still the child's, as nobody has reaped it.
fn kill(pid: Pid) {
    // Fails only when everybody in it has ended.
    let _ = kill_process_group(pid, Signal::KILL);
}

fn reap(pidfd: &OwnedFd) -> Result<Option<WaitIdStatus>, Errno> {
    waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
}

/// Children that were killed and had not ended when nobody wanted them any more.
static ORPHANS: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

fn orphans() -> MutexGuard<'static, Vec<OwnedFd>> {
    ORPHANS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reap_orphans() {
    orphans().retain(|pidfd| matches!(reap(pidfd), Ok(None)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { time: Duration::from_secs(60), output: 1 << 20 };

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn wait_for(fd: BorrowedFd<'_>) {
        crate::testing::ready(fd);
    }

    #[test]
    fn output_and_status_come_back() {
        let output = run(sh("echo out; echo err >&2; cat; exit 3"), LIMITS).expect("sh runs");
        let expected = Output {
            ending: Ending::Exited(3),
            stdout: b"out\n".to_vec(),
            stderr: b"err\n".to_vec(),
        };
        assert_eq!(output, expected);
        assert!(!output.success());
        assert!(run(sh("true"), LIMITS).expect("sh runs").success());
        let ending = run(sh("kill -TERM $$"), LIMITS).expect("sh runs").ending;
        assert_eq!(ending, Ending::Signaled(15));
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let error = run(Command::new("/nonexistent/program"), LIMITS).expect_err("missing");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn more_output_than_a_pipe_holds_is_read() {
        let output = run(sh("head -c 300000 /dev/zero; exec >&-; echo x >&2"), LIMITS).expect("sh");
        assert_eq!((output.stdout.len(), output.stderr.len()), (300_000, 2));
        assert!(output.success());
    }

    #[test]
    fn the_output_limit_is_exact() {
        let limits = Limits { output: 1000, ..LIMITS };
        let at = run(sh("head -c 1000 /dev/zero"), limits).expect("sh runs");
        assert_eq!((at.ending, at.stdout.len()), (Ending::Exited(0), 1000));
        let over = run(sh("head -c 1001 /dev/zero >&2; exec sleep 1000"), limits).expect("sh runs");
        assert_eq!((over.ending, over.stderr.len()), (Ending::TooMuchOutput, 1000));
        let endless = run(Command::new("yes"), limits).expect("yes runs");
        assert_eq!(endless.ending, Ending::TooMuchOutput);
    }

    #[test]
    fn the_deadline_kills_the_whole_group() {
        let now = Time::ZERO;
        let mut child = Child::spawn(now, sh("echo up; sleep 1000 & wait"), LIMITS).expect("sh");
        assert_eq!(child.deadline(), now + LIMITS.time);
        wait_for(child.fds()[1]);
        assert_eq!(child.advance(now), None);
        assert_eq!(child.advance(child.deadline()), None, "killed, but not ended yet or not seen");
        wait_for(child.fds()[0]);
        let output = child.advance(child.deadline()).expect("it ended");
        assert_eq!((output.ending, output.stdout), (Ending::TimedOut, b"up\n".to_vec()));
        // The sleeper held standard error open; that it is closed shows that it died as well.
        wait_for(child.fds()[2]);
        assert_eq!(child.advance(child.deadline()), None);
    }

    #[test]
    fn a_descendant_that_keeps_the_output_open_is_not_waited_for() {
        let output = run(sh("sleep 1000 & echo $!"), LIMITS).expect("sh runs");
        assert!(output.success());
        let pid = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
        let pid = Pid::from_raw(pid).expect("a process");
        rustix::process::kill_process(pid, Signal::KILL).expect("it was still running");
    }

    #[test]
    fn a_child_that_dies_when_it_is_killed_is_not_left() {
        let limits = Limits { time: Duration::from_millis(1), output: 9 };
        let output = run_or_leave(sh("exec sleep 1000"), limits).expect("sh runs");
        assert_eq!(output.map(|output| output.ending), Some(Ending::TimedOut));
    }

    #[test]
    fn dropping_kills_and_reaps_later() {
        let child = Child::spawn(Time::ZERO, sh("exec sleep 1000"), LIMITS).expect("sh runs");
        let witness = child.pidfd.try_clone().expect("dup");
        drop(child);
        wait_for(witness.as_fd());
        reap_orphans();
        assert_eq!(reap(&witness).err(), Some(Errno::CHILD), "no zombie is left");
    }
}
