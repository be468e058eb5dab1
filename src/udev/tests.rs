// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the monitors on real sockets; one suite for all of them.

use std::process::Command;

use rustix::mount::{MountFlags, mount};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{SendFlags, sockopt};

use super::packet::Format;
use super::*;
use crate::sys::netlink::{Protocol, Socket};
use crate::testing::isolated;

fn event(seqnum: u64, subsystem: &str) -> Uevent {
    let own = [("DEVNAME", "/dev/nvme0"), ("NVME_AEN", "0x70f002"), ("NVME_TRTYPE", "tcp")];
    Uevent {
        action: "change".to_owned(),
        devpath: "/devices/virtual/nvme-fabrics/ctl/nvme0".to_owned(),
        subsystem: subsystem.to_owned(),
        seqnum: Some(seqnum),
        properties: own.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    }
}

/// Plays the udev daemon.
struct Udevd(Socket);

impl Udevd {
    fn start() -> Self {
        // The library believes that a daemon runs when this file exists.
        mount("none", "/run", "tmpfs", MountFlags::empty(), None).expect("a private /run");
        std::fs::create_dir("/run/udev").expect("a directory");
        std::fs::write(UDEVD_SOCKET, "").expect("a file");
        Self(Socket::open(Protocol::Uevent, 0).expect("open"))
    }

    fn send(&self, bytes: &[u8], group: Group) {
        let to = SocketAddrNetlink::new(0, group.mask());
        match rustix::net::sendto(self.0.fd(), bytes, SendFlags::empty(), &to) {
            // Nobody listens; or not all who do have room: that is for them to notice.
            Ok(_) | Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOBUFS) => {}
            Err(errno) => panic!("cannot send: {errno}"),
        }
    }

    fn tell(&self, event: &Uevent) {
        self.send(&event.encode(Format::Udev), Group::Udev);
    }
}

/// Everything that is waiting; `!` stands for a loss.
fn drain(source: &mut dyn DeviceEvents) -> Vec<String> {
    let one = || match source.next() {
        Ok(event) => event.map(|it| format!("{} {}", it.subsystem, it.seqnum.unwrap_or(0))),
        Err(Lost::Broken(error)) => panic!("broken: {error}"),
        Err(_) => Some("!".to_owned()),
    };
    std::iter::from_fn(one).collect()
}

/// What every source of a udev daemon's events has to do.
fn suite(udevd: &Udevd, open: impl Fn(&[&str]) -> Box<dyn DeviceEvents>) {
    let (mut all, mut some) = (open(&[]), open(&["nvme", "fc"]));
    assert!(drain(&mut *all).is_empty());

    // An event arrives as it was sent, and the end of the queue is recognised.
    udevd.tell(&event(1, "nvme"));
    assert_eq!(all.next().expect("no loss"), Some(event(1, "nvme")));
    assert_eq!(all.next().expect("no loss"), None);

    // Only the wanted subsystems; numbers of udevd may be in any order, with gaps.
    for (seqnum, subsystem) in [(9, "block"), (5, "fc"), (7, "nvme-subsystem"), (6, "nvme")] {
        udevd.tell(&event(seqnum, subsystem));
    }
    assert_eq!(drain(&mut *some), ["nvme 1", "fc 5", "nvme 6"]);
    assert_eq!(drain(&mut *all), ["block 9", "fc 5", "nvme-subsystem 7", "nvme 6"]);

    // Messages that nobody wants do not keep a subscriber from its loop.
    udevd.tell(&event(9, "block"));
    udevd.tell(&event(9, "fc"));
    let mut taken = Vec::new();
    while taken.last() != Some(&Taken::Empty) {
        taken.push(some.take().expect("no loss"));
    }
    taken.retain(|it| *it != Taken::Unwanted); // the library may filter in the kernel
    assert_eq!(taken, [Taken::Event(event(9, "fc")), Taken::Empty]);
    assert_eq!(drain(&mut *all), ["block 9", "fc 9"]);

    // Two broken messages and a whole one.
    let mut broken = event(10, "nvme").encode(Format::Udev);
    broken.splice(8..12, *b"none");
    udevd.send(&broken, Group::Udev);
    udevd.send(b"libudev", Group::Udev);
    udevd.tell(&event(12, "nvme"));
    assert_eq!(drain(&mut *all), ["nvme 12"]);
    assert_eq!(drain(&mut *some), ["nvme 12"]);

    // More than one turn of a loop takes.
    for seqnum in 100..700 {
        udevd.tell(&event(seqnum, "nvme"));
    }
    assert_eq!(drain(&mut *all).len(), 600);

    // An overflow is told, and the monitor still works.
    sockopt::set_socket_recv_buffer_size(some.fd(), 4096).expect("shrink");
    for seqnum in 1000..1600 {
        udevd.tell(&event(seqnum, "nvme"));
    }
    let told = drain(&mut *some);
    assert_eq!(told.last().map(String::as_str), Some("!"), "the loss ends with the queue");
    assert_eq!(told.iter().filter(|it| *it == "!").count(), 1);
    udevd.tell(&event(2000, "nvme"));
    assert_eq!(drain(&mut *some), ["nvme 2000"]);
}

