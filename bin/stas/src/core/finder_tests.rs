// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The finder's core: log pages, referrals, announcements, and what outlives what.

use std::time::Duration;

use log::Level;

use super::super::dc::Origin;
use super::super::port::{AdminCommand, AdminError, DeviceEvent, Input, Notice};
use super::super::testing::{
    ECONNREFUSED, EIO, HOUR, NQN, SECOND, SOAK, World, connected, dc, dc_fields, entries, record,
    referral, wants_dc,
};
use super::{AEN_DISCOVERY_CHANGED, Finder};

/// A finder connected to 10.0.0.1, which mDNS announces and no file names.
fn announced(text: &str) -> World<Finder> {
    let mut world = World::finder(text);
    world.tell(Input::Announced(vec![dc_fields("10.0.0.1")]));
    world.pass(SOAK);
    world.connected(dc("nvme0", "10.0.0.1"));
    world.serve("nvme0", 1, &[]);
    world
}

fn patience(value: &str) -> String {
    format!(
        "[Discovery controller connection management]\nzeroconf-connections-persistence={value}\n"
    )
}

fn aen(world: &mut World<Finder>, aen: u32) {
    world.tell(Input::Device(DeviceEvent::Aen { name: "nvme0".to_owned(), aen }));
}

fn page_signals(world: &World<Finder>) -> usize {
    world.notices.iter().filter(|n| matches!(n, Notice::LogPagesChanged { .. })).count()
}

fn removal_signals(world: &World<Finder>) -> usize {
    world.notices.iter().filter(|notice| **notice == Notice::DcRemoved).count()
}

// R116
#[test]
fn a_connected_controller_is_asked_for_its_page() {
    let mut world = World::finder(&wants_dc("10.0.0.1"));
    world.pass(SOAK);
    assert!(world.connects()[0].contains("nqn=nqn.2014-08.org.nvmexpress.discovery"));
    world.connected(dc("nvme0", "10.0.0.1"));
    let count = world.serve("nvme0", 1, &[record("10.0.0.5", NQN, 0)]);
    assert_eq!((count, entries(&world)), (3, 1));
    assert_eq!(world.logged(Level::Info, "Received discovery log pages (num records=1)."), 1);
}

// R116, R007
#[test]
fn a_changed_log_is_read_once_more_and_other_events_are_only_logged() {
    let mut world = connected("", &[]);
    for other in [AEN_DISCOVERY_CHANGED ^ 2, 0x0007_0f02, 0, u32::MAX] {
        aen(&mut world, other);
        assert!(world.waiting.is_empty(), "{other:#x}");
    }
    assert_eq!(world.logged(Level::Info, "Received AEN: 0x"), 4);
    aen(&mut world, AEN_DISCOVERY_CHANGED);
    // However many come while the page is read, it is read once more.
    for _ in 0..3 {
        aen(&mut world, AEN_DISCOVERY_CHANGED);
        assert_eq!(world.waiting.len(), 1);
    }
    let before = page_signals(&world);
    world.serve("nvme0", 2, &[record("10.0.0.5", NQN, 0)]);
    assert_eq!((page_signals(&world) - before, entries(&world)), (2, 1));
}

// R080, R122
#[test]
fn each_fetch_is_announced_but_an_equal_page_causes_no_work() {
    let mut world = connected("", &[referral("10.0.0.2")]);
    world.pass(SOAK);
    assert_eq!(world.targets(), ["10.0.0.1", "10.0.0.2"]);
    let (signals, scans, saved) = (page_signals(&world), world.scans, world.saved.len());
    for _ in 0..2 {
        aen(&mut world, AEN_DISCOVERY_CHANGED);
        world.serve("nvme0", 1, &[referral("10.0.0.2")]);
    }
    assert_eq!(page_signals(&world), signals + 2);
    assert!(world.core.is_calm(), "no reconcile is due");
    assert_eq!((world.scans, world.saved.len()), (scans, saved));
}

// R121
#[test]
fn an_empty_page_replaces_the_old_one_and_a_failed_fetch_does_not() {
    let mut world = connected("", &[record("10.0.0.5", NQN, 0)]);
    aen(&mut world, AEN_DISCOVERY_CHANGED);
    let (op, _) = world.take_admin("nvme0");
    world.tell(Input::AdminDone { op, result: Err(AdminError::Errno(EIO)) });
    assert_eq!(entries(&world), 1);
    world.pass(20 * SECOND);
    assert_eq!(world.serve("nvme0", 2, &[]), 1);
    assert_eq!(entries(&world), 0);
}

