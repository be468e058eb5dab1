// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the loop over real descriptors: pipes, eventfds, signals, processes.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use rustix::event::EventfdFlags;
use rustix::pipe::PipeFlags;

use super::*;
use crate::proc::{Child, Limits};
use crate::sys::signal::{Signal, Signals, raise};

/// What the loop called, in the words of these tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Ready(u32),
    Timer(u32),
    Settle,
}

/// A program that is one function.
struct App<F>(F);

impl<F: FnMut(&mut Loop<u32>, Call) -> io::Result<Progress>> Handler for App<F> {
    type Key = u32;

    fn ready(&mut self, lp: &mut Loop<u32>, key: u32) -> io::Result<Progress> {
        self.0(lp, Call::Ready(key))
    }

    fn timer(&mut self, lp: &mut Loop<u32>, key: u32) -> io::Result<()> {
        self.0(lp, Call::Timer(key)).map(drop)
    }

    fn settle(&mut self, lp: &mut Loop<u32>) -> io::Result<()> {
        self.0(lp, Call::Settle).map(drop)
    }
}

/// Runs `app` on `lp` until it stops, and returns every call but the settling.
fn run(lp: &mut Loop<u32>, mut app: impl FnMut(&mut Loop<u32>, Call) -> Progress) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut recording = App(|lp: &mut Loop<u32>, call: Call| {
        if call != Call::Settle {
            calls.push(call);
        }
        assert!(calls.len() < 1000, "the loop spins");
        Ok(app(lp, call))
    });
    lp.run(&mut recording).expect("the loop runs");
    calls
}

fn new_loop() -> Loop<u32> {
    Loop::new().expect("a loop")
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("a pipe")
}

fn write(fd: &OwnedFd, bytes: &[u8]) {
    assert_eq!(rustix::io::write(fd, bytes), Ok(bytes.len()));
}

/// Reads one byte; `false` when there was none.
fn read_one(fd: &OwnedFd) -> bool {
    rustix::io::read(fd, &mut [0; 1]) == Ok(1)
}

/// A descriptor that is readable for ever.
fn endless() -> OwnedFd {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    rustix::event::eventfd(1, flags).expect("an eventfd")
}

fn stop_at(lp: &mut Loop<u32>, call: Call, last: Call) {
    if call == last {
        lp.stop(0);
    }
}

#[test]
fn timers_fire_by_time_then_by_age_and_never_when_cancelled() {
    let mut lp = new_loop();
    for (nanos, key) in [(30, 3), (10, 1), (20, 2), (10, 11), (5, 99)] {
        let id = lp.set_timer(Time::from_nanos(nanos), key);
        if key == 99 {
            assert!(lp.cancel(id));
            assert!(!lp.cancel(id), "cancelled before");
        }
    }
    let calls = run(&mut lp, |lp, call| {
        stop_at(lp, call, Call::Timer(3));
        Progress::Drained
    });
    assert_eq!(calls, [1, 11, 2, 3].map(Call::Timer));
}

#[test]
fn no_timer_is_early_nor_fires_twice() {
    let mut lp = new_loop();
    let due = Time::monotonic() + Duration::from_micros(3500);
    lp.set_timer(due, 1);
    lp.set_timer(due + Duration::from_micros(10), 2);
    let calls = run(&mut lp, |lp, call| {
        if call != Call::Settle {
            assert!(due <= lp.now());
        }
        stop_at(lp, call, Call::Timer(2));
        Progress::Drained
    });
    assert_eq!(calls, [Call::Timer(1), Call::Timer(2)]);
}

#[test]
fn a_timer_set_by_a_handler_waits_for_the_next_turn() {
    let mut lp = new_loop();
    lp.set_timer(Time::ZERO, 0);
    let mut turns = Vec::new();
    let mut settled = 0;
    run(&mut lp, |lp, call| {
        match call {
            Call::Settle => settled += 1,
            Call::Timer(3) => lp.stop(0),
            Call::Timer(key) => {
                lp.set_timer(Time::ZERO, key + 1);
            }
            Call::Ready(_) => unreachable!("nothing is watched"),
        }
        if call != Call::Settle {
            turns.push(settled);
        }
        Progress::Drained
    });
    assert_eq!(turns, [1, 2, 3, 4]);
}

#[test]
fn a_timer_cancelled_by_another_of_the_same_turn_stays_silent() {
    let mut lp = new_loop();
    lp.set_timer(Time::from_nanos(1), 1);
    let second = lp.set_timer(Time::from_nanos(2), 2);
    lp.set_timer(Time::from_nanos(3), 3);
    let calls = run(&mut lp, |lp, call| {
        if call == Call::Timer(1) {
            assert!(lp.cancel(second));
        }
        stop_at(lp, call, Call::Timer(3));
        Progress::Drained
    });
    assert_eq!(calls, [Call::Timer(1), Call::Timer(3)]);
}

