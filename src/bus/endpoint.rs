// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One connection: the machine, the directory and the link put together.
//!
//! Owns serial numbers, the calls that await the program's answer, the queue of events and its
//! bounds, and the check of a caller's user. What to do is decided by [`super::machine`] and
//! [`super::dispatch`]; bytes are moved by [`super::link`].

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::{env, fs, io};

use dbus::{Message, MessageType};

use super::dispatch::{self, Directory, Header, Operation, Route, error};
use super::link::Link;
use super::machine::{Action, Ask, BUS_NAME, Input, Machine, Token};
use super::object::Access;
use super::value::{Args, Value, signature_of};
use super::wire::{self, ReplyTo, Request, Unsendable};
use super::{Call, CallError, CallId, Config, Event, Received};
use crate::event::Progress;
use crate::time::Time;

/// Events that wait for the program; beyond, messages stay in the socket.
pub const EVENTS_MAX: usize = 256;

/// Bytes in events that wait for the program; beyond, messages stay in the socket.
pub const EVENT_BYTES_MAX: usize = 64 << 20;

/// Calls that await the program's answer at a time; beyond, callers get `LimitsExceeded`.
pub const SERVING_MAX: usize = 256;

/// The same for the calls of one peer.
pub const SERVING_PER_SENDER_MAX: usize = 64;

/// Messages that wait for the bus to read; beyond, signals and calls of ours are refused, and no
/// message of others is looked at.
pub const OUTGOING_MAX: usize = 1024;

/// Messages looked at in one turn of the loop.
pub const MESSAGES_PER_TURN: usize = 128;

/// Exchanges with the socket in one turn of the loop, of some 2 KiB each way.
const EXCHANGES_PER_TURN: usize = 128;

const MACHINE_ID: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// A call that the program, or the check of its caller, has not answered yet.
#[derive(Debug)]
struct Serving {
    sender: String,
    reply_to: Option<ReplyTo>,
    outputs: String,
    /// Held back until the bus has told who the caller is.
    held: Option<Call>,
}

/// A connection to a message bus: see the documentation of [`super`].
#[derive(Debug)]
pub struct Bus {
    machine: Machine,
    directory: Directory,
    link: Link,
    /// Our calls by serial number. The bus lets an answer through from whom was asked only.
    serials: BTreeMap<u32, Token>,
    serving: BTreeMap<u64, Serving>,
    next_call: u64,
    events: VecDeque<(Event, usize)>,
    event_bytes: usize,
    /// The socket may have more, whether or not it says so.
    unsettled: bool,
    /// libdbus may hold messages that were not looked at for lack of room.
    leftover: bool,
}

impl Bus {
    /// A connection that is not up yet: [`Bus::next_wake`] asks for the first call of
    /// [`Bus::wake`], which begins to connect. Block signals first: connecting starts a thread.
    ///
    /// # Errors
    /// The process is out of descriptors, or memory.
    ///
    /// # Panics
    /// When the tables of `config` hold a name, path or signature that is not valid.
    pub fn new(config: &Config) -> io::Result<Self> {
        let address = config.address.resolve(|name| env::var_os(name));
        let id = MACHINE_ID.iter().find_map(|path| fs::read_to_string(path).ok());
        let id = id.map(|id| id.trim().to_owned()).filter(|id| id.len() == 32);
        Ok(Self {
            machine: Machine::new(config.own_name, config.watch_names, config.matches),
            directory: Directory::new(config.objects, id),
            link: Link::new(address)?,
            serials: BTreeMap::new(),
            serving: BTreeMap::new(),
            next_call: 1,
            events: VecDeque::new(),
            event_bytes: 0,
            unsettled: false,
            leftover: false,
        })
    }

    /// The descriptor to watch for reading. It stays the same over every reconnect.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }

    /// The descriptor has news. Does a bounded amount of work.
    pub fn ready(&mut self, now: Time) -> Progress {
        match self.link.opened() {
            Some(Ok(())) => self.step(now, Input::Opened),
            Some(Err(text)) => {
                log::debug!("cannot connect to the message bus: {text}");
                self.step(now, Input::OpenFailed);
            }
            None => {}
        }
        self.drive(now);
        if self.unsettled { Progress::More } else { Progress::Drained }
    }

