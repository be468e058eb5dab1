// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connector's audit: connections that somebody else made, and the scopes of disconnecting.

use std::time::Duration;

use super::super::DISC_NQN;
use super::super::cid::{Device, State};
use super::super::iface::{Interface, Interfaces};
use super::super::ioc::Origin;
use super::super::port::{DeviceEvent, Input, StafdEvent};
use super::super::testing::{NQN, SECOND, SOAK, World, io, page, record, wants_io};
use super::Connector;

const OTHER: &str = "nqn.2024-01.test:other";

/// The file that lets the connector disconnect whatever is not wanted, with further keys.
fn auditing(more: &str) -> String {
    format!(
        "[I/O controller connection management]\n\
         disconnect-scope=all-connections-matching-disconnect-trtypes\n{more}"
    )
}

/// A connector in front of one foreign connection, `nvme9`.
fn beside(foreign: Device, text: &str) -> World<Connector> {
    World::connector_after(text, None, vec![foreign])
}

fn foreign() -> Device {
    io("nvme9", "10.0.0.9", OTHER)
}

/// A foreign connection appears after the start.
fn add(world: &mut World<Connector>, device: Device) {
    let name = device.id.name.clone();
    world.kernel.devices.push(device);
    world.tell(Input::Device(DeviceEvent::Added { name }));
}

// R140
#[test]
fn a_foreign_connection_is_taken_in_and_then_judged() {
    let mut world = beside(foreign(), &auditing(""));
    world.stafd(&page(&[record("10.0.0.5", NQN, 0)]));
    assert_eq!(world.at("10.0.0.9").role.origin, Origin::Foreign);
    assert!(world.deletes().is_empty(), "the next reconcile judges it");
    world.pass(SOAK);
    world.stafd_answers(Ok(&page(&[record("10.0.0.5", NQN, 0)])));
    assert_eq!(world.deleted(), "nvme9");
    assert_eq!(world.targets(), ["10.0.0.5"]);
}

// R140, R048
#[test]
fn the_other_scopes_leave_foreign_connections_alone() {
    for scope in ["only-stas-connections", "no-disconnect"] {
        let text = format!("[I/O controller connection management]\ndisconnect-scope={scope}\n");
        let mut world = beside(foreign(), &text);
        world.stafd(&page(&[]));
        add(&mut world, io("nvme8", "10.0.0.8", OTHER));
        world.pass(60 * SECOND);
        assert!(world.targets().is_empty() && world.waiting.is_empty(), "{scope}");
    }
}

// R048
#[test]
fn each_scope_decides_about_what_is_no_longer_wanted() {
    let rdma = |device: Device| Device { transport: "rdma".to_owned(), ..device };
    let wants = wants_io("10.0.0.5", "") + &wants_io("10.0.0.6", "").replace("tcp", "rdma");
    for (scope, deleted) in [
        ("only-stas-connections", vec!["nvme3", "nvme4"]),
        ("all-connections-matching-disconnect-trtypes", vec!["nvme4"]),
        ("no-disconnect", vec![]),
    ] {
        let text = format!(
            "[I/O controller connection management]\ndisconnect-scope={scope}\n\
             disconnect-trtypes=rdma\n"
        );
        let devices = vec![io("nvme3", "10.0.0.5", NQN), rdma(io("nvme4", "10.0.0.6", NQN))];
        let mut world = World::connector_after(&(text.clone() + &wants), None, devices);
        world.pass(SOAK);
        assert!(world.is_bound("10.0.0.5") && world.is_bound("10.0.0.6"));
        world.reload(&text);
        let mut names = world.deletes();
        names.sort_unstable();
        assert_eq!(names, deleted, "{scope}");
    }
}

// R140
#[test]
fn an_addition_is_audited_a_second_later() {
    let mut world = beside(foreign(), &auditing(""));
    world.stafd(&page(&[]));
    world.pass(SOAK);
    world.stafd_answers(Ok(&page(&[])));
    assert_eq!(world.deleted(), "nvme9");
    add(&mut world, io("nvme8", "10.0.0.8", OTHER));
    world.pass(SECOND - Duration::from_nanos(1));
    assert!(world.targets().is_empty(), "its attributes may be incomplete");
    world.pass(Duration::from_nanos(1));
    assert_eq!(world.targets(), ["10.0.0.8"]);
}

// R140
#[test]
fn a_reload_that_widens_the_scope_audits_and_one_that_narrows_it_stops() {
    let mut world = beside(foreign(), "");
    world.stafd(&page(&[]));
    assert!(world.targets().is_empty());
    world.reload(&auditing(""));
    assert_eq!(world.targets(), ["10.0.0.9"]);
    let mut world = beside(io("nvme3", "10.0.0.3", NQN), &auditing("[Controllers]\n"));
    add(&mut world, foreign());
    world.reload("");
    world.stafd(&page(&[]));
    world.pass(60 * SECOND);
    assert!(world.targets().is_empty() && world.waiting.is_empty());
}

// R141
#[test]
fn nothing_is_audited_before_stafd_has_answered() {
    let mut world = beside(foreign(), &auditing(""));
    add(&mut world, io("nvme8", "10.0.0.8", OTHER));
    world.pass(600 * SECOND);
    world.tell(Input::Stafd(StafdEvent::Appeared));
    world.pass(SOAK);
    world.stafd_answers(Err("not ready"));
    world.pass(SECOND);
    assert!(world.targets().is_empty() && world.deletes().is_empty());
}

