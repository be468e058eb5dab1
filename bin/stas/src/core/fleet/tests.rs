// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The life of single controllers, and what they compete for, seen through the daemons' cores.

use std::time::Duration;

use log::Level;

use super::super::cid::{Device, State as KernelState};
use super::super::connector::Connector;
use super::super::controller::State;
use super::super::finder::Finder;
use super::super::machine::Machine;
use super::super::port::{Action, ConnectError, DeviceEvent, DeviceId, Input};
use super::super::testing::{ECONNREFUSED, NQN, SECOND, SOAK, World, dc, io, wants_dc, wants_io};

const TARGET: &str = "10.0.0.5";
const EBUSY: i32 = 16;
const EALREADY: i32 = 114;
/// Longer than any retry period with its spread.
const RETRY_MAX: Duration = Duration::from_secs(66);

/// A connector whose first connect is in flight.
fn connecting() -> World<Connector> {
    let mut world = World::connector(&wants_io(TARGET, ""));
    world.pass(SOAK);
    assert_eq!(world.connects().len(), 1);
    world
}

/// A connector that is connected through `nvme3`.
fn connected() -> World<Connector> {
    let mut world = connecting();
    world.connected(io("nvme3", TARGET, NQN));
    assert!(world.is_bound(TARGET));
    world
}

/// A finder that is fetching the log page from `nvme0`.
fn fetching() -> World<Finder> {
    let mut world = World::finder_after(&wants_dc("10.0.0.1"), None, vec![dc("nvme0", "10.0.0.1")]);
    world.pass(SOAK);
    assert_eq!(world.waiting.len(), 1, "{:?}", world.waiting);
    world
}

fn again(device: Device) -> Device {
    let id = DeviceId { instance: 2, ..device.id };
    Device { id, ..device }
}

// R108
#[test]
fn failures_are_retried_after_3_s_then_60_s_and_reported_once() {
    let mut world = connecting();
    for (attempts, seconds) in [(1, 3), (2, 60), (3, 60)] {
        world.refused(ECONNREFUSED);
        let controller = world.at(TARGET);
        assert_eq!(controller.attempts, attempts);
        assert_eq!(controller.retry.interval(), Duration::from_secs(seconds));
        assert_eq!(world.logged(Level::Error, "Failed to connect"), usize::from(attempts > 1));
        assert!(world.connects().is_empty());
        world.pass(if attempts == 1 { 3 * SECOND } else { RETRY_MAX });
        assert_eq!(world.connects().len(), 1, "attempt {attempts} is followed by another");
    }
}

// R115
#[test]
fn retry_periods_are_scattered_by_a_tenth() {
    let mut world = connecting();
    world.refused(ECONNREFUSED);
    world.pass(3 * SECOND);
    let mut spans = Vec::new();
    for _ in 0..8 {
        world.refused(ECONNREFUSED);
        let deadline = world.at(TARGET).retry.deadline().unwrap();
        spans.push(world.now.until(deadline));
        world.pass(RETRY_MAX);
    }
    let allowed = Duration::from_secs(54)..=Duration::from_secs(66);
    assert!(spans.iter().all(|span| allowed.contains(span)), "{spans:?}");
    assert!(spans.windows(2).any(|pair| pair[0] != pair[1]), "{spans:?}");
}

// R108
#[test]
fn an_existing_connection_is_adopted_as_it_is() {
    let devices = vec![io("nvme3", TARGET, NQN)];
    let mut world = World::connector_after(&wants_io(TARGET, ";hdr-digest=true"), None, devices);
    world.pass(SOAK);
    let controller = world.at(TARGET);
    assert_eq!((controller.device_name(), controller.attempts), ("nvme3", 0));
    assert_eq!(controller.applied, None);
    assert!(world.waiting.is_empty(), "{:?}", world.waiting);
}