#[test]
fn more_brings_the_event_back_next_turn() {
    let (mut lp, (reader, writer)) = (new_loop(), pipe());
    lp.watch(reader.as_fd(), 7).expect("watch");
    write(&writer, b"abc");
    let mut turn = 0;
    let mut turns = Vec::new();
    let calls = run(&mut lp, |lp, call| {
        if call == Call::Settle {
            turn += 1;
            return Progress::Drained;
        }
        turns.push(turn);
        assert!(read_one(&reader));
        if turns.len() == 3 {
            lp.stop(0);
        }
        Progress::More
    });
    assert_eq!(calls, [Call::Ready(7); 3]);
    assert_eq!(turns, [1, 2, 3], "once a turn");
}

#[test]
fn what_is_left_unread_stays_silent_until_something_new_comes() {
    let (mut lp, (reader, writer)) = (new_loop(), pipe());
    lp.watch(reader.as_fd(), 7).expect("watch");
    write(&writer, b"abc");
    lp.set_timer(Time::ZERO, 1);
    let calls = run(&mut lp, |lp, call| {
        match call {
            Call::Ready(_) => assert!(read_one(&reader)),
            Call::Timer(key @ 1..4) => drop(lp.set_timer(Time::ZERO, key + 1)),
            Call::Timer(4) => {
                write(&writer, b"d");
                lp.set_timer(Time::ZERO, 5);
            }
            Call::Timer(5) => lp.stop(0),
            _ => {}
        }
        Progress::Drained
    });
    let (r, t) = (Call::Ready(7), Call::Timer);
    assert_eq!(calls, [r, t(1), t(2), t(3), t(4), r, t(5)]);
}

#[test]
fn an_event_for_a_watch_removed_in_the_same_turn_is_dropped() {
    let mut lp = new_loop();
    let pipes = [pipe(), pipe()];
    let watched =
        |lp: &mut Loop<u32>, at: usize, key| lp.watch(pipes[at].0.as_fd(), key).expect("watch");
    let ids = RefCell::new([watched(&mut lp, 0, 0), watched(&mut lp, 1, 1)]);
    pipes.iter().for_each(|(_, writer)| write(writer, b"x"));
    let calls = run(&mut lp, |lp, call| {
        if let Call::Ready(key @ 0..2) = call {
            // Both are ready in this turn; whichever comes first replaces the other.
            let other = 1 - usize::try_from(key).expect("small");
            let id = ids.borrow()[other];
            lp.unwatch(id).expect("unwatch");
            lp.unwatch(id).expect("twice is harmless");
            let fresh = watched(lp, other, 10);
            assert_ne!(fresh, id, "never reused");
            ids.borrow_mut()[other] = fresh;
        }
        stop_at(lp, call, Call::Ready(10));
        Progress::Drained
    });
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert_eq!(calls[1], Call::Ready(10), "the new watch hears of what is there");
}

#[test]
fn a_handler_may_remove_its_own_watch_and_ask_for_more() {
    let (mut lp, source) = (new_loop(), endless());
    let id = lp.watch(source.as_fd(), 1).expect("watch");
    lp.set_timer(Time::ZERO, 2);
    let calls = run(&mut lp, |lp, call| {
        match call {
            Call::Ready(_) => lp.unwatch(id).expect("unwatch"),
            Call::Timer(2) => drop(lp.set_timer(Time::ZERO, 3)),
            Call::Timer(_) => lp.stop(0),
            Call::Settle => {}
        }
        Progress::More
    });
    assert_eq!(calls, [Call::Ready(1), Call::Timer(2), Call::Timer(3)]);
}

#[test]
fn an_endless_source_starves_neither_descriptors_nor_timers() {
    let (mut lp, source, (reader, writer)) = (new_loop(), endless(), pipe());
    lp.watch(source.as_fd(), 0).expect("watch");
    lp.watch(reader.as_fd(), 1).expect("watch");
    write(&writer, &[b'x'; 20]);
    lp.set_timer(Time::ZERO, 2);
    let mut left = 20;
    let calls = run(&mut lp, |lp, call| {
        match call {
            Call::Ready(1) => {
                assert!(read_one(&reader));
                left -= 1;
            }
            Call::Timer(_) => drop(lp.set_timer(lp.now(), 2)),
            _ => {}
        }
        if left == 0 {
            lp.stop(0);
        }
        Progress::More
    });
    for call in [Call::Ready(0), Call::Ready(1), Call::Timer(2)] {
        let count = calls.iter().filter(|&&other| other == call).count();
        assert!((19..=21).contains(&count), "{call:?} was served {count} times in 20 turns");
    }
}

#[test]
fn a_crowd_of_endless_sources_is_served_in_turn() {
    // More than one wait of the loop can report.
    let (mut lp, sources) = (new_loop(), (0..200).map(|_| endless()).collect::<Vec<_>>());
    for (key, source) in sources.iter().enumerate() {
        lp.watch(source.as_fd(), u32::try_from(key).expect("small")).expect("watch");
    }
    let mut turns = 0;
    let calls = run(&mut lp, |lp, call| {
        if call == Call::Settle {
            turns += 1;
            if turns > 4 {
                lp.stop(0);
            }
        }
        Progress::More
    });
    let mut served: Vec<u32> =
        calls.iter().map(|call| if let Call::Ready(key) = call { *key } else { 999 }).collect();
    assert_eq!(served.len(), 4 * EVENTS_PER_TURN);
    served.sort_unstable();
    served.dedup();
    assert_eq!(served.len(), 200, "nobody waits for a fifth turn");
}

