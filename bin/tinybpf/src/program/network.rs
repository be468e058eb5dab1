// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Attaching programs of the network: interfaces, control groups, namespaces, sockets, netfilter.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::Program;
use crate::diagnosis::permission::Capability;
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
pub use crate::hook::{Direction, XdpMode};
use crate::host::{self, Host};
use crate::kinds::{AttachType, LinkType, ProgType};
use crate::link::{Held, Link, LinkKind};
use crate::map::Map;
use crate::sys::filter::{Filter, add_filter, create_clsact};
use crate::sys::link::{self as sys, Extra, Order};
use crate::sys::program::{self as sys_program, Sort};
use crate::sys::sockets;

/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2: i64 = 0x6367_7270;
/// `BPF_F_REPLACE`, `BPF_F_BEFORE`, `BPF_F_AFTER`, `BPF_F_LINK`.
const BEFORE: u32 = libbpf_sys::BPF_F_BEFORE;
const AFTER: u32 = libbpf_sys::BPF_F_AFTER;

/// A network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfaceRef<'a> {
    /// By name.
    Name(&'a str),
    /// By index.
    Index(u32),
}

impl IfaceRef<'_> {
    /// The interface's index.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for an unknown one.
    pub fn index(self) -> Result<u32> {
        let missing = |name: String, detail: String| {
            Err(Error::new(Kind::NotFound, Op::Find, name).with_detail(detail))
        };
        match self {
            Self::Index(index) if interface_name(index).is_some() => Ok(index),
            Self::Index(index) => {
                missing(index.to_string(), format!("no interface with index {index}"))
            }
            Self::Name(name) => match interface_index(name) {
                Some(index) => Ok(index),
                None => missing(name.to_owned(), format!("no interface '{name}'")),
            },
        }
    }
}

fn with_socket<T>(ask: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<T>) -> Option<T> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).ok()?;
    ask(socket.as_fd()).ok()
}

fn interface_name(index: u32) -> Option<String> {
    with_socket(|socket| rustix::net::netdevice::index_to_name(socket, index))
}

fn interface_index(name: &str) -> Option<u32> {
    with_socket(|socket| rustix::net::netdevice::name_to_index(socket, name))
}

/// What a new program stands beside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beside {
    /// At the end.
    #[default]
    Nothing,
    /// Before the program with this id.
    Before(u32),
    /// After the program with this id.
    After(u32),
    /// Before the link with this id.
    BeforeLink(u32),
    /// After the link with this id.
    AfterLink(u32),
}

impl Beside {
    fn order(self) -> Order {
        let link = libbpf_sys::BPF_F_LINK;
        let (flags, relative_id) = match self {
            Self::Nothing => (0, 0),
            Self::Before(id) => (BEFORE, id),
            Self::After(id) => (AFTER, id),
            Self::BeforeLink(id) => (BEFORE | link, id),
            Self::AfterLink(id) => (AFTER | link, id),
        };
        Order { flags, relative_id, revision: 0 }
    }
}

const fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// A control group.
#[derive(Clone, Copy, Debug)]
pub enum CgroupRef<'a> {
    /// By path: absolute, or from the root of the groups.
    Path(&'a Path),
    /// By descriptor of its directory.
    Fd(BorrowedFd<'a>),
}

impl<'a> From<&'a Path> for CgroupRef<'a> {
    fn from(path: &'a Path) -> Self {
        Self::Path(path)
    }
}

impl<'a> From<BorrowedFd<'a>> for CgroupRef<'a> {
    fn from(fd: BorrowedFd<'a>) -> Self {
        Self::Fd(fd)
    }
}

/// How a program stands in a control group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupOpts {
    /// What it stands beside (6.17); else it comes last.
    pub beside: Beside,
    /// It runs alone, in place of those of groups above, until a group below has another in its
    /// place. Such an attachment is no link of the kernel's; it ends with the handle.
    pub is_alone: bool,
}

