// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machine alone: no bus, no clock.

use super::super::machine::{Action, Ask, Input, Machine};
use super::*;

const AT: fn(u64) -> Time = |seconds| Time::from_nanos(seconds * 1_000_000_000);

struct Bench {
    machine: Machine,
    out: Vec<Action>,
}

impl Bench {
    fn new(own_name: Option<&'static str>) -> Self {
        Self { machine: Machine::new(own_name, &["org.example.Peer"], &SIGNALS), out: vec![] }
    }

    fn step(&mut self, now: Time, input: Input) -> Vec<Action> {
        self.machine.step(now, input, &mut self.out);
        std::mem::take(&mut self.out)
    }

    fn answer(&mut self, token: Token, values: Vec<Value>) -> Vec<Action> {
        self.step(AT(0), Input::Replied(token, Ok(values)))
    }

    /// Connects and answers the greeting; what the machine asks then.
    fn up(&mut self, now: Time) -> Vec<Action> {
        assert_eq!(self.step(now, Input::Wake), [Action::Open]);
        let hello = asked(&self.step(now, Input::Opened), &Ask::Hello);
        self.answer(hello, (":1.7".to_owned(),).into_values())
    }

    fn owner(&mut self, name: &str, owner: Option<&str>) -> Vec<Action> {
        let owner = owner.map(str::to_owned);
        self.step(AT(0), Input::OwnerChanged { name: name.to_owned(), owner })
    }
}

/// The token of the one question `ask` among `actions`.
fn asked(actions: &[Action], ask: &Ask) -> Token {
    let tokens: Vec<Token> = (actions.iter())
        .filter_map(|action| match action {
            Action::Ask(token, asked) if asked == ask => Some(*token),
            _ => None,
        })
        .collect();
    assert_eq!(tokens.len(), 1, "{ask:?} in {actions:?}");
    tokens[0]
}

