// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command as a process: what it says, what it leaves, and what it exits with.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use plinth::testing::{Patient, ended, until};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::Timespec;
use serde_json::Value;

use crate::manifests::alone;
use crate::said::{Said, TINYBPF, done, fails, json, tinybpf};
use crate::support::{getpgid, ip, isolated, object};

const PINS: &str = "/sys/fs/bpf/test";

fn path(name: &str) -> String {
    object(name).display().to_string()
}

fn load(name: &str, options: &[&str]) -> Said {
    tinybpf(&[&["load", &path(name), "--pin", PINS], options].concat())
}

fn unload() {
    done(&["unload", PINS]);
    assert!(!Path::new(PINS).exists(), "nothing of it is left");
}

#[test]
fn root_every_broken_object_has_its_message_and_its_status() {
    isolated(module_path!(), "root_every_broken_object_has_its_message_and_its_status", || {
        for (name, code, phrase) in [
            ("empty", 3, "is not an ELF object"),
            ("text", 3, "is not an ELF object"),
            ("stub", 3, "is not an ELF object"),
            ("truncated", 3, "is truncated or damaged"),
            ("big_endian", 3, "is big-endian, this machine is little-endian"),
            ("no_btf", 3, "has no BTF; compile with -g"),
            ("unknown_section", 3, "unknown section 'nonsense/foo'"),
            ("misspelled_section", 3, "'tracepont/sched"),
            ("verifier", 7, "rejected at instruction 1 (verifier.bpf.c:10): R1 invalid mem access"),
            ("no_license", 7, "cannot call GPL-restricted function"),
            ("too_many_jumps", 7, "too complex"),
            ("too_complex", 7, "BPF program is too large"),
            ("closed_license", 7, "cannot call GPL-restricted function"),
            ("ring_values", 3, "declares values it cannot have"),
            ("ring_value", 1, "map 'events' cannot be created"),
            ("missing_inner", 1, "map 'outer' cannot be created"),
            ("unknown_struct_ops", 6, "'plinth_invented_ops'"),
            ("relocation", 7, "task_struct___invented.plinth_invented_field"),
            ("unknown_kfunc", 6, "'plinth_invented_function'"),
            ("unknown_ksym", 6, "'plinth_invented_variable'"),
            ("unknown_kconfig", 6, "'CONFIG_PLINTH_INVENTED'"),
            ("unknown_fentry", 5, "'plinth_invented_function'"),
            ("unknown_tp_btf", 5, "'sched_swich'"),
            ("unknown_raw_tp", 5, "no raw tracepoint"),
            ("unknown_tracepoint", 5, "there is no tracepoint"),
            ("no_target", 6, "names no target"),
        ] {
            let file = path(&format!("broken/{name}"));
            fails(&["load", &file, "--pin", PINS], code, phrase);
            assert!(!Path::new(PINS).exists(), "{name}: nothing is left");
        }
        fails(&["load", "/nonexistent.bpf.o", "--pin", PINS], 5, "no such file");
        fails(&["load", "/tmp", "--pin", PINS], 3, "directory");
        fails(&["load", TINYBPF, "--pin", PINS], 3, "not eBPF");
        // The verifier's words are for the curious.
        let file = path("broken/verifier");
        let curious = tinybpf(&["-v", "load", &file, "--pin", PINS]);
        assert!(curious.err.contains("BEGIN PROG LOAD LOG"), "{curious:?}");
    });
}