/// Opens a control group, if it is one of the unified hierarchy.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::Mismatch`] for a directory elsewhere.
pub fn open_cgroup(path: &Path) -> Result<OwnedFd> {
    let error = |kind, path: &Path| Error::new(kind, Op::Open, path.display().to_string());
    let direct = Some(path.to_owned()).filter(|path| path.is_absolute() && path.exists());
    let below = || -> Option<PathBuf> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        Some(Host::system().cgroup2()?.join(relative)).filter(|path| path.exists())
    };
    // `/user.slice/x` is a group, not a directory of the root.
    let is_group = |path: &PathBuf| host::file_system(path) == Some(CGROUP2);
    let found = match direct.clone().filter(is_group).or_else(below) {
        Some(found) => found,
        None if direct.is_some() => {
            return Err(error(Kind::Mismatch, path)
                .with_detail("the directory is not a control group of version 2"));
        }
        None => {
            return Err(error(Kind::NotFound, path)
                .with_errno(Errno::NOENT)
                .with_detail("there is no such control group"));
        }
    };
    let opened = File::open(&found).map_err(|failed| {
        let errno = Errno(failed.raw_os_error().unwrap_or(libc::EIO));
        Error::from_errno(errno, Op::Open, found.display().to_string())
    })?;
    Ok(OwnedFd::from(opened))
}

/// A network namespace.
#[derive(Clone, Copy, Debug)]
pub enum NetnsRef<'a> {
    /// That of this thread.
    Own,
    /// One with a name in the file system.
    Path(&'a Path),
}

/// Where a netfilter program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetfilterOpts {
    /// The protocol family: 2 for IPv4, 10 for IPv6.
    pub family: u32,
    /// `NF_INET_PRE_ROUTING` (0) to `NF_INET_POST_ROUTING` (4).
    pub hook: u32,
    /// Among others; -2147483648 and 2147483647 are not allowed.
    pub priority: i32,
    /// Put fragments together first.
    pub defragment: bool,
}

impl Program {
    fn create(
        &self,
        target: i32,
        kind: (AttachType, LinkType),
        extra: Extra<'_>,
        hook: String,
    ) -> Result<Link> {
        let (attach_type, kind) = kind;
        let fd = sys::create(self.as_fd(), target, attach_type.0, extra)
            .map_err(|errno| self.network_error(errno, &hook))?;
        Ok(Link::of_fd(fd, kind, hook))
    }

    fn network_error(&self, errno: Errno, hook: &str) -> Error {
        let error = self.attach_error(errno, hook);
        match errno {
            Errno::EXIST => error.with_detail(format!("{hook}: the program is attached there")),
            Errno::INVAL | Errno::OPNOTSUPP => error.with_kind(Kind::Unsupported).with_detail(
                format!("{hook}: not possible here for a program of type {}", self.prog_type()),
            ),
            _ => error,
        }
    }

    /// Attaches to an interface's receive path.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for an unknown interface, [`Kind::Busy`] with the program that is there,
    /// [`Kind::Unsupported`] for a mode that the driver does not have.
    pub fn attach_xdp(&self, interface: IfaceRef<'_>, mode: XdpMode) -> Result<Link> {
        let (target, name) = target_of(interface)?;
        let (flags, word) = match mode {
            XdpMode::Auto => (0, "auto"),
            XdpMode::Skb => (libbpf_sys::XDP_FLAGS_SKB_MODE, "skb"),
            XdpMode::Native => (libbpf_sys::XDP_FLAGS_DRV_MODE, "native"),
            XdpMode::Hw => (libbpf_sys::XDP_FLAGS_HW_MODE, "hw"),
        };
        let hook = format!("xdp:{name},mode={word}");
        let kind = (AttachType::XDP, LinkType::XDP);
        self.create(target, kind, Extra::Flags(flags), hook.clone()).map_err(|error| {
            match error.errno() {
                Some(Errno::BUSY) => {
                    let present = present_xdp(target);
                    error.with_detail(format!("{hook}: {present} is there already"))
                }
                Some(Errno::OPNOTSUPP | Errno::INVAL) if mode != XdpMode::Auto => {
                    error.with_detail(format!("{hook}: the driver does not have this mode"))
                }
                _ => error,
            }
        })
    }