// R108
#[test]
fn a_lost_connection_is_made_again_after_3_s() {
    let mut world = connected();
    world.vanish("nvme3");
    let controller = world.at(TARGET);
    assert_eq!((controller.attempts, controller.device_name()), (0, "nvme?"));
    let deadline = controller.retry.deadline().unwrap();
    assert_eq!(world.now.until(deadline), 3 * SECOND);
    world.pass(3 * SECOND);
    assert_eq!(world.connects().len(), 1);
}

// R109
#[test]
fn a_connection_that_the_kernel_has_already_is_adopted() {
    let mut world = connecting();
    world.kernel.devices.push(io("nvme7", TARGET, NQN));
    world.refused(EALREADY);
    assert_eq!(world.at(TARGET).device_name(), "nvme7");
    assert_eq!(world.at(TARGET).attempts, 0);
    assert_eq!(world.logged(Level::Debug, "Failed"), 0);
}

// R109
#[test]
fn a_connection_that_the_kernel_claims_but_does_not_show_is_a_failure_of_its_own_kind() {
    let mut world = connecting();
    world.refused(EALREADY);
    assert_eq!(world.at(TARGET).state, State::Waiting);
    assert_eq!(world.logged(Level::Debug, "says that the connection exists, but shows none"), 1);
    world.pass(3 * SECOND);
    assert_eq!(world.connects().len(), 1);
}

// R110
#[test]
fn the_removal_of_an_older_device_of_the_same_name_is_ignored() {
    let mut world = connected();
    let reused = again(world.kernel.devices.remove(0));
    world.vanish("nvme3");
    world.pass(3 * SECOND);
    world.connected(reused);
    // Only now comes the news of the first device's end once more.
    world.tell(Input::Device(DeviceEvent::Removed { name: "nvme3".to_owned() }));
    assert!(world.is_bound(TARGET));
    assert!(world.waiting.is_empty());
}

// R110
#[test]
fn a_name_that_another_device_bears_now_is_a_loss() {
    let mut world = connected();
    world.kernel.devices = vec![again(io("nvme3", "10.0.0.9", NQN))];
    world.tell(Input::Device(DeviceEvent::Removed { name: "nvme3".to_owned() }));
    assert!(!world.is_bound(TARGET));
}

// R111
#[test]
fn a_device_that_is_gone_when_the_connect_ends_is_no_success() {
    let mut world = connecting();
    let op = world.take_connect();
    let result = Err(ConnectError::Vanished("nvme3".to_owned()));
    world.tell(Input::ConnectDone { op, result });
    assert_eq!((&world.at(TARGET).state, world.at(TARGET).attempts), (&State::Waiting, 1));
    assert_eq!(world.logged(Level::Debug, "nvme3 was gone as soon as it was there"), 1);
    // Or it ends a moment later, and its removal was told before the connect was.
    world.pass(3 * SECOND);
    let op = world.take_connect();
    let device = Box::new(io("nvme4", TARGET, NQN));
    world.tell(Input::ConnectDone { op, result: Ok(device) });
    world.tell(Input::Device(DeviceEvent::Removed { name: "nvme4".to_owned() }));
    assert!(!world.is_bound(TARGET));
}

// R112
#[test]
fn a_dying_device_is_not_adopted() {
    for state in [KernelState::Deleting, KernelState::Dead] {
        let device = Device { state, ..io("nvme3", TARGET, NQN) };
        let mut world = World::connector_after(&wants_io(TARGET, ""), None, vec![device]);
        world.pass(SOAK);
        assert!(!world.is_bound(TARGET));
        assert_eq!(world.connects().len(), 1);
    }
}

// R112
#[test]
fn a_reconnecting_device_is_owned_but_sent_nothing_until_it_lives() {
    let device = Device { state: KernelState::Connecting, ..dc("nvme0", "10.0.0.1") };
    let mut world = World::finder_after(&wants_dc("10.0.0.1"), None, vec![device]);
    world.pass(SOAK);
    assert!(world.is_bound("10.0.0.1"));
    assert!(world.waiting.is_empty(), "{:?}", world.waiting);
    world.tell(Input::Device(DeviceEvent::Connected { name: "nvme0".to_owned() }));
    assert_eq!(world.serve("nvme0", 1, &[]), 1);
}

