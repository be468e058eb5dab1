// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the type table: every kind in both orders, circles, damage.

use proptest::prelude::*;

use super::build::Builder;
use super::*;

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

/// A table with one type of every kind, and a struct that uses most of them.
pub(crate) fn every_kind(order: ByteOrder) -> Builder {
    let mut b = Builder::new(order);
    let int = b.int("int", 4, 1);
    let character = b.int("char", 1, 1);
    let u32_int = b.int("unsigned int", 4, 0);
    let u32_def = b.refer(8, "__u32", u32_int);
    let constant = b.refer(10, "", u32_def);
    let volatile = b.refer(9, "", constant);
    let tagged = b.refer(18, "user", int);
    let pointer = b.ptr(tagged);
    let restrict = b.refer(11, "", pointer);
    let comm = b.array(character, u32_int, 16);
    let double = b.float("double", 8);
    let state = b.enumeration("state", 4, true, &[("OFF", 0), ("BAD", u32::MAX)]);
    let wide = b.enum64("wide", false, &[("HUGE", 1 << 40)]);
    let fwd = b.fwd("hidden", false);
    let to_fwd = b.ptr(fwd);
    let inner = b.union("", 8, &[("number", double, 0, 0), ("wide", wide, 0, 0)]);
    let event = b.structure(
        "event",
        64,
        &[
            ("pid", u32_def, 0, 0),
            ("low", int, 32, 3),
            ("high", int, 35, 29),
            ("comm", comm, 64, 0),
            ("", inner, 192, 0),
            ("next", restrict, 256, 0),
            ("hidden", to_fwd, 320, 0),
            ("state", state, 384, 0),
            ("seen", volatile, 416, 0),
        ],
    );
    let proto = b.proto(int, &[("e", event), ("", TypeId::VOID)]);
    let func = b.refer(12, "handle", proto);
    let call = b.ptr(proto);
    b.structure("ops", 8, &[("call", call, 0, 0)]);
    let var = b.var("anchor", event, 1);
    b.datasec(".bss", 0, &[(var, 0, 64)]);
    b.tag("event:events", var);
    b.tag("of the function", func);
    b
}

#[test]
fn every_kind_is_read_in_both_byte_orders() {
    for order in ORDERS {
        let btf = every_kind(order).table();
        assert_eq!(btf.byte_order(), order);
        let kinds: Vec<Kind> = btf.types().map(|(_, ty)| ty.kind()).collect();
        assert!(Kind::ALL.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
        let event = btf.find(Kind::Struct, "event").expect("a struct");
        assert_eq!(btf.size_of(event), Ok(64));
        let members = btf.get(event).expect("it").members();
        let low = members[1];
        assert_eq!((btf.text(low.name), low.bit_offset, low.bit_size), ("low", 32, 3));
        let state = btf.find(Kind::Enum, "state").expect("an enum");
        let Body::Enum(state) = &btf.get(state).expect("it").body else { panic!("an enum") };
        assert!(state.is_signed);
        assert_eq!(state.values[1].value, u64::MAX, "-1 of a signed enum");
        let wide = btf.find_spelled("enum wide").expect("an enum");
        let Body::Enum64(wide) = &btf.get(wide).expect("it").body else { panic!("an enum64") };
        assert_eq!((wide.size, wide.values[0].value), (8, 1 << 40));
    }
}

#[test]
fn kinds_have_the_numbers_of_the_format() {
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, at);
        assert_eq!(Kind::from_number(u32::try_from(at).expect("few")), Some(kind));
    }
    assert_eq!(Kind::from_number(20), None);
    assert_eq!(Kind::FuncProto.to_string(), "FUNC_PROTO");
    // The word of a struct with three members is taken apart as the kernel does it.
    let mut b = Builder::new(ByteOrder::Little);
    let int = b.int("int", 4, 1);
    let id = b.structure("s", 12, &[("a", int, 0, 0), ("b", int, 32, 0), ("c", int, 64, 0)]);
    let btf = b.table();
    let ty = btf.get(id).expect("it");
    assert_eq!((ty.kind(), ty.members().len()), (Kind::Struct, 3));
}

