// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Attachments: links by descriptor, and those from before links.
//!
//! Most links are made by bpf(2) directly, so that every one is a plain descriptor and works for
//! programs that came from a pin too. What libbpf does better (USDT, patterns of many functions,
//! probes through tracefs, struct operations) is in [`super::managed`].
#![allow(unsafe_code, reason = "bpf(2) takes structures and unions")]

use std::ffi::{CStr, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use libbpf_sys as ffi;

use super::program::name_of;
use super::{check, owned, size_field, size_word};
use crate::errno::Errno;

/// Where a new program stands among those that are attached already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Order {
    /// `BPF_F_BEFORE` and its like.
    pub flags: u32,
    /// The id of the program or link it stands beside; 0 for none.
    pub relative_id: u32,
    /// The generation of the list that is expected; 0 for any.
    pub revision: u64,
}

/// What an iterator walks.
#[derive(Clone, Copy, Debug)]
pub enum Walk<'a> {
    /// Everything.
    All,
    /// A map's elements.
    Map(BorrowedFd<'a>),
    /// A control group, in an order of `enum bpf_cgroup_iter_order`.
    Cgroup(BorrowedFd<'a>, u32),
    /// One thread or all of a process, 0 for any.
    Task {
        /// The thread.
        tid: u32,
        /// The process.
        pid: u32,
    },
}

/// What a link is made of, beyond program, target and attach type.
#[derive(Clone, Copy, Debug)]
pub enum Extra<'a> {
    /// Nothing.
    None,
    /// Flags of the kind, such as the mode of XDP.
    Flags(u32),
    /// A number that the program reads: of a perf event.
    PerfCookie(u64),
    /// The same, of a traced function, with its type's id when it is another program's.
    Tracing(u64, u32),
    /// A place among others: tcx, netkit, control groups.
    Order(Order),
    /// Protocol family, hook and priority.
    Netfilter {
        /// The protocol family.
        family: u32,
        /// The hook's number.
        hook: u32,
        /// The priority.
        priority: i32,
        /// Flags.
        flags: u32,
    },
    /// What an iterator walks.
    Iterator(Walk<'a>),
}

/// Attaches `program` to `target`, which is a descriptor, an interface or nothing.
///
/// # Errors
/// The kernel's number.
pub fn create(
    program: BorrowedFd<'_>,
    target: i32,
    attach_type: u32,
    extra: Extra<'_>,
) -> Result<OwnedFd, Errno> {
    let mut options = ffi::bpf_link_create_opts {
        sz: size_field::<ffi::bpf_link_create_opts>(),
        ..Default::default()
    };
    let mut walk = ffi::bpf_iter_link_info::default();
    match extra {
        Extra::None => {}
        Extra::Flags(flags) => options.flags = flags,
        Extra::PerfCookie(cookie) => options.__bindgen_anon_1.perf_event.bpf_cookie = cookie,
        Extra::Tracing(cookie, function) => {
            options.target_btf_id = function;
            options.__bindgen_anon_1.tracing.cookie = cookie;
        }
        Extra::Order(order) => place(&mut options, attach_type, order),
        Extra::Netfilter { family, hook, priority, flags } => {
            options.__bindgen_anon_1.netfilter =
                ffi::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_5 {
                    pf: family,
                    hooknum: hook,
                    priority,
                    flags,
                };
        }
        Extra::Iterator(Walk::All) => {}
        Extra::Iterator(of) => {
            walk_of(&mut walk, of);
            options.iter_info = &raw mut walk;
            options.iter_info_len = size_word::<ffi::bpf_iter_link_info>();
        }
    }
    // SAFETY: the options live throughout the call, and so does what they point to.
    owned(unsafe {
        ffi::bpf_link_create(program.as_raw_fd(), target, attach_type, &raw const options)
    })
}

/// The three kinds that know an order have it at different places of the union.
fn place(options: &mut ffi::bpf_link_create_opts, attach_type: u32, order: Order) {
    let (relative_fd, relative_id) = (0, order.relative_id);
    // BPF_F_ID: `relative_id` holds an identifier and not a descriptor.
    options.flags = order.flags | if relative_id == 0 { 0 } else { ffi::BPF_F_ID };
    let expected_revision = order.revision;
    match attach_type {
        ffi::BPF_TCX_INGRESS | ffi::BPF_TCX_EGRESS => {
            options.__bindgen_anon_1.tcx = ffi::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_6 {
                relative_fd,
                relative_id,
                expected_revision,
            };
        }
        ffi::BPF_NETKIT_PRIMARY | ffi::BPF_NETKIT_PEER => {
            options.__bindgen_anon_1.netkit =
                ffi::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_7 {
                    relative_fd,
                    relative_id,
                    expected_revision,
                };
        }
        _ => {
            options.__bindgen_anon_1.cgroup =
                ffi::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_8 {
                    relative_fd,
                    relative_id,
                    expected_revision,
                };
        }
    }
}

fn walk_of(walk: &mut ffi::bpf_iter_link_info, of: Walk<'_>) {
    match of {
        Walk::All => {}
        Walk::Map(fd) => walk.map.map_fd = fd.as_raw_fd().unsigned_abs(),
        Walk::Cgroup(fd, order) => {
            walk.cgroup.order = order;
            walk.cgroup.cgroup_fd = fd.as_raw_fd().unsigned_abs();
        }
        Walk::Task { tid, pid } => {
            walk.task.tid = tid;
            walk.task.pid = pid;
        }
    }
}

/// Attaches to a raw tracepoint; without a name, to what the program was loaded for.
///
/// # Errors
/// The kernel's number.
pub fn open_raw_tracepoint(
    program: BorrowedFd<'_>,
    name: Option<&CStr>,
    cookie: u64,
) -> Result<OwnedFd, Errno> {
    let mut options = ffi::bpf_raw_tp_opts {
        sz: size_field::<ffi::bpf_raw_tp_opts>(),
        tp_name: name.map_or(ptr::null(), CStr::as_ptr),
        cookie,
    };
    // SAFETY: name and options live throughout the call.
    owned(unsafe { ffi::bpf_raw_tracepoint_open_opts(program.as_raw_fd(), &raw mut options) })
}

/// Puts another program (or, for struct operations, map) in place of a link's.
///
/// # Errors
/// The kernel's number.
pub fn update(
    link: BorrowedFd<'_>,
    new: BorrowedFd<'_>,
    old: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let options = ffi::bpf_link_update_opts {
        sz: size_field::<ffi::bpf_link_update_opts>(),
        flags: if old.is_some() { ffi::BPF_F_REPLACE } else { 0 },
        old_prog_fd: old.map_or(0, |fd| fd.as_raw_fd().unsigned_abs()),
        ..Default::default()
    };
    // SAFETY: the options live throughout the call.
    check(unsafe { ffi::bpf_link_update(link.as_raw_fd(), new.as_raw_fd(), &raw const options) })
}

/// Takes the hook away, whoever else holds the link.
///
/// # Errors
/// `EOPNOTSUPP` for kinds that cannot.
pub fn force_detach(link: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes a number.
    check(unsafe { ffi::bpf_link_detach(link.as_raw_fd()) })
}

/// Starts one walk of an iterator; the descriptor gives its text.
///
/// # Errors
/// The kernel's number.
pub fn start_iterator(link: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: takes a number.
    owned(unsafe { ffi::bpf_iter_create(link.as_raw_fd()) })
}

/// Makes a link to functions of the root directory, which is no program: a kernel that has links of
/// many user functions answers `EBADF`.
///
/// # Errors
/// The kernel's number, always.
pub fn try_uprobe_multi(program: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let offset = 0;
    let mut options = ffi::bpf_link_create_opts {
        sz: size_field::<ffi::bpf_link_create_opts>(),
        ..Default::default()
    };
    options.__bindgen_anon_1.uprobe_multi = ffi::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_3 {
        path: c"/".as_ptr(),
        offsets: &raw const offset,
        cnt: 1,
        ..Default::default()
    };
    let kind = ffi::BPF_TRACE_UPROBE_MULTI;
    // SAFETY: the options live throughout the call, and so does what they point to.
    owned(unsafe { ffi::bpf_link_create(program.as_raw_fd(), -1, kind, &raw const options) })
}

/// What the kernel says of a link, where it says it for every kind, and for the common ones more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The number of the kind.
    pub kind: u32,
    /// Its identifier, unique while it lives.
    pub id: u32,
    /// The program's identifier; 0 for struct operations.
    pub program: u32,
    /// The attach type, where the kind has several.
    pub attach_type: Option<u32>,
    /// The interface, for XDP, tcx and netkit.
    pub ifindex: Option<u32>,
    /// The control group's identifier.
    pub cgroup: Option<u64>,
    /// The inode of the network namespace.
    pub netns: Option<u32>,
    /// The raw tracepoint, the iterator's subject or the probed function.
    pub target: Option<String>,
}