// R116
#[test]
fn a_failing_fetch_is_tried_again_every_20_s_and_reported_once() {
    let mut world = connected("", &[]);
    aen(&mut world, AEN_DISCOVERY_CHANGED);
    for failures in 1..=3 {
        let (op, _) = world.take_admin("nvme0");
        world.tell(Input::AdminDone { op, result: Err(AdminError::Status(0x2002)) });
        assert_eq!(world.at("10.0.0.1").role.failures, failures);
        assert_eq!(world.logged(Level::Error, "Failed to retrieve log pages."), 1);
        world.pass(20 * SECOND - Duration::from_nanos(1));
        assert!(world.waiting.is_empty());
        world.pass(Duration::from_nanos(1));
    }
    world.serve("nvme0", 2, &[]);
    aen(&mut world, AEN_DISCOVERY_CHANGED);
    let (op, _) = world.take_admin("nvme0");
    world.tell(Input::AdminDone { op, result: Err(AdminError::Errno(EIO)) });
    assert_eq!(world.logged(Level::Error, "Failed to retrieve"), 2, "a new series, a new report");
}

// R084
#[test]
fn records_without_an_address_are_removed_from_the_page() {
    let records = ["0.0.0.0", "::", "", "   ", "10.0.0.5"].map(|a| record(a, NQN, 0));
    let world = connected("", &records);
    assert_eq!(entries(&world), 1);
}

// R118
#[test]
fn the_two_events_of_one_reconnect_cause_one_fetch() {
    let mut world = connected("", &[]);
    let before = page_signals(&world);
    let name = || "nvme0".to_owned();
    world.tell(Input::Device(DeviceEvent::Rediscover { name: name() }));
    world.tell(Input::Device(DeviceEvent::Connected { name: name() }));
    assert_eq!(world.serve("nvme0", 2, &[]), 1);
    assert_eq!(page_signals(&world) - before, 1);
    // Each alone causes one as well.
    world.tell(Input::Device(DeviceEvent::Connected { name: name() }));
    assert_eq!(world.serve("nvme0", 2, &[]), 1);
    world.tell(Input::Device(DeviceEvent::Rediscover { name: name() }));
    assert_eq!(world.serve("nvme0", 2, &[]), 1);
}

// R118
#[test]
fn the_event_of_a_first_connect_causes_no_second_fetch() {
    for early in [false, true] {
        let mut world = World::finder(&wants_dc("10.0.0.1"));
        world.pass(SOAK);
        let event = DeviceEvent::Connected { name: "nvme0".to_owned() };
        if early {
            world.tell(Input::Device(event.clone()));
        }
        world.connected(dc("nvme0", "10.0.0.1"));
        if !early {
            world.tell(Input::Device(event));
        }
        assert_eq!(world.serve("nvme0", 1, &[]), 1, "early: {early}");
    }
}

// R116
#[test]
fn the_page_survives_the_connection() {
    let mut world = connected("", &[record("10.0.0.5", NQN, 0)]);
    world.vanish("nvme0");
    assert_eq!(entries(&world), 1);
    assert_eq!(world.at("10.0.0.1").role.origin, Some(Origin::Configured));
    let deadline = world.at("10.0.0.1").retry.deadline().unwrap();
    assert_eq!(world.now.until(deadline), 3 * SECOND);
    assert_eq!(world.at("10.0.0.1").attempts, 0);
}

// R116
#[test]
fn lost_uevents_lead_to_a_look_and_a_fetch() {
    let mut world = connected("", &[]);
    let scans = world.scans;
    world.tell(Input::EventsLost);
    assert_eq!(world.scans, scans + 1);
    assert_eq!(world.serve("nvme0", 2, &[]), 1);
}

// R071, R118
#[test]
fn a_reload_reads_every_page_again() {
    let mut world = connected("", &[]);
    world.reload(&wants_dc("10.0.0.1"));
    assert_eq!(world.serve("nvme0", 2, &[]), 1);
    assert!(world.waiting.is_empty());
}

