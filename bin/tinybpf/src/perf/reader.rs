// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads perf buffers, under loops of any kind.
//!
//! Owns an event and a mapping per CPU and an epoll descriptor over them. A drain looks into every
//! buffer's memory and never asks the epoll descriptor which are ready: when that is itself watched
//! by an outer loop, the outer wait clears its readiness, and an inner one would find nothing.
//!
//! Samples are ordered per CPU only. The kernel counts what it could not store, but tells only
//! together with a later sample; a reader that ends must drain once more after the programs are
//! detached, and even then cannot promise that nothing was lost. Buffers are made for the CPUs that
//! are online at that time; [`PerfReader::rescan`] adds those that came since.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::epoll;

use super::protocol::{Buffer, Record, take};
use crate::error::{Error, Kind, Op, Result};
use crate::host::Host;
use crate::kinds::MapType;
use crate::map::{Flags, Map};
use crate::ring::Drained;
use crate::sys::memory::{Access, Mapping};
use crate::sys::perf::{self, Event};

/// Offsets of `data_head` and `data_tail` in `struct perf_event_mmap_page`.
const HEAD: usize = 1024;
const TAIL: usize = 1032;

/// How buffers are made.
#[derive(Clone, Copy, Debug)]
pub struct PerfOpts {
    /// Pages of each buffer, a power of two.
    pub pages: usize,
    /// Samples between two wake-ups. With more than one the last samples wait for the next drain:
    /// set a timer.
    pub wakeup_events: u32,
}

impl Default for PerfOpts {
    fn default() -> Self {
        Self { pages: 8, wakeup_events: 1 }
    }
}

/// What a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerfEvent<'a> {
    /// A sample, with up to seven bytes of padding behind it that mean nothing.
    Sample {
        /// The CPU that the program ran on.
        cpu: u32,
        /// The bytes, valid during the call.
        data: &'a [u8],
    },
    /// Samples for which there was no room.
    Lost {
        /// The CPU.
        cpu: u32,
        /// How many.
        count: u64,
    },
}

/// The data pages of one CPU.
struct Shared {
    mapping: Mapping,
    page: usize,
    size: usize,
}

impl Buffer for Shared {
    fn size(&self) -> u64 {
        self.size as u64
    }

    fn copy(&self, offset: usize, into: &mut [u8]) {
        into.copy_from_slice(self.mapping.bytes(self.page + offset, into.len()));
    }
}

struct PerCpu {
    cpu: u32,
    event: OwnedFd,
    shared: Shared,
    tail: u64,
    lost: u64,
}

/// Reads the buffers of one map.
pub struct PerfReader {
    /// A handle of one's own: the entries are removed through it when the reader goes.
    map: Map,
    options: PerfOpts,
    epoll: OwnedFd,
    cpus: Vec<PerCpu>,
    scratch: Vec<u8>,
    turn: usize,
}

