// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Processes that outlive the command that started them, found again by a file.
//!
//! A number alone may belong to another process by now. So the file also has the time at which the
//! process started, in the kernel's ticks, and which boot of the machine that was in.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use plinth::file::put_atomic;
use plinth::time::Time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::change::PROCESS;
use super::look::is_foreign;
use super::{Host, HostError, Name};

/// How much of the end of a log is read, and how many of its lines are told.
const LAST_BYTES: u64 = 2048;
const LAST_LINES: usize = 3;

/// A process that was started for a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Started {
    /// What it runs: the name of a script.
    pub(super) what: String,
    /// Its number.
    pub(super) pid: u32,
    /// When it started, in ticks since the boot.
    pub(super) start: u64,
    /// The boot.
    pub(super) boot: String,
}

impl Started {
    fn line(&self) -> String {
        let Self { what, pid, start, boot } = self;
        format!("{what} {pid} {start} {boot}\n")
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let what = words.next()?.to_owned();
        let pid = words.next()?.parse().ok()?;
        let start = words.next()?.parse().ok()?;
        Some(Self { what, pid, start, boot: words.next()?.to_owned() })
    }
}

/// The state and the start of a process, from `/proc/PID/stat`. The name in it may hold anything.
fn state_and_start(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_ascii_whitespace();
    let state = words.next()?.chars().next()?;
    // The 22nd field of the line; the state is the third.
    Some((state, words.nth(18)?.parse().ok()?))
}

/// When a living process started.
fn start_of(pid: u32) -> Option<u64> {
    let stat = plinth::file::read(Path::new(&format!("/proc/{pid}/stat")), 1 << 16).ok()?;
    let (state, start) = state_and_start(&String::from_utf8_lossy(&stat))?;
    (!matches!(state, 'Z' | 'X')).then_some(start)
}

fn boot() -> String {
    let id = plinth::file::read(Path::new("/proc/sys/kernel/random/boot_id"), 128);
    String::from_utf8_lossy(&id.unwrap_or_default()).trim().to_owned()
}

impl Host<'_> {
    /// Writes down the processes of a machine.
    pub(super) fn note(&self, name: &Name, pids: &[(&str, u32)]) -> Result<(), HostError> {
        let boot = boot();
        let lines: String = pids
            .iter()
            .filter_map(|(what, pid)| {
                let what = (*what).to_owned();
                let start = start_of(*pid)?;
                Some(Started { what, pid: *pid, start, boot: boot.clone() }.line())
            })
            .collect();
        let path = self.directory(name).join(PROCESS);
        put_atomic(&path, lines.as_bytes(), 0o644).map_err(HostError::io("write", path))
    }

    /// The processes of a machine that live.
    ///
    /// They get signals, so that nobody else may name them.
    pub(super) fn started(&self, name: &Name) -> Vec<Started> {
        let path = self.directory(name).join(PROCESS);
        if is_foreign(&path) {
            return Vec::new();
        }
        let text = plinth::file::read(&path, 4096).unwrap_or_default();
        let boot = boot();
        String::from_utf8_lossy(&text)
            .lines()
            .filter_map(Started::parse)
            .filter(|it| it.boot == boot && start_of(it.pid) == Some(it.start))
            .collect()
    }

    /// The process that runs a machine, where we started it.
    pub(super) fn process(&self, name: &Name) -> Option<u32> {
        let started = self.started(name);
        started.iter().find(|it| it.what == super::own::RUN).map(|it| it.pid)
    }
}

/// A process that is held by a descriptor, so that its number cannot become another's.
pub(super) struct Held(OwnedFd);

impl Held {
    /// Holds it; `None` when it is gone.
    pub(super) fn new(started: &Started) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(started.pid).ok()?)?;
        let held = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Between the look and the opening it may have gone.
        (start_of(started.pid) == Some(started.start)).then_some(Self(held))
    }

    pub(super) fn signal(&self, signal: Signal) {
        // Fails only when it is gone.
        let _ = pidfd_send_signal(&self.0, signal);
    }

    /// Whether it ended within `patience`.
    pub(super) fn ends_within(&self, patience: Duration) -> bool {
        ends_within(&self.0, patience)
    }
}

/// Whether the process behind a descriptor ended within `patience`.
fn ends_within(process: &OwnedFd, patience: Duration) -> bool {
    let deadline = Time::monotonic() + patience;
    loop {
        let left = Timespec::try_from(Time::monotonic().until(deadline)).ok();
        let mut fds = [PollFd::new(process, PollFlags::IN)];
        match poll(&mut fds, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) | Err(_) => return false,
            Ok(_) => return true,
        }
    }
}

/// How a child ended, if it did within `patience`.
pub(super) fn early_end(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    if ends_within(&process, patience) { child.wait().map(Some) } else { Ok(None) }
}

/// A file for what a machine's console says, begun anew. It stands where the hypervisor may put a
/// link.
pub(super) fn log(path: &Path) -> Result<(File, File), HostError> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    let file = options.open(path).map_err(HostError::io("create", path))?;
    let other = file.try_clone().map_err(HostError::io("open", path))?;
    Ok((file, other))
}

/// The last lines of such a file, as one; empty if it has none.
pub(super) fn last_words(path: &Path) -> String {
    let mut bytes = Vec::new();
    let mut options = File::options();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.read(true).custom_flags(flags.bits() as i32).open(path);
    // What cannot be read says nothing.
    drop(file.and_then(|mut file| {
        let begin = file.metadata()?.len().saturating_sub(LAST_BYTES);
        file.seek(SeekFrom::Start(begin))?;
        file.take(LAST_BYTES).read_to_end(&mut bytes)
    }));
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let mut last: Vec<_> = lines.take(LAST_LINES).map(plinth::text::escape_control).collect();
    last.reverse();
    last.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_behind_any_name() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 2 3";
        assert_eq!(state_and_start(stat), Some(('S', 777)));
        assert_eq!(state_and_start("12 (a"), None);
        assert_eq!(state_and_start("12 (a) S 1"), None);
    }

    #[test]
    fn a_line_reads_as_it_was_written() {
        let started = Started { what: "x".to_owned(), pid: 7, start: 9, boot: "b".to_owned() };
        assert_eq!(Started::parse(&started.line()), Some(started));
        for bad in ["", "x", "x y 1 b", "x 1 y b", "x 1 1"] {
            assert_eq!(Started::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn this_process_lives_and_a_later_start_is_another() {
        let pid = std::process::id();
        let start = start_of(pid).expect("we live");
        let ours = Started { what: "x".to_owned(), pid, start, boot: boot() };
        assert!(Held::new(&ours).is_some());
        assert!(Held::new(&Started { start: start + 1, ..ours }).is_none());
    }
}
