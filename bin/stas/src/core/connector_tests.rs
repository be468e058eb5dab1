// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connector's core against a stafd that answers, is silent, restarts, or talks nonsense.

use std::time::Duration;

use log::Level;

use super::super::cid::Device;
use super::super::controller::State;
use super::super::port::{Action, DeviceEvent, Input, StafdEvent};
use super::super::report::Validity;
use super::super::testing::{
    ECONNREFUSED, NQN, SECOND, SOAK, World, answer, io, page, record, source, wants_io,
};
use super::Connector;

/// "Not connected to CDC", in the flags of a log page entry.
const NCC: u8 = 4;

/// The page that names one subsystem at this address.
fn one(traddr: &str) -> String {
    page(&[record(traddr, NQN, 0)])
}

/// A connector that stafd led to `nvme3` at 10.0.0.5.
fn connected(text: &str) -> World<Connector> {
    let mut world = World::connector(text);
    world.stafd(&one("10.0.0.5"));
    world.connected(io("nvme3", "10.0.0.5", NQN));
    assert!(world.is_bound("10.0.0.5"));
    world
}

fn asks(world: &World<Connector>) -> usize {
    world.waiting.iter().filter(|action| matches!(action, Action::QueryStafd { .. })).count()
}

// R136
#[test]
fn what_a_log_page_names_is_connected_and_what_it_no_longer_names_is_not() {
    let mut world = connected("");
    world.stafd_changes(&one("10.0.0.6"));
    assert_eq!(world.deleted(), "nvme3");
    assert_eq!(world.targets(), ["10.0.0.6"]);
    assert!(world.connects()[0].contains("traddr=10.0.0.6"));
    assert!(world.core.fleet.is_settled());
}

// R139
#[test]
fn configured_controllers_need_no_stafd() {
    let mut world = World::connector(&wants_io("10.0.0.5", ""));
    world.pass(SOAK);
    assert_eq!((asks(&world), world.connects().len()), (0, 1));
}

// R136
#[test]
fn entries_without_a_port_or_a_name_are_reported_once_and_ignored() {
    let text = "[Controllers]\ncontroller=transport=tcp;traddr=10.0.0.5;trsvcid=4420\n\
                controller=transport=tcp;trsvcid=4420;nqn=nqn.2024-01.test:a\n";
    let mut world = World::connector(text);
    world.pass(SOAK);
    world.tell(Input::Stafd(StafdEvent::DcRemoved));
    world.pass(SOAK);
    assert!(world.targets().is_empty());
    assert_eq!(world.logged(Level::Warn, "is ignored: it has no"), 2);
}

// R088
#[test]
fn a_new_stafd_is_asked_after_the_short_soak_and_a_restarted_one_after_the_long() {
    let mut world = connected("");
    for (soak, gone) in [(10 * SECOND, true), (SOAK, false)] {
        if gone {
            world.tell(Input::Stafd(StafdEvent::Vanished));
            world.pass(60 * SECOND);
            assert_eq!(asks(&world), 0, "its end starts no timer");
        }
        world.tell(Input::Stafd(StafdEvent::Appeared));
        world.pass(soak - Duration::from_nanos(1));
        assert_eq!(asks(&world), 0);
        world.pass(Duration::from_nanos(1));
        assert_eq!(asks(&world), 1);
        world.stafd_answers(Ok(&one("10.0.0.5")));
        assert!(world.is_bound("10.0.0.5"));
    }
}

// R088
#[test]
fn each_signal_of_stafd_leads_to_one_question_after_the_soak() {
    let mut world = connected("");
    for event in [StafdEvent::LogPagesChanged, StafdEvent::DcRemoved] {
        world.tell(Input::Stafd(event.clone()));
        world.pass(SECOND);
        world.tell(Input::Stafd(event));
        world.pass(SECOND);
        assert_eq!(asks(&world), 0, "the second signal starts the soak anew");
        world.pass(SECOND);
        assert_eq!(asks(&world), 1);
        world.stafd_answers(Ok(&one("10.0.0.5")));
    }
}

// R089
#[test]
fn stafd_killed_and_a_reload_disconnect_nothing() {
    let mut world = connected("");
    world.tell(Input::Stafd(StafdEvent::Vanished));
    world.reload("");
    world.pass(60 * SECOND);
    assert!(world.is_bound("10.0.0.5"));
    assert!(world.waiting.is_empty(), "{:?}", world.waiting);
}

