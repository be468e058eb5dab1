// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hands candidates to the kernel, in a fair order, and judges failures.
//!
//! The kernel connects one controller at a time, so the order matters: first attempts come before
//! retries, and among those who waited longest comes first. TCP candidates wait until their portal
//! was seen to accept connections. The errno of a failure decides when the next attempt is due.

use std::ops::Bound;

use log::Level;
use plinth::backoff;

use super::super::DISC_NQN;
use super::super::cid::{Device, State as KernelState};
use super::super::controller::State;
use super::super::fabrics;
use super::super::port::{Action, ConnectError, OpId};
use super::super::portal::{Portal, Verdict};
use super::super::tid::Tid;
use super::adopt::more_specific;
use super::{Env, Fleet, News, Role};

/// Connects handed out at once: one for the kernel to work on, one so that it need not wait.
const CONNECTS_MAX: usize = 2;

/// The errnos of Linux that matter here (asm-generic/errno.h).
mod errno {
    pub(super) const EINTR: i32 = 4;
    pub(super) const EAGAIN: i32 = 11;
    pub(super) const EBUSY: i32 = 16;
    pub(super) const ENETUNREACH: i32 = 101;
    pub(super) const ECONNRESET: i32 = 104;
    pub(super) const ETIMEDOUT: i32 = 110;
    pub(super) const ECONNREFUSED: i32 = 111;
    pub(super) const EHOSTUNREACH: i32 = 113;
    pub(super) const EALREADY: i32 = 114;
}

impl<R: Role> Fleet<R> {
    /// No existing connection was found for this candidate.
    pub(super) fn enqueue(&mut self, env: &mut Env<'_>, tid: &Tid) {
        let Some(controller) = self.controllers.get_mut(tid) else { return };
        if std::mem::take(&mut controller.said_to_exist) {
            self.fail(env, tid, "the kernel says that the connection exists, but shows none", None);
            return;
        }
        let parameters = controller.overrides.over(&env.config.settings.parameters);
        if let Some(reason) = controller.role.refuses(&parameters) {
            controller.state = State::GaveUp;
            env.log(Level::Error, tid, None, &format!("Not connected: {reason}"));
            return;
        }
        controller.state = State::Queued;
        self.unseen = true;
    }

    /// Probes portals, and starts as many connects as the kernel is given at a time. While it has
    /// enough to do, there is nothing to look for but the portals of those that came since.
    pub(super) fn connect_queued(&mut self, env: &mut Env<'_>) {
        let unseen = std::mem::take(&mut self.unseen);
        if self.connects.len() >= CONNECTS_MAX && !unseen {
            return;
        }
        let mut queue: Vec<_> = self
            .controllers
            .values()
            .filter(|c| c.state == State::Queued)
            .map(|c| (c.attempts > 0, c.last_try, c.tid.clone()))
            .collect();
        queue.sort();
        for (_, _, tid) in queue {
            if self.connects.len() >= CONNECTS_MAX && !unseen {
                break;
            }
            if self.waits_for_sibling(&tid) || self.portal(env, &tid) == Verdict::Wait {
                continue;
            }
            if self.connects.len() < CONNECTS_MAX {
                self.connect(env, &tid);
            }
        }
    }

    fn portal(&mut self, env: &mut Env<'_>, tid: &Tid) -> Verdict {
        let settings = &env.config.settings;
        let own = self.controllers.get(tid).and_then(|c| c.overrides.tls);
        // A portal that insists on a secure channel may take a bare connection amiss.
        let secure = own.or(settings.parameters.tls).unwrap_or(false);
        let Some(portal) = Portal::of(tid).filter(|_| settings.probe_tcp && !secure) else {
            return Verdict::Open;
        };
        let next = &mut self.next_op;
        let mut new_op = || {
            let op = OpId(*next);
            *next += 1;
            op
        };
        self.portals.ask(
            env.now,
            &portal,
            env.config.settings.timing.probe_limit,
            &mut new_op,
            env.out,
        )
    }

    /// Whether a more specific candidate for the same place comes first: its connection will do
    /// for both. One that cannot be connected is not waited for.
    fn waits_for_sibling(&mut self, tid: &Tid) -> bool {
        // One that is no longer wanted but still being connected will be left to this one.
        let unwanted = |other: &Tid| !self.controllers.contains_key(other);
        let in_flight = |other: &Tid| {
            more_specific(other, tid) || (more_specific(tid, other) && unwanted(other))
        };
        if self.connects.values().any(in_flight) {
            return true;
        }
        let after = (Bound::Excluded(tid), Bound::Unbounded);
        let same_place = |other: &Tid| {
            other.transport() == tid.transport()
                && other.traddr() == tid.traddr()
                && other.trsvcid() == tid.trsvcid()
        };
        // Identities are ordered by place, then by subsystem.
        let same_name =
            |other: &Tid| tid.subsysnqn() == DISC_NQN || other.subsysnqn() == tid.subsysnqn();
        let sibling = self
            .controllers
            .range::<Tid, _>(after)
            .take_while(|(other, _)| same_place(other) && same_name(other))
            .filter(|(other, _)| more_specific(other, tid))
            .find(|(_, c)| !matches!(c.state, State::Waiting | State::GaveUp | State::Alias(_)));
        let Some((_, sibling)) = sibling else { return false };
        if sibling.owned().is_none() {
            return true;
        }
        if let Some(controller) = self.controllers.get_mut(tid) {
            controller.state = State::Scheduled; // it is there now: be adopted by it
        }
        true
    }

