// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A small world around one core, for tests: a clock that only moves when told to, and a kernel
//! whose controllers are a list.
//!
//! Looks at the kernel are answered at once. All other operations wait in [`World::waiting`] until
//! the test ends them, in the order and with the result it wants.

use std::time::Duration;

use log::Level;
use plinth::time::{Time, Wall};
use serde_json::Value;

use super::DISC_NQN;
use super::api::{Reply, Request, Sysfs};
use super::cid::{Device, State};
use super::connector::Connector;
use super::controller::Controller;
use super::fabrics::Support;
use super::finder::Finder;
use super::identity::Identity;
use super::logpage::{Entry, tests::raw};
use super::machine::{Machine, Parts, Start};
use super::port::{
    Action, AdminCommand, Configuration, ConnectError, DeviceEvent, DeviceId, Input, Notice, OpId,
    Record, Scan, StafdEvent,
};
use super::report::{self, Validity};
use super::settings::{Role, Settings};
use super::tid::Fields;

pub(super) const HOST: &str =
    "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-000000000001";
/// The subsystem that most tests want.
pub(super) const NQN: &str = "nqn.2024-01.test:a";
pub(super) const SOAK: Duration = Duration::from_millis(1500);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const EIO: i32 = 5;
pub(super) const ECONNREFUSED: i32 = 111;
/// A fetch, or a quiet minute, takes fewer turns than this.
const TURNS_MAX: usize = 100_000;

/// Sysfs attributes that every controller has.
struct Attributes;

impl Sysfs for Attributes {
    fn attribute(&self, device: &str, name: &str) -> Option<String> {
        match name {
            "model" => Some(format!("model of {device}")),
            "serial" => Some("(efault)".to_owned()),
            "state" => Some("live".to_owned()),
            _ => None,
        }
    }
}

/// See the module's documentation.
pub(super) struct World<C> {
    pub(super) core: C,
    pub(super) now: Time,
    pub(super) kernel: Scan,
    pub(super) scans: usize,
    /// Operations that were asked for and have not ended.
    pub(super) waiting: Vec<Action>,
    /// What was asked of the registry of owners.
    pub(super) registry: Vec<Action>,
    pub(super) log: Vec<Record>,
    pub(super) saved: Vec<String>,
    pub(super) notices: Vec<Notice>,
    /// The core asked to leave the loop.
    pub(super) left: bool,
}

/// The configuration that this text of the daemon's file means, without TCP probes unless the text
/// asks for them.
pub(super) fn config(role: Role, text: &str) -> Configuration {
    let text = format!("[Global]\nprobe-tcp=false\n{text}");
    let (settings, diagnostics) = Settings::parse(role, &[("test.conf", &text)]);
    assert!(diagnostics.iter().all(|d| d.level > Level::Error), "{diagnostics:?}");
    let options = "host_iface,discovery,keep_alive_tmo,disable_sqflow,dhchap_secret,\
                   dhchap_ctrl_secret,hdr_digest,queue_size";
    Configuration {
        settings,
        identity: Identity {
            nqn: HOST.to_owned(),
            id: "00000000-0000-4000-8000-000000000001".to_owned(),
            ..Identity::default()
        },
        support: Support::from_listing(options),
        tron: false,
        state_file: "/run/test/last-known-config.json".to_owned(),
    }
}

impl World<Finder> {
    /// A running finder: its first reconcile is still to come.
    pub(super) fn finder(text: &str) -> Self {
        Self::finder_after(text, None, Vec::new())
    }

    /// A finder that starts with this state file in front of these kernel controllers.
    pub(super) fn finder_after(text: &str, state: Option<&str>, devices: Vec<Device>) -> Self {
        Self::begin(text, state, devices)
    }
}

impl World<Connector> {
    /// A running connector: its first reconcile is still to come.
    pub(super) fn connector(text: &str) -> Self {
        Self::connector_after(text, None, Vec::new())
    }

    /// A connector that starts with this state file in front of these kernel controllers.
    pub(super) fn connector_after(text: &str, state: Option<&str>, devices: Vec<Device>) -> Self {
        Self::begin(text, state, devices)
    }

