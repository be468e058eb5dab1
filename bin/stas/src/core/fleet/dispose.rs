// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lets go of controllers, with or without disconnecting them.
//!
//! A connection is cut only when nothing is in flight over it: a connect that is no longer wanted
//! ends first, and is then undone; a command ends first. The kernel is asked again when it was too
//! busy to delete a controller. A candidate that becomes wanted again on the way is kept if its
//! connection was not touched yet; else it waits here for the end, and starts anew.

use std::time::Duration;

use log::Level;
use plinth::time::Time;

use super::super::controller::{Controller, State};
use super::super::matching;
use super::super::port::{Action, DeviceId, OpId};
use super::super::tid::Tid;
use super::{Env, Fleet, News, Role};

const EBUSY: i32 = 16;

#[derive(Debug)]
enum Stage {
    /// The kernel is still connecting it.
    Connecting(OpId),
    /// A command is in flight.
    Busy { op: OpId, device: DeviceId },
    /// The kernel is cutting the connection.
    Deleting { op: OpId, device: DeviceId, tries: u32 },
    /// The kernel was busy.
    Delayed { until: Time, device: DeviceId, tries: u32 },
}

/// A controller on its way out.
#[derive(Debug)]
pub(super) struct Disposal<R> {
    stage: Stage,
    controller: Controller<R>,
    /// Leave the connection alone.
    keep: bool,
    /// Start anew when this is over.
    again: Option<Box<Controller<R>>>,
}

impl<R> Disposal<R> {
    pub(super) const fn is_wanted_again(&self) -> bool {
        self.again.is_some()
    }

    pub(super) const fn device(&self) -> Option<&DeviceId> {
        match &self.stage {
            Stage::Connecting(_) => None,
            Stage::Busy { device, .. }
            | Stage::Deleting { device, .. }
            | Stage::Delayed { device, .. } => Some(device),
        }
    }
}

impl<R: Role> Fleet<R> {
    /// Removes a controller from the table. Its connection is cut unless `keep`, or unless another
    /// candidate is served by it and takes it over.
    pub fn dispose(&mut self, env: &mut Env<'_>, tid: &Tid, keep: bool) {
        if let Some(disposal) = self.disposals.get_mut(tid) {
            disposal.again = None;
            return;
        }
        let Some(mut controller) = self.controllers.remove(tid) else { return };
        self.audit.start(env.now);
        match (controller.state.clone(), controller.rest) {
            (State::Connecting(op), _) => {
                self.start_disposal(Stage::Connecting(op), controller, keep);
            }
            (State::Connected { device, .. }, Some((op, _))) => {
                self.start_disposal(Stage::Deleting { op, device, tries: 0 }, controller, keep);
            }
            (State::Connected { device, live }, None) if !keep && !self.is_others(&device) => {
                if let Some(heir) = self.heir_of(&device) {
                    if let Some(inheriting) = self.controllers.get_mut(&heir) {
                        inheriting.role.inherit(&mut controller.role);
                    }
                    self.bind(env, &heir, device, live);
                } else if self.offer(&device) {
                    env.log(Level::Info, tid, Some(&device.name), "Left to another entry");
                } else if let Some(op) = controller.role.operation() {
                    self.start_disposal(Stage::Busy { op, device }, controller, keep);
                } else {
                    self.delete(env, device, controller, 0);
                }
            }
            _ => {}
        }
    }

    /// Cuts the connection of a controller that stays wanted, to be made again after `span`. The
    /// controller counts as connected until its device is gone.
    pub fn rest(&mut self, env: &mut Env<'_>, tid: &Tid, span: Duration) {
        let op = self.new_op();
        let Some(controller) = self.controllers.get_mut(tid) else { return };
        let Some(device) = controller.owned().cloned() else { return };
        let others = self.scan.devices.iter().any(|seen| seen.id == device && seen.is_others());
        if controller.rest.is_none() && !others {
            controller.rest = Some((op, span));
            env.log(Level::Info, tid, Some(&device.name), "Disconnect initiated");
            env.out.push(Action::Delete { op, device });
        }
    }

