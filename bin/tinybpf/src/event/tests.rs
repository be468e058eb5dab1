// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of event lines: the choice of a type, the form of every line, filters.

use proptest::prelude::*;

use super::*;
use crate::btf::build::Builder;
use crate::btf::{Btf, ByteOrder, TypeId};
use crate::value::Format;

/// Structs by name, each `{ u32 pid; char comm[4]; }`; a variable of each that is anchored; a tag.
fn table(structs: &[&str], anchored: &[&str], tagged: Option<(&str, &str)>) -> Btf {
    let mut b = Builder::new(ByteOrder::Little);
    let (int, character) = (b.int("unsigned int", 4, 0), b.int("char", 1, 1));
    let comm = b.array(character, int, 4);
    let state = b.enumeration("state", 4, false, &[("IDLE", 0), ("RUN", 1)]);
    let members = [("pid", int, 0, 0), ("comm", comm, 32, 0), ("state", state, 64, 0)];
    let ids: Vec<TypeId> = structs.iter().map(|name| b.structure(name, 12, &members)).collect();
    let id_of = |name: &str| ids[structs.iter().position(|it| *it == name).expect("declared")];
    let mut vars = Vec::new();
    for name in anchored {
        let pointer = b.ptr(id_of(name));
        vars.push((b.var(&format!("_{name}"), pointer, 1), 0, 8));
    }
    if let Some((text, name)) = tagged {
        let var = b.var("tagged", id_of(name), 1);
        b.tag(text, var);
        vars.push((var, 0, 12));
    }
    b.datasec(".bss", 0, &vars);
    b.table()
}

fn named(btf: &Btf, map: &str, choice: &Choice) -> String {
    match choose(Some(btf), map, choice).expect("nothing is named that is not there") {
        Chosen::One(shape) => shape.name().to_owned(),
        Chosen::Tagged(variants) => format!("{} variants", variants.len()),
        Chosen::Hex(why) => why,
    }
}

fn stream(chosen: Chosen, form: Form, padding: Padding, filters: &[&str]) -> Stream {
    let filters = filters.iter().map(|it| Filter::parse(it).expect("a filter")).collect();
    Stream::new("events", chosen, form, Format::default(), filters, padding)
}

fn event(btf: &Btf) -> Chosen {
    choose(Some(btf), "events", &Choice::default()).expect("found")
}

fn line(stream: &mut Stream, sample: &[u8], cpu: Option<u32>) -> String {
    let mut out = String::new();
    assert_eq!(stream.push(sample, cpu, &mut out), !out.is_empty());
    out
}

const SAMPLE: [u8; 12] = [7, 0, 0, 0, b'c', b'a', b't', 0, 1, 0, 0, 0];

#[test]
fn the_first_rule_that_applies_decides() {
    let all = Choice::default();
    let by_name = Choice { name: Some("b".to_owned()), ..Choice::default() };
    let btf = table(&["a", "b", "events", "event"], &["a"], Some(("event:events", "a")));
    assert_eq!(named(&btf, "events", &by_name), "b");
    assert_eq!(named(&btf, "events", &all), "a", "the tag");
    assert_eq!(named(&btf, "b", &all), "b", "a struct like the map");
    let btf = table(&["a", "events", "event"], &["a"], Some(("event:other", "a")));
    assert_eq!(named(&btf, "events", &all), "events");
    let btf = table(&["a", "event"], &["a"], None);
    assert_eq!(named(&btf, "events", &all), "event");
    assert_eq!(named(&btf, "rb", &all), "a", "the only one that is kept");
    let btf = table(&["a", "b"], &["a", "b"], None);
    assert_eq!(named(&btf, "rb", &all), "map 'rb': nothing tells the type of its events");
    assert!(matches!(choose(None, "rb", &all), Ok(Chosen::Hex(_))));
}