#[test]
fn directions_are_watched_as_asked_and_can_change() {
    let (mut lp, (reader, writer)) = (new_loop(), pipe());
    let id = lp.watch_for(writer.as_fd(), Direction::Read, 1).expect("watch");
    lp.set_timer(Time::ZERO, 2);
    let calls = run(&mut lp, |lp, call| {
        if call == Call::Timer(2) {
            lp.rearm(id, Direction::Both).expect("rearm");
        }
        stop_at(lp, call, Call::Ready(1));
        Progress::Drained
    });
    assert_eq!(calls, [Call::Timer(2), Call::Ready(1)]);
    lp.unwatch(id).expect("unwatch");
    let error = lp.rearm(id, Direction::Write).expect_err("it was removed");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    drop(reader);
}

#[test]
fn what_cannot_be_watched_is_refused_and_leaves_no_trace() {
    let (mut lp, (reader, _writer)) = (new_loop(), pipe());
    let file = std::fs::File::open("/proc/self/exe").expect("our program");
    assert_eq!(lp.watch(file.as_fd(), 1).expect_err("a file").raw_os_error(), Some(libc::EPERM));
    lp.watch(reader.as_fd(), 1).expect("watch");
    let twice = lp.watch(reader.as_fd(), 2).expect_err("watched before");
    assert_eq!(twice.kind(), ErrorKind::AlreadyExists);
}

#[test]
fn a_closed_writer_is_news() {
    let (mut lp, (reader, writer)) = (new_loop(), pipe());
    lp.watch(reader.as_fd(), 1).expect("watch");
    drop(writer);
    let calls = run(&mut lp, |lp, call| {
        stop_at(lp, call, Call::Ready(1));
        Progress::Drained
    });
    assert_eq!(calls, [Call::Ready(1)]);
}

#[test]
fn settling_comes_first_and_once_a_turn_and_the_code_comes_back() {
    let (mut lp, mut calls) = (new_loop(), Vec::new());
    lp.set_timer(Time::ZERO, 1);
    lp.set_timer(Time::ZERO, 2);
    let mut app = App(|lp: &mut Loop<u32>, call| {
        calls.push(call);
        if call == Call::Timer(1) {
            lp.stop(78);
        }
        Ok(Progress::Drained)
    });
    assert_eq!(lp.run(&mut app).expect("runs"), 78);
    assert_eq!(calls, [Call::Settle, Call::Timer(1), Call::Timer(2), Call::Settle]);
}

#[test]
fn an_error_of_the_handler_ends_the_run() {
    let mut lp = new_loop();
    lp.set_timer(Time::ZERO, 1);
    let mut app = App(|_: &mut Loop<u32>, call| match call {
        Call::Settle => Ok(Progress::Drained),
        _ => Err(io::Error::other("the disk is full")),
    });
    assert_eq!(lp.run(&mut app).expect_err("it fails").to_string(), "the disk is full");
}

#[test]
fn signals_arrive_as_events() {
    let mut signals = Signals::new(&[Signal::USR1, Signal::HUP]).expect("signalfd");
    let mut lp = new_loop();
    lp.watch(signals.fd(), 1).expect("watch");
    raise(Signal::HUP);
    let mut seen = Vec::new();
    run(&mut lp, |lp, call| {
        if call == Call::Ready(1) {
            while let Some(signal) = signals.next() {
                seen.push(signal);
            }
            match seen.len() {
                1 => raise(Signal::USR1),
                _ => lp.stop(0),
            }
        }
        Progress::Drained
    });
    assert_eq!(seen, [Signal::HUP, Signal::USR1]);
}

#[test]
fn the_end_of_a_child_arrives_as_an_event() {
    let limits = Limits { time: Duration::from_secs(60), output: 1000 };
    let mut command = Command::new("sh");
    command.args(["-c", "echo done; exit 4"]);
    let mut lp = new_loop();
    let mut child = Child::spawn(lp.now(), command, limits).expect("sh runs");
    let ids = child.fds().map(|fd| lp.watch(fd, 1).expect("watch"));
    let mut output = None;
    run(&mut lp, |lp, call| {
        if call == Call::Ready(1) && output.is_none() {
            output = child.advance(lp.now());
        }
        if output.is_some() {
            lp.stop(0);
        }
        Progress::Drained
    });
    ids.into_iter().for_each(|id| lp.unwatch(id).expect("unwatch"));
    let output = output.expect("it ended");
    assert_eq!(
        (output.ending, output.stdout),
        (crate::proc::Ending::Exited(4), b"done\n".to_vec())
    );
}