/// What the kernel says of the link behind `fd`.
///
/// # Errors
/// The kernel's number.
pub fn info(fd: BorrowedFd<'_>) -> Result<Info, Errno> {
    let mut name = [0 as c_char; 128];
    let mut raw = ffi::bpf_link_info::default();
    raw_info(fd, &mut raw)?;
    let kind = raw.type_;
    let named = matches!(
        kind,
        ffi::BPF_LINK_TYPE_RAW_TRACEPOINT | ffi::BPF_LINK_TYPE_ITER | ffi::BPF_LINK_TYPE_PERF_EVENT
    );
    if named {
        let perf_type = if kind == ffi::BPF_LINK_TYPE_PERF_EVENT {
            // SAFETY: every bit pattern is a number, and the kind says which member it is.
            unsafe { raw.__bindgen_anon_1.perf_event }.type_
        } else {
            0
        };
        raw = ffi::bpf_link_info::default();
        name_buffer(&mut raw, kind, perf_type, &mut name);
        raw_info(fd, &mut raw)?;
    }
    let mut info = Info { kind, id: raw.id, program: raw.prog_id, ..Info::default() };
    if named && name[0] != 0 {
        info.target = Some(name_of(&name));
    }
    details(&mut info, &raw);
    Ok(info)
}

fn raw_info(fd: BorrowedFd<'_>, raw: &mut ffi::bpf_link_info) -> Result<(), Errno> {
    let mut size = size_word::<ffi::bpf_link_info>();
    // SAFETY: the kernel writes at most `size` bytes of plain numbers, and a name where the
    // structure points, of which it was told the room.
    check(unsafe {
        ffi::bpf_obj_get_info_by_fd(fd.as_raw_fd(), ptr::from_mut(raw).cast(), &raw mut size)
    })
}

