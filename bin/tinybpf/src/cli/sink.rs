// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Standard output of a stream: never blocks the loop where that can be had.
//!
//! A pipe whose reader sleeps must not keep the command from hearing a signal, so pipes are opened
//! anew without blocking: a description of our own leaves that of whoever gave us the pipe alone.
//! What is taken is bounded by the caller, who asks for nothing more while something waits.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags};

use super::World;

/// Where lines go.
pub(super) struct Sink<'w> {
    to: To<'w>,
    waiting: Vec<u8>,
    /// Bytes of `waiting` that are written.
    done: usize,
}

enum To<'w> {
    /// Written at once; blocks as long as it takes.
    Plain(&'w mut dyn Write),
    /// A pipe.
    Pipe(File),
}

impl<'w> Sink<'w> {
    pub(super) fn new(world: &'w mut World<'_>) -> Self {
        let to = match world.is_process.then(reopened).flatten() {
            Some(pipe) => To::Pipe(pipe),
            None => To::Plain(&mut *world.out),
        };
        Self { to, waiting: Vec::new(), done: 0 }
    }

    /// The descriptor that tells when the reader reads on, or goes away.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.to {
            To::Plain(_) => None,
            To::Pipe(pipe) => Some(pipe.as_fd()),
        }
    }

    /// Whether the reader is behind.
    pub(super) fn is_behind(&self) -> bool {
        self.done < self.waiting.len()
    }

    /// Writes `bytes`, or what can be; the rest waits.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.waiting.extend_from_slice(bytes);
        self.flush()
    }

    /// Writes what waits, as far as it goes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.waiting.get(self.done..).filter(|rest| !rest.is_empty()) {
            let written = match &mut self.to {
                To::Plain(out) => {
                    out.write_all(rest).and_then(|()| out.flush()).map(|()| rest.len())
                }
                To::Pipe(pipe) => pipe.write(rest),
            };
            match written {
                Ok(count) => self.done += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.waiting.clear();
        self.done = 0;
        Ok(())
    }

    /// Whether the reader is gone.
    pub(super) fn is_closed(&self) -> bool {
        let Some(fd) = self.fd() else { return false };
        let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
        let asked = poll(&mut polled, Some(&rustix::time::Timespec::default()));
        asked.is_ok() && polled.iter().any(|it| it.revents().contains(PollFlags::ERR))
    }

    /// Gives a reader that is behind this long to take the rest.
    pub(super) fn finish(&mut self, patience: Duration) -> io::Result<()> {
        self.flush()?;
        while self.is_behind() {
            let Some(fd) = self.fd() else { return Ok(()) };
            let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
            let limit = rustix::time::Timespec::try_from(patience).unwrap_or_default();
            if poll(&mut polled, Some(&limit))? == 0 {
                return Err(ErrorKind::TimedOut.into());
            }
            self.flush()?;
        }
        Ok(())
    }
}

/// Standard output once more, if it is a pipe.
fn reopened() -> Option<File> {
    let stdout = io::stdout();
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&stdout).ok()?.st_mode);
    if kind != FileType::Fifo {
        return None;
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open("/proc/self/fd/1", flags, Mode::empty()).ok().map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_sleeps_holds_nobody_up() {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        rustix::io::ioctl_fionbio(&writer, true).expect("a mode");
        let mut sink = Sink { to: To::Pipe(File::from(writer)), waiting: Vec::new(), done: 0 };
        let much = vec![b'x'; 1 << 20];
        sink.write(&much).expect("what fits");
        assert!(sink.is_behind() && !sink.is_closed());
        let late = sink.finish(Duration::from_millis(1)).expect_err("nobody reads");
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        drop(reader);
        assert!(sink.is_closed());
        let gone = sink.flush().expect_err("nobody will");
        assert_eq!(gone.kind(), ErrorKind::BrokenPipe);
    }
}
