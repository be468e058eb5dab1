// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of object files: what is refused and how it is said, what is found in either byte order.

use proptest::prelude::*;

use super::build::Object;
use super::*;
use crate::btf::TypeId;
use crate::btf::build::Builder;
use crate::kinds::{MapType, ProgType};
use crate::value::Value;

const FUNCTION: u8 = 0x12;
const OBJECT: u8 = 0x11;
const WEAK: u8 = 0x20;

/// An object with two programs, a function they share, maps, variables and externs.
fn object(order: ByteOrder) -> Vec<u8> {
    let mut b = Builder::new(order);
    let int = b.int("int", 4, 1);
    let number = |b: &mut Builder, value: u32| {
        let array = b.array(int, int, value);
        b.ptr(array)
    };
    let [ring, hash, size, outer_type, one] = [27, 1, 4096, 13, 1].map(|it| number(&mut b, it));
    let to_int = b.ptr(int);
    let events = b.structure("", 16, &[("type", ring, 0, 0), ("max_entries", size, 64, 0)]);
    let config = b.structure(
        "",
        32,
        &[
            ("type", hash, 0, 0),
            ("key", to_int, 64, 0),
            ("value", to_int, 128, 0),
            ("pinning", one, 192, 0),
        ],
    );
    let to_config = b.ptr(config);
    let values = b.array(to_config, int, 0);
    let extra = b.enum64("", false, &[("unique", 1 << 33)]);
    let outer = b.structure(
        "",
        24,
        &[
            ("type", outer_type, 0, 0),
            ("key", to_int, 64, 0),
            ("map_extra", extra, 128, 0),
            ("values", values, 192, 0),
        ],
    );
    let maps = [("events", events), ("config", config), ("outer", outer)]
        .map(|(name, ty)| (b.var(name, ty, 1), 0, 0));
    b.datasec(".maps", 0, &maps);
    let constant = b.refer(10, "", int);
    let (burst, seen) = (b.var("burst", constant, 1), b.var("seen", int, 1));
    b.datasec(".rodata", 0, &[(burst, 0, 4)]);
    b.datasec(".bss", 0, &[(seen, 0, 4)]);
    let hertz = b.var("CONFIG_HZ", int, 2);
    b.datasec(".kconfig", 0, &[(hertz, 0, 4)]);
    let mut it = Object::new(order);
    it.section(".text", 1, 6, &[0; 16]);
    let trace = it.section("tp/sched/sched_switch", 1, 6, &[0; 48]);
    let xdp = it.section("?xdp", 1, 6, &[0; 16]);
    it.section("license", 1, 3, b"GPL\0");
    it.section(".maps", 1, 3, &[0; 72]);
    let rodata = it.section(".rodata", 1, 2, &[[9; 4], burst_bytes(order)].concat());
    let bss = it.section(".bss", 8, 3, &[0; 4]);
    it.section(".BTF", 1, 0, &b.bytes());
    let ext =
        [&[0x9f, 0xeb, 1, 0][..], &words(&[32, 0, 0, 0, 0, 0, 28, 16, 5, 1, 0, 0, 0, 0])].concat();
    if order == ByteOrder::Little {
        it.section(".BTF.ext", 1, 0, &ext);
    }
    it.symbol("shared", FUNCTION, 1, 0, 16);
    it.symbol("second", FUNCTION, trace, 32, 16);
    it.symbol("first", FUNCTION, trace, 0, 32);
    it.symbol("count", FUNCTION, xdp, 0, 16);
    it.symbol("burst", OBJECT, rodata, 4, 4);
    it.symbol("seen", OBJECT, bss, 0, 4);
    it.symbol("CONFIG_HZ", WEAK, 0, 0, 0);
    it.bytes()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn burst_bytes(order: ByteOrder) -> [u8; 4] {
    match order {
        ByteOrder::Little => 100_i32.to_le_bytes(),
        ByteOrder::Big => 100_i32.to_be_bytes(),
    }
}

#[test]
fn what_is_no_object_is_said_in_its_own_words() {
    let good = object(ByteOrder::NATIVE);
    let with_machine = |machine: u16| {
        let mut it = Object::new(ByteOrder::Little);
        it.machine = machine;
        it.bytes()
    };
    let mut linked = good.clone();
    linked[16] = 2;
    for (bytes, want) in [
        (vec![], "is not an ELF object"),
        (b"SEC(\"xdp\")\n".repeat(20), "is not an ELF object"),
        (b"\x7fELF\x02\x01\x01".to_vec(), "is not an ELF object"),
        (good[..good.len() - 1].to_vec(), "is truncated or damaged"),
        (good[..200].to_vec(), "is truncated or damaged"),
        (with_machine(62), "is ELF for x86-64, not eBPF"),
        (with_machine(183), "is ELF for AArch64, not eBPF"),
        (with_machine(999), "is ELF for machine 999, not eBPF"),
        (linked, "is ELF for eBPF, but no object file"),
        (Object::new(ByteOrder::NATIVE).bytes(), "has no BTF; compile with -g"),
    ] {
        let error = check_loadable(&bytes).expect_err("refused");
        assert_eq!(error.to_string(), want);
    }
    assert_eq!(check_loadable(&good), Ok(()));
    assert_eq!(Refusal::Directory.to_string(), "is a directory");
}

#[test]
fn the_other_byte_order_is_read_and_not_loaded() {
    let other = match ByteOrder::NATIVE {
        ByteOrder::Little => ByteOrder::Big,
        ByteOrder::Big => ByteOrder::Little,
    };
    let error = check_loadable(&object(other)).expect_err("foreign");
    let want = format!("is {other}, this machine is {}", ByteOrder::NATIVE);
    assert_eq!(error.to_string(), want);
}

#[test]
fn an_object_is_read_in_both_byte_orders() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let found = inspect(&object(order)).expect("whole");
        assert_eq!(found.order, order);
        assert_eq!(found.license.as_deref(), Some("GPL"));
        let programs: Vec<_> =
            found.programs.iter().map(|it| (it.name.as_str(), it.instructions)).collect();
        assert_eq!(programs, [("first", 4), ("second", 2), ("count", 2)]);
        let meaning = found.programs[0].meaning();
        assert_eq!(meaning.rule.map(|it| it.prog_type), Some(ProgType::TRACEPOINT));
        assert!(meaning.attaches() && meaning.is_loaded);
        assert!(!found.programs[2].meaning().is_loaded);
        let [events, config, outer] = &found.maps[..] else { panic!("{:?}", found.maps) };
        assert_eq!((events.map_type, events.max_entries), (MapType::RINGBUF, 4096));
        assert_eq!((config.key_size, config.value_size), (4, 4));
        assert_eq!(config.pinning, Pinning::ByName);
        assert_eq!((outer.extra, outer.value_size), (1 << 33, 4));
        assert_eq!(outer.inner.as_ref().map(|it| it.map_type), Some(MapType::HASH));
        let globals: Vec<_> =
            found.globals.iter().map(|it| (it.name.as_str(), it.default.clone())).collect();
        assert_eq!(globals, [("burst", Some(Value::I64(100))), ("seen", Some(Value::I64(0)))]);
        let [hertz] = &found.externs[..] else { panic!("{:?}", found.externs) };
        assert_eq!((hertz.kind, hertz.is_weak), (ExternKind::Kconfig, true));
        assert_eq!(found.relocations, u64::from(order == ByteOrder::Little));
        assert!(!found.has_executable_data);
    }
}