/// Tells the kernel where to write the name; each kind has that at another place of the union.
fn name_buffer(raw: &mut ffi::bpf_link_info, kind: u32, perf: u32, name: &mut [c_char; 128]) {
    let address = name.as_mut_ptr().expose_provenance() as u64;
    let room = size_word::<[c_char; 128]>();
    let union = &mut raw.__bindgen_anon_1;
    match kind {
        ffi::BPF_LINK_TYPE_RAW_TRACEPOINT => {
            union.raw_tracepoint.tp_name = address;
            union.raw_tracepoint.tp_name_len = room;
        }
        ffi::BPF_LINK_TYPE_ITER => {
            union.iter.target_name = address;
            union.iter.target_name_len = room;
        }
        _ => {
            // Name and room lie at the same places for tracepoints, kprobes and uprobes.
            if !matches!(perf, ffi::BPF_PERF_EVENT_UNSPEC | ffi::BPF_PERF_EVENT_EVENT) {
                union.perf_event.__bindgen_anon_1.tracepoint.tp_name = address;
                union.perf_event.__bindgen_anon_1.tracepoint.name_len = room;
            }
        }
    }
}

fn details(info: &mut Info, raw: &ffi::bpf_link_info) {
    let union = &raw.__bindgen_anon_1;
    match info.kind {
        ffi::BPF_LINK_TYPE_TRACING => {
            // SAFETY: every bit pattern is a number; the kind says which member it is. So below.
            info.attach_type = Some(unsafe { union.tracing }.attach_type);
        }
        ffi::BPF_LINK_TYPE_CGROUP => {
            // SAFETY: as above.
            let cgroup = unsafe { union.cgroup };
            info.attach_type = Some(cgroup.attach_type);
            info.cgroup = Some(cgroup.cgroup_id);
        }
        ffi::BPF_LINK_TYPE_NETNS => {
            // SAFETY: as above.
            let netns = unsafe { union.netns };
            info.attach_type = Some(netns.attach_type);
            info.netns = Some(netns.netns_ino);
        }
        // SAFETY: as above.
        ffi::BPF_LINK_TYPE_XDP => info.ifindex = Some(unsafe { union.xdp }.ifindex),
        ffi::BPF_LINK_TYPE_TCX => {
            // SAFETY: as above.
            let tcx = unsafe { union.tcx };
            info.attach_type = Some(tcx.attach_type);
            info.ifindex = Some(tcx.ifindex);
        }
        ffi::BPF_LINK_TYPE_NETKIT => {
            // SAFETY: as above.
            let netkit = unsafe { union.netkit };
            info.attach_type = Some(netkit.attach_type);
            info.ifindex = Some(netkit.ifindex);
        }
        _ => {}
    }
}

