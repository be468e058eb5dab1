// SPDX-License-Identifier: Apache-2.0 OR MIT
//! stacd's way to stafd over the control socket, against a stafd made up by the test.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use plinth::event::Handler;
use plinth::testing::Place;
use serde_json::json;

use super::*;
use crate::core::control;

/// What stafd's side does, step by step; each waits for the events named.
struct World {
    peer: Peer,
    path: PathBuf,
    listener: Option<UnixListener>,
    stafd: Option<BufReader<UnixStream>>,
    seen: Vec<StafdEvent>,
    step: usize,
    script: fn(&mut World, &mut Loop<Key>) -> io::Result<()>,
    /// Removed with this.
    _place: Place,
}

impl World {
    fn new(script: fn(&mut Self, &mut Loop<Key>) -> io::Result<()>) -> Self {
        let place = Place::new();
        let path = place.join("stafd/ctl.sock");
        let peer = Peer::new(&path, Time::monotonic());
        let (listener, stafd, seen) = (None, None, Vec::new());
        Self { peer, path, listener, stafd, seen, step: 0, script, _place: place }
    }

    fn run(&mut self) -> Vec<StafdEvent> {
        let mut lp = Loop::new().unwrap();
        lp.set_timer(lp.now() + Duration::from_secs(20), Key::StopLimit);
        lp.run(self).unwrap();
        std::mem::take(&mut self.seen)
    }

    /// stafd starts: its socket appears as the real one's does.
    fn stafd_starts(&mut self) {
        fs::create_dir_all(self.path.parent().unwrap()).unwrap();
        let unfinished = self.path.with_extension("new");
        drop(fs::remove_file(&unfinished));
        self.listener = Some(UnixListener::bind(&unfinished).unwrap());
        fs::rename(&unfinished, &self.path).unwrap();
    }

    fn stafd_stops(&mut self) {
        fs::remove_file(&self.path).unwrap();
        self.stafd = None;
        self.listener = None;
    }

    /// Reads the peer's next request.
    fn request(&mut self) -> Request {
        if self.stafd.is_none() {
            let (stream, _) = self.listener.as_ref().unwrap().accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            self.stafd = Some(BufReader::new(stream));
        }
        let mut line = String::new();
        self.stafd.as_mut().unwrap().read_line(&mut line).unwrap();
        Request::decode(line.trim_end().as_bytes()).unwrap()
    }

    fn say(&mut self, text: &str) {
        self.stafd.as_mut().unwrap().get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn subscribe(&mut self) {
        let request = self.request();
        assert_eq!(request.call, Call::Subscribe);
        self.say(&control::reply(request.id, &json!(null)));
    }
}

impl Handler for World {
    type Key = Key;

