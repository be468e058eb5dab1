// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mistakes that the command names: places, hooks and elements that are not there or do not fit,
//! each with its whole message and its status. Objects that are broken are in `commands`, what a
//! machine lacks is in `lacking`.

use std::path::Path;

use bpf::host::Host;

use crate::compiled::objects;
use crate::said::{done, fails, tinybpf};
use crate::support::{isolated, object};

const PINS: &str = "/sys/fs/bpf/test";
const NOENT: &str = "ENOENT (No such file or directory)";

fn path(name: &str) -> String {
    object(name).display().to_string()
}

/// Loads one program of an object for a hook.
fn hook(name: &str, program: &str, hook: &str) -> crate::said::Said {
    let hook = format!("{program}={hook}");
    tinybpf(&["load", &path(name), "--pin", PINS, "--prog", program, "--hook", &hook])
}

#[test]
fn root_hooks_that_are_not_there() {
    isolated(module_path!(), "root_hooks_that_are_not_there", || {
        let probed = objects().join("probed").display().to_string();
        let host = "/etc/hostname";
        for (place, code, cause) in [
            (
                "/nonexistent:f",
                5,
                format!("uprobe:/nonexistent:f: there is no file '/nonexistent': {NOENT}"),
            ),
            (
                "nonexistent:f",
                5,
                format!("uprobe:nonexistent:f: there is no file 'nonexistent': {NOENT}"),
            ),
            (
                &format!("{host}:f"),
                3,
                format!("'{host}' is not an ELF object: Could not read file magic"),
            ),
            (
                &format!("{probed}:probed_ad"),
                5,
                format!(
                    "'{probed}' has no function 'probed_ad': {NOENT}\nhint: there are: probed_add"
                ),
            ),
        ] {
            let said = hook("uprobe", "entry", &format!("uprobe:{place}"));
            said.failed(code, &format!("attach 'entry': {cause}"));
        }
        for (file, code, cause) in [
            ("/bin/true", 5, format!("the binary has no USDT probes: {NOENT}")),
            (&probed, 5, format!("the binary has no such probe: {NOENT}")),
            ("/nonexistent", 5, format!("there is no such file: {NOENT}")),
            (host, 3, "the file is not an ELF object: EBADF (Bad file descriptor)".to_owned()),
        ] {
            let place = format!("usdt:{file}:plinth:none");
            hook("usdt", "step", &place).failed(code, &format!("attach 'step': {place}: {cause}"));
        }
        let place = format!("usdt:{probed}:plinth:step");
        hook("usdt", "step", &place).failed(
            6,
            &format!(
                "pin '{place}': static probes consist of several kernel objects
                 hint: it lives as long as its process: see `run` and `load --hold`"
            ),
        );
        for (group, code, cause) in [
            ("/nonexistent", 5, format!("there is no such control group: {NOENT}")),
            ("/tmp", 1, "the directory is not a control group of version 2".to_owned()),
        ] {
            hook("cgroup", "egress", &format!("cgroup:{group}"))
                .failed(code, &format!("open '{group}': {cause}"));
        }
        assert!(!Path::new(PINS).exists(), "{PINS} is left");
    });
}

#[test]
fn root_kinds_without_a_hook_here() {
    isolated(module_path!(), "root_kinds_without_a_hook_here", || {
        done(&["load", &path("cgroup"), "--pin", PINS, "--prog", "egress", "--attach", "none"]);
        let egress = format!("{PINS}/progs/egress");
        let place = "cgroup:/,override";
        tinybpf(&["attach", "pin", &egress, place, "--pin", "/sys/fs/bpf/link"])
            .failed(2, &format!("hook '{place}' cannot be pinned; leave --pin away"));
        done(&["unload", PINS]);
        hook("xdp", "pass", "auto").failed(
            6,
            "attach 'pass': type xdp has no automatic hook; use attach_xdp (hook xdp:IF): \
             EOPNOTSUPP (Operation not supported)",
        );
        let (code, cause) = match Host::system().has_kprobes() {
            false => (6, "kprobe:plinth_invented_function: this kernel has no kprobes"),
            true => (5, "the kernel has no function 'plinth_invented_function'"),
        };
        tinybpf(&["load", &path("broken/unknown_kprobe"), "--pin", PINS, "--attach", "auto"])
            .failed(code, &format!("attach 'nowhere': {cause}: {NOENT}"));
        // A kernel whose infrared core is built in takes it.
        let said = tinybpf(&["load", &path("lirc"), "--pin", PINS]);
        if said.code == Some(0) {
            done(&["unload", PINS]);
        } else {
            let file = path("lirc");
            said.failed(
                6,
                &format!(
                    "load '{file}': program 'decode': this kernel does not know its type or its \
                     hook: EINVAL (Invalid argument)"
                ),
            );
        }
        assert!(!Path::new(PINS).exists(), "{PINS} is left");
    });
}

