// SPDX-License-Identifier: Apache-2.0 OR MIT
//! All wanted controllers of one daemon, and their common fate.
//!
//! Owns the table of [`Controller`]s, the last look at the kernel, the operations in flight, and
//! the controllers on their way out. What is wanted, and what a connection is good for, is decided
//! by the [`finder`](super::finder) and the [`connector`](super::connector), who are told through
//! [`News`]. The parts:
//!
//! - `adopt`: finds existing kernel controllers for candidates, and notices the loss of bound ones;
//! - `connect`: hands the others to the kernel, in a fair order, and judges failures;
//! - `dispose`: lets go of controllers, with or without disconnecting them;
//! - `network`: retries what waits when a link or an address appears;
//! - `registry`: tells other tools what is ours, and heeds what is theirs.
//!
//! Invariants: a candidate is in the table or on its way out, never both (a candidate that is
//! wanted again while its connection is being cut waits inside its disposal); a kernel controller
//! has at most one owner; at most one connect per candidate is in flight.

mod adopt;
mod connect;
mod dispose;
mod network;
mod registry;

use std::collections::{BTreeMap, BTreeSet};

use plinth::rand::Rng;
use plinth::time::Time;

use self::dispose::Disposal;
use super::controller::{Controller, State};
use super::port::{Action, Configuration, DeviceId, Input, OpId, Record, Scan};
use super::portal::Portals;
use super::settings::{Parameters, Settings};
use super::tid::Tid;
use super::timer::Timer;

/// What is particular to one kind of controller.
pub trait Role {
    /// Whether candidates are discovery controllers (else I/O controllers).
    const DISCOVERY: bool;

    /// The command in flight on the connection, which must end before the connection is cut.
    fn operation(&self) -> Option<OpId>;

    /// The connection is gone: forget what was going on over it.
    fn lost(&mut self);

    /// Another controller's connection becomes this one's: take over what was learnt over it, and
    /// what is going on over it.
    fn inherit(&mut self, _from: &mut Self) {}

    /// The connection belongs to another controller from now on, which learns what there is to
    /// learn over it.
    fn cede(&mut self) {}

    /// Whether no further attempt is to be made after `attempts` failed ones.
    fn gives_up(&self, attempts: u32, settings: &Settings) -> bool;

    /// Why no connection can be made with these parameters, as far as is known beforehand.
    fn refuses(&self, _parameters: &Parameters) -> Option<&'static str> {
        None
    }

    /// Whether the controller allows, and the log page asks for, switching flow control off.
    fn may_disable_sqflow(&self) -> bool {
        false
    }
}

/// What a step may look at and add to.
pub struct Env<'a> {
    /// The time of the step.
    pub now: Time,
    /// What the files say.
    pub config: &'a Configuration,
    /// Where actions go.
    pub out: &'a mut Vec<Action>,
}

impl Env<'_> {
    /// Logs one line about a controller.
    pub fn log(&mut self, level: log::Level, tid: &Tid, device: Option<&str>, text: &str) {
        let text = match device {
            Some(device) => format!("{tid} | {device} - {text}"),
            None => format!("{tid} {text}"),
        };
        self.out.push(Action::Log(Record {
            level,
            text,
            controller: Some(tid.to_string()),
            device: device.map(str::to_owned),
        }));
    }

    /// Logs one line about the daemon itself.
    pub fn say(&mut self, level: log::Level, text: String) {
        self.out.push(Action::Log(Record { level, text, controller: None, device: None }));
    }
}

/// What the fleet tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The candidate is bound to a kernel controller now, by a connect or by adoption.
    Bound(Tid),
    /// The kernel controller of a bound candidate came (back) to life.
    Live(Tid),
    /// The kernel controller of a bound candidate is gone.
    Lost(Tid),
    /// An attempt to connect failed.
    Failed(Tid),
}

