// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Objects inside a program.
//!
//! The compiled objects do not exist when this is compiled: what is embedded here is another file,
//! and the part behind the opening is given an object that was opened by its path.

use bpf::error::Kind;
use bpf::object::OpenOptions;
use bpf::program::TestRun;
use bpf::skeleton::check_constant;

use crate::support::{isolated, number, object};

bpf::bpf_skeleton! {
    ring "main.rs";
    programs { emit, emit_both }
    maps { events, ticks }
    rodata { burst: u32, wake_flags: u64 }
}

bpf::bpf_skeleton! {
    maps "main.rs";
    programs {}
    maps { hash: u64, array: i16 }
    rodata {}
}

#[test]
fn what_is_embedded_is_opened_from_memory() {
    let error = ring::Skeleton::open().map(|_| ()).expect_err("source text is no object");
    assert_eq!(error.kind(), Kind::NotAnObject);
    assert!(ring::BYTES.starts_with(b"// SPDX"));
}

#[test]
fn constants_are_compared_by_name_and_size() {
    let open = OpenOptions::new().open(&object("ring")).expect("opens");
    check_constant::<u32>(&open, "burst").expect("four bytes");
    let error = check_constant::<u64>(&open, "burst").expect_err("eight bytes");
    assert!(error.to_string().contains("has 4 bytes, the type 8"), "{error}");
    assert_eq!(check_constant::<u8>(&open, "none").expect_err("none").kind(), Kind::NotFound);
}

#[test]
fn root_a_skeleton_sets_loads_and_names_its_parts() {
    isolated(module_path!(), "root_a_skeleton_sets_loads_and_names_its_parts", || {
        let opened = OpenOptions::new().open(&object("ring")).expect("opens");
        let rodata = ring::Rodata { burst: Some(3), ..ring::Rodata::default() };
        let loaded = ring::Skeleton { object: opened, rodata }.load().expect("loads");
        loaded.programs.emit.test_run(&TestRun::default()).expect("runs");
        assert_eq!(number(&loaded.object, "sequence"), 3);
        assert_eq!((loaded.maps.events.name(), loaded.maps.ticks.name()), ("events", "ticks"));
        assert_eq!(loaded.programs.emit_both.name(), "emit_both");

        let opened = OpenOptions::new().open(&object("maps")).expect("opens");
        let wrong = maps::Skeleton { object: opened, rodata: maps::Rodata {} }.load();
        let error = wrong.map(|_| ()).expect_err("the array's values have eight bytes");
        assert_eq!((error.kind(), error.subject()), (Kind::Mismatch, "array"));
    });
}
