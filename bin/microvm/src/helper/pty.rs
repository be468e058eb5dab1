// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A program in a terminal of its own, carried to and from our standard streams.
//!
//! For hypervisors that set up the terminal they are started in, and fail without one. The program
//! gets our window size and our signals; its end is our end, with its status. When our own input is
//! a terminal, it is raw meanwhile: keys are for the guest. What the program says when nobody reads
//! it any more is thrown away: a guest must not wait for a log that is closed.

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use plinth::proc;
use plinth::sys::exec;
use plinth::sys::signal::{Signals, with_empty_mask};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use super::relay::{Way, turn};

/// The window where nobody has one.
const WINDOW: Winsize = Winsize { ws_row: 25, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };

/// How long our reader may take for what the program said last.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is passed on to the program.
const PASSED_ON: [Signal; 6] =
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// Why a program did not run in its terminal.
#[derive(Debug)]
pub(super) enum PtyError {
    /// Something about the terminal failed.
    Terminal(&'static str, io::Error),
    /// The program cannot be started.
    Start(io::Error),
}

impl PtyError {
    /// Makes an error of `what`, which the system refused.
    fn terminal<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Terminal(what, error.into())
    }
}

impl fmt::Display for PtyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminal(what, _) => write!(f, "cannot {what}"),
            Self::Start(_) => f.write_str("cannot start the program"),
        }
    }
}

impl std::error::Error for PtyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Terminal(_, error) | Self::Start(error) => Some(error),
        }
    }
}

/// Our terminal in raw mode; as it was when dropped.
#[derive(Debug)]
pub(super) struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    /// Nothing, when `fd` is no terminal.
    pub(super) fn new(terminal: BorrowedFd<'a>) -> Option<Self> {
        let before = tcgetattr(terminal).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Now, &raw).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// A new terminal: our side, which does not block, and the program's.
fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(&name, flags, Mode::empty())?;
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok((master, slave))
}

/// Runs `command` to its end; its status, or 128 and the number of the signal that ended it.
pub(super) fn run(mut command: Command) -> Result<u8, PtyError> {
    let stdin = io::stdin();
    let prepare = |command: &mut Command| {
        let (master, slave) = open()?;
        let size = tcgetwinsize(&stdin).unwrap_or(WINDOW);
        tcsetwinsize(&master, size)?;
        let mut wanted = PASSED_ON.to_vec();
        wanted.push(Signal::WINCH);
        let signals = Signals::new(&wanted)?;
        with_empty_mask(command)?;
        exec::in_terminal(command, &slave)?;
        exec::die_with_parent(command, Signal::TERM);
        Ok::<_, io::Error>((master, slave, signals))
    };
    let prepared = prepare(&mut command);
    let (master, slave, mut signals) = prepared.map_err(PtyError::terminal("make a terminal"))?;
    let mut child = command.spawn().map_err(PtyError::Start)?;
    // They hold the program's side open: its end must be seen on ours.
    drop((slave, command));
    let raw = Raw::new(stdin.as_fd());
    let status = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
        .map_err(io::Error::from)
        .and_then(|pidfd| carry(&master, &pidfd, &mut signals, &mut child));
    drop(raw);
    let status = status.map_err(PtyError::terminal("carry what is said in the terminal"))?;
    Ok(proc::shell_status(status))
}

fn carry(
    master: &OwnedFd,
    pidfd: &OwnedFd,
    signals: &mut Signals,
    child: &mut Child,
) -> io::Result<ExitStatus> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let mut ways =
        [Way::new(stdin.as_fd(), master.as_fd()), Way::lossy(master.as_fd(), stdout.as_fd())];
    loop {
        let watched = [pidfd.as_fd(), signals.fd()];
        let ready = turn(&mut ways, &watched, None, &mut ())?.ready;
        if ready.get(1) == Some(&true) {
            while let Some(signal) = signals.next() {
                pass_on(signal, child, master);
            }
        }
        if ready.first() == Some(&true) {
            let status = child.wait()?;
            drain(&mut ways)?;
            return Ok(status);
        }
    }
}

fn pass_on(signal: Signal, child: &Child, master: &OwnedFd) {
    if signal == Signal::WINCH {
        if let Ok(size) = tcgetwinsize(io::stdin()) {
            // A terminal that is closed needs no size.
            let _ = tcsetwinsize(master, size);
        }
    } else {
        // The child is not reaped yet, so that the number is its own.
        let _ = kill_process(Pid::from_child(child), signal);
    }
}

/// Carries what the program said last. Others may hold its terminal open: what is there now counts.
fn drain(ways: &mut [Way<'_>; 2]) -> io::Result<()> {
    let [_, back] = ways;
    while !back.ended() && !back.is_broken() {
        // A reader of ours that is slow is given time, though not for ever.
        let patience = if back.is_idle() { Duration::ZERO } else { PATIENCE };
        if turn(std::slice::from_mut(back), &[], Some(patience), &mut ())?.nothing {
            break;
        }
    }
    Ok(())
}
