// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Signals as a descriptor (signalfd(2)), for the loop.
//!
//! Owns the descriptor and the mask of the calling thread: [`Signals::new`] blocks the signals
//! there, and threads inherit the mask of their creator, so it is called before the first thread
//! starts. Child processes inherit it too, which few programs expect: start them with
//! [`with_empty_mask`].
#![allow(unsafe_code, reason = "rustix has neither signalfd nor thread masks")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::io::Errno;
pub use rustix::process::Signal;

/// Bytes of one `struct signalfd_siginfo`; its first four are the signal's number.
const RECORD: usize = 128;

/// Waits for signals without handlers.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks `signals` in this thread and receives them instead.
    ///
    /// Signals stay blocked after the drop: one that arrives in between must not end the program.
    ///
    /// # Errors
    /// The process is out of descriptors, or memory.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let set = set_of(signals)?;
        // SAFETY: `set` was initialised by sigemptyset; the old mask is not asked for.
        let code =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if code != 0 {
            return Err(io::Error::from_raw_os_error(code));
        }
        // SAFETY: `set` is initialised; -1 asks for a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor, and nobody else knows it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The descriptor to watch for reading.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The next signal that is pending; `None` when there is none.
    ///
    /// A signal sent twice before this call is received once, as always.
    #[expect(clippy::should_implement_trait, reason = "None is not the end: signals come later")]
    pub fn next(&mut self) -> Option<Signal> {
        let mut record = [0; RECORD];
        loop {
            match rustix::io::read(&self.fd, &mut record) {
                Ok(RECORD) => {
                    let [a, b, c, d, ..] = record;
                    let number = i32::from_ne_bytes([a, b, c, d]);
                    if let Some(signal) = Signal::from_named_raw(number) {
                        return Some(signal);
                    }
                }
                Err(Errno::INTR) => {}
                _ => return None,
            }
        }
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

/// Makes `command` start its process without blocked signals.
///
/// # Errors
/// None that a supported system gives: an empty set can always be made.
pub fn with_empty_mask(command: &mut Command) -> io::Result<()> {
    let set = set_of(&[])?;
    let clear = move || {
        // SAFETY: `set` is initialised; the old mask is not asked for.
        let code = unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut())
        };
        if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
    };
    // SAFETY: between fork and exec the closure makes one call, which is safe in signal handlers
    // too, and allocates nothing.
    unsafe { command.pre_exec(clear) };
    Ok(())
}

fn set_of(signals: &[Signal]) -> io::Result<libc::sigset_t> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is valid for writing a whole set.
    if unsafe { libc::sigemptyset(set.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for signal in signals {
        // SAFETY: the set was initialised above.
        if unsafe { libc::sigaddset(set.as_mut_ptr(), signal.as_raw()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: sigemptyset succeeded, so that the whole set is initialised.
    Ok(unsafe { set.assume_init() })
}

/// Sends `signal` to the calling thread alone: other tests run in other threads.
#[cfg(test)]
pub(crate) fn raise(signal: Signal) {
    // SAFETY: takes a number and returns one.
    let code = unsafe { libc::raise(signal.as_raw()) };
    assert_eq!(code, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_signals_arrive_through_the_descriptor() {
        let mut signals = Signals::new(&[Signal::USR1, Signal::WINCH]).expect("signalfd");
        assert_eq!(signals.next(), None);
        raise(Signal::USR1);
        raise(Signal::USR1);
        raise(Signal::WINCH);
        let mut seen = [signals.next(), signals.next()];
        seen.sort_unstable_by_key(|signal| signal.map(Signal::as_raw));
        assert_eq!(seen, [Some(Signal::USR1), Some(Signal::WINCH)]);
        assert_eq!(signals.next(), None);
    }

    fn blocked_in_child(command: &mut Command) -> String {
        let output = command.arg("/proc/self/status").output().expect("cat runs");
        let status = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = status.lines().find(|line| line.starts_with("SigBlk:")).expect("SigBlk");
        line.trim_start_matches("SigBlk:").trim().to_owned()
    }

    #[test]
    fn children_start_without_the_mask() {
        let _signals = Signals::new(&[Signal::USR2]).expect("signalfd");
        assert_eq!(blocked_in_child(&mut Command::new("cat")), "0000000000000800");
        let mut command = Command::new("cat");
        with_empty_mask(&mut command).expect("a set");
        assert_eq!(blocked_in_child(&mut command), "0000000000000000");
    }
}
