// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Properties of values over types that are drawn: what is decoded encodes to the same, through
//! JSON too, and no bytes and no text are fatal.

use proptest::prelude::*;

use super::tests::{plain, shape};
use super::*;
use crate::btf::build::{Builder, MemberSpec};
use crate::btf::{ByteOrder, TypeId};

/// A type, as a tree that a builder turns into a table.
#[derive(Clone, Debug)]
enum Spec {
    Int(u32, bool),
    Bool,
    Char,
    Float(u32),
    Ptr,
    Enum(bool),
    Enum64,
    Array(Box<Spec>, u32),
    Struct(Vec<Spec>),
    Union(Vec<Spec>),
    Anonymous(Vec<Spec>),
    Bits(Vec<(u8, bool)>),
    Typedef(Box<Spec>),
}

fn spec() -> impl Strategy<Value = Spec> {
    let leaf = prop_oneof![
        (prop::sample::select(vec![1_u32, 2, 4, 8, 16]), any::<bool>())
            .prop_map(|(size, signed)| Spec::Int(size, signed)),
        Just(Spec::Bool),
        Just(Spec::Char),
        prop::sample::select(vec![4_u32, 8, 16]).prop_map(Spec::Float),
        Just(Spec::Ptr),
        any::<bool>().prop_map(Spec::Enum),
        Just(Spec::Enum64),
        prop::collection::vec((1_u8..=64, any::<bool>()), 1..5).prop_map(Spec::Bits),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            (inner.clone(), 1_u32..5).prop_map(|(it, len)| Spec::Array(Box::new(it), len)),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Spec::Struct),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Spec::Union),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Spec::Anonymous),
            inner.prop_map(|it| Spec::Typedef(Box::new(it))),
        ]
    })
}

/// Adds a type; returns it with its bytes, and whether its members are lifted.
fn add(b: &mut Builder, spec: &Spec, count: &mut u32) -> (TypeId, u32, bool) {
    match spec {
        Spec::Int(size, signed) => (b.int("number", *size, u32::from(*signed)), *size, false),
        Spec::Bool => (b.int("_Bool", 1, 4), 1, false),
        Spec::Char => (b.int("char", 1, 1), 1, false),
        Spec::Float(size) => (b.float("float", *size), *size, false),
        Spec::Ptr => (b.ptr(TypeId::VOID), 8, false),
        Spec::Enum(signed) => {
            (b.enumeration("state", 4, *signed, &[("OFF", 0), ("BAD", u32::MAX)]), 4, false)
        }
        Spec::Enum64 => (b.enum64("wide", false, &[("HUGE", 1 << 40)]), 8, false),
        Spec::Array(element, len) => {
            let (element, size, _) = add(b, element, count);
            (b.array(element, element, *len), size * len, false)
        }
        Spec::Typedef(to) => {
            let (to, size, _) = add(b, to, count);
            (b.refer(8, "alias", to), size, false)
        }
        Spec::Bits(fields) => {
            let (signed, unsigned) = (b.int("long", 8, 1), b.int("unsigned long", 8, 0));
            let (mut at, mut members) = (0_u32, Vec::new());
            for &(bits, is_signed) in fields {
                *count += 1;
                let ty = if is_signed { signed } else { unsigned };
                members.push((format!("m{count}"), ty, at, bits));
                at += u32::from(bits);
            }
            let size = at.div_ceil(8);
            let members: Vec<MemberSpec<'_>> =
                members.iter().map(|it| (it.0.as_str(), it.1, it.2, it.3)).collect();
            (b.structure("bits", size, &members), size, false)
        }
        Spec::Struct(parts) | Spec::Anonymous(parts) | Spec::Union(parts) => {
            let is_union = matches!(spec, Spec::Union(_));
            let (mut size, mut members) = (0_u32, Vec::new());
            for part in parts {
                let (ty, part_size, is_lifted) = add(b, part, count);
                *count += 1;
                let name = if is_lifted { String::new() } else { format!("m{count}") };
                // A gap of a byte after every member.
                let at = if is_union { 0 } else { size };
                size = if is_union { size.max(part_size) } else { size + part_size + 1 };
                members.push((name, ty, at * 8));
            }
            let members: Vec<MemberSpec<'_>> =
                members.iter().map(|it| (it.0.as_str(), it.1, it.2, 0)).collect();
            let id = match is_union {
                true => b.union("either", size, &members),
                false => b.structure("", size, &members),
            };
            (id, size, matches!(spec, Spec::Anonymous(_)))
        }
    }
}

