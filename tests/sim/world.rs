// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The simulated world: both daemons' real cores, and models of everything that they touch.
//!
//! Owns the schedule and carries out the cores' actions against the [`kernel`](crate::kernel) and
//! the [`fabric`](crate::fabric). Disturbances come from the [`plan`](crate::plan), judgement from
//! the [`judge`](crate::judge), which is told of every action before it is carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use plinth::rand::Rng;
use plinth::sim::{Fate, Link, Schedule};
use plinth::time::{Time, Wall};
use stas::core::api::{Reply, Request as Ask};
use stas::core::cid::State;
use stas::core::finder::AEN_DISCOVERY_CHANGED;
use stas::core::machine::Start;
use stas::core::port::{
    Action, AdminCommand, AdminError, ConnectError, DeviceEvent, DeviceId, Input, Notice, OpId,
    StafdEvent,
};

use crate::config::{Files, HOST, name_of};
use crate::errno;
use crate::fabric::{Fabric, Mood, Place};
use crate::judge::Judge;
use crate::kernel::{Asker, Kernel, Request};
use crate::process::{Core, Daemon, NoSysfs, Process};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Something that will happen.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A process is told something.
    Tell(Daemon, u64, Box<Input>),
    /// The kernel takes the next connect.
    ConnectNext,
    /// The kernel is done with a connect.
    ConnectEnds(Request, DeviceId, Result<(), i32>),
    /// The kernel is done deleting.
    DeleteEnds(Asker, DeviceId),
    /// A controller answers a command.
    AdminEnds(Asker, DeviceId, AdminCommand),
    /// A reconnecting controller tries.
    Reconnect(DeviceId),
    /// stafd is asked.
    Query(u64, OpId),
    /// A signal of stafd arrives on the bus.
    Signal(StafdEvent),
    /// A daemon is started.
    Start(Daemon),
    /// A disturbance of the plan.
    Disturb(crate::plan::Fault),
    /// A disturbance passes.
    Calm(crate::plan::Fault),
}

/// See the module's documentation.
pub(crate) struct World {
    /// What will happen.
    pub(crate) schedule: Schedule<Happening>,
    /// All chance.
    pub(crate) rng: Rng,
    /// The initiator.
    pub(crate) kernel: Kernel,
    /// The targets.
    pub(crate) fabric: Fabric,
    /// The files of the host.
    pub(crate) files: Files,
    /// The processes that run.
    pub(crate) processes: BTreeMap<Daemon, Process>,
    /// The state files.
    pub(crate) states: BTreeMap<Daemon, String>,
    /// What must hold.
    pub(crate) judge: Judge,
    /// The bus works.
    pub(crate) bus: bool,
    /// The name service works.
    pub(crate) names: bool,
    /// Processes are killed between two actions.
    pub(crate) chaos: bool,
    /// How uevents travel.
    pub(crate) uevents: Link,
    /// Print everything.
    pub(crate) trace: bool,
    /// Links fail, too.
    pub(crate) unsteady: bool,
    generations: u64,
    last_uevent: BTreeMap<(Daemon, String), Time>,
    overflowed: BTreeSet<Daemon>,
}