// R113
#[test]
fn first_attempts_come_before_retries_and_long_waits_before_short_ones() {
    let targets = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
    let all = targets.map(|target| wants_io(target, "")).join("");
    let mut world = World::connector(&all);
    world.pass(SOAK);
    // One for the kernel to work on, one in reserve; the others wait.
    assert_eq!(world.connects().len(), 2);
    world.refused(ECONNREFUSED);
    world.now += SECOND;
    world.refused(ECONNREFUSED);
    let wanted = all + &wants_io("10.0.0.9", "");
    world.pass(4 * SECOND);
    world.reload(&wanted);
    let last = |world: &World<Connector>| {
        let options = world.connects().last().copied().unwrap_or_default().to_owned();
        let traddr = options.split(',').find_map(|option| option.strip_prefix("traddr="));
        traddr.unwrap_or_default().to_owned()
    };
    let mut order = Vec::new();
    for _ in 0..3 {
        world.refused(ECONNREFUSED);
        order.push(last(&world));
    }
    assert_eq!(order, ["10.0.0.9", "10.0.0.1", "10.0.0.2"]);
}

// R114
#[test]
fn a_closed_portal_is_probed_once_for_all_and_kept_from_the_kernel() {
    let text = format!(
        "[Global]\nprobe-tcp=true\n{}controller=transport=tcp;traddr={TARGET};trsvcid=4420;\
         nqn=nqn.2024-01.test:b\n",
        wants_io(TARGET, "")
    );
    let mut world = World::connector(&text);
    world.pass(SOAK);
    let take_probe = |world: &mut World<Connector>| {
        let (op, to, limit) = world.take(|action| match action {
            Action::Probe { op, to, limit, .. } => Some((*op, *to, *limit)),
            _ => None,
        });
        assert_eq!((to, limit), ((TARGET.parse().unwrap(), 4420), 3 * SECOND));
        assert!(world.waiting.is_empty(), "{:?}", world.waiting);
        op
    };
    let op = take_probe(&mut world);
    world.tell(Input::ProbeDone { op, result: Err(ECONNREFUSED) });
    let attempts: Vec<u32> = world.core.fleet.iter().map(|c| c.attempts).collect();
    assert_eq!((attempts, world.connects().len()), (vec![1, 1], 0));
    world.pass(3 * SECOND);
    let op = take_probe(&mut world);
    world.tell(Input::ProbeDone { op, result: Ok(()) });
    assert_eq!(world.connects().len(), 2);
}

// R237, R114
#[test]
fn dead_targets_do_not_delay_reachable_ones() {
    let mut text = "[Global]\nprobe-tcp=true\n".to_owned() + &wants_io(TARGET, "");
    for dead in 1..=32 {
        text += &wants_io(&format!("10.0.1.{dead}"), "");
    }
    let mut world = World::connector(&text);
    world.pass(SOAK);
    let before = world.now;
    assert_eq!(world.waiting.len(), 33, "all are probed at once");
    let op = world.take(|action| match action {
        Action::Probe { op, to, .. } if to.0.to_string() == TARGET => Some(*op),
        _ => None,
    });
    world.tell(Input::ProbeDone { op, result: Ok(()) });
    assert_eq!(world.connects().len(), 1);
    world.connected(io("nvme3", TARGET, NQN));
    assert!(world.is_bound(TARGET) && world.now == before);
}

// R233
#[test]
fn a_core_that_has_everything_asks_for_no_wake_up() {
    let mut connector = connected();
    connector.pass(2 * RETRY_MAX);
    assert_eq!(connector.core.next_wake(), None);
    let mut finder = fetching();
    finder.serve("nvme0", 1, &[]);
    finder.pass(2 * RETRY_MAX);
    assert_eq!(finder.core.next_wake(), None);
    // The same once something was let go of.
    connector.reload("");
    connector.deleted();
    connector.tell(Input::Wake);
    assert_eq!(connector.core.next_wake(), None);
}

