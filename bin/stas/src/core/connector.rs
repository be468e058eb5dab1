// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The core of stacd: which I/O controllers to be connected to.
//!
//! Owns the set of I/O controllers and what stafd said last. Candidates come from the configuration
//! and from the log pages that stafd has fetched. Silence never costs a connection: a stafd that is
//! gone, slow, or talks nonsense leaves everything as it is, and so does a discovery controller
//! whose page nobody has fetched yet.

use std::collections::{BTreeMap, BTreeSet};

use log::Level;
use plinth::time::Time;

use super::base::Base;
use super::candidate;
use super::cid::{Class, OWNER};
use super::controller::Controller;
use super::exclude;
use super::fleet::{Env, Fleet, News};
use super::ioc::{Ioc, Origin};
use super::lkc::{Known, State as Saved};
use super::logpage::{Entry, SUBTYPE_NVME};
use super::machine::{Parts, Start};
use super::matching;
use super::port::{Action, Configuration, DeviceEvent, Input, OpId, StafdEvent};
use super::report::{self, Source, Validity};
use super::settings::{Parameters, Role, Scope};
use super::tid::Tid;
use super::timer::Timer;

/// What is known of stafd.
#[derive(Default)]
struct Stafd {
    /// It can be asked.
    present: bool,
    /// The question in flight.
    asking: Option<OpId>,
    /// The latest question that was answered.
    answered: Option<OpId>,
    /// The last answer that made sense.
    list: Option<Vec<Source>>,
    /// Of each discovery controller, the page last fetched by a running stafd.
    pages: BTreeMap<String, Vec<Entry>>,
}

/// A wanted I/O controller in the making.
struct Wanted {
    overrides: Parameters,
    origin: Origin,
    entry: Option<Entry>,
    reporters: Vec<String>,
}

/// See the module's documentation.
pub struct Connector {
    pub(super) base: Base,
    pub(super) fleet: Fleet<Ioc>,
    stafd: Stafd,
    /// The controllers of the state file, until the first scan tells which of them still exist.
    restoring: Vec<Known>,
    /// The first scan tells by the registry of owners what a former process connected.
    importing: bool,
    /// The reconcile waits for the next scan.
    looking: bool,
    /// Audit after the next scan.
    audit_due: bool,
    /// Debounces the kernel's news of controllers that somebody else may have connected.
    add_soak: Timer,
    /// Ends the wait for a stafd that never comes.
    audit_wait: Timer,
    /// That wait has ended: audits need not wait for stafd where the configuration says so.
    alone: bool,
}

impl Parts for Connector {
    const ROLE: Role = Role::Connector;

    type Kind = Ioc;

    fn new(start: Start<'_>, out: &mut Vec<Action>) -> Self {
        let Start { configuration: config, restored, seed, now, wall } = start;
        let timing = &config.settings.timing;
        let mut connector = Self {
            fleet: Fleet::new(seed, &config.settings),
            stafd: Stafd::default(),
            restoring: Vec::new(),
            importing: restored.is_none() && config.settings.disconnect_scope == Scope::OnlyStas,
            looking: false,
            audit_due: false,
            add_soak: Timer::new(timing.add_soak),
            audit_wait: Timer::new(timing.audit_wait),
            alone: false,
            base: Base::new(Role::Connector, config, now, wall),
        };
        connector.audit_wait.start(now);
        if let Some(saved) = connector.base.restore(restored, out) {
            connector.restoring = saved.controllers;
            let origin = Origin::Discovered.as_str();
            connector.restoring.extend(saved.pending.into_iter().map(|fields| Known {
                fields,
                origin: origin.to_owned(), // as careful as can be
                ..Known::default()
            }));
        }
        connector.fleet.look(&mut Env { now, config: &connector.base.config, out });
        connector
    }

    fn base(&self) -> &Base {
        &self.base
    }

    fn fleet(&self) -> &Fleet<Ioc> {
        &self.fleet
    }

