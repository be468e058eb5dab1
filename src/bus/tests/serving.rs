// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a server does for its callers, over a real bus.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use dbus::Message;
use dbus::channel::Channel;

use super::*;

/// A connection of somebody else.
fn stranger(daemon: &Daemon) -> Channel {
    let mut channel = Channel::open_private(&daemon.address_text()).expect("a bus");
    channel.register().expect("a name");
    channel
}

/// Sends messages; when this returns, the bus has passed them on.
fn send(from: &Channel, messages: Vec<Message>) {
    for message in messages {
        from.send(message).expect("sent");
    }
    let (bus, path) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");
    let ask = Message::method_call(&bus.into(), &path.into(), &bus.into(), &"GetId".into());
    from.send_with_reply_and_block(ask, PATIENCE).expect("an answer");
}

fn ping() -> Message {
    let peer = "org.freedesktop.DBus.Peer";
    Message::method_call(&ECHO.into(), &"/".into(), &peer.into(), &"Ping".into())
}

fn trace(value: bool) -> Request {
    let args = ("org.example.Echo.Debug".to_owned(), "Trace".to_owned(), Value::Bool(value));
    Request::new(ECHO, PATH, "org.freedesktop.DBus.Properties", "Set").with(args.into_values())
}

#[test]
fn an_echo_comes_back() {
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    assert!(buses[0].is_up() && buses[0].owns_name() && !buses[1].owns_name());
    assert!(buses[1].unique_name().is_some_and(|name| name.starts_with(":1.")));
    for text in ["", "hello", "grüße\u{1f980}"] {
        let token = buses[1].call(&echo("Echo", (text.to_owned(),).into_values()), soon());
        assert_eq!(answer(&mut buses, token), Ok((text.to_owned(),).into_values()));
    }
    let token = buses[1].call(&echo("Echo", ("a\0b".to_owned(),).into_values()), soon());
    assert_eq!(answer(&mut buses, token), Ok(("a\u{fffd}b".to_owned(),).into_values()));
}

#[test]
fn eight_megabytes_go_both_ways_in_many_short_turns() {
    const LEN: u32 = 8 << 20;
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    let bytes: Vec<u8> = (0..LEN).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[2]).collect();
    let token = buses[1].call(&echo("Bytes", (bytes.clone(),).into_values()), soon());
    let mut same = None;
    let turns = run(&mut buses, |index, event, buses| match event {
        Event::Call(call) => {
            serve(&mut buses[index], call);
            false
        }
        Event::Reply { token: ended, result } => {
            assert_eq!(*ended, token);
            same = result.clone().ok().and_then(<(Vec<u8>,)>::from_values);
            true
        }
        _ => false,
    });
    assert!(same == Some((bytes,)), "not the same bytes");
    assert!(turns > 20, "{turns} turns: a turn is not bounded");
}

