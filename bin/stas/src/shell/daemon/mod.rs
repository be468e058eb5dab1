// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon: one core on one loop, the same for finder and connector.
//!
//! Owns everything the core needs done and everything it is told. The order within a turn is fixed:
//! descriptors and timers fill the queue of inputs; the core takes them one by one; what it asks
//! for is carried out at once (see [`act`]); then the helpers start what they have room for, and
//! the timers are armed. The core's only clock is the turn's.

pub mod act;
mod serve;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use plinth::event::{Handler, Loop, Progress, TimerId};
use plinth::netlink::{News as RouteNews, RouteSocket};
use plinth::sys::signal::{Signal, Signals};
use plinth::time::Time;

use self::act::Call;

use super::bus::Front;
use super::config::Source;
use super::control::Server;
use super::devices::Devices;
use super::kernel::client::Client;
use super::key::Key;
use super::peer::Peer;
use super::probe::Prober;
use super::resolve::Resolver;
use super::state::State;
use super::sysfs::Sysfs;
use super::units::Units;
use crate::core::api::{Reply, Request};
use crate::core::foreign::{self, Foreign};
use crate::core::machine::Machine;
use crate::core::port::{Action, DeviceEvent, Input, OpId};
use crate::core::settings::Role;

/// What stopping may take; then the process ends, whatever is still under way.
const STOP_LIMIT: Duration = Duration::from_millis(900);
/// Rounds of inputs and actions in one turn; what is left waits for the next.
const ROUNDS_MAX: usize = 32;
/// Changes of the network taken in one turn.
const CHANGES_MAX: usize = 256;

/// Everything that a daemon has.
pub struct Daemon<C> {
    /// Decides.
    pub core: C,
    /// What the core is still to be told.
    pub inputs: VecDeque<Input>,
    /// What the core asked for when it was made.
    pub first: Vec<Action>,
    /// Where the configuration comes from.
    pub source: Source,
    /// The trace option of the command line.
    pub tron: bool,
    /// The runtime directory.
    pub state: State,
    /// What the kernel shows.
    pub sysfs: Sysfs,
    /// Signals of the process.
    pub signals: Signals,
    /// Uevents.
    pub devices: Devices,
    /// Links and addresses.
    pub route: RouteSocket,
    /// Blocking calls.
    pub kernel: Client,
    /// Which calls those are.
    pub calls: BTreeMap<OpId, Call>,
    /// Connection attempts.
    pub prober: Prober,
    /// Names.
    pub resolver: Resolver,
    /// The bus.
    pub front: Front,
    /// The control socket, where one could be made.
    pub server: Option<Server>,
    /// The way to stafd (stacd only).
    pub peer: Option<Peer>,
    /// nvme-cli's rules are kept from connecting (stafd only).
    pub masks: bool,
    /// What was told of discovery controllers of others (stafd only).
    pub foreign: Foreign,
    /// Units of systemd.
    pub units: Units,
    /// What the service manager is told.
    pub manager: super::manager::Manager,
    /// The timer of the core.
    pub wake: Option<(Time, TimerId)>,
    /// The timer of the log.
    pub log_wake: Option<(Time, TimerId)>,
    /// The end has begun.
    pub stopping: bool,
    /// Why the daemon ends, when it does not end well.
    pub failure: Option<String>,
}

