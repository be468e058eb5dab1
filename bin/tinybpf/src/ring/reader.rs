// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads ring buffers, several at once, under loops of any kind.
//!
//! Owns the mappings, an epoll descriptor that is readable when any of the rings has data, and the
//! budget that keeps one source from starving others. A drain goes on until the rings are empty in
//! the protocol's strict sense, so that edge-triggered loops lose no wake-up; when it ends early it
//! says so ([`Drained::more`]).

use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use plinth::time::Time;
use rustix::event::{Timespec, epoll};

use super::Drained;
use super::protocol::{Cursor, Memory};
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
use crate::kinds::MapType;
use crate::map::Map;
use crate::sys::memory::{Access, Mapping};

/// Samples of one drain when the caller does not say.
pub const BUDGET: usize = 4096;

/// Names a ring of a reader: its place in the order they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RingId(pub usize);

/// What a program sent, valid until the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// The place of the map among those that were added.
    pub map: usize,
    /// The CPU, where the kind of buffer tells.
    pub cpu: Option<u32>,
    /// The bytes.
    pub data: &'a [u8],
}

/// The state of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingStats {
    /// Bytes of the ring.
    pub size: u64,
    /// Bytes that wait to be read, headers and reserved records included.
    pub unread: u64,
    /// Bytes that were read since the ring exists.
    pub consumer: u64,
    /// Bytes that were written since the ring exists.
    pub producer: u64,
}

/// The mappings of a ring: the reader's position, and behind it the producers' with the data.
struct Shared {
    consumer: Mapping,
    data: Mapping,
    page: usize,
}

impl Memory for Shared {
    #[inline]
    fn producer(&self) -> u64 {
        self.data.load_u64(0)
    }

    #[inline]
    fn store_consumer(&self, position: u64) {
        self.consumer.store_u64(0, position);
    }

    #[inline]
    fn header(&self, offset: usize) -> u32 {
        self.data.load_u32(self.page + offset)
    }
}

struct Ring {
    /// Keeps the map, and the registration with it.
    _fd: OwnedFd,
    map_id: u32,
    shared: Shared,
    cursor: Cursor,
    size: u64,
}

impl Ring {
    fn new(map: &Map) -> Result<Self> {
        let error = |errno| Error::from_errno(errno, Op::Open, map.name());
        let fd = rustix::io::fcntl_dupfd_cloexec(map.as_fd(), 3).map_err(|e| error(e.into()))?;
        let page = rustix::param::page_size();
        let size = map.max_entries() as usize;
        let consumer = Mapping::new(fd.as_fd(), 0, page, Access::ReadWrite).map_err(error)?;
        let data = Mapping::new(fd.as_fd(), page as u64, page + 2 * size, Access::Read);
        let data = data.map_err(error)?;
        let cursor = Cursor::new(consumer.load_u64(0), size as u64);
        let map_id = map.info()?.id;
        let shared = Shared { consumer, data, page };
        Ok(Self { _fd: fd, map_id, shared, cursor, size: size as u64 })
    }

    fn drain(
        &mut self,
        map: usize,
        max: u64,
        drained: &mut Drained,
        f: &mut impl FnMut(Sample<'_>) -> ControlFlow<()>,
    ) {
        let Self { shared, cursor, .. } = self;
        let guard = GiveBack(shared, cursor);
        while drained.events < max {
            let Some(span) = guard.1.next(guard.0) else { break };
            drained.events += 1;
            let data = shared.data.bytes(shared.page + span.offset, span.size);
            if f(Sample { map, cpu: None, data }).is_break() {
                drained.stopped = true;
                break;
            }
        }
    }
}

/// Tells the producers how far the reader got, also when a callback panics.
struct GiveBack<'a>(&'a Shared, &'a mut Cursor);

impl Drop for GiveBack<'_> {
    fn drop(&mut self) {
        self.1.release(self.0);
    }
}

/// Reads ring buffers. See the module's documentation for the rules of loops.
pub struct RingReader {
    rings: Vec<Ring>,
    epoll: OwnedFd,
    /// The ring that the next sample is looked for in first, so that none is starved.
    turn: usize,
    interval: Option<Duration>,
}

