// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Host names in the configuration, and the addresses they stand for.
//!
//! A reconcile waits for the names it needs, but not for long; a name that fails keeps the address
//! it had, since an outage of the name service must not disconnect storage. Owns what is known of
//! each name and when to ask again; looking names up is left to the shell.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use plinth::time::Time;

use super::iface::Family;
use super::port::{Action, OpId};
use super::settings::Families;

/// When a name that failed is asked for again; the last step repeats.
const RETRY_STEPS: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

#[derive(Clone, Debug, Default)]
struct Host {
    lookup: Option<OpId>,
    address: Option<IpAddr>,
    /// The address before the last change, still in use until the new one is connected.
    retiring: Option<IpAddr>,
    failures: usize,
    retry: Option<Time>,
}

/// What an answer changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not a look-up of ours.
    Unknown,
    /// The name stands for what it stood for.
    Same,
    /// The name has a first, or another, address.
    Changed,
    /// The look-up failed; `first` of its series.
    Failed {
        /// The name.
        host: String,
        /// Why.
        reason: String,
        /// Whether the look-up before this one succeeded.
        first: bool,
    },
}

/// The names in use.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    hosts: BTreeMap<String, Host>,
    /// What names stood for before a restart.
    remembered: BTreeMap<String, IpAddr>,
}

impl Hosts {
    /// Takes over what names stood for before a restart: an address to keep if they fail now.
    pub fn remember(&mut self, addresses: BTreeMap<String, IpAddr>) {
        self.remembered = addresses;
    }

    /// What the names stand for.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<String, IpAddr> {
        let known = |(name, host): (&String, &Host)| Some((name.clone(), host.address?));
        let mut addresses = self.remembered.clone();
        addresses.extend(self.hosts.iter().filter_map(known));
        addresses
    }

    /// Looks all of `names` up, and forgets all others.
    pub fn look_up(
        &mut self,
        names: &BTreeSet<String>,
        mut new_op: impl FnMut() -> OpId,
        out: &mut Vec<Action>,
    ) {
        self.hosts.retain(|name, _| names.contains(name));
        for name in names {
            let host = self.hosts.entry(name.clone()).or_insert_with(|| Host {
                address: self.remembered.remove(name),
                ..Host::default()
            });
            if host.lookup.is_none() {
                let op = new_op();
                host.lookup = Some(op);
                host.retry = None;
                out.push(Action::Resolve { op, host: name.clone() });
            }
        }
        self.remembered.clear(); // what is left is no longer configured
    }

    /// Asks again for the names whose time has come.
    pub fn retry(&mut self, now: Time, mut new_op: impl FnMut() -> OpId, out: &mut Vec<Action>) {
        for (name, host) in &mut self.hosts {
            if host.lookup.is_none() && host.retry.is_some_and(|at| at <= now) {
                let op = new_op();
                host.lookup = Some(op);
                host.retry = None;
                out.push(Action::Resolve { op, host: name.clone() });
            }
        }
    }

    /// A look-up ended.
    pub fn answer(
        &mut self,
        now: Time,
        op: OpId,
        result: Result<Vec<IpAddr>, String>,
        families: Families,
    ) -> Answer {
        let Some((name, host)) = self.hosts.iter_mut().find(|(_, host)| host.lookup == Some(op))
        else {
            return Answer::Unknown;
        };
        host.lookup = None;
        let picked = result.and_then(|found| {
            pick(&found, families).ok_or_else(|| "no address of an enabled family".to_owned())
        });
        match picked {
            Ok(address) => {
                host.failures = 0;
                if host.address == Some(address) {
                    return Answer::Same;
                }
                host.retiring = host.address.replace(address);
                Answer::Changed
            }
            Err(reason) => {
                let step = RETRY_STEPS[host.failures.min(RETRY_STEPS.len() - 1)];
                host.retry = Some(now + step);
                host.failures += 1;
                Answer::Failed { host: name.clone(), reason, first: host.failures == 1 }
            }
        }
    }

    /// Whether a look-up is in flight.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.hosts.values().any(|host| host.lookup.is_some())
    }

    /// The address that a name stands for.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<IpAddr> {
        self.hosts.get(name)?.address
    }

    /// The address that a name stood for until its last change.
    #[must_use]
    pub fn retiring(&self, name: &str) -> Option<IpAddr> {
        self.hosts.get(name)?.retiring
    }

    /// Whether any name has an address that is on its way out.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.hosts.values().any(|host| host.retiring.is_some())
    }

    /// The new address is connected: the old one may go.
    pub fn moved(&mut self, name: &str) {
        if let Some(host) = self.hosts.get_mut(name) {
            host.retiring = None;
        }
    }

    /// When [`Hosts::retry`] has something to do.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        self.hosts.values().filter(|host| host.lookup.is_none()).filter_map(|host| host.retry).min()
    }
}