    fn parts(&mut self) -> (&mut Base, &mut Fleet<Ioc>) {
        (&mut self.base, &mut self.fleet)
    }

    fn reload(&mut self, now: Time, config: Configuration, out: &mut Vec<Action>) {
        let before = self.may_audit();
        self.base.reload(now, config, out);
        if !self.audits() {
            self.add_soak.stop();
        } else if !before {
            self.audit_soon(now, out);
        }
        let idle: Vec<Tid> = self
            .fleet
            .iter()
            .filter(|c| c.device().is_none() && !c.retry.is_running())
            .map(|c| c.tid.clone())
            .collect();
        for tid in idle {
            self.fleet.hurry(&tid);
        }
    }

    /// Connections outlive stacd: nothing is disconnected, nothing waited for.
    fn stop(&mut self, now: Time, out: &mut Vec<Action>) {
        self.base.stopping = Some(now);
        self.base.distrust_state_file();
        self.save(out);
        self.fleet.stop(&mut Env { now, config: &self.base.config, out }, true);
    }

    fn device(&mut self, now: Time, event: DeviceEvent, _out: &mut Vec<Action>) {
        match event {
            DeviceEvent::Added { .. } => {
                self.fleet.stale();
                self.note_addition(now);
            }
            DeviceEvent::Removed { name } => self.fleet.device_removed(&name),
            DeviceEvent::Connected { name } | DeviceEvent::Rediscover { name } => {
                self.fleet.device_live(&name);
            }
            DeviceEvent::Aen { .. } => {} // namespaces are the kernel's business
        }
    }

    fn events_lost(&mut self, now: Time) {
        self.note_addition(now);
    }

    fn after_scan(&mut self, now: Time, out: &mut Vec<Action>) {
        self.looking = false;
        let restoring = std::mem::take(&mut self.restoring).into_iter();
        let restoring = restoring.map(|known| (self.base.tid(&known.fields), known)).collect();
        for (tid, known) in candidate::connected::<Ioc, _>(restoring, self.fleet.scan()) {
            let origin = Origin::parse(&known.origin);
            let role = Ioc { origin, entry: None, reporters: known.reporters };
            let env = Env { now, config: &self.base.config, out };
            self.fleet.want(&env, tid, Parameters::default(), role);
        }
        if std::mem::take(&mut self.importing) {
            self.import(now, out);
        }
        if std::mem::take(&mut self.audit_due) && self.audits() {
            self.audit(now, out);
        }
    }

    fn other(&mut self, now: Time, input: Input, out: &mut Vec<Action>) {
        if let Input::Stafd(event) = input {
            self.stafd(now, event, out);
        }
    }

    fn own_wake(&self) -> Option<Time> {
        let timers = [self.add_soak.deadline(), self.audit_wait.deadline()];
        timers.into_iter().flatten().min()
    }

    fn expire(&mut self, now: Time, out: &mut Vec<Action>) {
        let waited = self.audit_wait.take_expired(now);
        self.alone |= waited;
        if waited || self.add_soak.take_expired(now) {
            self.audit_soon(now, out);
        }
    }

    fn ask_sources(&mut self, now: Time, out: &mut Vec<Action>) {
        self.ask_stafd(out);
        if self.audits() {
            // What the system runs on is judged by the present.
            self.looking = true;
            self.fleet.look(&mut Env { now, config: &self.base.config, out });
        }
    }

    fn awaits_sources(&self) -> bool {
        self.stafd.asking.is_some() || self.looking
    }