// R141
#[test]
fn an_absent_stafd_is_waited_for_a_minute_where_the_file_says_so() {
    let mut world = beside(foreign(), &auditing("audit-without-stafd=true\n"));
    world.pass(60 * SECOND - Duration::from_nanos(1));
    assert!(world.targets().is_empty());
    world.pass(Duration::from_nanos(1));
    assert_eq!(world.targets(), ["10.0.0.9"]);
    world.pass(SOAK);
    assert_eq!(world.deleted(), "nvme9");
    // From then on additions are audited, too.
    add(&mut world, io("nvme8", "10.0.0.8", OTHER));
    world.pass(SECOND + SOAK);
    assert_eq!(world.deleted(), "nvme8");
}

// R141
#[test]
fn a_stafd_that_is_there_but_silent_is_not_an_absent_one() {
    let mut world = beside(foreign(), &auditing("audit-without-stafd=true\n"));
    world.tell(Input::Stafd(StafdEvent::Appeared));
    world.pass(600 * SECOND);
    assert!(world.targets().is_empty() && world.deletes().is_empty());
    // It goes: a minute later it counts as absent.
    world.tell(Input::Stafd(StafdEvent::Vanished));
    world.pass(60 * SECOND + SOAK);
    assert_eq!(world.deleted(), "nvme9");
}

// R142
#[test]
fn a_foreign_connection_that_serves_a_wanted_candidate_stays() {
    let foreign = Device { src_addr: "10.0.0.77".to_owned(), ..io("nvme9", "10.0.0.5", NQN) };
    let mut world = World::connector(&auditing(""));
    let addresses = vec!["10.0.0.77".parse().unwrap()];
    world.kernel.interfaces = Interfaces(vec![Interface {
        index: 2,
        name: "eth5".to_owned(),
        up: true,
        mac: None,
        addresses,
    }]);
    // The candidate comes first.
    world.stafd(&page(&[record("10.0.0.5", NQN, 0)]));
    world.refused(111);
    add(&mut world, foreign.clone());
    world.pass(60 * SECOND);
    assert_eq!(world.at("10.0.0.5").device_name(), "nvme9");
    assert_eq!(world.targets().len(), 1);
    // The foreign connection comes first, and is known by its interface.
    let mut late = World::connector(&auditing(""));
    late.kernel = world.kernel.clone();
    late.stafd(&page(&[]));
    assert_eq!(late.at("10.0.0.5").tid.host_iface(), "eth5");
    late.pass(SOAK);
    late.stafd_answers(Ok(&page(&[record("10.0.0.5", NQN, 0)])));
    assert!(late.deletes().is_empty() && late.connects().is_empty());
    assert_eq!(late.targets().len(), 1);
    assert_eq!(late.at("10.0.0.5").device_name(), "nvme9");
}

// R050
#[test]
fn local_and_foreign_transports_and_dying_devices_are_never_audited() {
    let devices = vec![
        Device { transport: "pcie".to_owned(), traddr: "0000:01:00.0".to_owned(), ..foreign() },
        Device { transport: "rdma".to_owned(), ..io("nvme8", "10.0.0.8", OTHER) },
        Device { state: State::Deleting, ..io("nvme7", "10.0.0.7", OTHER) },
    ];
    let mut world = World::connector_after(&auditing("disconnect-trtypes=tcp\n"), None, devices);
    world.stafd(&page(&[]));
    world.pass(60 * SECOND);
    assert!(world.targets().is_empty() && world.deletes().is_empty());
}

// R001, R101
#[test]
fn a_discovery_controller_that_shows_children_is_no_io_controller() {
    let odd = Device {
        subsysnqn: DISC_NQN.to_owned(),
        cntrltype: String::new(),
        namespaces: 1,
        ..foreign()
    };
    assert!(odd.is_io(), "by its children");
    let mut world = beside(odd, &auditing(""));
    world.stafd(&page(&[]));
    world.pass(SOAK);
    assert!(world.targets().is_empty() && world.deletes().is_empty());
}

// R050
#[test]
fn a_connection_that_the_system_runs_on_is_left_alone_by_an_audit() {
    let root = Device { holds_system: true, ..foreign() };
    let mut world = beside(root.clone(), &auditing(""));
    world.stafd(&page(&[]));
    assert!(world.targets().is_empty(), "it is not even taken in");
    world.pass(60 * SECOND);
    assert!(world.targets().is_empty() && world.deletes().is_empty());
    let mut world = beside(root, &auditing("disconnect-boot=true\n"));
    world.stafd(&page(&[]));
    world.pass(SOAK);
    world.stafd_answers(Ok(&page(&[])));
    assert_eq!(world.deleted(), "nvme9");
}

// R050
#[test]
fn a_connection_that_the_system_came_to_run_on_since_the_audit_is_left_alone_too() {
    let mut world = beside(foreign(), &auditing(""));
    world.stafd(&page(&[]));
    assert_eq!(world.targets(), ["10.0.0.9"]);
    world.kernel.devices[0].holds_system = true;
    world.pass(SOAK);
    world.stafd_answers(Ok(&page(&[])));
    world.pass(60 * SECOND);
    assert!(world.targets().is_empty() && world.deletes().is_empty());
}

// R141, R159
#[test]
fn a_restored_foreign_connection_is_not_judged_before_stafd_has_answered() {
    let state = r#"{"version":1,"controllers":[{"transport":"tcp","traddr":"10.0.0.9",
        "trsvcid":"4420","subsysnqn":"nqn.2024-01.test:other","origin":"foreign"}]}"#;
    let mut world = World::connector_after(&auditing(""), Some(state), vec![foreign()]);
    world.pass(600 * SECOND);
    assert!(world.is_bound("10.0.0.9") && world.deletes().is_empty());
    world.stafd(&page(&[]));
    assert_eq!(world.deleted(), "nvme9");
}
