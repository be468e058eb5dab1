// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What must hold in every world, after every step and at the end.
//!
//! Owns the evidence. A connection may be cut only if something said that it is unwanted: a page
//! that no longer lists it, a changed file, a person's doing. Silence is no evidence. At most one
//! operation of a kind is in flight per controller. When everything works again, exactly what is
//! wanted is connected, once, and nothing moves any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stas::core::DISC_NQN;
use stas::core::cid::State;
use stas::core::port::{DeviceId, OpId};
use stas::core::report::{self, Validity};

use crate::config::Files;
use crate::fabric::{Fabric, Place};
use crate::kernel::{Endpoint, Request};
use crate::process::{Daemon, Process, finder};
use crate::world::World;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// What may be disconnected, because something said so; `true` for everything.
    excused: BTreeSet<Endpoint>,
    excused_all: BTreeSet<Daemon>,
    connects: BTreeMap<(Daemon, OpId), Endpoint>,
    admins: BTreeMap<(Daemon, OpId), DeviceId>,
    query: Option<OpId>,
    /// Moves whenever something new may be said against a connection.
    epoch: u64,
    /// What stacd will have heard once the answer has come: the epoch of the answer, what it
    /// speaks for, and whether it speaks of everything.
    hearing: Option<(u64, BTreeSet<Endpoint>, bool)>,
    /// The files name a host whose address stafd has never heard: it cannot know that it wants it.
    unproven: bool,
    /// A state file was lost: what it knew may stay connected for ever.
    forgot: bool,
    /// Files said at some time that nothing is to be disconnected.
    kept: bool,
    /// Somebody connected something.
    pub(crate) interfered: BTreeSet<Endpoint>,
    /// Deletes that were carried out.
    pub(crate) deletes: u64,
    /// Connects that were carried out.
    pub(crate) connected: u64,
}

fn dc_endpoint(place: Place) -> Endpoint {
    Endpoint { traddr: place.0.to_string(), trsvcid: place.1.to_string(), nqn: DISC_NQN.to_owned() }
}

/// What the files and pages together ask for: discovery controllers, and I/O controllers.
pub(crate) fn wanted(fabric: &Fabric, files: &Files) -> (BTreeSet<Place>, BTreeSet<Endpoint>) {
    let places = fabric.reachable(files.controllers.iter().map(|(place, _)| *place));
    let listed = places.iter().filter_map(|place| fabric.logs.get(place));
    let mut endpoints: BTreeSet<Endpoint> =
        listed.flat_map(|log| log.subsystems.iter().cloned()).collect();
    endpoints.extend(files.connections.iter().cloned());
    endpoints.retain(|endpoint| files.excluded.as_ref() != Some(&endpoint.nqn));
    (places, endpoints)
}

/// The generation of the page that stafd has fetched from a discovery controller.
fn page_of(processes: &BTreeMap<Daemon, Process>, place: Place) -> Option<u64> {
    finder(processes)?
        .fleet()
        .iter()
        .find(|c| c.tid.traddr() == place.0.to_string() && c.role.validity == Validity::Fetched)
        .map(|c| c.role.page.genctr)
}

impl Judge {
    /// A process was started: its predecessor's operations are nobody's.
    pub(crate) fn started(&mut self, daemon: Daemon) {
        self.connects.retain(|(of, _), _| *of != daemon);
        self.admins.retain(|(of, _), _| *of != daemon);
        if daemon == Daemon::Connector {
            self.query = None;
        }
    }

    /// A process asks for a connect.
    pub(crate) fn connect(&mut self, daemon: Daemon, op: OpId, request: &Request) {
        self.connected += 1;
        let endpoint = request.endpoint();
        let _earlier = self.connects.insert((daemon, op), endpoint);
    }

