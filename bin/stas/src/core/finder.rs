// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The core of stafd: which discovery controllers to be connected to, and what their logs say.
//!
//! Owns the set of discovery controllers and their log pages. Candidates come from the
//! configuration, from referrals in the pages of other controllers, and from mDNS announcements.
//! Pages are published, never acted upon: connecting I/O controllers is the
//! [`connector`](super::connector)'s business, in another process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use log::Level;
use plinth::time::Time;

use super::api::{Reply, Request, Sysfs};
use super::base::Base;
use super::candidate;
use super::dc::{Dc, Origin};
use super::fetch::{Fetch, LID_DISCOVERY, Step};
use super::fleet::{Env, Fleet, News};
use super::lkc::{Known, State as Saved};
use super::logpage::Page;
use super::machine::{Parts, Start};
use super::port::{Action, AdminError, Configuration, DeviceEvent, Input, Notice, OpId};
use super::report::Validity;
use super::settings::{Parameters, Role};
use super::tid::{Fields, Tid};

/// The asynchronous event that announces a changed discovery log: log page identifier, event
/// information, event type.
pub const AEN_DISCOVERY_CHANGED: u32 = ((LID_DISCOVERY as u32) << 16) | 0xf002;
/// How far referrals are followed.
const REFERRAL_DEPTH_MAX: u32 = 8;
/// How many referrals one configured or announced controller may bring about.
const REFERRALS_MAX: usize = 64;

/// See the module's documentation.
pub struct Finder {
    pub(super) base: Base,
    pub(super) fleet: Fleet<Dc>,
    pub(super) announced: Vec<Fields>,
    /// Connects that a former process did not wait for: undone if they are unwanted.
    leftovers: Vec<Fields>,
    /// Kernel controllers that reported to be connected before they were known to be ours.
    early: BTreeSet<String>,
    /// Fetch everything again after the next scan.
    resync: bool,
    /// A reconcile has taken place, or the state file has stood in for it.
    pub(super) ready: bool,
}

impl Parts for Finder {
    const ROLE: Role = Role::Finder;

    type Kind = Dc;

    fn new(start: Start<'_>, out: &mut Vec<Action>) -> Self {
        let Start { configuration: config, restored, seed, now, wall } = start;
        let mut finder = Self {
            fleet: Fleet::new(seed, &config.settings),
            base: Base::new(Role::Finder, config, now, wall),
            announced: Vec::new(),
            leftovers: Vec::new(),
            early: BTreeSet::new(),
            resync: false,
            ready: false,
        };
        if let Some(saved) = finder.base.restore(restored, out) {
            finder.restore(now, saved, out);
        }
        finder
    }

    fn base(&self) -> &Base {
        &self.base
    }

    fn fleet(&self) -> &Fleet<Dc> {
        &self.fleet
    }

    fn parts(&mut self) -> (&mut Base, &mut Fleet<Dc>) {
        (&mut self.base, &mut self.fleet)
    }

    fn reload(&mut self, now: Time, config: Configuration, out: &mut Vec<Action>) {
        self.base.reload(now, config, out);
        for tid in self.fleet.tids() {
            if let Some(controller) = self.fleet.get_mut(&tid) {
                controller.role.unresponsive.stop();
                controller.role.reported = false;
                if controller.role.polled {
                    self.fleet.hurry(&tid);
                }
            }
            self.judge_patience(now, &tid, out);
            self.fetch(now, &tid, out);
        }
    }

    fn stop(&mut self, now: Time, out: &mut Vec<Action>) {
        let keep = self.base.config.settings.persistent_connections;
        self.base.stopping = Some(now + self.base.config.settings.timing.stop_limit * 4 / 5);
        self.base.soak.stop();
        self.base.round = None;
        let pending = self.pending(keep);
        let text = Saved { pending, ..self.remembered() }.encode();
        self.base.distrust_state_file();
        self.base.save(text, out);
        self.fleet.stop(&mut Env { now, config: &self.base.config, out }, keep);
    }