// R123
#[test]
fn the_origin_follows_the_best_source() {
    let mut world = connected("", &[referral("10.0.0.2")]);
    let origin = |world: &World<Finder>| world.at("10.0.0.2").role.origin;
    let mut both = vec![dc_fields("10.0.0.2")];
    world.tell(Input::Announced(both.clone()));
    world.pass(SOAK);
    assert_eq!(origin(&world), Some(Origin::Referral));
    world.reload(&(wants_dc("10.0.0.1") + &wants_dc("10.0.0.2")));
    assert_eq!(origin(&world), Some(Origin::Configured));
    world.serve("nvme0", 2, &[]);
    world.reload(&wants_dc("10.0.0.1"));
    assert_eq!(origin(&world), Some(Origin::Discovered));
    both.clear();
    world.tell(Input::Announced(both));
    world.pass(SOAK);
    assert_eq!(origin(&world), Some(Origin::Discovered), "without any source it stays");
}

// R123
#[test]
fn a_restored_origin_that_is_none_is_an_error_and_not_taken() {
    let state = |origin: &str| {
        format!(
            r#"{{"version":1,"controllers":[{{"transport":"tcp","traddr":"10.0.0.1",
            "trsvcid":"8009","origin":"{origin}"}}]}}"#
        )
    };
    for (word, errors) in [("blah", 1), ("", 0), ("referral", 0)] {
        let world = World::finder_after("", Some(&state(word)), Vec::new());
        assert_eq!(world.logged(Level::Error, "unknown origin"), errors, "{word:?}");
        assert_eq!(world.at("10.0.0.1").role.origin.is_some(), word == "referral");
    }
}

// R124
#[test]
fn an_unannounced_unreachable_controller_is_dropped_after_its_time() {
    let mut world = announced(&patience("10"));
    world.tell(Input::Announced(Vec::new()));
    world.pass(HOUR);
    assert!(world.is_bound("10.0.0.1"), "a connection is reason enough to stay");
    world.vanish("nvme0");
    assert_eq!(world.logged(Level::Info, "is not responding. Will be removed by"), 1);
    world.pass(3 * SECOND);
    world.refused(ECONNREFUSED);
    world.pass(6 * SECOND);
    assert_eq!(world.targets(), ["10.0.0.1"]);
    world.refused(ECONNREFUSED);
    world.pass(SECOND + SOAK);
    assert!(world.targets().is_empty());
    assert_eq!((removal_signals(&world), world.deletes().len()), (1, 0));
    assert_eq!(world.logged(Level::Info, "not responding"), 1);
}

// R124
#[test]
fn for_ever_means_for_ever() {
    let mut world = announced(&patience("-1"));
    world.tell(Input::Announced(Vec::new()));
    world.vanish("nvme0");
    for _ in 0..100 {
        world.pass(HOUR);
        if !world.connects().is_empty() {
            world.refused(ECONNREFUSED);
        }
    }
    assert_eq!(world.targets(), ["10.0.0.1"]);
    assert_eq!(world.logged(Level::Info, "Controller not responding. Retrying..."), 1);
}

// R124
#[test]
fn an_announcement_or_a_connection_ends_the_countdown() {
    let mut world = announced(&patience("10"));
    world.tell(Input::Announced(Vec::new()));
    world.vanish("nvme0");
    world.pass(9 * SECOND);
    world.tell(Input::Announced(vec![dc_fields("10.0.0.1")]));
    world.pass(HOUR);
    assert_eq!(world.targets(), ["10.0.0.1"]);
    world.tell(Input::Announced(Vec::new()));
    world.pass(9 * SECOND);
    world.connected(dc("nvme1", "10.0.0.1"));
    world.serve("nvme1", 1, &[]);
    world.pass(HOUR);
    assert!(world.is_bound("10.0.0.1"));
}

// R124
#[test]
fn configured_controllers_are_never_dropped_for_silence() {
    let mut world = connected(&patience("0"), &[]);
    world.vanish("nvme0");
    world.pass(3 * SECOND);
    world.refused(ECONNREFUSED);
    world.pass(HOUR);
    assert_eq!(world.targets(), ["10.0.0.1"]);
}

