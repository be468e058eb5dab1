// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Manifests on this kernel: applied, applied again, changed, removed; and killed behind every
//! single action, whereupon the next run comes to the same end.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bpf::cli::{World, run};
use bpf::host::Host;
use bpf::ids;
use bpf::map::Map;
use bpf::program::Program;
use plinth::file::Lock;
use rustix::process::{Signal, getpid, kill_process};

use crate::said::{TINYBPF, tinybpf};
use crate::support::{isolated, object};

/// The action behind which the process is to die.
const KILL_AT: &str = "TINYBPF_TEST_KILL_AT";
/// The words that it is to run.
const WORDS: &str = "TINYBPF_TEST_WORDS";
const ROOT: &str = "/sys/fs/bpf/host";

/// A manifest with two objects, of which the second may be missing, and a place for it.
struct Place {
    directory: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("tinybpf-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        Self { directory }
    }

    fn manifest(&self) -> String {
        self.directory.join("boot.toml").display().to_string()
    }

    fn state(&self) -> PathBuf {
        self.directory.join("state.json")
    }

    /// Writes the manifest: which user is reported, and whether the second object is wanted.
    fn write(&self, uid: u32, has_second: bool) {
        let (exec, tcp) = (object("programs/exec"), object("programs/tcp_connects"));
        let second = if has_second {
            format!(
                "[[object]]\nname = \"tcp\"\npath = {tcp:?}\n\
                 [[object.attach]]\nprogram = \"state\"\nhook = \"auto\"\n"
            )
        } else {
            String::new()
        };
        let text = format!(
            "version = 1\npin_root = {ROOT:?}\nstate = {:?}\n\
             [[object]]\nname = \"exec\"\npath = {exec:?}\n\
             [[object.map]]\nname = \"config\"\ndefaults = true\nreuse = \"replace\"\n\
             entries = [ {{ key = 0, value = {{ target_uid = {uid} }} }} ]\n\
             [[object.attach]]\nprogram = \"trace_exec\"\nhook = \"auto\"\n\
             [[object.attach]]\nprogram = \"trace_exit\"\nhook = \"auto\"\n{second}",
            self.state()
        );
        fs::write(self.manifest(), text).expect("a manifest");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// Runs the command here; its status.
fn command(words: &[&str], after: &dyn Fn()) -> u8 {
    let mut out = Vec::new();
    let mut world = World {
        env: &|_| None,
        out: &mut out,
        terminal: false,
        is_process: false,
        after_action: after,
    };
    match run(words.iter().map(OsString::from), &mut world) {
        Ok(status) => status,
        Err((failure, _)) => panic!("{words:?}: {failure}"),
    }
}

fn plain(words: &[&str]) -> u8 {
    command(words, &|| ())
}

/// The same in a process that dies behind an action; whether it lived to the end.
fn killed(module: &str, test: &str, words: &[&str], at: u32) -> bool {
    let inner = module.split_once("::").map_or("", |(_, inner)| inner);
    let mut command = Command::new(std::env::current_exe().expect("the test"));
    command
        .args(["--exact", &format!("{inner}::{test}"), "--nocapture", "--test-threads=1"])
        .env(KILL_AT, at.to_string())
        .env(WORDS, words.join("\n"));
    let output = plinth::testing::output(&mut command);
    use std::os::unix::process::ExitStatusExt as _;
    let is_killed = output.status.signal() == Some(Signal::KILL.as_raw());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(is_killed || output.status.success(), "{at}: {said}");
    !is_killed
}

/// The part of [`killed`] in the process that dies; `false` in the test itself.
fn is_victim() -> bool {
    let Ok(at) = std::env::var(KILL_AT) else { return false };
    let at: u32 = at.parse().expect("a number");
    let words = std::env::var(WORDS).expect("words");
    let words: Vec<&str> = words.lines().collect();
    let count = Cell::new(0);
    command(&words, &|| {
        count.set(count.get() + 1);
        if count.get() == at {
            kill_process(getpid(), Signal::KILL).expect("of oneself");
        }
    });
    true
}

/// All paths below a directory, itself left out.
fn paths(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            found.extend(paths(&entry.path()));
        }
        found.insert(entry.path());
    }
    found
}