/// See the module's documentation.
pub struct Fleet<R> {
    controllers: BTreeMap<Tid, Controller<R>>,
    disposals: BTreeMap<Tid, Disposal<R>>,
    /// To be disposed of as soon as it is known whether another candidate takes the connection
    /// over; with whether the connection is kept.
    doomed: BTreeMap<Tid, bool>,
    /// Connects in flight, and whose they are.
    connects: BTreeMap<OpId, Tid>,
    /// Candidates wait that were not looked at since they came to wait.
    unseen: bool,
    portals: Portals,
    scan: Scan,
    /// The scan tells the present: nothing happened since that could contradict it.
    fresh: bool,
    /// Controllers may have gone: compare the table with a fresh scan.
    suspect: bool,
    /// A scan was asked for and has not come yet.
    asked: bool,
    /// Kernel controllers that are entered in the registry of owners.
    claimed: BTreeSet<DeviceId>,
    /// Interfaces that can do more than they could, until candidates are told.
    arrived: BTreeSet<String>,
    /// Debounces news of the network.
    network: Timer,
    /// Runs while controllers are on their way out.
    audit: Timer,
    next_op: u64,
    rng: Rng,
    news: Vec<News>,
}

impl<R: Role> Fleet<R> {
    /// An empty fleet.
    #[must_use]
    pub fn new(seed: u64, settings: &Settings) -> Self {
        Self {
            controllers: BTreeMap::new(),
            disposals: BTreeMap::new(),
            doomed: BTreeMap::new(),
            connects: BTreeMap::new(),
            unseen: false,
            portals: Portals::default(),
            scan: Scan::default(),
            fresh: false,
            suspect: false,
            asked: false,
            claimed: BTreeSet::new(),
            arrived: BTreeSet::new(),
            network: Timer::new(settings.timing.network_soak),
            audit: Timer::new(settings.timing.disposal_audit),
            next_op: 1,
            rng: Rng::seeded(seed),
            news: Vec::new(),
        }
    }

    /// The controllers, ordered by identity.
    pub fn iter(&self) -> impl Iterator<Item = &Controller<R>> {
        self.controllers.values()
    }

    /// The identities of the controllers.
    #[must_use]
    pub fn tids(&self) -> Vec<Tid> {
        self.controllers.keys().cloned().collect()
    }

