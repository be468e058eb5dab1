// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which portals accept connections, as learnt by non-blocking probes.
//!
//! The kernel connects one controller at a time under one lock, and a dead TCP target holds that
//! lock for seconds. A probe costs nothing of the sort, so a portal is probed once for all the
//! controllers behind it, and only those behind an open one are handed to the kernel. Owns what is
//! known of each portal and for how long; sending probes is left to the shell, drawing
//! consequences to the [`fleet`](super::fleet).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use plinth::time::Time;

use super::ip;
use super::port::{Action, OpId};
use super::tid::Tid;

/// How long an open portal is believed to be open.
const OPEN_FOR: Duration = Duration::from_secs(10);
/// What is known is forgotten beyond so many portals, oldest first.
const PORTALS_MAX: usize = 4096;

/// A portal as seen from here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Portal {
    address: IpAddr,
    port: u16,
    source: Option<IpAddr>,
    iface: Option<String>,
}

impl Portal {
    /// The portal of a TCP candidate; `None` for what cannot be probed.
    #[must_use]
    pub fn of(tid: &Tid) -> Option<Self> {
        if tid.transport() != "tcp" {
            return None;
        }
        Some(Self {
            address: ip::parse(tid.traddr())?,
            port: tid.trsvcid().parse().ok()?,
            source: ip::parse(tid.host_traddr()),
            iface: Some(tid.host_iface().to_owned()).filter(|iface| !iface.is_empty()),
        })
    }
}

#[derive(Clone, Copy, Debug)]
enum Knowledge {
    Probing(OpId),
    Open(Time),
}

/// What a candidate has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Connect.
    Open,
    /// Wait for the probe.
    Wait,
}

/// What is known of the portals.
#[derive(Clone, Debug, Default)]
pub struct Portals {
    known: BTreeMap<Portal, Knowledge>,
}

impl Portals {
    /// Whether a candidate behind `portal` may connect; asks for a probe when nobody knows.
    pub fn ask(
        &mut self,
        now: Time,
        portal: &Portal,
        limit: Duration,
        next_op: &mut impl FnMut() -> OpId,
        out: &mut Vec<Action>,
    ) -> Verdict {
        match self.known.get(portal) {
            Some(Knowledge::Probing(_)) => return Verdict::Wait,
            Some(Knowledge::Open(since)) if now.since(*since) < OPEN_FOR => return Verdict::Open,
            _ => {}
        }
        self.forget_one_if_full();
        let op = next_op();
        self.known.insert(portal.clone(), Knowledge::Probing(op));
        out.push(Action::Probe {
            op,
            to: (portal.address, portal.port),
            source: portal.source,
            iface: portal.iface.clone(),
            limit,
        });
        Verdict::Wait
    }

    /// A probe ended. Returns the portal when it is closed; an open one is remembered.
    pub fn probed(&mut self, now: Time, op: OpId, open: bool) -> Option<Portal> {
        let is_it = |known: &Knowledge| matches!(known, Knowledge::Probing(probe) if *probe == op);
        let portal = self.known.iter().find(|(_, known)| is_it(known))?.0.clone();
        if open {
            self.known.insert(portal, Knowledge::Open(now));
            return None;
        }
        self.known.remove(&portal);
        Some(portal)
    }

    /// The kernel connected through this portal, or failed to: better evidence than any probe.
    pub fn learn(&mut self, now: Time, portal: Portal, open: bool) {
        if open {
            self.forget_one_if_full();
            self.known.insert(portal, Knowledge::Open(now));
        } else if matches!(self.known.get(&portal), Some(Knowledge::Open(_))) {
            self.known.remove(&portal);
        }
    }

    fn forget_one_if_full(&mut self) {
        if self.known.len() < PORTALS_MAX {
            return;
        }
        let oldest = self.known.iter().filter_map(|(portal, known)| match known {
            Knowledge::Open(since) => Some((*since, portal)),
            Knowledge::Probing(_) => None,
        });
        if let Some((_, portal)) = oldest.min() {
            let portal = portal.clone();
            self.known.remove(&portal);
        }
    }
}
