// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a process-to-be gets between fork and exec: descriptors of fixed numbers, a terminal of its
//! own, a signal when its parent dies, another account.
//!
//! Owns these steps, for a [`Command`] that is spawned or takes the place of this process. They run
//! where memory must not be allocated: each is a few system calls, and takes nothing but what was
//! made ready before. When an exec in place fails, what was done to this process stays done: the
//! caller reports and ends.
#![allow(unsafe_code, reason = "steps between fork and exec are unsafe to ask for")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::process::{Gid, Pid, Signal, Uid};

/// Has the process of `command` find each descriptor under its number, open across exec.
///
/// Until `command` is dropped, what is opened here has none of these numbers: it would be closed
/// where it may be needed still, such as the pipe through which a failed exec is told of.
///
/// # Errors
/// A negative number, or one of the first three; the process is out of descriptors.
pub fn pass(command: &mut Command, fds: Vec<(OwnedFd, RawFd)>) -> io::Result<()> {
    let top = fds.iter().map(|(_, number)| *number).max().unwrap_or(0);
    let mut ready = Vec::new();
    for (fd, number) in fds {
        if number < 3 {
            return Err(rustix::io::Errno::BADF.into());
        }
        // Above all targets, so that no step below closes what a later one needs.
        ready.push((rustix::io::fcntl_dupfd_cloexec(fd, top + 1)?, number));
    }
    let mut reserved = Vec::new();
    for (fd, number) in &ready {
        let next = rustix::io::fcntl_dupfd_cloexec(fd, *number)?;
        // Else the number is another's already, who is no concern of the program's.
        if next.as_raw_fd() == *number {
            reserved.push(next);
        }
    }
    let place = move || {
        let _held = &reserved;
        for (fd, number) in &ready {
            // SAFETY: the number is not one that Rust's standard streams use; the process is about
            // to become another program, so that nobody else's descriptor is used after this.
            let code = unsafe { libc::dup2(fd.as_raw_fd(), *number) };
            if code < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes one call for each descriptor, which is safe in signal handlers too,
    // and allocates nothing.
    unsafe { command.pre_exec(place) };
    Ok(())
}

/// Has the kernel send `signal` to the process of `command` when the thread that spawned it ends.
///
/// An exec in place of that thread's process does not end it.
pub fn die_with_parent(command: &mut Command, signal: Signal) {
    let parent = rustix::process::getpid();
    let tie = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        // The parent may have died before the call; then the signal would never come.
        if rustix::process::getppid() != Some(parent) {
            return Err(rustix::io::Errno::SRCH.into());
        }
        Ok(())
    };
    // SAFETY: the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(tie) };
}

/// Has the process of `command` be that of another account: of the user and the group with these
/// numbers, and in these groups besides, whatever this process is in.
///
/// The start fails unless this process may change its user and its groups.
pub fn as_account(command: &mut Command, user: u32, group: u32, groups: &[u32]) {
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    let change = move || {
        // The process has one thread here. The user comes last: only root may change the others.
        rustix::thread::set_thread_groups(&groups)?;
        rustix::thread::set_thread_gid(Gid::from_raw(group))?;
        rustix::thread::set_thread_uid(Uid::from_raw(user))?;
        Ok(())
    };
    // SAFETY: the closure makes three system calls and allocates nothing.
    unsafe { command.pre_exec(change) };
}

/// Gives the process of `command` the terminal `slave`: as its three standard streams, and as the
/// controlling terminal of a session of its own.
///
/// # Errors
/// The process is out of descriptors.
pub fn in_terminal(command: &mut Command, slave: &OwnedFd) -> io::Result<()> {
    command.stdin(Stdio::from(slave.try_clone()?));
    command.stdout(Stdio::from(slave.try_clone()?));
    command.stderr(Stdio::from(slave.try_clone()?));
    let slave = slave.try_clone()?;
    let lead = move || {
        let _session: Pid = rustix::process::setsid()?;
        rustix::process::ioctl_tiocsctty(slave.as_fd())?;
        Ok(())
    };
    // SAFETY: the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(lead) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;
    use crate::testing::{Patient, ended};

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        command
    }

    fn output(command: &mut Command) -> String {
        let output = command.output().expect("sh runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn pipe_with(text: &[u8]) -> OwnedFd {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        assert_eq!(rustix::io::write(&writer, text), Ok(text.len()));
        reader
    }

    #[test]
    fn descriptors_arrive_under_their_numbers_in_any_order() {
        let mut command = sh("cat <&7; cat <&6; cat <&9");
        let fds = vec![(pipe_with(b"a"), 7), (pipe_with(b"b"), 6), (pipe_with(b"c"), 9)];
        pass(&mut command, fds).expect("they can be passed");
        assert_eq!(output(&mut command), "abc");
    }

    #[test]
    fn another_account_has_its_own_groups_and_no_others() {
        let mut command = sh("id -u; id -g; id -G");
        as_account(&mut command, 65531, 65532, &[65533]);
        if rustix::process::geteuid().is_root() {
            assert_eq!(output(&mut command), "65531\n65532\n65532 65533\n");
        } else {
            assert!(command.output().is_err(), "only root changes accounts");
        }
    }

    #[test]
    fn the_standard_streams_are_not_passed() {
        for number in [-1, 0, 2] {
            assert!(pass(&mut sh("true"), vec![(pipe_with(b""), number)]).is_err(), "{number}");
        }
    }

    #[test]
    fn a_terminal_is_one_and_controls() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let slave = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).expect("open");
        let mut command = Command::new("sh");
        command.args(["-c", "test -t 0 && test -t 1 && test -t 2 && echo yes >/dev/tty"]);
        in_terminal(&mut command, &slave).expect("set");
        let mut child = command.spawn().expect("sh runs");
        assert!(ended(&mut child).success());
        let mut said = [0; 3];
        Patient::new(std::fs::File::from(master)).read_exact(&mut said).expect("output");
        assert_eq!(&said, b"yes");
    }

    #[test]
    fn a_child_does_not_outlive_its_parent() {
        // The parent is a thread of ours: it spawns and ends.
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        std::thread::spawn(move || {
            let mut command = Command::new("sleep");
            command.arg("1000").stdout(Stdio::from(writer)).stderr(Stdio::null());
            die_with_parent(&mut command, Signal::KILL);
            command.spawn().expect("sleep runs").id()
        })
        .join()
        .expect("a process number");
        let mut rest = Vec::new();
        Patient::new(std::fs::File::from(reader))
            .read_to_end(&mut rest)
            .expect("its output is closed");
        assert!(rest.is_empty());
    }
}