#[test]
fn what_the_caller_names_must_exist() {
    let btf = table(&["exec_event"], &[], None);
    let choice = Choice { name: Some("exec_evnt".to_owned()), ..Choice::default() };
    let error = choose(Some(&btf), "rb", &choice).expect_err("misspelled");
    assert_eq!(error.to_string(), "type 'exec_evnt' not found; near are exec_event");
    let error = choose(None, "rb", &choice).expect_err("no table");
    assert_eq!(error.to_string(), "type 'exec_evnt': there is no BTF to find it in");
}

#[test]
fn events_are_json_lines() {
    let btf = table(&["event"], &[], None);
    let mut it = stream(event(&btf), Form::Json, Padding::None, &[]);
    assert_eq!(
        line(&mut it, &SAMPLE, None),
        "{\"map\":\"events\",\"type\":\"event\",\"seq\":1,\
         \"data\":{\"pid\":7,\"comm\":\"cat\",\"state\":\"RUN\"}}\n"
    );
    let second = line(&mut it, &SAMPLE, Some(3));
    assert!(second.starts_with("{\"map\":\"events\",\"type\":\"event\",\"cpu\":3,\"seq\":2,"));
    assert_eq!(it.delivered(), 2);
}

#[test]
fn short_samples_are_error_lines_and_long_ones_say_so() {
    let btf = table(&["event"], &[], None);
    let mut it = stream(event(&btf), Form::Json, Padding::None, &[]);
    assert_eq!(
        line(&mut it, &SAMPLE[..3], None),
        "{\"map\":\"events\",\"error\":\"size 3, type event needs 12\",\"hex\":\"070000\"}\n"
    );
    let long = [&SAMPLE[..], &[0xaa; 8]].concat();
    assert!(line(&mut it, &long, None).ends_with(",\"extra\":8}\n"));
    let mut perf = stream(event(&btf), Form::Json, Padding::Perf, &[]);
    assert!(!line(&mut perf, &long[..19], Some(0)).contains("extra"), "7 bytes of padding");
    assert!(line(&mut perf, &long, Some(0)).contains("\"extra\":8"));
}

#[test]
fn what_nobody_knows_is_hex() {
    let mut it = stream(Chosen::Hex(String::new()), Form::Json, Padding::None, &[]);
    assert_eq!(
        line(&mut it, &[1, 0xab], None),
        "{\"map\":\"events\",\"seq\":1,\"hex\":\"01ab\"}\n"
    );
    let mut it = stream(Chosen::Hex(String::new()), Form::Hex, Padding::None, &[]);
    assert_eq!(line(&mut it, &[1, 0xab], None), "01ab\n");
}

#[test]
fn text_is_for_people() {
    let btf = table(&["event"], &[], None);
    let mut it = stream(event(&btf), Form::Text, Padding::None, &[]);
    assert_eq!(
        line(&mut it, &SAMPLE, Some(1)),
        "events event cpu=1 pid=7 comm=\"cat\" state=\"RUN\"\n"
    );
    assert_eq!(line(&mut it, &[1], None), "events: size 1, type event needs 12: 01\n");
}

#[test]
fn names_of_types_cannot_forge_lines() {
    let name = "event\n{\"map\":\"forged\"}";
    let btf = table(&[name], &[name], None);
    for form in [Form::Json, Form::Text, Form::Hex] {
        let mut it = stream(event(&btf), form, Padding::None, &[]);
        for sample in [&SAMPLE[..], &[1]] {
            assert_eq!(line(&mut it, sample, None).matches('\n').count(), 1);
        }
    }
}

#[test]
fn losses_are_lines_too() {
    let mut out = String::new();
    push_loss("events", 12, Some(1), Form::Json, &mut out);
    push_loss("events", 5, None, Form::Json, &mut out);
    push_loss("events", 5, None, Form::Text, &mut out);
    assert_eq!(
        out,
        "{\"map\":\"events\",\"lost\":12,\"cpu\":1}\n{\"map\":\"events\",\"lost\":5}\n\
         events: 5 lost\n"
    );
}

