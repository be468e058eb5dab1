// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The BPF objects themselves: that there is one for every hook and every kind of type, and that
//! they are what the other tests and a user take them for.

mod compiled;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bpf::btf::{Body, Btf, ByteOrder, Kind};
use compiled::{objects, sources};
use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSection as _};

/// What program sections begin with, for every hook that there is.
const HOOKS: &[&str] = &[
    "cgroup/bind4",
    "cgroup/bind6",
    "cgroup/connect4",
    "cgroup/connect6",
    "cgroup/connect_unix",
    "cgroup/dev",
    "cgroup/getpeername4",
    "cgroup/getpeername6",
    "cgroup/getsockname4",
    "cgroup/getsockname6",
    "cgroup/getsockopt",
    "cgroup/post_bind4",
    "cgroup/post_bind6",
    "cgroup/recvmsg4",
    "cgroup/recvmsg6",
    "cgroup/sendmsg4",
    "cgroup/sendmsg6",
    "cgroup/setsockopt",
    "cgroup/sock_create",
    "cgroup/sock_release",
    "cgroup/sysctl",
    "cgroup_skb/egress",
    "cgroup_skb/ingress",
    "classifier",
    "fentry.s/",
    "fentry/",
    "fexit/",
    "flow_dissector",
    "fmod_ret/",
    "freplace/",
    "fsession/",
    "iter/",
    "iter.s/",
    "kprobe.multi/",
    "kprobe.session/",
    "kprobe/",
    "kretprobe.multi/",
    "kretprobe/",
    "kretsyscall/",
    "ksyscall/",
    "lirc_mode2",
    "lsm.s/",
    "lsm/",
    "lsm_cgroup/",
    "lwt_in",
    "lwt_out",
    "lwt_seg6local",
    "lwt_xmit",
    "netfilter",
    "netkit/peer",
    "netkit/primary",
    "perf_event",
    "raw_tp",
    "raw_tp.w/",
    "raw_tp/",
    "sk_lookup",
    "sk_msg",
    "sk_reuseport",
    "sk_skb/stream_parser",
    "sk_skb/stream_verdict",
    "socket",
    "sockops",
    "struct_ops/",
    ".struct_ops",
    ".struct_ops.link",
    "syscall",
    "tc",
    "tcx/egress",
    "tcx/ingress",
    "tp/",
    "tp_btf/",
    "tracepoint/",
    "uprobe",
    "uprobe.multi",
    "uretprobe",
    "uretprobe.multi",
    "usdt",
    "xdp",
    "xdp.frags",
];

/// All compiled objects in a directory below [`objects`], sorted.
fn below(directory: &str) -> Vec<PathBuf> {
    let folder = objects().join(directory);
    let entries = fs::read_dir(folder).expect("build.sh makes it");
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    let mut found: Vec<PathBuf> =
        paths.filter(|path| path.to_string_lossy().ends_with(".bpf.o")).collect();
    found.sort();
    found
}

/// The sections that hold something, with their bytes.
fn sections(path: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(path).expect("it was listed");
    let file = ElfFile64::<Endianness>::parse(&*bytes).expect("a healthy object");
    file.sections()
        .map(|section| {
            let name = section.name().expect("a name").to_owned();
            (name, section.data().map(<[u8]>::to_vec).unwrap_or_default())
        })
        .collect()
}

fn btf(path: &Path) -> Btf {
    let (_, bytes) = sections(path)
        .into_iter()
        .find(|(name, _)| name == ".BTF")
        .unwrap_or_else(|| panic!("{} has no BTF", path.display()));
    Btf::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_source_is_compiled() {
    for (from, to) in [("fixtures", ""), ("broken", "broken"), ("programs", "programs")] {
        for entry in fs::read_dir(sources().join(from)).expect("the sources").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(stem) = name.strip_suffix(".bpf.c") {
                let object = objects().join(to).join(format!("{stem}.bpf.o"));
                assert!(object.exists(), "{} is missing", object.display());
            }
        }
    }
    for name in ["broken/truncated", "broken/stub", "broken/empty", "broken/text"] {
        assert!(objects().join(format!("{name}.bpf.o")).exists(), "{name}");
    }
}

#[test]
fn every_hook_has_a_program() {
    let mut present = BTreeSet::new();
    for path in below("") {
        for (name, _) in sections(&path) {
            let name = name.trim_start_matches('?');
            let known = HOOKS.iter().find(|hook| match hook.strip_suffix('/') {
                Some(_) => name.starts_with(**hook),
                None => name == **hook,
            });
            present.extend(known.copied());
        }
    }
    let missing: Vec<_> = HOOKS.iter().filter(|hook| !present.contains(**hook)).collect();
    assert!(missing.is_empty(), "no program for {missing:?}");
}