#[test]
fn structs_and_typedefs_have_separate_name_spaces() {
    let mut b = Builder::new(ByteOrder::Little);
    let int = b.int("int", 4, 1);
    let typedef = b.refer(8, "event", int);
    let structure = b.structure("event", 4, &[("a", int, 0, 0)]);
    let btf = b.table();
    assert_eq!(btf.find(Kind::Typedef, "event"), Some(typedef));
    assert_eq!(btf.find(Kind::Struct, "event"), Some(structure));
    assert_eq!(btf.find_spelled("struct event"), Some(structure));
    assert_eq!(btf.find_spelled(" event "), Some(structure));
    assert_eq!(btf.find_spelled("union event"), None);
    assert_eq!(btf.find_spelled("int"), Some(int));
    for nothing in ["", " ", "struct ", "enum"] {
        assert_eq!(btf.find_spelled(nothing), None, "{nothing:?}");
    }
    assert_eq!(btf.names(Kind::Struct).collect::<Vec<_>>(), ["event"]);
}

#[test]
fn variables_and_tags_are_found() {
    let btf = every_kind(ByteOrder::Little).table();
    let variables: Vec<Variable> = btf.variables().collect();
    let [anchor] = &variables[..] else { panic!("{variables:?}") };
    assert_eq!((anchor.name.as_str(), anchor.section.as_str()), ("anchor", ".bss"));
    assert_eq!((anchor.size, anchor.linkage), (64, Linkage::Global));
    assert_eq!(btf.tags(anchor.id).collect::<Vec<_>>(), ["event:events"]);
    assert_eq!(btf.anchored(), [btf.find(Kind::Struct, "event").expect("it")]);
    assert!(is_padding("_pad") && is_padding("__pad2"));
    assert!(!is_padding("pad") && !is_padding("___pad"));
}

#[test]
fn a_split_table_goes_on_where_its_base_ends() {
    let base = Arc::new(every_kind(ByteOrder::Little).table());
    let mut b = Builder::over(&base);
    let event = base.find(Kind::Struct, "event").expect("it");
    let own = b.structure("module_event", 64, &[("inner", event, 0, 0)]);
    assert!(Btf::parse(&b.bytes()).is_err(), "it does not stand alone");
    let split = Btf::parse_split(&b.bytes(), Arc::clone(&base)).expect("well-formed");
    assert_eq!(split.len(), base.len() + 1);
    assert_eq!(split.find(Kind::Struct, "module_event"), Some(own));
    assert_eq!(split.find(Kind::Struct, "event"), Some(event));
    assert_eq!(split.name(event), "event");
    assert_eq!(split.text(split.get(own).expect("it").members()[0].name), "inner");
    let foreign = every_kind(ByteOrder::Big).table();
    assert!(Btf::parse_split(&b.bytes(), Arc::new(foreign)).is_err());
}

#[test]
fn circles_end_in_an_error() {
    let mut b = Builder::new(ByteOrder::Little);
    let looped = b.refer(8, "a", TypeId(1));
    let array = b.array(TypeId(2), TypeId(2), 1);
    let inner = b.structure("", 8, &[("", TypeId(3), 0, 0)]);
    let btf = b.table();
    assert_eq!(btf.resolve(looped), Err(BtfError::TooDeep(looped)));
    assert_eq!(btf.size_of(looped), Err(BtfError::TooDeep(looped)));
    assert_eq!(btf.size_of(array), Err(BtfError::TooDeep(array)));
    assert_eq!(btf.c_struct(inner), Err(BtfError::TooDeep(inner)));
    assert!(btf.spell(looped).starts_with('a'));
    assert!(btf.spell(array).contains("..."));
}

#[test]
fn sizes_do_not_overflow() {
    let mut b = Builder::new(ByteOrder::Little);
    let int = b.int("int", 4, 1);
    let mut array = int;
    for _ in 0..3 {
        array = b.array(array, int, u32::MAX);
    }
    let fwd = b.fwd("hidden", true);
    let btf = b.table();
    assert_eq!(btf.size_of(array), Err(BtfError::TooLarge(array)));
    assert_eq!(btf.size_of(fwd), Err(BtfError::NoSize { id: fwd, kind: Kind::Fwd }));
    assert_eq!(btf.size_of(TypeId(99)), Err(BtfError::NoSuchType(TypeId(99))));
}