    fn connect(&mut self, env: &mut Env<'_>, tid: &Tid) {
        let Some(controller) = self.controllers.get_mut(tid) else { return };
        controller.attempts += 1;
        let config = env.config;
        let mut parameters = controller.overrides.over(&config.settings.parameters);
        if parameters.disable_sqflow.is_none() && controller.role.may_disable_sqflow() {
            parameters.disable_sqflow = Some(true);
        }
        let options =
            fabrics::options(tid, &config.identity, &parameters, R::DISCOVERY, &config.support);
        match options {
            Ok(options) => {
                controller.applied = Some(parameters);
                let op = OpId(self.next_op);
                self.next_op += 1;
                controller.state = State::Connecting(op);
                self.connects.insert(op, tid.clone());
                env.out.push(Action::Connect { op, options });
            }
            Err(error) => self.fail(env, tid, &error.to_string(), None),
        }
    }

    /// A probe ended.
    pub fn probe_done(&mut self, env: &mut Env<'_>, op: OpId, result: Result<(), i32>) {
        self.unseen = true;
        let Some(portal) = self.portals.probed(env.now, op, result.is_ok()) else { return };
        let behind = |tid: &Tid| Portal::of(tid).as_ref() == Some(&portal);
        let behind: Vec<Tid> = self
            .controllers
            .values()
            .filter(|c| c.state == State::Queued && behind(&c.tid))
            .map(|c| c.tid.clone())
            .collect();
        let errno = result.err().unwrap_or(errno::ETIMEDOUT);
        for tid in behind {
            if let Some(controller) = self.controllers.get_mut(&tid) {
                controller.attempts += 1;
            }
            self.fail(env, &tid, &fabrics::explain_errno(errno), Some(errno));
        }
    }

    /// A connect ended.
    pub fn connect_done(
        &mut self,
        env: &mut Env<'_>,
        op: OpId,
        result: Result<Box<Device>, ConnectError>,
    ) {
        let Some(tid) = self.connects.remove(&op) else { return };
        if let Ok(device) = &result {
            self.scan.devices.retain(|known| known.id.name != device.id.name);
            self.scan.devices.push((**device).clone());
        }
        let expected = self.controllers.get(&tid).is_some_and(|c| c.state == State::Connecting(op));
        if !expected {
            self.unwanted_connect_done(env, &tid, op, result.ok().map(|device| device.id));
            return;
        }
        if let Some(portal) = Portal::of(&tid) {
            self.portals.learn(env.now, portal, !result.as_ref().is_err_and(is_unreachable));
        }
        match result {
            Ok(device) => self.bind(env, &tid, device.id, device.state == KernelState::Live),
            Err(ConnectError::Errno(errno::EALREADY)) => {
                if let Some(controller) = self.controllers.get_mut(&tid) {
                    controller.state = State::Scheduled;
                    controller.said_to_exist = true;
                }
                self.fresh = false;
            }
            Err(ConnectError::Errno(errno)) => {
                self.fail(env, &tid, &fabrics::explain_errno(errno), Some(errno));
            }
            Err(ConnectError::Reply(text)) => {
                self.fail(env, &tid, &format!("the kernel's answer makes no sense: {text}"), None);
            }
            Err(ConnectError::Vanished(name)) => {
                self.fail(env, &tid, &format!("{name} was gone as soon as it was there"), None);
            }
        }
    }

    /// An attempt failed: says so once per failing episode, and sets the next one.
    pub(super) fn fail(&mut self, env: &mut Env<'_>, tid: &Tid, reason: &str, errno: Option<i32>) {
        let Some(controller) = self.controllers.get_mut(tid) else { return };
        let timing = &env.config.settings.timing;
        let level = if controller.attempts == 2 { Level::Error } else { Level::Debug };
        env.log(level, tid, None, &format!("Failed to connect to controller. {reason}"));
        controller.last_try = env.now;
        controller.applied = None;
        self.news.push(News::Failed(tid.clone()));
        if controller.role.gives_up(controller.attempts, &env.config.settings) {
            controller.state = State::GaveUp;
            let text = "No further attempts, until its log page entry or the configuration changes";
            env.log(Level::Info, tid, None, text);
            return;
        }
        controller.state = State::Waiting;
        // EAGAIN is also what a target earns that accepts connections but never answers.
        let passing = matches!(errno, Some(errno::EBUSY | errno::EINTR))
            || (errno == Some(errno::EAGAIN) && controller.attempts < 3);
        let soon = std::mem::take(&mut controller.path_is_new);
        if controller.attempts <= 1 || passing || soon {
            controller.retry.start_with(env.now, timing.retry_fast);
        } else {
            controller.retry.set_interval(timing.retry);
            // Spread, so that hosts do not come in step after an outage.
            let percent = u8::try_from(timing.retry_jitter_percent).unwrap_or(100);
            let span = backoff::jitter(timing.retry, percent, &mut self.rng);
            controller.retry.start_spread(env.now, span);
        }
    }
}

fn is_unreachable(error: &ConnectError) -> bool {
    use errno::{ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT};
    matches!(
        error,
        ConnectError::Errno(ECONNREFUSED | ECONNRESET | EHOSTUNREACH | ENETUNREACH | ETIMEDOUT)
    )
}