#[test]
fn every_kind_of_type_is_there() {
    let mut present = BTreeSet::new();
    for path in below("") {
        present.extend(btf(&path).types().map(|(_, found)| found.kind().name()));
    }
    // What has no type has type 0, which is no entry of a table.
    present.insert(Kind::Void.name());
    let missing: Vec<_> =
        Kind::ALL.iter().map(|kind| kind.name()).filter(|kind| !present.contains(kind)).collect();
    assert!(missing.is_empty(), "no type of {missing:?}");
}

#[test]
fn the_kinds_object_alone_has_what_a_decoder_meets() {
    let btf = btf(&objects().join("kinds.bpf.o"));
    for (name, size) in [("all_kinds", 272), ("packed", 15), ("empty", 0), ("flexible", 2)] {
        let id = btf.find_spelled(&format!("struct {name}")).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(btf.size_of(id).ok(), Some(size), "{name}");
    }
    let wide = btf.find(Kind::Enum64, "wide").expect("a wide enumeration");
    let Ok(Body::Enum64(wide)) = btf.get(wide).map(|found| &found.body) else {
        panic!("it is of another kind")
    };
    assert!(!wide.is_signed && wide.values.len() == 2);
}

#[test]
fn an_older_compiler_loses_signs_and_upper_halves() {
    let btf = btf(&objects().join("enums_old.bpf.o"));
    let state = btf.find(Kind::Enum, "state").expect("an enumeration");
    let Ok(Body::Enum(state)) = btf.get(state).map(|found| &found.body) else {
        panic!("it is of another kind")
    };
    assert!(!state.is_signed, "the compiler knows signs; CLANG_OLD is too new");
    assert!(btf.find(Kind::Enum, "wide").is_some(), "a wide one is told as a narrow one");
}

#[test]
fn the_other_byte_order_is_one_that_a_decoder_reads() {
    let bytes = fs::read(objects().join("broken/big_endian.bpf.o")).expect("it was compiled");
    let file = ElfFile64::<Endianness>::parse(&*bytes).expect("a healthy object");
    assert!(!file.is_little_endian());
    let section = file.section_by_name(".BTF").expect("types").data().expect("bytes");
    let btf = Btf::parse(section).expect("types of the other order");
    assert_eq!(btf.byte_order(), ByteOrder::Big);
    assert!(btf.find_spelled("struct event").is_some());
}

#[test]
fn objects_tell_nothing_of_where_they_were_built() {
    let root = sources().canonicalize().expect("it is there");
    let root = root.to_string_lossy();
    for directory in ["", "programs", "broken"] {
        for path in below(directory) {
            let bytes = fs::read(&path).expect("it was listed");
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains(&*root), "{} names {root}", path.display());
        }
    }
}

#[test]
fn nothing_is_compiled_twice() {
    let times = || -> Vec<_> {
        let paths = below("").into_iter().chain(below("broken"));
        paths.map(|path| fs::metadata(path).and_then(|found| found.modified()).ok()).collect()
    };
    let before = times();
    let again = Command::new(sources().join("build.sh")).arg(objects()).output().expect("a shell");
    assert!(again.status.success() && again.stderr.is_empty());
    assert_eq!(times(), before);
}

#[test]
fn the_compile_script_refuses_what_it_does_not_know() {
    for words in [&[][..], &["x", "everything"]] {
        let said = Command::new(sources().join("build.sh")).args(words).output().expect("a shell");
        assert_eq!(said.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&said.stderr).starts_with("bpf: "));
    }
}

#[test]
fn each_ready_made_program_has_a_manifest_and_says_how_it_is_used() {
    let objects = below("programs");
    assert_eq!(objects.len(), 5);
    for path in objects {
        let file = path.file_name().expect("a name").to_string_lossy().into_owned();
        let stem = file.trim_end_matches(".bpf.o");
        let text = fs::read_to_string(sources().join(format!("programs/{stem}.bpf.c")));
        let text = text.expect("its source");
        assert!(text.contains(&format!("/usr/lib/tinybpf/{file}")), "{stem} shows no command");
        let manifest = path.with_file_name(format!("{stem}.toml"));
        let manifest = fs::read_to_string(manifest).expect("its manifest");
        assert!(manifest.contains(&format!("path = \"/usr/lib/tinybpf/{file}\"")), "{stem}");
        // What it attaches are functions of the object.
        let types = btf(&path);
        for line in manifest.lines() {
            if let Some(program) = line.strip_prefix("program = ") {
                let name = program.trim_matches('"');
                assert!(types.find(Kind::Func, name).is_some(), "{stem} has no program {name}");
            }
            if let Some(hook) = line.strip_prefix("hook = ") {
                let hook = hook.trim_matches('"').parse::<bpf::hook::Hook>();
                assert!(hook.is_ok(), "{stem}: {hook:?}");
            }
        }
    }
}
