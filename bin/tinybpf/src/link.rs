// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Links: attachments that live as long as somebody holds them.
//!
//! Owns the handle and what can be done with it, over four sorts: plain descriptors, which most
//! links are; those of libbpf, of which USDT is composite and has no descriptor; perf events of
//! kernels before 5.15; and attachments from before there were links, which the drop undoes. A pin
//! keeps a link beyond the handle; only descriptors can be pinned.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

pub use crate::sys::link::Info as LinkInfo;

use crate::bpffs::{self, What};
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
use crate::ids;
use crate::kinds::LinkType;
use crate::program::{Program, clsact};
use crate::sys::filter::{self, Filter};
use crate::sys::link as sys;
use crate::sys::managed::Managed;
use crate::sys::program::Sort;

/// Threads that [`Link::detach_all`] uses at most: each sits in the kernel, waiting.
const DETACHERS_MAX: usize = 32;

/// What sort of attachment it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A link of the kernel.
    Kernel(LinkType),
    /// Static user probes, of several kernel objects.
    Usdt,
    /// A perf event with a program, from before such links (5.15).
    PerfEvent,
    /// A filter of traffic control.
    Filter,
    /// A program attached to a map or hook, from before links.
    Direct,
}

impl LinkKind {
    /// What it is called.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Kernel(kind) => kind.to_string(),
            Self::Usdt => "usdt".to_owned(),
            Self::PerfEvent => "perf_event (without link)".to_owned(),
            Self::Filter => "tc".to_owned(),
            Self::Direct => "direct".to_owned(),
        }
    }
}

/// How it is held.
#[derive(Debug)]
pub(crate) enum Held {
    /// A descriptor of the kernel's.
    Fd(OwnedFd),
    /// A link of libbpf's.
    Managed(Managed),
    /// A perf event that a program was set on.
    Event(OwnedFd),
    /// A filter, and whether the discipline it is in was made for it.
    Filter(Filter, bool),
    /// A program attached without a link.
    Direct {
        /// The program.
        program: OwnedFd,
        /// What it is attached to.
        target: OwnedFd,
        /// How.
        attach_type: u32,
    },
    /// Nothing any more.
    Gone,
}

impl Held {
    fn release(&mut self) -> std::result::Result<(), Errno> {
        match std::mem::replace(self, Self::Gone) {
            Self::Fd(fd) | Self::Event(fd) => {
                drop(fd);
                Ok(())
            }
            Self::Managed(link) => link.destroy(),
            Self::Filter(filter, made) => {
                let removed = filter::remove_filter(filter);
                if made && removed.is_ok() {
                    clsact::remove_if_empty(filter.ifindex);
                }
                removed
            }
            Self::Direct { program, target, attach_type } => {
                sys::detach(program.as_fd(), target.as_fd(), attach_type)
            }
            Self::Gone => Ok(()),
        }
    }
}

/// An attachment. Dropping it detaches, unless it is pinned.
#[must_use = "dropping a Link detaches the program"]
#[derive(Debug)]
pub struct Link {
    held: Held,
    kind: LinkKind,
    description: String,
    pin: Option<PathBuf>,
}

impl Link {
    pub(crate) fn new(held: Held, kind: LinkKind, description: String) -> Self {
        Self { held, kind, description, pin: None }
    }

    pub(crate) fn of_fd(fd: OwnedFd, kind: LinkType, description: String) -> Self {
        Self::new(Held::Fd(fd), LinkKind::Kernel(kind), description)
    }

    /// Opens a pinned link. The handle may be dropped: the pin keeps the link.
    ///
    /// # Errors
    /// As for [`bpffs::open`]; [`Kind::Mismatch`] for the pin of something else.
    pub fn from_pin(path: &Path) -> Result<Self> {
        let fd = bpffs::open_as(path, What::Link)?;
        let mut link = Self::standalone(fd, &path.display().to_string())?;
        link.pin = Some(path.to_owned());
        Ok(link)
    }

    /// Opens the link with an identifier.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Permission`].
    pub fn from_id(id: u32) -> Result<Self> {
        let (fd, subject) = ids::open(Sort::Link, id)?;
        Self::standalone(fd, &subject)
    }

    fn standalone(fd: OwnedFd, subject: &str) -> Result<Self> {
        let info =
            sys::info(fd.as_fd()).map_err(|errno| Error::from_errno(errno, Op::Info, subject))?;
        let kind = LinkType(info.kind);
        let description = match &info.target {
            Some(target) => format!("{kind}:{target}"),
            None => kind.to_string(),
        };
        Ok(Self::of_fd(fd, kind, description))
    }

    /// What sort of attachment it is.
    #[must_use]
    pub const fn kind(&self) -> LinkKind {
        self.kind
    }

    /// What is attached to, such as `tracepoint:sched/sched_switch`.
    #[must_use]
    pub fn describe(&self) -> &str {
        &self.description
    }