    /// A process asks for a disconnect.
    ///
    /// # Panics
    /// When nothing said that the controller is unwanted.
    pub(crate) fn delete(
        &mut self,
        daemon: Daemon,
        op: OpId,
        device: &DeviceId,
        endpoint: Option<&Endpoint>,
        (fabric, files): (&Fabric, &Files),
    ) {
        self.deletes += 1;
        let Some(endpoint) = endpoint else { return };
        let (places, endpoints) = wanted(fabric, files);
        let asked_for = endpoints.contains(endpoint)
            || places.iter().any(|place| dc_endpoint(*place) == *endpoint);
        let excused = !asked_for
            || self.excused_all.contains(&daemon)
            || self.excused.contains(endpoint)
            || self.interfered.contains(endpoint);
        assert!(
            excused,
            "{daemon:?} cuts {device:?} ({endpoint:?}, {op:?}) although nothing said so"
        );
    }

    /// A process sends a command.
    ///
    /// # Panics
    /// When another is in flight to the same controller.
    pub(crate) fn admin(&mut self, daemon: Daemon, op: OpId, device: &DeviceId) {
        let twice = self.admins.iter().any(|((of, _), to)| *of == daemon && to == device);
        assert!(!twice, "{daemon:?} sends two commands to {device:?}");
        self.admins.insert((daemon, op), device.clone());
    }

    /// A command ended.
    pub(crate) fn admin_done(&mut self, daemon: Daemon, op: OpId) {
        self.admins.remove(&(daemon, op));
    }

    /// stacd asks stafd.
    ///
    /// # Panics
    /// When an earlier question is still open.
    pub(crate) fn query(&mut self, op: OpId) {
        assert_eq!(self.query, None, "two questions at once");
        self.query = Some(op);
    }

    /// stafd's name vanished: no question is open any more.
    pub(crate) const fn queries_over(&mut self) {
        self.query = None;
    }

    /// A page changed: what is no longer asked for may go.
    /// Another page that still asks for it counts only if stafd has seen it.
    pub(crate) fn page_changed(
        &mut self,
        processes: &BTreeMap<Daemon, Process>,
        (before, after): (&Fabric, &Fabric),
        files: &Files,
    ) {
        self.epoch += 1;
        let mut seen = after.clone();
        for (place, log) in &mut seen.logs {
            let unchanged = before.logs.get(place).is_some_and(|old| old.genctr == log.genctr);
            if unchanged && page_of(processes, *place) != Some(log.genctr) {
                (log.subsystems, log.referrals) = Default::default();
            }
        }
        let (dcs, iocs) = wanted(before, files);
        let (dcs_now, iocs_now) = wanted(&seen, files);
        self.excused.extend(dcs.difference(&dcs_now).map(|place| dc_endpoint(*place)));
        self.excused.extend(iocs.difference(&iocs_now).cloned());
    }

    /// The files changed: everything may go, until both daemons have seen them.
    pub(crate) fn files_changed(&mut self, before: &Files, now: &Files) {
        self.epoch += 1;
        self.unproven |= now.named && (!before.named || self.unproven);
        self.kept |= before.scope == "no-disconnect";
        self.excused_all.extend(Daemon::BOTH);
    }

    /// stafd is told to stop, and its file says that it cuts its connections then.
    pub(crate) fn finder_stops(&mut self) {
        self.excused_all.insert(Daemon::Finder);
    }

    /// A state file was lost.
    pub(crate) fn forgotten(&mut self) {
        self.forgot = true;
        self.name_unproven();
    }

    /// stafd may not know the address of the host that its file names.
    pub(crate) fn name_unproven(&mut self) {
        self.unproven = true;
        self.excused_all.extend(Daemon::BOTH);
    }

    /// stafd has heard the address of the host that its file names.
    pub(crate) const fn name_proven(&mut self) {
        self.unproven = false;
    }

    /// A person connects a subsystem: an audit may undo that.
    pub(crate) fn person_connected(&mut self, endpoint: &Endpoint) {
        self.interfered.insert(endpoint.clone());
    }

    /// stafd has fetched a page. If it now knows all pages as they are, what is asked for is wanted
    /// again without excuse.
    pub(crate) fn stafd_knows(
        &mut self,
        processes: &BTreeMap<Daemon, Process>,
        fabric: &Fabric,
        files: &Files,
    ) {
        let Some(finder) = finder(processes) else { return };
        let (places, _) = wanted(fabric, files);
        let knows = |place: &Place| {
            let genctr = page_of(processes, *place);
            genctr.is_some() && genctr == fabric.logs.get(place).map(|log| log.genctr)
        };
        let settled = finder.fleet().is_settled()
            && finder.fleet().iter().count() >= places.len()
            && finder.is_calm();
        let certain = !self.unproven || !files.named;
        if certain && settled && places.iter().all(knows) {
            self.excused_all.remove(&Daemon::Finder);
            for place in places {
                self.excused.remove(&dc_endpoint(place));
            }
        }
    }