/// Attaches without a link, as old kernels do: the attachment ends with `detach`.
///
/// # Errors
/// The kernel's number.
pub fn attach(
    program: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    attach_type: u32,
    flags: u32,
) -> Result<(), Errno> {
    // SAFETY: takes numbers.
    check(unsafe {
        ffi::bpf_prog_attach(program.as_raw_fd(), target.as_raw_fd(), attach_type, flags)
    })
}

/// Ends what [`attach`] began.
///
/// # Errors
/// The kernel's number.
pub fn detach(
    program: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    attach_type: u32,
) -> Result<(), Errno> {
    // SAFETY: takes numbers.
    check(unsafe { ffi::bpf_prog_detach2(program.as_raw_fd(), target.as_raw_fd(), attach_type) })
}

/// The identifiers of the programs attached to a target, in order; at most 64.
///
/// # Errors
/// The kernel's number.
pub fn query(target: i32, attach_type: u32) -> Result<Vec<u32>, Errno> {
    let mut ids = [0_u32; 64];
    let mut options = ffi::bpf_prog_query_opts {
        sz: size_field::<ffi::bpf_prog_query_opts>(),
        prog_ids: ids.as_mut_ptr(),
        ..Default::default()
    };
    options.__bindgen_anon_1.count = 64;
    // SAFETY: the kernel writes at most as many ids as it was told.
    check(unsafe { ffi::bpf_prog_query_opts(target, attach_type, &raw mut options) })?;
    // SAFETY: both members of the union are the same number.
    let count = unsafe { options.__bindgen_anon_1.count } as usize;
    Ok(ids.into_iter().take(count).collect())
}

/// The XDP program on an interface: its identifier, 0 for none.
///
/// # Errors
/// libbpf's number.
pub fn query_xdp(ifindex: i32) -> Result<u32, Errno> {
    let mut id = 0;
    // SAFETY: libbpf writes one number.
    check(unsafe { ffi::bpf_xdp_query_id(ifindex, 0, &raw mut id) })?;
    Ok(id)
}