impl<C: Machine> Daemon<C> {
    fn signal(&mut self, lp: &mut Loop<Key>) {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::HUP => self.reload(lp),
                _ if self.stopping => lp.stop(0), // asked twice: at once
                _ => self.stop(lp),
            }
        }
    }

    fn stop(&mut self, lp: &mut Loop<Key>) {
        self.stopping = true;
        self.manager.stopping();
        self.inputs.push_back(Input::Stop);
        lp.set_timer(lp.now() + STOP_LIMIT, Key::StopLimit);
    }

    /// Reads the configuration again; one that is damaged changes nothing.
    fn reload(&mut self, lp: &Loop<Key>) {
        if self.stopping {
            return;
        }
        log::info!("Reading the configuration again");
        self.manager.reloading(lp.now());
        let loaded = self.source.load();
        super::start::report(&loaded.diagnostics);
        if loaded.is_damaged() {
            if let Err(error) = &loaded.identity {
                log::error!("{error}");
            }
            log::error!("The previous configuration stays in force");
        } else {
            let (support, complaint) = super::config::support(&self.source.root);
            if let Some(text) = complaint {
                log::warn!("{text}");
            }
            if let Ok(mut configuration) = loaded.configuration(support) {
                configuration.tron = self.tron;
                configuration.state_file = self.state.file().display().to_string();
                self.inputs.push_back(Input::Reload(Box::new(configuration)));
            }
        }
        self.manager.ready();
    }

    /// Passes on the news of a discovery controller that stafd does not manage.
    fn notice_foreign(&mut self, lp: &mut Loop<Key>, event: &DeviceEvent) -> io::Result<()> {
        let Some(name) = foreign::calls(event) else { return Ok(()) };
        if C::role() != Role::Finder || !self.masks || self.stopping {
            return Ok(());
        }
        let request = Request::ListControllers { detailed: false };
        let reply = self.core.answer(lp.now(), &request, &self.sysfs, &mut Vec::new());
        let Reply::Dicts(list) = reply else { return Ok(()) };
        if list.iter().any(|dict| dict.get("device").is_some_and(|device| device == name)) {
            return Ok(());
        }
        let device = self.sysfs.device(name);
        match device.and_then(|device| self.foreign.unit(lp.now(), &device)) {
            Some(unit) => self.units.restart(lp, &unit),
            None => Ok(()),
        }
    }

    fn route(&mut self) -> Progress {
        let mut changed = false;
        let mut progress = Progress::More;
        for _ in 0..CHANGES_MAX {
            match self.route.next_change() {
                Ok(Some(RouteNews::Change(_) | RouteNews::Lost)) => changed = true,
                Ok(None) => {
                    progress = Progress::Drained;
                    break;
                }
                Err(error) => {
                    log::error!("Cannot follow changes of the network any more: {error}");
                    progress = Progress::Drained;
                    break;
                }
            }
        }
        if changed {
            self.inputs.push_back(Input::NetworkChanged);
        }
        progress
    }

    /// Gathers what the helpers have finished and what clients ask, and carries out what the core
    /// wants, until all is quiet.
    fn turn(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        let first = std::mem::take(&mut self.first);
        self.carry_out(lp, first)?;
        if self.core.next_wake().is_some_and(|at| at <= lp.now()) {
            self.inputs.push_back(Input::Wake);
        }
        for _ in 0..ROUNDS_MAX {
            // What the parts finish at once shall be told in this turn: nothing else wakes the
            // loop.
            self.kernel.settle(lp)?;
            self.prober.settle(lp);
            self.resolver.settle(lp)?;
            self.collect();
            self.serve(lp)?;
            if self.inputs.is_empty() {
                return Ok(());
            }
            while let Some(input) = self.inputs.pop_front() {
                let mut actions = Vec::new();
                self.core.step(lp.now(), input, &mut actions);
                self.carry_out(lp, actions)?;
            }
        }
        self.inputs.push_back(Input::Wake); // not quiet yet: come back at once
        Ok(())
    }

    fn arm(&mut self, lp: &mut Loop<Key>) {
        let now = lp.now();
        let mut wanted = self.core.next_wake();
        if !self.inputs.is_empty() {
            wanted = Some(now); // left over: come back at once
        }
        rearm(lp, &mut self.wake, wanted, Key::Core);
        rearm(lp, &mut self.log_wake, plinth::log::tick(now), Key::Log);
        self.front.settle(lp);
        if let Some(peer) = &mut self.peer {
            peer.settle(lp);
        }
        self.manager.status(|| self.core.status());
        self.manager.settle(lp);
    }
}

/// Moves a timer to where it is wanted.
fn rearm(lp: &mut Loop<Key>, timer: &mut Option<(Time, TimerId)>, wanted: Option<Time>, key: Key) {
    if wanted != timer.map(|(at, _)| at) {
        timer.take().map(|(_, id)| lp.cancel(id));
        *timer = wanted.map(|at| (at, lp.set_timer(at, key)));
    }
}

impl<C: Machine> Handler for Daemon<C> {
    type Key = Key;

    fn ready(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<Progress> {
        match key {
            Key::Signals => self.signal(lp),
            Key::Uevents => {
                let mut inputs = Vec::new();
                let progress = self.devices.ready(lp, &mut inputs)?;
                for input in inputs {
                    if let Input::Device(event) = &input {
                        self.notice_foreign(lp, event)?;
                    }
                    self.inputs.push_back(input);
                }
                return Ok(progress);
            }
            Key::Route => return Ok(self.route()),
            Key::Helper => return self.kernel.ready(lp),
            Key::HelperExit => self.kernel.exited(lp)?,
            Key::UnitExit => self.units.exited(lp)?,
            Key::Probe(number) => self.prober.ready(lp, number)?,
            Key::Lookup(number, server) => return self.resolver.ready(lp, number, server),
            Key::Bus => return Ok(self.front.ready(lp)),
            Key::Control => {
                if let Some(server) = &mut self.server {
                    return server.accept(lp);
                }
            }
            Key::Client(number) => {
                if let Some(server) = &mut self.server {
                    server.ready(lp, number)?;
                }
            }
            Key::Peer => {
                if let Some(peer) = &mut self.peer {
                    return peer.ready(lp);
                }
            }
            Key::PeerDirectory => {
                if let Some(peer) = &mut self.peer {
                    peer.directory_changed(lp)?;
                }
            }
            _ => {}
        }
        Ok(Progress::Drained)
    }

    fn timer(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<()> {
        match key {
            Key::Core => self.wake = None,
            Key::Log => self.log_wake = None,
            Key::HelperRestart | Key::HelperIdle => self.kernel.timer(lp, key)?,
            Key::ProbeLimit(number) => self.prober.expired(lp, number)?,
            Key::LookupWake(number) => self.resolver.woken(lp, number)?,
            Key::BusWake => self.front.woken(lp),
            Key::PeerWake => {
                if let Some(peer) = &mut self.peer {
                    peer.woken(lp)?;
                }
            }
            Key::Watchdog => self.manager.woken(lp),
            Key::StopLimit => {
                log::warn!("Stopping took too long; leaving what is under way to the kernel");
                lp.stop(0);
            }
            _ => {}
        }
        Ok(())
    }

    fn settle(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        self.turn(lp)?;
        self.arm(lp);
        Ok(())
    }
}
