// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a machine or a caller may lack: the command names it, whole lines and status.
//!
//! What is lacking is taken away from the test's own process: mounts are covered or removed in its
//! namespace, capabilities dropped by setpriv(1), the system call answered by a filter.

use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::compiled::objects;
use crate::said::{done, fails, tinybpf, under};
use crate::support::{isolated, object};

const PINS: &str = "/sys/fs/bpf/test";
/// What is there before something is taken away.
const OTHER: &str = "/sys/fs/bpf/other";

fn path(name: &str) -> String {
    object(name).display().to_string()
}

/// Loads an object in a place for pins, under a runner.
fn load(runner: &[&str], name: &str) -> crate::said::Said {
    under(runner, &["load", &path(name), "--pin", PINS, "--attach", "auto"])
}

/// Nothing was left at the place of pins.
fn nothing_is_left() {
    assert!(!Path::new(PINS).exists(), "{PINS} is left");
}

/// Covers a directory with an empty one.
fn cover(place: &str) {
    mount("none", place, "tmpfs", MountFlags::empty(), None).expect(place);
}

#[test]
fn root_without_types_of_the_kernel() {
    isolated(module_path!(), "root_without_types_of_the_kernel", || {
        cover("/sys/kernel/btf");
        for name in ["core", "tracepoints", "iter", "struct_ops_link", "fentry"] {
            let file = path(name);
            load(&[], name).failed(
                6,
                &format!(
                    "load '{file}': the kernel has no BTF: ESRCH (No such process)
                     hint: name a file with kernel types (--btf), which serves all but programs \
                     and maps bound to types of the running kernel"
                ),
            );
            nothing_is_left();
        }
        let vmlinux = "/sys/kernel/btf/vmlinux";
        tinybpf(&["btf", "vmlinux-h"])
            .failed(6, &format!("read '{vmlinux}': this kernel does not show its types"));
        assert!(done(&["version"]).contains(", without BTF\n"));
        // Types from a file serve relocations; without any, nothing is asked for.
        let core = path("core");
        done(&["--btf", &core, "load", &core, "--pin", PINS, "--attach", "auto"]);
        done(&["unload", PINS]);
        assert_eq!(load(&[], "raw_tp").code, Some(0));
    });
}

#[test]
fn root_files_of_types_that_are_none() {
    isolated(module_path!(), "root_files_of_types_that_are_none", || {
        let core = path("core");
        let with = |file: &str| tinybpf(&["--btf", file, "load", &core, "--pin", PINS]);
        let load = format!("load '{core}'");
        with("/nonexistent").failed(
            5,
            &format!(
                "{load}: there is no such file with kernel types: ENOENT (No such file or \
                 directory)"
            ),
        );
        with("/etc/hostname").failed(
            3,
            &format!(
                "{load}: the file with kernel types holds none: FORMAT (not a valid eBPF object)"
            ),
        );
        nothing_is_left();
    });
}

/// A kernel without bpf(2), and a caller who is denied it by a filter.
#[test]
fn root_without_the_system_call() {
    isolated(module_path!(), "root_without_the_system_call", || {
        let tool = objects().join("without_bpf").display().to_string();
        done(&["load", &path("map_only"), "--pin", OTHER]);
        let pin = format!("{OTHER}/maps/table");
        let pin = pin.as_str();
        for (number, code, cause) in [
            ("38", 6, "this kernel was built without BPF: ENOSYS (Function not implemented)"),
            (
                "1",
                4,
                "a seccomp filter forbids the system call bpf: EPERM (Operation not permitted)
                 hint: allow it where the filter is set: in the container's or the unit's \
                 configuration",
            ),
        ] {
            let runner = [tool.as_str(), number];
            for name in ["raw_tp", "minimal", "socket", "xdp", "map_only", "core", "fentry"] {
                load(&runner, name).failed(code, &format!("load '{}': {cause}", path(name)));
                nothing_is_left();
            }
            let run = under(&runner, &["run", &path("raw_tp")]);
            run.failed(code, &format!("load '{}': {cause}", path("raw_tp")));
            for (words, action) in [
                (&["list", "progs"][..], "list 'programs'"),
                (&["list", "links"], "list 'links'"),
                (&["map", "show", "id", "1"], "open 'map 1'"),
                (&["map", "dump", "name", "hits"], "list 'maps'"),
                (&["map", "dump", "pin", pin], &format!("open '{pin}'")),
                (&["map", "create", PINS, "--type", "array", "--entries", "1"], "create 'test'"),
                (&["stats", "id", "1"], "open 'program 1'"),
                (&["detach", "id", "1"], "open 'link 1'"),
                // What cannot be seen is not taken for nothing.
                (&["--bpffs", OTHER, "list", "pins"], &format!("open '{pin}'")),
                (&["unload", OTHER], &format!("open '{pin}'")),
            ] {
                under(&runner, words).failed(code, &format!("{action}: {cause}"));
            }
            let missing = under(&runner, &["features", "--require", "ringbuf"]);
            assert_eq!(
                (missing.code, missing.out.as_str()),
                (Some(9), "missing ringbuf (since 5.8)\n")
            );
        }
        done(&["unload", OTHER]);
    });
}