#[test]
fn damage_is_named() {
    let mut b = Builder::new(ByteOrder::Little);
    b.int("int", 4, 1);
    let good = b.bytes();
    for len in 0..good.len() {
        assert!(Btf::parse(&good[..len]).is_err(), "{len} bytes");
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Btf::parse(&bytes).expect_err("damaged").to_string()
    };
    assert_eq!(Btf::parse(b"").expect_err("empty"), BtfError::NotBtf);
    assert_eq!(with(0, 0), "not BTF: the magic number is missing");
    assert_eq!(with(2, 9), "BTF version 9 is not known");
    assert_eq!(with(24, 200), "BTF type 1 has no readable name at 200");
    assert_eq!(with(31, 31), "BTF type 1 is of the unknown kind 31");
    assert_eq!(with(32, 3), "BTF type 1 has a bad size");
    assert_eq!(with(36, 0), "BTF type 1 has a bad number of bits");
    assert_eq!(with(31, 3), "BTF ends within its types", "an array is longer");
    let mut b = Builder::new(ByteOrder::Little);
    b.ptr(TypeId(7));
    let error = Btf::parse(&b.bytes()).expect_err("no such type");
    assert_eq!(error.to_string(), "BTF has no type 7");
}

#[test]
fn a_struct_is_written_with_offsets() {
    let btf = every_kind(ByteOrder::Little).table();
    let event = btf.find(Kind::Struct, "event").expect("it");
    let text = btf.c_struct(event).expect("a struct");
    let lines: Vec<String> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "struct event { /* offset size */",
            "__u32 pid; /* 0 4 */",
            "int low: 3; /* 4:0 3 bits */",
            "int high: 29; /* 4:3 29 bits */",
            "char comm[16]; /* 8 16 */",
            "union {",
            "double number; /* 24 8 */",
            "enum wide wide; /* 24 8 */",
            "}; /* 24 8 */",
            "int *restrict next; /* 32 8 */",
            "struct hidden *hidden; /* 40 8 */",
            "enum state state; /* 48 4 */",
            "volatile const __u32 seen; /* 52 4 */",
            "}; /* size: 64 */",
        ]
    );
    let ops = btf.find(Kind::Struct, "ops").expect("it");
    assert!(btf.c_struct(ops).expect("it").contains("int (*call)(struct event e, ...);"));
    assert_eq!(btf.spell(event), "struct event");
    let int = btf.find(Kind::Int, "int").expect("it");
    assert!(btf.c_struct(int).is_err());
}

#[test]
fn names_cannot_forge_lines() {
    let mut b = Builder::new(ByteOrder::Little);
    let int = b.int("int\n", 4, 1);
    let id = b.structure("s\n", 4, &[("a\u{1b}[2J", int, 0, 0)]);
    let text = b.table().c_struct(id).expect("a struct");
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains(r"int\n a\u{1b}[2J;"), "{text}");
}

#[test]
fn relocations_are_counted() {
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>();
    bytes.extend(words(&[32, 0, 0, 0, 0, 0, 44]));
    bytes.extend(words(&[16, 5, 2]));
    bytes.extend([0; 32]);
    assert_eq!(core_relocations(&bytes), Ok(2));
    for len in 0..bytes.len() {
        assert!(core_relocations(&bytes[..len]).is_err(), "{len}");
    }
    let mut without = vec![0x9f, 0xeb, 1, 0];
    without.extend(words(&[24, 0, 0, 0, 0]));
    assert_eq!(core_relocations(&without), Ok(0), "an old compiler");
}

/// Uses everything of a table that follows references.
pub(crate) fn exercise(btf: &Btf) {
    for (id, _) in btf.types() {
        drop(btf.size_of(id));
        drop(btf.resolve(id));
        drop(btf.c_struct(id));
        assert!(btf.spell(id).len() < 1 << 20);
        drop(crate::value::Shape::of(btf, id));
    }
    assert!(btf.variables().count() <= btf.len() * 0x1_0000);
    drop(btf.anchored());
}

proptest! {
    #[test]
    fn no_damage_of_a_table_is_followed_out_of_it(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        is_big in any::<bool>(),
    ) {
        let mut bytes = every_kind(ORDERS[usize::from(is_big)]).bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(btf) = Btf::parse(&bytes) {
            exercise(&btf);
        }
    }

    #[test]
    fn any_bytes_are_taken_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut framed = vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0];
        framed.extend(&bytes);
        for bytes in [&bytes, &framed] {
            if let Ok(btf) = Btf::parse(bytes) {
                exercise(&btf);
            }
            drop(core_relocations(bytes));
        }
    }
}
