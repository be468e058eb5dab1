// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs: handles, information, test runs, and ways to attach them.
//!
//! A program of an object keeps the object open; one from a pin or an identifier owns its
//! descriptor. Both attach the same ways, by bpf(2), except where only libbpf knows how: those
//! need the object ([`usdt`](Program::attach_usdt), patterns of functions). [`attach`](mod@attach)
//! holds what tracing programs hook, [`network`] what those of interfaces and control groups do.

pub mod attach;
pub(crate) mod clsact;
pub mod network;
mod probe;
mod section;
mod test_run;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

pub use crate::sys::program::Info as ProgramInfo;
pub use test_run::{TestResult, TestRun};

use crate::bpffs::{self, What};
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
use crate::ids;
use crate::kinds::{AttachType, ProgType};
use crate::map::Map;
use crate::sys::object::{Fd, Handle};
use crate::sys::program::{self as sys, Sort};

/// A loaded program.
#[derive(Debug)]
pub struct Program {
    fd: Fd,
    /// The object it belongs to, and its place there.
    object: Option<(Arc<Handle>, usize)>,
    name: String,
    section: String,
    kind: ProgType,
    attach_type: Option<AttachType>,
}

/// Which of a program's streams (`bpf_stream_printk`, kernel 6.17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// `BPF_STDOUT`.
    Output,
    /// `BPF_STDERR`, where the kernel reports errors of the program too.
    Error,
}

impl Program {
    /// The program of this index in a loaded object; `None` for one that was not loaded.
    pub(crate) fn of_object(handle: &Arc<Handle>, index: usize) -> Option<Self> {
        let fd = handle.keep_program(index)?;
        let (name, section) = handle.program_names(index);
        let (kind, attach_type) = handle.program_type(index);
        Some(Self {
            fd,
            object: Some((Arc::clone(handle), index)),
            name,
            section,
            kind: ProgType(kind),
            attach_type: Some(AttachType(attach_type)),
        })
    }

    /// Opens a pinned program.
    ///
    /// # Errors
    /// As for [`bpffs::open`]; [`Kind::Mismatch`] for the pin of something else.
    pub fn from_pin(path: &Path) -> Result<Self> {
        let fd = bpffs::open_as(path, What::Program)?;
        Self::standalone(fd, &path.display().to_string())
    }

    /// Opens the program with an identifier.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Permission`].
    pub fn from_id(id: u32) -> Result<Self> {
        let (fd, subject) = ids::open(Sort::Program, id)?;
        Self::standalone(fd, &subject)
    }

    fn standalone(fd: OwnedFd, subject: &str) -> Result<Self> {
        let info =
            sys::info(fd.as_fd()).map_err(|errno| Error::from_errno(errno, Op::Info, subject))?;
        Ok(Self {
            fd: Fd::Owned(fd),
            object: None,
            name: info.name,
            section: String::new(),
            kind: ProgType(info.kind),
            attach_type: None,
        })
    }

    /// The program's name: in full for a program of an object, else what the kernel kept of it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The section it stood in; empty for a program that came without its object.
    #[must_use]
    pub fn section(&self) -> &str {
        &self.section
    }

    /// Its type.
    #[must_use]
    pub const fn prog_type(&self) -> ProgType {
        self.kind
    }

    /// Where it expects to be attached; the kernel does not tell for a program without its object.
    #[must_use]
    pub const fn attach_type(&self) -> Option<AttachType> {
        self.attach_type
    }

    /// The program's descriptor.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn object(&self) -> Option<(&Arc<Handle>, usize)> {
        self.object.as_ref().map(|(object, index)| (object, *index))
    }

    fn error(&self, errno: Errno, op: Op) -> Error {
        Error::from_errno(errno, op, self.name.clone())
    }

    /// What the kernel says of the program now.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn info(&self) -> Result<ProgramInfo> {
        sys::info(self.as_fd()).map_err(|errno| self.error(errno, Op::Info))
    }

    /// Gives the program a name on a bpf file system.
    ///
    /// # Errors
    /// As for [`bpffs::pin`].
    pub fn pin(&self, path: &Path) -> Result<()> {
        bpffs::pin(self.as_fd(), path)
    }

    /// Keeps a map alive as long as the program.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] before 5.10.
    pub fn bind_map(&self, map: &Map) -> Result<()> {
        sys::bind_map(self.as_fd(), map.as_fd()).map_err(|errno| self.error(errno, Op::Set))
    }

    /// What the program printed since the last call; at most 64 KiB.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] before 6.17.
    pub fn stream(&self, stream: Stream) -> Result<Vec<u8>> {
        let number = match stream {
            Stream::Output => 1,
            Stream::Error => 2,
        };
        let mut text = vec![0; 1 << 16];
        let read = sys::read_stream(self.as_fd(), number, &mut text).map_err(|errno| {
            let error = self.error(errno, Op::Read);
            match errno {
                Errno::INVAL => error
                    .with_kind(Kind::Unsupported)
                    .with_detail("this kernel has no streams of programs (6.17 has)"),
                _ => error,
            }
        })?;
        text.truncate(read);
        Ok(text)
    }
}
