// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the bus: pure parts alone, and connections over a private dbus-daemon.
//!
//! Owns the world that those tests run in: the daemon, some connections, and the real event loop.

mod calling;
mod client;
mod daemon;
mod dispatch;
mod machine;
mod reconnect;
mod serving;
mod wire;

use std::io;
use std::time::Duration;

use self::daemon::Daemon;
use super::*;
use crate::event::{Handler, Loop, Progress};
use crate::time::Time;

/// No test comes near this, unless something is broken.
const PATIENCE: Duration = Duration::from_secs(30);

const ECHO: &str = "org.example.Echo";
const PATH: &str = "/org/example/Echo";

const TEXT: Arg = Arg { name: "text", signature: "s" };

static OBJECTS: [Object; 2] = [
    Object {
        path: PATH,
        interfaces: &[
            Interface {
                name: ECHO,
                methods: &[
                    Method {
                        name: "Echo",
                        inputs: &[TEXT],
                        outputs: &[Arg { name: "same", signature: "s" }],
                        access: Access::Anyone,
                    },
                    Method {
                        name: "Bytes",
                        inputs: &[Arg { name: "data", signature: "ay" }],
                        outputs: &[Arg { name: "same", signature: "ay" }],
                        access: Access::Anyone,
                    },
                    Method {
                        name: "List",
                        inputs: &[],
                        outputs: &[Arg { name: "list", signature: "aa{ss}" }],
                        access: Access::Anyone,
                    },
                    Method { name: "Reset", inputs: &[], outputs: &[], access: Access::Root },
                ],
                signals: &[
                    Signal { name: "Said", args: &[TEXT, Arg { name: "times", signature: "u" }] },
                    Signal { name: "Gone", args: &[] },
                ],
                properties: &[],
            },
            Interface {
                name: "org.example.Echo.Debug",
                methods: &[],
                signals: &[],
                properties: &[
                    Property {
                        name: "Trace",
                        signature: "b",
                        write: Some(Access::Root),
                        emits_changed: true,
                    },
                    Property { name: "Level", signature: "s", write: None, emits_changed: false },
                ],
            },
        ],
    },
    Object { path: "/org/example/Other", interfaces: &[] },
];

static SIGNALS: [Match; 2] = [
    Match { sender: Some(ECHO), path: Some(PATH), interface: ECHO, member: None },
    Match {
        sender: Some(ECHO),
        path: None,
        interface: "org.freedesktop.DBus.Properties",
        member: None,
    },
];

fn config(daemon: &Daemon) -> Config {
    Config {
        address: daemon.address(),
        own_name: None,
        objects: &[],
        watch_names: &[],
        matches: &[],
    }
}

fn server(daemon: &Daemon) -> Bus {
    let config = Config { own_name: Some(ECHO), objects: &OBJECTS, ..config(daemon) };
    Bus::new(&config).expect("a connection")
}

fn caller(daemon: &Daemon) -> Bus {
    let config = Config { watch_names: &[ECHO], matches: &SIGNALS, ..config(daemon) };
    Bus::new(&config).expect("a connection")
}

fn echo(member: &str, args: Vec<Value>) -> Request {
    Request::new(ECHO, PATH, ECHO, member).with(args)
}

fn soon() -> Time {
    Time::monotonic() + PATIENCE
}

/// Answers the methods of the table.
fn serve(bus: &mut Bus, call: &Call) {
    match &call.operation {
        Operation::Method { name: "Echo" | "Bytes", args } => bus.reply(call.id, args),
        Operation::Method { name: "Reset", .. } => bus.reply(call.id, &[]),
        other => bus.fail(call.id, error::FAILED, &format!("{other:?} is not served here")),
    }
}

#[derive(Clone, Copy, Debug)]
enum Key {
    Fd(usize),
    Timer,
    TooLate,
}

/// Runs some connections on the real loop, until `done` says so of an event.
struct Run<'a, F> {
    buses: &'a mut [Bus],
    done: F,
    timer: Option<crate::event::TimerId>,
    turns: u32,
}

impl<F: FnMut(usize, &Event, &mut [Bus]) -> bool> Handler for Run<'_, F> {
    type Key = Key;

    fn ready(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<Progress> {
        match key {
            Key::Fd(index) => Ok(self.buses[index].ready(lp.now())),
            Key::Timer | Key::TooLate => unreachable!("{key:?} is no descriptor"),
        }
    }

    fn timer(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<()> {
        assert!(matches!(key, Key::Timer), "nothing happened for {PATIENCE:?}");
        self.timer = None;
        self.buses.iter_mut().for_each(|bus| bus.wake(lp.now()));
        Ok(())
    }

    fn settle(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        self.turns += 1;
        for index in 0..self.buses.len() {
            while let Some(event) = self.buses[index].next_event() {
                if (self.done)(index, &event, self.buses) {
                    lp.stop(0);
                    return Ok(());
                }
            }
        }
        if let Some(old) = self.timer.take() {
            lp.cancel(old);
        }
        let wake = self.buses.iter().filter_map(Bus::next_wake).min();
        self.timer = wake.map(|at| lp.set_timer(at, Key::Timer));
        Ok(())
    }
}

/// Drives `buses` until `done` is true of an event; it gets the index of the connection, the event
/// and all connections. Returns the number of turns.
fn run(buses: &mut [Bus], done: impl FnMut(usize, &Event, &mut [Bus]) -> bool) -> u32 {
    let mut lp = Loop::new().expect("a loop");
    for (index, bus) in buses.iter().enumerate() {
        lp.watch(bus.fd(), Key::Fd(index)).expect("a watch");
    }
    lp.set_timer(soon(), Key::TooLate);
    let mut run = Run { buses, done, timer: None, turns: 0 };
    assert_eq!(lp.run(&mut run).expect("the loop runs"), 0);
    run.turns
}

/// Drives until the answer to `token` is there; connection 0 serves meanwhile.
fn answer(buses: &mut [Bus], token: Token) -> Result<Vec<Value>, CallError> {
    let mut answer = None;
    run(buses, |index, event, buses| match event {
        Event::Call(call) => {
            serve(&mut buses[index], call);
            false
        }
        Event::Reply { token: ended, result } if *ended == token => {
            answer = Some(result.clone());
            true
        }
        _ => false,
    });
    answer.expect("an answer")
}

/// A server that owns its name and a caller that knows.
fn pair(daemon: &Daemon) -> [Bus; 2] {
    let mut buses = [server(daemon), caller(daemon)];
    find_each_other(&mut buses);
    buses
}

/// Runs until the server owns its name and the caller knows.
fn find_each_other(buses: &mut [Bus; 2]) {
    let mut seen = [false; 2];
    run(buses, |index, event, _| {
        match event {
            Event::NameAcquired => seen[index] = true,
            Event::OwnerChanged { name: ECHO, owner: Some(_) } => seen[index] = true,
            _ => {}
        }
        seen == [true; 2]
    });
}