    /// stafd appears and answers the first question.
    pub(super) fn stafd(&mut self, answer: &str) {
        self.tell(Input::Stafd(StafdEvent::Appeared));
        self.pass(SOAK);
        self.stafd_answers(Ok(answer));
    }

    /// stafd announces a change and answers the question that follows.
    pub(super) fn stafd_changes(&mut self, answer: &str) {
        self.tell(Input::Stafd(StafdEvent::LogPagesChanged));
        self.pass(SOAK);
        self.stafd_answers(Ok(answer));
    }

    /// Ends the question in flight.
    pub(super) fn stafd_answers(&mut self, result: Result<&str, &str>) {
        let op = self.take(|action| match action {
            Action::QueryStafd { op } => Some(*op),
            _ => None,
        });
        let result = result.map(str::to_owned).map_err(str::to_owned);
        self.tell(Input::Stafd(StafdEvent::Answer { op, result }));
    }
}

impl<C: Parts> World<C> {
    fn begin(text: &str, restored: Option<&str>, devices: Vec<Device>) -> Self {
        let (now, wall, mut out) = (Time::from_nanos(1), Wall::default(), Vec::new());
        let configuration = config(C::ROLE, text);
        let start = Start { configuration, restored, seed: 1, now, wall };
        let mut world = Self {
            core: C::start(start, &mut out),
            now,
            kernel: Scan { devices, ..Scan::default() },
            scans: 0,
            waiting: Vec::new(),
            registry: Vec::new(),
            log: Vec::new(),
            saved: Vec::new(),
            notices: Vec::new(),
            left: false,
        };
        world.carry_out(out);
        world.tell(Input::Wake);
        world
    }

    /// Feeds one input, and the looks at the kernel that follow from it.
    pub(super) fn tell(&mut self, input: Input) {
        let mut out = Vec::new();
        self.core.step(self.now, input, &mut out);
        self.core.assert_invariants();
        self.carry_out(out);
    }

    pub(super) fn carry_out(&mut self, actions: Vec<Action>) {
        let mut asked = false;
        for action in actions {
            match action {
                Action::Scan => asked = true,
                Action::Log(record) => self.log.push(record),
                Action::Save(text) => self.saved.push(text),
                Action::Publish(notice) => self.notices.push(notice),
                Action::Exit => self.left = true,
                Action::Claim { .. } | Action::Disclaim { .. } => self.registry.push(action),
                operation => self.waiting.push(operation),
            }
        }
        if asked {
            self.scans += 1;
            self.tell(Input::Scanned(Box::new(self.kernel.clone())));
        }
    }

