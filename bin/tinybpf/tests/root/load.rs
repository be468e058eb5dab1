// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Objects on this kernel: opened, loaded, attached, pinned.

use std::path::Path;

use crate::support::{descriptors, getpgid, isolated, object, resident};
use bpf::bpffs;
use bpf::errno::Errno;
use bpf::error::Kind;
use bpf::link::Link;
use bpf::map::{Map, Origin};
use bpf::object::{Object, OpenOptions, Source};
use bpf::program::Program;

fn u64_at(map: &Map, offset: usize) -> u64 {
    let value = map.get(&0_u32.to_ne_bytes()).expect("a look-up").expect("element 0");
    u64::from_ne_bytes(value[offset..offset + 8].try_into().expect("8 bytes"))
}

#[test]
fn root_a_raw_tracepoint_counts_and_lives_on_by_its_pin() {
    isolated(module_path!(), "root_a_raw_tracepoint_counts_and_lives_on_by_its_pin", || {
        let path = object("raw_tp");
        let object = Object::load(&path).expect("raw_tp.bpf.o loads");
        assert_eq!((object.name().as_str(), object.source()), ("raw_tp", &Source::File(path)));
        let program = object.program("count").expect("the program");
        let mut link = program.attach().expect("attached by its section");
        assert_eq!(link.describe(), "raw_tp:sys_enter");
        let hits = object.map("raw_tp.bss").expect("the variables");
        getpgid(10);
        assert!(u64_at(&hits, 0) >= 10);
        link.pin(Path::new("/sys/fs/bpf/deep/er/link")).expect("all levels are made");
        hits.pin(Path::new("/sys/fs/bpf/deep/hits")).expect("a pin");
        let again = link.pin(Path::new("/sys/fs/bpf/other")).expect_err("pinned already");
        assert_eq!(again.kind(), Kind::Busy);
        drop((link, program, hits, object));

        let hits = Map::from_pin(Path::new("/sys/fs/bpf/deep/hits")).expect("the pin");
        assert_eq!(hits.origin(), Origin::Pin);
        let before = u64_at(&hits, 0);
        getpgid(10);
        assert!(u64_at(&hits, 0) >= before + 10, "the pinned link is still attached");
        let link = Link::from_pin(Path::new("/sys/fs/bpf/deep/er/link")).expect("the pin");
        assert_eq!(link.describe(), "raw_tracepoint:sys_enter");
        link.detach().expect("detached and unpinned");
        let before = u64_at(&hits, 0);
        getpgid(10);
        assert_eq!(u64_at(&hits, 0), before, "nothing is attached any more");
        assert!(!Path::new("/sys/fs/bpf/deep/er/link").exists());
    });
}

#[test]
fn root_pins_have_rules() {
    isolated(module_path!(), "root_pins_have_rules", || {
        let object = Object::load(&object("raw_tp")).expect("loads");
        let (program, map) =
            (object.program("count").expect("p"), object.map("raw_tp.bss").expect("m"));
        let pin = |path: &str| program.pin(Path::new(path)).expect_err(path);
        assert!(pin("/sys/fs/bpf/a.b").to_string().contains("must not contain '.'"));
        assert!(pin("/sys/fs/bpf/a/b.c/d").to_string().contains("must not contain '.'"));
        assert!(!Path::new("/sys/fs/bpf/a").exists());
        assert_eq!(pin("/tmp/tinybpf-pin").kind(), Kind::NotBpffs);
        program.pin(Path::new("/sys/fs/bpf/p")).expect("a pin");
        assert_eq!(pin("/sys/fs/bpf/p").kind(), Kind::Exists);
        assert_eq!(pin("/sys/fs/bpf/p/x/y").errno(), Some(Errno::NOTDIR), "a pin is no directory");

        let error = Map::from_pin(Path::new("/sys/fs/bpf/p")).expect_err("a program");
        assert!(error.to_string().contains("is a program, not a map"), "{error}");
        let found = Program::from_pin(Path::new("/sys/fs/bpf/p")).expect("a program");
        assert_eq!(found.info().expect("info").id, program.info().expect("info").id);
        let error = Program::from_pin(Path::new("/sys/fs/bpf/none")).expect_err("missing");
        assert_eq!(error.kind(), Kind::NotFound);
        let error = Program::from_pin(Path::new("/sys/fs/bpf")).expect_err("a directory");
        assert!(error.to_string().contains("directory"), "{error}");
        let error = Program::from_pin(Path::new("/etc/passwd")).expect_err("elsewhere");
        assert_eq!(error.kind(), Kind::NotBpffs);
        bpffs::unpin(Path::new("/sys/fs/bpf/p")).expect("unpinned");
        assert!(!Path::new("/sys/fs/bpf/p").exists());
        assert_eq!(map.name(), "raw_tp.bss");
    });
}

#[test]
fn root_objects_leave_nothing_open() {
    isolated(module_path!(), "root_objects_leave_nothing_open", || {
        let path = object("raw_tp");
        let round = || {
            let object = Object::load(&path).expect("loads");
            let _link = object.program("count").expect("p").attach().expect("attached");
        };
        // What the allocator keeps for itself is kept by now.
        (0..20).for_each(|_| round());
        let before = (descriptors(), resident());
        (0..1000).for_each(|_| round());
        assert_eq!(descriptors(), before.0);
        let grown = resident().saturating_sub(before.1);
        assert!(grown < 512, "{grown} KiB more after a thousand rounds");
    });
}

#[test]
fn root_bytes_need_a_name_and_load_alike() {
    isolated(module_path!(), "root_bytes_need_a_name_and_load_alike", || {
        let bytes = std::fs::read(object("raw_tp")).expect("the object");
        let open = OpenOptions::new().name("mine").open_bytes(&bytes).expect("opens");
        drop(bytes);
        let object = open.load().expect("loads");
        assert_eq!((object.name().as_str(), object.source()), ("mine", &Source::Memory));
        assert!(object.map("mine.bss").is_ok());
        let error = object.map("other").expect_err("unknown");
        assert!(error.to_string().contains("there are: mine.bss"), "{error}");
    });
}