#[test]
fn root_the_built_in_monitor_passes_the_suite() {
    if isolated(module_path!(), "root_the_built_in_monitor_passes_the_suite") {
        let open = |subsystems: &[&str]| Monitor::open(Group::Udev, subsystems).expect("open");
        let udevd = Udevd::start();
        suite(&udevd, |subsystems| Box::new(open(subsystems)));

        let mut some = open(&["nvme"]);
        udevd.tell(&event(1, "block"));
        assert_eq!(some.take().expect("no loss"), Taken::Unwanted);
        assert_eq!(some.take().expect("no loss"), Taken::Empty);

        // What the library believes, since it comes from root, and we do not.
        let mut monitor = open(&[]);
        udevd.send(&event(1, "nvme").encode(Format::Kernel), Group::Udev);
        let mut broken = event(2, "nvme").encode(Format::Udev);
        broken.splice(20..24, u32::MAX.to_ne_bytes());
        udevd.send(&broken, Group::Udev);
        assert!(drain(&mut monitor).is_empty());
    }
}

#[cfg(feature = "libudev")]
#[test]
fn root_the_monitor_of_the_library_passes_the_suite() {
    if isolated(module_path!(), "root_the_monitor_of_the_library_passes_the_suite") {
        let open = |subsystems: &[&str]| LibudevMonitor::open(subsystems).expect("open");
        suite(&Udevd::start(), |subsystems| Box::new(open(subsystems)));
    }
}

#[test]
fn root_the_monitor_hears_the_kernel_and_changes_over_to_udevd_and_back() {
    let name = "root_the_monitor_hears_the_kernel_and_changes_over_to_udevd_and_back";
    if !isolated(module_path!(), name) {
        return;
    }
    let udevd = Udevd::start();
    let mut monitor = Monitor::open(Group::Kernel, &["net"]).expect("open");
    let links = |action: &str, kind: &str| {
        let arguments = ["link", action, "nic0"].into_iter().chain(kind.split_terminator(' '));
        let done = Command::new("ip").args(arguments).status().expect("ip(8)");
        assert!(done.success(), "ip link {action}");
    };
    let heard = |monitor: &mut Monitor| {
        let mut heard = Vec::new();
        loop {
            match monitor.next() {
                Ok(Some(event)) => heard.push(format!("{} {}", event.action, event.sysname())),
                Ok(None) => return heard,
                Err(Lost::ChangeOver) => heard.push("!".to_owned()),
                Err(_) => {} // other namespaces have events too
            }
        }
    };
    links("add", "type veth peer name nic1");
    let mut added = heard(&mut monitor);
    added.sort_unstable();
    assert_eq!(added, ["add nic0", "add nic1"]);

    // A forged message in the kernel's group changes nothing.
    udevd.send(&event(u64::MAX, "net").encode(Format::Kernel), Group::Kernel);
    udevd.send(&event(u64::MAX, "net").encode(Format::Udev), Group::Kernel);
    assert!(heard(&mut monitor).is_empty());

    // R189: the old events come once more from udevd, after the change-over.
    monitor.change_over(Group::Udev).expect("change over");
    assert_eq!(monitor.group(), Group::Udev);
    udevd.tell(&event(1, "net"));
    udevd.tell(&event(u64::MAX - 1, "net"));
    links("del", "");
    assert_eq!(heard(&mut monitor), ["change nvme0"]);

    monitor.change_over(Group::Kernel).expect("change over");
    udevd.tell(&event(u64::MAX - 1, "net"));
    links("add", "type veth peer name nic1");
    let mut added = heard(&mut monitor);
    added.sort_unstable();
    assert_eq!(added, ["!", "add nic0", "add nic1"]);
}

