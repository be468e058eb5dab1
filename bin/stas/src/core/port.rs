// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The border between the cores and the shell: everything a core may be told, and may ask for.
//!
//! Both daemons' cores are machines of the same shape: [`Input`]s go in one at a time with the
//! current [`Time`], [`Action`]s come out, and `next_wake` says when to come back with
//! [`Input::Wake`]. Nothing here performs anything. Every operation that the shell carries out in
//! the background bears an [`OpId`]; its completion may arrive at any time, late, and in any order,
//! but at most once.
//!
//! [`Time`]: plinth::time::Time

use std::net::IpAddr;
use std::time::Duration;

use super::cid::Device;
use super::fabrics::Support;
use super::identity::Identity;
use super::iface::Interfaces;
use super::settings::Settings;
use super::tid::{Fields, Tid};

/// Names one background operation. Never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// Names one kernel controller, safely against the reuse of its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    /// The kernel's name, such as `nvme3`.
    pub name: String,
    /// Distinguishes successive devices of one name (the inode of the sysfs directory).
    pub instance: u64,
}

/// What the files say: the value that a start or a reload hands to a core, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// The daemon's own file, with its drop-ins.
    pub settings: Settings,
    /// The host's names, from `sys.conf` and the files it points to.
    pub identity: Identity,
    /// What the kernel's `/dev/nvme-fabrics` understands.
    pub support: Support,
    /// The command line asks for tracing.
    pub tron: bool,
    /// Where the state file is kept; shown to users only.
    pub state_file: String,
}

/// A look at the kernel: its NVMe controllers and its network interfaces, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    /// All controllers in `/sys/class/nvme`, of every transport, ordered by number.
    pub devices: Vec<Device>,
    /// All interfaces with their addresses, in the kernel's order.
    pub interfaces: Interfaces,
}

/// What happened to one NVMe controller, as told by a uevent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceEvent {
    /// The controller was created; its attributes may still be incomplete.
    Added {
        /// The kernel's name, such as `nvme3`.
        name: String,
    },
    /// The controller is gone. `instance` is unknown here: the directory no longer exists.
    Removed {
        /// The kernel's name, such as `nvme3`.
        name: String,
    },
    /// An asynchronous event notification (`NVME_AEN`), as sent by the controller.
    Aen {
        /// The controller it came from.
        name: String,
        /// Dword 0 of the completion: log page, information and type.
        aen: u32,
    },
    /// `NVME_EVENT=connected`: the controller is live, for the first time or again.
    Connected {
        /// The kernel's name.
        name: String,
    },
    /// `NVME_EVENT=rediscover`: a discovery controller came back, its log may have changed.
    Rediscover {
        /// The kernel's name.
        name: String,
    },
}

/// What stacd hears of stafd, over the bus or over the control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StafdEvent {
    /// stafd can be asked now.
    Appeared,
    /// stafd cannot be asked any more.
    Vanished,
    /// A log page was fetched (`log_pages_changed`).
    LogPagesChanged,
    /// A discovery controller was dropped (`dc_removed`).
    DcRemoved,
    /// The answer to [`Action::QueryStafd`]: the text of `get_all_log_pages(true)`, or why there is
    /// none.
    Answer {
        /// The question.
        op: OpId,
        /// JSON text as received (not yet trusted), or a sentence that says what failed.
        result: Result<String, String>,
    },
}

/// Why the kernel did not create a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// `write(2)` to `/dev/nvme-fabrics`, or opening it, ended with this errno.
    Errno(i32),
    /// The kernel's answer made no sense.
    Reply(String),
    /// The kernel answered, but the device was gone before it could be looked at.
    Vanished(String),
}

/// Why an admin command brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminError {
    /// The controller answered with this NVMe status (status code type and status code).
    Status(u16),
    /// The ioctl ended with this errno.
    Errno(i32),
}

/// An admin command, sent through `NVME_IOCTL_ADMIN_CMD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminCommand {
    /// Get Log Page (opcode 02h).
    GetLog {
        /// Log page identifier.
        lid: u8,
        /// Log specific field (cdw10 bits 14:8).
        lsp: u8,
        /// Retain asynchronous event: when clear, the read re-arms the notification.
        rae: bool,
        /// Byte offset into the page, a multiple of four.
        offset: u64,
        /// Bytes to transfer, a multiple of four.
        len: u32,
    },
    /// Identify Controller (opcode 06h, CNS 01h), 4096 bytes.
    Identify,
}