impl RingReader {
    /// A reader without rings.
    ///
    /// # Errors
    /// [`Kind::Limit`] when the process is out of descriptors.
    pub fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|errno| Error::from_errno(errno.into(), Op::Open, "ring reader"))?;
        Ok(Self { rings: Vec::new(), epoll, turn: 0, interval: None })
    }

    /// Looks into the rings this often without being woken, for programs that submit with
    /// `BPF_RB_NO_WAKEUP`. [`RingReader::poll`] does; loops of one's own set a timer.
    pub fn set_interval(&mut self, interval: Option<Duration>) {
        self.interval = interval;
    }

    /// Adds a ring. The map may be dropped afterwards.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] for a map of another type, [`Kind::Exists`] for one that was added,
    /// [`Kind::Permission`].
    pub fn add(&mut self, map: &Map) -> Result<RingId> {
        if map.map_type() != MapType::RINGBUF {
            let detail = format!("the map is of type {}, expected RINGBUF", map.map_type());
            return Err(Error::new(Kind::Mismatch, Op::Open, map.name()).with_detail(detail));
        }
        let ring = Ring::new(map)?;
        if self.rings.iter().any(|known| known.map_id == ring.map_id) {
            return Err(Error::new(Kind::Exists, Op::Open, map.name())
                .with_detail("the map was already added"));
        }
        let data = epoll::EventData::new_u64(self.rings.len() as u64);
        epoll::add(&self.epoll, &ring._fd, data, epoll::EventFlags::IN)
            .map_err(|errno| Error::from_errno(errno.into(), Op::Open, map.name()))?;
        self.rings.push(ring);
        Ok(RingId(self.rings.len() - 1))
    }

    /// The descriptor that is readable when a ring has data.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// The next sample of any ring; the one before is given back to the producers.
    #[expect(clippy::should_implement_trait, reason = "the sample borrows the reader")]
    pub fn next(&mut self) -> Option<Sample<'_>> {
        let count = self.rings.len();
        let (map, span) = (0..count).find_map(|step| {
            let index = (self.turn + step) % count;
            let ring = self.rings.get_mut(index)?;
            Some((index, ring.cursor.next(&ring.shared)?))
        })?;
        self.turn = map;
        let shared = &self.rings.get(map)?.shared;
        let data = shared.data.bytes(shared.page + span.offset, span.size);
        Some(Sample { map, cpu: None, data })
    }

    /// Hands out what is there, `max` samples at most, until `f` breaks. Never waits.
    ///
    /// Each sample is consumed whether `f` breaks or panics.
    pub fn drain(
        &mut self,
        max: usize,
        mut f: impl FnMut(Sample<'_>) -> ControlFlow<()>,
    ) -> Drained {
        let mut drained = Drained::default();
        let count = self.rings.len();
        for step in 0..count {
            let map = (self.turn + step) % count;
            let Some(ring) = self.rings.get_mut(map) else { break };
            ring.drain(map, max as u64, &mut drained, &mut f);
            if drained.stopped || drained.events >= max as u64 {
                break;
            }
        }
        // The next drain begins with another ring.
        self.turn = if count == 0 { 0 } else { (self.turn + 1) % count };
        drained.more = (drained.stopped || drained.events == max as u64) && self.pending();
        drained
    }

    /// Waits for data, for ever without a `timeout`, then drains at most [`BUDGET`] samples.
    ///
    /// No events are not the same as a time-out: the first record may be reserved and not
    /// committed, or a signal may have come.
    ///
    /// # Errors
    /// [`Kind::Empty`] for a reader without rings.
    pub fn poll(
        &mut self,
        timeout: Option<Duration>,
        f: impl FnMut(Sample<'_>) -> ControlFlow<()>,
    ) -> Result<Drained> {
        if self.rings.is_empty() {
            return Err(
                Error::new(Kind::Empty, Op::Poll, "ring reader").with_detail("no maps added")
            );
        }
        if !self.pending() {
            self.wait(timeout)?;
        }
        Ok(self.drain(BUDGET, f))
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<()> {
        let deadline = timeout.map(|timeout| Time::monotonic() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.since(Time::monotonic()));
            let slice = [left, self.interval].into_iter().flatten().min();
            if wait(&self.epoll, slice)? || self.pending() {
                return Ok(());
            }
            if left.is_some_and(|left| slice.is_some_and(|slice| left <= slice)) {
                return Ok(());
            }
        }
    }

    /// Whether a sample is ready; the last one is given back.
    pub fn pending(&mut self) -> bool {
        self.rings.iter_mut().any(|ring| ring.cursor.pending(&ring.shared))
    }

    /// How far each ring was read and how far it is written, in bytes since it exists.
    pub fn positions(&self) -> impl Iterator<Item = (u64, u64)> {
        self.rings.iter().map(|ring| (ring.cursor.position(), ring.shared.producer()))
    }

    /// The state of a ring; `None` for an id of another reader.
    #[must_use]
    pub fn stats(&self, id: RingId) -> Option<RingStats> {
        let ring = self.rings.get(id.0)?;
        let (producer, consumer) = (ring.shared.producer(), ring.cursor.position());
        let unread = producer.wrapping_sub(consumer);
        Some(RingStats { size: ring.size, unread, consumer, producer })
    }
}

/// Waits until a descriptor of `epoll` is ready: `false` after the time, `true` also for a signal.
pub(crate) fn wait(epoll: &OwnedFd, timeout: Option<Duration>) -> Result<bool> {
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let mut events =
        [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }];
    match epoll::wait(epoll, &mut events, timeout.as_ref()) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(errno) => Err(Error::from_errno(Errno::from(errno), Op::Poll, "reader")),
    }
}

impl mio::event::Source for RingReader {
    fn register(&mut self, to: &Registry, token: Token, on: Interest) -> std::io::Result<()> {
        SourceFd(&self.epoll.as_raw_fd()).register(to, token, on)
    }

    fn reregister(&mut self, to: &Registry, token: Token, on: Interest) -> std::io::Result<()> {
        SourceFd(&self.epoll.as_raw_fd()).reregister(to, token, on)
    }

    fn deregister(&mut self, from: &Registry) -> std::io::Result<()> {
        SourceFd(&self.epoll.as_raw_fd()).deregister(from)
    }
}
