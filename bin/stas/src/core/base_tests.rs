// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Host names, filters and exclusions on the way from the configuration to the candidates.

use std::net::IpAddr;

use log::Level;

use super::super::finder::Finder;
use super::super::port::{Action, Input, OpId};
use super::super::testing::{SECOND, SOAK, World, dc, wants_dc};

fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn take_lookup(world: &mut World<Finder>, name: &str) -> OpId {
    world.take(|action| match action {
        Action::Resolve { op, host } if host == name => Some(*op),
        _ => None,
    })
}

fn resolved(world: &mut World<Finder>, name: &str, list: &[&str]) {
    let op = take_lookup(world, name);
    world.tell(Input::Resolved { op, result: Ok(addresses(list)) });
}

fn failed(world: &mut World<Finder>, name: &str) {
    let op = take_lookup(world, name);
    world.tell(Input::Resolved { op, result: Err("no answer".to_owned()) });
}

/// A finder connected through `nvme0` to 10.0.0.1, which it knows as `array`.
fn named() -> World<Finder> {
    let mut world = World::finder(&wants_dc("array"));
    world.pass(SOAK);
    resolved(&mut world, "array", &["10.0.0.1"]);
    world.connected(dc("nvme0", "10.0.0.1"));
    world.serve("nvme0", 1, &[]);
    world
}

// R163
#[test]
fn a_reconcile_waits_for_all_names_and_leaves_out_those_that_fail() {
    let text = wants_dc("10.0.0.9") + &wants_dc("one") + &wants_dc("two");
    let mut world = World::finder(&text);
    world.pass(SOAK);
    assert_eq!(world.waiting.len(), 2, "both names are looked up, the address is not");
    resolved(&mut world, "one", &["2001:db8::1", "10.0.0.1", "10.0.0.2"]);
    assert!(world.targets().is_empty());
    failed(&mut world, "two");
    assert_eq!(world.targets(), ["10.0.0.1", "10.0.0.9"]);
    assert_eq!(world.logged(Level::Error, "Failed to resolve host name 'two': no answer"), 1);
}

// R163
#[test]
fn names_are_looked_up_in_the_families_that_are_in_use() {
    let mut world = World::finder(&("[Global]\nip-family=ipv6\n".to_owned() + &wants_dc("one")));
    world.pass(SOAK);
    resolved(&mut world, "one", &["10.0.0.1", "2001:db8::1"]);
    assert_eq!(world.targets(), ["2001:db8::1"]);
}

// R165
#[test]
fn a_name_service_that_hangs_is_waited_for_5_s_and_heard_later() {
    let mut world = World::finder(&(wants_dc("10.0.0.9") + &wants_dc("slow")));
    world.pass(SOAK);
    world.pass(5 * SECOND - std::time::Duration::from_nanos(1));
    assert!(world.targets().is_empty());
    world.pass(std::time::Duration::from_nanos(1));
    assert_eq!(world.targets(), ["10.0.0.9"]);
    resolved(&mut world, "slow", &["10.0.0.1"]);
    world.pass(SOAK);
    resolved(&mut world, "slow", &["10.0.0.1"]);
    assert_eq!(world.targets(), ["10.0.0.1", "10.0.0.9"]);
}

// R164
#[test]
fn an_outage_of_the_name_service_disconnects_nothing() {
    let mut world = named();
    world.reload(&wants_dc("array"));
    failed(&mut world, "array");
    assert!(world.is_bound("10.0.0.1") && world.deletes().is_empty());
}

// R164
#[test]
fn a_new_address_replaces_the_old_one_once_it_is_connected() {
    let mut world = named();
    world.reload(&wants_dc("array"));
    resolved(&mut world, "array", &["10.0.0.2"]);
    world.serve("nvme0", 1, &[]);
    assert_eq!(world.targets(), ["10.0.0.1", "10.0.0.2"]);
    world.refused(111);
    world.pass(3 * SECOND);
    assert!(world.is_bound("10.0.0.1"));
    world.connected(dc("nvme1", "10.0.0.2"));
    world.serve("nvme1", 1, &[]);
    world.pass(SOAK);
    resolved(&mut world, "array", &["10.0.0.2"]);
    assert_eq!(world.deleted(), "nvme0");
    assert_eq!(world.targets(), ["10.0.0.2"]);
}

// R164
#[test]
fn what_a_name_stood_for_survives_a_restart() {
    let mut first = named();
    first.tell(Input::Stop);
    let state = first.saved.last().cloned().unwrap();
    let mut world =
        World::finder_after(&wants_dc("array"), Some(&state), vec![dc("nvme0", "10.0.0.1")]);
    world.pass(SOAK);
    failed(&mut world, "array");
    assert!(world.is_bound("10.0.0.1") && world.deletes().is_empty());
}

// R166
#[test]
fn an_address_of_a_disabled_family_is_reported_once() {
    let text = "[Global]\nip-family=ipv4\n".to_owned() + &wants_dc("2001:db8::1");
    let mut world = World::finder(&text);
    world.pass(SOAK);
    let line = "Excluding configured IP address 2001:db8::1 based on \"ip-family\" setting";
    assert_eq!(world.logged(Level::Warn, line), 1);
    world.tell(Input::Announced(vec![super::super::testing::dc_fields("10.0.0.7")]));
    world.pass(SOAK);
    assert_eq!(world.logged(Level::Warn, line), 1);
    assert_eq!(world.targets(), ["10.0.0.7"]);
    world.reload(&text);
    assert_eq!(world.logged(Level::Warn, line), 2, "new files, new complaints");
}

// R167, R168
#[test]
fn places_that_cannot_be_connected_are_not_tried() {
    for traddr in ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "fe80::1"] {
        let mut world = World::finder(&wants_dc(traddr));
        world.pass(SOAK);
        assert!(world.targets().is_empty() && world.waiting.is_empty(), "{traddr}");
        assert_eq!(world.logged(Level::Warn, "is ignored: "), 1, "{traddr}");
    }
    let mut world = World::finder(&wants_dc("10.0.0.1").replace("tcp", "carrier-pigeon"));
    world.pass(SOAK);
    assert!(world.targets().is_empty());
}

// R060
#[test]
fn exclusions_count_before_and_after_a_name_is_looked_up() {
    let wants = wants_dc("array");
    let mut world = World::finder(&(wants.clone() + "exclude=traddr=array\n"));
    world.pass(SOAK);
    assert!(world.waiting.is_empty(), "an excluded name is not looked up");
    let mut world = World::finder(&(wants + "exclude=traddr=10.0.0.1\n"));
    world.pass(SOAK);
    resolved(&mut world, "array", &["10.0.0.1"]);
    assert!(world.targets().is_empty() && world.waiting.is_empty());
}
