// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What both daemons' cores have in common, apart from their controllers.
//!
//! Owns the configuration in force, the debounce of reconciles, the host names in it, the trace
//! switch, the text of the state file, and the complaints already made about the configuration.
//! What a reconcile does is left to the [`finder`](super::finder) and the
//! [`connector`](super::connector).

use std::collections::BTreeSet;

use log::Level;
use plinth::time::{Time, Wall};

use super::exclude;
use super::filter::{self, Invalid};
use super::hosts::{Answer, Hosts};
use super::ip;
use super::lkc::State as Saved;
use super::port::{Action, Configuration, Notice, OpId, Record};
use super::quiet::Quiet;
use super::settings::{Configured, Parameters, Role};
use super::tid::{self, Fields, Tid, TidDefaults};
use super::timer::Timer;

/// A reconcile that waits for its sources.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// Waits no longer than this.
    pub(super) until: Time,
    /// Another one was asked for meanwhile.
    pub(super) again: bool,
}

/// See the module's documentation.
pub(super) struct Base {
    pub(super) role: Role,
    pub(super) config: Configuration,
    pub(super) soak: Timer,
    pub(super) hosts: Hosts,
    pub(super) round: Option<Round>,
    /// When the process ends at the latest, once it was told to stop.
    pub(super) stopping: Option<Time>,
    /// The last action was [`Action::Exit`].
    pub(super) left: bool,
    tron: bool,
    tron_by_bus: bool,
    saved: String,
    complained: BTreeSet<String>,
    pub(super) quiet: Quiet,
    started: (Time, Wall),
}

fn log(out: &mut Vec<Action>, level: Level, text: String) {
    out.push(Action::Log(Record { level, text, controller: None, device: None }));
}

impl Base {
    pub(super) fn new(role: Role, config: Configuration, now: Time, wall: Wall) -> Self {
        let mut soak = Timer::new(config.settings.timing.config_soak);
        soak.start(now);
        Self {
            role,
            soak,
            hosts: Hosts::default(),
            round: None,
            stopping: None,
            left: false,
            tron: config.settings.tron || config.tron,
            tron_by_bus: false,
            saved: String::new(),
            complained: BTreeSet::new(),
            quiet: Quiet::default(),
            started: (now, wall),
            config,
        }
    }