    fn ready(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<Progress> {
        match key {
            Key::Peer => return self.peer.ready(lp),
            Key::PeerDirectory => self.peer.directory_changed(lp)?,
            _ => {}
        }
        Ok(Progress::Drained)
    }

    fn timer(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<()> {
        match key {
            Key::PeerWake => self.peer.woken(lp),
            Key::StopLimit => Err(io::Error::other(format!("stuck in step {}", self.step))),
            _ => Ok(()),
        }
    }

    fn settle(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        loop {
            self.seen.extend(self.peer.take_events());
            let before = self.step;
            (self.script)(self, lp)?;
            if self.step == before {
                break;
            }
        }
        self.peer.settle(lp);
        Ok(())
    }
}

fn answer(op: u64, result: Result<&str, &str>) -> StafdEvent {
    let result = result.map(str::to_owned).map_err(str::to_owned);
    StafdEvent::Answer { op: OpId(op), result }
}

#[test]
fn stafd_is_found_when_its_socket_appears_and_again_after_a_restart() {
    use StafdEvent::{Appeared, Vanished};
    let mut world = World::new(|world, lp| {
        match (world.step, world.seen.last()) {
            (0, _) => {
                world.peer.owner(lp, None)?; // the bus knows no stafd, and no directory is there
                world.stafd_starts();
            }
            (1, _) if world.peer.link.is_some() => world.subscribe(),
            (2, Some(Appeared)) => world.stafd_stops(),
            (3, Some(Vanished)) => world.stafd_starts(),
            (4, _) if world.peer.link.is_some() => world.subscribe(),
            (5, Some(Appeared)) => lp.stop(0),
            _ => return Ok(()),
        }
        world.step += 1;
        Ok(())
    });
    assert_eq!(world.run(), [Appeared, Vanished, Appeared]);
}

#[test]
fn questions_are_answered_and_signals_heard() {
    let mut world = World::new(|world, lp| {
        match (world.step, world.seen.last()) {
            (0, _) => {
                world.stafd_starts();
                world.peer.owner(lp, None)?;
            }
            (1, _) if world.peer.link.is_some() => world.subscribe(),
            (2, Some(StafdEvent::Appeared)) => world.peer.query(lp, None, OpId(0))?,
            (3, _) => {
                let request = world.request();
                assert_eq!(request.call, Call::GetAllLogPages { detailed: true });
                world.say(&control::reply_json(request.id, "[{\"log-pages\":[]}]"));
                world.say(&Signal::DcRemoved.encode());
            }
            (4, Some(StafdEvent::DcRemoved)) => world.peer.query(lp, None, OpId(7))?,
            (5, _) => {
                let request = world.request();
                world.say(&control::reply_error(request.id, control::FAILED, "not yet"));
            }
            (6, Some(StafdEvent::Answer { .. })) => {
                world.peer.query(lp, None, OpId(8))?;
                world.stafd_stops();
            }
            (7, Some(StafdEvent::Vanished)) => world.peer.query(lp, None, OpId(9))?,
            (8, _) => lp.stop(0),
            _ => return Ok(()),
        }
        world.step += 1;
        Ok(())
    });
    assert_eq!(
        world.run(),
        [
            StafdEvent::Appeared,
            answer(0, Ok("[{\"log-pages\":[]}]")),
            StafdEvent::DcRemoved,
            answer(7, Err("not yet")),
            answer(8, Err("stafd's control socket was closed")),
            StafdEvent::Vanished,
            answer(9, Err("stafd is not running")),
        ]
    );
}

#[test]
fn the_bus_comes_before_the_socket() {
    use StafdEvent::{Appeared, DcRemoved, LogPagesChanged, Vanished};
    let mut world = World::new(|world, lp| {
        match (world.step, world.seen.last()) {
            (0, _) => {
                world.stafd_starts();
                world.peer.owner(lp, None)?;
            }
            (1, _) if world.peer.link.is_some() => world.subscribe(),
            (2, Some(Appeared)) => {
                world.peer.owner(lp, Some(":1.1".to_owned()))?;
                assert!(world.peer.link.is_none());
                world.peer.heard(DcRemoved);
            }
            (3, _) => {
                // Another process has the name: nothing known of the one before is certain.
                world.peer.owner(lp, Some(":1.2".to_owned()))?;
                lp.stop(0);
            }
            _ => return Ok(()),
        }
        world.step += 1;
        Ok(())
    });
    assert_eq!(world.run(), [Appeared, LogPagesChanged, DcRemoved, Vanished, Appeared]);
}

#[test]
fn a_stafd_that_never_answers_costs_five_seconds_and_no_more() {
    let mut lp = Loop::<Key>::new().unwrap();
    let mut peer = Peer::new(Path::new("/nonexistent/ctl.sock"), lp.now());
    // As if the question went out over the socket five seconds ago.
    peer.via = Via::Socket;
    peer.queries.push(Query { op: OpId(3), token: None, deadline: lp.now() });
    peer.woken(&mut lp).unwrap();
    assert_eq!(peer.take_events(), [answer(3, Err("no answer from stafd in time"))]);
}