/// The programs of our names, by number: other tests load theirs meanwhile.
fn programs() -> BTreeSet<u32> {
    let all = ids::programs().map(|it| it.expect("a program"));
    let ours = all.filter(|(_, it)| ["trace_exec", "trace_exit", "state"].contains(&it.name()));
    ours.map(|(id, _)| id).collect()
}

/// How many programs, maps and links of our names there are.
fn ours() -> (usize, usize, usize) {
    let programs = programs();
    let maps = ids::maps().map(|it| it.expect("a map"));
    let maps = maps.filter(|(_, it)| ["config", "exits", "attempts"].contains(&it.name())).count();
    let links = ids::links().map(|it| it.expect("a link"));
    let links = links.filter(|(_, it)| it.info().is_ok_and(|it| programs.contains(&it.program)));
    (programs.len(), maps, links.count())
}

/// That so many more than `others` are there: what nobody holds any more goes a little later.
fn assert_more(others: (usize, usize, usize), wanted: usize, when: &str) {
    let expected = (others.0 + wanted, others.1 + wanted, others.2 + wanted);
    let pause = rustix::time::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let mut now = ours();
    for _ in 0..300 {
        if now == expected {
            return;
        }
        let _ = rustix::event::poll(&mut [], Some(&pause)).expect("a pause");
        now = ours();
    }
    panic!("{when}: programs, maps and links are {now:?}, expected {expected:?}");
}

/// The tests here load the same objects and count them, so they run one after the other.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn root_a_manifest_is_applied_once() {
    let _alone = alone();
    isolated(module_path!(), "root_a_manifest_is_applied_once", || {
        let place = Place::new("once");
        let (manifest, others) = (place.manifest(), ours());
        place.write(0, true);
        assert_eq!(plain(&["check", &manifest]), 9);
        assert_eq!(plain(&["apply", &manifest]), 0);
        assert_more(others, 3, "at this point");
        let (pinned, loaded) = (paths(Path::new(ROOT)), programs());
        for words in [["apply", &manifest], ["check", &manifest], ["status", &manifest]] {
            assert_eq!(plain(&words), 0, "{words:?}");
        }
        assert_eq!((paths(Path::new(ROOT)), programs()), (pinned.clone(), loaded.clone()));
        // Without its state everything is recognised.
        fs::remove_file(place.state()).expect("the state");
        assert_eq!(plain(&["apply", &manifest]), 0);
        assert_eq!(paths(Path::new(ROOT)), pinned);
        // A lost link comes back, the programs stay.
        fs::remove_file(format!("{ROOT}/tcp/links/state")).expect("the link");
        assert_eq!(plain(&["status", &manifest]), 9);
        assert_eq!(plain(&["apply", &manifest]), 0);
        assert_eq!(plain(&["status", &manifest]), 0);
        // What the manifest does not want any more goes.
        place.write(0, false);
        assert_eq!(plain(&["apply", &manifest]), 0);
        assert!(!Path::new(&format!("{ROOT}/tcp")).exists());
        assert_eq!(plain(&["remove", &manifest]), 0);
        assert_more(others, 0, "at this point");
    });
}

#[test]
fn root_an_apply_that_dies_anywhere_is_made_good_by_the_next() {
    const NAME: &str = "root_an_apply_that_dies_anywhere_is_made_good_by_the_next";
    if is_victim() {
        return;
    }
    let _alone = alone();
    isolated(module_path!(), NAME, || {
        let place = Place::new("dies");
        let (manifest, others) = (place.manifest(), ours());
        place.write(0, true);
        assert_eq!(plain(&["apply", &manifest]), 0);
        let wanted = paths(Path::new(ROOT));
        assert_eq!(plain(&["remove", &manifest]), 0);
        assert_more(others, 0, "at this point");
        for at in 1.. {
            assert!(at < 200, "it never comes to its end");
            let lived = killed(module_path!(), NAME, &["apply", &manifest], at);
            assert_eq!(plain(&["apply", &manifest]), 0, "behind action {at}");
            assert_eq!(paths(Path::new(ROOT)), wanted, "behind action {at}");
            assert_more(others, 3, &format!("behind action {at}"));
            let loaded = programs();
            assert_eq!(plain(&["apply", &manifest]), 0);
            assert_eq!(programs(), loaded, "nothing is loaded twice, action {at}");
            // The removal may die as well.
            let removed = killed(module_path!(), NAME, &["remove", &manifest], at);
            if !removed {
                assert_eq!(plain(&["remove", &manifest]), 0, "behind action {at}");
            }
            assert_more(others, 0, &format!("behind action {at}"));
            if lived {
                return;
            }
        }
    });
}

