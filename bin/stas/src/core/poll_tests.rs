// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Discovery controllers that want no lasting connection, seen through the finder's core.

use log::Level;

use super::super::finder::{AEN_DISCOVERY_CHANGED, Finder};
use super::super::port::{DeviceEvent, Input};
use super::super::settings::{Role, Settings};
use super::super::testing::{
    ECONNREFUSED, EIO, HOUR, NQN, SECOND, SOAK, World, connected, dc, dc_fields, entries, record,
    referral, wants_dc,
};

fn log_changed(world: &mut World<Finder>, name: &str) {
    let (name, aen) = (name.to_owned(), AEN_DISCOVERY_CHANGED);
    world.tell(Input::Device(DeviceEvent::Aen { name, aen }));
}

/// The own entry of a discovery controller that wants no lasting connection.
fn transient() -> Vec<u8> {
    let mut own = referral("10.0.0.1");
    own[2] = 3;
    own
}

const AUTO: &str = "[Discovery controller connection management]\npersistent-connections=auto\n";

// R127
#[test]
fn a_controller_that_wants_no_connection_is_polled_and_its_page_stays() {
    let page = [transient(), record("10.0.0.5", NQN, 0)];
    let mut world = connected(AUTO, &page);
    log_changed(&mut world, "nvme0");
    assert_eq!(world.deleted(), "nvme0");
    assert!(world.waiting.is_empty(), "nothing is sent while it is cut: {:?}", world.waiting);
    assert_eq!((world.is_bound("10.0.0.1"), entries(&world)), (false, 2));
    world.pass(HOUR - SECOND);
    assert!(world.waiting.is_empty() && world.saved.last().unwrap().contains("10.0.0.5"));
    world.pass(SECOND);
    world.connected(dc("nvme1", "10.0.0.1"));
    world.serve("nvme1", 2, &[transient()]);
    assert_eq!((world.deleted(), entries(&world)), ("nvme1".to_owned(), 1));
}

// R127
#[test]
fn a_controller_is_polled_only_where_both_sides_want_that() {
    let mut lasting = transient();
    lasting[10] = 2;
    for (text, page) in [("", vec![transient()]), (AUTO, vec![lasting]), (AUTO, vec![])] {
        let mut world = connected(text, &page);
        world.pass(2 * HOUR);
        assert!(world.waiting.is_empty() && world.is_bound("10.0.0.1"), "{text}");
    }
}

// R127
#[test]
fn a_poll_that_fails_is_retried_like_any_connect_and_a_reload_polls_at_once() {
    let mut world = connected(AUTO, &[transient()]);
    world.deleted();
    world.reload(&(AUTO.to_owned() + &wants_dc("10.0.0.1")));
    world.refused(ECONNREFUSED);
    world.pass(3 * SECOND);
    world.connected(dc("nvme1", "10.0.0.1"));
    world.serve("nvme1", 1, &[transient()]);
    let (op, _) = world.take_delete();
    world.tell(Input::DeleteDone { op, result: Err(EIO) });
    assert_eq!(world.logged(Level::Warn, "Failed to disconnect"), 1);
    // It stays connected, so that events are heard, and the next page brings the next try.
    log_changed(&mut world, "nvme1");
    world.serve("nvme1", 2, &[transient()]);
    assert_eq!(world.deleted(), "nvme1");
}

// R127
#[test]
fn a_controller_dropped_while_it_is_cut_is_cut_once() {
    let mut world = connected(AUTO, &[transient()]);
    world.reload(AUTO);
    assert_eq!(world.deletes(), ["nvme0"]);
    world.deleted();
    assert!(world.core.fleet().is_settled() && world.targets().is_empty());
    // Wanted again while it is cut, it is connected as soon as that is over.
    let mut world = connected(AUTO, &[transient()]);
    world.reload(AUTO);
    world.reload(&(AUTO.to_owned() + &wants_dc("10.0.0.1")));
    world.deleted();
    assert_eq!((world.connects().len(), world.deletes().len()), (1, 0));
}

// R127, R124
#[test]
fn a_polled_controller_does_not_count_as_unresponsive() {
    let mut world = World::finder(&(AUTO.to_owned() + "zeroconf-connections-persistence=60\n"));
    world.tell(Input::Announced(vec![dc_fields("10.0.0.1")]));
    world.pass(SOAK);
    world.connected(dc("nvme0", "10.0.0.1"));
    world.serve("nvme0", 1, &[transient()]);
    world.deleted();
    world.tell(Input::Announced(Vec::new()));
    world.pass(HOUR - SECOND);
    assert_eq!(
        (world.targets(), world.logged(Level::Info, "not responding")),
        (vec!["10.0.0.1"], 0)
    );
    world.pass(SECOND);
    world.refused(ECONNREFUSED);
    assert_eq!(world.logged(Level::Info, "not responding"), 1);
    world.pass(70 * SECOND);
    assert!(world.targets().is_empty());
}

fn settings(key: &str, value: &str) -> (Settings, bool) {
    let text = format!("[Discovery controller connection management]\n{key}={value}\n");
    let (settings, diagnostics) = Settings::parse(Role::Finder, &[("test.conf", &text)]);
    (settings, !diagnostics.is_empty())
}

// R127
#[test]
fn discovery_controllers_may_choose_to_be_polled() {
    for (value, keep, poll, warned) in [
        ("auto", true, true, false),
        ("AUTO", true, true, false),
        ("true", true, false, false),
        ("false", false, false, false),
        ("maybe", true, false, true),
    ] {
        let (settings, said) = settings("persistent-connections", value);
        let found = (settings.persistent_connections, settings.poll_unless_persistent);
        assert_eq!((found, said), ((keep, poll), warned), "{value}");
        assert_eq!(settings.poll_interval, HOUR);
    }
    for (value, minutes, warned) in [("1", 1, false), ("10080", 10_080, false), ("0", 60, true)] {
        let (settings, said) = settings("epcsd-poll-interval-minutes", value);
        assert_eq!((settings.poll_interval, said), (HOUR / 60 * minutes, warned), "{value}");
    }
}
