// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the way over the control socket, against daemons that misbehave.

use std::io::Write;
use std::os::unix::net::UnixListener;

use serde_json::json;

use super::*;
use crate::core::control::{self, REPLY_BYTES_MAX, Signal};
use crate::ctl::testing::{Place, request};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(30);

/// What the client gets when the daemon answers its first request with `bytes`, then hangs up.
fn answered_by(bytes: &'static [u8]) -> Result<Value, CallError> {
    let place = Place::new();
    let daemon = place.daemon(move |mut from, mut to| {
        request(&mut from);
        to.write_all(bytes).expect("sent");
    });
    let mut client = Socket::connect("stafd", &place.socket()).expect("connected");
    let result = client.call(&Call::GetTron, LONG);
    daemon.join().expect("the daemon is well");
    result
}

fn broken(text: &str) -> Result<Value, CallError> {
    Err(CallError::Broken { daemon: "stafd", text: text.into() })
}

#[test]
fn a_call_brings_its_result() {
    let place = Place::new();
    let daemon = place.daemon(|mut from, mut to| {
        for value in [json!(true), json!([{ "device": "nvme0" }])] {
            let request = request(&mut from);
            to.write_all(control::reply(request.id, &value).as_bytes()).expect("sent");
        }
    });
    let mut client = Socket::connect("stafd", &place.socket()).expect("connected");
    assert_eq!(client.call(&Call::GetTron, LONG), Ok(json!(true)));
    let list = client.call(&Call::ListControllers { detailed: false }, LONG);
    assert_eq!(list, Ok(json!([{ "device": "nvme0" }])));
    assert_eq!(client.peer(), Some(std::process::id()));
    daemon.join().expect("the daemon is well");
}

#[test]
fn a_result_larger_than_any_buffer_arrives_whole() {
    let place = Place::new();
    let big = json!("x".repeat(3 * 1024 * 1024));
    let sent = big.clone();
    let daemon = place.daemon(move |mut from, mut to| {
        let request = request(&mut from);
        to.write_all(control::reply(request.id, &sent).as_bytes()).expect("sent");
    });
    let mut client = Socket::connect("stafd", &place.socket()).expect("connected");
    assert_eq!(client.call(&Call::ProcessInfo, LONG), Ok(big));
    daemon.join().expect("the daemon is well");
}

#[test]
fn errors_are_told_apart_by_their_names() {
    let line = format!("{{\"id\":1,\"error\":{{\"name\":\"{ACCESS_DENIED}\",\"text\":\"no\"}}}}\n");
    let denied = CallError::Denied { daemon: "stafd", text: "no".into() };
    assert_eq!(answered_by(line.leak().as_bytes()), Err(denied));
    let line = format!("{{\"error\":{{\"name\":\"{UNKNOWN_METHOD}\",\"text\":\"what\"}}}}\n");
    let error = answered_by(line.leak().as_bytes()).expect_err("an error");
    assert!(error.is_unknown_method() && !error.is_absence());
    assert_eq!(error.to_string(), format!("stafd answered {UNKNOWN_METHOD}: what"));
}