#[test]
fn an_answer_may_come_much_later_and_in_any_order() {
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    let tokens: Vec<Token> = (0..3)
        .map(|n: u32| buses[1].call(&echo("Echo", (n.to_string(),).into_values()), soon()))
        .collect();
    let mut held = Vec::new();
    run(&mut buses, |_, event, _| {
        if let Event::Call(call) = event {
            held.push(call.clone());
        }
        held.len() == 3
    });
    for call in held.iter().rev() {
        serve(&mut buses[0], call);
        serve(&mut buses[0], call); // the second answer to one call is dropped
    }
    let mut order = Vec::new();
    run(&mut buses, |_, event, _| {
        if let Event::Reply { token, result } = event {
            assert!(result.is_ok(), "{result:?}");
            order.push(*token);
        }
        order.len() == 3
    });
    assert_eq!(order, tokens.into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn signals_reach_those_who_asked_and_must_fit_the_table() {
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    let args = ("hi".to_owned(), 3_u32).into_values();
    assert!(buses[0].emit(PATH, ECHO, "Said", &args));
    assert!(buses[0].emit(PATH, ECHO, "Gone", &[]));
    assert!(!buses[0].emit(PATH, ECHO, "Said", &[]), "wrong signature");
    assert!(!buses[0].emit(PATH, ECHO, "Unsaid", &[]), "not in the table");
    let mut names = Vec::new();
    let server = buses[0].unique_name().map(str::to_owned);
    run(&mut buses, |index, event, _| {
        if let Event::Signal(signal) = event {
            assert_eq!((index, signal.path.as_str(), signal.interface.as_str()), (1, PATH, ECHO));
            assert_eq!(Some(&signal.sender), server.as_ref());
            assert_eq!(signal.args.is_empty(), signal.member == "Gone");
            names.push(signal.member.clone());
        }
        names.len() == 2
    });
    assert_eq!(names, ["Said", "Gone"]);
}

#[test]
fn a_signal_from_an_impostor_is_dropped() {
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    // Addressed directly, so that no match rule of the bus stands in between.
    let mut forged = Message::signal(&PATH.into(), &ECHO.into(), &"Gone".into());
    forged.set_destination(buses[1].unique_name().map(Into::into));
    send(&stranger(&daemon), vec![forged]);
    assert!(buses[0].emit(PATH, ECHO, "Said", &("true".to_owned(), 1_u32).into_values()));
    let mut first = None;
    run(&mut buses, |_, event, _| {
        if let Event::Signal(signal) = event {
            first = Some(signal.member.clone());
        }
        first.is_some()
    });
    assert_eq!(first.as_deref(), Some("Said"));
}

#[test]
fn a_change_of_a_property_is_announced_once() {
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    let debug = "org.example.Echo.Debug";
    buses[0].publish(PATH, debug, "Level", Value::Str("INFO".to_owned())); // announces nothing
    buses[0].publish(PATH, debug, "Trace", Value::Bool(false));
    buses[0].publish(PATH, debug, "Trace", Value::Bool(false)); // no change
    buses[0].publish(PATH, debug, "Trace", Value::Str("no bool".to_owned())); // refused
    buses[0].publish(PATH, debug, "Trace", Value::Bool(true));
    let mut changes = Vec::new();
    run(&mut buses, |_, event, _| {
        if let Event::Signal(signal) = event {
            assert_eq!(signal.member, "PropertiesChanged");
            let (interface, changed, gone) =
                <(String, BTreeMap<String, Value>, Vec<String>)>::from_values(signal.args.clone())
                    .expect("sa{sv}as");
            assert_eq!((interface.as_str(), gone.len()), (debug, 0));
            changes.push(changed.into_iter().collect::<Vec<_>>());
        }
        changes.len() == 2
    });
    let change = |value| vec![("Trace".to_owned(), Value::Bool(value))];
    assert_eq!(changes, [change(false), change(true)]);

    let all = Request::new(ECHO, PATH, "org.freedesktop.DBus.Properties", "GetAll");
    let token = buses[1].call(&all.with((debug.to_owned(),).into_values()), soon());
    let all = answer(&mut buses, token).expect("all properties");
    let (all,) = <(BTreeMap<String, Value>,)>::from_values(all).expect("a{sv}");
    assert_eq!(all.len(), 2);
    assert_eq!(all.get("Level"), Some(&Value::Str("INFO".to_owned())));
}

#[test]
fn setting_a_property_is_asked_of_the_program() {
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    let token = buses[1].call(&trace(true), soon());
    let mut told = Vec::new();
    let mut result = None;
    run(&mut buses, |index, event, buses| {
        match event {
            Event::Call(call) => {
                let Operation::Set { property, value } = &call.operation else {
                    panic!("{call:?}")
                };
                assert_eq!((*property, call.path), ("Trace", PATH));
                buses[index].publish(PATH, call.interface, property, value.clone());
                buses[index].reply(call.id, &[]);
            }
            Event::Signal(signal) => told.push(signal.member.clone()),
            Event::Reply { token: ended, result: ended_with } if *ended == token => {
                result = Some(ended_with.clone());
            }
            _ => {}
        }
        result.is_some() && !told.is_empty()
    });
    assert_eq!((result, told), (Some(Ok(vec![])), vec!["PropertiesChanged".to_owned()]));
}

#[test]
fn a_restricted_method_is_run_for_the_superuser() {
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    let token = buses[1].call(&echo("Reset", vec![]), soon());
    assert_eq!(answer(&mut buses, token), Ok(vec![]));
    let own = rustix::process::geteuid().as_raw();
    let token = buses[1].ask_uid(ECHO, soon());
    assert_eq!(answer(&mut buses, token), Ok(vec![Value::Uint32(own)]));
}

#[test]
fn an_answer_of_the_wrong_type_becomes_an_error() {
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    let token = buses[1].call(&echo("Echo", ("x".to_owned(),).into_values()), soon());
    let mut result = None;
    run(&mut buses, |index, event, buses| {
        match event {
            Event::Call(call) => buses[index].reply(call.id, &[Value::Uint32(1)]),
            Event::Reply { token: ended, result: with } if *ended == token => {
                result = Some(with.clone());
            }
            _ => {}
        }
        result.is_some()
    });
    let expected =
        CallError::Remote { name: error::FAILED.to_owned(), text: "internal error".to_owned() };
    assert_eq!(result, Some(Err(expected)));
}

#[test]
fn root_a_restricted_method_is_denied_to_another_user() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    let mut tool = Command::new("timeout")
        .args(["20", "dbus-send", &format!("--bus={}", daemon.address_text())])
        .args([&format!("--dest={ECHO}"), "--print-reply", PATH, &format!("{ECHO}.Reset")])
        .uid(NOBODY)
        .gid(NOBODY)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("dbus-send is installed");
    // Its connection comes and goes; then the call was denied, or else it would be here.
    while tool.try_wait().expect("our child").is_none() {
        let token = buses[1].call(&echo("Echo", ("tick".to_owned(),).into_values()), soon());
        run(&mut buses, |index, event, buses| match event {
            Event::Call(call) => {
                assert!(!matches!(call.operation, Operation::Method { name: "Reset", .. }));
                serve(&mut buses[index], call);
                false
            }
            Event::Reply { token: ended, .. } => *ended == token,
            _ => false,
        });
    }
    let output = tool.wait_with_output().expect("output");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(error::ACCESS_DENIED), "{said}");
}