#[test]
fn root_places_that_cannot_be_used_are_refused_with_reasons() {
    isolated(module_path!(), "root_places_that_cannot_be_used_are_refused_with_reasons", || {
        let file = path("raw_tp");
        let load = |pin: &str, code, phrase: &str| {
            fails(&["load", &file, "--pin", pin], code, phrase);
        };
        load("/tmp/pins", 1, "not on a bpf file system");
        load("/sys/fs/bpf/a.b", 1, "must not contain '.'");
        fails(&["load", &file], 2, "nothing would be left");
        done(&["load", &file, "--pin", PINS]);
        load(PINS, 1, "there are pins already");
        done(&["load", &file, "--pin", PINS, "--replace"]);
        let program = format!("{PINS}/progs/count");
        fails(&["map", "dump", "pin", &program], 1, "is a program, not a map");
        fails(&["map", "dump", "pin", "/sys/fs/bpf/none"], 5, "no such pin");
        fails(&["map", "dump", "pin", PINS], 1, "directory");
        fails(&["map", "dump", "name", "no_such_map"], 5, "no such map");
        fails(&["load", &file, "--pin", PINS, "--prog", "nobody"], 1, "there are pins already");
        unload();
        fails(&["unload", PINS], 5, "no such directory");
        fails(&["load", &file, "--pin", PINS, "--prog", "nobody"], 5, "there are: count");
        fails(&["load", &file, "--pin", PINS, "--hook", "count=kprobe:x"], 2, "needs kprobe");
        fails(&["load", &file, "--pin", PINS, "--hook", "count=bogus:x"], 2, "bogus");
        fails(&["load", &file, "--pin", PINS, "--set", "nothing=1"], 5, "nothing");
    });
}

#[test]
fn root_what_was_loaded_stays_and_goes() {
    isolated(module_path!(), "root_what_was_loaded_stays_and_goes", || {
        let loaded: Value = {
            let text = done(&["-j", "load", &path("raw_tp"), "--pin", PINS]);
            serde_json::from_str(&text).expect("JSON")
        };
        let id = loaded["programs"][0]["id"].as_u64().expect("an id");
        let listed = json(&["list", "progs"]);
        let own = listed.as_array().expect("a list").iter().find(|it| it["id"] == id);
        let own = own.unwrap_or_else(|| panic!("{id} in {listed}"));
        assert_eq!(own["name"], "count");
        assert_eq!(own["pins"][0], format!("{PINS}/progs/count"));
        let hits = || {
            let dump = json(&["map", "dump", "pin", &format!("{PINS}/maps/raw_tp_bss")]);
            dump[0]["value"]["hits"].as_u64().expect("a number")
        };
        let before = hits();
        getpgid(10);
        assert!(hits() >= before + 10, "it runs without the command");
        let link = format!("{PINS}/links/count");
        let number = json(&["list", "pins"])
            .as_array()
            .expect("a list")
            .iter()
            .find(|it| it["path"] == link.as_str())
            .expect("the link")["id"]
            .to_string();
        fails(&["detach", "id", &number, "--force"], 6, "cannot be detached by force");
        done(&["detach", "id", &number]);
        assert!(!Path::new(&link).exists());
        let before = hits();
        getpgid(10);
        assert_eq!(hits(), before, "nothing is attached any more");
        unload();
    });
}

#[test]
fn root_what_is_replaced_goes_only_for_what_the_kernel_takes() {
    isolated(module_path!(), "root_what_is_replaced_goes_only_for_what_the_kernel_takes", || {
        let count = format!("{PINS}/maps/raw_tp_bss");
        done(&["load", &path("raw_tp"), "--pin", PINS]);
        let rejected = path("broken/verifier");
        fails(&["load", &rejected, "--pin", PINS, "--replace"], 7, "rejected at instruction 1");
        fails(&["load", "/nonexistent.bpf.o", "--pin", PINS, "--replace"], 5, "no such file");
        fails(&["run", &rejected, "--pin", PINS, "--replace"], 7, "rejected at instruction 1");
        done(&["map", "dump", "pin", &count]);
        // A map of the object that goes may stay, for the one that comes.
        let reuse = format!("raw_tp.bss={count}");
        let id = || json(&["map", "show", "pin", &count])["id"].clone();
        let before = id();
        done(&["load", &path("raw_tp"), "--pin", PINS, "--replace", "--reuse", &reuse]);
        assert_eq!(id(), before);
        unload();
    });
}