/// What a core is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The time asked for by `next_wake` has come (or any other moment: it is harmless).
    Wake,
    /// The files were read again (SIGHUP, `ReloadConfig`).
    Reload(Box<Configuration>),
    /// SIGTERM or SIGINT: wind up and end with [`Action::Exit`].
    Stop,
    /// A uevent of an NVMe controller.
    Device(DeviceEvent),
    /// Uevents were lost: nothing known about the kernel can be trusted.
    EventsLost,
    /// The answer to [`Action::Scan`].
    Scanned(Box<Scan>),
    /// A network address or link appeared (route netlink).
    NetworkChanged,
    /// [`Action::Probe`] ended: whether something accepts connections there.
    ProbeDone {
        /// The operation.
        op: OpId,
        /// Nothing, or the errno of the attempt (`ETIMEDOUT` when the limit passed).
        result: Result<(), i32>,
    },
    /// [`Action::Connect`] ended.
    ConnectDone {
        /// The operation.
        op: OpId,
        /// The new controller, read from sysfs after the kernel's answer.
        result: Result<Box<Device>, ConnectError>,
    },
    /// [`Action::Delete`] ended.
    DeleteDone {
        /// The operation.
        op: OpId,
        /// Nothing, or the errno of the write.
        result: Result<(), i32>,
    },
    /// [`Action::Admin`] ended.
    AdminDone {
        /// The operation.
        op: OpId,
        /// What the controller sent.
        result: Result<Vec<u8>, AdminError>,
    },
    /// [`Action::Resolve`] ended.
    Resolved {
        /// The operation.
        op: OpId,
        /// Addresses in the order received (both families), or why there are none.
        result: Result<Vec<IpAddr>, String>,
    },
    /// News of stafd (stacd only).
    Stafd(StafdEvent),
    /// The services that mDNS announces and that accept connections (stafd only).
    Announced(Vec<Fields>),
}

/// What a core asks for. The shell carries actions out in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Read sysfs and the interface table; answer with [`Input::Scanned`], at once.
    Scan,
    /// Try a TCP connection from `source`/`iface` to `to`, and close it. Never blocks.
    Probe {
        /// Bears the answer, [`Input::ProbeDone`].
        op: OpId,
        /// The portal.
        to: (IpAddr, u16),
        /// Source address, when the candidate names one.
        source: Option<IpAddr>,
        /// Interface to bind to, when the candidate names one.
        iface: Option<String>,
        /// Limit for the attempt.
        limit: Duration,
    },
    /// Write `options` to `/dev/nvme-fabrics`. Connects are carried out one after the other.
    Connect {
        /// Bears the answer, [`Input::ConnectDone`].
        op: OpId,
        /// The comma-separated option list, complete and checked.
        options: String,
    },
    /// Write `1` to the controller's `delete_controller`.
    Delete {
        /// Bears the answer, [`Input::DeleteDone`].
        op: OpId,
        /// The controller.
        device: DeviceId,
    },
    /// Send an admin command.
    Admin {
        /// Bears the answer, [`Input::AdminDone`].
        op: OpId,
        /// The controller.
        device: DeviceId,
        /// The command.
        command: AdminCommand,
        /// Limit that the kernel applies.
        limit: Duration,
    },
    /// Look a host name up.
    Resolve {
        /// Bears the answer, [`Input::Resolved`].
        op: OpId,
        /// The name, never a literal address.
        host: String,
    },
    /// Ask stafd for `get_all_log_pages(true)` (stacd only).
    QueryStafd {
        /// Bears the answer, [`StafdEvent::Answer`].
        op: OpId,
    },
    /// Enter the controller as ours in the host's registry of owners. Nothing answers.
    Claim {
        /// The controller.
        device: DeviceId,
        /// Make the registry where there is none.
        make: bool,
    },
    /// Take the entry of a controller that is gone out of the registry, unless the host has a udev
    /// daemon to do so. Nothing answers.
    Disclaim {
        /// The controller.
        device: DeviceId,
    },
    /// Tell whoever listens on the bus and on the control socket.
    Publish(Notice),
    /// Replace the state file (last known configuration) by this text.
    Save(String),
    /// One line for the administrator.
    Log(Record),
    /// All is wound up: leave the loop.
    Exit,
}

/// A signal of the daemon's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `log_pages_changed`: this controller's log page was fetched.
    LogPagesChanged {
        /// The discovery controller.
        tid: Box<Tid>,
        /// Its kernel name.
        device: String,
    },
    /// `dc_removed`: a reconcile dropped at least one discovery controller.
    DcRemoved,
    /// The property `tron` has a new value.
    Tron(bool),
}

/// A line of the log, with the fields that the journal keeps apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Severity.
    pub level: log::Level,
    /// One sentence.
    pub text: String,
    /// The controller concerned, as its text form.
    pub controller: Option<String>,
    /// The kernel device concerned.
    pub device: Option<String>,
}
