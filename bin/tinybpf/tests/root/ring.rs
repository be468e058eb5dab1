// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ring buffers under edge-triggered loops, and the ring that goes the other way.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{isolated, object};
use bpf::error::Kind;
use bpf::object::{Object, OpenOptions};
use bpf::program::{Program, TestRun};
use bpf::ring::{BUDGET, RingId, RingReader, UserRing};
use bpf::value::Value;
use mio::{Events, Interest, Poll, Token};
use plinth::rand::Rng;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Events of the edge-trigger test.
const MILLION: u64 = 1_000_000;

/// How often one run of the producer looks for the moment to write a record.
const LOOKS: u32 = 20_000;

/// Lines of a cache that the reader stores to with an event, at most: what fits into the queue of
/// a processor's stores with some room left.
const COLD_MAX: u64 = 40;

/// Longer than any wake-up takes on a loaded machine.
const STALLED: Duration = Duration::from_millis(500);

fn load(burst: u32, wake_flags: u64) -> Object {
    let mut open = OpenOptions::new().open(&object("ring")).expect("opens");
    open.set_global("burst", &Value::from(burst)).expect("known");
    open.set_global("wake_flags", &Value::from(wake_flags)).expect("known");
    open.load().expect("loads")
}

fn reader(object: &Object, maps: &[&str]) -> RingReader {
    let mut reader = RingReader::new().expect("a reader");
    for map in maps {
        reader.add(&object.map(map).expect(map)).expect(map);
    }
    reader
}

fn run(program: &Program) -> u32 {
    program.test_run(&TestRun::default()).expect("runs").retval
}

fn sequence(data: &[u8]) -> u64 {
    u64::from_ne_bytes(data[8..16].try_into().expect("8 bytes"))
}

fn edge_triggered(reader: &mut RingReader) -> Poll {
    let poll = Poll::new().expect("a loop");
    poll.registry().register(reader, Token(0), Interest::READABLE).expect("registered");
    poll
}

/// Keeps this thread to the CPU with this place among those that are allowed, if there are so many.
fn keep_to(place: usize) {
    let allowed = sched_getaffinity(None).expect("a set");
    let cpu = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).nth(place);
    if let Some(cpu) = cpu {
        let mut set = CpuSet::new();
        set.set(cpu);
        sched_setaffinity(None, &set).expect("it was allowed");
    }
}

/// Memory that is in no near cache: stores there keep a processor's later ones waiting.
struct Cold {
    lines: Vec<AtomicU64>,
    at: usize,
}

impl Cold {
    /// 8 MiB.
    fn new() -> Self {
        Self { lines: (0..1 << 20).map(|_| AtomicU64::new(0)).collect(), at: 0 }
    }

    /// Stores something in so many lines of a cache.
    fn store(&mut self, lines: u64) {
        for _ in 0..lines {
            self.at = (self.at + 7 * 8) % self.lines.len();
            self.lines[self.at].store(1, Ordering::Relaxed);
        }
    }
}

/// The reader's last step is a race: it stores its position, and looks whether there is more. A
/// processor may do the second first, while the store waits for earlier ones; a record that is
/// written just then is neither seen nor announced. Here the producer writes each record right
/// then, on another CPU, and the reader makes its own stores slow. Without the fence in
/// [`bpf::ring`] one event of some thousands is lost this way on x86-64.
#[test]
fn root_a_million_edges_lose_no_wakeup() {
    isolated(module_path!(), "root_a_million_edges_lose_no_wakeup", || {
        let object = load(LOOKS, 0);
        let mut reader = reader(&object, &["events"]);
        let mut poll = edge_triggered(&mut reader);
        let program = object.program("chase").expect("chase");
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let producer = std::thread::spawn(move || {
            keep_to(1);
            while !told.load(Ordering::Relaxed) {
                run(&program);
            }
        });
        keep_to(0);
        let (mut next, mut stalls) = (0, 0);
        let (mut lines, mut cold) = (Rng::seeded(1), Cold::new());
        let mut events = Events::with_capacity(4);
        while next < MILLION && stalls < 10 && !producer.is_finished() {
            poll.poll(&mut events, Some(STALLED)).expect("a turn");
            if events.is_empty() && reader.pending() {
                // Unless the news of it are just on their way.
                poll.poll(&mut events, Some(STALLED)).expect("a turn");
                stalls += u64::from(events.is_empty());
            }
            loop {
                let drained = reader.drain(BUDGET, |sample| {
                    assert_eq!((sample.map, sequence(sample.data)), (0, next));
                    next += 1;
                    cold.store(lines.below(COLD_MAX));
                    ControlFlow::Continue(())
                });
                if !drained.more {
                    break;
                }
            }
        }
        over.store(true, Ordering::Relaxed);
        producer.join().expect("the producer");
        assert!(next >= MILLION && stalls == 0, "{stalls} stalls in {next} events");
        assert_eq!(object.global("events_dropped").expect("v").get().expect("v"), Value::U64(0));
    });
}

