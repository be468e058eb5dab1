// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Perf buffers: alone, under an outer loop, around their end, and full.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::support::{descriptors, isolated, object};
use bpf::error::Kind;
use bpf::object::{Object, OpenOptions};
use bpf::perf::{PerfEvent, PerfOpts, PerfReader};
use bpf::program::TestRun;
use bpf::value::Value;
use mio::{Events, Interest, Poll, Token};

/// `struct event` of the object.
const EVENT: usize = 32;

fn load(burst: u32) -> Object {
    let mut open = OpenOptions::new().open(&object("perf")).expect("opens");
    open.set_global("burst", &Value::from(burst)).expect("known");
    open.load().expect("loads")
}

fn emit(object: &Object) {
    object.program("emit").expect("p").test_run(&TestRun::default()).expect("runs");
}

fn sequence(data: &[u8]) -> u64 {
    u64::from_ne_bytes(data[8..16].try_into().expect("8 bytes"))
}

#[test]
fn root_nested_buffers_deliver_everything() {
    isolated(module_path!(), "root_nested_buffers_deliver_everything", || {
        let object = load(50);
        let map = object.map("events").expect("m");
        let mut reader = PerfReader::new(&map, PerfOpts::default()).expect("a reader");
        let mut poll = Poll::new().expect("a loop");
        poll.registry().register(&mut reader, Token(0), Interest::READABLE).expect("registered");
        let mut events = Events::with_capacity(4);
        let mut next = 0;
        for round in 1..=100 {
            emit(&object);
            poll.poll(&mut events, Some(Duration::from_secs(20))).expect("a turn");
            assert!(!events.is_empty(), "round {round}");
            let drained = reader.drain(usize::MAX, |event| {
                let PerfEvent::Sample { data, .. } = event else { panic!("nothing is lost") };
                assert!((EVENT..EVENT + 8).contains(&data.len()));
                assert_eq!(data.len() % 8, 4, "the length's four bytes belong to the multiple");
                assert_eq!(sequence(data), next, "one CPU at a time keeps the order");
                next += 1;
                ControlFlow::Continue(())
            });
            assert_eq!((drained.events, drained.more), (50, false), "round {round}");
        }
    });
}

#[test]
fn root_losses_are_told_with_a_later_sample() {
    isolated(module_path!(), "root_losses_are_told_with_a_later_sample", || {
        let object = load(4000);
        let map = object.map("events").expect("m");
        let options = PerfOpts { pages: 1, ..PerfOpts::default() };
        let mut reader = PerfReader::new(&map, options).expect("a reader");
        emit(&object);
        let (mut samples, mut lost) = (0_u64, 0);
        let mut count = |event: PerfEvent<'_>| {
            match event {
                PerfEvent::Sample { .. } => samples += 1,
                PerfEvent::Lost { count, .. } => lost += count,
            }
            ControlFlow::Continue(())
        };
        // The loss is told before the first sample that finds room again.
        for _ in 0..16 {
            reader.drain(usize::MAX, &mut count);
            emit(&object);
        }
        reader.drain(usize::MAX, &mut count);
        assert!(lost > 4000, "{lost}");
        assert_eq!(reader.lost().map(|(_, lost)| lost).sum::<u64>(), lost);
        let sent = object.global("sequence").expect("v").get().expect("v").as_integer();
        assert!(samples + lost <= u64::try_from(sent.expect("a number")).expect("positive"));
    });
}

#[test]
fn root_budget_and_stop_leave_the_rest() {
    isolated(module_path!(), "root_budget_and_stop_leave_the_rest", || {
        let object = load(20);
        let map = object.map("events").expect("m");
        let mut reader = PerfReader::new(&map, PerfOpts::default()).expect("a reader");
        emit(&object);
        let some = reader.drain(5, |_| ControlFlow::Continue(()));
        assert_eq!((some.events, some.more, some.stopped), (5, true, false));
        let one = reader.drain(usize::MAX, |_| ControlFlow::Break(()));
        assert_eq!((one.events, one.more, one.stopped), (1, true, true));
        let rest = reader.poll(None, usize::MAX, |_| ControlFlow::Continue(())).expect("a turn");
        assert_eq!((rest.events, rest.more), (14, false));
    });
}

#[test]
fn root_wrong_maps_and_page_counts_are_refused() {
    isolated(module_path!(), "root_wrong_maps_and_page_counts_are_refused", || {
        let object = load(1);
        let map = object.map("events").expect("m");
        let refused =
            |map, options| PerfReader::new(map, options).map(|_| ()).expect_err("refused");
        let error = refused(&map, PerfOpts { pages: 3, ..PerfOpts::default() });
        assert!(error.to_string().contains("must be a power of two, got 3"), "{error}");
        let error = refused(&object.map("perf.bss").expect("m"), PerfOpts::default());
        assert_eq!(error.kind(), Kind::Mismatch);
        assert!(error.to_string().contains("expected PERF_EVENT_ARRAY"), "{error}");
        let before = descriptors();
        drop(PerfReader::new(&map, PerfOpts::default()).expect("a reader"));
        assert_eq!(descriptors(), before);
    });
}