#[test]
fn root_elements_and_pins_that_do_not_fit() {
    isolated(module_path!(), "root_elements_and_pins_that_do_not_fit", || {
        let hash = "/sys/fs/bpf/hash";
        let create = ["map", "create", hash, "--type", "hash", "--entries", "1"];
        done(&create);
        let taken = format!(
            "pin '{hash}': the name is taken: EEXIST (File exists)\nhint: remove that pin first"
        );
        tinybpf(&create).failed(1, &taken);
        tinybpf(&["map", "pin", "pin", hash, hash]).failed(1, &taken);
        let set = |key: &str, value: &str| tinybpf(&["map", "set", "pin", hash, key, value]);
        let long = "hex:0100000000000000";
        assert_eq!(set("hex:01000000", long).code, Some(0));
        for (key, value, cause) in [
            ("hex:02000000", long, "the map is full (1 elements): E2BIG (Argument list too long)"),
            ("hex:0200", long, "the key has 2 bytes, the map wants 4"),
            ("hex:01000000", "hex:01", "the value has 1 bytes, the map wants 8"),
        ] {
            set(key, value).failed(1, &format!("update 'hash': {cause}"));
        }
        done(&["map", "freeze", "pin", hash]);
        let frozen = "the map is frozen or read-only: EPERM (Operation not permitted)";
        set("hex:01000000", long).failed(1, &format!("update 'hash': {frozen}"));
        tinybpf(&["map", "del", "pin", hash, "hex:01000000"])
            .failed(1, &format!("delete 'hash': {frozen}"));

        for (place, cause) in [
            ("/etc/hostname", "the file is not on a bpf file system"),
            ("/sys/fs/bpf", "it is a directory of pins"),
        ] {
            tinybpf(&["map", "dump", "pin", place])
                .failed(1, &format!("open '{place}': {cause}: EACCES (Permission denied)"));
        }
        fails(
            &["map", "create", "/sys/fs/bpf/none", "--type", "hash", "--entries", "0"],
            1,
            "create 'none': max_entries is 0",
        );
        // One for each CPU, as for an object.
        let perf = "/sys/fs/bpf/perf";
        done(&["map", "create", perf, "--type", "perf_event_array", "--entries", "0"]);
        let shown = crate::said::json(&["map", "show", "pin", perf]);
        assert_eq!(shown["max_entries"], Host::system().possible_cpus().len());
    });
}

#[test]
fn root_what_is_odd_is_told_and_done() {
    isolated(module_path!(), "root_what_is_odd_is_told_and_done", || {
        for (words, notice) in [
            (&["map_only"][..], "the object has no programs; only its maps exist"),
            (
                &["ring", "--attach", "none", "--map", "events:max_entries=5000"],
                "map 'events': 5000 bytes are rounded up to 8192",
            ),
            (
                &["xdp", "--prog", "pass", "--attach", "auto"],
                "program 'pass' is xdp and is attached with --hook only",
            ),
        ] {
            let said = tinybpf(&[&["load", &path(words[0]), "--pin", PINS], &words[1..]].concat());
            assert_eq!((said.code, said.err), (Some(0), format!("tinybpf: {notice}\n")));
            done(&["unload", PINS]);
        }
    });
}