impl PerfReader {
    /// Makes a buffer for each CPU that is online, and puts it into `map`.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] for a map of another type; [`Kind::InvalidArgument`] for a page count
    /// that is no power of two; [`Kind::Permission`], also for buffers larger than the system
    /// allows.
    pub fn new(map: &Map, options: PerfOpts) -> Result<Self> {
        let error = |kind| Error::new(kind, Op::Open, map.name());
        if map.map_type() != MapType::PERF_EVENT_ARRAY {
            let found = map.map_type();
            return Err(error(Kind::Mismatch)
                .with_detail(format!("the map is of type {found}, expected PERF_EVENT_ARRAY")));
        }
        if !options.pages.is_power_of_two() {
            return Err(error(Kind::InvalidArgument).with_detail(format!(
                "the page count must be a power of two, got {}",
                options.pages
            )));
        }
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|errno| Error::from_errno(errno.into(), Op::Open, map.name()))?;
        let map = map.try_clone()?;
        let (cpus, scratch) = (Vec::new(), Vec::new());
        let mut reader = Self { map, options, epoll, cpus, scratch, turn: 0 };
        reader.rescan()?;
        Ok(reader)
    }

    /// Makes buffers for CPUs that came online since; returns how many.
    ///
    /// # Errors
    /// As for [`PerfReader::new`].
    pub fn rescan(&mut self) -> Result<usize> {
        let online = Host::system().online_cpus();
        let most = self.map.max_entries();
        let known: Vec<u32> = self.cpus.iter().map(|per_cpu| per_cpu.cpu).collect();
        let missing = online.into_iter().filter(|cpu| *cpu < most && !known.contains(cpu));
        let mut made = 0;
        for cpu in missing {
            let per_cpu = self.open(cpu)?;
            self.cpus.push(per_cpu);
            made += 1;
        }
        Ok(made)
    }

    fn open(&self, cpu: u32) -> Result<PerCpu> {
        let error = |errno| {
            let error = Error::from_errno(errno, Op::Open, self.map.name());
            error.with_hint("limits: /proc/sys/kernel/perf_event_mlock_kb, perf_event_paranoid")
        };
        let wakeup = self.options.wakeup_events.max(1);
        let number = i32::try_from(cpu).unwrap_or(i32::MAX);
        let event = perf::open(Event::Output { wakeup }, -1, number).map_err(error)?;
        let page = rustix::param::page_size();
        let size = self.options.pages.saturating_mul(page);
        let mapping = Mapping::new(event.as_fd(), 0, page.saturating_add(size), Access::ReadWrite);
        let mapping = mapping.map_err(error)?;
        let value = event.as_raw_fd().to_ne_bytes();
        self.map.set(&cpu.to_ne_bytes(), &value, Flags::ANY)?;
        perf::enable(event.as_fd()).map_err(error)?;
        let data = epoll::EventData::new_u64(cpu.into());
        epoll::add(&self.epoll, &event, data, epoll::EventFlags::IN)
            .map_err(|errno| error(errno.into()))?;
        let tail = mapping.load_u64(TAIL);
        Ok(PerCpu { cpu, event, shared: Shared { mapping, page, size }, tail, lost: 0 })
    }

    /// The descriptor that is readable when a buffer has data.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Hands out what is there, `max` samples at most, until `f` breaks. Never waits.
    ///
    /// Each sample is consumed whether `f` breaks or panics. Losses do not count as events.
    pub fn drain(
        &mut self,
        max: usize,
        mut f: impl FnMut(PerfEvent<'_>) -> ControlFlow<()>,
    ) -> Drained {
        let mut drained = Drained::default();
        let count = self.cpus.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let Some(per_cpu) = self.cpus.get_mut(index) else { break };
            per_cpu.drain(max, &mut self.scratch, &mut drained, &mut f);
            if drained.stopped || drained.events >= max as u64 {
                break;
            }
        }
        // The next drain begins with another CPU.
        self.turn = if count == 0 { 0 } else { (self.turn + 1) % count };
        drained.more = (drained.stopped || drained.events >= max as u64) && self.pending();
        drained
    }

    /// Waits for data, for ever without a `timeout`, then drains all buffers once, `max` samples at
    /// most. Not for a reader whose descriptor an outer loop watches: that calls
    /// [`PerfReader::drain`].
    ///
    /// # Errors
    /// What the wait says; a signal is no error.
    pub fn poll(
        &mut self,
        timeout: Option<Duration>,
        max: usize,
        f: impl FnMut(PerfEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Drained> {
        if !self.pending() {
            crate::ring::wait(&self.epoll, timeout)?;
        }
        Ok(self.drain(max, f))
    }

    /// Whether something is there.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.cpus.iter().any(|per_cpu| per_cpu.head() != per_cpu.tail)
    }

    /// How far each buffer was read and how far it is written, in bytes since it exists.
    pub fn positions(&self) -> impl Iterator<Item = (u64, u64)> {
        self.cpus.iter().map(|per_cpu| (per_cpu.tail, per_cpu.head()))
    }

    /// What each CPU is known to have lost so far.
    pub fn lost(&self) -> impl Iterator<Item = (u32, u64)> {
        self.cpus.iter().map(|per_cpu| (per_cpu.cpu, per_cpu.lost))
    }
}

impl PerCpu {
    fn head(&self) -> u64 {
        self.shared.mapping.load_u64(HEAD)
    }

    fn drain(
        &mut self,
        max: usize,
        scratch: &mut Vec<u8>,
        drained: &mut Drained,
        f: &mut impl FnMut(PerfEvent<'_>) -> ControlFlow<()>,
    ) {
        let (cpu, head) = (self.cpu, self.head());
        while drained.events < max as u64 {
            let Some((record, next)) = take(&self.shared, self.tail, head, scratch) else {
                // Nothing, or nonsense: either way all up to here is done.
                self.give_back(head);
                return;
            };
            // The record was copied, so that it can be given back before it is handed out.
            self.give_back(next);
            let flow = match record {
                Record::Sample => {
                    drained.events += 1;
                    f(PerfEvent::Sample { cpu, data: scratch })
                }
                Record::Lost(count) => {
                    self.lost += count;
                    f(PerfEvent::Lost { cpu, count })
                }
                Record::Other => ControlFlow::Continue(()),
            };
            if flow.is_break() {
                drained.stopped = true;
                return;
            }
        }
    }

    fn give_back(&mut self, tail: u64) {
        if self.tail != tail {
            self.tail = tail;
            self.shared.mapping.store_u64(TAIL, tail);
        }
    }
}

impl Drop for PerfReader {
    fn drop(&mut self) {
        for per_cpu in &self.cpus {
            // An entry that somebody else replaced meanwhile goes too; the kernel cannot tell.
            drop(self.map.delete(&per_cpu.cpu.to_ne_bytes()));
            let _ = epoll::delete(&self.epoll, &per_cpu.event);
        }
    }
}

impl mio::event::Source for PerfReader {
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