    fn device(&mut self, now: Time, event: DeviceEvent, out: &mut Vec<Action>) {
        match event {
            DeviceEvent::Added { .. } => self.fleet.stale(),
            DeviceEvent::Removed { name } => self.fleet.device_removed(&name),
            DeviceEvent::Connected { name } => {
                let Some(owner) = self.fleet.owner_of(&name).map(|c| c.tid.clone()) else {
                    if self.fleet.connecting().next().is_some() {
                        self.early.insert(name);
                    }
                    return;
                };
                let echo = self.fleet.get_mut(&owner).is_some_and(|controller| {
                    std::mem::take(&mut controller.role.echo_due) && controller.live().is_some()
                });
                if !echo {
                    self.fleet.device_live(&name);
                }
            }
            DeviceEvent::Rediscover { name } => {
                let tid = self.fleet.owner_of(&name).map(|c| c.tid.clone());
                if let Some(controller) = tid.and_then(|tid| self.fleet.get_mut(&tid)) {
                    controller.role.echo_due = true;
                }
                self.fleet.device_live(&name);
            }
            DeviceEvent::Aen { name, aen } => self.aen(now, &name, aen, out),
        }
    }

    fn events_lost(&mut self, _now: Time) {
        self.early.clear();
        self.resync = true;
    }

    fn after_scan(&mut self, now: Time, out: &mut Vec<Action>) {
        if std::mem::take(&mut self.resync) {
            let live: Vec<Tid> =
                self.fleet.iter().filter(|c| c.live().is_some()).map(|c| c.tid.clone()).collect();
            for tid in live {
                self.fetch(now, &tid, out);
            }
        }
        let leftovers = std::mem::take(&mut self.leftovers).into_iter();
        let leftovers = leftovers.map(|fields| (self.base.tid(&fields), ())).collect();
        for (tid, ()) in candidate::connected::<Dc, _>(leftovers, self.fleet.scan()) {
            // Adopted here, it goes with the next reconcile unless something wants it.
            let env = Env { now, config: &self.base.config, out };
            let role = Dc::new(None, &env.config.settings.timing);
            self.fleet.want(&env, tid, Parameters::default(), role);
        }
    }

    fn other(&mut self, now: Time, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::AdminDone { op, result } => {
                self.admin_done(now, op, result.as_deref().map_err(|error| *error), out);
            }
            Input::Announced(fields) => self.announced(now, fields, out),
            _ => {} // the fleet's, or stacd's
        }
    }

    fn own_answer(&self, now: Time, request: &Request, sysfs: &dyn Sysfs) -> Option<Reply> {
        self.pages(now, request, sysfs)
    }

    fn own_wake(&self) -> Option<Time> {
        let fetches = self.fleet.iter().filter_map(|c| c.role.retry.deadline());
        let patience = self.fleet.iter().filter_map(|c| c.role.unresponsive.deadline());
        fetches.chain(patience).min()
    }

    fn expire(&mut self, now: Time, out: &mut Vec<Action>) {
        let mut due = Vec::new();
        for controller in self.fleet.iter_mut() {
            if controller.role.retry.take_expired(now) {
                due.push(controller.tid.clone());
            }
            if controller.role.unresponsive.take_expired(now) {
                controller.role.overdue = true;
                self.base.reconcile_soon(now);
            }
        }
        for tid in due {
            self.fetch(now, &tid, out);
        }
    }

    fn reconcile(&mut self, now: Time, configured: Vec<(Tid, Parameters)>, out: &mut Vec<Action>) {
        let mut sourced: BTreeMap<Tid, (Origin, Parameters)> = BTreeMap::new();
        for (tid, overrides) in configured {
            sourced.entry(tid).or_insert((Origin::Configured, overrides));
        }
        for fields in &self.announced {
            let tid = self.base.tid(fields);
            sourced.entry(tid).or_insert((Origin::Discovered, Parameters::default()));
        }
        // A discovered controller outlives its announcement, and so does what it refers to.
        let lingering: Vec<Tid> = self
            .fleet
            .iter()
            .filter(|c| c.role.origin == Some(Origin::Discovered) && !c.role.overdue)
            .map(|c| c.tid.clone())
            .collect();
        for tid in self.referrals(sourced.keys().chain(&lingering).cloned().collect(), out) {
            let entry = sourced.entry(tid).or_insert((Origin::Referral, Parameters::default()));
            entry.0 = entry.0.min(Origin::Referral);
        }
        let mut wanted = sourced;
        wanted.retain(|tid, _| self.base.accepts(tid, out));
        let lingering: BTreeSet<Tid> =
            lingering.into_iter().filter(|tid| self.base.accepts(tid, out)).collect();
        let unwanted: Vec<Tid> = self
            .fleet
            .wanted()
            .filter(|tid| !wanted.contains_key(tid) && !lingering.contains(tid))
            .cloned()
            .collect();
        let env = Env { now, config: &self.base.config, out };
        if !unwanted.is_empty() {
            env.out.push(Action::Publish(Notice::DcRemoved));
        }
        for tid in unwanted {
            self.fleet.doom(tid, false);
        }
        for (tid, (origin, overrides)) in wanted {
            let mut role = Dc::new(Some(origin), &env.config.settings.timing);
            // An entry that was merely given another path keeps what is known of its target.
            if let Some(known) = self.knower(&tid) {
                role.learn_from(known);
            }
            self.fleet.want(&env, tid.clone(), overrides, role);
            if let Some(controller) = self.fleet.get_mut(&tid) {
                controller.role.origin = Some(origin);
            }
        }
        for tid in self.fleet.tids() {
            self.judge_patience(now, &tid, out);
        }
        self.ready = true;
        self.save(out);
    }

    fn told(&mut self, now: Time, news: News, out: &mut Vec<Action>) {
        match news {
            News::Bound(tid) => {
                let Some(controller) = self.fleet.get_mut(&tid) else { return };
                let seen = self.early.remove(controller.device_name());
                controller.role.echo_due = controller.applied.is_some() && !seen;
                self.judge_patience(now, &tid, out);
                self.fetch(now, &tid, out);
                self.base.bound(now);
            }
            News::Live(tid) => self.fetch(now, &tid, out),
            News::Failed(tid) => {
                let failed = self.fleet.iter_mut().filter(|c| c.tid == tid);
                failed.for_each(|controller| controller.role.polled = false);
                self.judge_patience(now, &tid, out);
            }
            News::Lost(tid) => self.judge_patience(now, &tid, out),
        }
    }

    fn turned(&mut self) {
        if self.fleet.connecting().next().is_none() {
            self.early.clear();
        }
    }

    fn wind_up(&mut self, now: Time, out: &mut Vec<Action>) -> bool {
        self.fleet.pump_disposals(&mut Env { now, config: &self.base.config, out });
        self.fleet.is_settled()
    }
}

