// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Look-ups against servers made up by the test; time is an argument.

use plinth::rand::Rng;
use proptest::prelude::*;
use simple_dns::RCODE;

use super::packet::tests::{Data, answer};
use super::*;

const TWO_SERVERS: &str = "nameserver 10.0.0.1\nnameserver 10.0.0.2\n";

struct World {
    now: Time,
    lookup: Lookup,
    out: Vec<Output>,
}

impl World {
    fn new(host: &str, hosts: &str, resolv_conf: &str) -> Self {
        let lookup = Lookup::new(host, hosts, resolv_conf, Rng::seeded(1), Time::ZERO);
        let mut world = Self { now: Time::ZERO, lookup, out: Vec::new() };
        world.feed(Input::Wake);
        world
    }

    fn feed(&mut self, input: Input<'_>) {
        self.lookup.step(self.now, input, &mut self.out);
    }

    /// The packets sent since the last call, with their servers.
    fn sent(&mut self) -> Vec<(usize, Vec<u8>)> {
        let sends = self.out.extract_sends();
        assert!(self.out.is_empty(), "{:?}", self.out);
        sends
    }

    fn done(&mut self) -> Result<Vec<String>, String> {
        let outcome = match self.out.pop() {
            Some(Output::Done(outcome)) => outcome,
            other => panic!("not over: {other:?}"),
        };
        assert_eq!(self.lookup.next_wake(), None);
        outcome.map(|list| list.iter().map(IpAddr::to_string).collect())
    }

    fn sleep(&mut self) {
        self.now = self.lookup.next_wake().expect("a look-up that goes on wants to be woken");
        self.feed(Input::Wake);
    }
}

trait ExtractSends {
    fn extract_sends(&mut self) -> Vec<(usize, Vec<u8>)>;
}

impl ExtractSends for Vec<Output> {
    fn extract_sends(&mut self) -> Vec<(usize, Vec<u8>)> {
        let (sends, rest) = std::mem::take(self)
            .into_iter()
            .partition::<Vec<_>, _>(|output| matches!(output, Output::Send(..)));
        *self = rest;
        sends
            .into_iter()
            .filter_map(|output| match output {
                Output::Send(server, packet) => Some((server, packet)),
                Output::Done(_) => None,
            })
            .collect()
    }
}

#[test]
fn the_hosts_file_decides_alone() {
    let mut world = World::new("array", "10.0.0.7 array\nfd00::7 array\n", TWO_SERVERS);
    assert_eq!(world.done(), Ok(vec!["10.0.0.7".to_owned(), "fd00::7".to_owned()]));
}

#[test]
fn localhost_needs_no_file() {
    let mut world = World::new("localhost.", "", "");
    assert_eq!(world.done(), Ok(vec!["127.0.0.1".to_owned(), "::1".to_owned()]));
}

#[test]
fn both_families_are_asked_at_once_and_both_answers_awaited() {
    let mut world = World::new("array.example", "", TWO_SERVERS);
    let sent = world.sent();
    let [(0, four), (0, six)] = sent.as_slice() else { panic!("{sent:?}") };
    let reply = answer(six, RCODE::NoError, &[("array.example", Data::V6("fd00::1"))]);
    world.feed(Input::Packet(0, &reply));
    assert_eq!(world.out, []);
    world.feed(Input::Packet(0, &reply)); // a repeated answer changes nothing
    let reply = answer(four, RCODE::NoError, &[("array.example", Data::V4([10, 0, 0, 9]))]);
    world.feed(Input::Packet(1, &reply)); // from a server that was not asked
    assert_eq!(world.out, []);
    world.feed(Input::Packet(0, &reply));
    assert_eq!(world.done(), Ok(vec!["10.0.0.9".to_owned(), "fd00::1".to_owned()]));
}

#[test]
fn a_family_that_never_answers_costs_one_try_only() {
    let mut world = World::new("array.example", "", TWO_SERVERS);
    let sent = world.sent();
    let reply = answer(&sent[0].1, RCODE::NoError, &[("array.example", Data::V4([10, 0, 0, 9]))]);
    world.feed(Input::Packet(0, &reply));
    world.sleep();
    assert_eq!(world.now, Time::ZERO + TRY_LIMIT);
    assert_eq!(world.done(), Ok(vec!["10.0.0.9".to_owned()]));
}

