// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What happens to our own calls, and to the names we own and watch.

use super::*;

#[test]
fn a_call_that_is_not_answered_in_time_ends_and_its_late_answer_is_dropped() {
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    let request = echo("Echo", ("x".to_owned(),).into_values());
    let token = buses[1].call(&request, Time::monotonic() + Duration::from_millis(50));
    let (mut held, mut result) = (None, None);
    let turns = run(&mut buses, |_, event, _| {
        match event {
            Event::Call(call) => held = Some(call.clone()),
            Event::Reply { token: ended, result: with } => {
                assert_eq!(*ended, token);
                result = Some(with.clone());
            }
            _ => {}
        }
        held.is_some() && result.is_some()
    });
    assert_eq!(result, Some(Err(CallError::TimedOut)));
    assert!(turns < 20, "{turns} turns: it does not wait, it spins");
    serve(&mut buses[0], &held.expect("the call"));
    let next = buses[1].call(&request, soon());
    let mut replies = Vec::new();
    run(&mut buses, |index, event, buses| {
        match event {
            Event::Call(call) => serve(&mut buses[index], call),
            Event::Reply { token, .. } => replies.push(*token),
            _ => {}
        }
        !replies.is_empty()
    });
    assert_eq!(replies, [next]);
}

#[test]
fn a_call_that_cannot_be_made_ends_at_once() {
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    let huge = Value::Bytes(vec![0; BODY_LEN_MAX + 1]);
    let mut fails = |request: Request| {
        let token = buses[1].call(&request, soon());
        answer(&mut buses, token).expect_err("a failure")
    };
    assert_eq!(fails(Request::new("no name", PATH, ECHO, "Echo")), CallError::Malformed);
    assert_eq!(fails(Request::new(ECHO, "no path", ECHO, "Echo")), CallError::Malformed);
    assert_eq!(fails(Request::new(ECHO, PATH, "nodots", "Echo")), CallError::Malformed);
    assert_eq!(fails(Request::new(ECHO, PATH, ECHO, "Ec\0ho")), CallError::Malformed);
    assert_eq!(fails(echo("Echo", vec![Value::Struct(vec![])])), CallError::Malformed);
    assert_eq!(fails(echo("Bytes", vec![huge])), CallError::TooLarge);
    let absent = fails(Request::new("org.example.Nobody", PATH, ECHO, "Echo"));
    assert!(absent.is_absent() && !absent.is_denied(), "{absent}");
    let mut alone = [caller(&Daemon::absent())];
    let token = alone[0].call(&echo("List", vec![]), soon());
    assert_eq!(answer(&mut alone, token), Err(CallError::Disconnected));
}

#[test]
fn the_standard_errors_are_told_apart() {
    const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    let mut name_of = |request: Request| {
        let token = buses[1].call(&request, soon());
        match answer(&mut buses, token) {
            Err(CallError::Remote { name, .. }) => name,
            other => panic!("{other:?}"),
        }
    };
    let set = |interface: &str, name: &str, value| {
        let args = (interface.to_owned(), name.to_owned(), value).into_values();
        Request::new(ECHO, PATH, PROPERTIES, "Set").with(args)
    };
    let debug = "org.example.Echo.Debug";
    assert_eq!(name_of(Request::new(ECHO, "/else", ECHO, "Echo")), error::UNKNOWN_OBJECT);
    assert_eq!(name_of(Request::new(ECHO, PATH, "a.b", "Echo")), error::UNKNOWN_INTERFACE);
    assert_eq!(name_of(echo("Ohce", vec![])), error::UNKNOWN_METHOD);
    assert_eq!(name_of(echo("Echo", vec![])), error::INVALID_ARGS);
    assert_eq!(name_of(echo("Echo", vec![Value::Uint32(1)])), error::INVALID_ARGS);
    assert_eq!(name_of(set(debug, "Level", Value::Bool(true))), error::PROPERTY_READ_ONLY);
    assert_eq!(name_of(set(debug, "Nothing", Value::Bool(true))), error::UNKNOWN_PROPERTY);
    assert_eq!(name_of(set("a.b", "Trace", Value::Bool(true))), error::UNKNOWN_INTERFACE);
    assert_eq!(name_of(set(debug, "Trace", Value::Byte(1))), error::INVALID_ARGS);
}

#[test]
fn a_second_owner_is_refused_and_gets_the_name_when_the_first_is_gone() {
    let daemon = Daemon::new();
    let [first, watcher] = pair(&daemon);
    let first_name = first.unique_name().expect("a name").to_owned();
    let mut buses = vec![server(&daemon), watcher, first];
    run(&mut buses, |index, event, _| {
        assert_ne!((index, event), (0, &Event::NameAcquired));
        (index, event) == (0, &Event::NameRefused(Refusal::Taken))
    });
    drop(buses.pop());
    let mut owners = Vec::new();
    run(&mut buses, |index, event, buses| {
        if let (1, Event::OwnerChanged { name: ECHO, owner }) = (index, event) {
            owners.push(owner.clone());
        }
        buses[0].owns_name() && owners.len() == 2
    });
    assert_eq!(owners, [None, buses[0].unique_name().map(str::to_owned)]);
    assert_ne!(owners[1], Some(first_name));
}

#[test]
fn a_name_may_be_asked_for_later_and_may_be_denied() {
    let deny = "<policy context=\"mandatory\"><deny own=\"org.example.Denied\"/></policy>";
    let daemon = Daemon::with(deny);
    let mut buses = [Bus::new(&config(&daemon)).expect("a connection")];
    run(&mut buses, |_, event, _| *event == Event::Up);
    assert!(!buses[0].owns_name());
    buses[0].own_name(Time::monotonic(), "org.example.Late");
    run(&mut buses, |_, event, _| *event == Event::NameAcquired);
    assert!(buses[0].owns_name());

    let denied = Config { own_name: Some("org.example.Denied"), ..config(&daemon) };
    let mut buses = [Bus::new(&denied).expect("a connection")];
    run(&mut buses, |_, event, _| match event {
        Event::NameRefused(Refusal::Denied(error)) => {
            assert!(error.is_denied(), "{error}");
            true
        }
        _ => false,
    });
}

#[test]
fn a_watched_name_without_an_owner_is_told_once() {
    let daemon = Daemon::new();
    let mut buses = [caller(&daemon)];
    let mut told = Vec::new();
    run(&mut buses, |_, event, _| {
        if let Event::OwnerChanged { owner, .. } = event {
            told.push(owner.clone());
        }
        !told.is_empty()
    });
    let token = buses[0].ask_uid("org.freedesktop.DBus", soon());
    run(&mut buses, |_, event, _| match event {
        Event::OwnerChanged { .. } => panic!("told twice"),
        Event::Reply { token: ended, .. } => *ended == token,
        _ => false,
    });
    assert_eq!(told, [None]);
}
