// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The course of a step, where it has to be the same for both cores.

use std::time::Duration;

use plinth::time::{Time, Wall};

use super::super::connector::Connector;
use super::super::finder::Finder;
use super::super::testing::{NQN, SOAK, World, config, dc, io, wants_dc, wants_io};
use super::*;

const TARGET: &str = "10.0.0.5";

fn step<P: Parts>(core: &mut P, now: Time, input: Input) -> Vec<Action> {
    let mut out = Vec::new();
    core.step(now, input, &mut out);
    out
}

/// One whose stop has a disconnect to wait for.
fn finder() -> World<Finder> {
    let text = "[Discovery controller connection management]\npersistent-connections=false\n";
    let mut world = World::finder(&(text.to_owned() + &wants_dc(TARGET)));
    world.pass(SOAK);
    world.connected(dc("nvme0", TARGET));
    world.serve("nvme0", 1, &[]);
    world
}

fn connector() -> World<Connector> {
    let mut world = World::connector(&wants_io(TARGET, ""));
    world.pass(SOAK);
    world.connected(io("nvme0", TARGET, NQN));
    world
}

/// A new core, asked for a reconcile again while the first one waits for its debounce.
fn debounces<P: Parts>() {
    let (now, mut out) = (Time::from_nanos(1), Vec::new());
    let configuration = config(P::ROLE, "");
    let again = Box::new(configuration.clone());
    let start = Start { configuration, restored: None, seed: 1, now, wall: Wall::default() };
    let mut core = P::start(start, &mut out);
    assert_eq!(P::role(), P::ROLE);
    assert_eq!(core.next_wake(), Some(now + SOAK));
    let later = now + SOAK / 2;
    step(&mut core, later, Input::Reload(again));
    assert_eq!(core.next_wake(), Some(later + SOAK), "the interval starts anew");
    assert!(!core.awaits_sources());
    step(&mut core, later + SOAK, Input::Wake);
    assert!(core.base().round.is_none(), "nothing is to be waited for, so it has taken place");
}

#[test]
fn triggers_in_a_row_make_one_reconcile_after_the_last_of_them() {
    debounces::<Finder>();
    debounces::<Connector>();
}

/// The core is told to stop, and what it asks for is done. It must end, once.
fn ends<P: Parts>(mut world: World<P>) {
    world.tell(Input::Stop);
    world.tell(Input::Stop);
    if !world.left {
        world.deleted();
    }
    assert!(world.left && world.deletes().is_empty());
    for input in [Input::Stop, Input::Wake, Input::EventsLost, Input::NetworkChanged] {
        assert_eq!(step(&mut world.core, world.now, input), [], "it has left");
    }
}

#[test]
fn a_second_stop_changes_nothing_and_one_that_left_asks_for_nothing() {
    ends(finder());
    ends(connector());
}

#[test]
fn only_a_finder_waits_for_disconnects_and_no_longer_for_a_second_stop() {
    let mut connector = connector();
    connector.tell(Input::Stop);
    assert!(connector.left && connector.deletes().is_empty());
    let mut finder = finder();
    finder.tell(Input::Stop);
    assert_eq!((finder.left, finder.deletes()), (false, vec!["nvme0"]));
    let limit = finder.core.next_wake();
    finder.pass(Duration::from_millis(100));
    finder.tell(Input::Stop);
    assert_eq!((finder.core.next_wake(), finder.deletes()), (limit, vec!["nvme0"]));
}