// R089
#[test]
fn an_answer_that_fails_or_makes_no_sense_keeps_what_is_known() {
    for result in [Err("no reply"), Ok("{"), Ok("{}"), Ok("[{}]"), Ok("")] {
        let mut world = connected("");
        world.tell(Input::Stafd(StafdEvent::LogPagesChanged));
        world.pass(SOAK);
        world.stafd_answers(result);
        assert!(world.is_bound("10.0.0.5"), "{result:?}");
        assert!(world.waiting.is_empty(), "{:?}", world.waiting);
        assert_eq!(world.logged(Level::Warn, "keeping what is known"), 1);
        world.pass(10 * SECOND);
        assert_eq!(asks(&world), 1, "it is asked again");
    }
}

// R089, R159
#[test]
fn before_the_first_answer_restored_controllers_stay() {
    let mut first = connected("");
    first.tell(Input::Stop);
    let state = first.saved.last().cloned().unwrap();
    let devices = vec![io("nvme3", "10.0.0.5", NQN)];
    let mut world = World::connector_after("", Some(&state), devices);
    world.pass(600 * SECOND);
    assert!(world.is_bound("10.0.0.5"));
    // Its own answer decides at last.
    world.stafd(&page(&[]));
    assert_eq!(world.deleted(), "nvme3");
}

// R159
#[test]
fn of_the_state_file_only_what_the_kernel_still_has_comes_back() {
    let mut first = connected("");
    first.tell(Input::Stop);
    let state = first.saved.last().cloned().unwrap();
    let mut world = World::connector_after("", Some(&state), Vec::new());
    world.pass(60 * SECOND);
    assert!(world.targets().is_empty() && world.waiting.is_empty());
}

// R160
#[test]
fn a_damaged_state_file_means_an_empty_start_and_one_warning() {
    for state in ["", "garbage", "{\"version\":2}", "\u{80}\u{3}}q", "[]"] {
        let mut world = World::connector_after(&wants_io("10.0.0.5", ""), Some(state), Vec::new());
        world.pass(SOAK);
        assert_eq!(world.logged(Level::Warn, "last known configuration is not used"), 1);
        assert_eq!(world.connects().len(), 1, "{state:?}");
    }
}

// R161
#[test]
fn a_restored_controller_takes_its_parameters_from_todays_file() {
    let state = r#"{"version":1,"controllers":[{"transport":"TCP","traddr":"::ffff:10.0.0.5",
        "trsvcid":"04420","subsysnqn":"nqn.2024-01.test:a","origin":"configured"}]}"#;
    let devices = vec![io("nvme3", "10.0.0.5", NQN)];
    let text = wants_io("10.0.0.5", ";hdr-digest=true");
    let mut world = World::connector_after(&text, Some(state), devices);
    world.pass(SOAK);
    let all: Vec<_> = world.core.fleet.iter().collect();
    assert_eq!(all.len(), 1, "one identity in two spellings");
    assert_eq!((all[0].device_name(), all[0].overrides.hdr_digest), ("nvme3", Some(true)));
}

// R090
#[test]
fn a_page_from_before_stafds_restart_removes_nothing() {
    let mut world = connected("");
    let cached =
        |records: &[Vec<u8>]| answer(vec![source("10.0.0.1", "", Validity::Cached, records)]);
    for old in [cached(&[]), cached(&[record("10.0.0.7", NQN, 0)])] {
        world.stafd_changes(&old);
        assert!(world.is_bound("10.0.0.5"));
        assert_eq!(world.targets(), ["10.0.0.5"]);
    }
    world.stafd_changes(&answer(vec![source("10.0.0.1", "", Validity::Nothing, &[])]));
    assert!(world.is_bound("10.0.0.5"));
    world.stafd_changes(&page(&[]));
    assert_eq!(world.deleted(), "nvme3");
}

// R091
#[test]
fn a_stafd_that_never_answers_is_not_waited_for() {
    let mut world = World::connector(&wants_io("10.0.0.5", ""));
    world.tell(Input::Stafd(StafdEvent::Appeared));
    world.pass(SOAK);
    assert_eq!((asks(&world), world.connects().len()), (1, 0));
    world.pass(5 * SECOND);
    assert_eq!(world.connects().len(), 1);
    // What it says later still counts.
    world.stafd_answers(Ok(&one("10.0.0.6")));
    world.pass(SOAK);
    world.stafd_answers(Ok(&one("10.0.0.6")));
    assert_eq!(world.targets(), ["10.0.0.5", "10.0.0.6"]);
}

