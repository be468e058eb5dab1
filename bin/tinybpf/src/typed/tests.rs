// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of typed access: bytes both ways, every difference with its message, the registry.

use super::check::{Check, check_struct, check_type};
use super::registry::TypeRegistry;
use super::*;
use crate::bpf_type;
use crate::btf::build::{Builder, MemberSpec};
use crate::btf::{Btf, ByteOrder, TypeId};

bpf_type! {
    /// What most tests use.
    #[derive(Debug, PartialEq)]
    struct Event {
        pid: u32,
        tid: u32,
        bytes: u64,
        comm: [i8; 8],
    }

    #[derive(Debug, PartialEq)]
    struct Outer {
        inner: Event,
        ratio: f64,
    }
}

/// A table with `int`, `unsigned int`, `unsigned long`, `char[8]`, `double`, at 1 to 5.
fn table(name: &str, size: u32, members: &[MemberSpec<'_>]) -> (Btf, TypeId) {
    let mut b = Builder::new(ByteOrder::NATIVE);
    b.int("int", 4, 1);
    b.int("unsigned int", 4, 0);
    b.int("unsigned long", 8, 0);
    let character = b.int("char", 1, 1);
    b.array(character, TypeId(1), 8);
    b.float("double", 8);
    let id = b.structure(name, size, members);
    (b.table(), id)
}

const INT: TypeId = TypeId(1);
const UNSIGNED: TypeId = TypeId(2);
const LONG: TypeId = TypeId(3);
const TEXT: TypeId = TypeId(5);
const DOUBLE: TypeId = TypeId(6);

const GOOD: [MemberSpec<'_>; 4] = [
    ("pid", UNSIGNED, 0, 0),
    ("tid", UNSIGNED, 32, 0),
    ("bytes", LONG, 64, 0),
    ("comm", TEXT, 128, 0),
];

/// What is said of a struct with one member exchanged.
fn told(at: usize, member: MemberSpec<'static>) -> String {
    let mut members = GOOD;
    members[at] = member;
    let (btf, _) = table("event", 24, &members);
    check_struct::<Event>(&btf, "event", Check::default()).expect_err("a difference").to_string()
}

#[test]
fn bytes_become_values_and_back() {
    let event = Event { pid: 1, tid: 2, bytes: u64::MAX, comm: [-1; 8] };
    let bytes = bytes_of(&event).to_vec();
    assert_eq!(bytes.len(), Event::SIZE);
    assert_eq!(Event::ALIGN, 8);
    assert_eq!(read::<Event>(&bytes), Some(event));
    let shifted = [&[0xaa][..], &bytes, &[0xbb]].concat();
    assert_eq!(read::<Event>(&shifted[1..]), Some(event), "in any alignment");
    assert_eq!(read::<Event>(&bytes[1..]), None);
    assert_eq!(read::<u32>(&1_u32.to_ne_bytes()), Some(1));
    assert_eq!(read::<[u16; 2]>(&[0; 4]), Some([0, 0]));
}

#[test]
fn equal_types_pass() {
    let (btf, id) = table("event", 24, &GOOD);
    let found = check_struct::<Event>(&btf, "event", Check::default());
    assert_eq!(found, Ok((id, vec![])));
    assert_eq!(check_type::<u32>(&btf, UNSIGNED, Check::default()), Ok(vec![]));
    assert_eq!(check_type::<[u8; 8]>(&btf, TEXT, Check::default()), Ok(vec![]));
    assert_eq!(check_type::<f64>(&btf, DOUBLE, Check::default()), Ok(vec![]));
}

#[test]
fn every_difference_has_its_message() {
    let (btf, _) = table("event", 32, &GOOD);
    let error = check_struct::<Event>(&btf, "event", Check::default()).expect_err("larger");
    assert_eq!(error.to_string(), "size mismatch: Event is 24 bytes, BTF struct 'event' is 32");
    let (btf, _) = table("event", 24, &GOOD[..3]);
    let error = check_struct::<Event>(&btf, "event", Check::default()).expect_err("fewer");
    assert_eq!(
        error.to_string(),
        "field count mismatch: Event has 4 fields, BTF struct 'event' has 3"
    );
    assert_eq!(
        told(1, ("tid", UNSIGNED, 96, 0)),
        "field 'tid' at offset 4, BTF field 'tid' expects 12"
    );
    assert_eq!(told(1, ("tid", LONG, 32, 0)), "field 'tid' is 4 bytes, BTF field 'tid' is 8");
    assert_eq!(told(2, ("bytes", DOUBLE, 64, 0)), "'bytes' is an integer, BTF 'bytes' is a float");
    assert_eq!(told(2, ("bytes", TEXT, 64, 0)), "'bytes' is an integer, BTF 'bytes' is an array");
    assert_eq!(told(1, ("tid", UNSIGNED, 32, 7)), "'tid' is an integer, BTF 'tid' is a bitfield");
    assert_eq!(
        told(0, ("process_id", UNSIGNED, 0, 0)),
        "field name mismatch: 'pid' vs 'process_id' at offset 0"
    );
}

#[test]
fn the_first_of_several_differences_is_reported() {
    let members = [("a", LONG, 32, 0), ("b", LONG, 0, 0)];
    let (btf, _) = table("event", 20, &members);
    let error = check_struct::<Event>(&btf, "event", Check::default()).expect_err("all of them");
    assert!(error.to_string().starts_with("size mismatch"), "{error}");
}

#[test]
fn names_may_differ_on_request_and_signs_are_warned_of() {
    let mut members = GOOD;
    members[0] = ("process_id", INT, 0, 0);
    let (btf, id) = table("event", 24, &members);
    let (found, warnings) =
        check_struct::<Event>(&btf, "event", Check { names: false }).expect("the same bytes");
    assert_eq!(found, id);
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["field 'pid' is unsigned, in BTF it is signed"]);
}