impl Finder {
    fn restore(&mut self, now: Time, saved: Saved, out: &mut Vec<Action>) {
        self.leftovers = saved.pending;
        self.ready = !saved.controllers.is_empty();
        let mut env = Env { now, config: &self.base.config, out };
        for known in saved.controllers {
            let tid = self.base.tid(&known.fields);
            let origin = match &*known.origin {
                "" => None, // it was saved before the first reconcile
                word => Origin::parse(word)
                    .map_err(|reason| env.log(Level::Error, &tid, None, &reason))
                    .ok(),
            };
            let mut role = Dc::new(origin, &env.config.settings.timing);
            if let Some(page) = known.page {
                (role.page, role.validity) = (page, Validity::Cached);
            }
            self.fleet.want(&env, tid, Parameters::default(), role);
        }
        if !self.leftovers.is_empty() {
            self.fleet.look(&mut env);
        }
    }

    /// The controllers, for tests and simulations.
    #[must_use]
    pub const fn fleet(&self) -> &Fleet<Dc> {
        &self.fleet
    }

    /// Whether no reconcile is under way or about to begin.
    #[must_use]
    pub const fn is_calm(&self) -> bool {
        self.base.round.is_none() && !self.base.soak.is_running()
    }

    fn aen(&mut self, now: Time, name: &str, aen: u32, out: &mut Vec<Action>) {
        let Some(controller) = self.fleet.owner_of(name) else { return };
        let (tid, started) = (controller.tid.clone(), controller.role.started);
        let mut env = Env { now, config: &self.base.config, out };
        env.log(Level::Info, &tid, Some(name), &format!("Received AEN: {aen:#08x}"));
        if aen == AEN_DISCOVERY_CHANGED && started {
            self.fetch(now, &tid, out);
        }
    }

