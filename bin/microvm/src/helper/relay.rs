// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bytes carried between descriptors, both ways at once.
//!
//! Owns the waiting and the half-open states. A way reads only when all it has read is written, so
//! that a slow reader slows its writer and memory stays bounded. Inherited descriptors keep their
//! flags: other processes share them. It waits with poll(2), since standard streams may be regular
//! files, which epoll(7) refuses.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown};

/// Bytes read at a time.
const CHUNK: usize = 16 << 10;
/// Bytes written at a time where a longer write might wait: a pipe that is ready has this room.
const ROOM: usize = 4096;

/// What is done with bytes between the two ends.
pub(super) trait Filter {
    /// Looks at what arrived; `false` ends the conversation.
    fn pass(&mut self, bytes: &mut Vec<u8>) -> bool;
}

/// Everything passes.
impl Filter for () {
    fn pass(&mut self, _: &mut Vec<u8>) -> bool {
        true
    }
}

/// One direction.
#[derive(Debug)]
pub(super) struct Way<'a> {
    from: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
    pending: Vec<u8>,
    /// Nothing more comes.
    dry: bool,
    /// Nothing more is taken.
    broken: bool,
    /// What is not taken is thrown away.
    lossy: bool,
}

impl<'a> Way<'a> {
    pub(super) const fn new(from: BorrowedFd<'a>, to: BorrowedFd<'a>) -> Self {
        Self { from, to, pending: Vec::new(), dry: false, broken: false, lossy: false }
    }

    /// A way that goes on without its reader: who writes at the other end never waits for one that
    /// is gone, and hears of none.
    pub(super) fn lossy(from: BorrowedFd<'a>, to: BorrowedFd<'a>) -> Self {
        Self { lossy: true, ..Self::new(from, to) }
    }

    /// Everything was carried, or cannot be.
    pub(super) fn ended(&self) -> bool {
        (self.broken && !self.lossy) || (self.dry && self.pending.is_empty())
    }

    /// Nobody takes anything any more.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Nothing waits to be written.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// What is waited for.
    fn interest(&self) -> Option<(BorrowedFd<'a>, PollFlags)> {
        if self.ended() {
            None
        } else if self.pending.is_empty() {
            Some((self.from, PollFlags::IN))
        } else {
            Some((self.to, PollFlags::OUT))
        }
    }

    /// Does what was waited for, once; `false` when the filter ends the conversation.
    fn advance(&mut self, filter: &mut dyn Filter) -> io::Result<bool> {
        if !self.pending.is_empty() {
            self.write()?;
            return Ok(true);
        }
        let mut chunk = [0; CHUNK];
        match rustix::io::read(self.from, &mut chunk) {
            // A terminal whose other side is closed answers EIO.
            Ok(0) | Err(Errno::IO | Errno::CONNRESET) => self.dry = true,
            Ok(_) if self.broken => {}
            Ok(count) => {
                self.pending.extend_from_slice(chunk.get(..count).unwrap_or_default());
                return Ok(filter.pass(&mut self.pending));
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(true)
    }

    fn write(&mut self) -> io::Result<()> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = match rustix::net::send(self.to, &self.pending, flags) {
            Err(Errno::NOTSOCK) => {
                let part = self.pending.get(..ROOM).unwrap_or(&self.pending);
                rustix::io::write(self.to, part)
            }
            sent => sent,
        };
        match sent {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(Errno::PIPE | Errno::CONNRESET | Errno::IO) => self.broken = true,
            // A file system that is full, for one, may have room again.
            Err(_) if self.lossy => self.pending.clear(),
            Err(errno) => return Err(errno.into()),
        }
        if self.broken && self.lossy {
            self.pending.clear();
        }
        Ok(())
    }
}

/// What a turn found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Which of the watched descriptors are ready.
    pub(super) ready: Vec<bool>,
    /// The filter ended the conversation.
    pub(super) ended: bool,
    /// Nothing happened in time.
    pub(super) nothing: bool,
}