/// The same value with one member of every union, as encoding takes it.
fn chosen(value: Value, spec: &Spec) -> Value {
    let named = |parts: &[Spec]| parts.iter().any(|it| matches!(it, Spec::Anonymous(_)));
    match (value, spec) {
        (Value::Map(mut members), Spec::Union(parts)) => {
            members.truncate(if named(parts) { 0 } else { 1 });
            let first = parts.first();
            let members = members
                .into_iter()
                .map(|(name, value)| (name, first.map_or(Value::Opaque, |it| chosen(value, it))));
            Value::Map(members.collect())
        }
        (Value::Map(members), Spec::Struct(parts)) if !named(parts) => {
            let zipped = members.into_iter().zip(parts);
            Value::Map(zipped.map(|((name, value), it)| (name, chosen(value, it))).collect())
        }
        (Value::List(items), Spec::Array(element, _)) => {
            Value::List(items.into_iter().map(|it| chosen(it, element)).collect())
        }
        (value, Spec::Typedef(to)) => chosen(value, to),
        (value, _) => value,
    }
}

/// Whether a union is lifted or has lifted members; what of it is given is then ambiguous.
fn is_tangled(spec: &Spec) -> bool {
    match spec {
        Spec::Union(parts) => {
            parts.iter().any(|it| matches!(it, Spec::Anonymous(_)) || is_tangled(it))
        }
        Spec::Anonymous(parts) => parts.iter().any(|it| contains_union(it) || is_tangled(it)),
        Spec::Struct(parts) => {
            let lifted = parts.iter().any(|it| matches!(it, Spec::Anonymous(_)));
            parts.iter().any(|it| is_tangled(it) || lifted && contains_union(it))
        }
        Spec::Array(to, _) | Spec::Typedef(to) => is_tangled(to),
        _ => false,
    }
}

fn contains_union(spec: &Spec) -> bool {
    match spec {
        Spec::Union(_) => true,
        Spec::Struct(parts) | Spec::Anonymous(parts) => parts.iter().any(contains_union),
        Spec::Array(to, _) | Spec::Typedef(to) => contains_union(to),
        _ => false,
    }
}

proptest! {
    #[test]
    fn decoding_then_encoding_changes_nothing(
        spec in spec(), is_big in any::<bool>(), seed in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let order = if is_big { ByteOrder::Big } else { ByteOrder::Little };
        let mut b = Builder::new(order);
        let (id, size, _) = add(&mut b, &spec, &mut 0);
        let it = shape(&b, id);
        prop_assert_eq!(it.size(), usize::try_from(size).expect("small"));
        let bytes: Vec<u8> = seed.iter().copied().cycle().take(it.size()).collect();
        let text = plain(&it, &bytes);
        if is_tangled(&spec) {
            return Ok(());
        }
        let value = chosen(it.decode(&bytes, true).expect("whole"), &spec);
        let options = Encode { no_nul: true, defaults: false };
        let again = it.encode("value", &value, options);
        let again = again.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(again.len(), bytes.len());
        if !contains_union(&spec) {
            prop_assert_eq!(&plain(&it, &again), &text);
            // What is printed is taken back, unless replacement characters hid what it was.
            if !text.contains('\u{fffd}') {
                let typed = it.encode("value", &parse_json(&text).expect("JSON"), options);
                prop_assert_eq!(typed.map(|it_bytes| plain(&it, &it_bytes)), Ok(text));
            }
        }
    }

    #[test]
    fn any_bytes_and_any_json_are_taken_without_panic(
        spec in spec(),
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        text in "[\\[\\]{}\",:0-9a-z. -]{0,30}",
    ) {
        let mut b = Builder::new(ByteOrder::Little);
        let (id, ..) = add(&mut b, &spec, &mut 0);
        let it = shape(&b, id);
        if bytes.len() >= it.size() {
            plain(&it, &bytes);
        }
        if let Ok(value) = parse_json(&text) {
            drop(it.encode("value", &value, Encode::default()));
        }
    }
}
