// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ring and perf buffers as one thing that can be watched and drained.

use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;

use crate::error::Result;
use crate::kinds::MapType;
use crate::map::Map;
use crate::perf::{PerfEvent, PerfOpts, PerfReader};
use crate::ring::{Drained, RingReader};

/// What a buffer gave.
#[derive(Clone, Copy, Debug)]
pub(super) enum News<'a> {
    /// An event.
    Sample {
        /// The place of its map among those that were added.
        map: usize,
        /// The CPU, for perf buffers.
        cpu: Option<u32>,
        /// What the program sent.
        data: &'a [u8],
    },
    /// Events for which there was no room in a perf buffer.
    Lost {
        /// The CPU.
        cpu: u32,
        /// How many.
        count: u64,
    },
}

impl News<'_> {
    pub(super) const fn map(&self) -> usize {
        match self {
            Self::Sample { map, .. } => *map,
            Self::Lost { .. } => 0,
        }
    }
}

/// A reader.
pub(super) enum Source {
    Rings(RingReader),
    /// Of one map.
    Perf(PerfReader),
}

impl Source {
    pub(super) fn open(map: &Map) -> Result<Self> {
        if map.map_type() == MapType::PERF_EVENT_ARRAY {
            return PerfReader::new(map, PerfOpts::default()).map(Self::Perf);
        }
        let mut reader = RingReader::new()?;
        reader.add(map)?;
        Ok(Self::Rings(reader))
    }

    /// Whether maps of this type can be added.
    pub(super) fn takes(&self, kind: MapType) -> bool {
        matches!((self, kind), (Self::Rings(_), MapType::RINGBUF))
    }

    pub(super) fn add(&mut self, map: &Map) -> Result<()> {
        match self {
            Self::Rings(reader) => reader.add(map).map(drop),
            Self::Perf(_) => Ok(()), // it takes none
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Rings(reader) => reader.as_fd(),
            Self::Perf(reader) => reader.as_fd(),
        }
    }

    /// How far each buffer was read and how far it is written, in bytes since it exists.
    pub(super) fn positions(&self) -> Vec<(u64, u64)> {
        match self {
            Self::Rings(reader) => reader.positions().collect(),
            Self::Perf(reader) => reader.positions().collect(),
        }
    }

    /// Hands out `max` events at most, until `f` breaks.
    pub(super) fn drain(
        &mut self,
        max: usize,
        mut f: impl FnMut(News<'_>) -> ControlFlow<()>,
    ) -> Drained {
        match self {
            Self::Rings(reader) => reader.drain(max, |sample| {
                f(News::Sample { map: sample.map, cpu: sample.cpu, data: sample.data })
            }),
            Self::Perf(reader) => reader.drain(max, |event| match event {
                PerfEvent::Sample { cpu, data } => f(News::Sample { map: 0, cpu: Some(cpu), data }),
                PerfEvent::Lost { cpu, count } => f(News::Lost { cpu, count }),
            }),
        }
    }
}