// R089
#[test]
fn an_answer_that_is_older_than_the_one_in_use_is_not_listened_to() {
    let mut world = connected("");
    world.tell(Input::Stafd(StafdEvent::LogPagesChanged));
    world.pass(SOAK);
    let late = world.take(|action| match action {
        Action::QueryStafd { op } => Some(*op),
        _ => None,
    });
    world.tell(Input::Stafd(StafdEvent::Vanished));
    world.tell(Input::Stafd(StafdEvent::Appeared));
    world.pass(10 * SECOND);
    world.stafd_answers(Ok(&one("10.0.0.5")));
    for result in [Ok(page(&[])), Err("timed out".to_owned())] {
        world.tell(Input::Stafd(StafdEvent::Answer { op: late, result }));
        world.pass(60 * SECOND);
        assert!(world.is_bound("10.0.0.5") && asks(&world) == 0);
    }
    assert_eq!(world.logged(Level::Warn, "keeping what is known"), 0);
}

// R073
#[test]
fn a_reload_during_a_reconcile_is_not_lost() {
    let mut world = World::connector("");
    world.tell(Input::Stafd(StafdEvent::Appeared));
    world.pass(SOAK);
    assert_eq!(asks(&world), 1, "the reconcile waits for the answer");
    let text = "[Controllers]\nexclude=nqn=nqn.2024-01.test:b\n";
    let config = super::super::testing::config(super::Role::Connector, text);
    world.tell(Input::Reload(Box::new(config.clone())));
    world.tell(Input::Reload(Box::new(config)));
    world.stafd_answers(Ok(&one("10.0.0.5")));
    assert_eq!(world.connects().len(), 1);
    world.pass(SOAK);
    assert_eq!(asks(&world), 1, "another reconcile follows");
}

// R071
#[test]
fn a_reload_connects_what_has_no_retry_timer_and_leaves_the_others() {
    let mut world = World::connector(&limited());
    world.stafd(&page(&[record("10.0.0.5", NQN, NCC), record("10.0.0.6", NQN, 0)]));
    for _ in 0..2 {
        world.refused(ECONNREFUSED);
        world.refused(ECONNREFUSED);
        world.pass(3 * SECOND);
    }
    assert_eq!(world.at("10.0.0.5").state, State::GaveUp);
    assert_eq!(world.at("10.0.0.6").state, State::Waiting);
    let config = super::super::testing::config(super::Role::Connector, &limited());
    world.tell(Input::Reload(Box::new(config)));
    assert_eq!(world.connects().len(), 1);
    assert!(world.connects()[0].contains("traddr=10.0.0.5"));
}

fn limited() -> String {
    "[I/O controller connection management]\nconnect-attempts-on-ncc=2\n".to_owned()
}

// R130, R049
#[test]
fn without_a_way_to_the_central_controller_two_attempts_are_all() {
    let mut world = World::connector(&limited());
    world.stafd(&page(&[record("10.0.0.5", NQN, NCC)]));
    world.refused(ECONNREFUSED);
    world.pass(3 * SECOND);
    world.refused(ECONNREFUSED);
    world.pass(600 * SECOND);
    assert!(world.connects().is_empty());
    assert_eq!((world.at("10.0.0.5").attempts, &world.at("10.0.0.5").state), (2, &State::GaveUp));
    assert_eq!(world.logged(Level::Info, "No further attempts"), 1);
}

// R130
#[test]
fn without_a_limit_or_with_a_way_attempts_go_on_for_ever() {
    for (text, flags) in [(String::new(), NCC), (limited(), 0)] {
        let mut world = World::connector(&text);
        world.stafd(&page(&[record("10.0.0.5", NQN, flags)]));
        for _ in 0..5 {
            world.refused(ECONNREFUSED);
            world.pass(66 * SECOND);
        }
        assert_eq!(world.connects().len(), 1);
    }
}

// R129
#[test]
fn a_way_found_back_to_the_central_controller_brings_an_attempt_at_once() {
    let mut world = World::connector(&limited());
    world.stafd(&page(&[record("10.0.0.5", NQN, NCC)]));
    world.refused(ECONNREFUSED);
    world.pass(3 * SECOND);
    world.refused(ECONNREFUSED);
    world.stafd_changes(&page(&[record("10.0.0.5", NQN, NCC)]));
    assert!(world.connects().is_empty());
    world.stafd_changes(&page(&[record("10.0.0.5", NQN, 0)]));
    assert_eq!((world.connects().len(), world.at("10.0.0.5").attempts), (1, 1));
}

// R129
#[test]
fn a_connected_controller_is_left_alone_when_its_flags_change() {
    let mut world = World::connector("");
    world.stafd(&page(&[record("10.0.0.5", NQN, NCC)]));
    world.connected(io("nvme3", "10.0.0.5", NQN));
    world.stafd_changes(&one("10.0.0.5"));
    assert!(world.waiting.is_empty() && world.is_bound("10.0.0.5"));
}