    /// Fetches the log page of a live controller; one that is being fetched is fetched once more.
    fn fetch(&mut self, now: Time, tid: &Tid, out: &mut Vec<Action>) {
        let op = self.fleet.new_op();
        let timing = &self.base.config.settings.timing;
        let Some(controller) = self.fleet.get_mut(tid) else { return };
        let Some(device) = controller.live().cloned() else { return };
        let role = &mut controller.role;
        if role.fetch.is_some() {
            role.again = true;
            return;
        }
        role.retry.stop();
        role.started = true;
        let (fetch, command) = Fetch::start(now, 0, timing.fetch_attempts);
        role.fetch = Some((op, fetch));
        out.push(Action::Admin { op, device, command, limit: timing.admin_limit });
    }

    fn admin_done(
        &mut self,
        now: Time,
        op: OpId,
        result: Result<&[u8], AdminError>,
        out: &mut Vec<Action>,
    ) {
        let next = self.fleet.new_op();
        let mut env = Env { now, config: &self.base.config, out };
        let is_it = |role: &Dc| matches!(&role.fetch, Some((it, _)) if *it == op);
        let Some(controller) = self.fleet.iter_mut().find(|c| is_it(&c.role)) else {
            self.fleet.command_done(&mut env, op);
            return;
        };
        let (tid, name) = (controller.tid.clone(), controller.device_name().to_owned());
        let device = controller.owned().cloned();
        let Some((_, mut fetch)) = controller.role.fetch.take() else { return };
        let step = fetch.answer(now, result);
        match (step, device) {
            (Step::Send(command), Some(device)) => {
                controller.role.fetch = Some((next, fetch));
                let limit = env.config.settings.timing.admin_limit;
                env.out.push(Action::Admin { op: next, device, command, limit });
            }
            (Step::Done(page), _) => self.fetched(now, &tid, &name, page, out),
            (Step::Failed(error), _) => {
                let role = &mut controller.role;
                role.failures += 1;
                role.error = error.to_string();
                role.retry.start_with(now, env.config.settings.timing.log_page_retry);
                let level = if role.failures == 1 { Level::Error } else { Level::Debug };
                let text = format!("Failed to retrieve log pages. {error}");
                env.log(level, &tid, Some(&name), &text);
                if std::mem::take(&mut role.again) {
                    self.fetch(now, &tid, out);
                }
            }
            (Step::Send(_), None) => {}
        }
    }

    fn fetched(&mut self, now: Time, tid: &Tid, name: &str, page: Page, out: &mut Vec<Action>) {
        let Some(controller) = self.fleet.get_mut(tid) else { return };
        let count = page.entries.len();
        let referrals_changed = controller.role.accept(page);
        let again = std::mem::take(&mut controller.role.again);
        let mut env = Env { now, config: &self.base.config, out };
        let text = format!("Received discovery log pages (num records={count}).");
        env.log(Level::Info, tid, Some(name), &text);
        let (tid_box, device) = (Box::new(tid.clone()), name.to_owned());
        out.push(Action::Publish(Notice::LogPagesChanged { tid: tid_box, device }));
        if referrals_changed {
            self.base.reconcile_soon(now);
        }
        self.save(out);
        if again {
            self.fetch(now, tid, out);
        } else {
            self.rest_if_asked(now, tid, out);
        }
    }

    /// Cuts the connection to a controller that wants none to last, until the next poll.
    fn rest_if_asked(&mut self, now: Time, tid: &Tid, out: &mut Vec<Action>) {
        let settings = &self.base.config.settings;
        let Some(controller) = self.fleet.get_mut(tid) else { return };
        controller.role.polled =
            settings.poll_unless_persistent && controller.role.page.asks_for_polling();
        if controller.role.polled {
            let mut env = Env { now, config: &self.base.config, out };
            self.fleet.rest(&mut env, tid, settings.poll_interval);
        }
    }

    fn announced(&mut self, now: Time, fields: Vec<Fields>, out: &mut Vec<Action>) {
        if self.announced == fields {
            return;
        }
        self.announced = fields;
        self.base.reconcile_soon(now);
        for tid in self.fleet.tids() {
            self.judge_patience(now, &tid, out);
        }
    }