#[test]
fn root_without_the_file_system_of_pins() {
    isolated(module_path!(), "root_without_the_file_system_of_pins", || {
        unmount("/sys/fs/bpf", UnmountFlags::empty()).expect("it was mounted by us");
        let refused = |subject: &str| {
            format!(
                "pin '{subject}': '/sys/fs/bpf' is not on a bpf file system
                 hint: mount one with: mount -t bpf bpf /sys/fs/bpf"
            )
        };
        load(&[], "raw_tp").failed(1, &refused("/sys/fs/bpf/test/progs"));
        let create = ["map", "create", PINS, "--type", "hash", "--entries", "3"];
        tinybpf(&create).failed(1, &refused(PINS));
        fails(&["map", "dump", "pin", PINS], 5, "no such pin");
        fails(&["unload", PINS], 5, "no such directory");

        let manifest = std::env::temp_dir().join(format!("lacking-{}", std::process::id()));
        cover("/run");
        let write = |mounts: &str| {
            let text = format!(
                "version = 1\n{mounts}\npin_root = \"/sys/fs/bpf/host\"\n[[object]]\n\
                 name = \"x\"\npath = \"{}\"\n",
                path("raw_tp")
            );
            std::fs::write(&manifest, text).expect("a file");
        };
        let words = ["apply", manifest.to_str().expect("text")];
        write("");
        tinybpf(&words).failed(
            1,
            "object 'x': pin '/sys/fs/bpf/host': '/sys/fs/bpf' is not on a bpf file system \
                    (mount one with: mount -t bpf bpf /sys/fs/bpf)",
        );
        write("mount = [\"bpf\"]");
        done(&words);
        assert!(Path::new("/sys/fs/bpf/host/x/progs/count").exists());
        std::fs::remove_file(&manifest).expect("it is there");
    });
}

#[test]
fn root_without_the_tracing_files() {
    isolated(module_path!(), "root_without_the_tracing_files", || {
        for place in ["/sys/kernel/tracing", "/sys/kernel/debug"] {
            while unmount(place, UnmountFlags::DETACH).is_ok() {}
        }
        let refused = "attach 'minimal': tracepoint:syscalls/sys_enter_getpgid: tracefs is not \
                       mounted: ENOENT (No such file or directory)
                       hint: mount it with: mount -t tracefs tracefs /sys/kernel/tracing";
        load(&[], "minimal").failed(6, refused);
        tinybpf(&["run", &path("minimal")]).failed(6, refused);
        nothing_is_left();
        let log = "open 'trace_pipe': tracefs is not mounted
                   hint: mount -t tracefs tracefs /sys/kernel/tracing";
        tinybpf(&["log"]).failed(6, log);
        // An empty directory in its place is none either.
        cover("/sys/kernel/tracing");
        load(&[], "minimal").failed(6, refused);
        // Raw tracepoints need no files.
        assert_eq!(load(&[], "raw_tp").code, Some(0));
    });
}

/// Words for setpriv(1): root who can do only this, and somebody else who can.
fn able(list: &str) -> [String; 2] {
    ["setpriv".to_owned(), format!("--bounding-set=-all{list}")]
}