// R128
#[test]
fn events_of_io_controllers_cause_nothing() {
    let mut world = connected("");
    let name = || "nvme3".to_owned();
    for event in [
        DeviceEvent::Aen { name: name(), aen: 0x0007_0f02 },
        DeviceEvent::Aen { name: name(), aen: super::super::finder::AEN_DISCOVERY_CHANGED },
        DeviceEvent::Connected { name: name() },
        DeviceEvent::Rediscover { name: name() },
    ] {
        let logged = world.log.len();
        world.tell(Input::Device(event));
        assert!(world.waiting.is_empty() && world.log.len() == logged);
    }
}

// R131
#[test]
fn flow_control_is_switched_off_where_the_entry_allows_it() {
    for (treq, wanted) in [(4, true), (0, false), (1, false)] {
        let mut entry = record("10.0.0.5", NQN, 0);
        entry[3] = treq;
        let mut world = World::connector("");
        world.stafd(&page(&[entry]));
        assert_eq!(world.connects()[0].contains("disable_sqflow"), wanted, "TREQ {treq}");
    }
}

// R131
#[test]
fn a_secure_channel_that_cannot_be_had_is_reported_once_and_not_tried() {
    let mut entry = record("10.0.0.5", NQN, 0);
    (entry[3], entry[768]) = (1, 2);
    let secure = page(&[entry]);
    let mut world = World::connector("[Global]\nprobe-tcp=true\n");
    world.stafd(&secure);
    world.pass(600 * SECOND);
    world.stafd_changes(&secure);
    world.pass(600 * SECOND);
    assert!(world.waiting.is_empty(), "{:?}", world.waiting);
    assert_eq!(world.at("10.0.0.5").state, State::GaveUp);
    assert_eq!(world.logged(Level::Error, "requires TLS"), 1);
    // A key, or a controller that no longer demands one, brings an attempt.
    let mut other = World::connector("");
    other.stafd(&secure);
    other.reload(&wants_io("10.0.0.5", ";tls=true"));
    other.stafd_answers(Ok(&secure));
    assert_eq!(other.at("10.0.0.5").attempts, 1);
    world.reload("");
    world.stafd_answers(Ok(&secure));
    assert!(world.waiting.is_empty());
    world.tell(Input::Stafd(StafdEvent::LogPagesChanged));
    world.pass(SOAK);
    world.stafd_answers(Ok(&one("10.0.0.5")));
    assert_eq!(world.connects().len(), 1);
}

// R131, R108
#[test]
fn an_existing_secure_connection_is_adopted() {
    let mut entry = record("10.0.0.5", NQN, 0);
    (entry[3], entry[768]) = (1, 2);
    let devices = vec![io("nvme3", "10.0.0.5", NQN)];
    let mut world = World::connector_after("", None, devices);
    world.stafd(&page(&[entry]));
    assert!(world.is_bound("10.0.0.5"));
}

// R132
#[test]
fn entries_that_would_inject_options_are_not_connected() {
    for hostile in ["10.0.0.5,hostnqn=evil", "10.0.0.5\nx", "10.0.0.5\u{1}"] {
        let mut world = World::connector("");
        world.stafd(&page(&[record(hostile, NQN, 0), record("10.0.0.6", "nqn.a,b", 0)]));
        assert!(world.targets().is_empty() && world.waiting.is_empty(), "{hostile:?}");
    }
}

// R133, R135
#[test]
fn one_path_reported_twice_is_one_connection_and_two_interfaces_are_two() {
    let records = [record("10.0.0.5", NQN, 0)];
    let by = |traddr, iface| source(traddr, iface, Validity::Fetched, &records);
    let mut world = World::connector("");
    world.stafd(&answer(vec![by("10.0.0.1", "eth0"), by("10.0.0.2", "eth0")]));
    assert_eq!(world.connects().len(), 1);
    assert!(world.connects()[0].contains("host_iface=eth0"));
    let mut world = World::connector("");
    world.stafd(&answer(vec![by("10.0.0.1", "eth0"), by("10.0.0.2", "eth1")]));
    assert_eq!(world.connects().len(), 2);
    assert!(world.connects()[0].contains("host_iface=eth0"));
    assert!(world.connects()[1].contains("host_iface=eth1"));
}