#[test]
fn root_pins_of_others_are_left_alone() {
    isolated(module_path!(), "root_pins_of_others_are_left_alone", || {
        let others = [
            "/sys/fs/bpf/other",
            "/sys/fs/bpf/objects/maps/deeper",
            "/sys/fs/bpf/maps/deeper/other",
        ];
        for other in others {
            done(&["map", "create", other, "--type", "hash", "--entries", "1"]);
        }
        let here = ["load", &path("raw_tp"), "--pin", "/sys/fs/bpf"];
        done(&here);
        fails(&here, 1, "there are pins already");
        done(&[&here[..], &["--replace"]].concat());
        assert_eq!(done(&["unload", "/sys/fs/bpf"]), "removed 3 pins\n");
        for other in others {
            assert!(Path::new(other).exists(), "{other} was nobody's to remove");
        }
        assert!(!Path::new("/sys/fs/bpf/progs").exists());
    });
}

#[test]
fn root_elements_are_read_and_written_as_what_they_are() {
    let _alone = alone();
    isolated(module_path!(), "root_elements_are_read_and_written_as_what_they_are", || {
        let config = format!("{PINS}/maps/config");
        let said = load("programs/exec", &["--attach", "none"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let map = ["pin", config.as_str()];
        let on = |action: &'static str, rest: &[&'static str]| {
            [&["map", action], &map[..], rest].concat()
        };
        let value = r#"{"by_uid":true,"target_uid":7,"..":0}"#;
        done(&on("set", &["0", value]));
        let got: Value = serde_json::from_str(&done(&on("get", &["0"]))).expect("JSON");
        assert_eq!((&got["by_uid"], &got["target_uid"]), (&true.into(), &7.into()));
        fails(&on("set", &["0", r#"{"by_uid":1,"no":2}"#]), 1, "no member 'no'");
        fails(&on("set", &["0", r#"{"target_uid":-1,"..":0}"#]), 1, "negative value -1");
        fails(&on("set", &["0", "hex:00"]), 1, "the value has 1 bytes");
        fails(&on("set", &["99", value]), 1, "the map has 1 elements");
        fails(&on("get", &["99"]), 5, "no such key");
        fails(&on("del", &["0"]), 6, "cannot be deleted");
        fails(&on("pop", &[]), 6, "have keys");
        fails(&on("eat", &[]), 2, "cannot 'eat' a map");
        unload();
        let queue = "/sys/fs/bpf/queue";
        done(&["map", "create", queue, "--type", "queue", "--entries", "2"]);
        for number in ["1", "2"] {
            done(&["map", "push", "pin", queue, number]);
        }
        fails(&["map", "push", "pin", queue, "3"], 1, "the map is full (2 elements)");
        assert_eq!(done(&["map", "pop", "pin", queue]), "\"hex:0100000000000000\"\n");
        assert_eq!(done(&["map", "clear", "pin", queue]), "cleared 1 elements\n");
        fails(&["map", "pop", "pin", queue], 5, "the map is empty");
        let ring = ["map", "create", "/sys/fs/bpf/ring", "--type", "ringbuf", "--entries", "5000"];
        fails(&ring, 1, "5000 bytes are not");
    });
}

/// A process of the command, ended when the test is.
struct Running(Child);

impl Running {
    fn start(words: &[&str]) -> Self {
        let child = Command::new(TINYBPF)
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command");
        Self(child)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it runs");
    }

    /// Its status and what is left of its output.
    fn end(mut self, reader: &mut impl std::io::Read) -> (Option<i32>, String) {
        let mut rest = String::new();
        reader.read_to_string(&mut rest).expect("text");
        (ended(&mut self.0).code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// How many links the process with this number holds.
fn links(pid: u32) -> usize {
    let all = json(&["list", "links"]);
    let holds = |it: &&Value| it["pids"].as_array().is_some_and(|pids| pids.contains(&pid.into()));
    all.as_array().map_or(0, |all| all.iter().filter(holds).count())
}

#[test]
fn root_a_stream_ends_in_good_order() {
    let _alone = alone();
    isolated(module_path!(), "root_a_stream_ends_in_good_order", || {
        let mut running = Running::start(&["run", &path("programs/exec"), "--events", "events"]);
        let mut lines = BufReader::new(Patient::new(running.0.stdout.take().expect("a pipe")));
        let mut line = String::new();
        // Programs start until one is seen: the command may not be attached yet.
        until("one is seen", || {
            drop(Command::new("/bin/true").status());
            let ready = rustix::event::PollFlags::IN;
            let mut polled = [rustix::event::PollFd::new(lines.get_ref(), ready)];
            rustix::event::poll(&mut polled, Some(&Timespec::default())).expect("poll") > 0
        });
        assert_ne!(lines.read_line(&mut line).expect("a line"), 0, "the command ended");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&event["map"], &event["seq"]), (&"events".into(), &1.into()));
        assert!(event["data"]["comm"].is_string(), "{event}");
        let pid = running.0.id();
        assert_eq!(links(pid), 2);
        running.signal(Signal::TERM);
        let (code, rest) = running.end(&mut lines);
        assert_eq!(code, Some(0));
        assert!(rest.is_empty() || rest.ends_with("}\n"), "whole lines only: {rest}");
        assert_eq!(links(pid), 0, "nothing is left attached");
    });
}

#[test]
fn root_a_stream_without_reader_ends() {
    let _alone = alone();
    isolated(module_path!(), "root_a_stream_without_reader_ends", || {
        let mut running = Running::start(&["run", &path("programs/exec")]);
        drop(running.0.stdout.take());
        assert_eq!(ended(&mut running.0).code(), Some(0));
        let mut said = String::new();
        let stderr = running.0.stderr.take();
        Patient::new(stderr.expect("a pipe")).read_to_string(&mut said).expect("text");
        assert_eq!(said, "", "a closed pipe is no failure");
    });
}

#[test]
fn root_a_stream_stops_at_its_count_and_its_time() {
    let _alone = alone();
    isolated(module_path!(), "root_a_stream_stops_at_its_count_and_its_time", || {
        let file = path("programs/exec");
        done(&["run", &file, "--duration", "20ms"]);
        done(&["run", &file, "--count", "0"]);
        fails(&["run", &file, "--type", "no_such"], 3, "type 'no_such' not found");
        fails(&["run", &file, "--events", "config"], 2, "expected ringbuf");
        fails(&["run", &file, "--filter", "nothing"], 2, "FIELD=VALUE");
        fails(&["run", &file, "--duration", "soon"], 2, "not a time");
    });
}

#[test]
fn root_programs_are_verified_and_run_by_hand() {
    isolated(module_path!(), "root_programs_are_verified_and_run_by_hand", || {
        let packet = std::env::temp_dir().join(format!("packet-{}", std::process::id()));
        let name = packet.display().to_string();
        let pass = format!("{}:pass", path("xdp"));
        std::fs::write(&packet, [0; 64]).expect("a file");
        let answer = json(&["test-run", &pass, "--data", &name, "--repeat", "10"]);
        assert_eq!((&answer["retval"], &answer["data_out"]), (&2.into(), &64.into()));
        std::fs::write(&packet, [0; 10]).expect("a file");
        fails(&["test-run", &pass, "--data", &name], 3, "packet data must be at least 14 bytes");
        std::fs::remove_file(&packet).expect("it is there");

        let verdicts = json(&["verify", &path("minimal")]);
        assert_eq!(verdicts[0]["ok"], true);
        assert!(verdicts[0]["instructions"].as_u64().is_some_and(|count| count > 0));
        let said = tinybpf(&["verify", &path("broken/verifier")]);
        assert_eq!(said.code, Some(7), "{said:?}");
        assert!(said.out.contains("at instruction 1 (verifier.bpf.c:10)"), "{said:?}");
        let said = tinybpf(&["verify", "--offline", &path("broken/unknown_section")]);
        assert_eq!(said.code, Some(7), "{said:?}");
        assert!(said.out.contains("unknown section 'nonsense/foo'"), "{said:?}");
    });
}

#[test]
fn root_a_program_goes_to_an_interface_and_leaves_it() {
    isolated(module_path!(), "root_a_program_goes_to_an_interface_and_leaves_it", || {
        ip("link set lo up");
        let said = load("xdp", &["--prog", "pass", "--hook", "pass=xdp:lo,mode=skb"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let program = format!("{PINS}/progs/pass");
        let attach = |hook: &str, code, phrase: &str| {
            fails(&["attach", "pin", &program, hook], code, phrase);
        };
        attach("xdp:lo", 1, "is there already");
        attach("xdp:9999", 5, "no interface with index 9999");
        attach("xdp:nobody0", 5, "no interface 'nobody0'");
        attach("xdp:lo,mode=fast", 2, "fast");
        attach("tp:sched/sched_switch", 2, "program 'pass' is xdp; hook");
        let on = json(&["list", "links", "--iface", "lo"]);
        assert_eq!(on.as_array().map(Vec::len), Some(1), "{on}");
        done(&["detach", "--all", PINS, "--force"]);
        assert_eq!(json(&["list", "links", "--iface", "lo"]), Value::Array(Vec::new()));
        done(&["attach", "pin", &program, "xdp:lo", "--pin", "/sys/fs/bpf/again"]);
        done(&["detach", "/sys/fs/bpf/again"]);
        unload();
    });
}

#[test]
fn root_what_runs_is_asked_and_fed() {
    isolated(module_path!(), "root_what_runs_is_asked_and_fed", || {
        let said = load("iter", &["--prog", "tasks", "--attach", "auto"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        for pin in ["links/tasks", "progs/tasks"] {
            let text = done(&["iter", "pin", &format!("{PINS}/{pin}")]);
            let own = std::process::id().to_string();
            let names_us = text.lines().any(|line| line.split(' ').any(|word| word == own));
            assert!(names_us, "{pin}: {text}");
        }
        let stats = json(&["stats", "pin", &format!("{PINS}/progs/tasks")]);
        assert_eq!((&stats[0]["name"], &stats[0]["runs"]), (&"tasks".into(), &0.into()));
        unload();
        let said = load("user_ring", &["--attach", "none"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let ring = format!("{PINS}/maps/commands");
        assert_eq!(done(&["send", "pin", &ring, "7", "hex:0102030405060708"]), "sent 2\n");
        fails(&["send", "pin", &ring], 2, "VALUE is missing");
        fails(&["send", "pin", &ring, "7", "--type", "no_such"], 5, "no such type");
        fails(&["events", "pin", &ring], 1, "expected RINGBUF");
        unload();
        done(&["features", "--require", "global_data"]);
        fails(&["features", "--require", "no_such"], 2, "unknown feature 'no_such'");
        done(&["log"]);
    });
}

#[test]
fn what_needs_no_kernel_works_for_everybody() {
    let found = json(&["inspect", &path("programs/exec")]);
    assert!(found["programs"].as_array().is_some_and(|all| all.len() == 2), "{found}");
    let skeleton = done(&["inspect", "--skeleton", &path("programs/exec")]);
    assert!(skeleton.starts_with("bpf::bpf_skeleton! {"), "{skeleton}");
    let layout = done(&["btf", "struct", "event", &path("programs/exec")]);
    assert!(layout.starts_with("struct event {"), "{layout}");
    fails(&["btf", "struct", "evnt", &path("programs/exec")], 5, "near are event");
    fails(&["inspect", "/etc/hostname"], 3, "is not an ELF object");
    // What has no end is not read to the end, and nobody waits for one who writes to a pipe.
    let pipe = std::env::temp_dir().join(format!("pipe-{}", std::process::id()));
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).expect("a pipe");
    let pipe = pipe.display().to_string();
    for words in [
        &["inspect"][..],
        &["verify", "--offline"],
        &["btf", "dump"],
        &["load", "--hold"],
        &["check"],
    ] {
        fails(&[words, &["/dev/zero"]].concat(), 3, "too large");
        fails(&[words, &["/tmp"]].concat(), 3, "is a directory");
        fails(&[words, &["/nonexistent"]].concat(), 5, "no such file");
        if words != ["check"] {
            fails(&[words, &[pipe.as_str()]].concat(), 3, "is not an ELF object");
        }
    }
    std::fs::remove_file(&pipe).expect("it was just made");
    assert!(done(&["version"]).contains("libbpf v1."));
    assert!(done(&["help", "load"]).contains("--pin DIR"));
    assert!(done(&["completion", "bash"]).contains("_tinybpf"));
    assert!(done(&["man"]).contains(".Dt TINYBPF 8"));
    fails(&["help", "bogus"], 2, "unknown command 'bogus'");
    fails(&["bogus"], 2, "unknown command 'bogus'");
}
