// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the router: in memory over fake places, and over the real sinks in a place directory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::*;

#[derive(Default)]
struct World {
    /// Places that exist, by rank, with the error they answer with.
    open: BTreeMap<usize, Option<ErrorKind>>,
    /// What arrived where.
    got: Vec<(usize, String)>,
    looks: usize,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<World>>);

struct FakeSink(usize, Fake);

impl Sink for FakeSink {
    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut world = self.1.0.lock().expect("lock");
        match world.open.get(&self.0) {
            Some(Some(kind)) => Err((*kind).into()),
            None if self.0 != LAST => Err(ErrorKind::NotFound.into()),
            _ => {
                world.got.push((self.0, line.text.clone()));
                Ok(())
            }
        }
    }
}

impl Places for Fake {
    fn better_than(&mut self, _: Target, rank: usize) -> Option<(usize, Box<dyn Sink>)> {
        let mut world = self.0.lock().expect("lock");
        world.looks += 1;
        let found = world.open.keys().copied().find(|&other| other < rank)?;
        Some((found, Box::new(FakeSink(found, self.clone()))))
    }

    fn last_resort(&mut self, _: Target) -> Box<dyn Sink> {
        Box::new(FakeSink(LAST, self.clone()))
    }

    fn worth_waiting(&self, target: Target) -> bool {
        target == Target::Syslog
    }
}

impl Fake {
    fn set(&self, rank: usize, state: Option<ErrorKind>) {
        self.0.lock().expect("lock").open.insert(rank, state);
    }

    fn close(&self, rank: usize) {
        self.0.lock().expect("lock").open.remove(&rank);
    }

    fn got(&self) -> Vec<(usize, String)> {
        std::mem::take(&mut self.0.lock().expect("lock").got)
    }
}

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

fn router(target: Target) -> (Fake, Router<Fake>) {
    let fake = Fake::default();
    (fake.clone(), Router::new(at(0), target, fake))
}

fn log(router: &mut Router<Fake>, millis: u64, text: &str) {
    router.log(at(millis), Line::new(Level::Info, text));
}

fn lines(rank: usize, texts: &[&str]) -> Vec<(usize, String)> {
    texts.iter().map(|&text| (rank, text.to_owned())).collect()
}

#[test]
fn lines_from_before_the_first_place_arrive_in_order() {
    // R019
    let (fake, mut router) = router(Target::Syslog);
    log(&mut router, 0, "one");
    log(&mut router, 50, "two");
    assert_eq!(router.tick(at(60)), Some(at(100)));
    fake.set(0, None);
    assert_eq!(router.tick(at(100)), None);
    assert_eq!(fake.got(), lines(0, &["one", "two"]));
    log(&mut router, 200, "three");
    assert_eq!(fake.got(), lines(0, &["three"]));
}

#[test]
fn after_the_grace_period_the_last_resort_gets_them() {
    let (fake, mut router) = router(Target::Syslog);
    log(&mut router, 0, "one");
    let (mut now, mut turns) = (at(0), 0);
    while let Some(next) = router.tick(now) {
        assert!(now < next);
        (now, turns) = (next, turns + 1);
    }
    assert_eq!((now, turns), (at(5000), 50));
    assert_eq!(fake.got(), lines(LAST, &["one"]));
    fake.set(1, None);
    log(&mut router, 5500, "two");
    assert_eq!(fake.got(), lines(LAST, &["two"]), "looked for a moment ago");
    log(&mut router, 6000, "three");
    assert_eq!(fake.got(), lines(1, &["three"]), "a place that appears late takes over");
}

#[test]
fn an_impatient_target_is_written_at_once() {
    let (fake, mut router) = router(Target::Stderr);
    log(&mut router, 0, "one");
    assert_eq!(fake.got(), lines(LAST, &["one"]));
    assert_eq!(router.tick(at(0)), None);
}

