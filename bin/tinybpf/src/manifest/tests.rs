// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the manifest as text: every key, every refusal with its place, conditions, order, and
//! what it means for an object file.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::read::parse;
use super::state::{Digests, PinKind, PinRecord, Record, State};
use super::wanted::{MapShape, wanted};
use super::when::{Machine, version};
use super::*;
use crate::btf::build::Builder;
use crate::btf::{Btf, ByteOrder};
use crate::elf::build::Object as File;
use crate::elf::{Inspection, inspect};
use crate::kinds::MapType;

const FULL: &str = r#"
version = 1
pin_root = "/sys/fs/bpf/host"
mount = ["bpf", "tracefs", "cgroup2"]
on_error = "continue"
state = "/run/other/state.json"

[[object]]
name = "exec"
path = "/usr/lib/tinybpf/exec.bpf.o"
sha256 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
required = false
when.kernel = ">=5.8, <7"
when.arch = ["x86_64"]
when.features = ["ringbuf", "btf"]
when.path_exists = "/sys/kernel/btf/vmlinux"
btf = "/usr/lib/tinybpf/min.btf"
programs = ["trace_exec"]
after = ["base"]

[object.set]
burst = 100

[[object.map]]
name = "config"
max_entries = 64
pin = true
reuse = "keep"
entries = [ { key = 0, value = { target_pid = 0, enabled = true } } ]
freeze = false

[[object.attach]]
program = "trace_exec"
hook = "auto"
optional = false

[[object]]
name = "base"
path = "/usr/lib/tinybpf/base.bpf.o"
"#;

fn problems(text: &str) -> Vec<String> {
    let problems = parse("/m.toml", text).expect_err("something is wrong");
    problems.0.iter().map(ToString::to_string).collect()
}

/// A manifest with one object, into which `inner` is put.
fn around(inner: &str) -> String {
    format!("version = 1\n[[object]]\nname = \"x\"\npath = \"/x.bpf.o\"\n{inner}")
}

#[test]
fn every_key_is_read() {
    let manifest = parse("/m.toml", FULL).unwrap_or_else(|it| panic!("{it}"));
    assert_eq!(manifest.pin_root, "/sys/fs/bpf/host");
    assert_eq!(manifest.mounts, [Mount::Bpf, Mount::Tracefs, Mount::Cgroup2]);
    assert_eq!(manifest.on_error, OnError::Continue);
    assert_eq!(manifest.state, "/run/other/state.json");
    let names: Vec<&str> = manifest.objects.iter().map(|it| it.name.get_ref().as_str()).collect();
    assert_eq!(names, ["base", "exec"], "base comes first, since exec comes after it");
    let exec = &manifest.objects[1];
    assert_eq!(exec.sha256.map(|it| it[1]), Some(0x11));
    assert!(!exec.required && manifest.objects[0].required);
    assert_eq!(exec.set["burst"].get_ref(), &Value::I64(100));
    assert_eq!((exec.maps[0].max_entries, exec.maps[0].reuse), (Some(64), Reuse::Keep));
    assert_eq!(exec.maps[0].entries[0].value.get_ref().at("enabled"), Some(&Value::Bool(true)));
    assert_eq!(exec.attach[0].hook.get_ref(), &Hook::Auto);
    assert_eq!(exec.when.paths().collect::<Vec<_>>(), ["/sys/kernel/btf/vmlinux"]);
    assert!(exec.when.features().next().is_some());
}

#[test]
fn what_is_not_said_has_a_default() {
    let manifest = parse("/m.toml", &around("")).unwrap_or_else(|it| panic!("{it}"));
    assert_eq!((manifest.pin_root.as_str(), manifest.state.as_str()), (PIN_ROOT, STATE_PATH));
    assert_eq!((manifest.on_error, manifest.mounts.len()), (OnError::Rollback, 0));
    let empty = parse("/m.toml", "version = 1").unwrap_or_else(|it| panic!("{it}"));
    assert!(empty.objects.is_empty());
}

#[test]
fn the_ready_made_manifests_are_well_formed() {
    for text in [
        include_str!("../../bpf/programs/cgroup_egress.toml"),
        include_str!("../../bpf/programs/exec.toml"),
        include_str!("../../bpf/programs/nvme_latency.toml"),
        include_str!("../../bpf/programs/tcp_connects.toml"),
        include_str!("../../bpf/programs/xdp_packets.toml"),
    ] {
        parse("/m.toml", text).unwrap_or_else(|it| panic!("{it}\n{text}"));
    }
}