impl World {
    /// A world drawn from `seed`; nothing runs yet.
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::seeded(seed);
        let fabric = Fabric::draw(&mut rng);
        let files = Files::draw(&fabric, &mut rng);
        Self {
            schedule: Schedule::default(),
            rng,
            kernel: Kernel::default(),
            fabric,
            files,
            processes: BTreeMap::new(),
            states: BTreeMap::new(),
            judge: Judge::default(),
            bus: true,
            names: true,
            chaos: true,
            uevents: Link {
                delay_min: ms(0),
                delay_max: ms(20),
                loss_per_mille: 20,
                late_per_mille: 20,
            },
            trace,
            unsteady: seed % 4 == 3,
            generations: 0,
            last_uevent: BTreeMap::new(),
            overflowed: BTreeSet::new(),
        }
    }

    /// The present.
    pub(crate) fn now(&self) -> Time {
        self.schedule.now()
    }

    /// Prints a line of the trace.
    pub(crate) fn note(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>12.6} {}", self.now().since(Time::ZERO).as_secs_f64(), text());
        }
    }

    /// Lets things happen until `end`.
    pub(crate) fn run(&mut self, end: Time) {
        loop {
            let wakes = self
                .processes
                .iter()
                .filter_map(|(d, p)| Some((p.core.machine().next_wake()?, *d)));
            let wake = wakes.min();
            let next = self.schedule.next_at();
            let wake_first =
                wake.filter(|(at, _)| next.is_none_or(|next| (*at).max(self.now()) < next));
            match (wake_first, next) {
                (Some((at, _)), _) if at.max(self.now()) > end => break,
                (Some((at, daemon)), _) => {
                    self.schedule.advance(at.max(self.now()));
                    self.tell(daemon, Input::Wake);
                    let process = self.processes.get(&daemon);
                    let again = process.and_then(|process| process.core.machine().next_wake());
                    assert!(again.is_none_or(|again| again > at), "{daemon:?} wakes for nothing");
                }
                (None, Some(at)) if at <= end => {
                    let happening = self.schedule.take_next().expect("there is one");
                    self.happen(happening);
                }
                _ => break,
            }
        }
        self.schedule.advance(end);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tell(daemon, generation, input) => {
                if self.processes.get(&daemon).is_some_and(|p| p.generation == generation) {
                    self.tell(daemon, *input);
                }
            }
            Happening::ConnectNext => self.connect_next(),
            Happening::ConnectEnds(request, id, result) => self.connect_ends(&request, &id, result),
            Happening::DeleteEnds(asker, id) => self.delete_ends(asker, &id),
            Happening::AdminEnds(asker, id, command) => self.admin_ends(asker, &id, command),
            Happening::Reconnect(id) => self.reconnect(&id),
            Happening::Query(generation, op) => self.query(generation, op),
            Happening::Signal(event) => self.signal(event),
            Happening::Start(daemon) => self.start(daemon),
            Happening::Disturb(fault) => self.disturb(fault),
            Happening::Calm(fault) => self.calm(fault),
        }
    }

    // Processes.

    /// Starts a daemon that does not run.
    pub(crate) fn start(&mut self, daemon: Daemon) {
        if self.processes.contains_key(&daemon) {
            return;
        }
        self.generations += 1;
        let configuration = self.files.load(daemon.role());
        let (state, seed) = (self.states.get(&daemon).cloned(), self.rng.next_u64());
        let (now, wall, mut out) = (self.now(), Wall(1_700_000_000), Vec::new());
        self.note(|| format!("{daemon:?} starts"));
        let restored = state.as_deref();
        let start = Start { configuration, restored, seed, now, wall };
        let core = Core::start(daemon, start, &mut out);
        self.judge.started(daemon);
        self.processes.insert(daemon, Process { generation: self.generations, core });
        self.carry_out(daemon, out);
        self.tell(daemon, Input::Wake);
        if self.bus && self.processes.contains_key(&Daemon::Finder) {
            self.bus_signal(StafdEvent::Appeared);
        }
    }

    /// Ends a process on the spot.
    pub(crate) fn kill(&mut self, daemon: Daemon) {
        if self.processes.remove(&daemon).is_none() {
            return;
        }
        self.note(|| format!("{daemon:?} ends"));
        self.overflowed.remove(&daemon);
        if daemon == Daemon::Finder && self.bus {
            self.bus_signal(StafdEvent::Vanished);
        }
        let back = ms(10 + self.rng.below(20_000));
        self.schedule.after(back, Happening::Start(daemon));
    }

    /// Gives a running daemon one input and carries out what it asks for.
    pub(crate) fn tell(&mut self, daemon: Daemon, input: Input) {
        let now = self.now();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let Some(process) = self.processes.get_mut(&daemon) else { return };
            if let (Daemon::Finder, Input::Resolved { result: Ok(_), .. }) = (daemon, &input) {
                self.judge.name_proven();
            }
            let answer = matches!(input, Input::Stafd(StafdEvent::Answer { .. }));
            if answer {
                self.judge.queries_over();
            }
            if self.trace && !matches!(input, Input::Scanned(_)) {
                let text = format!("{input:?}");
                println!(
                    "{:>12.6} {daemon:?} <- {}",
                    now.since(Time::ZERO).as_secs_f64(),
                    &text[..text.len().min(300)]
                );
            }
            let mut out = Vec::new();
            process.core.machine_mut().step(now, input, &mut out);
            process.core.machine().assert_invariants();
            self.carry_out(daemon, out);
            if answer {
                self.judge.stacd_heard();
            }
        }
    }

    fn carry_out(&mut self, daemon: Daemon, actions: Vec<Action>) {
        let mut scan = false;
        for action in actions {
            let books = matches!(action, Action::Claim { .. } | Action::Disclaim { .. });
            if !books && self.chaos && self.rng.chance(1, 2000) {
                self.kill(daemon);
                return;
            }
            let Some(process) = self.processes.get(&daemon) else { return };
            let generation = process.generation;
            scan |= action == Action::Scan;
            self.act(daemon, generation, action);
        }
        if scan {
            let scan = Box::new(self.kernel.scan());
            self.tell(daemon, Input::Scanned(scan));
        }
    }

    fn act(&mut self, daemon: Daemon, generation: u64, action: Action) {
        self.note(|| match &action {
            Action::Save(_) => format!("{daemon:?} -> Save"),
            Action::Log(record) => format!("{daemon:?} says {}: {}", record.level, record.text),
            other => format!("{daemon:?} -> {other:?}"),
        });
        let asker = |op| Asker::Daemon(daemon, generation, op);
        match action {
            Action::Scan | Action::Log(_) | Action::Disclaim { .. } => {}
            Action::Claim { device, .. } => self.kernel.claim(&device),
            Action::Probe { op, to, limit, .. } => self.probe(asker(op), to, limit),
            Action::Connect { op, options } => {
                let request = Request::new(asker(op), &options);
                self.judge.connect(daemon, op, &request);
                self.kernel.waiting.push_back(request);
                self.schedule.after(ms(0), Happening::ConnectNext);
            }
            Action::Delete { op, device } => {
                let endpoint = self.kernel.get(&device).map(|c| c.request.endpoint());
                let truth = (&self.fabric, &self.files);
                self.judge.delete(daemon, op, &device, endpoint.as_ref(), truth);
                self.delete(asker(op), &device);
            }
            Action::Admin { op, device, command, .. } => {
                self.judge.admin(daemon, op, &device);
                let span = ms(1 + self.rng.below(5));
                self.schedule.after(span, Happening::AdminEnds(asker(op), device, command));
            }
            Action::Resolve { op, host } => self.resolve(asker(op), &host),
            Action::QueryStafd { op } => {
                self.judge.query(op);
                let span = ms(1 + self.rng.below(10));
                self.schedule.after(span, Happening::Query(generation, op));
            }
            Action::Publish(Notice::LogPagesChanged { .. }) => {
                self.judge.stafd_knows(&self.processes, &self.fabric, &self.files);
                self.bus_signal(StafdEvent::LogPagesChanged);
            }
            Action::Publish(Notice::DcRemoved) => self.bus_signal(StafdEvent::DcRemoved),
            Action::Publish(Notice::Tron(_)) => {}
            Action::Save(text) => {
                self.states.insert(daemon, text);
            }
            Action::Exit => self.kill(daemon),
        }
    }

    fn answer(&mut self, asker: Asker, span: Duration, input: impl FnOnce(OpId) -> Input) {
        if let Asker::Daemon(daemon, generation, op) = asker {
            let tell = Happening::Tell(daemon, generation, Box::new(input(op)));
            self.schedule.after(span, tell);
        }
    }

    // The kernel.

    /// A uevent travels to both daemons: late, out of order with those of other controllers, or
    /// not at all, in which case the daemon is told that something was lost.
    fn uevent(&mut self, device: &str, event: &DeviceEvent) {
        for daemon in Daemon::BOTH {
            let Some(process) = self.processes.get(&daemon) else { continue };
            let generation = process.generation;
            let last = self.last_uevent.get(&(daemon, device.to_owned())).copied();
            match self.uevents.draw(&mut self.rng) {
                Fate::Arrives(span) => {
                    let at =
                        last.unwrap_or_default().max(self.now() + span) + Duration::from_nanos(1);
                    self.last_uevent.insert((daemon, device.to_owned()), at);
                    let input = Box::new(Input::Device(event.clone()));
                    self.schedule.at(at, Happening::Tell(daemon, generation, input));
                }
                Fate::Lost => {
                    let span = ms(self.rng.below(500));
                    let input = Box::new(Input::EventsLost);
                    self.schedule.after(span, Happening::Tell(daemon, generation, input));
                }
            }
        }
    }

    /// A person connects something by hand.
    pub(crate) fn person_connects(&mut self, list: &str) {
        self.kernel.waiting.push_back(Request::new(Asker::Person, list));
        self.schedule.after(ms(0), Happening::ConnectNext);
    }

    fn connect_next(&mut self) {
        if self.kernel.busy {
            return;
        }
        let Some(request) = self.kernel.waiting.pop_front() else { return };
        if self.kernel.is_duplicate(&request) {
            self.answer(request.asker, ms(1), |op| Input::ConnectDone {
                op,
                result: Err(ConnectError::Errno(errno::EALREADY)),
            });
            self.schedule.after(ms(1), Happening::ConnectNext);
            return;
        }
        let endpoint = request.endpoint();
        let place: Place = endpoint.portal();
        let known =
            self.fabric.logs.contains_key(&place) || self.fabric.subsystems.contains(&endpoint);
        let (span, result) = match self.fabric.moods.get(&place) {
            Some(Mood::Serving) if known => (ms(10 + self.rng.below(60)), Ok(())),
            Some(Mood::Serving) => (ms(5), Err(errno::EIO)),
            Some(Mood::Silent) => (ms(3100), Err(errno::ETIMEDOUT)),
            Some(Mood::Mute) if self.rng.chance(1, 2) => (ms(61_000), Err(errno::EIO)),
            Some(Mood::Mute) => (ms(10_000), Err(errno::EAGAIN)),
            Some(Mood::Refusing) | None => (ms(1), Err(errno::ECONNREFUSED)),
        };
        self.kernel.busy = true;
        let id = self.kernel.create(request.clone());
        self.uevent(&id.name, &DeviceEvent::Added { name: id.name.clone() });
        self.schedule.after(span, Happening::ConnectEnds(request, id, result));
    }

    fn connect_ends(&mut self, request: &Request, id: &DeviceId, result: Result<(), i32>) {
        self.kernel.busy = false;
        self.schedule.after(ms(0), Happening::ConnectNext);
        let lag = ms(self.rng.below(5));
        match result {
            Ok(()) => {
                let Some(controller) = self.kernel.get(id) else { return };
                controller.starting = false;
                controller.state = State::Live;
                self.uevent(&id.name, &DeviceEvent::Connected { name: id.name.clone() });
                if !self.fabric.serves(&request.endpoint().portal()) {
                    self.path_lost(id);
                }
                let device = self.kernel.get(id).map(|controller| Box::new(controller.device()));
                let name = id.name.clone();
                self.answer(request.asker, lag, |op| Input::ConnectDone {
                    op,
                    result: device.ok_or(ConnectError::Vanished(name)),
                });
            }
            Err(code) => {
                self.gone(id);
                let result = Err(ConnectError::Errno(code));
                self.answer(request.asker, lag, |op| Input::ConnectDone { op, result });
            }
        }
    }

    fn gone(&mut self, id: &DeviceId) {
        if self.kernel.remove(id).is_some() {
            self.uevent(&id.name, &DeviceEvent::Removed { name: id.name.clone() });
        }
    }

    /// Somebody writes to `delete_controller`.
    pub(crate) fn delete(&mut self, asker: Asker, id: &DeviceId) {
        let slow = self.rng.chance(1, 10);
        let (span, result) = match self.kernel.get(id) {
            None => (ms(1), Some(Err(errno::ENODEV))),
            Some(controller) if controller.starting || controller.state.is_gone() => {
                (ms(1), Some(Err(errno::EBUSY)))
            }
            Some(controller) => {
                controller.state = State::Deleting;
                (if slow { ms(5000) } else { ms(20 + self.rng.below(40)) }, None)
            }
        };
        match result {
            Some(result) => self.answer(asker, span, |op| Input::DeleteDone { op, result }),
            None => self.schedule.after(span, Happening::DeleteEnds(asker, id.clone())),
        }
    }

    fn delete_ends(&mut self, asker: Asker, id: &DeviceId) {
        self.gone(id);
        let lag = ms(self.rng.below(5));
        self.answer(asker, lag, |op| Input::DeleteDone { op, result: Ok(()) });
    }

    fn admin_ends(&mut self, asker: Asker, id: &DeviceId, command: AdminCommand) {
        let (result, span) = match self.kernel.get(id) {
            None => (Err(AdminError::Errno(errno::ENODEV)), ms(1)),
            Some(controller) if controller.state != State::Live => {
                (Err(AdminError::Errno(errno::EINTR)), ms(2600))
            }
            Some(controller) => {
                if let AdminCommand::GetLog { rae: false, .. } = command {
                    controller.armed = true;
                }
                let place = controller.request.endpoint().portal();
                let log = self.fabric.logs.get(&place);
                (Ok(log.map(|log| log.read(&command)).unwrap_or_default()), ms(1))
            }
        };
        if let Asker::Daemon(daemon, _, op) = asker {
            self.judge.admin_done(daemon, op);
        }
        self.answer(asker, span, |op| Input::AdminDone { op, result });
    }

    /// The path of a live controller is gone: the kernel tries to get it back for a while.
    pub(crate) fn path_lost(&mut self, id: &DeviceId) {
        let now = self.now();
        let Some(controller) = self.kernel.get(id) else { return };
        if controller.state != State::Live {
            return;
        }
        controller.state = State::Connecting;
        controller.loss_at = Some(now + Duration::from_secs(120));
        self.schedule.after(Duration::from_secs(10), Happening::Reconnect(id.clone()));
    }

    fn reconnect(&mut self, id: &DeviceId) {
        let now = self.now();
        let Some(controller) = self.kernel.get(id).filter(|c| c.state == State::Connecting) else {
            return;
        };
        let (place, over) = (controller.request.endpoint().portal(), controller.loss_at);
        if !self.fabric.serves(&place) {
            if over.is_some_and(|over| over <= now) {
                self.gone(id);
            } else {
                self.schedule.after(Duration::from_secs(10), Happening::Reconnect(id.clone()));
            }
            return;
        }
        let discovery = self.kernel.get(id).is_some_and(|controller| {
            (controller.state, controller.loss_at) = (State::Live, None);
            controller.armed = true;
            controller.is_discovery()
        });
        if discovery {
            self.uevent(&id.name, &DeviceEvent::Rediscover { name: id.name.clone() });
        }
        self.uevent(&id.name, &DeviceEvent::Connected { name: id.name.clone() });
    }

    /// A page changed: controllers that were told to are notified.
    pub(crate) fn announce_change(&mut self, place: Place) {
        let mut notified = Vec::new();
        for controller in self.kernel.controllers.values_mut() {
            let listens = controller.is_discovery()
                && controller.state == State::Live
                && controller.request.endpoint().portal() == place;
            if listens && std::mem::take(&mut controller.armed) {
                notified.push(controller.id.name.clone());
            }
        }
        for name in notified {
            let event = DeviceEvent::Aen { name: name.clone(), aen: AEN_DISCOVERY_CHANGED };
            self.uevent(&name, &event);
        }
    }

    // The network and the bus.

    fn probe(&mut self, asker: Asker, to: (IpAddr, u16), limit: Duration) {
        let (span, result) = match self.fabric.moods.get(&to) {
            Some(Mood::Serving | Mood::Mute) => (ms(1), Ok(())),
            Some(Mood::Silent) => (limit, Err(errno::ETIMEDOUT)),
            Some(Mood::Refusing) | None => (ms(1), Err(errno::ECONNREFUSED)),
        };
        self.answer(asker, span, |op| Input::ProbeDone { op, result });
    }

    fn resolve(&mut self, asker: Asker, host: &str) {
        let known = self.fabric.logs.keys().find(|(address, _)| name_of(*address) == *host);
        let (span, result) = match known {
            Some((address, _)) if self.names => (ms(2), Ok(vec![*address])),
            _ if self.rng.chance(1, 2) => (ms(3), Err("no such name".to_owned())),
            _ => (Duration::from_secs(7), Err("no answer".to_owned())),
        };
        self.answer(asker, span, |op| Input::Resolved { op, result });
    }

    /// stafd says something on the bus; it arrives in order.
    pub(crate) fn bus_signal(&mut self, event: StafdEvent) {
        if self.bus || event == StafdEvent::Vanished {
            self.schedule.after(ms(1), Happening::Signal(event));
        }
    }

    fn signal(&mut self, event: StafdEvent) {
        let alive = self.bus && self.processes.contains_key(&Daemon::Finder);
        if alive || event == StafdEvent::Vanished {
            if event == StafdEvent::Vanished {
                self.judge.queries_over();
            }
            self.tell(Daemon::Connector, Input::Stafd(event));
        }
    }

    fn query(&mut self, generation: u64, op: OpId) {
        let now = self.now();
        let mut out = Vec::new();
        let reply = match self.processes.get_mut(&Daemon::Finder) {
            Some(process) if self.bus => {
                let request = Ask::GetAllLogPages { detailed: true };
                Some(process.core.machine_mut().answer(now, &request, &NoSysfs, &mut out))
            }
            _ => None,
        };
        let lost = self.chaos && self.rng.chance(1, 100);
        let (span, result) = match reply {
            Some(Reply::Json(text)) if !lost => (ms(1 + self.rng.below(20)), Ok(text)),
            Some(Reply::NotReady(text)) => (ms(1), Err(text)),
            _ => (Duration::from_secs(5), Err("no answer".to_owned())),
        };
        if let Ok(text) = &result {
            self.judge.stacd_hears(text, &self.processes, &self.fabric, &self.files);
        }
        let event = StafdEvent::Answer { op, result };
        let input = Box::new(Input::Stafd(event));
        self.schedule.after(span, Happening::Tell(Daemon::Connector, generation, input));
    }

    /// The option list that a person would use for a subsystem.
    pub(crate) fn list_for(endpoint: &crate::kernel::Endpoint) -> String {
        format!(
            "nqn={},transport=tcp,traddr={},trsvcid={},hostnqn={HOST}",
            endpoint.nqn, endpoint.traddr, endpoint.trsvcid
        )
    }
}
