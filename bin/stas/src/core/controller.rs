// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One wanted controller: its place between "wanted" and "connected".
//!
//! Owns the state of a single connection, its attempt counter and its retry timer. Which
//! controllers exist, what they compete for and how they end is the business of the
//! [`fleet`](super::fleet); what is particular to discovery and I/O controllers is their `role`.

use std::time::Duration;

use plinth::time::Time;

use super::port::{DeviceId, OpId};
use super::settings::Parameters;
use super::tid::Tid;
use super::timer::Timer;

/// Where a controller stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// To be looked for among the kernel's controllers, then connected if it is not there.
    Scheduled,
    /// Not there: waits for its portal to be proven reachable, and for its turn to connect.
    Queued,
    /// The kernel is at work on it.
    Connecting(OpId),
    /// Bound to a kernel controller.
    Connected {
        /// The kernel controller.
        device: DeviceId,
        /// Whether commands may be sent: the kernel's state is `live`, as far as is known.
        live: bool,
    },
    /// Served by a kernel controller that a more specific candidate of ours owns.
    Alias(DeviceId),
    /// The retry timer runs.
    Waiting,
    /// The limit of attempts is reached; something has to change first.
    GaveUp,
}

/// One wanted controller.
#[derive(Clone, Debug)]
pub struct Controller<R> {
    /// Its identity.
    pub tid: Tid,
    /// Connection parameters of its own, which override the daemon's.
    pub overrides: Parameters,
    /// Where it stands.
    pub state: State,
    /// Attempts to connect since it was last connected.
    pub attempts: u32,
    /// Starts the next attempt.
    pub retry: Timer,
    /// When the last attempt ended: the next in the queue is who waited longest.
    pub last_try: Time,
    /// The kernel said that the connection exists, and it is being looked for.
    pub said_to_exist: bool,
    /// The network that it may be reached over came since the last attempt ended.
    pub path_is_new: bool,
    /// Its connection is being cut, and is to be made again after so long.
    pub rest: Option<(OpId, Duration)>,
    /// The parameters it was connected with; `None` if the connection was found, not made.
    pub applied: Option<Parameters>,
    /// What is particular to its kind.
    pub role: R,
}

impl<R> Controller<R> {
    /// A controller that is to be connected in the next turn.
    pub const fn new(tid: Tid, overrides: Parameters, retry: Duration, role: R) -> Self {
        Self {
            tid,
            overrides,
            state: State::Scheduled,
            attempts: 0,
            retry: Timer::new(retry),
            last_try: Time::ZERO,
            said_to_exist: false,
            path_is_new: false,
            rest: None,
            applied: None,
            role,
        }
    }

    /// The kernel controller it is bound to, as owner or as alias.
    #[must_use]
    pub const fn device(&self) -> Option<&DeviceId> {
        match &self.state {
            State::Connected { device, .. } | State::Alias(device) => Some(device),
            _ => None,
        }
    }

    /// The kernel controller it owns.
    #[must_use]
    pub const fn owned(&self) -> Option<&DeviceId> {
        match &self.state {
            State::Connected { device, .. } => Some(device),
            _ => None,
        }
    }

    /// The kernel controller, if commands may be sent to it.
    #[must_use]
    pub const fn live(&self) -> Option<&DeviceId> {
        match &self.state {
            State::Connected { device, live: true } if self.rest.is_none() => Some(device),
            _ => None,
        }
    }

    /// `nvme3`, or `nvme?` while there is none.
    #[must_use]
    pub fn device_name(&self) -> &str {
        self.device().map_or("nvme?", |device| &device.name)
    }
}