    fn reconcile(&mut self, now: Time, configured: Vec<(Tid, Parameters)>, out: &mut Vec<Action>) {
        let wanted = self.wanted(configured, out);
        let unwanted: Vec<(Tid, bool)> = self
            .fleet
            .wanted()
            .filter(|tid| !wanted.contains_key(tid) && self.may_go(tid))
            .map(|tid| (tid.clone(), self.keeps(tid)))
            .collect();
        let env = Env { now, config: &self.base.config, out };
        for (tid, keep) in unwanted {
            self.fleet.doom(tid, keep);
        }
        let mut hurried = Vec::new();
        for (tid, wanted) in wanted {
            let role = Ioc { origin: wanted.origin, entry: None, reporters: Vec::new() };
            self.fleet.want(&env, tid.clone(), wanted.overrides, role);
            let Some(controller) = self.fleet.get_mut(&tid) else { continue };
            controller.role.origin = wanted.origin;
            controller.role.reporters = wanted.reporters;
            if controller.role.update(wanted.entry) && controller.device().is_none() {
                hurried.push(tid);
            }
        }
        for tid in hurried {
            self.fleet.pardon(&tid);
            self.fleet.hurry(&tid);
        }
        self.save(out);
    }

    fn told(&mut self, now: Time, news: News, _out: &mut Vec<Action>) {
        if matches!(news, News::Bound(_)) {
            self.base.bound(now);
        }
    }
}

impl Connector {
    // stafd.

    fn ask_stafd(&mut self, out: &mut Vec<Action>) {
        if self.stafd.present && self.stafd.asking.is_none() {
            let op = self.fleet.new_op();
            self.stafd.asking = Some(op);
            out.push(Action::QueryStafd { op });
        }
    }

    fn stafd(&mut self, now: Time, event: StafdEvent, out: &mut Vec<Action>) {
        let timing = &self.base.config.settings.timing;
        let (soak, soak_long) = (timing.config_soak, timing.config_soak_long);
        match event {
            StafdEvent::Appeared => {
                self.stafd.present = true;
                self.alone = false;
                self.audit_wait.stop();
                match &mut self.base.round {
                    Some(round) => round.again = true,
                    None if self.base.stopping.is_none() => self.base.soak.start(now),
                    None => {}
                }
                self.base.soak.set_interval(soak);
            }
            StafdEvent::Vanished => {
                self.stafd.present = false;
                self.stafd.asking = None;
                self.base.soak.set_interval(soak_long);
                if self.stafd.list.is_none() {
                    self.audit_wait.start(now);
                }
            }
            StafdEvent::LogPagesChanged | StafdEvent::DcRemoved => self.base.reconcile_soon(now),
            StafdEvent::Answer { op, result } => {
                if self.stafd.answered.is_some_and(|latest| op <= latest) {
                    return; // a former stafd's, overtaken by the answer in use
                }
                if self.stafd.asking == Some(op) {
                    self.stafd.asking = None;
                }
                match result.and_then(|text| report::decode(&text)) {
                    Ok(list) => {
                        self.stafd.answered = Some(op);
                        self.learn(now, list, out);
                        if self.base.round.is_none() {
                            self.base.reconcile_soon(now); // it came too late
                        }
                    }
                    Err(reason) => self.unanswered(now, &reason, out),
                }
            }
        }
    }

    /// Takes an answer of stafd. The first one opens the way for audits.
    fn learn(&mut self, now: Time, list: Vec<Source>, out: &mut Vec<Action>) {
        let keys: BTreeSet<String> = list.iter().map(Source::key).collect();
        self.stafd.pages.retain(|key, _| keys.contains(key));
        for source in list.iter().filter(|source| source.validity == Validity::Fetched) {
            self.stafd.pages.insert(source.key(), source.entries.clone());
        }
        let first = self.stafd.list.replace(list).is_none();
        if first {
            self.audit_wait.stop();
            self.audit_soon(now, out);
        }
    }

    /// Asks again after the long soak interval, so that a stafd that is merely slow is not
    /// forgotten.
    fn unanswered(&mut self, now: Time, reason: &str, out: &mut Vec<Action>) {
        let text = format!("stafd gave no usable answer, keeping what is known: {reason}");
        Env { now, config: &self.base.config, out }.say(Level::Warn, text);
        if self.stafd.present && self.base.stopping.is_none() && !self.base.soak.is_running() {
            let span = self.base.config.settings.timing.config_soak_long;
            self.base.soak.start_spread(now, span);
        }
    }