fn told(actions: &[Action]) -> Vec<Event> {
    (actions.iter())
        .filter_map(|action| match action {
            Action::Tell(event) => Some(event.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_bus_that_is_absent_is_tried_ever_more_slowly() {
    let (mut bench, mut now) = (Bench::new(None), Time::ZERO);
    for seconds in [1, 2, 5, 10, 30, 30] {
        assert_eq!(bench.step(now, Input::Wake), [Action::Open]);
        assert_eq!(bench.machine.next_wake(), None, "one attempt at a time");
        assert_eq!(bench.step(now, Input::Wake), []);
        assert_eq!(bench.step(now, Input::OpenFailed), []);
        let wake = bench.machine.next_wake().expect("it tries again");
        assert_eq!(now.until(wake), Duration::from_secs(seconds));
        now = wake;
    }
    bench.up(now);
    bench.step(now, Input::Lost);
    assert_eq!(bench.machine.next_wake(), Some(now + Duration::from_secs(1)), "a success resets");
}

#[test]
fn a_refused_greeting_is_a_failed_attempt_without_events() {
    let mut bench = Bench::new(None);
    bench.step(AT(0), Input::Wake);
    let hello = asked(&bench.step(AT(0), Input::Opened), &Ask::Hello);
    let actions = bench.step(AT(3), Input::Replied(hello, Err(CallError::Unreadable)));
    assert_eq!(actions, [Action::Close]);
    assert_eq!(bench.machine.next_wake(), Some(AT(4)));
    assert_eq!(bench.step(AT(4), Input::Wake), [Action::Open]);
    bench.step(AT(4), Input::Opened);
    assert_eq!(bench.step(AT(5), Input::Lost), [Action::Close]);
    assert_eq!(bench.machine.next_wake(), Some(AT(7)));
}

#[test]
fn after_the_greeting_it_subscribes_before_it_looks() {
    let mut bench = Bench::new(Some(ECHO));
    let actions = bench.up(AT(0));
    assert_eq!(told(&actions), [Event::Up]);
    assert!(bench.machine.is_up() && bench.machine.unique_name() == Some(":1.7"));
    let position = |wanted: &dyn Fn(&Ask) -> bool| {
        (actions.iter().position(|a| matches!(a, Action::Ask(_, ask) if wanted(ask))))
            .expect("asked")
    };
    for name in ["org.example.Peer", ECHO] {
        let rule = format!("arg0='{name}'");
        let subscribed =
            position(&|ask| matches!(ask, Ask::AddMatch(text) if text.contains(&rule)));
        assert!(subscribed < position(&|ask| *ask == Ask::GetNameOwner(name)));
    }
    let rules = actions.iter().filter(|a| matches!(a, Action::Ask(_, Ask::AddMatch(_)))).count();
    assert_eq!(rules, SIGNALS.len() + 2 + 1, "signals, watched names, and our own");
    asked(&actions, &Ask::RequestName(ECHO));
}

#[test]
fn our_name_is_taken_refused_lost_and_asked_for_again() {
    let mut bench = Bench::new(Some("org.example.Own"));
    let own = Ask::RequestName("org.example.Own");
    let request = asked(&bench.up(AT(0)), &own);
    let (owner, exists) = (|| (1_u32,).into_values(), (3_u32,).into_values());
    assert_eq!(told(&bench.answer(request, exists)), [Event::NameRefused(Refusal::Taken)]);
    assert!(!bench.machine.owns_name());
    assert_eq!(bench.owner("org.example.Own", Some(":1.3")), []);
    let request = asked(&bench.owner("org.example.Own", None), &own);
    assert_eq!(told(&bench.answer(request, owner())), [Event::NameAcquired]);
    assert!(bench.machine.owns_name());
    assert_eq!(bench.owner("org.example.Own", None), [], "we own it: stale news");

    assert_eq!(bench.step(AT(0), Input::NameLost(":1.7".to_owned())), []);
    let lost = || Input::NameLost("org.example.Own".to_owned());
    assert_eq!(told(&bench.step(AT(0), lost())), [Event::NameLost]);
    assert_eq!(bench.step(AT(0), lost()), []);
    let request = asked(&bench.owner("org.example.Own", None), &own);
    let denied =
        || CallError::Remote { name: error::ACCESS_DENIED.to_owned(), text: String::new() };
    let actions = bench.step(AT(0), Input::Replied(request, Err(denied())));
    assert_eq!(told(&actions), [Event::NameRefused(Refusal::Denied(denied()))]);
}

#[test]
fn a_name_is_asked_for_when_the_program_wants_it() {
    let mut bench = Bench::new(None);
    let own = || Input::Own("org.example.Own");
    assert_eq!(bench.step(AT(0), own()), [], "not connected yet");
    asked(&bench.up(AT(0)), &Ask::RequestName("org.example.Own"));
    assert_eq!(bench.step(AT(0), own()), [], "once is enough");
    let mut bench = Bench::new(None);
    bench.up(AT(0));
    asked(&bench.step(AT(0), own()), &Ask::RequestName("org.example.Own"));
}

#[test]
fn owners_are_told_once_and_for_each_change() {
    let name = "org.example.Peer";
    let event = |owner: Option<&str>| Event::OwnerChanged { name, owner: owner.map(str::to_owned) };
    let mut bench = Bench::new(None);
    let query = asked(&bench.up(AT(0)), &Ask::GetNameOwner(name));
    assert_eq!(told(&bench.owner(name, Some(":1.4"))), [event(Some(":1.4"))], "before the answer");
    assert_eq!(bench.answer(query, (":1.4".to_owned(),).into_values()), []);
    assert_eq!(bench.owner("org.example.Stranger", Some(":1.5")), []);
    assert_eq!(told(&bench.owner(name, Some(":1.6"))), [event(None), event(Some(":1.6"))]);
    assert_eq!(told(&bench.owner(name, None)), [event(None)]);
    assert_eq!(bench.owner(name, None), []);
    assert_eq!(told(&bench.step(AT(0), Input::Lost)), [Event::Down], "nobody owned it");
    assert_eq!(bench.owner(name, Some(":1.4")), [], "news of the old connection");

    let query = asked(&bench.up(AT(9)), &Ask::GetNameOwner(name));
    let nobody = Input::Replied(query, Err(CallError::Unreadable));
    assert_eq!(told(&bench.step(AT(9), nobody)), [event(None)]);
}

#[test]
fn signals_are_taken_from_the_present_owner_only() {
    let mut bench = Bench::new(None);
    let wants = |bench: &Bench, sender: &str| bench.machine.wants(sender, PATH, ECHO, "Said");
    bench.up(AT(0));
    assert!(!wants(&bench, ":1.4"), "its owner is not known");
    bench.owner(ECHO, Some(":1.4"));
    assert!(wants(&bench, ":1.4") && !wants(&bench, ":1.5"));
    assert!(!bench.machine.wants(":1.4", "/else", ECHO, "Said"));
    assert!(!bench.machine.wants(":1.4", PATH, "org.example.Else", "Said"));
    assert!(bench.machine.wants(":1.4", "/else", "org.freedesktop.DBus.Properties", "Any"));
    bench.step(AT(0), Input::Lost);
    assert!(!wants(&bench, ":1.4"));

    static ANYONE: [Match; 2] = [
        Match { sender: None, path: None, interface: "a.b", member: Some("C") },
        Match { sender: Some("org.freedesktop.DBus"), path: None, interface: "a.d", member: None },
    ];
    let machine = Machine::new(None, &[], &ANYONE);
    assert!(machine.wants(":1.9", "/", "a.b", "C") && !machine.wants(":1.9", "/", "a.b", "D"));
    assert!(machine.wants("org.freedesktop.DBus", "/", "a.d", "C"));
    assert!(!machine.wants(":1.9", "/", "a.d", "C"));
    assert_eq!(ANYONE[0].text(), "type='signal',interface='a.b',member='C'");
    assert_eq!(
        SIGNALS[0].text(),
        format!("type='signal',interface='{ECHO}',sender='{ECHO}',path='{PATH}'")
    );
}

#[test]
fn calls_end_at_their_deadline_in_any_order_and_once() {
    let mut bench = Bench::new(None);
    assert_eq!(bench.machine.begin(AT(1)), Err(CallError::Disconnected));
    bench.up(AT(0));
    let early = bench.machine.begin(AT(2)).expect("room");
    let late = bench.machine.begin(AT(9)).expect("room");
    let done = bench.machine.begin(AT(2)).expect("room");
    let reply = |token, result| Event::Reply { token, result };
    assert_eq!(told(&bench.answer(done, vec![])), [reply(done, Ok(vec![]))]);
    assert_eq!(bench.machine.next_wake(), Some(AT(2)));
    assert_eq!(bench.step(AT(1), Input::Wake), []);
    let actions = bench.step(AT(2), Input::Wake);
    assert_eq!(actions[0], Action::Forget(early));
    assert_eq!(told(&actions), [reply(early, Err(CallError::TimedOut))]);
    assert_eq!(bench.answer(early, vec![]), [], "too late");
    let actions = bench.step(AT(3), Input::Lost);
    assert_eq!(told(&actions), [reply(late, Err(CallError::Disconnected)), Event::Down]);
    assert_eq!(bench.step(AT(3), Input::Lost), []);
}

#[test]
fn the_number_of_pending_calls_is_limited() {
    let mut bench = Bench::new(None);
    bench.up(AT(0));
    let tokens: Vec<_> = (0..CALLS_MAX).map(|_| bench.machine.begin(AT(1))).collect();
    assert_eq!(bench.machine.begin(AT(1)), Err(CallError::Busy));
    bench.answer(tokens[0].clone().expect("room"), vec![]);
    assert!(bench.machine.begin(AT(1)).is_ok());
    assert_eq!(told(&bench.step(AT(1), Input::Wake)).len(), CALLS_MAX);
}

#[test]
fn a_caller_is_judged_by_the_answer_of_the_bus_or_not_at_all() {
    let mut bench = Bench::new(None);
    bench.up(AT(0));
    let mut judge = |call| {
        let mut out = vec![];
        bench.machine.judge(AT(0), call, ":1.4".to_owned(), &mut out);
        asked(&out, &Ask::GetConnectionUnixUser(":1.4".to_owned()))
    };
    let (root, text, _lost) = (judge(1), judge(2), judge(3));
    assert_eq!(bench.machine.next_wake(), Some(Time::ZERO + CREDENTIALS_WAIT_MAX));
    let known = bench.answer(root, (0_u32,).into_values());
    assert_eq!(known, [Action::Judge { call: 1, uid: Some(0) }]);
    let unknown = bench.answer(text, ("root".to_owned(),).into_values());
    assert_eq!(unknown, [Action::Judge { call: 2, uid: None }]);
    let lost = bench.step(AT(1), Input::Lost);
    assert!(lost.contains(&Action::Judge { call: 3, uid: None }), "{lost:?}");
}
