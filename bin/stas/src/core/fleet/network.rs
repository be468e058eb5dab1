// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Retries what waits when the network comes (back).
//!
//! News of links and addresses repeat themselves, so they only lead to a look, after a pause that
//! makes one of many. What counts is what the look shows that the one before did not: a link that
//! is up now, or a new address on one. Every attempt is preceded by a look, so what is found here
//! is what no attempt has had yet. Candidates that name neither interface nor source address may
//! be reached over any link.

use std::collections::BTreeSet;

use plinth::time::Time;

use super::super::controller::{Controller, State};
use super::super::iface::Interfaces;
use super::super::ip;
use super::super::tid::Tid;
use super::{Env, Fleet, Role};

/// The interfaces that can do more than they could before.
fn arrivals(before: &Interfaces, after: &Interfaces) -> BTreeSet<String> {
    let known = |name: &str| before.0.iter().find(|known| known.up && known.name == name);
    let came = after.0.iter().filter(|seen| {
        seen.up
            && known(&seen.name).is_none_or(|known| {
                seen.addresses.iter().any(|address| !known.addresses.contains(address))
            })
    });
    came.map(|seen| seen.name.clone()).collect()
}

/// Whether one of the interfaces is what `tid` may be reached over.
fn concerns(tid: &Tid, interfaces: &Interfaces, arrived: &BTreeSet<String>) -> bool {
    if !tid.host_iface().is_empty() {
        return arrived.contains(tid.host_iface());
    }
    if tid.host_traddr().is_empty() {
        return true;
    }
    let source = ip::parse(tid.host_traddr());
    source.is_some_and(|source| interfaces.owners(source).any(|name| arrived.contains(name)))
}

const fn is_trying<R>(controller: &Controller<R>) -> bool {
    !matches!(controller.state, State::Connected { .. } | State::Alias(_) | State::GaveUp)
}

impl<R: Role> Fleet<R> {
    /// A link or an address changed.
    pub(super) fn network_changed(&mut self, env: &Env<'_>) {
        self.fresh = false;
        if !self.network.is_running() && self.controllers.values().any(is_trying) {
            self.network.start_with(env.now, env.config.settings.timing.network_soak);
        }
    }

    pub(super) fn expire_network(&mut self, env: &mut Env<'_>) {
        if self.network.take_expired(env.now) {
            self.look(env);
        }
    }

    pub(super) fn network_wake(&self) -> Option<Time> {
        self.network.deadline()
    }

    /// Notes what `after` shows that the last look did not.
    pub(super) fn note_arrivals(&mut self, after: &Interfaces) {
        self.arrived.extend(arrivals(&self.scan.interfaces, after));
    }