/// Waits until something can be done on the ways, or a watched descriptor is ready, and does it.
/// The filter sees the first way.
pub(super) fn turn(
    ways: &mut [Way<'_>],
    watched: &[BorrowedFd<'_>],
    timeout: Option<Duration>,
    filter: &mut dyn Filter,
) -> io::Result<Turn> {
    let mut fds: Vec<PollFd<'_>> =
        watched.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let wanted: Vec<_> = ways.iter().map(Way::interest).collect();
    for (fd, flags) in wanted.iter().flatten() {
        fds.push(PollFd::from_borrowed_fd(*fd, *flags));
    }
    let timeout = timeout.and_then(|span| Timespec::try_from(span).ok());
    let nothing = match rustix::event::poll(&mut fds, timeout.as_ref()) {
        Ok(count) => count == 0,
        Err(Errno::INTR) => {
            let ready = vec![false; watched.len()];
            return Ok(Turn { ready, ended: false, nothing: false });
        }
        Err(errno) => return Err(errno.into()),
    };
    let mut happened = fds.iter().map(|fd| !fd.revents().is_empty());
    let ready = happened.by_ref().take(watched.len()).collect();
    let mut ended = false;
    for (index, (way, wanted)) in ways.iter_mut().zip(&wanted).enumerate() {
        if wanted.is_some() && happened.next() == Some(true) {
            let goes_on = if index == 0 { way.advance(filter)? } else { way.advance(&mut ())? };
            ended |= !goes_on;
        }
    }
    Ok(Turn { ready, ended, nothing })
}

/// What becomes of the socket when standard input ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtEnd {
    /// The other side is told.
    Close,
    /// Nothing: it would take the end of input for the end of all.
    Stay,
}

/// Carries standard input to `socket` and `socket` to standard output, until the socket ends, or
/// nobody reads what it says, or the filter ends it.
pub(super) fn standard(socket: &OwnedFd, at_end: AtEnd, filter: &mut dyn Filter) -> io::Result<()> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let socket = socket.as_fd();
    let mut ways = [Way::new(stdin.as_fd(), socket), Way::new(socket, stdout.as_fd())];
    let mut told = false;
    loop {
        let [there, back] = &ways;
        if back.ended() {
            return Ok(());
        }
        if there.ended() && !told {
            told = true;
            if at_end == AtEnd::Close {
                // Fails when the other side is gone, which the next read tells.
                let _ = rustix::net::shutdown(socket, Shutdown::Write);
            }
        }
        if turn(&mut ways, &[], None, filter)?.ended {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn carry(way: Way<'_>) -> Way<'_> {
        let mut ways = [way];
        while !ways[0].ended() {
            turn(&mut ways, &[], None, &mut ()).expect("a turn");
        }
        let [way] = ways;
        way
    }

    #[test]
    fn everything_arrives_in_order_and_the_end_is_seen() {
        let (mut near, from) = UnixStream::pair().expect("sockets");
        let (reader, to) = rustix::pipe::pipe().expect("a pipe");
        let sent: Vec<u8> = (0..300_000_u32).map(|it| it.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        let writer = std::thread::spawn(move || near.write_all(&sent));
        let collector = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            std::fs::File::from(reader).read_to_end(&mut bytes).map(|_| bytes)
        });
        let way = carry(Way::new(from.as_fd(), to.as_fd()));
        assert!(way.dry && !way.broken);
        drop(to);
        writer.join().expect("a thread").expect("written");
        assert!(collector.join().expect("a thread").expect("read") == expected);
    }

    #[test]
    fn a_reader_that_goes_away_ends_the_way() {
        let (mut near, from) = UnixStream::pair().expect("sockets");
        let (reader, to) = rustix::pipe::pipe().expect("a pipe");
        near.write_all(b"x").expect("written");
        drop(reader);
        assert!(carry(Way::new(from.as_fd(), to.as_fd())).broken);
    }

    #[test]
    fn a_lossy_way_takes_all_though_its_reader_went_away() {
        let (mut near, from) = UnixStream::pair().expect("sockets");
        let (reader, to) = rustix::pipe::pipe().expect("a pipe");
        drop(reader);
        let writer = std::thread::spawn(move || near.write_all(&vec![b'x'; 1 << 20]));
        let way = carry(Way::lossy(from.as_fd(), to.as_fd()));
        assert!(way.dry && way.broken && way.is_idle());
        writer.join().expect("a thread").expect("written");
        // What cannot be written now is lost; what comes later is tried again.
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
        let (mut near, from) = UnixStream::pair().expect("sockets");
        near.write_all(b"x").expect("written");
        drop(near);
        assert!(!carry(Way::lossy(from.as_fd(), full.as_fd())).broken);
    }

    #[test]
    fn a_watched_descriptor_ends_the_wait() {
        let (mut near, far) = UnixStream::pair().expect("sockets");
        let (_quiet, from) = UnixStream::pair().expect("sockets");
        near.write_all(b"x").expect("written");
        let mut ways = [Way::new(from.as_fd(), from.as_fd())];
        let turn = turn(&mut ways, &[far.as_fd()], None, &mut ()).expect("a turn");
        assert_eq!(turn, Turn { ready: vec![true], ended: false, nothing: false });
    }
}