    /// The link's descriptor; none for what is no single link of the kernel.
    #[must_use]
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.held {
            Held::Fd(fd) => Some(fd.as_fd()),
            Held::Managed(link) => link.fd(),
            _ => None,
        }
    }

    fn fd_for(&self, op: Op) -> Result<BorrowedFd<'_>> {
        self.as_fd().ok_or_else(|| {
            let detail = match self.kind {
                LinkKind::Usdt => "static probes consist of several kernel objects",
                LinkKind::PerfEvent => "this kernel has no links for perf events (5.15 has)",
                _ => "the attachment is not a link of the kernel",
            };
            let error = Error::new(Kind::Unsupported, op, self.description.clone());
            error
                .with_detail(detail)
                .with_hint("it lives as long as its process: see `run` and `load --hold`")
        })
    }

    fn error(&self, errno: Errno, op: Op) -> Error {
        let error = Error::from_errno(errno, op, self.description.clone());
        let unable = |what: &str| format!("links of type {} cannot be {what}", self.kind.name());
        match (errno, op) {
            (Errno::INVAL | Errno::OPNOTSUPP, Op::Update) => {
                error.with_kind(Kind::Unsupported).with_detail(unable("updated"))
            }
            (Errno::OPNOTSUPP, Op::Detach) => error.with_detail(unable("detached by force")),
            (Errno::PERM, Op::Update) => {
                let detail = "another program is attached than the one that was expected";
                error.with_kind(Kind::Mismatch).with_detail(detail)
            }
            (Errno(libc::ENOLINK), _) => error.with_detail("the link was detached by force"),
            _ => error,
        }
    }

    /// What the kernel says of the link now.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for what is no single link.
    pub fn info(&self) -> Result<LinkInfo> {
        sys::info(self.fd_for(Op::Info)?).map_err(|errno| self.error(errno, Op::Info))
    }

    /// Gives the link a name on a bpf file system, which keeps it beyond this handle.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for what cannot be pinned; [`Kind::Busy`] when it is pinned already;
    /// else as for [`bpffs::pin`].
    pub fn pin(&mut self, path: &Path) -> Result<()> {
        let fd = self.fd_for(Op::Pin)?;
        if let Some(pin) = &self.pin {
            let detail = format!("the link is pinned already, at '{}'", pin.display());
            return Err(
                Error::new(Kind::Busy, Op::Pin, path.display().to_string()).with_detail(detail)
            );
        }
        bpffs::pin(fd, path)?;
        self.pin = Some(path.to_owned());
        Ok(())
    }

    /// Where the link is pinned.
    #[must_use]
    pub fn pin_path(&self) -> Option<&Path> {
        self.pin.as_deref()
    }

    /// Removes the name again; the link then lives as long as the handle.
    ///
    /// # Errors
    /// [`Kind::Empty`] when it is not pinned; else as for [`bpffs::unpin`].
    pub fn unpin(&mut self) -> Result<()> {
        let Some(pin) = &self.pin else {
            return Err(Error::new(Kind::Empty, Op::Unpin, self.description.clone())
                .with_detail("the link is not pinned"));
        };
        bpffs::unpin(pin)?;
        self.pin = None;
        Ok(())
    }

    /// Puts another program in place, in one step. With `expected` only if that one is attached.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for kinds other than xdp, tcx, cgroup, netns and iter;
    /// [`Kind::Mismatch`] when another program is attached than was expected.
    pub fn update(&mut self, new: &Program, expected: Option<&Program>) -> Result<()> {
        let fd = self.fd_for(Op::Update)?;
        sys::update(fd, new.as_fd(), expected.map(Program::as_fd))
            .map_err(|errno| self.error(errno, Op::Update))
    }

    /// Takes the hook away even while others hold the link; what they hold is then empty.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for kinds that cannot, perf events among them.
    pub fn force_detach(&self) -> Result<()> {
        sys::force_detach(self.fd_for(Op::Detach)?).map_err(|errno| self.error(errno, Op::Detach))
    }

    /// Detaches, and removes the pin when there is one.
    ///
    /// # Errors
    /// What the drop would not tell.
    pub fn detach(mut self) -> Result<()> {
        if self.pin.is_some() {
            self.unpin()?;
        }
        let released = self.held.release();
        released.map_err(|errno| self.error(errno, Op::Detach))
    }

    /// Drops the handle of a pinned link and tells where it is pinned; `None` (and the link is
    /// detached) when it is not.
    #[must_use]
    pub fn leak_pinned(mut self) -> Option<PathBuf> {
        self.pin.take()
    }

    /// Detaches many at once: each may wait 100 ms for the kernel, and they wait together.
    ///
    /// # Errors
    /// The first error; all are detached in any case.
    pub fn detach_all(links: Vec<Self>) -> Result<()> {
        let threads = links.len().min(DETACHERS_MAX);
        let mut shares: Vec<Vec<Self>> = (0..threads).map(|_| Vec::new()).collect();
        for (index, link) in links.into_iter().enumerate() {
            if let Some(share) = shares.get_mut(index % threads.max(1)) {
                share.push(link);
            }
        }
        let detach = |share: Vec<Self>| -> Vec<Error> {
            share.into_iter().filter_map(|link| link.detach().err()).collect()
        };
        let errors: Vec<Error> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                shares.into_iter().map(|share| scope.spawn(move || detach(share))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        });
        errors.into_iter().reduce(Error::with_undo).map_or(Ok(()), Err)
    }

    /// Runs an iterator once; reading gives the text it writes.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for a link of another kind.
    pub fn read_iter(&self) -> Result<impl io::Read + use<>> {
        let fd = sys::start_iterator(self.fd_for(Op::Read)?).map_err(|errno| match errno {
            Errno::INVAL => self
                .error(errno, Op::Read)
                .with_kind(Kind::Unsupported)
                .with_detail("the link is not an iterator's"),
            _ => self.error(errno, Op::Read),
        })?;
        Ok(File::from(fd))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; who wants to know calls `detach`.
        let _ = self.held.release();
    }
}