    /// Brings the candidates that what arrived concerns to an attempt. One whose attempt is under
    /// way, perhaps in vain, makes the next one soon.
    pub(super) fn follow_arrivals(&mut self) {
        if self.network.is_running() {
            return; // there may be more to come
        }
        let arrived = std::mem::take(&mut self.arrived);
        if arrived.is_empty() {
            return;
        }
        let interfaces = &self.scan.interfaces;
        let mut waiting = Vec::new();
        for controller in self.controllers.values_mut().filter(|c| is_trying(c)) {
            if concerns(&controller.tid, interfaces, &arrived) {
                controller.path_is_new = true;
                waiting.push(controller.tid.clone());
            }
        }
        for tid in waiting {
            self.hurry(&tid);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::connector::Connector;
    use super::super::super::iface::Interface;
    use super::super::super::machine::Machine;
    use super::super::super::port::Input;
    use super::super::super::testing::{ECONNREFUSED, NQN, SECOND, SOAK, World, io, wants_io};
    use super::*;

    const TARGET: &str = "10.0.0.5";
    const NETWORK_SOAK: Duration = Duration::from_millis(500);
    const ENETUNREACH: i32 = 101;
    const TICK: Duration = Duration::from_nanos(1);

    fn interface(name: &str, up: bool, addresses: &[&str]) -> Interface {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Interface { name: name.to_owned(), up, addresses, ..Interface::default() }
    }

    /// A connector that failed three times, over a link that is down, and waits for a minute.
    fn waiting(more: &str) -> World<Connector> {
        let mut world = World::connector(&wants_io(TARGET, more));
        world.kernel.interfaces.0 = vec![
            interface("lo", true, &["127.0.0.1"]),
            interface("eth0", false, &["10.0.0.1"]),
            interface("eth1", true, &["10.1.0.1"]),
        ];
        world.pass(SOAK);
        world.refused(ENETUNREACH);
        world.pass(3 * SECOND);
        world.refused(ENETUNREACH);
        assert_eq!(world.at(TARGET).state, State::Waiting);
        world
    }

    fn changed(world: &mut World<Connector>, change: impl FnOnce(&mut Vec<Interface>)) -> usize {
        change(&mut world.kernel.interfaces.0);
        world.tell(Input::NetworkChanged);
        assert!(world.connects().is_empty(), "not before the pause is over");
        world.pass(NETWORK_SOAK - TICK);
        assert!(world.connects().is_empty(), "not before the pause is over");
        world.pass(TICK);
        world.connects().len()
    }

    // R229
    #[test]
    fn a_link_that_comes_up_ends_the_wait_of_whom_it_concerns() {
        for (more, attempts) in [
            ("", 1),
            (";host-iface=eth0", 1),
            (";host-traddr=10.0.0.1", 1),
            (";host-iface=eth1", 0),
            (";host-traddr=10.1.0.1", 0),
            (";host-traddr=10.9.0.1", 0),
        ] {
            let mut world = waiting(more);
            assert_eq!(changed(&mut world, |all| all[1].up = true), attempts, "{more:?}");
        }
    }

    // R229
    #[test]
    fn a_new_address_ends_the_wait_of_whom_it_concerns() {
        for (more, attempts) in [
            ("", 1),
            (";host-iface=eth1", 1),
            (";host-traddr=10.1.0.2", 1),
            (";host-iface=eth0", 0),
            (";host-traddr=10.0.0.1", 0),
        ] {
            let mut world = waiting(more);
            let new = "10.1.0.2".parse().unwrap();
            assert_eq!(changed(&mut world, |all| all[2].addresses.push(new)), attempts, "{more:?}");
        }
    }

    // R229
    #[test]
    fn news_that_bring_nothing_retry_nothing() {
        let mut world = waiting("");
        assert_eq!(changed(&mut world, |_| {}), 0, "the lifetime of an address, say");
        assert_eq!(changed(&mut world, |all| drop(all.pop())), 0);
        // What went and comes back is new.
        let eth1 = interface("eth1", true, &["10.1.0.1"]);
        assert_eq!(changed(&mut world, |all| all.push(eth1)), 1);
    }

    // R229
    #[test]
    fn many_news_are_one_retry_and_cannot_put_it_off() {
        let mut world = waiting("");
        world.kernel.interfaces.0[1].up = true;
        let scans = world.scans;
        for _ in 0..5 {
            world.tell(Input::NetworkChanged);
            world.pass(NETWORK_SOAK / 5);
        }
        assert_eq!((world.connects().len(), world.scans), (1, scans + 1));
    }

    // R229
    #[test]
    fn an_attempt_that_came_too_early_is_repeated_soon() {
        let mut world = waiting("");
        assert_eq!(changed(&mut world, |all| all[1].up = true), 1);
        // The address is still being checked for duplicates, say.
        world.refused(ENETUNREACH);
        world.pass(3 * SECOND);
        assert_eq!(world.connects().len(), 1);
        world.refused(ECONNREFUSED);
        world.pass(3 * SECOND);
        assert!(world.connects().is_empty(), "once");
    }

    // R229
    #[test]
    fn the_attempt_under_way_when_a_link_comes_is_repeated_soon() {
        let mut world = waiting("");
        world.pass(66 * SECOND);
        assert_eq!(world.connects().len(), 1);
        world.kernel.interfaces.0[1].up = true;
        world.tell(Input::NetworkChanged);
        world.pass(NETWORK_SOAK);
        assert_eq!(world.connects().len(), 1, "no second one");
        world.refused(ENETUNREACH);
        world.pass(3 * SECOND);
        assert_eq!(world.connects().len(), 1);
    }

    // R229, R233
    #[test]
    fn the_network_is_not_looked_at_while_nothing_waits_for_it() {
        let mut world = World::connector(&wants_io(TARGET, ""));
        world.pass(SOAK);
        world.connected(io("nvme3", TARGET, NQN));
        let scans = world.scans;
        world.tell(Input::NetworkChanged);
        world.pass(2 * SECOND);
        assert_eq!((world.scans, world.core.next_wake().is_some()), (scans, true));
        world.pass(120 * SECOND);
        assert_eq!(world.core.next_wake(), None);
    }
}