#[test]
fn refusals_have_place_and_key() {
    for (text, want) in [
        ("version = 2".to_owned(), "/m.toml:1:11: version: 2 is not known, only 1"),
        ("version = 1\npin_rot = 1".to_owned(), "/m.toml:2:1: unknown field `pin_rot`"),
        ("version = \n".to_owned(), "/m.toml:1:"),
        (
            "version = 1\nmount = [\"proc\"]".to_owned(),
            "/m.toml:2:10: mount: 'proc' is none of bpf, tracefs, cgroup2",
        ),
        (
            "version = 1\non_error = \"ignore\"".to_owned(),
            "/m.toml:2:12: on_error: 'ignore' is none of rollback, continue",
        ),
        (
            "version = 1\npin_root = \"/sys/fs/bpf/a.b\"".to_owned(),
            "/m.toml:2:12: pin_root: bpffs names must not contain '.'",
        ),
        (
            "version = 1\nstate = \"run/../x\"".to_owned(),
            "/m.toml:2:9: state: 'run/../x' is no plain absolute path",
        ),
        (around("colour = 1"), "/m.toml:5:1: unknown field `colour`"),
        (around("sha256 = \"00\""), "/m.toml:5:10: object.x.sha256: a digest has 64 hexadecimal"),
        (around("btf = \"x\""), "/m.toml:5:7: object.x.btf: 'x' is no plain absolute path"),
        (around("after = [\"y\"]"), "/m.toml:5:10: object.x.after: there is no object 'y'"),
        (
            around("when = { kernel = \"5.8\" }"),
            "/m.toml:5:19: object.x.when.kernel: '5.8' is not of the form >=5.8",
        ),
        (
            around("when = { features = [\"magic\"] }"),
            "/m.toml:5:21: object.x.when.features: 'magic' is none of btf, ",
        ),
        (
            around("programs = [\"a\", \"a\"]"),
            "/m.toml:5:18: object.x.programs: 'a' is there twice",
        ),
    ] {
        let got = problems(&text);
        assert!(got.iter().any(|it| it.starts_with(want)), "{want}\n{}", got.join("\n"));
    }
}

#[test]
fn refusals_of_maps_and_attachments_have_place_and_key() {
    for (text, want) in [
        (
            around("[[object.map]]\nname = \"m\"\nreuse = \"take\""),
            "/m.toml:7:9: object.x.map.m.reuse: 'take' is none of keep, replace, require",
        ),
        (
            around("[[object.map]]\nname = \"m\"\npin = 3"),
            "/m.toml:7:7: object.x.map.m.pin: true, false or a path is needed, not an integer",
        ),
        (
            around("[[object.map]]\nname = \"m\"\npin = false\nreuse = \"require\""),
            "/m.toml:8:9: object.x.map.m.reuse: without a pin there is nothing to reuse",
        ),
        (
            around("[[object.map]]\nname = \"m\"\npin = \"/sys/fs/bpf/a.b\""),
            "/m.toml:7:7: object.x.map.m.pin: bpffs names must not contain '.'",
        ),
        (
            around("[[object.map]]\nname = \"m\"\n[[object.map]]\nname = \"m\""),
            "/m.toml:8:8: object.x.map: 'm' is there twice",
        ),
        (
            around("[[object.attach]]\nprogram = \"p\"\nhook = \"kprobo:f\""),
            "/m.toml:7:8: object.x.attach.p.hook 'kprobo:f': there is no kind 'kprobo'",
        ),
        (
            around("[[object.attach]]\nprogram = \"p\"\nhook = \"usdt:/bin/x:a:b\""),
            "/m.toml:7:8: object.x.attach.p.hook: usdt:/bin/x:a:b cannot be pinned; attach",
        ),
        (
            around("[[object.attach]]\nprogram = \"p\"\nhook = \"cgroup:/a,override\""),
            "/m.toml:7:8: object.x.attach.p.hook: cgroup:/a,override cannot be pinned; attach",
        ),
        (
            around("programs = [\"q\"]\n[[object.attach]]\nprogram = \"p\"\nhook = \"auto\""),
            "/m.toml:7:11: object.x.attach.p: not among the programs to load",
        ),
    ] {
        let got = problems(&text);
        assert!(got.iter().any(|it| it.starts_with(want)), "{want}\n{}", got.join("\n"));
    }
}

