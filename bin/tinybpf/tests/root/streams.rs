// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tinybpf events` under load: what counts as an event, and that it ends when it is told to.

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::said::TINYBPF;
use crate::support::{isolated, object};
use bpf::object::{Object, OpenOptions};
use bpf::program::TestRun;
use bpf::value::Value;

const BUFFER: &str = "/sys/fs/bpf/buffer";

/// An object whose program `emit` sends `burst` events, its buffer of so many bytes pinned.
fn load(name: &str, burst: u32, bytes: Option<u32>) -> Object {
    let mut open = OpenOptions::new().open(&object(name)).expect("opens");
    open.set_global("burst", &Value::from(burst)).expect("known");
    if let Some(bytes) = bytes {
        open.map("events").and_then(|mut map| map.set_max_entries(bytes)).expect("known");
    }
    let loaded = open.load().expect("loads");
    loaded.map("events").and_then(|map| map.pin(Path::new(BUFFER))).expect("pinned");
    loaded
}

fn emit(object: &Object) {
    object.program("emit").expect("p").test_run(&TestRun::default()).expect("runs");
}

/// Sends events from so many threads until the command ends, which it does well.
fn until_ended(child: &mut Child, object: &Object, threads: usize) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    emit(object);
                }
            });
        }
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| plinth::testing::ended(child)));
        over.store(true, Ordering::Relaxed);
        assert_eq!(ended.ok().and_then(|it| it.code()), Some(0), "it did not end, or not well");
    });
}

#[test]
fn root_every_form_of_events_is_filtered_and_bounded() {
    isolated(module_path!(), "root_every_form_of_events_is_filtered_and_bounded", || {
        let object = load("ring", 1000, None);
        // What is in the ring already is read in one go.
        let events = |options: &[&str]| {
            emit(&object);
            let words = [&["events", BUFFER, "--duration", "20ms"], options].concat();
            let output = Command::new(TINYBPF).args(words).output().expect("the command");
            let beside = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(0), "{beside}");
            (output.stdout.len(), beside)
        };
        let (bytes, beside) = events(&["--format", "raw", "--rate", "10"]);
        assert_eq!(bytes, 10 * 32);
        assert!(beside.contains("990 events were left out by --rate"), "{beside}");
        let (bytes, _) = events(&["--format", "raw", "--filter", "sequence=1007"]);
        assert_eq!(bytes, 32);
        let (bytes, _) = events(&["--format", "hex", "--filter", "sequence=2007"]);
        assert_eq!(bytes, 65);
    });
}

#[test]
fn root_losses_are_no_events_that_count() {
    isolated(module_path!(), "root_losses_are_no_events_that_count", || {
        // More than a buffer takes at once.
        let object = load("perf", 4000, None);
        let file = std::env::temp_dir().join(format!("events-{}", std::process::id()));
        let mut child = Command::new(TINYBPF)
            .args(["events", BUFFER, "--count", "3000"])
            .stdout(File::create(&file).expect("a file"))
            .stderr(Stdio::null())
            .spawn()
            .expect("the command");
        until_ended(&mut child, &object, 1);
        let text = std::fs::read_to_string(&file).expect("lines");
        drop(std::fs::remove_file(&file));
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert!(count("\"lost\":") > 0, "nothing was lost");
        assert_eq!(count("\"seq\":"), 3000);
    });
}

#[test]
fn root_a_stream_that_never_runs_dry_ends() {
    isolated(module_path!(), "root_a_stream_that_never_runs_dry_ends", || {
        // Two threads fill the ring faster than lines can be made of it.
        let object = load("ring", 1 << 20, Some(4 << 20));
        let mut child = Command::new(TINYBPF)
            .args(["events", BUFFER, "--duration", "2s"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command");
        until_ended(&mut child, &object, 2);
    });
}