/// IPv4 before IPv6; within a family the first.
fn pick(found: &[IpAddr], families: Families) -> Option<IpAddr> {
    let allowed = |address: &&IpAddr| families.contains(Family::of(**address));
    let mut allowed = found.iter().filter(allowed);
    let first = allowed.next()?;
    Some(if first.is_ipv4() { *first } else { *allowed.find(|a| a.is_ipv4()).unwrap_or(first) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn started(hosts: &mut Hosts, list: &[&str]) -> Vec<OpId> {
        let (mut out, mut next) = (Vec::new(), 0);
        let new_op = || {
            next += 1;
            OpId(next)
        };
        hosts.look_up(&names(list), new_op, &mut out);
        let ops = out.iter().map(|action| match action {
            Action::Resolve { op, .. } => *op,
            other => panic!("unexpected {other:?}"),
        });
        ops.collect()
    }

    const BOTH: Families = Families::Both;

    // R163
    #[test]
    fn all_names_are_asked_at_once_and_waited_for() {
        let (mut hosts, now) = (Hosts::default(), Time::ZERO);
        assert!(started(&mut hosts, &[]).is_empty());
        assert!(!hosts.is_pending());
        let ops = started(&mut hosts, &["a", "b"]);
        assert_eq!(ops.len(), 2);
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(hosts.answer(now, ops[0], Ok(vec![v6, v4]), BOTH), Answer::Changed);
        assert!(hosts.is_pending());
        assert!(matches!(
            hosts.answer(now, ops[1], Err("no such name".into()), BOTH),
            Answer::Failed { first: true, .. }
        ));
        assert!(!hosts.is_pending());
        assert_eq!((hosts.address("a"), hosts.address("b")), (Some(v4), None));
    }

    // R164
    #[test]
    fn a_name_that_fails_later_keeps_its_address() {
        let (mut hosts, now) = (Hosts::default(), Time::ZERO);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let ops = started(&mut hosts, &["a"]);
        hosts.answer(now, ops[0], Ok(vec![address]), BOTH);
        let ops = started(&mut hosts, &["a"]);
        hosts.answer(now, ops[0], Err("timeout".into()), BOTH);
        assert_eq!(hosts.address("a"), Some(address));
        // Names no longer configured are forgotten.
        started(&mut hosts, &["b"]);
        assert_eq!(hosts.address("a"), None);
    }

    // R164
    #[test]
    fn a_name_that_fails_after_a_restart_keeps_its_address() {
        let (mut before, mut after, now) = (Hosts::default(), Hosts::default(), Time::ZERO);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let ops = started(&mut before, &["a"]);
        before.answer(now, ops[0], Ok(vec![address]), BOTH);
        after.remember(before.addresses());
        assert_eq!(after.addresses(), before.addresses(), "also before the first look-up");
        let ops = started(&mut after, &["a"]);
        after.answer(now, ops[0], Err("timeout".into()), BOTH);
        assert_eq!(after.address("a"), Some(address));
    }

    // R164
    #[test]
    fn an_old_address_retires_when_the_new_one_is_connected() {
        let (mut hosts, now) = (Hosts::default(), Time::ZERO);
        let (old, new): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for address in [old, new] {
            let ops = started(&mut hosts, &["a"]);
            hosts.answer(now, ops[0], Ok(vec![address]), BOTH);
        }
        assert_eq!((hosts.address("a"), hosts.retiring("a")), (Some(new), Some(old)));
        hosts.moved("a");
        assert!(!hosts.is_moving());
    }

    // R165
    #[test]
    fn a_failing_name_is_asked_again_ever_more_slowly() {
        let (mut hosts, mut now) = (Hosts::default(), Time::ZERO);
        let mut op = started(&mut hosts, &["a"])[0];
        for seconds in [2, 5, 10, 30, 60, 60] {
            hosts.answer(now, op, Err("timeout".into()), BOTH);
            let wake = hosts.next_wake().expect("a failed name is retried");
            assert_eq!(now.until(wake), Duration::from_secs(seconds));
            now = wake;
            let mut out = Vec::new();
            op = OpId(op.0 + 1);
            hosts.retry(now, || op, &mut out);
            assert_eq!(out, [Action::Resolve { op, host: "a".into() }]);
        }
    }
}