#[test]
fn a_place_that_goes_away_loses_nothing() {
    let (fake, mut router) = router(Target::Syslog);
    fake.set(0, None);
    log(&mut router, 0, "one");
    fake.close(0);
    log(&mut router, 10_000, "two");
    assert_eq!(fake.got(), lines(0, &["one"]));
    assert!(router.tick(at(10_050)).is_some(), "held, with a grace period of its own");
    fake.set(1, None);
    assert_eq!(router.tick(at(10_200)), None);
    assert_eq!(fake.got(), lines(1, &["two"]));
}

#[test]
fn a_place_that_is_full_costs_lines_and_says_how_many() {
    let (fake, mut router) = router(Target::Syslog);
    fake.set(0, Some(ErrorKind::WouldBlock));
    log(&mut router, 0, "one");
    log(&mut router, 1, "two");
    fake.set(0, None);
    log(&mut router, 2, "three");
    assert_eq!(fake.got(), lines(0, &["2 lines of this log were lost", "three"]));
}

#[test]
fn held_lines_are_bounded() {
    let (fake, mut router) = router(Target::Syslog);
    for n in 0..HELD_MAX + 10 {
        log(&mut router, 0, &n.to_string());
    }
    fake.set(0, None);
    router.finish(at(1));
    let got = fake.got();
    assert_eq!(got.len(), HELD_MAX + 1);
    assert_eq!(got[0].1, "10 lines of this log were lost");
    assert_eq!(got[1].1, "10");
}

#[test]
fn repeated_lines_are_summed_up_by_the_tick() {
    let (fake, mut router) = router(Target::Stderr);
    for _ in 0..4 {
        log(&mut router, 0, "down");
    }
    assert_eq!(router.tick(at(1)), Some(at(1000)));
    assert_eq!(router.tick(at(1000)), None);
    assert_eq!(fake.got(), lines(LAST, &["down", "down (repeated 3 times more)"]));
}

#[test]
fn the_end_of_the_program_delivers_what_is_held() {
    let (fake, mut router) = router(Target::Syslog);
    log(&mut router, 0, "one");
    log(&mut router, 0, "one");
    router.finish(at(10));
    assert_eq!(fake.got(), lines(LAST, &["one", "one (repeated once more)"]));
}

#[test]
fn the_best_place_is_not_looked_for_again() {
    let (fake, mut router) = router(Target::Syslog);
    fake.set(0, None);
    for millis in [0, 2000, 4000] {
        log(&mut router, millis, &millis.to_string());
    }
    assert_eq!(fake.0.lock().expect("lock").looks, 1);
}

mod real {
    use std::os::unix::net::UnixDatagram;

    use super::super::super::{Paths, System};
    use super::*;
    use crate::testing::{Place, ready};

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let len = ready(socket).recv(&mut buffer).expect("a line");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    #[test]
    fn the_sinks_of_a_system_follow_each_other() {
        let place = Place::new();
        let paths = Paths {
            journal: place.join("journal"),
            syslog: place.join("log"),
            kmsg: place.join("kmsg"),
            initrd: place.join("initrd-release"),
        };
        std::fs::write(&paths.kmsg, "").expect("write");
        let system = System::new("stafd", paths.clone(), None);
        let mut router = Router::new(at(0), Target::Syslog, system);
        router.log(at(0), Line::new(Level::Info, "early"));
        assert_eq!(std::fs::read_to_string(&paths.kmsg).expect("read"), "", "not in an initramfs");

        std::fs::write(&paths.initrd, "").expect("write");
        router.tick(at(1000));
        let kmsg = std::fs::read_to_string(&paths.kmsg).expect("read");
        assert_eq!(kmsg, "<30>stafd: early\n");

        let syslog = UnixDatagram::bind(&paths.syslog).expect("bind");
        router.log(at(2000), Line::new(Level::Warn, "later"));
        assert_eq!(receive(&syslog), "<28>stafd: later");

        let journal = UnixDatagram::bind(&paths.journal).expect("bind");
        router.log(at(4000), Line::new(Level::Error, "now"));
        assert_eq!(receive(&journal), "MESSAGE=now\nPRIORITY=3\nSYSLOG_IDENTIFIER=stafd\n");

        drop(journal);
        router.log(at(6000), Line::new(Level::Error, "gone"));
        assert_eq!(receive(&syslog), "<27>stafd: gone", "the next best place, at once");
    }
}