    /// The disconnect of a controller that stays wanted ended, if `op` is one.
    fn rests(&mut self, env: &mut Env<'_>, op: OpId, result: Result<(), i32>) -> bool {
        let is_it = |c: &&mut Controller<R>| c.rest.is_some_and(|(it, _)| it == op);
        let Some(controller) = self.controllers.values_mut().find(is_it) else { return false };
        if let Err(errno) = result {
            controller.rest = None;
            let text = format!("Failed to disconnect: errno {errno}");
            env.log(Level::Warn, &controller.tid, Some(controller.device_name()), &text);
        } else {
            self.suspect = true; // whether or not its removal is told
        }
        true
    }

    fn heir_of(&self, device: &DeviceId) -> Option<Tid> {
        let served = |c: &&Controller<R>| c.state == State::Alias(device.clone());
        self.controllers.values().find(served).map(|c| c.tid.clone())
    }

    fn start_disposal(&mut self, stage: Stage, controller: Controller<R>, keep: bool) {
        let tid = controller.tid.clone();
        self.disposals.insert(tid, Disposal { stage, controller, keep, again: None });
    }

    fn delete(
        &mut self,
        env: &mut Env<'_>,
        device: DeviceId,
        controller: Controller<R>,
        tries: u32,
    ) {
        let op = self.new_op();
        if tries == 0 {
            env.log(Level::Info, &controller.tid, Some(&device.name), "Disconnect initiated");
        }
        env.out.push(Action::Delete { op, device: device.clone() });
        self.start_disposal(Stage::Deleting { op, device, tries }, controller, false);
    }

    /// A controller on its way out is wanted again, as `fresh` describes it.
    pub(super) fn want_again(&mut self, mut disposal: Disposal<R>, mut fresh: Controller<R>) {
        let tid = fresh.tid.clone();
        match disposal.stage {
            Stage::Connecting(op) => {
                fresh.attempts = disposal.controller.attempts;
                fresh.applied = disposal.controller.applied;
                fresh.state = State::Connecting(op);
                self.controllers.insert(tid, fresh);
            }
            Stage::Busy { device, .. } | Stage::Delayed { device, .. } => {
                self.take_back(fresh, device);
            }
            Stage::Deleting { .. } => {
                disposal.again = Some(Box::new(fresh));
                self.disposals.insert(tid, disposal);
            }
        }
    }

    /// The connection was not touched yet: the controller goes on as if nothing had been. Whether
    /// commands may be sent, a look at the kernel tells.
    fn take_back(&mut self, mut fresh: Controller<R>, device: DeviceId) {
        let tid = fresh.tid.clone();
        fresh.state = State::Connected { device, live: false };
        self.suspect = true;
        self.news.push(News::Bound(tid.clone()));
        self.controllers.insert(tid, fresh);
    }

    /// A connect ended whose candidate is not waiting for it in the table.
    pub(super) fn unwanted_connect_done(
        &mut self,
        env: &mut Env<'_>,
        tid: &Tid,
        op: OpId,
        device: Option<DeviceId>,
    ) {
        let is_it = |d: &Disposal<R>| matches!(d.stage, Stage::Connecting(it) if it == op);
        if !self.disposals.get(tid).is_some_and(is_it) {
            return;
        }
        let Some(disposal) = self.disposals.remove(tid) else { return };
        let Some(device) = device.filter(|_| !disposal.keep) else { return };
        if !self.offer(&device) {
            self.delete(env, device, disposal.controller, 0);
        }
    }

    /// Lets a candidate that has no connection look for one again, now that there is `device`.
    fn offer(&mut self, device: &DeviceId) -> bool {
        let Some(device) = self.scan.devices.iter().find(|known| known.id == *device) else {
            return false;
        };
        let interfaces = &self.scan.interfaces;
        let idle = |state: &State| matches!(state, State::Queued | State::Waiting | State::GaveUp);
        let taker = self
            .controllers
            .values_mut()
            .find(|c| idle(&c.state) && matching::serves(&c.tid, device, interfaces).is_some());
        let Some(taker) = taker else { return false };
        taker.retry.stop();
        taker.state = State::Scheduled;
        true
    }

    /// Candidates whose connect is in flight and is to be undone when it ends.
    pub fn unwanted_connects(&self) -> impl Iterator<Item = &Tid> {
        let undone = |d: &Disposal<R>| matches!(d.stage, Stage::Connecting(_)) && !d.keep;
        self.disposals.iter().filter(move |(_, disposal)| undone(disposal)).map(|(tid, _)| tid)
    }

