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

#[cfg(test)]
mod tests {
    use super::super::testing::{NQN, SECOND, io_fields};
    use super::super::tid::{Fields, TidDefaults};
    use super::*;

    fn portal(fields: &Fields) -> Option<Portal> {
        Portal::of(&Tid::new(fields, &TidDefaults::default()))
    }

    fn numbered(n: u32) -> Portal {
        let address = IpAddr::from([10, 0, 0, 1]);
        let port = u16::try_from(n).unwrap();
        Portal { address, port, source: None, iface: None }
    }

    struct Asker {
        portals: Portals,
        op: u64,
        out: Vec<Action>,
    }

    impl Asker {
        fn ask(&mut self, now: Time, portal: &Portal) -> Verdict {
            let op = &mut self.op;
            let mut next = || {
                *op += 1;
                OpId(*op)
            };
            self.portals.ask(now, portal, SECOND, &mut next, &mut self.out)
        }
    }

    fn asker() -> Asker {
        Asker { portals: Portals::default(), op: 0, out: Vec::new() }
    }

    // R114
    #[test]
    fn only_tcp_addresses_have_a_portal_and_paths_tell_them_apart() {
        let plain = io_fields("10.0.0.5", NQN);
        let bound = Fields { host_iface: "eth0".into(), ..plain.clone() };
        assert!(portal(&plain).is_some());
        assert_ne!(portal(&plain), portal(&bound));
        assert_eq!(portal(&plain), portal(&io_fields("::ffff:10.0.0.5", "nqn.other")));
        assert_eq!(portal(&Fields { transport: "rdma".into(), ..plain.clone() }), None);
        assert_eq!(portal(&Fields { traddr: "name".into(), ..plain }), None);
    }

    // R114
    #[test]
    fn an_open_portal_is_believed_for_a_while() {
        let (mut asker, here, now) = (asker(), numbered(1), Time::ZERO);
        assert_eq!(asker.ask(now, &here), Verdict::Wait);
        assert_eq!(asker.ask(now, &here), Verdict::Wait);
        assert_eq!(asker.out.len(), 1, "one probe for all");
        assert_eq!(asker.portals.probed(now, OpId(1), true), None);
        assert_eq!(asker.ask(now + (OPEN_FOR - Duration::from_nanos(1)), &here), Verdict::Open);
        assert_eq!(asker.ask(now + OPEN_FOR, &here), Verdict::Wait);
        assert_eq!(asker.out.len(), 2);
    }

    // R114
    #[test]
    fn the_kernels_experience_counts_more_than_a_probe() {
        let (mut asker, here, now) = (asker(), numbered(1), Time::ZERO);
        asker.portals.learn(now, here.clone(), true);
        assert_eq!(asker.ask(now, &here), Verdict::Open);
        asker.portals.learn(now, here.clone(), false);
        assert_eq!(asker.ask(now, &here), Verdict::Wait);
        // A probe in flight is waited for all the same.
        asker.portals.learn(now, here.clone(), false);
        assert_eq!(asker.portals.probed(now, OpId(1), false), Some(here));
        assert_eq!(asker.portals.probed(now, OpId(1), true), None, "it ends once");
    }

    // R114
    #[test]
    fn what_is_known_longest_is_forgotten_first() {
        let mut asker = asker();
        for n in 0..u32::try_from(PORTALS_MAX).unwrap() {
            asker.portals.learn(Time::from_nanos(u64::from(n)), numbered(n), true);
        }
        let now = Time::from_nanos(1_000_000);
        assert_eq!(asker.ask(now, &numbered(9999)), Verdict::Wait);
        assert_eq!(asker.portals.known.len(), PORTALS_MAX);
        assert_eq!(asker.ask(now, &numbered(1)), Verdict::Open);
        assert_eq!(asker.ask(now, &numbered(0)), Verdict::Wait);
    }
}