    /// Starts, or forgets, the time after which a controller that mDNS no longer announces and
    /// that cannot be connected is dropped.
    fn judge_patience(&mut self, now: Time, tid: &Tid, out: &mut Vec<Action>) {
        let announced = self.announced.iter().any(|fields| self.base.tid(fields) == *tid);
        let patience = self.base.config.settings.zeroconf_persistence;
        let date = patience.map(|span| self.base.date(now + span));
        let Some(controller) = self.fleet.get_mut(tid) else { return };
        let connected = controller.device().is_some() || controller.role.polled;
        let role = &mut controller.role;
        if role.origin != Some(Origin::Discovered) || announced || connected {
            role.unresponsive.stop();
            (role.overdue, role.reported) = (false, false);
            return;
        }
        if role.overdue
            || role.unresponsive.is_running()
            || std::mem::replace(&mut role.reported, true)
        {
            return;
        }
        let text = match (patience, date) {
            (Some(span), Some(date)) => {
                role.unresponsive.start_with(now, span);
                format!("Controller is not responding. Will be removed by {date} unless restored")
            }
            _ => "Controller not responding. Retrying...".to_owned(),
        };
        Env { now, config: &self.base.config, out }.log(Level::Info, tid, None, &text);
    }

    /// The connects in flight that the next process is to undo, should they succeed.
    fn pending(&self, keep: bool) -> Vec<Fields> {
        let fields = |tid: &Tid| tid.fields().clone();
        if keep {
            self.fleet.unwanted_connects().map(fields).collect()
        } else {
            self.fleet.connecting().map(fields).collect()
        }
    }

    fn remembered(&self) -> Saved {
        let known = self.fleet.iter().map(|c| Known {
            fields: c.tid.fields().clone(),
            origin: c.role.origin.map_or("", Origin::as_str).to_owned(),
            page: (c.role.validity != Validity::Nothing).then(|| c.role.page.clone()),
            reporters: Vec::new(),
        });
        let hosts = self.base.hosts.addresses();
        Saved { controllers: known.collect(), pending: Vec::new(), hosts }
    }

    fn save(&mut self, out: &mut Vec<Action>) {
        let text = self.remembered().encode();
        self.base.save(text, out);
    }

    /// Who knows the log page of a candidate: itself, or an entry for another path to its target.
    pub(super) fn knower(&self, tid: &Tid) -> Option<&Dc> {
        let knows = |role: &&Dc| role.validity != Validity::Nothing;
        let own = self.fleet.get(tid).map(|c| &c.role).filter(knows);
        own.or_else(|| {
            let siblings = self.fleet.iter().filter(|c| candidate::same_portal(&c.tid, tid));
            siblings.map(|c| &c.role).find(knows)
        })
    }

    /// Follows referrals from `roots`, breadth first, as far as pages are known. Controllers that
    /// refer to each other but to which nothing else leads are not reached.
    fn referrals(&mut self, roots: Vec<Tid>, out: &mut Vec<Action>) -> Vec<Tid> {
        let mut found: Vec<Tid> = Vec::new();
        let mut seen: BTreeSet<Tid> = roots.iter().cloned().collect();
        let mut counts: BTreeMap<Tid, usize> = BTreeMap::new();
        let mut queue: VecDeque<(Tid, Tid, u32)> =
            roots.into_iter().map(|tid| (tid.clone(), tid, 0)).collect();
        while let Some((tid, root, depth)) = queue.pop_front() {
            let Some(role) = self.knower(&tid) else { continue };
            let defaults = self.base.defaults();
            let referred: Vec<Tid> = role
                .referrals()
                .filter(|entry| entry.usable())
                .map(|entry| Tid::new(&candidate::fields(entry, tid.fields()), &defaults))
                .filter(|other| !candidate::same_portal(other, &tid))
                .collect();
            for other in referred {
                if seen.contains(&other) {
                    // A root that is also referred to takes the better origin.
                    found.push(other);
                    continue;
                }
                let count = counts.entry(root.clone()).or_default();
                if depth >= REFERRAL_DEPTH_MAX || *count >= REFERRALS_MAX {
                    let text = format!("{root} leads to too many referrals: the rest is ignored");
                    self.base.complain_once(Level::Warn, text, out);
                    break;
                }
                *count += 1;
                seen.insert(other.clone());
                found.push(other.clone());
                queue.push_back((other, root.clone(), depth + 1));
            }
        }
        found
    }
}

#[cfg(test)]
#[path = "finder_tests.rs"]
mod tests;