#[test]
fn root_an_early_stop_leaves_a_mark() {
    isolated(module_path!(), "root_an_early_stop_leaves_a_mark", || {
        let object = load(10, 0);
        let mut reader = reader(&object, &["events"]);
        let emit = object.program("emit").expect("emit");
        run(&emit);
        let first = reader.drain(BUDGET, |_| ControlFlow::Break(()));
        assert_eq!((first.events, first.stopped, first.more), (1, true, true));
        let budget = reader.drain(4, |_| ControlFlow::Continue(()));
        assert_eq!((budget.events, budget.stopped, budget.more), (4, false, true));
        let rest = reader.drain(5, |_| ControlFlow::Continue(()));
        assert_eq!((rest.events, rest.more), (5, false), "exactly the budget, and nothing left");
        // What is left at the end of the programs can still be read.
        run(&emit);
        drop((emit, object));
        let mut last = Vec::new();
        while let Some(sample) = reader.next() {
            last.push(sequence(sample.data));
        }
        assert!(last.into_iter().eq(10..20));
    });
}

#[test]
fn root_readers_refuse_what_is_no_ring_or_known() {
    isolated(module_path!(), "root_readers_refuse_what_is_no_ring_or_known", || {
        let object = load(1, 0);
        let mut reader = RingReader::new().expect("a reader");
        let empty = reader.poll(None, |_| ControlFlow::Continue(())).expect_err("no maps");
        assert_eq!(empty.kind(), Kind::Empty);
        assert!(empty.to_string().contains("no maps added"));
        let wrong = reader.add(&object.map("ring.bss").expect("m")).expect_err("an array");
        assert!(wrong.to_string().contains("expected RINGBUF"), "{wrong}");
        let events = object.map("events").expect("m");
        assert_eq!(reader.add(&events).expect("added"), RingId(0));
        let again = reader.add(&events.try_clone().expect("a copy")).expect_err("twice");
        assert!(again.to_string().contains("already added"), "{again}");
    });
}

#[test]
fn root_two_rings_share_a_reader_and_none_is_starved() {
    isolated(module_path!(), "root_two_rings_share_a_reader_and_none_is_starved", || {
        let object = load(1, 0);
        let mut reader = reader(&object, &["events", "ticks"]);
        let both = object.program("emit_both").expect("p");
        for _ in 0..100 {
            run(&both);
        }
        let mut seen = [0; 2];
        for _ in 0..4 {
            let drained = reader.drain(10, |sample| {
                seen[sample.map] += 1;
                ControlFlow::Continue(())
            });
            assert!(drained.more);
        }
        assert_eq!(seen, [20, 20], "turn by turn");
        let stats = reader.stats(RingId(1)).expect("stats");
        assert_eq!((stats.size, stats.unread, stats.consumer), (16384, 80 * 16, 20 * 16));
    });
}

#[test]
fn root_a_panic_in_the_callback_consumes_its_sample() {
    isolated(module_path!(), "root_a_panic_in_the_callback_consumes_its_sample", || {
        let object = load(2, 0);
        let mut reader = reader(&object, &["events"]);
        run(&object.program("emit").expect("p"));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            reader.drain(BUDGET, |_| panic!("in the callback"));
        }));
        assert!(panicked.is_err());
        let mut left = Vec::new();
        reader.drain(BUDGET, |sample| {
            left.push(sequence(sample.data));
            ControlFlow::Continue(())
        });
        assert_eq!(left, [1]);
    });
}

#[test]
fn root_odd_sizes_and_discarded_records_come_out_right() {
    isolated(module_path!(), "root_odd_sizes_and_discarded_records_come_out_right", || {
        let object = load(1, 0);
        let mut reader = reader(&object, &["ticks", "events"]);
        // More than once around the ring.
        let odd = object.program("emit_odd").expect("p");
        for _ in 0..200 {
            run(&odd);
            let mut extras = Vec::new();
            reader.drain(BUDGET, |sample| {
                extras.push((sample.data.len(), sample.data[8]));
                ControlFlow::Continue(())
            });
            assert!(extras.into_iter().eq((1..8).map(|extra| (8 + usize::from(extra), extra))));
        }
        run(&object.program("emit_after_discard").expect("p"));
        let drained = reader.drain(BUDGET, |_| ControlFlow::Continue(()));
        assert_eq!((drained.events, drained.more), (1, false));
    });
}

