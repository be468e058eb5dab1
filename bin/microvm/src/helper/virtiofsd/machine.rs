// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the supervisor decides: when a daemon is started, ended, and given up.
//!
//! Pure: time is an argument, processes are numbers. A daemon ends with status 0 whenever its
//! hypervisor goes, which is no failure: it is started again at once, whatever its status. One that
//! ends within [`QUICK`] of its start is started later and later, and the fifth such end in a row
//! ends everything. The whole is ready once, when every daemon runs and its socket is there.

use std::time::Duration;

use plinth::backoff::Backoff;
use plinth::time::Time;

/// A daemon that lived shorter has failed to start.
pub const QUICK: Duration = Duration::from_secs(1);
/// So many failures to start in a row end everything.
pub const QUICK_MAX: usize = 5;
/// How long a daemon may take to end.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How often is looked for sockets, until all are there.
pub const LOOK: Duration = Duration::from_millis(20);

/// The waits between failures to start.
const WAITS: &[Duration] = &[
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
    Duration::from_secs(5),
];

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The daemon of this number has ended, or could not be started.
    Ended(usize),
    /// The socket of this daemon is there.
    Listening(usize),
    /// All daemons are to be started anew.
    Restart,
    /// All is to end.
    Stop,
    /// Only time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Remove what an earlier daemon left, and start this one.
    Start(usize),
    /// Ask this daemon to end.
    Terminate(usize),
    /// End it.
    Kill(usize),
    /// See whether its socket is there.
    Look(usize),
    /// Say that this daemon is given up.
    GiveUp(usize),
    /// Say that all is ready.
    Ready,
    /// Say that all ends.
    Stopping,
    /// End, with this status.
    End(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be started then.
    Waiting(Time),
    /// Started then.
    Running { since: Time, listening: bool },
    /// Asked to end; killed then.
    Ending(Time),
    /// Killed; its end is certain.
    Killed,
    /// Not to be started any more.
    Gone,
}

#[derive(Clone, Debug)]
struct Daemon {
    state: State,
    waits: Backoff,
}

/// The supervisor.
#[derive(Clone, Debug)]
pub struct Machine {
    daemons: Vec<Daemon>,
    ready: bool,
    /// All is to end, with this status.
    stopping: Option<u8>,
    ended: bool,
}

impl Machine {
    /// A supervisor of `count` daemons, to be started at `now`.
    #[must_use]
    pub fn new(count: usize, now: Time) -> Self {
        let daemon = Daemon { state: State::Waiting(now), waits: Backoff::new(WAITS) };
        Self { daemons: vec![daemon; count], ready: false, stopping: None, ended: false }
    }

    /// Takes what happened; what is to be done now.
    #[must_use]
    pub fn step(&mut self, now: Time, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        match input {
            Input::Ended(index) => self.ended(index, now, &mut out),
            Input::Listening(index) => {
                if let Some(Daemon { state: State::Running { listening, .. }, .. }) =
                    self.daemons.get_mut(index)
                {
                    *listening = true;
                }
            }
            Input::Restart => self.restart(now, &mut out),
            Input::Stop => self.stop(0, now, &mut out),
            Input::Tick => {}
        }
        self.due(now, &mut out);
        out
    }

    /// When to call [`Machine::step`] again although nothing happens.
    #[must_use]
    pub fn next_wake(&self, now: Time) -> Option<Time> {
        let of = |daemon: &Daemon| match daemon.state {
            State::Waiting(at) | State::Ending(at) => Some(at),
            State::Running { listening: false, .. } if !self.ready => Some(now + LOOK),
            _ => None,
        };
        self.daemons.iter().filter_map(of).min()
    }

    fn ended(&mut self, index: usize, now: Time, out: &mut Vec<Action>) {
        let Some(daemon) = self.daemons.get_mut(index) else { return };
        daemon.state = match daemon.state {
            _ if self.stopping.is_some() => State::Gone,
            State::Running { since, .. } if now.since(since) < QUICK => {
                if daemon.waits.taken() + 1 >= QUICK_MAX {
                    daemon.state = State::Gone;
                    out.push(Action::GiveUp(index));
                    return self.stop(1, now, out);
                }
                State::Waiting(now + daemon.waits.next())
            }
            State::Gone => State::Gone,
            _ => {
                daemon.waits.reset();
                State::Waiting(now)
            }
        };
    }