#[test]
fn names_are_checked_and_dots_count_as_underscores() {
    for (name, why) in [
        ("", "the name is empty"),
        ("a/b", "names have letters, digits, '.', '_' and '-' only"),
        ("a__next", "names do not end in __next"),
        (&"n".repeat(65), "the name has more than 64 bytes"),
    ] {
        let got = problems(&format!("version = 1\n[[object]]\nname = \"{name}\"\npath = \"/x\""));
        assert_eq!(got, [format!("/m.toml:3:8: object.{name}: {why}")]);
    }
    let one = |name| format!("[[object]]\nname = \"{name}\"\npath = \"/x\"\n");
    let two = |a, b| format!("version = 1\n{}{}", one(a), one(b));
    for text in [two("a.b", "a_b"), two("a", "a")] {
        assert!(problems(&text)[0].contains("the name is taken ('.' counts as '_')"));
    }
}

#[test]
fn circles_are_named() {
    let object = |name: &str, after: &str| {
        format!("[[object]]\nname = \"{name}\"\npath = \"/x\"\nafter = [{after}]\n")
    };
    let text = [
        "version = 1\n".to_owned(),
        object("d", "\"a\""),
        object("a", "\"b\""),
        object("b", "\"c\""),
        object("c", "\"a\""),
    ]
    .concat();
    assert_eq!(
        problems(&text),
        ["/m.toml:9:10: object.a.after: a circle: a after b after c after a"]
    );
    assert!(
        problems(&["version = 1\n".to_owned(), object("a", "\"a\"")].concat())[0]
            .ends_with("object.a.after: a circle: a after a")
    );
    let sorted =
        ["version = 1\n".to_owned(), object("a", "\"c\""), object("b", ""), object("c", "\"b\"")];
    let manifest = parse("/m.toml", &sorted.concat()).unwrap_or_else(|it| panic!("{it}"));
    let names: Vec<&str> = manifest.objects.iter().map(|it| it.name.get_ref().as_str()).collect();
    assert_eq!(names, ["b", "c", "a"]);
}

#[test]
fn conditions_are_judged_by_facts() {
    let machine = Machine {
        kernel: (6, 1, 119),
        arch: "x86_64".to_owned(),
        features: BTreeSet::from(["ringbuf".to_owned()]),
        paths: BTreeSet::from(["/a".to_owned()]),
    };
    for (when, want) in [
        ("", None),
        ("kernel = \">=5.8\"", None),
        ("kernel = \">=6.1\"", None),
        ("kernel = \"=6.1\"", None),
        ("kernel = \"<=6\"", None),
        ("kernel = \">=5.8, <6.2\"", None),
        ("kernel = \">6.1\"", Some("the kernel is 6.1.119, wanted is >6.1")),
        ("kernel = \">=6.1.120\"", Some("the kernel is 6.1.119, wanted is >=6.1.120")),
        ("kernel = \"<6\"", Some("the kernel is 6.1.119, wanted is <6")),
        ("arch = \"x86_64\"", None),
        ("arch = [\"arm\", \"mips\"]", Some("the machine is x86_64, wanted is arm or mips")),
        ("features = [\"ringbuf\"]", None),
        ("features = [\"ringbuf\", \"tcx\"]", Some("the kernel lacks tcx")),
        ("path_exists = \"/a\"", None),
        ("path_exists = [\"/a\", \"/b\"]", Some("/b does not exist")),
    ] {
        let text = around(&format!("when = {{ {when} }}"));
        let manifest = parse("/m.toml", &text).unwrap_or_else(|it| panic!("{it}"));
        let obstacle = manifest.objects[0].when.obstacle(&machine);
        assert_eq!(obstacle.as_deref(), want, "{when}");
    }
    for bad in ["5.8", ">=", ">=5.", ">=5.8.1.2", ">=x", "~5.8", ">=5.8,"] {
        let text = around(&format!("when = {{ kernel = \"{bad}\" }}"));
        assert!(parse("/m.toml", &text).is_err(), "{bad}");
    }
    assert_eq!(version("6.1.0-13-cloud-amd64"), Some((6, 1, 0)));
    assert_eq!(version("6.18"), Some((6, 18, 0)));
    assert_eq!(version("7.0-rc1"), Some((7, 0, 0)));
    assert_eq!(version("unknown"), None);
}

