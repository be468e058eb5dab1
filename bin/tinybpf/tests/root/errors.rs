// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is said of objects that cannot be opened or loaded.

use std::fs;
use std::path::Path;
use std::process::Command;

use bpf::error::{Error, Kind};
use bpf::host::Host;
use bpf::object::{Object, OpenOptions};

use crate::said::TINYBPF;
use crate::support::{isolated, object};

/// Opens and loads a broken object, and shows the answer.
fn refused(name: &str) -> Error {
    Object::load(&object(&format!("broken/{name}"))).expect_err(name)
}

/// The kind, a phrase of the message, a phrase of the hint.
type Expected = (&'static str, Kind, &'static str, &'static str);

fn check(rows: &[Expected]) {
    for (name, kind, phrase, hint) in rows {
        let error = refused(name);
        let text = error.to_string();
        assert_eq!(error.kind(), *kind, "{name}: {text}");
        assert!(text.contains(phrase), "{name}: {text}");
        assert_eq!(text.lines().count(), 1, "{name}: one line");
        let found = error.hint().unwrap_or_default();
        assert!(found.contains(hint), "{name}: hint '{found}'");
    }
}

#[test]
fn files_that_are_no_objects_are_named_for_what_they_are() {
    check(&[
        ("empty", Kind::NotAnObject, "is not an ELF object", ""),
        ("text", Kind::NotAnObject, "is not an ELF object", ""),
        ("stub", Kind::NotAnObject, "is not an ELF object", ""),
        ("truncated", Kind::NotAnObject, "is truncated or damaged", ""),
        ("big_endian", Kind::WrongArch, "is big-endian, this machine is little-endian", ""),
        ("no_btf", Kind::MissingBtf, "no BTF", "compile with -g"),
        ("ring_values", Kind::NotAnObject, "declares values it cannot have", "__array"),
    ]);
    let own = OpenOptions::new().open(Path::new("/proc/self/exe")).expect_err("a program");
    assert_eq!(own.kind(), Kind::WrongArch);
    assert!(own.to_string().contains("eBPF"), "{own}");
}

#[test]
fn a_message_that_cannot_be_written_changes_no_status() {
    let full = fs::File::options().write(true).open("/dev/full").expect("a full device");
    let mut command = Command::new(TINYBPF);
    let status = command.arg("nosuch").stderr(full).status().expect("the program");
    assert_eq!(status.code(), Some(2));
}

#[test]
fn root_the_verifiers_words_reach_the_message() {
    isolated(module_path!(), "root_the_verifiers_words_reach_the_message", || {
        check(&[
            (
                "verifier",
                Kind::Verifier,
                "program 'scalar' rejected at instruction 1 (verifier.bpf.c:10): R1 invalid mem \
                 access 'scalar'",
                "",
            ),
            ("no_license", Kind::Verifier, "cannot call GPL-restricted function", "license"),
            ("closed_license", Kind::Verifier, "cannot call GPL-restricted function", "license"),
            ("big_log", Kind::Verifier, "program 'talks' rejected", ""),
            ("too_many_jumps", Kind::Verifier, "too complex", ""),
        ]);
        let error = refused("big_log");
        let log = error.log().expect("a log");
        let bytes: usize = log.lines().map(|line| line.len() + 1).sum();
        assert!(bytes > 500_000 && bytes <= 1 << 20, "{bytes}");
        assert!(log.contains("lines left out"));
        assert!(log.rejection().is_some_and(|found| found.reason.contains("invalid mem access")));
        assert!(!log.contains("ulimit"));
    });
}

#[test]
fn root_too_many_states_are_not_a_wrong_access() {
    isolated(module_path!(), "root_too_many_states_are_not_a_wrong_access", || {
        check(&[("too_complex", Kind::Verifier, "program is too large", "bound its loops")]);
    });
}

#[test]
fn root_what_this_kernel_lacks_is_named() {
    isolated(module_path!(), "root_what_this_kernel_lacks_is_named", || {
        check(&[
            (
                "relocation",
                Kind::Relocation,
                "program 'misses' needs byte_off of struct task_struct___invented.\
                 plinth_invented_field",
                "bpf_core_field_exists",
            ),
            ("unknown_kfunc", Kind::Unsupported, "'plinth_invented_function'", "__weak"),
            ("unknown_ksym", Kind::Unsupported, "'plinth_invented_variable'", "__weak"),
            ("unknown_kconfig", Kind::Unsupported, "'CONFIG_PLINTH_INVENTED'", "__weak"),
            ("unknown_fentry", Kind::NoSuchTarget, "'plinth_invented_function'", ""),
            ("unknown_tp_btf", Kind::NoSuchTarget, "'sched_swich'", "sched_switch"),
            ("unknown_struct_ops", Kind::Unsupported, "'plinth_invented_ops'", ""),
            ("unknown_section", Kind::NotAnObject, "unknown section 'nonsense/foo'", "selects"),
            ("misspelled_section", Kind::NotAnObject, "'tracepont/sched", "tracepoint"),
            ("ring_value", Kind::InvalidArgument, "map 'events' cannot be created", "ring buffer"),
            ("missing_inner", Kind::InvalidArgument, "map 'outer' cannot be created", "template"),
        ]);
    });
}

#[test]
fn root_hooks_that_do_not_exist_are_found_at_the_attachment() {
    isolated(module_path!(), "root_hooks_that_do_not_exist_are_found_at_the_attachment", || {
        let attach = |name: &str| {
            let object = Object::load(&object(&format!("broken/{name}"))).expect(name);
            let program = object.programs().next().expect("a program");
            program.attach().expect_err(name)
        };
        let error = attach("unknown_raw_tp");
        assert_eq!(error.kind(), Kind::NoSuchTarget, "{error}");
        let error = attach("unknown_tracepoint");
        assert_eq!(error.kind(), Kind::NoSuchTarget, "{error}");
        assert!(error.to_string().contains("there is no tracepoint"), "{error}");
        let error = attach("no_target");
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        assert!(error.to_string().contains("names no target"), "{error}");
        let error = attach("unknown_kprobe");
        let expected =
            if Host::system().has_kprobes() { Kind::NoSuchTarget } else { Kind::Unsupported };
        assert_eq!(error.kind(), expected, "{error}");
    });
}

#[test]
fn root_kinds_that_the_kernel_refuses_are_told_from_missing_rights() {
    isolated(
        module_path!(),
        "root_kinds_that_the_kernel_refuses_are_told_from_missing_rights",
        || {
            match Object::load(&object("fentry")) {
                // A kernel that can is as good.
                Ok(object) => drop(object.programs().next().expect("a program").attach()),
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Permission);
                    let text = error.to_string();
                    assert!(text.contains("refuses programs bound to its functions"), "{text}");
                    assert!(error.hint().is_some_and(|hint| hint.contains("raw tracepoint")));
                }
            }
        },
    );
}

#[test]
fn root_without_capabilities_the_missing_ones_are_named() {
    isolated(module_path!(), "root_without_capabilities_the_missing_ones_are_named", || {
        let drop_all = rustix::thread::CapabilitySets {
            effective: rustix::thread::CapabilitySet::empty(),
            permitted: rustix::thread::CapabilitySet::empty(),
            inheritable: rustix::thread::CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, drop_all).expect("given up");
        for (name, missing) in [
            ("socket", "lacks CAP_BPF"),
            ("raw_tp", "lacks CAP_BPF, CAP_PERFMON"),
            ("xdp", "lacks CAP_BPF, CAP_NET_ADMIN"),
        ] {
            let error = Object::load(&object(name)).expect_err(name);
            assert_eq!(error.kind(), Kind::Permission, "{name}: {error}");
            assert!(error.to_string().contains(missing), "{name}: {error}");
        }
    });
}
