// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names for everything that a daemon's loop watches or waits for.
//!
//! One enum for all parts of the shell, so that the daemon's handler can be read as a table.

/// A descriptor or a timer of the daemon's loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Signals of the process.
    Signals,
    /// Uevents of the kernel.
    Uevents,
    /// Changes of links and addresses.
    Route,
    /// Packets from the kernel helper.
    Helper,
    /// The end of the kernel helper's process.
    HelperExit,
    /// The kernel helper may be started again.
    HelperRestart,
    /// The kernel helper has had nothing to do for a while.
    HelperIdle,
    /// The connection of the probe with this number.
    Probe(u64),
    /// The limit of the probe with this number.
    ProbeLimit(u64),
    /// A name server's socket: number of the look-up, index of the server.
    Lookup(u64, usize),
    /// The look-up with this number wants to be woken.
    LookupWake(u64),
    /// The message bus.
    Bus,
    /// The message bus is to be served again, though its descriptor said nothing.
    BusWake,
    /// New clients of the control socket.
    Control,
    /// The client of the control socket with this number.
    Client(u64),
    /// stafd's control socket.
    Peer,
    /// stafd's control socket may be tried again, or its answer is overdue.
    PeerWake,
    /// The directory in which stafd's control socket appears.
    PeerDirectory,
    /// The core's next wake-up.
    Core,
    /// The time that stopping may take is over.
    StopLimit,
    /// A program that asks systemd for a unit has ended.
    UnitExit,
    /// The log has something to do.
    Log,
    /// The service manager wants to hear from us.
    Watchdog,
}