#[test]
fn root_a_change_that_dies_anywhere_is_made_good_by_the_next() {
    const NAME: &str = "root_a_change_that_dies_anywhere_is_made_good_by_the_next";
    if is_victim() {
        return;
    }
    let _alone = alone();
    isolated(module_path!(), NAME, || {
        let place = Place::new("change");
        let (manifest, others) = (place.manifest(), ours());
        place.write(0, true);
        assert_eq!(plain(&["apply", &manifest]), 0);
        let wanted = paths(Path::new(ROOT));
        for at in 1.. {
            assert!(at < 200, "it never comes to its end");
            place.write(at, true);
            let lived = killed(module_path!(), NAME, &["apply", &manifest], at);
            assert_eq!(plain(&["apply", &manifest]), 0, "behind action {at}");
            assert_eq!(paths(Path::new(ROOT)), wanted, "behind action {at}");
            assert_more(others, 3, &format!("behind action {at}"));
            if lived {
                break;
            }
        }
        assert_eq!(plain(&["remove", &manifest]), 0);
        assert_more(others, 0, "at this point");
    });
}

#[test]
fn root_a_manifest_that_fails_leaves_nothing() {
    let _alone = alone();
    isolated(module_path!(), "root_a_manifest_that_fails_leaves_nothing", || {
        let place = Place::new("fails");
        let (manifest, others) = (place.manifest(), ours());
        place.write(0, true);
        let text = fs::read_to_string(&manifest).expect("the manifest");
        let broken = text.replace("hook = \"auto\"\n", "hook = \"raw_tp:no_such_tracepoint\"\n");
        // Only the raw tracepoint takes such a hook.
        let broken = broken.replacen("hook = \"raw_tp:no_such_tracepoint\"", "hook = \"auto\"", 2);
        fs::write(&manifest, broken).expect("a manifest");
        assert_eq!(plain(&["apply", &manifest]), 1);
        assert_more(others, 0, "the first object was undone too");
        assert!(!Path::new(&format!("{ROOT}/exec")).exists());
        fs::write(&manifest, text.replace("target_uid", "target_user")).expect("a manifest");
        assert_eq!(plain(&["apply", &manifest]), 3, "found before anything is touched");
    });
}

#[test]
fn root_counters_in_a_manifest_cover_every_cpu() {
    isolated(module_path!(), "root_counters_in_a_manifest_cover_every_cpu", || {
        let place = Place::new("counters");
        let manifest = place.manifest();
        let text = format!(
            "version = 1\npin_root = {ROOT:?}\nstate = {:?}\n\
             [[object]]\nname = \"counter\"\npath = {:?}\n\
             [[object.attach]]\nprogram = \"sample\"\nhook = \"perf:sw:cpu-clock:100000\"\n",
            place.state(),
            object("perf_event")
        );
        fs::write(&manifest, text).expect("a manifest");
        assert_eq!(plain(&["apply", &manifest]), 0);
        let links = paths(&Path::new(ROOT).join("counter/links"));
        let cpus = Host::system().online_cpus();
        let wanted = cpus.iter().map(|cpu| format!("{ROOT}/counter/links/sample_cpu{cpu}"));
        assert_eq!(links, wanted.map(PathBuf::from).collect());
        let program = Program::from_pin(&Path::new(ROOT).join("counter/progs/sample"));
        let maps = program.and_then(|it| it.info()).expect("the program").map_ids;
        let map = Map::from_id(maps[0]).expect("its variables");
        let overflows = || map.get(&[0; 4]).expect("read").expect("there");
        let before = overflows();
        // Processor time passes while this waits for it.
        while overflows() == before {
            std::hint::spin_loop();
        }
        for words in [["apply", &manifest], ["check", &manifest], ["status", &manifest]] {
            assert_eq!(plain(&words), 0, "{words:?}");
        }
        assert_eq!(paths(&Path::new(ROOT).join("counter/links")), links);
        // One that is lost comes back, alone.
        fs::remove_file(format!("{ROOT}/counter/links/sample_cpu{}", cpus[0])).expect("a link");
        assert_eq!(plain(&["check", &manifest]), 9);
        assert_eq!(plain(&["apply", &manifest]), 0);
        assert_eq!(paths(&Path::new(ROOT).join("counter/links")), links);
        assert_eq!(plain(&["remove", &manifest]), 0);
        assert!(!Path::new(ROOT).join("counter").exists());
    });
}

