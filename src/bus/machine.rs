// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of one connection: when to connect, what to ask the bus first, who owns which name,
//! which call is overdue.
//!
//! Owns the reconnect back-off, the deadlines of calls, the ownership of our name and the owners of
//! the watched ones. Sockets, messages and serial numbers are left to [`super::link`] and
//! [`super::Bus`]. Pure: time is an argument, and nothing here blocks.
//!
//! Invariants: every token that was begun is ended by exactly one event or forgotten with the
//! connection after its event; a name has an owner only while the connection is up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::value::{Args, Value};
use super::{CallError, Event, Match, Refusal};
use crate::backoff::Backoff;
use crate::time::Time;

/// The waits before the attempts to connect again; the last one repeats.
pub const RECONNECT_STEPS: &[Duration] = &[
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// Calls of ours that may await their answer at a time.
pub const CALLS_MAX: usize = 256;

/// How long the bus may take to tell who a caller is.
pub const CREDENTIALS_WAIT_MAX: Duration = Duration::from_secs(5);

/// The name, and the only unique name without a colon, of the bus itself.
pub(super) const BUS_NAME: &str = "org.freedesktop.DBus";

/// Names one call of ours. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

/// A call to the bus itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ask {
    Hello,
    AddMatch(String),
    RequestName(&'static str),
    GetNameOwner(&'static str),
    GetConnectionUnixUser(String),
}

/// What the shell must do next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Connect in the background; answer with [`Input::Opened`] or [`Input::OpenFailed`].
    Open,
    /// Drop the connection; no answer.
    Close,
    /// Send a call to the bus; answer with [`Input::Replied`].
    Ask(Token, Ask),
    /// The answer to this token is no longer wanted.
    Forget(Token),
    /// Tell the program.
    Tell(Event),
    /// The caller of the incoming call `call` is the user `uid`, if that is known.
    Judge { call: u64, uid: Option<u32> },
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Input {
    /// Time passed.
    Wake,
    /// The socket is connected.
    Opened,
    /// It could not be.
    OpenFailed,
    /// The connection is gone.
    Lost,
    /// A call was answered, or could not be sent.
    Replied(Token, Result<Vec<Value>, CallError>),
    /// The bus says that a name changed hands.
    OwnerChanged { name: String, owner: Option<String> },
    /// The bus says that we lost a name.
    NameLost(String),
    /// The program wants this name from now on.
    Own(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { until: Time },
    Opening,
    Greeting,
    Up,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Hello,
    Match,
    Name,
    Owner(&'static str),
    Judge(u64),
    App,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    purpose: Purpose,
    deadline: Option<Time>,
}

/// What is known of a name that we follow.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    /// Nothing: not connected, or not yet answered.
    Unknown,
    Nobody,
    Unique(String),
}

impl Owner {
    fn unique(&self) -> Option<&str> {
        match self {
            Self::Unique(name) => Some(name),
            Self::Unknown | Self::Nobody => None,
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Machine {
    state: State,
    backoff: Backoff,
    unique_name: Option<String>,
    own_name: Option<&'static str>,
    owned: bool,
    matches: &'static [Match],
    /// The names whose owners we follow.
    owners: BTreeMap<&'static str, Owner>,
    pending: BTreeMap<Token, Pending>,
    next_token: u64,
}

impl Machine {
    pub(super) fn new(
        own_name: Option<&'static str>,
        watch_names: &[&'static str],
        matches: &'static [Match],
    ) -> Self {
        let senders =
            matches.iter().filter_map(|rule| rule.sender).filter(|name| *name != BUS_NAME);
        let followed = watch_names.iter().copied().chain(senders);
        Self {
            state: State::Closed { until: Time::ZERO },
            backoff: Backoff::new(RECONNECT_STEPS),
            unique_name: None,
            own_name,
            owned: false,
            matches,
            owners: followed.map(|name| (name, Owner::Unknown)).collect(),
            pending: BTreeMap::new(),
            next_token: 1,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    pub(super) fn unique_name(&self) -> Option<&str> {
        self.unique_name.as_deref()
    }

    /// Whether the bus has given us the name we want.
    pub(super) fn owns_name(&self) -> bool {
        self.owned
    }

    /// Begins a call of the program; `None` while not connected, `Busy` at the limit.
    pub(super) fn begin(&mut self, deadline: Time) -> Result<Token, CallError> {
        let ours = self.pending.values().filter(|pending| pending.purpose == Purpose::App).count();
        match self.state {
            State::Up if ours < CALLS_MAX => Ok(self.token(Purpose::App, Some(deadline))),
            State::Up => Err(CallError::Busy),
            _ => Err(CallError::Disconnected),
        }
    }

    /// A token for a call that failed before it began.
    pub(super) fn stillborn(&mut self) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        token
    }

    /// Asks the bus who `sender` is, on behalf of the incoming call `call`.
    pub(super) fn judge(&mut self, now: Time, call: u64, sender: String, out: &mut Vec<Action>) {
        let token = self.token(Purpose::Judge(call), Some(now + CREDENTIALS_WAIT_MAX));
        out.push(Action::Ask(token, Ask::GetConnectionUnixUser(sender)));
    }

    /// Whether a signal is one that the program asked for. A rule that names a sender is only
    /// satisfied by the present owner of that name: anyone can address a signal to us directly.
    pub(super) fn wants(&self, sender: &str, path: &str, interface: &str, member: &str) -> bool {
        let from = |rule: &Match| match rule.sender {
            None => true,
            Some(BUS_NAME) => sender == BUS_NAME,
            Some(name) => self.owners.get(name).and_then(Owner::unique) == Some(sender),
        };
        self.matches.iter().any(|rule| {
            from(rule)
                && rule.path.is_none_or(|wanted| wanted == path)
                && rule.interface == interface
                && rule.member.is_none_or(|wanted| wanted == member)
        })
    }

    /// When to come back with [`Input::Wake`].
    pub(super) fn next_wake(&self) -> Option<Time> {
        let reconnect = match self.state {
            State::Closed { until } => Some(until),
            _ => None,
        };
        self.pending.values().filter_map(|pending| pending.deadline).chain(reconnect).min()
    }

    /// Feeds one input; pushes what the shell must do.
    pub(super) fn step(&mut self, now: Time, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Wake => self.wake(now, out),
            Input::Opened if self.state == State::Opening => {
                self.state = State::Greeting;
                self.ask(Purpose::Hello, Ask::Hello, out);
            }
            Input::OpenFailed if self.state == State::Opening => self.wait(now),
            Input::Lost => self.lost(now, out),
            Input::Replied(token, result) => self.replied(now, token, result, out),
            Input::OwnerChanged { name, owner } => self.owner_changed(&name, owner, out),
            Input::NameLost(name) => {
                if self.owned && self.own_name == Some(name.as_str()) {
                    self.owned = false;
                    out.push(Action::Tell(Event::NameLost));
                }
            }
            Input::Own(name) => {
                // A name once asked for is kept: there is no case for giving one back.
                if self.own_name.is_none() {
                    self.own_name = Some(name);
                    if self.state == State::Up {
                        self.claim(name, out);
                    }
                }
            }
            Input::Opened | Input::OpenFailed => {}
        }
    }

    fn wake(&mut self, now: Time, out: &mut Vec<Action>) {
        if matches!(self.state, State::Closed { until } if until <= now) {
            self.state = State::Opening;
            out.push(Action::Open);
        }
        let late = |pending: &Pending| pending.deadline.is_some_and(|deadline| deadline <= now);
        let overdue: Vec<Token> =
            self.pending.iter().filter(|(_, p)| late(p)).map(|(token, _)| *token).collect();
        for token in overdue {
            out.push(Action::Forget(token));
            self.replied(now, token, Err(CallError::TimedOut), out);
        }
    }

    fn wait(&mut self, now: Time) {
        self.state = State::Closed { until: now + self.backoff.next() };
    }

    fn lost(&mut self, now: Time, out: &mut Vec<Action>) {
        let was_up = match self.state {
            State::Closed { .. } | State::Opening => return,
            State::Greeting => false,
            State::Up => true,
        };
        self.wait(now);
        out.push(Action::Close);
        self.unique_name = None;
        self.owned = false;
        for (token, pending) in std::mem::take(&mut self.pending) {
            match pending.purpose {
                Purpose::App => {
                    let result = Err(CallError::Disconnected);
                    out.push(Action::Tell(Event::Reply { token, result }));
                }
                Purpose::Judge(call) => out.push(Action::Judge { call, uid: None }),
                _ => {}
            }
        }
        for (name, owner) in &mut self.owners {
            if std::mem::replace(owner, Owner::Unknown).unique().is_some() {
                out.push(Action::Tell(Event::OwnerChanged { name, owner: None }));
            }
        }
        if was_up {
            out.push(Action::Tell(Event::Down));
        }
    }

    fn replied(
        &mut self,
        now: Time,
        token: Token,
        result: Result<Vec<Value>, CallError>,
        out: &mut Vec<Action>,
    ) {
        let Some(Pending { purpose, .. }) = self.pending.remove(&token) else { return };
        match purpose {
            Purpose::App => out.push(Action::Tell(Event::Reply { token, result })),
            Purpose::Hello => match result.ok().and_then(<(String,)>::from_values) {
                Some((name,)) => self.up(name, out),
                None => self.lost(now, out),
            },
            Purpose::Match => {
                if let Err(error) = result {
                    log::warn!("the message bus refuses a subscription: {error}");
                }
            }
            Purpose::Name => self.name_answered(result, out),
            Purpose::Owner(name) => {
                // An error means that nobody owns it.
                let owner = result.ok().and_then(<(String,)>::from_values).map(|(owner,)| owner);
                self.owner_known(name, owner, out);
            }
            Purpose::Judge(call) => {
                let uid = result.ok().and_then(<(u32,)>::from_values).map(|(uid,)| uid);
                out.push(Action::Judge { call, uid });
            }
        }
    }

    /// The connection is usable: subscribe first, then look, so that no change is missed.
    fn up(&mut self, unique_name: String, out: &mut Vec<Action>) {
        self.state = State::Up;
        self.backoff.reset();
        self.unique_name = Some(unique_name);
        out.push(Action::Tell(Event::Up));
        for rule in self.matches {
            self.ask(Purpose::Match, Ask::AddMatch(rule.text()), out);
        }
        for name in self.owners.keys().copied().collect::<Vec<_>>() {
            self.ask(Purpose::Match, Ask::AddMatch(owner_rule(name)), out);
            self.ask(Purpose::Owner(name), Ask::GetNameOwner(name), out);
        }
        if let Some(name) = self.own_name {
            self.claim(name, out);
        }
    }

    /// Asks for our name, and to be told when it changes hands.
    fn claim(&mut self, name: &'static str, out: &mut Vec<Action>) {
        self.ask(Purpose::Match, Ask::AddMatch(owner_rule(name)), out);
        self.ask(Purpose::Name, Ask::RequestName(name), out);
    }

    fn name_answered(&mut self, result: Result<Vec<Value>, CallError>, out: &mut Vec<Action>) {
        const PRIMARY_OWNER: u32 = 1;
        const ALREADY_OWNER: u32 = 4;
        let event = match result.map(<(u32,)>::from_values) {
            Ok(Some((PRIMARY_OWNER | ALREADY_OWNER,))) if self.owned => return,
            Ok(Some((PRIMARY_OWNER | ALREADY_OWNER,))) => {
                self.owned = true;
                Event::NameAcquired
            }
            Ok(_) => Event::NameRefused(Refusal::Taken),
            Err(error) => Event::NameRefused(Refusal::Denied(error)),
        };
        out.push(Action::Tell(event));
    }

    fn owner_changed(&mut self, name: &str, owner: Option<String>, out: &mut Vec<Action>) {
        if self.state != State::Up {
            return;
        }
        if let Some(own) = self.own_name.filter(|own| *own == name) {
            if owner.is_none() && !self.owned {
                self.ask(Purpose::Name, Ask::RequestName(own), out);
            }
        }
        if let Some(name) = self.owners.keys().copied().find(|known| *known == name) {
            self.owner_known(name, owner, out);
        }
    }

    fn owner_known(&mut self, name: &'static str, owner: Option<String>, out: &mut Vec<Action>) {
        let Some(known) = self.owners.get_mut(name) else { return };
        let new = owner.clone().map_or(Owner::Nobody, Owner::Unique);
        if *known == new {
            return;
        }
        // A name handed on directly: the old owner vanishes, then the new one appears.
        if known.unique().is_some() && owner.is_some() {
            out.push(Action::Tell(Event::OwnerChanged { name, owner: None }));
        }
        *known = new;
        out.push(Action::Tell(Event::OwnerChanged { name, owner }));
    }

    fn ask(&mut self, purpose: Purpose, ask: Ask, out: &mut Vec<Action>) {
        let token = self.token(purpose, None);
        out.push(Action::Ask(token, ask));
    }

    fn token(&mut self, purpose: Purpose, deadline: Option<Time>) -> Token {
        let token = self.stillborn();
        self.pending.insert(token, Pending { purpose, deadline });
        token
    }
}

/// The match rule for the owner of `name`.
fn owner_rule(name: &str) -> String {
    format!(
        "type='signal',sender='{BUS_NAME}',path='/org/freedesktop/DBus',interface='{BUS_NAME}',\
         member='NameOwnerChanged',arg0='{name}'"
    )
}