#[test]
fn root_without_capabilities_the_command_names_them() {
    isolated(module_path!(), "root_without_capabilities_the_command_names_them", || {
        done(&["load", &path("raw_tp"), "--pin", OTHER, "--attach", "none"]);
        let hint = "hint: run as root, or give the program these capabilities";
        for (have, name, missing) in [
            ("", "socket", "CAP_BPF"),
            ("", "map_only", "CAP_BPF"),
            ("", "xdp", "CAP_BPF, CAP_NET_ADMIN"),
            ("", "raw_tp", "CAP_BPF, CAP_PERFMON"),
            ("", "minimal", "CAP_BPF, CAP_PERFMON"),
            ("", "fentry", "CAP_BPF, CAP_PERFMON"),
            (",+bpf", "xdp", "CAP_NET_ADMIN"),
            (",+bpf", "raw_tp", "CAP_PERFMON"),
            (",+bpf", "minimal", "CAP_PERFMON"),
            (",+bpf,+net_admin", "raw_tp", "CAP_PERFMON"),
            (",+bpf,+perfmon", "xdp", "CAP_NET_ADMIN"),
        ] {
            let runner = able(have);
            let runner = [runner[0].as_str(), &runner[1]];
            let file = path(name);
            let cause = "EPERM (Operation not permitted)";
            load(&runner, name)
                .failed(4, &format!("load '{file}': the caller lacks {missing}: {cause}\n{hint}"));
            nothing_is_left();
        }
        for (have, name) in
            [(",+bpf", "socket"), (",+bpf,+net_admin", "xdp"), (",+bpf,+perfmon", "raw_tp")]
        {
            let runner = able(have);
            let said = load(&[&runner[0], &runner[1]], name);
            assert_eq!(said.code, Some(0), "{have}: {said:?}");
            done(&["unload", PINS]);
        }
        let runner = able(",+bpf");
        let runner = [runner[0].as_str(), &runner[1]];
        let lacks = "the caller lacks CAP_SYS_ADMIN: EPERM (Operation not permitted)";
        let hint = "hint: without it, name things by their pins";
        under(&runner, &["list", "progs"]).failed(4, &format!("list 'programs': {lacks}\n{hint}"));
        under(&runner, &["map", "show", "id", "1"])
            .failed(4, &format!("open 'map 1': {lacks}\n{hint}"));
        // A map is read without its types, which have numbers only.
        let dump = ["map", "dump", "pin", "/sys/fs/bpf/other/maps/raw_tp_bss"];
        let said = under(&runner, &dump);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.err.contains("shown as bytes") && said.err.contains(lacks), "{said:?}");
        assert_eq!(said.out, "0 \"hex:0000000000000000\"\n");
        done(&["unload", OTHER]);
    });
}

/// Somebody who is not root: the files of tracing are not for them, whatever else they may do.
#[test]
fn root_not_root_with_and_without_capabilities() {
    isolated(module_path!(), "root_not_root_with_and_without_capabilities", || {
        cover("/mnt");
        for name in ["minimal", "raw_tp"] {
            std::fs::copy(object(name), format!("/mnt/{name}.bpf.o")).expect("a copy");
        }
        std::fs::copy(crate::said::TINYBPF, "/mnt/tinybpf").expect("a copy");
        let run = |have: &str, name: &str| {
            let mut command = std::process::Command::new("setpriv");
            command
                .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                .args([format!("--inh-caps=-all{have}"), format!("--ambient-caps=-all{have}")])
                .args(["/mnt/tinybpf", "run", &format!("/mnt/{name}.bpf.o"), "--duration", "1ms"]);
            let output = plinth::testing::output(&mut command);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code(), error)
        };
        let hint = "tinybpf: hint: run as root, or give the program these capabilities\n";
        assert_eq!(
            run("", "raw_tp"),
            (
                Some(4),
                format!(
                    "tinybpf: load '/mnt/raw_tp.bpf.o': the caller lacks CAP_BPF, CAP_PERFMON: \
                     EPERM (Operation not permitted)\n{hint}"
                )
            )
        );
        assert_eq!(run(",+bpf,+perfmon", "raw_tp").0, Some(0));
        assert_eq!(
            run(",+bpf,+perfmon", "minimal"),
            (
                Some(4),
                format!(
                    "tinybpf: attach 'minimal': tracepoint:syscalls/sys_enter_getpgid: the caller \
                     lacks CAP_DAC_READ_SEARCH: EACCES (Permission denied)\n{hint}"
                )
            )
        );
        let able = ",+bpf,+perfmon,+dac_read_search";
        assert_eq!(run(able, "minimal"), (Some(0), String::new()));
    });
}
