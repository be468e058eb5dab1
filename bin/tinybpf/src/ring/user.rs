// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ring in which user space is the producer (`BPF_MAP_TYPE_USER_RINGBUF`, kernel 6.1).

use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use plinth::time::Time;
use rustix::event::epoll;

use super::protocol::{BUSY, DISCARD, HEADER};
use super::reader::wait;
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
use crate::kinds::MapType;
use crate::map::Map;
use crate::sys::memory::{Access, Mapping};

/// Sends records to programs that drain the map. There is one producer: not to be shared.
pub struct UserRing {
    name: String,
    _fd: OwnedFd,
    epoll: OwnedFd,
    consumer: Mapping,
    data: Mapping,
    page: usize,
    size: u64,
}

/// Room for one record; dropped without [`Slot::submit`], the program never sees it.
pub struct Slot<'a> {
    ring: &'a mut UserRing,
    /// Of the header, in the mapping of the data.
    offset: usize,
    size: usize,
}

impl UserRing {
    /// The producer's side of `map`, which may be dropped afterwards.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] for a map of another type, [`Kind::Permission`].
    pub fn new(map: &Map) -> Result<Self> {
        if map.map_type() != MapType::USER_RINGBUF {
            let detail = format!("the map is of type {}, expected USER_RINGBUF", map.map_type());
            return Err(Error::new(Kind::Mismatch, Op::Open, map.name()).with_detail(detail));
        }
        let error = |errno| Error::from_errno(errno, Op::Open, map.name());
        let system = |errno: rustix::io::Errno| error(errno.into());
        let fd = rustix::io::fcntl_dupfd_cloexec(map.as_fd(), 3).map_err(system)?;
        let page = rustix::param::page_size();
        let size = map.max_entries() as usize;
        let consumer = Mapping::new(fd.as_fd(), 0, page, Access::Read).map_err(error)?;
        let data = Mapping::new(fd.as_fd(), page as u64, page + 2 * size, Access::ReadWrite);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(system)?;
        let (none, flags) = (epoll::EventData::new_u64(0), epoll::EventFlags::OUT);
        // By edges: a ring with some room is always writable, if not with enough.
        epoll::add(&epoll, &fd, none, flags | epoll::EventFlags::ET).map_err(system)?;
        let data = data.map_err(error)?;
        let name = map.name().to_owned();
        Ok(Self { name, _fd: fd, epoll, consumer, data, page, size: size as u64 })
    }

    fn error(&self, kind: Kind, errno: Errno, detail: String) -> Error {
        Error::new(kind, Op::Write, self.name.clone()).with_errno(errno).with_detail(detail)
    }

    /// The bytes that a record of `size` takes, if they are free.
    fn room_for(&self, size: usize) -> Result<u64> {
        let whole = (size as u64).saturating_add(HEADER);
        if whole > self.size || size as u64 >= u64::from(DISCARD) {
            let detail = format!("a record of {size} bytes never fits a ring of {}", self.size);
            return Err(self.error(Kind::OutOfRange, Errno::TOO_BIG, detail));
        }
        let whole = whole.next_multiple_of(8);
        let (read, written) = (self.consumer.load_u64(0), self.data.load_u64(0));
        let room = self.size.saturating_sub(written.wrapping_sub(read));
        if whole > room {
            let detail = format!("{room} bytes are free, {whole} are needed");
            return Err(self.error(Kind::Full, Errno::NOSPC, detail));
        }
        Ok(whole)
    }

    /// Room for a record of `size` bytes, which are whatever was there before until written.
    ///
    /// # Errors
    /// [`Kind::Full`] until a program drains the ring; [`Kind::OutOfRange`] for a record that never
    /// fits.
    pub fn reserve(&mut self, size: usize) -> Result<Slot<'_>> {
        let whole = self.room_for(size)?;
        let written = self.data.load_u64(0);
        let place = usize::try_from(written & (self.size - 1)).unwrap_or_default();
        let offset = self.page + place;
        let length = u32::try_from(size).unwrap_or_default();
        self.data.store_u32(offset, length | BUSY);
        self.data.store_u32(offset + 4, 0);
        self.data.store_u64(0, written.wrapping_add(whole));
        Ok(Slot { ring: self, offset, size })
    }

    /// The same, waiting for room.
    ///
    /// # Errors
    /// As for [`UserRing::reserve`], once `timeout` is over.
    pub fn reserve_blocking(&mut self, size: usize, timeout: Duration) -> Result<Slot<'_>> {
        let deadline = Time::monotonic() + timeout;
        while let Err(full) = self.room_for(size) {
            let left = deadline.since(Time::monotonic());
            if full.kind() != Kind::Full || left.is_zero() {
                return Err(full);
            }
            wait(&self.epoll, Some(left))?;
        }
        self.reserve(size)
    }
}

impl Slot<'_> {
    /// Sends the record.
    pub fn submit(self) {
        self.finish(0);
        std::mem::forget(self);
    }

    /// Clears the busy flag last, so that a program that sees it cleared sees the whole record.
    fn finish(&self, flag: u32) {
        let length = u32::try_from(self.size).unwrap_or_default();
        self.ring.data.store_u32(self.offset, length | flag);
    }

    /// Where the record's bytes begin: behind its header.
    fn start(&self) -> usize {
        self.offset + 8
    }
}

impl Deref for Slot<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.ring.data.bytes(self.start(), self.size)
    }
}

impl DerefMut for Slot<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = self.start();
        self.ring.data.bytes_mut(start, self.size)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.finish(DISCARD);
    }
}
