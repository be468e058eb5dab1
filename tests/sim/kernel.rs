// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A model of the kernel's NVMe initiator, as far as the daemons can see it.
//!
//! Owns the controllers and the rules that user space notices: connects are carried out one at a
//! time under one lock, and the controller shows before it is connected; duplicates of I/O
//! connections are refused and those of discovery connections are not; a controller whose target
//! is gone reconnects until its time is over; numbers are reused. Time and chance are the world's.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use plinth::time::Time;
use stas::core::DISC_NQN;
use stas::core::cid::{Device, OWNER, State};
use stas::core::iface::{Interface, Interfaces};
use stas::core::port::{DeviceId, Scan};

use crate::process::Daemon;

/// The address that all connections come from.
pub(crate) const SOURCE: &str = "10.0.0.100";

/// Who asked for something: a process of a daemon and its operation, or a person at the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A process of a daemon.
    Daemon(Daemon, u64, stas::core::port::OpId),
    /// Somebody else.
    Person,
}

/// A connect that waits for the lock.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Who asked.
    pub(crate) asker: Asker,
    /// The option list, taken apart.
    pub(crate) options: BTreeMap<String, String>,
}

impl Request {
    /// Takes an option list apart.
    pub(crate) fn new(asker: Asker, list: &str) -> Self {
        let option = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (key.to_owned(), value.to_owned())
        };
        Self { asker, options: list.split(',').map(option).collect() }
    }

    fn text(&self, key: &str) -> &str {
        self.options.get(key).map_or("", String::as_str)
    }

    /// What tells the connection's target.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint {
            traddr: self.text("traddr").to_owned(),
            trsvcid: self.text("trsvcid").to_owned(),
            nqn: self.text("nqn").to_owned(),
        }
    }
}

/// The target of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    /// Address.
    pub(crate) traddr: String,
    /// Port.
    pub(crate) trsvcid: String,
    /// Subsystem.
    pub(crate) nqn: String,
}

impl Endpoint {
    /// Address and port.
    pub(crate) fn portal(&self) -> (IpAddr, u16) {
        (self.traddr.parse().expect("literal"), self.trsvcid.parse().expect("number"))
    }
}

/// One controller.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    /// Whose it is, by the registry.
    pub(crate) owner: String,
    /// Name and instance.
    pub(crate) id: DeviceId,
    /// What it was asked to connect to.
    pub(crate) request: Request,
    /// Its state.
    pub(crate) state: State,
    /// The next change of the discovery log is announced.
    pub(crate) armed: bool,
    /// It is given up then, unless the target comes back.
    pub(crate) loss_at: Option<Time>,
    /// The first connect is not over.
    pub(crate) starting: bool,
}

impl Controller {
    /// Whether it is a discovery controller.
    pub(crate) fn is_discovery(&self) -> bool {
        self.request.text("nqn") == DISC_NQN
    }

    /// As sysfs shows it.
    pub(crate) fn device(&self) -> Device {
        let text = |key: &str| self.request.text(key).to_owned();
        let kind = if self.is_discovery() { "discovery" } else { "io" };
        Device {
            id: self.id.clone(),
            transport: text("transport"),
            traddr: text("traddr"),
            trsvcid: text("trsvcid"),
            host_traddr: text("host_traddr"),
            host_iface: text("host_iface"),
            src_addr: if self.state == State::Live { SOURCE.to_owned() } else { String::new() },
            src_zone: String::new(),
            subsysnqn: text("nqn"),
            host_nqn: text("hostnqn"),
            state: self.state.clone(),
            cntrltype: if self.starting { "reserved".to_owned() } else { kind.to_owned() },
            dctype: String::new(),
            namespaces: usize::from(!self.starting && !self.is_discovery()),
            holds_system: false,
            owner: self.owner.clone(),
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    /// The host's link is down.
    pub(crate) link_down: bool,
    /// The controllers by number.
    pub(crate) controllers: BTreeMap<u32, Controller>,
    /// Connects that wait for the lock.
    pub(crate) waiting: VecDeque<Request>,
    /// The connect that holds the lock.
    pub(crate) busy: bool,
    instances: u64,
}

impl Kernel {
    /// A look at everything.
    pub(crate) fn scan(&self) -> Scan {
        let interface = |index, name: &str, address: &str| Interface {
            index,
            name: name.to_owned(),
            up: name == "lo" || !self.link_down,
            mac: None,
            addresses: vec![address.parse().expect("literal")],
        };
        Scan {
            devices: self.controllers.values().map(Controller::device).collect(),
            interfaces: Interfaces(vec![
                interface(1, "lo", "127.0.0.1"),
                interface(2, "eth0", SOURCE),
            ]),
        }
    }

    /// Whether a connect would be refused because its connection exists.
    pub(crate) fn is_duplicate(&self, request: &Request) -> bool {
        let keys = ["traddr", "trsvcid", "nqn", "host_traddr", "host_iface", "hostnqn"];
        request.text("nqn") != DISC_NQN
            && self.controllers.values().any(|controller| {
                keys.iter().all(|key| controller.request.text(key) == request.text(key))
            })
    }

    /// Makes a controller with the lowest free number.
    pub(crate) fn create(&mut self, request: Request) -> DeviceId {
        let number = (0..).find(|n| !self.controllers.contains_key(n)).expect("a free number");
        self.instances += 1;
        let id = DeviceId { name: format!("nvme{number}"), instance: self.instances };
        let controller = Controller {
            id: id.clone(),
            request,
            state: State::Connecting,
            armed: true,
            loss_at: None,
            starting: true,
            owner: String::new(),
        };
        self.controllers.insert(number, controller);
        id
    }

    /// The controller of this name and instance.
    pub(crate) fn get(&mut self, id: &DeviceId) -> Option<&mut Controller> {
        self.controllers.values_mut().find(|controller| controller.id == *id)
    }

    /// One of the daemons enters a controller in the registry.
    pub(crate) fn claim(&mut self, id: &DeviceId) {
        if let Some(controller) = self.get(id) {
            OWNER.clone_into(&mut controller.owner);
        }
    }

    /// Removes a controller.
    pub(crate) fn remove(&mut self, id: &DeviceId) -> Option<Controller> {
        let number =
            self.controllers.iter().find(|(_, c)| c.id == *id).map(|(number, _)| *number)?;
        self.controllers.remove(&number)
    }
}