#[test]
fn root_an_overflow_of_kernel_events_is_told_when_it_is_over() {
    let name = "root_an_overflow_of_kernel_events_is_told_when_it_is_over";
    if !isolated(module_path!(), name) {
        return;
    }
    // A sysfs that shows the interfaces of this namespace.
    mount("none", "/sys", "sysfs", MountFlags::empty(), None).expect("a private /sys");
    let change = || std::fs::write("/sys/class/net/lo/uevent", "change").expect("an event");
    let mut monitor = Monitor::open(Group::Kernel, &["net"]).expect("open");
    change();
    let first = monitor.next().expect("no loss").expect("an event");
    assert_eq!((first.sysname(), first.action.as_str()), ("lo", "change"));

    sockopt::set_socket_recv_buffer_size(monitor.fd(), 4096).expect("shrink");
    (0..100).for_each(|_| change());
    let mut told = Vec::new();
    loop {
        match monitor.next() {
            Ok(Some(_)) => told.push("event"),
            Err(Lost::Overrun) => told.push("overrun"),
            Ok(None) => break,
            Err(_) => {} // from elsewhere
        }
    }
    // R190: a look at sysfs before the queue is empty would miss what is dropped after it.
    let before = told.iter().filter(|it| **it == "event").count();
    assert!((1..100).contains(&before), "{told:?}");
    assert_eq!(told.iter().position(|it| *it == "overrun"), Some(told.len() - 1), "{told:?}");
    change();
    assert!(matches!(monitor.next(), Ok(Some(_)) | Err(Lost::Gap { .. })));
}

#[test]
fn root_the_kernel_passes_over_virtual_devices_that_are_not_wanted() {
    let name = "root_the_kernel_passes_over_virtual_devices_that_are_not_wanted";
    if !isolated(module_path!(), name) {
        return;
    }
    mount("none", "/sys", "sysfs", MountFlags::empty(), None).expect("a private /sys");
    let open = |directory: Option<&str>| {
        let mut monitor = Monitor::open(Group::Kernel, &["net"]).expect("open");
        if let Some(directory) = directory {
            monitor.pass_over_virtual_devices_except(directory).expect("a filter");
        }
        monitor
    };
    let mut monitors = [None, Some("net"), Some("nvme-fabrics")].map(open);
    std::fs::write("/sys/class/net/lo/uevent", "change").expect("an event");
    let told = |monitor: &mut Monitor| match monitor.take() {
        Ok(Taken::Event(event)) => event.sysname().to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(lost) => lost.to_string(),
    };
    // What the filter drops does not even wake the subscriber.
    assert_eq!(monitors.each_mut().map(told), ["lo", "lo", "Empty"]);
}

#[test]
fn a_monitor_opens_without_privilege_and_has_nothing_to_tell() {
    let mut monitor = Monitor::open(Group::Kernel, &["no such subsystem"]).expect("open");
    assert_eq!(monitor.group(), Group::Kernel);
    loop {
        // Other programs may cause events meanwhile; none of them is for us.
        match monitor.next() {
            Ok(event) => break assert_eq!(event, None),
            Err(lost) => assert!(matches!(lost, Lost::Gap { .. } | Lost::Overrun), "{lost}"),
        }
    }
    monitor.change_over(Group::Kernel).expect("nothing to do");
    assert!(matches!(monitor.next(), Ok(None) | Err(Lost::Gap { .. })));
}

#[test]
fn the_group_follows_from_the_presence_of_a_udev_daemon() {
    let path = std::env::temp_dir().join(format!("plinth-{}-udevd", std::process::id()));
    std::fs::create_dir_all(path.join("run/udev")).expect("a directory");
    let root = Root::at(&path);
    assert_eq!(Group::choose(&root), Group::Kernel);
    std::fs::write(path.join("run/udev/control"), "").expect("a file");
    assert_eq!(Group::choose(&root), Group::Udev);
    std::fs::remove_dir_all(&path).expect("removed");
}

#[test]
fn losses_explain_themselves() {
    let broken = Lost::Broken(io::Error::from_raw_os_error(9));
    assert_eq!(broken.to_string(), "cannot receive device events");
    assert!(broken.source().is_some());
    let gap = Lost::Gap { after: 4, found: 7 };
    assert_eq!(gap.to_string(), "device events may be lost: number 4 was followed by 7");
    assert!(gap.source().is_none());
}
