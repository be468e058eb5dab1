// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds existing kernel controllers for candidates, and notices the loss of bound ones.
//!
//! A candidate takes the best kernel controller that can serve it; one that only a more specific
//! candidate of ours may claim makes it an alias of that one. Losses are never read off a uevent
//! alone, since device numbers are reused: a uevent makes the table suspect, and a fresh scan, in
//! which devices have instances, decides.

use std::collections::{BTreeMap, BTreeSet};

use log::Level;

use super::super::cid::{Class, Device, State as KernelState};
use super::super::controller::{Controller, State};
use super::super::matching::{self, Index};
use super::super::port::{DeviceId, Scan};
use super::super::tid::Tid;
use super::{Env, Fleet, News, Role};

/// Whether `one` names everything that `other` names, and more: then a connection of `one` serves
/// `other` too.
pub(super) fn more_specific(one: &Tid, other: &Tid) -> bool {
    one != other && matching::covers(other, one)
}

impl<R: Role> Fleet<R> {
    /// A uevent says that a kernel controller of this name is gone.
    pub fn device_removed(&mut self, name: &str) {
        self.fresh = false;
        let ours = self.controllers.values().filter_map(|c| c.device());
        let leaving = self.leaving().filter_map(|(_, device)| device);
        if ours.chain(leaving).chain(&self.claimed).any(|device| device.name == name) {
            self.suspect = true;
        }
    }

    /// Uevents were lost: the table is to be compared with the kernel.
    pub fn events_lost(&mut self) {
        self.fresh = false;
        self.suspect = true;
    }

    /// A uevent says that a kernel controller is live, for the first time or again.
    pub fn device_live(&mut self, name: &str) {
        for controller in self.controllers.values_mut() {
            match &mut controller.state {
                State::Connected { device, live } if device.name == name => *live = true,
                _ => continue,
            }
            self.news.push(News::Live(controller.tid.clone()));
        }
    }

    /// The look at the kernel that was asked for.
    pub fn scanned(&mut self, env: &mut Env<'_>, scan: Scan) {
        self.note_arrivals(&scan.interfaces);
        self.scan = scan;
        (self.fresh, self.asked) = (true, false);
        self.suspect = false;
        let present: BTreeMap<&DeviceId, &Device> =
            self.scan.devices.iter().map(|device| (&device.id, device)).collect();
        let (mut lost, mut orphaned) = (Vec::new(), Vec::new());
        for controller in self.controllers.values_mut() {
            match &mut controller.state {
                State::Connected { device, live } => match present.get(device) {
                    Some(seen) => {
                        if seen.state == KernelState::Live && !*live {
                            self.news.push(News::Live(controller.tid.clone()));
                        }
                        *live = seen.state == KernelState::Live;
                    }
                    None => lost.push(controller.tid.clone()),
                },
                State::Alias(device) if !present.contains_key(device) => {
                    orphaned.push(controller.tid.clone());
                }
                _ => {}
            }
        }
        for tid in lost {
            self.lose(env, &tid);
        }
        for tid in orphaned {
            if let Some(controller) = self.controllers.get_mut(&tid) {
                controller.state = State::Scheduled;
            }
        }
        self.disposals_after_scan();
        self.disclaim_gone(env);
        self.follow_arrivals();
    }

    fn lose(&mut self, env: &mut Env<'_>, tid: &Tid) {
        let Some(controller) = self.controllers.get_mut(tid) else { return };
        let name = controller.device_name().to_owned();
        env.log(Level::Info, tid, Some(&name), "Received \"remove\" event");
        controller.role.lost();
        controller.attempts = 0;
        controller.applied = None;
        controller.state = State::Waiting;
        match controller.rest.take() {
            Some((_, span)) => controller.retry.start_spread(env.now, span),
            None => controller.retry.start_with(env.now, env.config.settings.timing.retry_fast),
        }
        self.news.push(News::Lost(tid.clone()));
    }

    /// Looks for existing connections of all scheduled candidates; queues those that have none.
    pub(super) fn adopt(&mut self, env: &mut Env<'_>) {
        let mut scheduled: Vec<Tid> = self
            .controllers
            .values()
            .filter(|c| c.state == State::Scheduled)
            .map(|c| c.tid.clone())
            .collect();
        scheduled.sort_by_key(|tid| std::cmp::Reverse(matching::specificity(tid)));
        let leaving: BTreeSet<DeviceId> =
            self.leaving().filter_map(|(_, device)| device.cloned()).collect();
        let mut owners: BTreeMap<DeviceId, Tid> = self
            .controllers
            .values()
            .filter_map(|c| Some((c.owned()?.clone(), c.tid.clone())))
            .collect();
        let index = Index::new(&self.scan.devices);
        let mut found = Vec::new();
        let class = if R::DISCOVERY { Class::Discovery } else { Class::Io };
        for tid in scheduled {
            let leaves = |id: &DeviceId| leaving.contains(id);
            let taken = |id: &DeviceId| leaves(id) || owners.contains_key(id);
            let best = index
                .best(&tid, class, &self.scan.interfaces, &taken)
                .or_else(|| index.best(&tid, class, &self.scan.interfaces, &leaves));
            let best =
                best.map(|(device, _)| (device.id.clone(), device.state == KernelState::Live));
            let free = |id: &DeviceId| owners.get(id).is_none_or(|o| more_specific(&tid, o));
            let owned = best.as_ref().map(|(id, _)| id).filter(|id| free(id)).cloned();
            if let Some(id) = owned {
                owners.insert(id, tid.clone());
            }
            found.push((tid, best));
        }
        for (tid, best) in found {
            match best {
                Some((id, live)) if owners.get(&id) == Some(&tid) => self.bind(env, &tid, id, live),
                Some((id, _)) => self.become_alias(env, &tid, id),
                None => self.enqueue(env, &tid),
            }
        }
    }

    fn become_alias(&mut self, env: &mut Env<'_>, tid: &Tid, device: DeviceId) {
        let Some(controller) = self.controllers.get_mut(tid) else { return };
        env.log(Level::Info, tid, Some(&device.name), "Served by the connection of another entry");
        controller.attempts = 0;
        controller.retry.stop();
        controller.role.cede();
        controller.state = State::Alias(device);
    }

    /// Makes `tid` the owner of `device`; whoever owned it before is served by it from now on.
    pub(super) fn bind(&mut self, env: &mut Env<'_>, tid: &Tid, device: DeviceId, live: bool) {
        self.claim(env, &device);
        let owns = |c: &&Controller<R>| c.owned() == Some(&device) && c.tid != *tid;
        let before = self.controllers.values().find(owns).map(|c| c.tid.clone());
        if let Some(mut before) = before.and_then(|tid| self.controllers.remove(&tid)) {
            if let Some(controller) = self.controllers.get_mut(tid) {
                controller.role.inherit(&mut before.role);
            }
            before.role.lost();
            before.role.cede();
            before.state = State::Alias(device.clone());
            self.controllers.insert(before.tid.clone(), before);
        }
        let Some(controller) = self.controllers.get_mut(tid) else { return };
        env.log(Level::Info, tid, Some(&device.name), "Connection established!");
        controller.attempts = 0;
        controller.said_to_exist = false;
        controller.path_is_new = false;
        controller.retry.stop();
        controller.state = State::Connected { device, live };
        self.news.push(News::Bound(tid.clone()));
    }
}