    /// Attaches to an interface's packets (6.6).
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Unsupported`] for older kernels, where
    /// [`Program::attach_tc`] does it.
    pub fn attach_tcx(
        &self,
        interface: IfaceRef<'_>,
        direction: Direction,
        beside: Beside,
    ) -> Result<Link> {
        let (target, name) = target_of(interface)?;
        let attach_type = match direction {
            Direction::Ingress => AttachType::TCX_INGRESS,
            Direction::Egress => AttachType::TCX_EGRESS,
        };
        let hook = format!("tcx:{name}/{}", word(direction));
        let extra = Extra::Order(beside.order());
        self.create(target, (attach_type, LinkType::TCX), extra, hook).map_err(|error| {
            if error.errno() == Some(Errno::INVAL) && Host::system().kernel() < (6, 6) {
                return error
                    .with_detail("this kernel has no tcx (6.6 has)")
                    .with_hint("use the hook tc:IF/ingress");
            }
            error
        })
    }

    /// Attaches to a netkit device (6.7), at its near (`primary`) or far side.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Unsupported`] for other devices and older kernels.
    pub fn attach_netkit(
        &self,
        interface: IfaceRef<'_>,
        primary: bool,
        beside: Beside,
    ) -> Result<Link> {
        let (target, name) = target_of(interface)?;
        let (attach_type, side) = if primary {
            (AttachType::NETKIT_PRIMARY, "primary")
        } else {
            (AttachType::NETKIT_PEER, "peer")
        };
        let hook = format!("netkit:{name}/{side}");
        let extra = Extra::Order(beside.order());
        self.create(target, (attach_type, LinkType::NETKIT), extra, hook)
    }

    /// Adds a classic filter of traffic control, on any kernel. Priority and handle 0 let the
    /// kernel choose. The queueing discipline that filters need is made when it is missing; then it
    /// goes with the filter, unless others use it by that time.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Exists`] for a handle and priority that are taken.
    pub fn attach_tc(
        &self,
        interface: IfaceRef<'_>,
        direction: Direction,
        priority: u32,
        handle: u32,
    ) -> Result<Link> {
        let (ifindex, name) = target_of(interface)?;
        let hook = format!("tc:{name}/{}", word(direction));
        let made = create_clsact(ifindex).map_err(|errno| self.network_error(errno, &hook))?;
        let wanted = Filter { ifindex, egress: direction == Direction::Egress, handle, priority };
        let filter = add_filter(self.as_fd(), wanted, false)
            .map_err(|errno| self.network_error(errno, &hook))?;
        Ok(Link::new(Held::Filter(filter, made), LinkKind::Filter, hook))
    }

    /// Attaches to a control group of the unified hierarchy.
    ///
    /// # Errors
    /// As for [`open_cgroup`]; [`Kind::Unsupported`] for a program of another type.
    pub fn attach_cgroup<'c>(
        &self,
        cgroup: impl Into<CgroupRef<'c>>,
        options: CgroupOpts,
    ) -> Result<Link> {
        let opened;
        let (fd, name) = match cgroup.into() {
            CgroupRef::Path(path) => {
                opened = open_cgroup(path)?;
                (opened.as_fd(), path.display().to_string())
            }
            CgroupRef::Fd(fd) => (fd, format!("fd {}", fd.as_raw_fd())),
        };
        let hook = format!("cgroup:{name}");
        let extra = match options.beside {
            Beside::Nothing => Extra::None,
            beside => Extra::Order(beside.order()),
        };
        let mut refused = None;
        for attach_type in self.cgroup_attach_types() {
            let kind = (attach_type, LinkType::CGROUP);
            let made = if options.is_alone {
                self.attach_alone(fd, attach_type, &hook)
            } else {
                self.create(fd.as_raw_fd(), kind, extra, hook.clone())
            };
            match made {
                // The kernel knows what the program was loaded for, and refuses all others.
                Err(error) if error.errno() == Some(Errno::INVAL) => refused = Some(error),
                Err(error) if error.errno() == Some(Errno::BADF) => {
                    let detail = format!("{hook}: not a control group of version 2");
                    return Err(error.with_kind(Kind::Mismatch).with_detail(detail));
                }
                done => return done,
            }
        }
        Err(refused.unwrap_or_else(|| self.network_error(Errno::INVAL, &hook)))
    }

    /// Attaches to a control group without a link, where a group below may have another program.
    fn attach_alone(
        &self,
        group: BorrowedFd<'_>,
        attach_type: AttachType,
        hook: &str,
    ) -> Result<Link> {
        sys::attach(self.as_fd(), group, attach_type.0, libbpf_sys::BPF_F_ALLOW_OVERRIDE).map_err(
            |errno| {
                let error = self.network_error(errno, hook);
                let capabilities = Host::system().facts(false).capabilities;
                if errno != Errno::PERM || !capabilities.has(Capability::NET_ADMIN) {
                    return error;
                }
                let detail = format!("{hook}: others are attached that run beside each other");
                error.with_kind(Kind::Busy).with_detail(detail).with_hint("leave 'override' away")
            },
        )?;
        self.direct(group, attach_type, hook)
    }

    /// The handle of what was attached without a link.
    fn direct(&self, target: BorrowedFd<'_>, attach_type: AttachType, hook: &str) -> Result<Link> {
        let copy = |fd: BorrowedFd<'_>| {
            fd.try_clone_to_owned().map_err(|failed| {
                self.network_error(Errno(failed.raw_os_error().unwrap_or(libc::EIO)), hook)
            })
        };
        let (program, target) = (copy(self.as_fd())?, copy(target)?);
        let held = Held::Direct { program, target, attach_type: attach_type.0 };
        Ok(Link::new(held, LinkKind::Direct, hook.to_owned()))
    }

    /// The attach types to try: the program's own; for one without its object all of its type.
    fn cgroup_attach_types(&self) -> Vec<AttachType> {
        match (self.attach_type(), self.prog_type()) {
            (Some(attach_type), ProgType::CGROUP_SOCK) if attach_type == AttachType::default() => {
                vec![AttachType::CGROUP_INET_SOCK_CREATE]
            }
            (Some(attach_type), _) => vec![attach_type],
            (None, kind) => {
                let prefix = match kind {
                    ProgType::CGROUP_SKB => &["cgroup_inet_ingress", "cgroup_inet_egress"][..],
                    ProgType::CGROUP_SOCK => {
                        &["cgroup_inet_sock_", "cgroup_inet4_post", "cgroup_inet6_post"]
                    }
                    ProgType::CGROUP_SOCK_ADDR => {
                        &["cgroup_inet4_", "cgroup_inet6_", "cgroup_udp", "cgroup_unix"]
                    }
                    ProgType::CGROUP_SOCKOPT => &["cgroup_getsockopt", "cgroup_setsockopt"],
                    ProgType::CGROUP_DEVICE => &["cgroup_device"],
                    ProgType::CGROUP_SYSCTL => &["cgroup_sysctl"],
                    ProgType::SOCK_OPS => &["cgroup_sock_ops"],
                    ProgType::LSM => &["lsm_cgroup"],
                    _ => &[],
                };
                let named = |attach_type: &AttachType| {
                    let name = attach_type.name().unwrap_or_default();
                    prefix.iter().any(|prefix| name.starts_with(prefix))
                };
                AttachType::ALL.iter().copied().filter(named).collect()
            }
        }
    }

    /// Attaches to a network namespace: `sk_lookup` and flow dissector programs.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Unsupported`] for other types.
    pub fn attach_netns(&self, namespace: NetnsRef<'_>) -> Result<Link> {
        let (path, hook) = match namespace {
            NetnsRef::Own => (Path::new("/proc/thread-self/ns/net"), "netns:self".to_owned()),
            NetnsRef::Path(path) => (path, format!("netns:{}", path.display())),
        };
        let file = File::open(path).map_err(|failed| {
            let errno = Errno(failed.raw_os_error().unwrap_or(libc::EIO));
            self.attach_error(errno, &hook)
        })?;
        let attach_type = match self.prog_type() {
            ProgType::SK_LOOKUP => AttachType::SK_LOOKUP,
            _ => AttachType::FLOW_DISSECTOR,
        };
        self.create(file.as_raw_fd(), (attach_type, LinkType::NETNS), Extra::None, hook)
    }

    /// Has a socket ask the program: which packets it gets (socket filters), or which socket of its
    /// group gets them (`sk_reuseport`). No link is made: the socket keeps the program until it is
    /// closed or is given another one.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for programs of another type and for sockets that cannot.
    pub fn attach_socket(&self, socket: BorrowedFd<'_>) -> Result<()> {
        let made = match self.prog_type() {
            ProgType::SOCKET_FILTER => sockets::attach(socket, self.as_fd(), libc::SO_ATTACH_BPF),
            ProgType::SK_REUSEPORT => {
                sockets::attach(socket, self.as_fd(), libc::SO_ATTACH_REUSEPORT_EBPF)
            }
            _ => Err(Errno::OPNOTSUPP),
        };
        made.map_err(|errno| {
            let error = self.attach_error(errno, "socket");
            match errno {
                Errno::INVAL => error
                    .with_kind(Kind::Unsupported)
                    .with_detail(format!("no socket for programs of type {}", self.prog_type())),
                _ => error,
            }
        })
    }

    /// Attaches to the sockets of a map (`sk_msg`, `sk_skb`); with a link where the kernel has one
    /// (6.10).
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for a map or program of another type.
    pub fn attach_sockmap(&self, map: &Map) -> Result<Link> {
        let hook = format!("sockmap:{}", map.name());
        let attach_type = match (self.attach_type(), self.prog_type()) {
            (Some(own), _) if own != AttachType::default() => own,
            (_, ProgType::SK_MSG) => AttachType::SK_MSG_VERDICT,
            _ => AttachType::SK_SKB_VERDICT,
        };
        let target = map.as_fd();
        let made = sys::create(self.as_fd(), target.as_raw_fd(), attach_type.0, Extra::None);
        let error = |errno| self.network_error(errno, &hook);
        match made {
            Ok(fd) => Ok(Link::of_fd(fd, LinkType::SOCKMAP, hook)),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                sys::attach(self.as_fd(), target, attach_type.0, 0).map_err(error)?;
                self.direct(target, attach_type, &hook)
            }
            Err(errno) => Err(error(errno)),
        }
    }

    /// Attaches to a hook of netfilter (6.4).
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for older kernels and programs of another type.
    pub fn attach_netfilter(&self, options: NetfilterOpts) -> Result<Link> {
        let NetfilterOpts { family, hook, priority, defragment } = options;
        let version = if family == 10 { 6 } else { 4 };
        let text = format!("netfilter:{version}/{hook}/{priority}");
        let flags = if defragment { libbpf_sys::BPF_F_NETFILTER_IP_DEFRAG } else { 0 };
        let extra = Extra::Netfilter { family, hook, priority, flags };
        self.create(0, (AttachType::NETFILTER, LinkType::NETFILTER), extra, text)
    }
}