#[test]
fn the_canonical_form_changes_with_the_meaning_only() {
    let canonical = |text: &str| {
        let manifest = parse("/m.toml", text).unwrap_or_else(|it| panic!("{it}"));
        manifest.objects.last().expect("one").canonical()
    };
    let one = canonical(FULL);
    assert_eq!(one.lines().count(), 1);
    assert_eq!(canonical(&FULL.replace("burst = 100", "burst   =   0x64 # comment")), one);
    for (from, to) in [
        ("burst = 100", "burst = 101"),
        ("max_entries = 64", "max_entries = 65"),
        ("pin = true", "pin = false\n"),
        ("hook = \"auto\"", "hook = \"xdp:lo\""),
        ("optional = false", "optional = true"),
        ("target_pid = 0", "target_pid = 1"),
        ("min.btf", "max.btf"),
    ] {
        assert_ne!(canonical(&FULL.replace(from, to).replace("reuse = \"keep\"", "")), one, "{to}");
    }
}

/// An object file: a tracepoint and an XDP program, two that are loaded on request, a map from
/// `int` to a struct, a ring buffer, a variable.
fn file() -> Inspection {
    let mut b = Builder::new(ByteOrder::NATIVE);
    let int = b.int("int", 4, 1);
    let truth = b.int("_Bool", 1, 4);
    let value = b.structure("config", 8, &[("target_pid", int, 0, 0), ("enabled", truth, 32, 0)]);
    let number = |b: &mut Builder, value: u32| {
        let array = b.array(int, int, value);
        b.ptr(array)
    };
    let [hash, ring, many] = [1, 27, 4096].map(|it| number(&mut b, it));
    let (to_int, to_value) = (b.ptr(int), b.ptr(value));
    let config = b.structure(
        "",
        32,
        &[
            ("type", hash, 0, 0),
            ("key", to_int, 64, 0),
            ("value", to_value, 128, 0),
            ("max_entries", many, 192, 0),
        ],
    );
    let events = b.structure("", 16, &[("type", ring, 0, 0), ("max_entries", many, 64, 0)]);
    let maps = [("config", config), ("my.events", events)].map(|it| (b.var(it.0, it.1, 1), 0, 0));
    b.datasec(".maps", 0, &maps);
    let burst = b.var("burst", int, 1);
    b.datasec(".rodata", 0, &[(burst, 0, 4)]);
    let mut it = File::new(ByteOrder::NATIVE);
    let trace = it.section("tp/sched/sched_process_exec", 1, 6, &[0; 16]);
    let xdp = it.section("xdp", 1, 6, &[0; 16]);
    let extra = it.section("?kprobe/vfs_read", 1, 6, &[0; 16]);
    let sample = it.section("?perf_event", 1, 6, &[0; 16]);
    let rodata = it.section(".rodata", 1, 2, &[0; 4]);
    it.section(".BTF", 1, 0, &b.bytes());
    it.symbol("trace_exec", 0x12, trace, 0, 16);
    it.symbol("packets", 0x12, xdp, 0, 16);
    it.symbol("extra", 0x12, extra, 0, 16);
    it.symbol("sample", 0x12, sample, 0, 16);
    it.symbol("burst", 0x11, rodata, 0, 4);
    inspect(&it.bytes()).expect("an object")
}

fn held(inner: &str) -> Result<wanted::Wanted, Vec<String>> {
    let manifest = parse("/m.toml", &around(inner)).unwrap_or_else(|it| panic!("{it}"));
    wanted(&manifest, &manifest.objects[0], &file(), Digests::default(), &[0, 2])
        .map_err(|it| it.iter().map(ToString::to_string).collect())
}

