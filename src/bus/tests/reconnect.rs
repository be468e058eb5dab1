// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A bus that dies, comes late, or freezes.

use super::*;

#[test]
fn a_killed_bus_is_found_again_with_name_signals_and_properties() {
    let mut daemon = Daemon::new();
    let mut buses = pair(&daemon);
    buses[0].publish(PATH, "org.example.Echo.Debug", "Trace", Value::Bool(true));
    let fds: Vec<i32> =
        buses.iter().map(|bus| std::os::fd::AsRawFd::as_raw_fd(&bus.fd())).collect();
    let token = buses[1].call(&echo("Echo", ("x".to_owned(),).into_values()), soon());
    let mut held = None;
    run(&mut buses, |_, event, _| {
        if let Event::Call(call) = event {
            held = Some(call.clone());
        }
        held.is_some()
    });

    daemon.kill();
    let mut news = Vec::new();
    let mut down = [false; 2];
    run(&mut buses, |index, event, _| {
        down[index] |= *event == Event::Down;
        if index == 1 && !matches!(event, Event::Signal(_)) {
            news.push(event.clone());
        }
        down == [true; 2]
    });
    let lost = Event::Reply { token, result: Err(CallError::Disconnected) };
    let owner = Event::OwnerChanged { name: ECHO, owner: None };
    assert_eq!(news, [lost, owner, Event::Down]);
    assert!(!buses[0].is_up() && !buses[0].owns_name() && buses[0].unique_name().is_none());
    // An answer to a call of the old connection is harmless.
    buses[0].reply(held.expect("a call").id, &("x".to_owned(),).into_values());

    daemon.start();
    find_each_other(&mut buses);
    let after: Vec<i32> =
        buses.iter().map(|bus| std::os::fd::AsRawFd::as_raw_fd(&bus.fd())).collect();
    assert_eq!(fds, after, "the descriptor to watch stays the same");
    assert!(buses[0].emit(PATH, ECHO, "Gone", &[]));
    run(
        &mut buses,
        |_, event, _| matches!(event, Event::Signal(signal) if signal.member == "Gone"),
    );
    let get = Request::new(ECHO, PATH, "org.freedesktop.DBus.Properties", "Get");
    let args = ("org.example.Echo.Debug".to_owned(), "Trace".to_owned()).into_values();
    let token = buses[1].call(&get.with(args), soon());
    assert_eq!(answer(&mut buses, token), Ok((Value::Bool(true),).into_values()));
}

#[test]
fn a_bus_that_comes_late_is_waited_for() {
    let mut daemon = Daemon::absent();
    let mut bus = server(&daemon);
    bus.wake(Time::monotonic());
    assert_eq!(bus.next_wake(), None, "connecting");
    // The failure is announced by the descriptor.
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(bus.fd(), rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, None).expect("news");
    let now = Time::monotonic();
    bus.ready(now);
    assert_eq!(bus.next_wake(), Some(now + RECONNECT_STEPS[0]));
    assert_eq!(bus.next_event(), None);
    daemon.start();
    let mut buses = [bus];
    run(&mut buses, |_, event, _| *event == Event::NameAcquired);
}

#[test]
fn a_frozen_bus_stalls_neither_the_loop_nor_other_connections() {
    let (frozen, sound) = (Daemon::new(), Daemon::new());
    let [server, caller] = pair(&sound);
    frozen.freeze();
    let mut buses = [server, caller, self::server(&frozen)];
    for n in 0_u32..100 {
        let now = Time::monotonic();
        buses[2].wake(now);
        let token = buses[1].call(&echo("Echo", (n.to_string(),).into_values()), soon());
        assert!(answer(&mut buses, token).is_ok());
    }
    assert!(!buses[2].is_up());
    frozen.thaw();
    run(&mut buses, |index, event, _| (index, event) == (2, &Event::NameAcquired));

    // Frozen while connected: calls end in time, and the connection survives.
    frozen.freeze();
    let token = buses[2].ask_uid(ECHO, Time::monotonic() + Duration::from_millis(20));
    assert_eq!(answer(&mut buses, token), Err(CallError::TimedOut));
    assert!(buses[2].is_up());
    let (mut sent, chunk) = (0, ("x".repeat(4000), 1_u32).into_values());
    while buses[2].emit(PATH, ECHO, "Said", &chunk) {
        sent += 1;
    }
    assert!((OUTGOING_MAX..2 * OUTGOING_MAX).contains(&sent), "{sent}: what waits is bounded");
    let token = buses[2].ask_uid(ECHO, soon());
    assert_eq!(answer(&mut buses, token), Err(CallError::Busy));
    frozen.thaw();
    while !buses[2].emit(PATH, ECHO, "Gone", &[]) {
        let token = buses[1].call(&echo("Echo", ("tick".to_owned(),).into_values()), soon());
        assert!(answer(&mut buses, token).is_ok());
    }
    assert!(buses[2].is_up());
}

#[test]
fn a_bus_that_does_not_even_accept_is_waited_for_elsewhere() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let (sound, deaf) = (Daemon::new(), Daemon::absent());
    let path = deaf.address_text().trim_start_matches("unix:path=").to_owned();
    let address = SocketAddrUnix::new(path.as_str()).expect("an address");
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let listener = rustix::net::socket(family, kind, None).expect("a socket");
    rustix::net::bind(&listener, &address).expect("bound");
    rustix::net::listen(&listener, 0).expect("listening");
    // Fill the queue of connections, so that the next one blocks.
    let mut queue = Vec::new();
    loop {
        let flags = SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, kind, flags, None).expect("a socket");
        if rustix::net::connect(&socket, &address).is_err() {
            break;
        }
        queue.push(socket);
    }
    let [server, caller] = pair(&sound);
    let mut buses = [server, caller, self::server(&deaf)];
    buses[2].wake(Time::monotonic());
    for _ in 0..20 {
        let token = buses[1].call(&echo("Echo", ("x".to_owned(),).into_values()), soon());
        assert!(answer(&mut buses, token).is_ok());
    }
    assert!(!buses[2].is_up());
    assert_eq!(buses[2].next_wake(), None, "one attempt at a time");
}