    /// stacd is about to get an answer. What it lists as freshly fetched, and is asked for, is
    /// wanted again without excuse.
    pub(crate) fn stacd_hears(
        &mut self,
        text: &str,
        processes: &BTreeMap<Daemon, Process>,
        fabric: &Fabric,
        files: &Files,
    ) {
        let Some(finder) = finder(processes) else { return };
        let certain = finder.is_calm() && (!self.unproven || !files.named);
        let Some(sources) = report::decode(text).ok().filter(|_| certain) else { return };
        let (places, endpoints) = wanted(fabric, files);
        let current = |s: &&report::Source| {
            s.validity == Validity::Fetched
                && fabric.logs.iter().any(|(place, log)| {
                    s.fields.traddr == place.0.to_string()
                        && page_of(processes, *place) == Some(log.genctr)
                })
        };
        let fresh: Vec<_> = sources.iter().filter(current).collect();
        let listed = |endpoint: &Endpoint| {
            fresh
                .iter()
                .flat_map(|source| &source.entries)
                .any(|entry| *entry.traddr == *endpoint.traddr && *entry.subnqn == *endpoint.nqn)
        };
        let spoken_for = endpoints.into_iter().filter(listed).collect();
        let all = fresh.len() == sources.len() && fresh.len() == places.len();
        self.hearing = Some((self.epoch, spoken_for, all));
    }

    /// The answer has come, and stacd has drawn its conclusions.
    pub(crate) fn stacd_heard(&mut self) {
        match self.hearing.take() {
            Some((epoch, spoken_for, all)) if epoch == self.epoch => {
                self.excused.retain(|endpoint| !spoken_for.contains(endpoint));
                if all {
                    self.excused_all.remove(&Daemon::Connector);
                }
            }
            _ => {}
        }
    }
}

impl World {
    /// Everything has worked for a while: what is wanted must be there, and nothing else.
    ///
    /// # Panics
    /// When it is not.
    pub(crate) fn assert_settled(&mut self) {
        let (places, endpoints) = wanted(&self.fabric, &self.files);
        let live: Vec<Endpoint> = self
            .kernel
            .controllers
            .values()
            .filter(|controller| controller.state == State::Live)
            .map(|controller| controller.request.endpoint())
            .collect();
        let count = |endpoint: &Endpoint| live.iter().filter(|other| *other == endpoint).count();
        for place in &places {
            let endpoint = dc_endpoint(*place);
            assert!(count(&endpoint) >= 1, "{endpoint:?} is forgotten");
        }
        for endpoint in &endpoints {
            assert!(count(endpoint) >= 1, "{endpoint:?} is forgotten");
            let once =
                count(endpoint) == 1 || self.judge.forgot || !self.judge.interfered.is_empty();
            assert!(once, "{endpoint:?} is connected {} times", count(endpoint));
        }
        if !self.judge.forgot && self.files.scope != "no-disconnect" && !self.judge.kept {
            for endpoint in &live {
                let known = endpoints.contains(endpoint)
                    || self.judge.interfered.contains(endpoint)
                    || places.iter().any(|place| dc_endpoint(*place) == *endpoint);
                assert!(known, "{endpoint:?} is connected for no reason");
            }
        }
        for (daemon, process) in &self.processes {
            process.core.machine().assert_invariants();
            let next = process.core.machine().next_wake();
            assert_eq!(next, None, "{daemon:?} is not quiet");
        }
        let (connected, deletes) = (self.judge.connected, self.judge.deletes);
        self.run(self.now() + Duration::from_secs(3600));
        assert_eq!(
            (connected, deletes),
            (self.judge.connected, self.judge.deletes),
            "something still moves"
        );
    }
}