#[test]
fn a_manifest_gives_every_part_its_pin() {
    let inner = r#"
[object.set]
burst = 7
[[object.map]]
name = "config"
max_entries = 16
pin = "/sys/fs/bpf/shared/config"
entries = [ { key = 1, value = { target_pid = 5, enabled = true } } ]
[[object.attach]]
program = "trace_exec"
hook = "auto"
[[object.attach]]
program = "packets"
hook = "xdp:lo"
[[object.attach]]
program = "packets"
hook = "xdp:eth0"
"#;
    let found = held(inner).unwrap_or_else(|it| panic!("{it:?}"));
    assert_eq!(found.globals, [("burst".to_owned(), 7_i32.to_ne_bytes().to_vec())]);
    let programs: Vec<&str> = found.programs.iter().map(|it| it.pin.as_str()).collect();
    assert_eq!(
        programs,
        ["/sys/fs/bpf/tinybpf/x/progs/trace_exec", "/sys/fs/bpf/tinybpf/x/progs/packets"],
        "what has a question mark is left out"
    );
    let config = &found.maps[0];
    assert_eq!((config.pin.as_deref(), config.is_own), (Some("/sys/fs/bpf/shared/config"), false));
    assert_eq!(config.shape.max_entries, 16);
    assert_eq!(config.entries[0].1[..5], [&5_i32.to_ne_bytes()[..], &[1]].concat());
    assert_eq!(found.maps[1].pin.as_deref(), Some("/sys/fs/bpf/tinybpf/x/maps/my_events"));
    let links: Vec<(String, &str)> =
        found.links.iter().map(|it| (it.hook.to_string(), it.pin.as_str())).collect();
    assert_eq!(
        links,
        [
            ("tp:sched/sched_process_exec".to_owned(), "/sys/fs/bpf/tinybpf/x/links/trace_exec"),
            ("xdp:lo".to_owned(), "/sys/fs/bpf/tinybpf/x/links/packets"),
            ("xdp:eth0".to_owned(), "/sys/fs/bpf/tinybpf/x/links/packets_2"),
        ]
    );
    assert!(found.directories.contains(&"/sys/fs/bpf/shared".to_owned()));
    assert_eq!(found.home, "/sys/fs/bpf/tinybpf/x");
}

#[test]
fn a_counter_without_processor_is_one_on_each() {
    let links = |hook: &str| {
        let attach = |hook| format!("[[object.attach]]\nprogram = \"sample\"\nhook = \"{hook}\"\n");
        let inner =
            format!("programs = [\"sample\"]\n{}{}", attach(hook), attach("perf:sw:1:5,pid=7"));
        let found = held(&inner).unwrap_or_else(|it| panic!("{it:?}"));
        let root = "/sys/fs/bpf/tinybpf/x/links/";
        let links = found.links.iter();
        let short = links.map(|it| format!("{} {}", it.hook, it.pin.trim_start_matches(root)));
        short.collect::<Vec<_>>()
    };
    let last = "perf:sw:1:5,pid=7 sample_2".to_owned();
    let each = ["perf:sw:0:9,cpu=0 sample_cpu0", "perf:sw:0:9,cpu=2 sample_cpu2"];
    assert_eq!(links("perf:sw:0:9"), [each[0], each[1], &last]);
    assert_eq!(links("perf:sw:0:9,cpu=1"), ["perf:sw:0:9,cpu=1 sample", &last]);
}

#[test]
fn what_the_object_does_not_have_is_refused() {
    for (inner, want) in [
        (
            "[object.set]\nburts = 1",
            "/m.toml:6:9: object.x.set: the object has no variable 'burts'; there are burst",
        ),
        ("[object.set]\nburst = \"much\"", "/m.toml:6:9: object.x.set.burst: 'much' is no number"),
        (
            "[object.set]\nburst = 4294967296",
            "/m.toml:6:9: object.x.set.burst: 4294967296 is out of range of a signed type",
        ),
        (
            "programs = [\"trace\"]",
            "/m.toml:5:13: object.x.programs: the object has no program 'trace'; there are",
        ),
        (
            "[[object.map]]\nname = \"confg\"",
            "/m.toml:6:8: object.x.map: the object has no map 'confg'; there are config",
        ),
        (
            "[[object.map]]\nname = \"config\"\nentries = [{ key = 1, value = { enabled = 1 } }]",
            "/m.toml:7:31: object.x.map.config.entries[0].value: members are missing: target_pid",
        ),
        (
            "[[object.attach]]\nprogram = \"trace\"\nhook = \"auto\"",
            "/m.toml:6:11: object.x.attach: the object has no program 'trace'",
        ),
        (
            "[[object.attach]]\nprogram = \"packets\"\nhook = \"auto\"",
            "/m.toml:7:8: object.x.attach.packets: section 'xdp' (xdp) has no automatic hook",
        ),
        (
            "[[object.attach]]\nprogram = \"packets\"\nhook = \"kprobe:f\"",
            "/m.toml:7:8: object.x.attach.packets: program 'packets' is xdp; hook 'kprobe:f'",
        ),
        (
            "[[object.attach]]\nprogram = \"extra\"\nhook = \"auto\"",
            "/m.toml:6:11: object.x.attach.extra: the program is loaded only if it is listed",
        ),
        (
            "[[object.map]]\nname = \"config\"\npin = \"/sys/fs/bpf/tinybpf/x/progs/packets\"",
            "/m.toml:3:8: object.x.name: two parts would be pinned at /sys/fs/bpf/tinybpf/x",
        ),
    ] {
        let got = held(inner).expect_err("refused");
        assert!(got.iter().any(|it| it.starts_with(want)), "{want}\n{}", got.join("\n"));
    }
    let defaults =
        "[[object.map]]\nname = \"config\"\ndefaults = true\nentries = [{ key = 1, value = {} }]";
    assert!(held(defaults).is_ok());
}