// R135
#[test]
fn a_controller_stays_as_long_as_one_of_its_reporters_names_it() {
    let records = [record("10.0.0.5", NQN, 0)];
    let by = |traddr, records: &[Vec<u8>]| source(traddr, "", Validity::Fetched, records);
    let mut world = World::connector("");
    world.stafd(&answer(vec![by("10.0.0.1", &records), by("10.0.0.2", &records)]));
    world.connected(io("nvme3", "10.0.0.5", NQN));
    world.stafd_changes(&answer(vec![by("10.0.0.1", &[]), by("10.0.0.2", &records)]));
    assert!(world.is_bound("10.0.0.5"));
    world.stafd_changes(&answer(vec![by("10.0.0.1", &[]), by("10.0.0.2", &[])]));
    assert_eq!(world.deleted(), "nvme3");
}

// R065
#[test]
fn zoning_can_be_ignored() {
    let text = "[I/O controller connection management]\nhonor-fabric-zoning=false\n";
    let mut world = connected(text);
    world.stafd_changes(&page(&[]));
    assert!(world.targets().is_empty() && world.waiting.is_empty());
    let mut world = World::connector(&(text.to_owned() + &wants_io("10.0.0.5", "")));
    world.pass(SOAK);
    world.connected(io("nvme3", "10.0.0.5", NQN));
    world.reload(text);
    assert_eq!(world.deleted(), "nvme3", "what the file no longer names goes nevertheless");
}

// R134
#[test]
fn entries_of_another_transport_can_be_skipped() {
    let mut other = record("10.0.0.6", NQN, 0);
    other[0] = 1;
    let both = page(&[record("10.0.0.5", NQN, 0), other]);
    for (skip, count) in [(false, 2), (true, 1)] {
        let text =
            format!("[I/O controller connection management]\nskip-foreign-transport={skip}\n");
        let mut world = World::connector(&text);
        world.stafd(&both);
        assert_eq!(world.targets().len(), count);
    }
}

// R060
#[test]
fn an_exclusion_disconnects_even_while_stafd_is_silent() {
    let mut world = connected("");
    world.tell(Input::Stafd(StafdEvent::Vanished));
    world.reload("[Controllers]\nexclude=nqn=nqn.2024-01.test:a\n");
    assert_eq!(world.deleted(), "nvme3");
}

// R156, R157
#[test]
fn a_stop_with_a_hanging_connect_leaves_at_once_and_keeps_all_connections() {
    let mut world = World::connector("");
    world.stafd(&page(&[record("10.0.0.5", NQN, 0), record("10.0.0.6", NQN, 0)]));
    world.connected(io("nvme3", "10.0.0.5", NQN));
    assert_eq!(world.connects().len(), 1, "the other one hangs");
    world.tell(Input::Stop);
    assert!(world.left && world.deletes().is_empty());
    assert!(world.saved.last().is_some_and(|text| text.contains("10.0.0.5")));
    // What comes after the end is not listened to.
    world.connected(io("nvme4", "10.0.0.6", NQN));
    assert!(world.waiting.is_empty());
}

// R157
#[test]
fn a_connect_in_flight_that_nobody_wants_is_undone_by_the_next_process() {
    let mut world = World::connector("");
    world.stafd(&one("10.0.0.5"));
    world.stafd_changes(&page(&[]));
    assert_eq!((world.connects().len(), world.targets().len()), (1, 0));
    world.tell(Input::Stop);
    let state = world.saved.last().cloned().unwrap();
    let late = vec![io("nvme3", "10.0.0.5", NQN)];
    // Nobody wants it, as far as stafd knows; or somebody does again.
    let mut next = World::connector_after("", Some(&state), late.clone());
    next.stafd(&page(&[]));
    assert_eq!(next.deleted(), "nvme3");
    let mut next = World::connector_after("", Some(&state), late);
    next.stafd(&one("10.0.0.5"));
    assert!(next.is_bound("10.0.0.5") && next.waiting.is_empty());
}

// R236
#[test]
fn a_thousand_wanted_and_a_thousand_existing_take_one_look_at_the_kernel() {
    let traddr = |n: usize| format!("10.1.{}.{}", n / 250, n % 250 + 1);
    let devices: Vec<Device> =
        (0..1000).map(|n| io(&format!("nvme{n}"), &traddr(n), NQN)).collect();
    let mut world = World::connector_after("", None, devices);
    let before = world.scans;
    let records: Vec<Vec<u8>> = (0..1000).map(|n| record(&traddr(n), NQN, 0)).collect();
    world.stafd(&page(&records));
    assert_eq!(world.scans - before, 1);
    assert_eq!(world.core.fleet.iter().filter(|c| c.device().is_some()).count(), 1000);
    assert!(world.waiting.is_empty());
    let logged = world.log.len();
    world.stafd_changes(&page(&records));
    assert_eq!((world.log.len(), world.scans - before), (logged, 1), "nothing new is nothing");
}