// R125
#[test]
fn a_referral_survives_the_loss_of_who_refers_to_it() {
    let mut world = connected("", &[referral("10.0.0.2")]);
    world.pass(SOAK);
    world.connected(dc("nvme1", "10.0.0.2"));
    world.serve("nvme1", 1, &[]);
    world.vanish("nvme0");
    world.pass(3 * SECOND);
    world.refused(ECONNREFUSED);
    world.reload(&wants_dc("10.0.0.1"));
    assert!(world.is_bound("10.0.0.2"));
}

// R125, R081
#[test]
fn sources_that_vanish_take_their_controllers_along_even_connected_ones() {
    let referrals = [referral("10.0.0.2"), referral("10.0.0.3")];
    let mut world = connected("", &referrals);
    world.pass(SOAK);
    world.connected(dc("nvme1", "10.0.0.2"));
    world.serve("nvme1", 1, &[]);
    world.connected(dc("nvme2", "10.0.0.3"));
    world.serve("nvme2", 1, &[]);
    aen(&mut world, AEN_DISCOVERY_CHANGED);
    world.serve("nvme0", 2, &[]);
    assert_eq!(removal_signals(&world), 0);
    world.pass(SOAK);
    assert_eq!((removal_signals(&world), world.deletes()), (1, vec!["nvme1", "nvme2"]));
    assert_eq!(world.targets(), ["10.0.0.1"]);
    world.reload("");
    assert_eq!((removal_signals(&world), world.targets().len()), (2, 0));
}

// R126
#[test]
fn controllers_that_refer_to_each_other_and_to_themselves_end() {
    let mut world = connected("", &[referral("10.0.0.1"), referral("10.0.0.2")]);
    world.pass(SOAK);
    world.connected(dc("nvme1", "10.0.0.2"));
    world.serve("nvme1", 1, &[referral("10.0.0.1"), referral("10.0.0.2")]);
    world.pass(SOAK);
    assert_eq!(world.targets(), ["10.0.0.1", "10.0.0.2"]);
    assert!(world.core.is_calm() && world.waiting.is_empty());
    // What only they hold on to each other goes with the root.
    world.reload("");
    world.serve("nvme0", 2, &[]);
    world.serve("nvme1", 2, &[]);
    assert_eq!(world.deletes().len(), 2);
}

// R126
#[test]
fn the_depth_and_the_number_of_referrals_are_bounded() {
    let mut world = connected("", &[referral("10.0.1.1")]);
    for depth in 1..=12 {
        world.pass(SOAK);
        if world.connects().is_empty() {
            break;
        }
        let (name, here) = (format!("nvme{depth}"), format!("10.0.1.{depth}"));
        world.connected(dc(&name, &here));
        world.serve(&name, 1, &[referral(&format!("10.0.1.{}", depth + 1))]);
    }
    assert_eq!(world.targets().len(), 1 + 8);
    assert_eq!(world.logged(Level::Warn, "leads to too many referrals"), 1);
    let many: Vec<Vec<u8>> = (1..=200).map(|n| referral(&format!("10.0.2.{n}"))).collect();
    let mut world = connected("", &many);
    world.pass(SOAK);
    assert_eq!(world.targets().len(), 1 + 64);
    assert_eq!(world.logged(Level::Warn, "leads to too many referrals"), 1);
}

// R136
#[test]
fn mdns_may_be_silent_without_cost() {
    let mut world = announced("");
    world.tell(Input::Announced(Vec::new()));
    world.pass(SOAK);
    world.reload("");
    assert!(world.is_bound("10.0.0.1") && world.deletes().is_empty());
    assert_eq!(removal_signals(&world), 0);
    // An exclusion is a reason of another kind.
    world.serve("nvme0", 2, &[]);
    world.reload("[Controllers]\nexclude=traddr=10.0.0.1\n");
    world.serve("nvme0", 3, &[]);
    assert_eq!(world.deleted(), "nvme0");
}