#[test]
fn nonsense_is_reported_as_such() {
    let closed = broken("closed by the daemon");
    assert_eq!(answered_by(b""), closed);
    assert_eq!(answered_by(b"{\"id\":1,\"result\":tr"), closed);
    for (bytes, part) in [
        (&b"hello\n"[..], "no JSON"),
        (b"\xff\xfe\n", "no JSON"),
        (b"{}\n", "neither result nor error nor signal"),
        (b"[]\n", "no JSON object"),
    ] {
        let error = answered_by(bytes).expect_err("nonsense").to_string();
        assert!(error.starts_with("connection to stafd failed: "), "{error}");
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_endless_line_is_not_taken_in() {
    let place = Place::new();
    let daemon = place.daemon(|mut from, mut to| {
        request(&mut from);
        let piece = vec![b'x'; 1 << 20];
        // The client hangs up on the way.
        while to.write_all(&piece).is_ok() {}
    });
    let mut client = Socket::connect("stafd", &place.socket()).expect("connected");
    let error = client.call(&Call::GetTron, LONG);
    assert_eq!(error, broken(&format!("line longer than {REPLY_BYTES_MAX} bytes")));
    drop(client);
    daemon.join().expect("the daemon is well");
}

#[test]
fn silence_ends_at_the_deadline_and_a_late_answer_is_not_taken_for_another() {
    let place = Place::new();
    let daemon = place.daemon(|mut from, mut to| {
        let (first, second) = (request(&mut from), request(&mut from));
        for (id, value) in [(first.id, json!("late")), (second.id, json!("in time"))] {
            to.write_all(control::reply(id, &value).as_bytes()).expect("sent");
        }
    });
    let mut client = Socket::connect("stafd", &place.socket()).expect("connected");
    let silent = CallError::Silent { daemon: "stafd", limit: SHORT };
    assert_eq!(client.call(&Call::GetLogLevel, SHORT), Err(silent));
    assert_eq!(client.call(&Call::GetLogLevel, LONG), Ok(json!("in time")));
    daemon.join().expect("the daemon is well");
}

#[test]
fn a_daemon_that_takes_no_one_in_does_not_hold_its_clients() {
    let place = Place::new();
    let listener = UnixListener::bind(place.socket()).expect("a socket");
    rustix::net::listen(&listener, 0).expect("the shortest backlog");
    let held: Vec<_> =
        std::iter::repeat_with(|| Socket::connect("stafd", &place.socket())).take(3).collect();
    let limit = Duration::ZERO;
    assert!(matches!(held.last(), Some(Err(CallError::Silent { limit: l, .. })) if *l == limit));
}

#[test]
fn signals_between_replies_are_not_lost() {
    let place = Place::new();
    let daemon = place.daemon(|mut from, mut to| {
        let subscribe = request(&mut from);
        assert_eq!(subscribe.call, Call::Subscribe);
        let signal = Signal::DcRemoved.encode();
        let mut text = control::reply(subscribe.id, &Value::Null);
        text.push_str(&signal);
        text.push_str("{\"signal\":\"unheard-of\"}\n");
        to.write_all(text.as_bytes()).expect("sent");
        let tron = request(&mut from);
        let text = signal + &control::reply(tron.id, &json!(false));
        to.write_all(text.as_bytes()).expect("sent");
        request(&mut from);
    });
    let mut client = Socket::connect("stafd", &place.socket()).expect("connected");
    assert_eq!(client.subscribe(LONG), Ok(()));
    assert_eq!(client.call(&Call::GetTron, LONG), Ok(json!(false)));
    assert_eq!(client.take_signals(), Ok(true));
    assert_eq!(client.take_signals(), Ok(false));
    let closed = client.call(&Call::GetTron, LONG);
    assert_eq!(closed, broken("closed by the daemon"));
    daemon.join().expect("the daemon is well");
}

#[test]
fn where_nobody_listens_the_daemon_is_not_running() {
    let place = Place::new();
    let connect = |path: &Path| Socket::connect("stacd", path).expect_err("nobody is there");
    let absent =
        CallError::NotRunning { daemon: "stacd", way: place.socket().display().to_string() };
    assert_eq!(connect(&place.socket()), absent);
    drop(UnixListener::bind(place.socket()).expect("a socket that nobody holds open"));
    let error = connect(&place.socket());
    assert_eq!(error, absent);
    let text = error.to_string();
    assert!(text.starts_with("Unable to communicate with stacd over /"), "{text}");
    assert!(text.ends_with("/ctl.sock. Is stacd running?"), "{text}");
    assert!(error.is_absence());
    let long = "x".repeat(200);
    assert!(matches!(connect(Path::new(&long)), CallError::Broken { .. }));
}

/// A way over which the daemon answers, or is not to be found.
struct Way {
    found: bool,
}

impl Connection for Way {
    fn call(&mut self, _: &Call, _: Duration) -> Result<Value, CallError> {
        let absent = CallError::NotRunning { daemon: "stafd", way: BUS_WAY.into() };
        if std::mem::take(&mut self.found) { Ok(json!("bus")) } else { Err(absent) }
    }

    fn subscribe(&mut self, limit: Duration) -> Result<(), CallError> {
        self.call(&Call::Subscribe, limit).map(drop)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn take_signals(&mut self) -> Result<bool, CallError> {
        Ok(false)
    }

    fn peer(&mut self) -> Option<u32> {
        None
    }
}

fn either(place: &Place, found: bool) -> Either {
    let socket: &'static str = place.socket().display().to_string().leak();
    let daemon = Box::leak(Box::new(Daemon {
        name: STAFD.name,
        bus_name: STAFD.bus_name,
        object: STAFD.object,
        debug: STAFD.debug,
        socket,
    }));
    Either { daemon, way: Box::new(Way { found }), is_sure: false }
}

#[test]
fn a_daemon_that_is_not_on_the_bus_is_asked_over_its_socket() {
    let place = Place::new();
    let daemon = place.daemon(|mut from, mut to| {
        for _ in 0..2 {
            let request = request(&mut from);
            to.write_all(control::reply(request.id, &json!("socket")).as_bytes()).expect("sent");
        }
    });
    let mut way = either(&place, false);
    assert_eq!(way.call(&Call::GetTron, LONG), Ok(json!("socket")));
    assert_eq!(way.call(&Call::GetTron, LONG), Ok(json!("socket")), "the same way again");
    assert!(way.peer().is_some() && way.fd().is_some());
    daemon.join().expect("the daemon is well");
}

#[test]
fn a_daemon_that_left_the_bus_is_not_looked_for_elsewhere() {
    let place = Place::new();
    let mut way = either(&place, true);
    assert_eq!(way.call(&Call::GetTron, LONG), Ok(json!("bus")));
    let listener = UnixListener::bind(place.socket()).expect("a socket");
    let absent = CallError::NotRunning { daemon: "stafd", way: BUS_WAY.into() };
    assert_eq!(way.call(&Call::GetTron, LONG), Err(absent));
    listener.set_nonblocking(true).expect("a socket");
    assert!(listener.accept().is_err(), "nobody came");
}

#[test]
fn where_neither_way_leads_to_the_daemon_the_bus_is_named() {
    let mut way = either(&Place::new(), false);
    let error = way.subscribe(LONG).expect_err("nobody is there").to_string();
    assert_eq!(error, "Unable to communicate with stafd over D-Bus. Is stafd running?");
}