#[test]
fn variants_tell_events_apart() {
    let btf = table(&["a", "b"], &[], None);
    let variants = ["0:4:7=a", "8:1:0x1=b"].map(|it| Variant::parse(it).expect("a variant"));
    let choice = Choice { variants: variants.to_vec(), ..Choice::default() };
    assert_eq!(named(&btf, "events", &choice), "2 variants");
    let chosen = choose(Some(&btf), "events", &choice).expect("both exist");
    let mut it = stream(chosen, Form::Json, Padding::None, &[]);
    assert!(line(&mut it, &SAMPLE, None).contains("\"type\":\"a\""), "the first that fits");
    let mut other = SAMPLE;
    other[0] = 9;
    assert!(line(&mut it, &other, None).contains("\"type\":\"b\""));
    other[8] = 2;
    assert!(line(&mut it, &other, None).contains("\"hex\":\"0900"), "an unknown tag");
    assert!(line(&mut it, &[9, 0, 0, 0], None).contains("\"error\":\"size 4, type tag needs 9\""));
    for (text, why) in [
        ("a", "variant 'a': OFFSET:SIZE:VALUE=STRUCT"),
        ("0:4=a", "variant '0:4=a': OFFSET:SIZE:VALUE=STRUCT"),
        ("0:3:1=a", "variant '0:3:1=a': a tag has 1, 2, 4 or 8 bytes, not 3"),
        ("0:1:256=a", "variant '0:1:256=a': 256 does not fit 1 bytes"),
        ("-1:1:1=a", "variant '-1:1:1=a': -1 is out of range"),
        ("0:1:1=", "variant '0:1:1=': the struct is missing"),
    ] {
        assert_eq!(Variant::parse(text).map_err(|it| it.to_string()), Err(why.to_owned()));
    }
}

#[test]
fn filters_pass_what_is_equal() {
    let btf = table(&["event"], &[], None);
    for (filter, passes) in [
        ("pid=7", true),
        ("pid=0x7", true),
        ("pid=8", false),
        ("pid!=8", true),
        ("pid!=7", false),
        ("comm=cat", true),
        ("comm=ca", false),
        ("state=RUN", true),
        ("state=1", true),
        ("state=IDLE", false),
        ("none=1", false),
        ("none!=1", false),
    ] {
        let mut it = stream(event(&btf), Form::Json, Padding::None, &[filter]);
        assert_eq!(!line(&mut it, &SAMPLE, None).is_empty(), passes, "{filter}");
        assert_eq!(it.delivered(), 1, "what is filtered counts");
    }
    // Whatever the lines look like, and where there are none.
    for form in [Form::Json, Form::Text, Form::Hex] {
        let mut it = stream(event(&btf), form, Padding::None, &["pid=7"]);
        let mut other = SAMPLE;
        other[0] = 8;
        assert_ne!(line(&mut it, &SAMPLE, None), "");
        assert_eq!(line(&mut it, &other, None), "", "{form:?}");
        assert_eq!((it.passes(&SAMPLE), it.passes(&other)), (true, false));
        assert_eq!(it.delivered(), 4);
        let mut unknown = stream(Chosen::Hex(String::new()), form, Padding::None, &["pid=7"]);
        assert_eq!(line(&mut unknown, &SAMPLE, None), "");
    }
    let mut it = stream(event(&btf), Form::Json, Padding::None, &["pid=7", "comm=dog"]);
    assert_eq!(line(&mut it, &SAMPLE, None), "");
    for text in ["", "pid", "=1", "!=1"] {
        assert!(Filter::parse(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn every_sample_is_one_line_of_json(
        sample in prop::collection::vec(any::<u8>(), 0..24), is_perf in any::<bool>(),
        tag in any::<u8>(),
    ) {
        let btf = table(&["event", "other"], &[], None);
        let name = "other".to_owned();
        let variant = Variant { offset: 4, size: 1, value: tag.into(), name };
        let tagged = Choice { variants: vec![variant], ..Choice::default() };
        let padding = if is_perf { Padding::Perf } else { Padding::None };
        for choice in [Choice::default(), tagged] {
            let chosen = choose(Some(&btf), "events", &choice).expect("found");
            let mut it = stream(chosen, Form::Json, padding, &[]);
            let line = line(&mut it, &sample, is_perf.then_some(0));
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{}", line);
        }
    }
}