    fn restart(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.stopping.is_some() {
            return;
        }
        for (index, daemon) in self.daemons.iter_mut().enumerate() {
            match daemon.state {
                State::Running { .. } => {
                    daemon.state = State::Ending(now + PATIENCE);
                    out.push(Action::Terminate(index));
                }
                State::Waiting(_) => daemon.state = State::Waiting(now),
                State::Ending(_) | State::Killed | State::Gone => {}
            }
        }
    }

    fn stop(&mut self, status: u8, now: Time, out: &mut Vec<Action>) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(status);
        out.push(Action::Stopping);
        for (index, daemon) in self.daemons.iter_mut().enumerate() {
            match daemon.state {
                State::Running { .. } => {
                    daemon.state = State::Ending(now + PATIENCE);
                    out.push(Action::Terminate(index));
                }
                State::Waiting(_) => daemon.state = State::Gone,
                State::Ending(_) | State::Killed | State::Gone => {}
            }
        }
    }

    /// Does what its time has come for.
    fn due(&mut self, now: Time, out: &mut Vec<Action>) {
        for (index, daemon) in self.daemons.iter_mut().enumerate() {
            match daemon.state {
                State::Waiting(at) if at <= now => {
                    daemon.state = State::Running { since: now, listening: false };
                    out.push(Action::Start(index));
                }
                State::Ending(at) if at <= now => {
                    daemon.state = State::Killed;
                    out.push(Action::Kill(index));
                }
                State::Running { listening: false, .. } if !self.ready => {
                    out.push(Action::Look(index));
                }
                _ => {}
            }
        }
        let up = |daemon: &Daemon| matches!(daemon.state, State::Running { listening: true, .. });
        if !self.ready && self.daemons.iter().all(up) {
            self.ready = true;
            out.push(Action::Ready);
        }
        let gone = |daemon: &Daemon| daemon.state == State::Gone;
        if let (Some(status), false) = (self.stopping, self.ended) {
            if self.daemons.iter().all(gone) {
                self.ended = true;
                out.push(Action::End(status));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    /// Two daemons that run and listen since time zero.
    fn up() -> Machine {
        let mut machine = Machine::new(2, at(0));
        assert_eq!(machine.step(at(0), Input::Tick), [Action::Start(0), Action::Start(1)]);
        assert_eq!(machine.step(at(5), Input::Listening(1)), [Action::Look(0)]);
        assert_eq!(machine.step(at(9), Input::Listening(0)), [Action::Ready]);
        assert_eq!(machine.next_wake(at(9)), None);
        machine
    }

    #[test]
    fn readiness_is_said_once() {
        let mut machine = up();
        assert_eq!(machine.step(at(5000), Input::Ended(0)), [Action::Start(0)]);
        assert_eq!(machine.step(at(5010), Input::Listening(0)), []);
        assert_eq!(machine.next_wake(at(5010)), None);
    }

    #[test]
    fn a_socket_of_a_daemon_that_ended_does_not_count() {
        let mut machine = Machine::new(1, at(0));
        assert_eq!(machine.step(at(0), Input::Tick), [Action::Start(0)]);
        assert_eq!(machine.next_wake(at(0)), Some(at(20)));
        assert_eq!(machine.step(at(20), Input::Ended(0)), []);
        assert_eq!(machine.step(at(21), Input::Listening(0)), []);
        assert_eq!(machine.next_wake(at(21)), Some(at(120)));
        assert_eq!(machine.step(at(120), Input::Tick), [Action::Start(0)]);
        assert_eq!(machine.step(at(130), Input::Listening(0)), [Action::Ready]);
    }

    #[test]
    fn the_fifth_quick_end_in_a_row_ends_everything() {
        let mut machine = up();
        let mut now = 2000;
        assert_eq!(machine.step(at(now), Input::Ended(0)), [Action::Start(0)]);
        for wait in [100, 400, 1500, 5000] {
            now += 999;
            assert_eq!(machine.step(at(now), Input::Ended(0)), []);
            assert_eq!(machine.next_wake(at(now)), Some(at(now + wait)));
            now += wait;
            assert_eq!(machine.step(at(now), Input::Tick), [Action::Start(0)]);
        }
        let end = [Action::GiveUp(0), Action::Stopping, Action::Terminate(1)];
        assert_eq!(machine.step(at(now + 1), Input::Ended(0)), end);
        assert_eq!(machine.step(at(now + 2), Input::Ended(1)), [Action::End(1)]);
    }

    #[test]
    fn a_long_life_forgives() {
        let mut machine = up();
        let mut now = 0;
        for _ in 0..20 {
            now += 900;
            assert_eq!(machine.step(at(now), Input::Ended(0)), []);
            now += 100;
            assert_eq!(machine.step(at(now), Input::Tick), [Action::Start(0)]);
            now += 1000;
            assert_eq!(machine.step(at(now), Input::Ended(0)), [Action::Start(0)]);
        }
    }

    #[test]
    fn a_stop_is_polite_for_a_while() {
        let mut machine = up();
        let first = [Action::Stopping, Action::Terminate(0), Action::Terminate(1)];
        assert_eq!(machine.step(at(3000), Input::Stop), first);
        assert_eq!(machine.step(at(3001), Input::Stop), []);
        assert_eq!(machine.step(at(3100), Input::Ended(0)), []);
        assert_eq!(machine.next_wake(at(3100)), Some(at(8000)));
        assert_eq!(machine.step(at(8000), Input::Tick), [Action::Kill(1)]);
        assert_eq!(machine.step(at(8001), Input::Ended(1)), [Action::End(0)]);
    }

    #[test]
    fn a_restart_is_no_failure_to_start() {
        let mut machine = up();
        for round in 0..9 {
            let now = at(10 + round);
            let ask = [Action::Terminate(0), Action::Terminate(1)];
            assert_eq!(machine.step(now, Input::Restart), ask);
            assert_eq!(machine.step(now, Input::Restart), []);
            assert_eq!(machine.step(now, Input::Ended(0)), [Action::Start(0)]);
            assert_eq!(machine.step(now, Input::Ended(1)), [Action::Start(1)]);
        }
    }

    fn inputs() -> impl Strategy<Value = Vec<(u64, u8, usize)>> {
        proptest::collection::vec((0_u64..7000, 0_u8..16, 0_usize..3), 0..80)
    }

    proptest! {
        /// A model of the processes: what is started runs, what is killed ends.
        #[test]
        fn never_two_of_one_and_always_an_end(inputs in inputs()) {
            let (mut machine, mut now) = (Machine::new(3, at(0)), 0);
            let (mut alive, mut ended) = ([false; 3], false);
            let mut apply = |actions: Vec<Action>, alive: &mut [bool; 3]| {
                for action in actions {
                    assert!(!ended, "nothing is done behind the end");
                    match action {
                        Action::Start(index) => {
                            assert!(!alive[index], "{index} runs already");
                            alive[index] = true;
                        }
                        Action::Terminate(index) | Action::Kill(index) | Action::Look(index) => {
                            assert!(alive[index], "{index} does not run");
                        }
                        Action::End(_) => {
                            assert_eq!(*alive, [false; 3]);
                            ended = true;
                        }
                        Action::GiveUp(_) | Action::Ready | Action::Stopping => {}
                    }
                }
                ended
            };
            apply(machine.step(at(0), Input::Tick), &mut alive);
            for (span, kind, index) in inputs {
                now += span;
                let input = match kind {
                    0 => Input::Stop,
                    1 | 2 => Input::Restart,
                    3..=8 if alive[index] => {
                        alive[index] = false;
                        Input::Ended(index)
                    }
                    9..=12 => Input::Listening(index),
                    _ => Input::Tick,
                };
                apply(machine.step(at(now), input), &mut alive);
            }
            let mut done = apply(machine.step(at(now), Input::Stop), &mut alive);
            for index in 0..3 {
                if std::mem::take(&mut alive[index]) {
                    done = apply(machine.step(at(now), Input::Ended(index)), &mut alive);
                }
            }
            prop_assert!(done);
        }
    }
}