    /// When to call [`Bus::wake`]; ask after every other call. May be in the past: at once.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        if self.unsettled || (self.leftover && self.has_room()) {
            return Some(Time::ZERO);
        }
        self.machine.next_wake()
    }

    /// Time passed. Does a bounded amount of work; too early a call is harmless.
    pub fn wake(&mut self, now: Time) {
        self.step(now, Input::Wake);
        if self.unsettled || self.leftover {
            self.drive(now);
        }
    }

    /// What happened next, in order.
    pub fn next_event(&mut self) -> Option<Event> {
        let (event, size) = self.events.pop_front()?;
        self.event_bytes -= size;
        Some(event)
    }

    /// Whether the connection is usable.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.machine.is_up()
    }

    /// Whether our name is ours at present.
    #[must_use]
    pub fn owns_name(&self) -> bool {
        self.machine.owns_name()
    }

    /// The unique name that the bus gave us.
    #[must_use]
    pub fn unique_name(&self) -> Option<&str> {
        self.machine.unique_name()
    }

    /// Owns `name` from now on, if [`Config::own_name`] was `None`: for programs that take their
    /// name when everything else works.
    pub fn own_name(&mut self, now: Time, name: &'static str) {
        self.step(now, Input::Own(name));
    }

    /// Calls somebody. The outcome arrives as [`Event::Reply`], at `deadline` at the latest.
    pub fn call(&mut self, request: &Request, deadline: Time) -> Token {
        let begun = match self.link.queued() {
            waiting if waiting >= OUTGOING_MAX => Err(CallError::Busy),
            _ => request.message().map_err(CallError::from),
        };
        let begun = begun.and_then(|message| Ok((self.machine.begin(deadline)?, message)));
        match begun {
            Ok((token, message)) => {
                self.ask(token, message);
                token
            }
            Err(error) => {
                let token = self.machine.stillborn();
                self.tell(Event::Reply { token, result: Err(error) });
                token
            }
        }
    }

    /// Asks the bus for the user id (a [`Value::Uint32`]) of the owner of a name. Tables with
    /// [`Access::Root`] do not need this.
    pub fn ask_uid(&mut self, name: &str, deadline: Time) -> Token {
        let ask = Ask::GetConnectionUnixUser(name.to_owned());
        self.call(&request_of(&ask), deadline)
    }

    /// Answers a call of a method with values of the signature in its table, or the setting of a
    /// property with none. Late answers are dropped.
    pub fn reply(&mut self, call: CallId, values: &[Value]) {
        let Some(serving) = self.serving.remove(&call.0) else { return };
        let signature = signature_of(values);
        if signature == serving.outputs {
            self.answer(serving.reply_to.as_ref(), values);
        } else {
            log::error!("an answer of type '{signature}' should be '{}'", serving.outputs);
            self.refuse(serving.reply_to.as_ref(), error::FAILED, "internal error");
        }
    }

    /// Answers a call with an error: a name with dots (see [`error`]) and a text for people.
    pub fn fail(&mut self, call: CallId, name: &str, text: &str) {
        if let Some(serving) = self.serving.remove(&call.0) {
            self.refuse(serving.reply_to.as_ref(), name, text);
        }
    }

    /// Emits a signal of the tables to whoever listens; `false` when it was not sent: there is no
    /// connection, too much waits already, or it does not fit the tables (which is logged).
    pub fn emit(&mut self, path: &str, interface: &str, name: &str, args: &[Value]) -> bool {
        let expected = self.directory.signal(path, interface, name);
        if expected.as_deref() != Some(&signature_of(args)) {
            log::error!("signal {interface}.{name} of {path} does not fit the tables");
            return false;
        }
        self.broadcast(wire::signal(path, interface, name, args))
    }

    /// Sets the value that peers read, and announces a change if the tables say so. Values are kept
    /// over a reconnect. Until its first value is published, reading a property fails.
    pub fn publish(&mut self, path: &str, interface: &str, property: &str, value: Value) {
        match self.directory.publish(path, interface, property, &value) {
            None => {
                log::error!("property {interface}.{property} of {path} does not fit the tables")
            }
            Some(false) => {}
            Some(true) => {
                let changed = BTreeMap::from([(property.to_owned(), value)]);
                let args = (interface.to_owned(), changed, Vec::<String>::new()).into_values();
                let signal = wire::signal(path, dispatch::PROPERTIES, "PropertiesChanged", &args);
                self.broadcast(signal);
            }
        }
    }

    fn broadcast(&mut self, signal: Result<Message, Unsendable>) -> bool {
        match signal {
            Ok(signal) if self.machine.is_up() && self.link.queued() < OUTGOING_MAX => {
                self.send(signal).is_some()
            }
            Ok(_) => false,
            Err(reason) => {
                log::error!("a signal cannot be sent: {}", CallError::from(reason));
                false
            }
        }
    }

    fn answer(&mut self, to: Option<&ReplyTo>, values: &[Value]) {
        let Some(to) = to else { return };
        match to.answer(values) {
            Ok(message) => drop(self.send(message)),
            Err(Unsendable::TooLarge) => {
                self.refuse(Some(to), error::LIMITS_EXCEEDED, "the answer is too large");
            }
            Err(Unsendable::Malformed) => {
                log::error!("an answer holds a value that is not valid");
                self.refuse(Some(to), error::FAILED, "internal error");
            }
        }
    }

    fn refuse(&mut self, to: Option<&ReplyTo>, name: &str, text: &str) {
        if let Some(Ok(message)) = to.map(|to| to.refusal(name, text)) {
            self.send(message);
        }
    }

    /// Sends a call of ours.
    fn ask(&mut self, token: Token, message: Message) {
        match self.send(message) {
            Some(serial) => drop(self.serials.insert(serial, token)),
            // The connection is about to be found lost, which ends the call.
            None => self.unsettled = true,
        }
    }

    fn send(&mut self, message: Message) -> Option<u32> {
        let serial = self.link.send(message);
        // libdbus writes a little at once; no edge announces that it could write the rest.
        self.unsettled |= self.link.queued() > 0;
        serial
    }

    fn tell(&mut self, event: Event) {
        let size = match &event {
            Event::Call(Call { operation: Operation::Method { args, .. }, .. })
            | Event::Reply { result: Ok(args), .. }
            | Event::Signal(Received { args, .. }) => args.iter().map(Value::wire_size).sum(),
            Event::Call(Call { operation: Operation::Set { value, .. }, .. }) => value.wire_size(),
            _ => 0,
        };
        self.event_bytes += size;
        self.events.push_back((event, size));
    }

    /// Whether another message may be looked at.
    fn has_room(&self) -> bool {
        self.events.len() < EVENTS_MAX
            && self.event_bytes < EVENT_BYTES_MAX
            && self.link.queued() < OUTGOING_MAX
    }

    fn step(&mut self, now: Time, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut actions = Vec::new();
            self.machine.step(now, input, &mut actions);
            for action in actions {
                inputs.extend(self.act(action));
            }
        }
    }

    /// Carries out one action; what it leads to at once is returned.
    fn act(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Open => {
                if let Err(error) = self.link.start() {
                    log::debug!("cannot connect to the message bus: {error}");
                    return Some(Input::OpenFailed);
                }
            }
            Action::Close => {
                self.link.close();
                self.serials.clear();
                self.serving.clear();
                (self.unsettled, self.leftover) = (false, false);
            }
            Action::Ask(token, ask) => match request_of(&ask).message() {
                Ok(message) => self.ask(token, message),
                Err(reason) => return Some(Input::Replied(token, Err(reason.into()))),
            },
            Action::Forget(token) => self.serials.retain(|_, known| *known != token),
            Action::Tell(event) => self.tell(event),
            Action::Judge { call, uid } => self.judged(call, uid),
        }
        None
    }

    /// Reads, writes and handles until nothing is left or the turn is over.
    fn drive(&mut self, now: Time) {
        let mut budget = MESSAGES_PER_TURN;
        for _ in 0..EXCHANGES_PER_TURN {
            if !self.link.is_open() {
                return;
            }
            let alive = self.link.exchange();
            let empty = self.pump(now, &mut budget);
            if !self.link.is_open() {
                return; // the greeting was refused
            }
            if !alive {
                self.last_words(now);
                self.step(now, Input::Lost);
                return;
            }
            let ready = self.link.is_ready();
            self.leftover = !empty;
            self.unsettled = ready || (!empty && self.has_room());
            if !self.unsettled || budget == 0 {
                return;
            }
        }
    }

    /// Handles messages that libdbus has read; `true` when none is left.
    fn pump(&mut self, now: Time, budget: &mut usize) -> bool {
        while *budget > 0 && self.has_room() {
            let Some(message) = self.link.pop() else { return true };
            *budget -= 1;
            self.handle(now, &message);
        }
        false
    }

    /// The connection is gone: answers that arrived before still count, the rest does not.
    fn last_words(&mut self, now: Time) {
        while let Some(message) = self.link.pop() {
            if matches!(message.msg_type(), MessageType::MethodReturn | MessageType::Error) {
                self.answered(now, &message);
            }
        }
    }

    fn handle(&mut self, now: Time, message: &Message) {
        // Other types do not reach us: dbus-daemon and dbus-broker both refuse them.
        match message.msg_type() {
            MessageType::MethodReturn | MessageType::Error => self.answered(now, message),
            MessageType::Signal => self.signalled(now, message),
            MessageType::MethodCall => self.called(now, message),
        }
    }

    fn answered(&mut self, now: Time, message: &Message) {
        let Some(serial) = message.get_reply_serial() else { return };
        let Some(token) = self.serials.remove(&serial) else { return };
        self.step(now, Input::Replied(token, outcome(message)));
    }

    fn signalled(&mut self, now: Time, message: &Message) {
        let (Some(sender), Some(path)) = (message.sender(), message.path()) else { return };
        let (Some(interface), Some(member)) = (message.interface(), message.member()) else {
            return;
        };
        if &*sender == BUS_NAME && &*interface == BUS_NAME {
            let args = wire::read(message).unwrap_or_default();
            let input = match &*member {
                "NameOwnerChanged" => {
                    <(String, String, String)>::from_values(args).map(|(name, _, owner)| {
                        let owner = (!owner.is_empty()).then_some(owner);
                        Input::OwnerChanged { name, owner }
                    })
                }
                "NameLost" => <(String,)>::from_values(args).map(|(name,)| Input::NameLost(name)),
                _ => None,
            };
            if let Some(input) = input {
                self.step(now, input);
            }
        }
        if self.machine.wants(&sender, &path, &interface, &member) {
            match wire::read(message) {
                Some(args) => self.tell(Event::Signal(Received {
                    sender: sender.to_string(),
                    path: path.to_string(),
                    interface: interface.to_string(),
                    member: member.to_string(),
                    args,
                })),
                None => log::debug!("signal {interface}.{member} is of an unsupported type"),
            }
        }
    }

    fn called(&mut self, now: Time, message: &Message) {
        let (Some(sender), Some(path)) = (message.sender(), message.path()) else { return };
        let Some(member) = message.member() else { return };
        let (sender, interface) = (sender.to_string(), message.interface());
        let reply_to = ReplyTo::of(message);
        let header = Header {
            path: &path,
            interface: interface.as_deref(),
            member: &member,
            signature: &wire::signature(message),
        };
        match self.directory.route(header, || wire::read(message)) {
            Route::Answer(values) => self.answer(reply_to.as_ref(), &values),
            Route::Refuse { name, text } => self.refuse(reply_to.as_ref(), name, &text),
            Route::Deliver { path, interface, operation, access, outputs } => {
                if self.is_flooded_by(&sender) {
                    let text = "too many calls wait for an answer";
                    return self.refuse(reply_to.as_ref(), error::LIMITS_EXCEEDED, text);
                }
                let id = self.next_call;
                self.next_call += 1;
                let call =
                    Call { id: CallId(id), sender: sender.clone(), path, interface, operation };
                let mut serving = Serving { sender: sender.clone(), reply_to, outputs, held: None };
                match access {
                    Access::Anyone => self.tell(Event::Call(call)),
                    Access::Root => serving.held = Some(call),
                }
                self.serving.insert(id, serving);
                if access == Access::Root {
                    let mut actions = Vec::new();
                    self.machine.judge(now, id, sender, &mut actions);
                    let inputs: Vec<Input> =
                        actions.into_iter().filter_map(|action| self.act(action)).collect();
                    inputs.into_iter().for_each(|input| self.step(now, input));
                }
            }
        }
    }

    fn is_flooded_by(&self, sender: &str) -> bool {
        self.serving.len() >= SERVING_MAX
            || self.serving.values().filter(|serving| serving.sender == sender).count()
                >= SERVING_PER_SENDER_MAX
    }

    /// The bus has told who the caller is, or could not.
    fn judged(&mut self, call: u64, uid: Option<u32>) {
        let Some(serving) = self.serving.get_mut(&call) else { return };
        let Some(held) = serving.held.take() else { return };
        let own = rustix::process::geteuid().as_raw();
        if uid.is_some_and(|uid| uid == 0 || uid == own) {
            self.tell(Event::Call(held));
        } else {
            let text = "only the superuser may do this";
            self.fail(CallId(call), error::ACCESS_DENIED, text);
        }
    }
}