    pub(super) fn defaults(&self) -> TidDefaults<'_> {
        TidDefaults {
            host_nqn: &self.config.identity.nqn,
            ignore_iface: self.config.settings.ignore_iface,
        }
    }

    pub(super) fn tid(&self, fields: &Fields) -> Tid {
        Tid::new(fields, &self.defaults())
    }

    /// The date of a moment that is still to come, as far as the clock at the start knew.
    pub(super) fn date(&self, at: Time) -> Wall {
        self.started.1 + self.started.0.until(at)
    }

    pub(super) const fn tron(&self) -> bool {
        self.tron
    }

    /// Switches tracing at a user's wish.
    pub(super) fn set_tron(&mut self, on: bool, out: &mut Vec<Action>) {
        self.tron_by_bus = true;
        self.switch_tron(on, out);
    }

    fn switch_tron(&mut self, on: bool, out: &mut Vec<Action>) {
        if self.tron != on {
            self.tron = on;
            out.push(Action::Publish(Notice::Tron(on)));
        }
    }

    /// Puts a new configuration into force. The command line's trace option stays in force until
    /// a user switches it off.
    pub(super) fn reload(&mut self, now: Time, config: Configuration, out: &mut Vec<Action>) {
        let by_option = config.tron && !self.tron_by_bus;
        let on = config.settings.tron || by_option;
        self.config = config;
        self.complained.clear();
        self.switch_tron(on, out);
        self.reconcile_soon(now);
    }

    pub(super) fn reconcile_soon(&mut self, now: Time) {
        match &mut self.round {
            Some(round) => round.again = true,
            None if self.stopping.is_none() => {
                self.soak.start_with(now, self.config.settings.timing.config_soak);
            }
            None => {}
        }
    }

    /// A candidate got its connection. Where a name has a new address, the former one may go now.
    pub(super) fn bound(&mut self, now: Time) {
        if self.hosts.is_moving() {
            self.reconcile_soon(now);
        }
    }

    pub(super) fn complain_once(&mut self, level: Level, text: String, out: &mut Vec<Action>) {
        if self.complained.insert(text.clone()) {
            log(out, level, text);
        }
    }

    /// Starts waiting for the sources of a reconcile.
    pub(super) fn begin_round(
        &mut self,
        now: Time,
        new_op: impl FnMut() -> OpId,
        out: &mut Vec<Action>,
    ) {
        let until = now + self.config.settings.timing.name_limit;
        self.round = Some(Round { until, again: false });
        let names = self.names();
        self.hosts.look_up(&names, new_op, out);
    }

    /// Ends the wait; the next trigger that came meanwhile starts a new one.
    pub(super) fn end_round(&mut self, now: Time) {
        if self.round.take().is_some_and(|round| round.again) {
            self.reconcile_soon(now);
        }
    }

    fn usable(&self, entry: &Configured) -> bool {
        let fields = entry.wanted(self.role);
        entry.complete(self.role) && !exclude::excluded(&self.config.settings.excludes, &fields)
    }

    /// The host names of the configured entries that are neither incomplete nor excluded.
    fn names(&self) -> BTreeSet<String> {
        let entries = self.config.settings.controllers.iter().filter(|entry| self.usable(entry));
        entries.filter_map(|entry| host_name(&entry.fields)).map(str::to_owned).collect()
    }

    /// A look-up ended. Whether it changed what is wanted.
    pub(super) fn resolved(
        &mut self,
        now: Time,
        op: OpId,
        result: Result<Vec<std::net::IpAddr>, String>,
        out: &mut Vec<Action>,
    ) {
        match self.hosts.answer(now, op, result, self.config.settings.families) {
            Answer::Changed if self.round.is_none() => self.reconcile_soon(now),
            Answer::Failed { host, reason, first } => {
                let level = if first { Level::Error } else { Level::Debug };
                log(out, level, format!("Failed to resolve host name '{host}': {reason}"));
            }
            Answer::Changed | Answer::Same | Answer::Unknown => {}
        }
    }

    /// The configured candidates, with their names resolved. `connected` tells whether a candidate
    /// has a connection: only then the former address of its name is given up.
    pub(super) fn configured(
        &mut self,
        connected: impl Fn(&Tid) -> bool,
        out: &mut Vec<Action>,
    ) -> Vec<(Tid, Parameters)> {
        let entries = self.config.settings.controllers.clone();
        let mut candidates = Vec::new();
        for entry in entries {
            if let Some(missing) = entry.missing(self.role) {
                let text = format!(
                    "controller entry in line {} is ignored: it has no {missing}",
                    entry.line
                );
                self.complain_once(Level::Warn, text, out);
                continue;
            }
            let mut fields = entry.wanted(self.role);
            if exclude::excluded(&self.config.settings.excludes, &fields) {
                continue;
            }
            let Some(name) = host_name(&entry.fields).map(str::to_owned) else {
                candidates.push((self.tid(&fields), entry.overrides));
                continue;
            };
            let Some(address) = self.hosts.address(&name) else { continue };
            fields.traddr = address.to_string();
            let tid = self.tid(&fields);
            if let Some(old) = self.hosts.retiring(&name) {
                if connected(&tid) {
                    self.hosts.moved(&name);
                } else {
                    fields.traddr = old.to_string();
                    candidates.push((self.tid(&fields), entry.overrides.clone()));
                }
            }
            candidates.push((tid, entry.overrides));
        }
        candidates
    }

    /// Whether a candidate may be connected at all; says why not, once.
    pub(super) fn accepts(&mut self, tid: &Tid, out: &mut Vec<Action>) -> bool {
        if exclude::excluded(&self.config.settings.excludes, tid.fields()) {
            return false;
        }
        match filter::check(tid, self.config.settings.families) {
            Ok(()) => true,
            Err(invalid @ Invalid::FamilyDisabled(_)) => {
                self.complain_once(Level::Warn, invalid.to_string(), out);
                false
            }
            Err(invalid) => {
                self.complain_once(Level::Warn, format!("{tid} is ignored: {invalid}"), out);
                false
            }
        }
    }

    /// What the text of the state file says, if there is one that makes sense. The addresses of
    /// host names in it are in force again.
    pub(super) fn restore(&mut self, text: Option<&str>, out: &mut Vec<Action>) -> Option<Saved> {
        match Saved::decode(text?) {
            Ok(mut saved) => {
                self.hosts.remember(std::mem::take(&mut saved.hosts));
                Some(saved)
            }
            Err(reason) => {
                let text = format!("the last known configuration is not used: {reason}");
                log(out, Level::Warn, text);
                None
            }
        }
    }

    /// Writes the state file, if its text changed.
    pub(super) fn save(&mut self, text: String, out: &mut Vec<Action>) {
        if self.saved != text {
            self.saved.clone_from(&text);
            out.push(Action::Save(text));
        }
    }

    /// The state file may not hold what was written: the next text is written in any case.
    pub(super) fn distrust_state_file(&mut self) {
        self.saved.clear();
    }

    /// The end of the process, as soon as nothing is waited for or the time is over.
    pub(super) fn leave_if(&mut self, now: Time, settled: bool, out: &mut Vec<Action>) {
        let Some(limit) = self.stopping else { return };
        if !self.left && (settled || now >= limit) {
            self.left = true;
            out.push(Action::Exit);
        }
    }

    pub(super) fn next_wake(&self) -> Option<Time> {
        let round = self.round.map(|round| round.until);
        [self.soak.deadline(), self.hosts.next_wake(), round, self.stopping]
            .into_iter()
            .flatten()
            .min()
    }
}

/// The host name of an entry that is no literal address.
fn host_name(fields: &Fields) -> Option<&str> {
    let traddr = tid::value(&fields.traddr);
    let (bare, _) = ip::split_zone(traddr);
    (tid::is_ip(tid::value(&fields.transport)) && ip::parse(bare).is_none()).then_some(traddr)
}

#[cfg(test)]
#[path = "base_tests.rs"]
mod tests;