// R114
#[test]
fn a_portal_that_wants_a_secure_channel_is_not_probed() {
    let text = "[Global]\nprobe-tcp=true\n".to_owned() + &wants_io(TARGET, ";tls=true");
    let mut world = World::connector(&text);
    world.pass(SOAK);
    assert!(world.waiting.iter().all(|action| !matches!(action, Action::Probe { .. })));
    assert_eq!(world.at(TARGET).attempts, 1);
}

// R006
#[test]
fn a_connect_that_nobody_wants_any_more_is_undone() {
    let mut world = connecting();
    world.reload("");
    assert!(world.targets().is_empty());
    assert!(world.deletes().is_empty(), "there is nothing to disconnect yet");
    world.connected(io("nvme3", TARGET, NQN));
    assert_eq!(world.deleted(), "nvme3");
    assert!(world.core.fleet.is_settled() && world.waiting.is_empty());
}

// R006
#[test]
fn the_failure_of_a_connect_that_nobody_wants_is_dropped() {
    let mut world = connecting();
    world.reload("");
    let before = world.log.len();
    world.refused(ECONNREFUSED);
    assert_eq!((world.log.len(), world.waiting.len()), (before, 0));
    assert!(world.core.fleet.is_settled());
    world.pass(2 * RETRY_MAX);
    assert!(world.waiting.is_empty(), "{:?}", world.waiting);
}

// R006
#[test]
fn completions_of_unknown_operations_change_nothing() {
    let mut world = connected();
    let unknown = super::super::port::OpId(4711);
    let device = Box::new(io("nvme9", "10.0.0.9", NQN));
    world.tell(Input::ConnectDone { op: unknown, result: Ok(device) });
    world.tell(Input::DeleteDone { op: unknown, result: Err(5) });
    world.tell(Input::ProbeDone { op: unknown, result: Ok(()) });
    world.tell(Input::AdminDone { op: unknown, result: Ok(Vec::new()) });
    world.tell(Input::Resolved { op: unknown, result: Ok(Vec::new()) });
    assert!(world.is_bound(TARGET) && world.waiting.is_empty());
}

// R137
#[test]
fn a_controller_wanted_again_while_it_connects_goes_on() {
    let mut world = connecting();
    world.reload("");
    world.reload(&wants_io(TARGET, ""));
    assert_eq!(world.connects().len(), 1, "no second connect");
    world.connected(io("nvme3", TARGET, NQN));
    assert!(world.is_bound(TARGET) && world.waiting.is_empty());
}

// R137
#[test]
fn a_controller_wanted_again_before_its_disconnect_is_kept() {
    let mut world = fetching();
    world.reload("");
    assert!(world.deletes().is_empty(), "a command is in flight");
    world.reload(&wants_dc("10.0.0.1"));
    assert!(world.is_bound("10.0.0.1"));
    world.serve("nvme0", 1, &[]);
    assert!(world.deletes().is_empty());
}

// R137
#[test]
fn a_controller_wanted_again_during_its_disconnect_starts_anew_after_it() {
    let mut world = connected();
    world.reload("");
    assert_eq!(world.deletes(), ["nvme3"]);
    world.reload(&wants_io(TARGET, ""));
    assert!(world.connects().is_empty(), "the old device is still there");
    assert_eq!(world.deleted(), "nvme3");
    assert_eq!(world.connects().len(), 1);
}

// R137, R112
#[test]
fn a_controller_taken_back_is_sent_nothing_until_it_lives() {
    for state in [KernelState::Connecting, KernelState::Live] {
        let mut world = fetching();
        world.serve("nvme0", 1, &[]);
        world.reload("");
        world.serve("nvme0", 1, &[]);
        world.kernel.devices[0].state = state.clone();
        world.reload(&wants_dc("10.0.0.1"));
        let (op, _) = world.take_delete();
        world.tell(Input::DeleteDone { op, result: Err(EBUSY) });
        assert!(world.is_bound("10.0.0.1"));
        assert_eq!(world.waiting.len(), usize::from(state == KernelState::Live), "{state:?}");
        world.tell(Input::Device(DeviceEvent::Connected { name: "nvme0".to_owned() }));
        assert!(world.serve("nvme0", 1, &[]) > 0);
    }
}