// R132, R133
#[test]
fn referrals_inherit_the_path_and_hostile_ones_are_ignored() {
    let text = "[Controllers]\ncontroller=transport=tcp;traddr=10.0.0.1;host-iface=eth7\n";
    let mut world = World::finder(text);
    world.pass(SOAK);
    let device = dc("nvme0", "10.0.0.1");
    world.connected(super::super::cid::Device { host_iface: "eth7".to_owned(), ..device });
    world.serve("nvme0", 1, &[referral("10.0.0.2"), referral("10.0.0.3,hostnqn=evil")]);
    world.pass(SOAK);
    assert_eq!(world.targets(), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(world.at("10.0.0.2").tid.host_iface(), "eth7");
}

// R156
#[test]
fn a_stop_keeps_connections_unless_told_otherwise() {
    let mut world = connected("", &[]);
    world.tell(Input::Stop);
    assert!(world.left && world.waiting.is_empty());
    let text = "[Discovery controller connection management]\npersistent-connections=false\n";
    let mut world = connected(text, &[]);
    world.tell(Input::Stop);
    assert!(!world.left, "the disconnect is waited for");
    assert!(world.saved.last().is_some_and(|text| text.contains("10.0.0.1")));
    world.deleted();
    assert!(world.left);
}

// R157
#[test]
fn a_connect_in_flight_that_nobody_wants_is_undone_by_the_next_process() {
    for persistent in [true, false] {
        let text = format!(
            "[Discovery controller connection management]\npersistent-connections={persistent}\n"
        );
        let mut world = World::finder(&(text.clone() + &wants_dc("10.0.0.2")));
        world.pass(SOAK);
        world.reload(&text);
        world.tell(Input::Stop);
        world.pass(SECOND);
        assert!(world.left);
        let state = world.saved.last().cloned().unwrap();
        let mut next = World::finder_after("", Some(&state), vec![dc("nvme1", "10.0.0.2")]);
        next.serve("nvme1", 1, &[]);
        next.pass(SOAK);
        assert_eq!(next.deleted(), "nvme1", "persistent: {persistent}");
    }
}

// R157
#[test]
fn a_stop_takes_less_than_1_s_whatever_hangs() {
    let text = "[Discovery controller connection management]\npersistent-connections=false\n";
    let mut world =
        World::finder(&(text.to_owned() + &wants_dc("10.0.0.1") + &wants_dc("10.0.0.2")));
    world.pass(SOAK);
    world.connected(dc("nvme0", "10.0.0.1"));
    assert_eq!(world.connects().len(), 1);
    world.tell(Input::Stop);
    world.pass(Duration::from_millis(999));
    assert!(world.left);
}

// R159, R078
#[test]
fn after_a_restart_pages_and_origins_are_there_at_once() {
    let mut first = connected("", &[record("10.0.0.5", NQN, 0), referral("10.0.0.2")]);
    first.pass(SOAK);
    first.tell(Input::Stop);
    let state = first.saved.last().cloned().unwrap();
    let world = World::finder_after(&wants_dc("10.0.0.1"), Some(&state), Vec::new());
    assert_eq!(world.targets(), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(entries(&world), 2);
    assert_eq!(world.at("10.0.0.2").role.origin, Some(Origin::Referral));
}

// R160
#[test]
fn the_state_file_is_written_when_something_changed_and_only_then() {
    let mut world = connected("", &[record("10.0.0.5", NQN, 0)]);
    let written = world.saved.len();
    for _ in 0..3 {
        world.reload(&wants_dc("10.0.0.1"));
        world.serve("nvme0", 1, &[record("10.0.0.5", NQN, 0)]);
    }
    assert_eq!(world.saved.len(), written);
    aen(&mut world, AEN_DISCOVERY_CHANGED);
    world.serve("nvme0", 2, &[]);
    assert_eq!(world.saved.len(), written + 1);
}

// R160
#[test]
fn a_damaged_state_file_means_an_empty_start() {
    for state in ["", "garbage", "{}", "{\"version\":99,\"controllers\":[]}"] {
        let mut world = World::finder_after(&wants_dc("10.0.0.1"), Some(state), Vec::new());
        world.pass(SOAK);
        assert_eq!(world.logged(Level::Warn, "last known configuration is not used"), 1);
        assert_eq!(world.connects().len(), 1);
    }
}

// R116
#[test]
fn the_last_read_of_a_fetch_arms_the_notification_again() {
    let mut world = World::finder(&wants_dc("10.0.0.1"));
    world.pass(SOAK);
    world.connected(dc("nvme0", "10.0.0.1"));
    let (_, command) = world.take_admin("nvme0");
    assert!(matches!(command, AdminCommand::GetLog { lid: 0x70, rae: false, offset: 0, .. }));
}