/// An interface as the kernel wants it, and as people do.
fn target_of(interface: IfaceRef<'_>) -> Result<(i32, String)> {
    let index = interface.index()?;
    let name = interface_name(index).unwrap_or_else(|| index.to_string());
    Ok((i32::try_from(index).unwrap_or(i32::MAX), name))
}

/// `program 'x' (id 7)`, which occupies an interface.
fn present_xdp(ifindex: i32) -> String {
    let id = sys::query_xdp(ifindex).unwrap_or(0);
    let info = sys_program::open_id(Sort::Program, id).and_then(|fd| sys_program::info(fd.as_fd()));
    match info {
        Ok(info) => format!("program '{}' (id {id})", info.name),
        Err(_) if id != 0 => format!("program {id}"),
        Err(_) => "another program".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_resolved_before_anything_is_tried() {
        assert_eq!(IfaceRef::Name("lo").index().expect("lo"), 1);
        assert_eq!(IfaceRef::Index(1).index().expect("lo"), 1);
        let error = IfaceRef::Name("no-such-if").index().expect_err("unknown");
        assert_eq!(error.kind(), Kind::NotFound);
        let error = IfaceRef::Index(999_999).index().expect_err("unknown");
        assert!(error.to_string().contains("no interface with index 999999"), "{error}");
    }

    #[test]
    fn directories_elsewhere_are_no_control_groups() {
        let error = open_cgroup(Path::new("/tmp")).expect_err("not a group");
        assert_eq!(error.kind(), Kind::Mismatch);
        let error = open_cgroup(Path::new("/no/such/group")).expect_err("missing");
        assert_eq!(error.kind(), Kind::NotFound);
    }

    #[test]
    fn neighbours_become_flags() {
        assert_eq!(Beside::Nothing.order().relative_id, 0);
        let order = Beside::AfterLink(7).order();
        assert_eq!((order.flags, order.relative_id), (AFTER | libbpf_sys::BPF_F_LINK, 7));
    }
}