#[test]
fn root_a_full_ring_drops_and_the_program_counts() {
    isolated(module_path!(), "root_a_full_ring_drops_and_the_program_counts", || {
        // 64 KiB hold 1638 records of 40 bytes.
        let object = load(2000, 0);
        let mut reader = reader(&object, &["events"]);
        let dropped = run(&object.program("emit").expect("p"));
        let drained = reader.drain(usize::MAX, |_| ControlFlow::Continue(()));
        assert_eq!(drained.events + u64::from(dropped), 2000);
        let counted = object.global("events_dropped").expect("v").get().expect("v");
        assert_eq!(counted, Value::U64(dropped.into()));
        assert!(dropped > 0);
    });
}

#[test]
fn root_silent_records_are_found_by_the_interval() {
    isolated(module_path!(), "root_silent_records_are_found_by_the_interval", || {
        // BPF_RB_NO_WAKEUP
        let object = load(3, 1);
        let mut reader = reader(&object, &["events"]);
        reader.set_interval(Some(Duration::from_millis(5)));
        let emit = object.program("emit").expect("p");
        let late = std::thread::spawn(move || run(&emit));
        let mut events = 0;
        while events < 3 {
            let drained = reader.poll(Some(Duration::from_secs(20)), |_| ControlFlow::Continue(()));
            let drained = drained.expect("a turn");
            assert!(drained.events > 0, "the interval is shorter than the time-out");
            events += drained.events;
        }
        late.join().expect("the producer");
        let nothing = reader.poll(Some(Duration::ZERO), |_| ControlFlow::Continue(()));
        assert_eq!(nothing.expect("a turn").events, 0);
    });
}

#[test]
fn root_a_held_record_blocks_and_then_wakes() {
    isolated(module_path!(), "root_a_held_record_blocks_and_then_wakes", || {
        let mut open = OpenOptions::new().open(&object("ring")).expect("opens");
        open.set_global("hold_rounds", &Value::from(200_000_u32)).expect("known");
        let object = open.load().expect("loads");
        let mut reader = reader(&object, &["events"]);
        let mut poll = edge_triggered(&mut reader);
        let hold = object.program("hold").expect("p");
        let holding = object.global("holding").expect("v");
        let holder = std::thread::spawn(move || run(&hold));
        while holding.get().expect("v") == Value::U64(0) && !holder.is_finished() {
            std::thread::yield_now();
        }
        run(&object.program("emit").expect("p"));
        let mut found = Vec::new();
        let mut events = Events::with_capacity(4);
        loop {
            reader.drain(BUDGET, |sample| {
                found.push(sequence(sample.data));
                ControlFlow::Continue(())
            });
            if found.len() == 2 {
                break;
            }
            poll.poll(&mut events, Some(Duration::from_secs(20))).expect("a turn");
            assert!(!events.is_empty(), "the record that blocked wakes the reader");
        }
        assert_eq!(found, [u64::MAX, 0], "in the order of reservation");
        holder.join().expect("the holder");
    });
}

#[test]
fn root_user_rings_carry_what_was_submitted() {
    isolated(module_path!(), "root_user_rings_carry_what_was_submitted", || {
        let object = Object::load(&object("user_ring")).expect("loads");
        let map = object.map("commands").expect("m");
        let mut ring = UserRing::new(&map).expect("a producer");
        let drain = object.program("drain").expect("p");
        let get = |name: &str| {
            object.global(name).expect(name).get().expect(name).as_integer().expect("a number")
        };
        let (mut sent, mut sum) = (0_u64, 0_u64);
        loop {
            match ring.reserve(8) {
                Ok(mut slot) => {
                    sent += 1;
                    slot.copy_from_slice(&sent.to_ne_bytes());
                    if sent % 2 == 0 {
                        sum += sent;
                        slot.submit();
                    }
                }
                Err(full) => {
                    assert_eq!(full.kind(), Kind::Full);
                    break;
                }
            }
        }
        assert_eq!(sent, 4096, "16 bytes each in 64 KiB");
        let never = ring.reserve(1 << 16).map(|_| ()).expect_err("too large");
        assert_eq!(never.kind(), Kind::OutOfRange);
        let error = ring.reserve_blocking(8, Duration::ZERO).map(|_| ()).expect_err("full");
        assert_eq!(error.kind(), Kind::Full);
        let drainer = std::thread::spawn(move || run(&drain));
        ring.reserve_blocking(8, Duration::from_secs(20)).expect("room again").submit();
        drainer.join().expect("the program");
        run(&object.program("drain").expect("p"));
        run(&object.program("drain").expect("p"));
        assert!(
            get("count") >= 2048 && get("sum") >= sum.into(),
            "{} {}",
            get("count"),
            get("sum")
        );
        assert_eq!(get("too_short"), 0);
        let wrong = UserRing::new(&object.map("user_rin.bss").expect("m")).map(|_| ());
        assert_eq!(wrong.expect_err("an array").kind(), Kind::Mismatch);
    });
}