    // Audit: connections that somebody else made.

    fn audits(&self) -> bool {
        self.base.config.settings.disconnect_scope == Scope::AllMatching
    }

    /// Whether enough is known to judge the connections of others.
    fn may_audit(&self) -> bool {
        let alone = self.alone && self.base.config.settings.audit_without_stafd;
        self.audits() && (self.stafd.list.is_some() || alone)
    }

    fn note_addition(&mut self, now: Time) {
        if self.audits() && self.base.stopping.is_none() {
            self.add_soak.start_with(now, self.base.config.settings.timing.add_soak);
        }
    }

    fn audit_soon(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.may_audit() {
            self.audit_due = true;
            self.fleet.look(&mut Env { now, config: &self.base.config, out });
        }
    }

    /// Takes in what a former process entered in the registry, as careful as can be.
    fn import(&mut self, now: Time, out: &mut Vec<Action>) {
        let scan = self.fleet.scan();
        let ours = scan.devices.iter().filter(|device| {
            device.owner == OWNER && device.class() == Class::Io && !device.state.is_gone()
        });
        let ours: Vec<Tid> =
            ours.map(|d| self.base.tid(&matching::fields_of(d, &scan.interfaces))).collect();
        let env = Env { now, config: &self.base.config, out };
        for tid in ours {
            let role = Ioc { origin: Origin::Discovered, entry: None, reporters: Vec::new() };
            self.fleet.want(&env, tid, Parameters::default(), role);
        }
    }

    /// Takes foreign connections into the table; the next reconcile judges them like any other.
    fn audit(&mut self, now: Time, out: &mut Vec<Action>) {
        let settings = &self.base.config.settings;
        let ours: BTreeSet<_> = self.fleet.iter().filter_map(|c| c.device()).collect();
        let leaving: BTreeSet<_> = self.fleet.leaving().filter_map(|(_, device)| device).collect();
        let scan = self.fleet.scan();
        let mut foreign = Vec::new();
        for device in &scan.devices {
            let audited = settings.disconnect_trtypes.contains(&device.transport);
            if !audited || device.class() != Class::Io || device.state.is_gone() {
                continue;
            }
            if device.is_others() || (device.holds_system && !settings.disconnect_boot) {
                continue;
            }
            if ours.contains(&device.id) || leaving.contains(&device.id) {
                continue;
            }
            // One that a wanted candidate could use is not foreign, whoever made it.
            let serves = |tid: &Tid| matching::serves(tid, device, &scan.interfaces).is_some();
            if !self.fleet.wanted().any(serves) && !self.fleet.connecting().any(serves) {
                let tid = self.base.tid(&matching::fields_of(device, &scan.interfaces));
                foreign.push(tid);
            }
        }
        let env = Env { now, config: &self.base.config, out };
        let any = !foreign.is_empty();
        for tid in foreign {
            let role = Ioc { origin: Origin::Foreign, entry: None, reporters: Vec::new() };
            self.fleet.want(&env, tid, Parameters::default(), role);
        }
        if any {
            self.base.reconcile_soon(now);
        }
    }

    fn save(&mut self, out: &mut Vec<Action>) {
        let known = self.fleet.iter().map(|c| Known {
            fields: c.tid.fields().clone(),
            origin: c.role.origin.as_str().to_owned(),
            page: None,
            reporters: c.role.reporters.clone(),
        });
        let mut controllers: Vec<Known> = known.collect();
        controllers.extend(self.restoring.iter().cloned());
        let hosts = self.base.hosts.addresses();
        let pending = self.fleet.unwanted_connects().map(|tid| tid.fields().clone()).collect();
        let text = Saved { controllers, pending, hosts }.encode();
        self.base.save(text, out);
    }