// R138
#[test]
fn the_more_specific_of_two_entries_owns_the_connection_of_both() {
    let both = wants_io(TARGET, "") + &wants_io(TARGET, ";host-iface=eth0");
    let mut world = World::connector(&both);
    world.pass(SOAK);
    assert_eq!(world.connects().len(), 1);
    assert!(world.connects()[0].contains("host_iface=eth0"));
    world.connected(Device { host_iface: "eth0".to_owned(), ..io("nvme3", TARGET, NQN) });
    world.pass(RETRY_MAX);
    assert!(world.waiting.is_empty(), "{:?}", world.waiting);
    let owned: Vec<bool> = world.core.fleet.iter().map(|c| c.owned().is_some()).collect();
    assert_eq!(owned, [false, true]);
    assert!(world.core.fleet.iter().all(|c| c.device_name() == "nvme3"));
    // The less specific one inherits the connection.
    world.reload(&wants_io(TARGET, ""));
    assert!(world.deletes().is_empty());
    assert!(world.at(TARGET).owned().is_some());
    // The more specific one takes it over again, and the other goes without harm.
    world.reload(&both);
    world.reload(&wants_io(TARGET, ";host-iface=eth0"));
    assert!(world.waiting.is_empty(), "{:?}", world.waiting);
    assert!(world.at(TARGET).owned().is_some());
}

// R152, R154
#[test]
fn a_disconnect_waits_for_the_command_in_flight_and_no_longer() {
    let mut world = fetching();
    world.reload("");
    assert!(world.deletes().is_empty());
    assert!(!world.core.fleet.is_settled());
    let (op, _) = world.take_admin("nvme0");
    world.tell(Input::AdminDone { op, result: Err(super::super::port::AdminError::Errno(4)) });
    assert_eq!(world.deleted(), "nvme0");
    assert!(world.core.fleet.is_settled());
}

// R152
#[test]
fn a_controller_on_its_way_out_whose_device_goes_needs_no_disconnect() {
    let mut world = fetching();
    world.reload("");
    world.vanish("nvme0");
    assert!(world.core.fleet.is_settled());
    world.serve("nvme0", 1, &[]);
    assert!(world.waiting.is_empty(), "{:?}", world.waiting);
}

// R153
#[test]
fn only_what_is_connected_is_disconnected() {
    let mut world = connecting();
    world.refused(ECONNREFUSED);
    world.reload("");
    assert!(world.waiting.is_empty() && world.core.fleet.is_settled());
    let mut world = connected();
    world.reload("[I/O controller connection management]\ndisconnect-scope=no-disconnect\n");
    assert!(world.waiting.is_empty() && world.core.fleet.is_settled());
    assert!(world.targets().is_empty());
}

// R153
#[test]
fn a_disconnect_that_fails_is_logged_and_over() {
    let mut world = connected();
    world.reload("");
    let (op, _) = world.take_delete();
    world.tell(Input::DeleteDone { op, result: Err(5) });
    assert_eq!(world.logged(Level::Warn, "Failed to disconnect: errno 5"), 1);
    assert!(world.core.fleet.is_settled());
}

// R155
#[test]
fn a_busy_controller_is_deleted_with_three_more_attempts() {
    let mut world = connected();
    world.reload("");
    for _ in 0..4 {
        let (op, _) = world.take_delete();
        world.tell(Input::DeleteDone { op, result: Err(EBUSY) });
        assert!(world.deletes().is_empty());
        world.pass(SECOND - Duration::from_nanos(1));
        assert!(world.deletes().is_empty());
        world.pass(Duration::from_nanos(1));
    }
    assert!(world.deletes().is_empty() && world.core.fleet.is_settled());
    assert_eq!(world.logged(Level::Warn, "Failed to disconnect"), 1);
}