    /// The controllers, for changes of their roles.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Controller<R>> {
        self.controllers.values_mut()
    }

    /// The controller of this identity.
    #[must_use]
    pub fn get(&self, tid: &Tid) -> Option<&Controller<R>> {
        self.controllers.get(tid)
    }

    /// The controller of this identity, for changes of its role.
    pub fn get_mut(&mut self, tid: &Tid) -> Option<&mut Controller<R>> {
        self.controllers.get_mut(tid)
    }

    /// The controller that owns the kernel controller `name`.
    #[must_use]
    pub fn owner_of(&self, name: &str) -> Option<&Controller<R>> {
        self.controllers.values().find(|c| c.owned().is_some_and(|device| device.name == name))
    }

    /// The identities that are wanted: those in the table, and those that wait for their own
    /// disconnect to end.
    pub fn wanted(&self) -> impl Iterator<Item = &Tid> {
        let waiting = self.disposals.iter().filter(|(_, disposal)| disposal.is_wanted_again());
        self.controllers.keys().chain(waiting.map(|(tid, _)| tid))
    }

    /// The controllers on their way out: identity, device and a word for the stage.
    pub fn leaving(&self) -> impl Iterator<Item = (&Tid, Option<&DeviceId>)> {
        self.disposals.iter().map(|(tid, disposal)| (tid, disposal.device()))
    }

    /// Whether nothing is on its way out.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.disposals.is_empty()
    }

    /// Candidates whose connect the kernel is at work on.
    pub fn connecting(&self) -> impl Iterator<Item = &Tid> {
        self.connects.values()
    }

    /// The last look at the kernel.
    #[must_use]
    pub const fn scan(&self) -> &Scan {
        &self.scan
    }

    /// The timer that watches over controllers on their way out.
    #[must_use]
    pub const fn audit(&self) -> &Timer {
        &self.audit
    }

    /// A name for a new operation.
    pub const fn new_op(&mut self) -> OpId {
        let op = OpId(self.next_op);
        self.next_op += 1;
        op
    }

    /// Takes an input that concerns the fleet alone; hands any other back.
    pub fn take(&mut self, env: &mut Env<'_>, input: Input) -> Option<Input> {
        match input {
            Input::NetworkChanged => self.network_changed(env),
            Input::ProbeDone { op, result } => self.probe_done(env, op, result),
            Input::ConnectDone { op, result } => self.connect_done(env, op, result),
            Input::DeleteDone { op, result } => self.delete_done(env, op, result),
            other => return Some(other),
        }
        None
    }

    /// What happened since this was last called.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Adds a candidate, to be connected in this turn. One that is being let go of is kept after
    /// all, or connected again as soon as its disconnect is over.
    pub fn want(&mut self, env: &Env<'_>, tid: Tid, overrides: Parameters, role: R) {
        self.doomed.remove(&tid);
        if let Some(known) = self.controllers.get_mut(&tid) {
            if known.overrides != overrides && known.state == State::GaveUp {
                known.state = State::Scheduled;
            }
            known.overrides = overrides;
            return;
        }
        let retry = env.config.settings.timing.retry;
        let fresh = Controller::new(tid.clone(), overrides, retry, role);
        match self.disposals.remove(&tid) {
            None => {
                self.controllers.insert(tid, fresh);
            }
            Some(disposal) => self.want_again(disposal, fresh),
        }
    }

    /// Lets go of a controller, as [`Fleet::dispose`], once all candidates of this turn have been
    /// looked for: one of them may be served by its connection and take it over.
    pub fn doom(&mut self, tid: Tid, keep: bool) {
        self.doomed.insert(tid, keep);
    }

    /// Brings a waiting or resigned controller to an attempt in this turn.
    pub fn hurry(&mut self, tid: &Tid) {
        let Some(controller) = self.controllers.get_mut(tid) else { return };
        if matches!(controller.state, State::Waiting | State::GaveUp) {
            controller.retry.stop();
            controller.state = State::Scheduled;
        }
    }

    /// Forgets the failed attempts of a controller.
    pub fn pardon(&mut self, tid: &Tid) {
        if let Some(controller) = self.controllers.get_mut(tid) {
            controller.attempts = 0;
        }
    }

    /// The kernel may have changed in a way that matters: look again before deciding.
    pub const fn stale(&mut self) {
        self.fresh = false;
    }

    /// Asks for a fresh look at the kernel, whether or not a controller needs it.
    pub fn look(&mut self, env: &mut Env<'_>) {
        self.fresh = false;
        self.ask_for_scan(env);
    }

    fn ask_for_scan(&mut self, env: &mut Env<'_>) {
        if !self.asked {
            self.asked = true;
            env.out.push(Action::Scan);
        }
    }

    /// Does everything that can be done now. Call after each input.
    pub fn pump(&mut self, env: &mut Env<'_>) {
        self.expire(env);
        let scheduled = self.controllers.values().any(|c| c.state == State::Scheduled);
        if self.suspect || (scheduled && !self.fresh) {
            self.ask_for_scan(env);
            return;
        }
        if scheduled {
            self.adopt(env);
        }
        for (tid, keep) in std::mem::take(&mut self.doomed) {
            self.dispose(env, &tid, keep);
        }
        self.connect_queued(env);
    }

    fn expire(&mut self, env: &mut Env<'_>) {
        let now = env.now;
        for controller in self.controllers.values_mut() {
            if controller.state == State::Waiting && controller.retry.take_expired(now) {
                controller.state = State::Scheduled;
            }
        }
        self.expire_network(env);
        self.expire_disposals(env);
    }

    /// When [`Fleet::pump`] has work without any input.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        let retries = self
            .controllers
            .values()
            .filter(|c| c.state == State::Waiting)
            .filter_map(|c| c.retry.deadline());
        let timers = [self.audit.deadline(), self.network_wake()];
        retries.chain(self.disposals_wake()).chain(timers.into_iter().flatten()).min()
    }

    /// Checks the invariants that tests and simulations rely on.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn assert_invariants(&self) {
        let mut owned = BTreeSet::new();
        for controller in self.controllers.values() {
            let tid = &controller.tid;
            assert!(!self.disposals.contains_key(tid), "{tid} is wanted and on its way out");
            if let Some(device) = controller.owned() {
                assert!(owned.insert(device), "{} has two owners", device.name);
            }
            if let State::Connecting(op) = controller.state {
                assert_eq!(
                    self.connects.get(&op),
                    Some(tid),
                    "{tid} waits for a connect of another"
                );
            }
            if controller.state == State::Waiting {
                assert!(controller.retry.is_running(), "{tid} waits for nothing");
            }
        }
        for device in self.disposals.values().filter_map(Disposal::device) {
            assert!(!owned.contains(device), "{} is owned and on its way out", device.name);
        }
    }
}

#[cfg(test)]
mod tests;