    /// Lets time pass: every wake-up on the way is delivered when it is due.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..TURNS_MAX {
            match self.core.next_wake() {
                Some(at) if at <= end && !self.left => {
                    self.now = self.now.max(at);
                    self.tell(Input::Wake);
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("the core asks for ever more wake-ups");
    }

    /// Takes the first waiting operation that `pick` wants.
    pub(super) fn take<T>(&mut self, pick: impl Fn(&Action) -> Option<T>) -> T {
        let found = self.waiting.iter().enumerate().find_map(|(at, a)| Some((at, pick(a)?)));
        let (at, picked) = found.unwrap_or_else(|| panic!("not asked for: {:?}", self.waiting));
        self.waiting.remove(at);
        picked
    }

    /// The options of the connects that the kernel is asked for.
    pub(super) fn connects(&self) -> Vec<&str> {
        let options = self.waiting.iter().filter_map(|action| match action {
            Action::Connect { options, .. } => Some(options.as_str()),
            _ => None,
        });
        options.collect()
    }

    /// The files are read again, and a reconcile follows.
    pub(super) fn reload(&mut self, text: &str) {
        self.tell(Input::Reload(Box::new(config(C::ROLE, text))));
        self.pass(SOAK);
    }

    /// The names of the controllers that the kernel is asked to delete.
    pub(super) fn deletes(&self) -> Vec<&str> {
        let names = self.waiting.iter().filter_map(|action| match action {
            Action::Delete { device, .. } => Some(device.name.as_str()),
            _ => None,
        });
        names.collect()
    }

    pub(super) fn take_connect(&mut self) -> OpId {
        self.take(|action| match action {
            Action::Connect { op, .. } => Some(*op),
            _ => None,
        })
    }

    pub(super) fn take_delete(&mut self) -> (OpId, DeviceId) {
        self.take(|action| match action {
            Action::Delete { op, device } => Some((*op, device.clone())),
            _ => None,
        })
    }

    pub(super) fn take_admin(&mut self, name: &str) -> (OpId, AdminCommand) {
        self.take(|action| match action {
            Action::Admin { op, device, command, .. } if device.name == name => {
                Some((*op, *command))
            }
            _ => None,
        })
    }

    /// The first connect in flight succeeds.
    pub(super) fn connected(&mut self, device: Device) {
        let op = self.take_connect();
        self.kernel.devices.push(device.clone());
        self.tell(Input::ConnectDone { op, result: Ok(Box::new(device)) });
    }

    /// The first connect in flight fails.
    pub(super) fn refused(&mut self, errno: i32) {
        let op = self.take_connect();
        self.tell(Input::ConnectDone { op, result: Err(ConnectError::Errno(errno)) });
    }

    /// The first disconnect in flight succeeds. Returns the name of the controller.
    pub(super) fn deleted(&mut self) -> String {
        let (op, device) = self.take_delete();
        self.kernel.devices.retain(|present| present.id != device);
        self.tell(Input::DeleteDone { op, result: Ok(()) });
        self.tell(Input::Device(DeviceEvent::Removed { name: device.name.clone() }));
        device.name
    }

    /// The kernel gives a controller up.
    pub(super) fn vanish(&mut self, name: &str) {
        self.kernel.devices.retain(|present| present.id.name != name);
        self.tell(Input::Device(DeviceEvent::Removed { name: name.to_owned() }));
    }

    /// Answers all log page commands for one controller. Returns how many there were.
    pub(super) fn serve(&mut self, name: &str, genctr: u64, records: &[Vec<u8>]) -> usize {
        let asked =
            |action: &Action| matches!(action, Action::Admin { device, .. } if device.name == name);
        for count in 0..TURNS_MAX {
            if !self.waiting.iter().any(asked) {
                return count;
            }
            let (op, command) = self.take_admin(name);
            self.tell(Input::AdminDone { op, result: Ok(log_bytes(command, genctr, records)) });
        }
        panic!("the page is read for ever");
    }

    /// The controllers of the table, by address.
    pub(super) fn targets(&self) -> Vec<&str> {
        self.core.fleet().iter().map(|c| c.tid.fields().traddr.as_str()).collect()
    }

    /// The controller for this address.
    pub(super) fn at(&self, traddr: &str) -> &Controller<C::Kind> {
        let found = self.core.fleet().iter().find(|c| c.tid.fields().traddr == traddr);
        found.unwrap_or_else(|| panic!("{traddr} is not in {:?}", self.targets()))
    }

    /// Whether the controller for this address has a kernel controller.
    pub(super) fn is_bound(&self, traddr: &str) -> bool {
        self.at(traddr).device().is_some()
    }

    /// How many lines of this level contain `part`.
    pub(super) fn logged(&self, level: Level, part: &str) -> usize {
        self.log.iter().filter(|line| line.level == level && line.text.contains(part)).count()
    }

    /// A client's question.
    pub(super) fn ask(&mut self, request: &Request) -> Reply {
        let mut out = Vec::new();
        let reply = self.core.answer(self.now, request, &Attributes, &mut out);
        self.carry_out(out);
        reply
    }

    /// A client's question that is answered by a JSON text.
    pub(super) fn ask_json(&mut self, request: &Request) -> Value {
        match self.ask(request) {
            Reply::Json(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{request:?} brought {other:?}"),
        }
    }
}

/// A finder connected to 10.0.0.1 through `nvme0`, which serves these records.
pub(super) fn connected(text: &str, records: &[Vec<u8>]) -> World<Finder> {
    let mut world = World::finder(&(text.to_owned() + &wants_dc("10.0.0.1")));
    world.pass(SOAK);
    world.connected(dc("nvme0", "10.0.0.1"));
    world.serve("nvme0", 1, records);
    assert!(world.is_bound("10.0.0.1"));
    world
}

/// How many entries of the page of 10.0.0.1 are known.
pub(super) fn entries(world: &World<Finder>) -> usize {
    world.at("10.0.0.1").role.page.entries.len()
}

fn log_bytes(command: AdminCommand, genctr: u64, records: &[Vec<u8>]) -> Vec<u8> {
    let AdminCommand::GetLog { offset, len, .. } = command else { panic!("{command:?}") };
    let mut page = vec![0; 1024];
    page[0..8].copy_from_slice(&genctr.to_le_bytes());
    page[8..16].copy_from_slice(&(records.len() as u64).to_le_bytes());
    page.extend(records.iter().flatten());
    let from = usize::try_from(offset).unwrap();
    page[from..from + usize::try_from(len).unwrap()].to_vec()
}

fn device(name: &str, traddr: &str, trsvcid: &str, nqn: &str, cntrltype: &str) -> Device {
    Device {
        id: DeviceId { name: name.to_owned(), instance: 1 },
        transport: "tcp".to_owned(),
        traddr: traddr.to_owned(),
        trsvcid: trsvcid.to_owned(),
        host_traddr: String::new(),
        host_iface: String::new(),
        src_addr: String::new(),
        src_zone: String::new(),
        subsysnqn: nqn.to_owned(),
        host_nqn: HOST.to_owned(),
        state: State::Live,
        cntrltype: cntrltype.to_owned(),
        dctype: String::new(),
        namespaces: 0,
        holds_system: false,
        owner: String::new(),
    }
}

/// A live kernel controller for I/O, over TCP, port 4420.
pub(super) fn io(name: &str, traddr: &str, nqn: &str) -> Device {
    device(name, traddr, "4420", nqn, "io")
}

/// A live kernel controller for discovery, over TCP, port 8009.
pub(super) fn dc(name: &str, traddr: &str) -> Device {
    device(name, traddr, "8009", DISC_NQN, "discovery")
}

/// The identity of what [`io`] makes.
pub(super) fn io_fields(traddr: &str, nqn: &str) -> Fields {
    Fields {
        transport: "tcp".to_owned(),
        traddr: traddr.to_owned(),
        trsvcid: "4420".to_owned(),
        subsysnqn: nqn.to_owned(),
        ..Fields::default()
    }
}

/// The identity of what [`dc`] makes.
pub(super) fn dc_fields(traddr: &str) -> Fields {
    Fields { trsvcid: "8009".to_owned(), ..io_fields(traddr, DISC_NQN) }
}

/// The line of `stacd.conf` that wants subsystem [`NQN`] at this address, with further fields.
pub(super) fn wants_io(traddr: &str, more: &str) -> String {
    format!(
        "[Controllers]\ncontroller=transport=tcp;traddr={traddr};trsvcid=4420;nqn={NQN}{more}\n"
    )
}

/// The line of `stafd.conf` that wants a discovery controller at this address.
pub(super) fn wants_dc(traddr: &str) -> String {
    format!("[Controllers]\ncontroller=transport=tcp;traddr={traddr}\n")
}

/// A log page entry for what [`io`] makes, with these flags.
pub(super) fn record(traddr: &str, nqn: &str, eflags: u8) -> Vec<u8> {
    let mut record = raw(3, 2, traddr, "4420", nqn);
    record[10] = eflags;
    record
}

/// A log page entry that refers to what [`dc`] makes.
pub(super) fn referral(traddr: &str) -> Vec<u8> {
    raw(3, 1, traddr, "8009", DISC_NQN)
}

/// One discovery controller in stafd's answer, reached through `iface`.
pub(super) fn source(traddr: &str, iface: &str, validity: Validity, records: &[Vec<u8>]) -> Value {
    let fields = Fields { host_iface: iface.to_owned(), ..dc_fields(traddr) };
    let pairs = fields.pairs().map(|(name, text)| (name.to_owned(), Value::from(text)));
    let entries: Vec<Entry> = records.iter().filter_map(|raw| Entry::decode(raw)).collect();
    report::encode(&pairs.into_iter().collect(), validity, &entries)
}

/// stafd's answer with one discovery controller whose page was just fetched.
pub(super) fn page(records: &[Vec<u8>]) -> String {
    answer(vec![source("10.0.0.1", "", Validity::Fetched, records)])
}

/// stafd's answer.
pub(super) fn answer(sources: Vec<Value>) -> String {
    Value::Array(sources).to_string()
}