    /// A command ended that no controller in the table waits for.
    pub fn command_done(&mut self, env: &mut Env<'_>, op: OpId) {
        let is_it = |d: &Disposal<R>| matches!(&d.stage, Stage::Busy { op: it, .. } if *it == op);
        let Some(tid) = self.disposals.iter().find(|(_, d)| is_it(d)).map(|(tid, _)| tid.clone())
        else {
            return;
        };
        let Some(disposal) = self.disposals.remove(&tid) else { return };
        if let Stage::Busy { device, .. } = disposal.stage {
            self.delete(env, device, disposal.controller, 0);
        }
    }

    /// A disconnect ended.
    pub fn delete_done(&mut self, env: &mut Env<'_>, op: OpId, result: Result<(), i32>) {
        self.fresh = false;
        if self.rests(env, op, result) {
            return;
        }
        let is_it =
            |d: &Disposal<R>| matches!(&d.stage, Stage::Deleting { op: it, .. } if *it == op);
        let Some(tid) = self.disposals.iter().find(|(_, d)| is_it(d)).map(|(tid, _)| tid.clone())
        else {
            return;
        };
        let Some(mut disposal) = self.disposals.remove(&tid) else { return };
        let Stage::Deleting { device, tries, .. } = disposal.stage else { return };
        match result {
            Err(EBUSY) if disposal.again.is_some() => {
                if let Some(again) = disposal.again {
                    self.take_back(*again, device);
                }
                return;
            }
            Err(EBUSY) if tries < env.config.settings.timing.disconnect_retries => {
                let until = env.now + env.config.settings.timing.disconnect_retry;
                disposal.stage = Stage::Delayed { until, device, tries: tries + 1 };
                self.disposals.insert(tid, disposal);
                return;
            }
            Err(errno) => {
                let text = format!("Failed to disconnect: errno {errno}");
                env.log(Level::Warn, &tid, Some(&device.name), &text);
            }
            Ok(()) => self.disclaim(env, &device),
        }
        if let Some(again) = disposal.again {
            self.controllers.insert(tid, *again);
        }
    }

    /// A scan came: controllers on their way out whose device is gone need no disconnect.
    pub(super) fn disposals_after_scan(&mut self) {
        let scan = &self.scan;
        let gone = |device: &DeviceId| !scan.devices.iter().any(|present| present.id == *device);
        let finished: Vec<Tid> = self
            .disposals
            .iter()
            .filter(|(_, d)| match &d.stage {
                Stage::Busy { device, .. } | Stage::Delayed { device, .. } => gone(device),
                Stage::Connecting(_) | Stage::Deleting { .. } => false,
            })
            .map(|(tid, _)| tid.clone())
            .collect();
        for tid in finished {
            if let Some(Disposal { again: Some(again), .. }) = self.disposals.remove(&tid) {
                self.controllers.insert(tid, *again);
            }
        }
    }

    pub(super) fn expire_disposals(&mut self, env: &mut Env<'_>) {
        let due: Vec<Tid> = self
            .disposals
            .iter()
            .filter(|(_, d)| matches!(d.stage, Stage::Delayed { until, .. } if until <= env.now))
            .map(|(tid, _)| tid.clone())
            .collect();
        for tid in due {
            let Some(disposal) = self.disposals.remove(&tid) else { continue };
            if let Stage::Delayed { device, tries, .. } = disposal.stage {
                self.delete(env, device, disposal.controller, tries);
                if let Some(started) = self.disposals.get_mut(&tid) {
                    started.again = disposal.again;
                }
            }
        }
        if self.disposals.is_empty() {
            self.audit.stop();
        } else if self.audit.take_expired(env.now) {
            self.audit.start(env.now);
        }
    }

    pub(super) fn disposals_wake(&self) -> impl Iterator<Item = Time> {
        self.disposals.values().filter_map(|disposal| match disposal.stage {
            Stage::Delayed { until, .. } => Some(until),
            _ => None,
        })
    }

    /// Goes on with what is on its way out, and with nothing else.
    pub fn pump_disposals(&mut self, env: &mut Env<'_>) {
        self.expire_disposals(env);
    }

    /// Lets go of everything, at the end of the process. With `keep` nothing is waited for.
    pub fn stop(&mut self, env: &mut Env<'_>, keep: bool) {
        let all: Vec<Tid> = self.wanted().cloned().collect();
        for tid in all {
            self.dispose(env, &tid, keep);
        }
        if keep {
            self.disposals.clear();
        }
    }
}