    fn wanted(
        &mut self,
        configured: Vec<(Tid, Parameters)>,
        out: &mut Vec<Action>,
    ) -> BTreeMap<Tid, Wanted> {
        let mut wanted: BTreeMap<Tid, Wanted> = BTreeMap::new();
        for (tid, overrides) in configured {
            let origin = Origin::Configured;
            wanted.entry(tid).or_insert(Wanted {
                overrides,
                origin,
                entry: None,
                reporters: Vec::new(),
            });
        }
        let foreign_transport = self.base.config.settings.skip_foreign_transport;
        for source in self.stafd.list.as_deref().unwrap_or_default() {
            let key = source.key();
            // A page from before stafd's restart, or none, is no better than the one used before.
            let entries = match (source.validity, self.stafd.pages.get(&key)) {
                (Validity::Cached | Validity::Nothing, Some(used)) => used,
                _ => &source.entries,
            };
            for entry in entries.iter().filter(|entry| entry.subtype == SUBTYPE_NVME) {
                let elsewhere = entry.transport() != source.fields.transport.to_ascii_lowercase();
                if !entry.usable() || !entry.has_address() || (foreign_transport && elsewhere) {
                    continue;
                }
                let tid = self.base.tid(&candidate::fields(entry, &source.fields));
                let wanted = wanted.entry(tid).or_insert_with(|| Wanted {
                    overrides: Parameters::default(),
                    origin: Origin::Discovered,
                    entry: None,
                    reporters: Vec::new(),
                });
                wanted.entry.get_or_insert_with(|| entry.clone());
                if !wanted.reporters.contains(&key) {
                    wanted.reporters.push(key.clone());
                }
            }
        }
        wanted.retain(|tid, _| self.base.accepts(tid, out));
        wanted
    }

    /// Whether a controller that nothing wants any more may be dropped, or whether somebody who
    /// could still want it is merely silent.
    fn may_go(&self, tid: &Tid) -> bool {
        if exclude::excluded(&self.base.config.settings.excludes, tid.fields()) {
            return true;
        }
        let Some(controller) = self.fleet.get(tid) else { return true };
        let role = &controller.role;
        if role.origin == Origin::Configured {
            return true;
        }
        let Some(list) = &self.stafd.list else {
            return role.origin == Origin::Foreign && self.may_audit();
        };
        let pageless = |source: &&Source| source.validity == Validity::Nothing;
        // What is silent is a discovery controller without any page, ever.
        let silent = |source: &Source| !self.stafd.pages.contains_key(&source.key());
        let concerned =
            |source: &Source| role.reporters.is_empty() || role.reporters.contains(&source.key());
        // A reporter that is missing may be one that a controller without a page refers to.
        let missing = |reporter: &String| !list.iter().any(|source| source.key() == *reporter);
        let lost_track = role.reporters.iter().any(missing);
        !list
            .iter()
            .filter(pageless)
            .any(|source| lost_track || (silent(source) && concerned(source)))
    }

    /// Whether this is a connection of somebody else that the running system cannot do without.
    fn holds_system(&self, tid: &Tid) -> bool {
        let foreign = self.fleet.get(tid).filter(|c| c.role.origin == Origin::Foreign);
        let Some(device) = foreign.and_then(Controller::owned) else { return false };
        let mut devices = self.fleet.scan().devices.iter();
        devices.any(|present| present.id == *device && present.holds_system)
    }

    /// Whether the connection of a dropped controller is left alone.
    fn keeps(&self, tid: &Tid) -> bool {
        let settings = &self.base.config.settings;
        let vanished = self.fleet.get(tid).is_some_and(|c| c.role.origin == Origin::Discovered);
        match settings.disconnect_scope {
            Scope::NoDisconnect => true,
            _ if !settings.disconnect_boot && self.holds_system(tid) => true,
            _ if vanished && !settings.honor_zoning => true,
            Scope::OnlyStas => false,
            Scope::AllMatching => {
                !settings.disconnect_trtypes.iter().any(|transport| transport == tid.transport())
            }
        }
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod audit_tests;
#[cfg(test)]
#[path = "connector_tests.rs"]
mod tests;
