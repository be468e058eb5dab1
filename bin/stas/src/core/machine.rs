// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a daemon's core is to those who run it, and the course of a step, alike for both daemons.
//!
//! Owns the order of things: how an input is handed on, and that a turn looks at timers, then
//! reconciles, then lets the fleet work until it has no more news. What is particular to a daemon
//! are its `Parts`, which the [`finder`](super::finder) and the [`connector`](super::connector)
//! fill in.

use plinth::time::{Time, Wall};

use super::api::{self, Describe, Reply, Request, Sysfs};
use super::base::Base;
use super::fleet::{Env, Fleet, News};
use super::port::{Action, Configuration, DeviceEvent, Input};
use super::settings::{Parameters, Role};
use super::tid::Tid;

/// What a core is made from.
pub struct Start<'a> {
    /// The files' content.
    pub configuration: Configuration,
    /// The text of the state file.
    pub restored: Option<&'a str>,
    /// For whatever the core leaves to chance.
    pub seed: u64,
    /// The monotonic time.
    pub now: Time,
    /// The time of day.
    pub wall: Wall,
}

/// A machine that decides.
pub trait Machine {
    /// Which daemon it is.
    fn role() -> Role
    where
        Self: Sized;

    /// Starts; what is to be done first is added to `out`. Feed [`Input::Wake`] next.
    fn start(start: Start<'_>, out: &mut Vec<Action>) -> Self
    where
        Self: Sized;

    /// Takes one input and adds what is to be done.
    fn step(&mut self, now: Time, input: Input, out: &mut Vec<Action>);

    /// When [`Input::Wake`] is due.
    fn next_wake(&self) -> Option<Time>;

    /// Answers a client.
    fn answer(
        &mut self,
        now: Time,
        request: &Request,
        sysfs: &dyn Sysfs,
        out: &mut Vec<Action>,
    ) -> Reply;

    /// One line for the service manager.
    fn status(&self) -> String;

    /// Checks the invariants that tests and simulations rely on.
    ///
    /// # Panics
    /// When one does not hold.
    fn assert_invariants(&self);
}

/// What is particular to one daemon's core.
pub(super) trait Parts: Sized {
    /// Which daemon it is.
    const ROLE: Role;

    /// What its controllers are.
    type Kind: Describe;

    /// See [`Machine::start`].
    fn new(start: Start<'_>, out: &mut Vec<Action>) -> Self;

    /// What is no controller.
    fn base(&self) -> &Base;

    /// The controllers.
    fn fleet(&self) -> &Fleet<Self::Kind>;

    /// Both, for changes.
    fn parts(&mut self) -> (&mut Base, &mut Fleet<Self::Kind>);

    /// [`Input::Reload`].
    fn reload(&mut self, now: Time, config: Configuration, out: &mut Vec<Action>);

    /// The first [`Input::Stop`].
    fn stop(&mut self, now: Time, out: &mut Vec<Action>);

    /// [`Input::Device`].
    fn device(&mut self, now: Time, event: DeviceEvent, out: &mut Vec<Action>);

    /// [`Input::EventsLost`], of which the fleet knows already.
    fn events_lost(&mut self, now: Time);

    /// [`Input::Scanned`], which the fleet has got.
    fn after_scan(&mut self, now: Time, out: &mut Vec<Action>);

    /// Inputs that only one daemon knows.
    fn other(&mut self, now: Time, input: Input, out: &mut Vec<Action>);

    /// Answers what only one daemon can be asked, or answers in its own way.
    fn own_answer(&self, _now: Time, _request: &Request, _sysfs: &dyn Sysfs) -> Option<Reply> {
        None
    }

    /// The earliest of its own timers.
    fn own_wake(&self) -> Option<Time>;

    /// Acts on its own timers.
    fn expire(&mut self, now: Time, out: &mut Vec<Action>);

    /// The wait for the sources of a reconcile begins: asks its own sources.
    fn ask_sources(&mut self, _now: Time, _out: &mut Vec<Action>) {}

    /// Whether one of its own sources has yet to answer.
    fn awaits_sources(&self) -> bool {
        false
    }

    /// Compares what is wanted with what there is. `configured` are the candidates of the
    /// configuration, with their names resolved.
    fn reconcile(&mut self, now: Time, configured: Vec<(Tid, Parameters)>, out: &mut Vec<Action>);

    /// Something happened to a controller.
    fn told(&mut self, now: Time, news: News, out: &mut Vec<Action>);

    /// The turn is over.
    fn turned(&mut self) {}

    /// Goes on with the end of the daemon. Whether nothing needs to be waited for.
    fn wind_up(&mut self, _now: Time, _out: &mut Vec<Action>) -> bool {
        true
    }
}

impl<P: Parts> Machine for P {
    fn role() -> Role {
        P::ROLE
    }