#[test]
fn silent_servers_are_asked_in_turn_and_the_limit_holds() {
    let mut world = World::new("array.example", "", TWO_SERVERS);
    for server in [0, 1, 0, 1] {
        let sent = world.sent();
        assert_eq!(sent.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [server, server]);
        world.sleep();
    }
    world.sleep();
    assert_eq!(world.now, Time::ZERO + LIMIT);
    assert_eq!(world.done(), Err("the name servers did not answer in time".to_owned()));
}

#[test]
fn the_first_servers_late_answer_still_counts() {
    let mut world = World::new("array.example", "", TWO_SERVERS);
    let first = world.sent();
    world.sleep();
    assert_eq!(world.sent().len(), 2);
    for (_, query) in &first {
        let reply = answer(query, RCODE::NoError, &[("array.example", Data::V4([10, 0, 0, 9]))]);
        world.feed(Input::Packet(0, &reply));
    }
    assert_eq!(world.done(), Ok(vec!["10.0.0.9".to_owned()]));
}

#[test]
fn servers_that_refuse_are_left_at_once() {
    let mut world = World::new("array.example", "", TWO_SERVERS);
    for server in [0, 1, 0, 1] {
        let sent = world.sent();
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[0].0, server);
        world.feed(Input::Unreachable(server));
    }
    assert_eq!(world.done(), Err("no name server could answer".to_owned()));
    assert_eq!(world.now, Time::ZERO);
}

#[test]
fn a_failing_server_is_one_that_refuses() {
    let mut world = World::new("array.example", "", TWO_SERVERS);
    let sent = world.sent();
    world.feed(Input::Packet(0, &answer(&sent[0].1, RCODE::ServerFailure, &[])));
    let sent = world.sent();
    assert_eq!(sent[0].0, 1);
    // The second refusal of the first server is old news.
    world.feed(Input::Unreachable(0));
    assert_eq!(world.out, []);
}

#[test]
fn short_names_are_completed_before_they_are_given_up() {
    let mut world = World::new("array", "", "search a.example\nnameserver 10.0.0.1\n");
    let sent = world.sent();
    let name =
        |query: &[u8]| simple_dns::Packet::parse(query).unwrap().questions[0].qname.to_string();
    assert_eq!(name(&sent[0].1), "array.a.example");
    world.feed(Input::Packet(0, &answer(&sent[0].1, RCODE::NameError, &[])));
    let sent = world.sent();
    assert_eq!(name(&sent[0].1), "array");
    world.feed(Input::Packet(0, &answer(&sent[0].1, RCODE::NameError, &[])));
    assert_eq!(world.done(), Err("no such host".to_owned()));
}

#[test]
fn a_name_without_addresses_is_no_host() {
    let mut world = World::new("array.example", "", TWO_SERVERS);
    for (_, query) in world.sent() {
        world.feed(Input::Packet(0, &answer(&query, RCODE::NoError, &[])));
    }
    assert_eq!(world.done(), Err("no such host".to_owned()));
}

#[test]
fn what_is_no_name_ends_at_once() {
    let mut world = World::new("a..b", "", TWO_SERVERS);
    assert_eq!(world.done(), Err("not a host name".to_owned()));
}

proptest! {
    #[test]
    fn every_history_ends_once_and_in_time(
        host in "[a-z.]{1,12}",
        steps in prop::collection::vec((0u8..5, 0usize..3, any::<prop::sample::Index>()), 0..60),
    ) {
        let mut world = World::new(&host, "", "search s.example\nnameserver 10.0.0.1\n");
        let mut sent = Vec::new();
        for (what, server, which) in steps {
            sent.extend(world.out.extract_sends());
            let query = (!sent.is_empty()).then(|| &sent[which.index(sent.len())].1);
            match (what, query) {
                (0, _) => world.feed(Input::Unreachable(server)),
                (1, Some(query)) => {
                    let reply = answer(query, RCODE::NoError, &[]);
                    world.feed(Input::Packet(server, &reply));
                }
                (2, Some(query)) => {
                    let reply = answer(query, RCODE::NameError, &[]);
                    world.feed(Input::Packet(server, &reply));
                }
                (3, _) => world.feed(Input::Packet(server, b"nonsense")),
                _ => {
                    if let Some(next) = world.lookup.next_wake() {
                        world.now = world.now.max(next);
                    }
                    world.feed(Input::Wake);
                }
            }
        }
        for _ in 0..8 {
            if let Some(next) = world.lookup.next_wake() {
                world.now = world.now.max(next);
                world.feed(Input::Wake);
            }
        }
        prop_assert!(world.now <= Time::ZERO + LIMIT);
        let ends = world.out.iter().filter(|output| matches!(output, Output::Done(_))).count();
        prop_assert_eq!(ends, 1);
    }
}
