// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ring and perf buffers as one thing that can be watched and drained.

use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;

use crate::error::Result;
use crate::kinds::MapType;
use crate::map::Map;
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
}

impl News<'_> {
    pub(super) const fn map(&self) -> usize {
        match self {
            Self::Sample { map, .. } => *map,
        }
    }
}

/// A reader.
pub(super) enum Source {
    Rings(RingReader),
}

impl Source {
    pub(super) fn open(map: &Map) -> Result<Self> {
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
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Rings(reader) => reader.as_fd(),
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
        }
    }
}