#[test]
fn root_applies_come_one_after_the_other() {
    let _alone = alone();
    isolated(module_path!(), "root_applies_come_one_after_the_other", || {
        let place = Place::new("together");
        let (manifest, others) = (place.manifest(), ours());
        place.write(0, true);
        let start = |_| {
            let mut command = Command::new(TINYBPF);
            command.args(["apply", &manifest]).stdout(Stdio::null()).spawn().expect("the command")
        };
        let all: Vec<_> = (0..4).map(start).collect();
        for mut one in all {
            assert_eq!(plinth::testing::ended(&mut one).code(), Some(0));
        }
        assert_more(others, 3, "by four at once");
        // One that holds on for too long is told of.
        let lock = Lock::try_exclusive(&place.directory.join("lock")).expect("a lock");
        assert!(lock.is_some());
        for action in ["apply", "remove"] {
            tinybpf(&[action, &manifest]).failed(1, "another apply is running");
        }
        drop(lock);
        assert_eq!(plain(&["remove", &manifest]), 0);
        assert_more(others, 0, "at this point");
    });
}

#[test]
fn root_what_was_checked_is_what_is_loaded() {
    let _alone = alone();
    isolated(module_path!(), "root_what_was_checked_is_what_is_loaded", || {
        let place = Place::new("swapped");
        let (manifest, others) = (place.manifest(), ours());
        let file = place.directory.join("second.bpf.o");
        fs::copy(object("raw_tp"), &file).expect("a copy");
        let text = format!(
            "version = 1\npin_root = {ROOT:?}\nstate = {:?}\n\
             [[object]]\nname = \"first\"\npath = {:?}\n\
             [[object]]\nname = \"second\"\npath = {file:?}\n",
            place.state(),
            object("map_only"),
        );
        fs::write(&manifest, text).expect("a manifest");
        // While the first object is loaded, the file of the second becomes another one, of which
        // the kernel would take each program.
        let mut other = fs::read(&file).expect("a file");
        other.push(0);
        let swap = || fs::write(&file, &other).expect("writable");
        assert_eq!(command(&["apply", &manifest], &swap), 1);
        assert_more(others, 0, "all of it was taken back");
        assert!(!Path::new(ROOT).join("first").exists());
        assert_eq!(plain(&["apply", &manifest]), 0);
        assert_eq!(plain(&["remove", &manifest]), 0);
    });
}

#[test]
fn root_a_state_that_cannot_be_read_is_not_taken_for_none() {
    isolated(module_path!(), "root_a_state_that_cannot_be_read_is_not_taken_for_none", || {
        let place = Place::new("unreadable");
        let (manifest, state) = (place.manifest(), place.state());
        place.write(0, false);
        // Root may read every file, but no directory.
        fs::create_dir(&state).expect("a directory");
        for action in ["apply", "check", "status", "remove"] {
            let said = tinybpf(&[action, &manifest]);
            assert_eq!(said.code, Some(1), "{said:?}");
            assert!(said.err.contains(&format!("cannot read the state '{}'", state.display())));
        }
        fs::remove_dir(&state).expect("it is empty");
        fs::write(&state, [0xff]).expect("writable");
        let said = tinybpf(&["status", &manifest]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.err.contains("cannot be understood and is ignored"), "{said:?}");
    });
}