#[test]
fn damaged_type_information_is_told_apart_from_none() {
    let mut it = Object::new(ByteOrder::Little);
    it.section(".BTF", 1, 0, b"no");
    it.section(".maps", 1, 4, &[]);
    let found = inspect(&it.bytes()).expect("an object");
    assert!(found.btf.is_none() && found.damage.is_some());
    assert!(found.has_executable_data);
}

#[test]
fn names_of_sections_have_meanings() {
    for (name, kind, target, attaches) in [
        ("kprobe/vfs_read", ProgType::KPROBE, Some("vfs_read"), true),
        ("kprobe", ProgType::KPROBE, None, false),
        ("fentry.s/f", ProgType::TRACING, Some("f"), true),
        ("tp/sched/sched_switch", ProgType::TRACEPOINT, Some("sched/sched_switch"), true),
        ("xdp", ProgType::XDP, None, false),
        ("xdp.frags/devmap", ProgType::XDP, None, false),
        ("cgroup/connect4", ProgType::CGROUP_SOCK_ADDR, None, false),
        ("struct_ops", ProgType::STRUCT_OPS, None, false),
        ("struct_ops/init", ProgType::STRUCT_OPS, Some("init"), false),
    ] {
        let meaning = sections::parse(name);
        assert_eq!(meaning.rule.map(|it| it.prog_type), Some(kind), "{name}");
        assert_eq!((meaning.target, meaning.attaches()), (target, attaches), "{name}");
    }
    assert!(sections::parse("fentry.s/f").rule.is_some_and(|it| it.is_sleepable));
    for unknown in ["nonsense/foo", "xdp/eth0", "", "?", "kprobes/x"] {
        assert_eq!(sections::parse(unknown).rule, None, "{unknown}");
    }
    assert_eq!(sections::near("kprobes/x")[0], "kprobe");
    assert_eq!(sections::near("cgroup/conect4")[0], "cgroup/connect4");
    assert!(sections::near("nonsense/foo").is_empty());
}

#[test]
fn needs_follow_from_what_is_inside() {
    let found = needs(&inspect(&object(ByteOrder::Little)).expect("whole"));
    assert_eq!(found.capabilities, ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]);
    assert_eq!(
        found.features,
        [
            ("global data", (5, 2)),
            ("kernel BTF", (5, 4)),
            ("ring buffers", (5, 8)),
            ("perf event links", (5, 15)),
        ]
    );
    assert_eq!(found.kernel, (5, 15));
    let nothing = needs(&inspect(&Object::new(ByteOrder::Big).bytes()).expect("whole"));
    assert_eq!((nothing.capabilities, nothing.kernel), (vec!["CAP_BPF"], (0, 0)));
}

proptest! {
    #[test]
    fn no_damage_of_an_object_is_fatal(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..10),
        end in any::<prop::sample::Index>(), is_big in any::<bool>(), is_cut in any::<bool>(),
    ) {
        let order = if is_big { ByteOrder::Big } else { ByteOrder::Little };
        let mut bytes = object(order);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if is_cut {
            bytes.truncate(end.index(bytes.len()));
        }
        drop(check_loadable(&bytes));
        if let Ok(found) = inspect(&bytes) {
            drop(needs(&found));
            for map in &found.maps {
                if let Some(btf) = &found.btf {
                    drop(btf.spell(map.value.unwrap_or(TypeId::VOID)));
                }
            }
        }
    }
}
