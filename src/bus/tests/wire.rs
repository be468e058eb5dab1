// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values to messages and back, and Rust types to values and back.

use std::collections::BTreeMap;

use dbus::Message;
use proptest::prelude::*;

use super::super::wire::{self, ReplyTo, Unsendable};
use super::*;

fn message() -> Message {
    Message::method_call(&ECHO.into(), &PATH.into(), &ECHO.into(), &"Echo".into())
}

fn through(values: &[Value]) -> Option<Vec<Value>> {
    let mut message = message();
    wire::append(&mut message, values).expect("sendable");
    assert_eq!(wire::signature(&message), signature_of(values));
    // Over bytes, so that libdbus checks what it was given.
    message.set_serial(1);
    let mut bytes = Vec::new();
    message
        .marshal(|part| {
            bytes.extend_from_slice(part);
            Ok::<(), ()>(())
        })
        .expect("bytes");
    let estimate: usize = values.iter().map(Value::wire_size).sum();
    let body = bytes.len() - header_len();
    assert!(body <= estimate + SIGNATURE_LEN_MAX, "{body} is more than {estimate}");
    wire::read(&Message::demarshal(&bytes).expect("a valid message"))
}

fn header_len() -> usize {
    let (mut empty, mut len) = (message(), 0);
    empty.set_serial(1);
    let counted = empty.marshal(|part| {
        len += part.len();
        Ok::<(), ()>(())
    });
    counted.expect("bytes");
    len
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn argument_lists_of_our_peers_survive_the_wire() {
    let text = |text: &str| text.to_owned();
    let list = (vec![map(&[("transport", "tcp"), ("traddr", "")]), map(&[])],);
    assert_eq!(signature_of(&list.clone().into_values()), "aa{ss}");
    let back = through(&list.clone().into_values()).and_then(Args::from_values);
    assert_eq!(back, Some(list));

    let none: (Vec<BTreeMap<String, String>>, Vec<String>) = (vec![], vec![]);
    assert_eq!(signature_of(&none.clone().into_values()), "aa{ss}as");
    assert_eq!(through(&none.clone().into_values()).and_then(Args::from_values), Some(none));

    let found = (
        2_i32,
        0_i32,
        text("name"),
        text("_nvme-disc._tcp"),
        text("local"),
        text("host.local"),
        0_i32,
        text("192.0.2.1"),
        8009_u16,
        vec![b"p=tcp".to_vec(), b"\xff\0".to_vec(), vec![]],
        5_u32,
    );
    assert_eq!(signature_of(&found.clone().into_values()), "iissssisqaayu");
    assert_eq!(through(&found.clone().into_values()).and_then(Args::from_values), Some(found));

    let changed = BTreeMap::from([(text("tron"), Value::Bool(true)), (text("n"), Value::Byte(1))]);
    let changed = (text("i"), changed, Vec::<String>::new());
    assert_eq!(signature_of(&changed.clone().into_values()), "sa{sv}as");
    assert_eq!(through(&changed.clone().into_values()).and_then(Args::from_values), Some(changed));
}

#[test]
fn other_numbers_or_types_of_arguments_are_no_match() {
    let values = ("a".to_owned(), 1_u32).into_values();
    assert_eq!(<(String,)>::from_values(values.clone()), None);
    assert_eq!(<(String, i32)>::from_values(values.clone()), None);
    assert_eq!(<(String, u32, u32)>::from_values(values.clone()), None);
    assert_eq!(<(String, u32)>::from_values(values), Some(("a".to_owned(), 1)));
    assert_eq!(Value::Bytes(vec![1]).get::<Vec<u8>>(), Some(vec![1]));
    assert_eq!(Value::Bytes(vec![1]).get::<Vec<String>>(), None);
    assert_eq!(vec!["a".to_owned()].into_value().get::<Vec<u8>>(), None);
    assert_eq!(map(&[("a", "b")]).into_value().get::<BTreeMap<String, u8>>(), None);
    assert_eq!(Value::Str("a".to_owned()).as_str(), Some("a"));
    assert_eq!(Value::Byte(1).as_str(), None);
}

#[test]
fn what_libdbus_would_abort_on_is_refused() {
    let variant = |value| Value::Variant(Box::new(value));
    let entry = || Value::Entry(Box::new((Value::Byte(1), Value::Byte(2))));
    let mut deep = Value::Byte(1);
    (0..100).for_each(|_| deep = variant(std::mem::replace(&mut deep, Value::Byte(0))));
    for values in [
        vec![Value::Struct(vec![])],
        vec![variant(Value::Struct(vec![]))],
        vec![variant(entry())],
        vec![entry()],
        vec![deep],
        vec![Value::Byte(1); SIGNATURE_LEN_MAX + 1],
    ] {
        assert_eq!(wire::append(&mut message(), &values), Err(Unsendable::Malformed));
    }
    let large = vec![Value::Bytes(vec![0; BODY_LEN_MAX])];
    assert_eq!(wire::append(&mut message(), &large), Err(Unsendable::TooLarge));
    assert_eq!(Array::new("s", vec![Value::Byte(1)]), None);
    assert_eq!(Array::new("y", vec![Value::Byte(1)]), None, "that is Value::Bytes");
    assert_eq!(Array::new("ss", vec![]), None);
    assert!(Array::new("{yy}", vec![entry()]).is_some_and(|array| array.element() == "{yy}"));
    for path in ["", "a", "/a/", "//", "/a//b", "/a-b", "/ä"] {
        assert_eq!(ObjectPath::new(path), None, "{path}");
    }
    assert_eq!(ObjectPath::new("/a_1/B").as_ref().map(ObjectPath::as_str), Some("/a_1/B"));
}

#[test]
fn an_answer_names_its_call_and_its_caller() {
    let mut call = message();
    assert_eq!(ReplyTo::of(&call), None, "no sender yet");
    call.set_sender(Some(":1.5".into()));
    call.set_serial(77);
    let to = ReplyTo::of(&call).expect("wants an answer");
    let answer = to.answer(&[Value::Byte(1)]).expect("an answer");
    assert_eq!((answer.get_reply_serial(), answer.destination()), (Some(77), Some(":1.5".into())));
    assert_eq!(wire::read(&answer), Some(vec![Value::Byte(1)]));
    for (name, sent) in [("a.b", "a.b"), ("nodots", error::FAILED), ("a.\0b", error::FAILED)] {
        let refusal = to.refusal(name, "no\0").expect("an error");
        assert_eq!(refusal.get_reply_serial(), Some(77));
        let read = refusal.read_all::<()>().expect_err("an error");
        assert_eq!((read.name(), read.message()), (Some(sent), Some("no\u{fffd}")));
    }
    call.set_no_reply(true);
    assert_eq!(ReplyTo::of(&call), None);
}

#[test]
fn a_type_without_a_value_makes_the_list_unreadable() {
    let signature = dbus::Signature::new("s").expect("valid");
    let message = message().append1(1_u8).append1(signature);
    assert_eq!(wire::signature(&message), "yg");
    assert_eq!(wire::read(&message), None);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u8>().prop_map(Value::Byte),
        any::<bool>().prop_map(Value::Bool),
        any::<i16>().prop_map(Value::Int16),
        any::<u16>().prop_map(Value::Uint16),
        any::<i32>().prop_map(Value::Int32),
        any::<u32>().prop_map(Value::Uint32),
        any::<i64>().prop_map(Value::Int64),
        any::<u64>().prop_map(Value::Uint64),
        (-1e300..1e300_f64).prop_map(Value::Double),
        "[^\0]{0,12}".prop_map(Value::Str),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        "(/[a-zA-Z0-9_]{1,4}){1,3}"
            .prop_map(|path| Value::Path(ObjectPath::new(&path).expect("a valid path"))),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let array = (inner.clone(), 0..4_usize).prop_filter_map("bytes", |(item, count)| {
            Array::new(&item.signature(), vec![item.clone(); count]).map(Value::Array)
        });
        let dictionary = (inner.clone(), prop::collection::btree_set("[a-z]{1,3}", 0..4));
        let dictionary = dictionary.prop_map(|(value, keys)| {
            let entry = |key| Value::Entry(Box::new((Value::Str(key), value.clone())));
            let element = format!("{{s{}}}", value.signature());
            let items = keys.into_iter().map(entry).collect();
            Value::Array(Array::new(&element, items).expect("a dictionary"))
        });
        prop_oneof![
            inner.clone().prop_map(|value| Value::Variant(Box::new(value))),
            prop::collection::vec(inner, 1..4).prop_map(Value::Struct),
            array,
            dictionary,
        ]
    })
}

proptest! {
    #[test]
    fn any_list_of_values_survives_the_wire(values in prop::collection::vec(any_value(), 0..4)) {
        prop_assert_eq!(through(&values), Some(values));
    }
}