#[test]
fn maps_are_compared_by_what_matters() {
    let shape =
        MapShape { map_type: MapType::HASH, key_size: 4, value_size: 8, max_entries: 16, flags: 0 };
    assert_eq!(shape.difference(&shape), None);
    let other = MapShape { value_size: 16, ..shape };
    assert_eq!(shape.difference(&other).as_deref(), Some("value size is 16, wanted is 8"));
    let other = MapShape { max_entries: 8, ..shape };
    assert_eq!(shape.difference(&other).as_deref(), Some("max_entries is 8, wanted is 16"));
    let chosen = MapShape { map_type: MapType::PERF_EVENT_ARRAY, max_entries: 0, ..shape };
    assert_eq!(chosen.difference(&MapShape { max_entries: 2, ..chosen }), None);
    let ring = MapShape { map_type: MapType::RINGBUF, max_entries: 5000, ..shape };
    assert_eq!(ring.difference(&MapShape { max_entries: 8192, ..ring }), None);
    assert!(ring.difference(&MapShape { max_entries: 4096, ..ring }).is_some());
    assert!(ring.difference(&MapShape { max_entries: 1 << 20, ..ring }).is_some());
}

#[test]
fn the_state_reads_back_and_is_never_fatal() {
    let link = PinRecord {
        kind: PinKind::Link,
        id: Some(7),
        hook: Some("xdp:lo".to_owned()),
        is_ours: true,
    };
    let map = PinRecord { kind: PinKind::Map, id: None, hook: None, is_ours: false };
    let record = Record {
        manifest: "/m.toml".to_owned(),
        digests: Digests { object: "00".to_owned(), table: "11".to_owned(), btf: String::new() },
        is_done: true,
        pins: BTreeMap::from([("/a".to_owned(), link), ("/b".to_owned(), map)]),
        directories: vec!["/d".to_owned()],
    };
    let state = State { objects: BTreeMap::from([("x".to_owned(), record)]) };
    let text = state.encode();
    assert_eq!(State::decode(&text), Some(state));
    for damaged in
        ["", "{}", "[]", &text.replace("\"version\":1", "\"version\":2"), &text[..text.len() / 2]]
    {
        assert_eq!(State::decode(damaged), None);
    }
    assert_eq!(State::decode(&text.replace("\"link\"", "\"knot\"")), None);
    assert_eq!(State::decode(&text.replace(":7", ":4294967296")), None);
}

/// Type information of the machine's byte order is what the tests above rely on.
#[test]
fn the_file_of_the_tests_has_type_information() {
    let btf: Option<Btf> = file().btf;
    assert!(btf.is_some_and(|it| it.byte_order() == ByteOrder::NATIVE));
}

proptest! {
    #[test]
    fn damaged_manifests_are_refused_or_read(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..128), 1..6),
    ) {
        let mut bytes = FULL.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let text = String::from_utf8(bytes).expect("ASCII");
        match parse("/m.toml", &text) {
            Err(problems) => prop_assert!(!problems.0.is_empty()),
            Ok(manifest) => for object in &manifest.objects {
                drop(wanted(&manifest, object, &file(), Digests::default(), &[0]));
                prop_assert!(!object.canonical().contains('\n'));
            },
        }
    }

    #[test]
    fn damaged_states_are_none_or_read_back(
        at in any::<prop::sample::Index>(), byte in 0_u8..128,
    ) {
        let pin = PinRecord { kind: PinKind::Map, id: Some(3), hook: None, is_ours: true };
        let record = Record { pins: BTreeMap::from([("/a".to_owned(), pin)]), ..Record::default() };
        let state = State { objects: BTreeMap::from([("x".to_owned(), record)]) };
        let mut bytes = state.encode().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(state) = State::decode(&String::from_utf8(bytes).expect("ASCII")) {
            prop_assert_eq!(State::decode(&state.encode()), Some(state));
        }
    }
}