#[test]
fn a_turn_looks_at_a_bounded_number_of_messages() {
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    let pings = 3 * MESSAGES_PER_TURN;
    let from = stranger(&daemon);
    send(&from, (0..pings).map(|_| ping()).collect());
    let now = Time::monotonic();
    assert_eq!(buses[0].ready(now), Progress::More);
    assert_eq!(buses[0].next_wake(), Some(Time::ZERO), "at once");
    // Nothing was dropped: the stranger gets all its answers.
    let mut answers = 0;
    while answers < pings {
        let token = buses[1].call(&echo("Echo", ("x".to_owned(),).into_values()), soon());
        assert!(answer(&mut buses, token).is_ok());
        from.read_write(Some(Duration::ZERO)).expect("connected");
        while from.pop_message().is_some() {
            answers += 1;
        }
    }
}

#[test]
fn events_that_nobody_takes_stay_in_the_socket() {
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    let total = 2 * EVENTS_MAX;
    (0..total).for_each(|_| assert!(buses[0].emit(PATH, ECHO, "Gone", &[])));
    let token = buses[0].ask_uid(ECHO, soon());
    let [server, caller] = &mut buses;
    let only = std::slice::from_mut(server);
    assert!(answer(only, token).is_ok(), "the bus has all signals");
    let now = Time::monotonic();
    for _ in 0..100 {
        caller.ready(now);
    }
    let mut taken = 0;
    while let Some(event) = caller.next_event() {
        assert!(matches!(event, Event::Signal(_)), "{event:?}");
        taken += 1;
    }
    assert_eq!(taken, EVENTS_MAX);
    assert_eq!(caller.next_wake(), Some(Time::ZERO), "there is room again");
    run(&mut buses, |_, event, _| {
        taken += usize::from(matches!(event, Event::Signal(_)));
        taken == total
    });
}

#[test]
fn many_callers_together_are_cut_off_too() {
    let daemon = Daemon::new();
    let mut buses = pair(&daemon);
    let text = "flood";
    let call = || Message::call_with_args(ECHO, PATH, ECHO, "Echo", (text,));
    let crowd: Vec<Channel> =
        (0..=SERVING_MAX / SERVING_PER_SENDER_MAX).map(|_| stranger(&daemon)).collect();
    for from in &crowd {
        send(from, (0..SERVING_PER_SENDER_MAX).map(|_| call()).collect());
    }
    let mut held = 0;
    run(&mut buses, |_, event, _| {
        held += usize::from(matches!(event, Event::Call(_)));
        held == SERVING_MAX
    });
    // One more is refused, though this caller has none waiting.
    let token = buses[1].call(&echo("Echo", (text.to_owned(),).into_values()), soon());
    let refused = answer(&mut buses, token).expect_err("too many");
    assert!(
        matches!(&refused, CallError::Remote { name, .. } if name == error::LIMITS_EXCEEDED),
        "{refused}"
    );
}

#[test]
fn a_flood_is_cut_off_per_caller_and_served_in_bounded_turns() {
    let daemon = Daemon::new();
    let [server, flood] = pair(&daemon);
    let mut buses = [server, flood, caller(&daemon)];
    run(&mut buses, |index, event, _| {
        index == 2 && matches!(event, Event::OwnerChanged { owner: Some(_), .. })
    });
    let request = echo("Echo", ("flood".to_owned(),).into_values());
    let tokens: Vec<Token> = (0..=CALLS_MAX).map(|_| buses[1].call(&request, soon())).collect();
    let (mut held, mut refused, mut busy) = (Vec::new(), 0, Vec::new());
    run(&mut buses, |_, event, _| {
        match event {
            Event::Call(call) => held.push(call.clone()),
            Event::Reply { result: Err(CallError::Remote { name, .. }), .. } => {
                assert_eq!(name, error::LIMITS_EXCEEDED);
                refused += 1;
            }
            Event::Reply { token, result: Err(CallError::Busy) } => busy.push(*token),
            _ => {}
        }
        held.len() + refused == CALLS_MAX
    });
    assert_eq!(held.len(), SERVING_PER_SENDER_MAX);
    assert_eq!(busy, tokens[CALLS_MAX..], "the call beyond our own limit fails at once");
    // Another caller is served all the same.
    let token = buses[2].call(&request, soon());
    assert!(answer(&mut buses, token).is_ok());
    held.iter().for_each(|call| serve(&mut buses[0], call));
    let mut served = 0;
    run(&mut buses, |_, event, _| {
        served += usize::from(matches!(event, Event::Reply { result: Ok(_), .. }));
        served == SERVING_PER_SENDER_MAX
    });
}