    fn start(start: Start<'_>, out: &mut Vec<Action>) -> Self {
        Self::new(start, out)
    }

    fn step(&mut self, now: Time, input: Input, out: &mut Vec<Action>) {
        let before = out.len();
        let (base, fleet) = self.parts();
        if base.left {
            return;
        }
        let mut env = Env { now, config: &base.config, out };
        if let Some(input) = fleet.take(&mut env, input) {
            hand_on(self, now, input, out);
        }
        if self.base().stopping.is_some() {
            let settled = self.wind_up(now, out);
            self.parts().0.leave_if(now, settled, out);
        } else {
            turn(self, now, out);
        }
        self.parts().0.quiet.judge(now, out.get_mut(before..).unwrap_or_default());
    }

    fn next_wake(&self) -> Option<Time> {
        let base = self.base();
        if base.stopping.is_some() {
            return base.next_wake();
        }
        let all = [self.own_wake(), self.fleet().next_wake(), base.next_wake()];
        all.into_iter().flatten().min()
    }

    fn answer(
        &mut self,
        now: Time,
        request: &Request,
        sysfs: &dyn Sysfs,
        out: &mut Vec<Action>,
    ) -> Reply {
        if let Some(reply) = self.own_answer(now, request, sysfs) {
            return reply;
        }
        let (base, fleet) = self.parts();
        api::common(now, request, base, fleet, sysfs, out)
    }

    fn status(&self) -> String {
        api::status(self.fleet())
    }

    fn assert_invariants(&self) {
        self.fleet().assert_invariants();
    }
}

/// Hands on an input that is not the fleet's alone.
fn hand_on<P: Parts>(core: &mut P, now: Time, input: Input, out: &mut Vec<Action>) {
    let (base, fleet) = core.parts();
    match input {
        Input::Reload(config) => core.reload(now, *config, out),
        Input::Stop if base.stopping.is_none() => core.stop(now, out),
        Input::Device(event) => core.device(now, event, out),
        Input::EventsLost => {
            fleet.events_lost();
            core.events_lost(now);
        }
        Input::Scanned(scan) => {
            fleet.scanned(&mut Env { now, config: &base.config, out }, *scan);
            core.after_scan(now, out);
        }
        Input::Resolved { op, result } => base.resolved(now, op, result, out),
        other => core.other(now, other, out),
    }
}

/// Does what has become due or possible.
fn turn<P: Parts>(core: &mut P, now: Time, out: &mut Vec<Action>) {
    let (base, fleet) = core.parts();
    base.hosts.retry(now, || fleet.new_op(), out);
    if base.soak.take_expired(now) {
        base.begin_round(now, || fleet.new_op(), out);
        core.ask_sources(now, out);
    }
    core.expire(now, out);
    let waiting = core.base().hosts.is_pending() || core.awaits_sources();
    if core.base().round.is_some_and(|round| !waiting || now >= round.until) {
        let (base, fleet) = core.parts();
        fleet.stale();
        let connected = |tid: &Tid| fleet.get(tid).is_some_and(|c| c.device().is_some());
        let configured = base.configured(connected, out);
        core.reconcile(now, configured, out);
        core.parts().0.end_round(now);
    }
    loop {
        let (base, fleet) = core.parts();
        fleet.pump(&mut Env { now, config: &base.config, out });
        let news = fleet.take_news();
        if news.is_empty() {
            break;
        }
        for item in news {
            core.told(now, item, out);
        }
    }
    core.turned();
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