#[test]
fn a_missing_struct_lists_near_names() {
    let (btf, _) = table("exec_event", 24, &GOOD);
    let error = check_struct::<Event>(&btf, "exec_evnt", Check::default()).expect_err("misspelled");
    assert_eq!(
        error.to_string(),
        "struct 'exec_evnt' not found; near are exec_event; \
         a global variable of a type keeps the type in the object"
    );
}

#[test]
fn nested_structs_are_fields() {
    let mut b = Builder::new(ByteOrder::NATIVE);
    let unsigned = b.int("unsigned int", 4, 0);
    let double = b.float("double", 8);
    let inner = b.structure("inner", 24, &[("x", unsigned, 0, 0)]);
    b.structure("outer", 32, &[("inner", inner, 0, 0), ("ratio", double, 192, 0)]);
    let typedef = b.refer(8, "outer_t", TypeId(4));
    let btf = b.table();
    let found = check_struct::<Outer>(&btf, "outer_t", Check::default());
    assert_eq!(found, Ok((TypeId(4), vec![])), "through a typedef");
    assert_eq!(btf.name(typedef), "outer_t");
}

#[test]
fn types_and_names_are_registered_one_for_one() {
    let mut registry = TypeRegistry::new();
    assert_eq!(registry.register::<Event>("event"), Ok(()));
    assert_eq!(registry.register::<Event>("event"), Ok(()), "the same again");
    let error = registry.register::<Event>("other").expect_err("a second name");
    assert_eq!(
        error.to_string(),
        "Event cannot be registered as 'other': Event is registered as 'event'"
    );
    let error = registry.register::<Outer>("event").expect_err("a second type");
    assert_eq!(
        error.to_string(),
        "Outer cannot be registered as 'event': Event is registered as 'event'"
    );
    assert_eq!(registry.register::<Outer>("outer"), Ok(()));
    assert_eq!(registry.name_of::<Outer>(), Some("outer"));
    assert_eq!(registry.by_name("event").map(|it| (it.rust, it.size)), Some(("Event", 24)));
    assert_eq!(registry.resolve::<Event>(None), Ok(Some("event")));
    assert_eq!(registry.resolve::<Event>(Some("event")), Ok(Some("event")));
    assert!(registry.resolve::<Event>(Some("outer")).is_err());
    assert_eq!(TypeRegistry::new().resolve::<Event>(Some("x")), Ok(Some("x")));
}