impl From<Unsendable> for CallError {
    fn from(reason: Unsendable) -> Self {
        match reason {
            Unsendable::Malformed => Self::Malformed,
            Unsendable::TooLarge => Self::TooLarge,
        }
    }
}

/// What an answer says.
pub(super) fn outcome(message: &Message) -> Result<Vec<Value>, CallError> {
    match message.read_all::<()>() {
        Ok(()) => wire::read(message).ok_or(CallError::Unreadable),
        Err(error) => Err(CallError::Remote {
            name: error.name().unwrap_or_default().to_owned(),
            text: error.message().unwrap_or_default().to_owned(),
        }),
    }
}

/// A call to the bus itself.
pub(super) fn request_of(ask: &Ask) -> Request {
    const DO_NOT_QUEUE: u32 = 4;
    let request =
        |member, args| Request::new(BUS_NAME, "/org/freedesktop/DBus", BUS_NAME, member).with(args);
    match ask {
        Ask::Hello => request("Hello", Vec::new()),
        Ask::AddMatch(rule) => request("AddMatch", (rule.clone(),).into_values()),
        Ask::RequestName(name) => {
            request("RequestName", ((*name).to_owned(), DO_NOT_QUEUE).into_values())
        }
        Ask::GetNameOwner(name) => request("GetNameOwner", ((*name).to_owned(),).into_values()),
        Ask::GetConnectionUnixUser(name) => {
            request("GetConnectionUnixUser", (name.clone(),).into_values())
        }
    }
}
