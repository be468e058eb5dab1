// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine to a command line, for each hypervisor in a file of its own.
//!
//! Owns what a runner does: the words of the hypervisor and where each comes from, what is prepared
//! before the start and by which helper, how the machine is stopped. Pure: the same machine gives
//! the same plan everywhere. How words reach a shell is `quote`'s, what files are written is
//! `emit`'s, and what a hypervisor cannot do is refused in `validate`.

mod alioth;
mod cloud_hypervisor;
mod common;
mod crosvm;
mod firecracker;
mod kvmtool;
mod qemu;
mod stratovirt;
mod vfkit;
mod words;

use crate::config::{Hypervisor, Vm};

pub use common::{command_line, drive_letter, macvtap_fds, tap_multi_queue};
pub use firecracker::firecracker_tells_mtu;
pub use words::{Builder, Origin, Piece, Word};

/// The port on which cloud-hypervisor and firecracker guests reach the notify relay.
pub const NOTIFY_PORT: u32 = 8888;

/// The socket through which guests of cloud-hypervisor and firecracker are reached, in the working
/// directory.
pub const MUX_SOCKET: &str = "notify.vsock";

/// Seconds that the graphics process has to make its socket.
const GRAPHICS_WAIT: u32 = 10;

/// What a runner does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub words: Vec<Word>,
    /// What is done before the start, after the user's own preparations.
    pub steps: Vec<Step>,
    /// How the program is started.
    pub launch: Launch,
    /// Further files of the package, by their paths in it.
    pub files: Vec<(String, Vec<u8>)>,
    /// How the machine is asked to stop; without it, it is sent SIGTERM.
    pub shutdown: Option<Shutdown>,
    /// Can the size of the balloon be set?
    pub balloon: bool,
    /// The socket through which the guest is reached, where it is no kernel's business.
    pub mux: Option<String>,
    /// Does the guest report that it is ready?
    pub notify: bool,
    /// Have taps as many queues as the guest has processors?
    pub tap_multi_queue: bool,
}

/// Something that is done before the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Removes a file if it is there. A `*` at the end stands for anything.
    Remove(String),
    /// Moves a file if it is there.
    Move(String, String),
    /// Makes a directory, and those above it.
    MakeDirectory(String),
    /// Sets the environment variable `HOME` to the working directory.
    HomeIsHere,
    /// Makes a symbolic link in the working directory, in place of what is there: its name, and
    /// the path in the package that it leads to.
    Link(String, &'static str),
}

/// How the program is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// The name that the process shows.
    pub argv0: Option<String>,
    /// macvtap interfaces that are opened: name, first descriptor, number of descriptors.
    pub macvtaps: Vec<(String, u32, u32)>,
    /// Placeholders that are replaced by the device of a macvtap interface: name, placeholder.
    pub tap_paths: Vec<(String, String)>,
    /// Does the program need a terminal?
    pub pty: bool,
    /// Programs that run beside it and end with it; they are started first.
    pub with: Vec<Vec<Word>>,
    /// Sockets of these that must be there before the start, and the seconds that may take.
    pub awaits: Vec<(String, u32)>,
}

impl Launch {
    /// Can the script start the program without help?
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// How a machine is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Three keys through QMP.
    Keys,
    /// The power button through QMP.
    Powerdown,
    /// Over HTTP, or by a program of the hypervisor's own; `ctl` knows which.
    Own,
}

/// What a plan depends on besides the machine.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Give upstream's bytes where its programs accept them.
    pub compat: bool,
    /// The path of this program, as scripts call it.
    pub helper: String,
}

/// Plans a machine that has no errors.
#[must_use]
pub fn plan(vm: &Vm, options: &Options) -> Plan {
    match vm.hypervisor {
        Hypervisor::Qemu => qemu::plan(vm, options),
        Hypervisor::CloudHypervisor => cloud_hypervisor::plan(vm, options),
        Hypervisor::Firecracker => firecracker::plan(vm, options),
        Hypervisor::Crosvm => crosvm::plan(vm, options),
        Hypervisor::Kvmtool => kvmtool::plan(vm, options),
        Hypervisor::Stratovirt => stratovirt::plan(vm, options),
        Hypervisor::Alioth => alioth::plan(vm, options),
        Hypervisor::Vfkit => vfkit::plan(vm, options),
    }
}
