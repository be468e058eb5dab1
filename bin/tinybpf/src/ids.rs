// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Everything that lives in the kernel: programs, maps, links and type tables by identifier.
//!
//! A walk sees what was there when it came by. What vanishes on the way is skipped, and so is a
//! link that is just being made or taken apart; nothing is an error but the lack of
//! `CAP_SYS_ADMIN`.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use crate::btf::Btf;
use crate::diagnosis::permission::Refused;
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
use crate::host::explained;
use crate::link::Link;
use crate::map::Map;
use crate::program::Program;
use crate::sys::program::{self as sys, Sort};

/// Identifiers of one sort, in their order.
struct Ids {
    sort: Sort,
    last: u32,
    ended: bool,
}

impl Iterator for Ids {
    type Item = Result<u32>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match sys::next_id(self.sort, self.last) {
            Ok(Some(id)) => {
                self.last = id;
                Some(Ok(id))
            }
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(errno) => {
                self.ended = true;
                Some(Err(refused(self.sort, errno)))
            }
        }
    }
}

/// Opens what has a number; with what it is to be called in an error.
pub(crate) fn open(sort: Sort, id: u32) -> Result<(OwnedFd, String)> {
    let subject = match sort {
        Sort::Program => format!("program {id}"),
        Sort::Map => format!("map {id}"),
        Sort::Link => format!("link {id}"),
        Sort::Btf => format!("BTF {id}"),
    };
    match sys::open_id(sort, id) {
        Ok(fd) => Ok((fd, subject)),
        Err(errno) => Err(explained(Error::from_errno(errno, Op::Open, subject), Refused::Number)),
    }
}

fn refused(sort: Sort, errno: Errno) -> Error {
    let what = match sort {
        Sort::Program => "programs",
        Sort::Map => "maps",
        Sort::Link => "links",
        Sort::Btf => "type tables",
    };
    explained(Error::from_errno(errno, Op::List, what), Refused::Number)
}

/// Whether something has no identifier any more, or, as links for a moment, not yet (`EAGAIN`).
fn is_absent(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::NOENT | Errno::AGAIN))
}

/// Opens each one that is still there.
fn opened<T>(sort: Sort, open: fn(u32) -> Result<T>) -> impl Iterator<Item = Result<(u32, T)>> {
    let ids = Ids { sort, last: 0, ended: false };
    ids.filter_map(move |id| match id.and_then(|id| Ok((id, open(id)?))) {
        Err(error) if is_absent(&error) => None,
        other => Some(other),
    })
}

/// All programs.
pub fn programs() -> impl Iterator<Item = Result<(u32, Program)>> {
    opened(Sort::Program, Program::from_id)
}

/// All maps.
pub fn maps() -> impl Iterator<Item = Result<(u32, Map)>> {
    opened(Sort::Map, Map::from_id)
}

/// All links.
pub fn links() -> impl Iterator<Item = Result<(u32, Link)>> {
    opened(Sort::Link, Link::from_id)
}

/// All type tables.
pub fn tables() -> impl Iterator<Item = Result<(u32, Table)>> {
    opened(Sort::Btf, Table::from_id)
}

/// A type table that the kernel holds.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its identifier.
    pub id: u32,
    /// `vmlinux` or a module's name; empty for an object's.
    pub name: String,
    /// It is the kernel's or a module's own.
    pub is_kernel: bool,
    /// The table in the kernel's format.
    pub bytes: Vec<u8>,
}

impl Table {
    /// Reads the table with an identifier.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Permission`].
    pub fn from_id(id: u32) -> Result<Self> {
        let (fd, subject) = open(Sort::Btf, id)?;
        let (id, name, is_kernel, bytes) = sys::btf_info(fd.as_fd())
            .map_err(|errno| Error::from_errno(errno, Op::Read, subject))?;
        Ok(Self { id, name, is_kernel, bytes })
    }

    /// The types in it. A module's table builds on the kernel's and cannot be read alone.
    ///
    /// # Errors
    /// [`Kind::Type`] for a table that is damaged.
    pub fn parse(&self) -> Result<Arc<Btf>> {
        Btf::parse(&self.bytes).map(Arc::new).map_err(|error| {
            Error::new(Kind::Type, Op::Parse, format!("BTF {}", self.id))
                .with_detail(error.to_string())
        })
    }
}

impl Map {
    /// The kernel's copy of the table in which the types of this map's keys and values are, for
    /// maps that came without their object; `None` for a map without types.
    ///
    /// # Errors
    /// As for [`Table::from_id`] and [`Table::parse`].
    pub fn btf(&self) -> Result<Option<Arc<Btf>>> {
        match self.info()?.btf {
            0 => Ok(None),
            id => Table::from_id(id)?.parse().map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_is_passed_over_and_a_refusal_is_not() {
        for (errno, absent) in [
            (Errno::NOENT, true),
            (Errno::AGAIN, true),
            (Errno::PERM, false),
            (Errno::NOSYS, false),
        ] {
            let error = Error::from_errno(errno, Op::Open, "link 7");
            assert_eq!(is_absent(&error), absent, "{errno:?}");
        }
    }
}
