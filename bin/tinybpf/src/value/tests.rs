// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of values: every kind both ways and in both byte orders, refusals, round trips.

use super::*;
use crate::btf::build::{Builder, MemberSpec};
use crate::btf::{BtfError, ByteOrder, TypeId};

pub(super) const PLAIN: Format =
    Format { int64: Int64Form::Number, bytes: BytesForm::Plain, enums: EnumForm::Name, all: false };

pub(super) fn shape(b: &Builder, id: TypeId) -> Shape {
    Shape::of(&b.table(), id).expect("usable")
}

/// The JSON of bytes, the same through a value and without one.
fn json(shape: &Shape, bytes: &[u8], format: Format) -> String {
    let mut direct = String::new();
    shape.write_json(bytes, format, &mut direct).expect("long enough");
    let value = shape.decode(bytes, format.all).expect("long enough");
    assert_eq!(direct, value.to_json(format));
    serde_json::from_str::<serde_json::Value>(&direct).unwrap_or_else(|e| panic!("{direct}: {e}"));
    direct
}

pub(super) fn plain(shape: &Shape, bytes: &[u8]) -> String {
    json(shape, bytes, PLAIN)
}

fn encoded(shape: &Shape, text: &str) -> Result<Vec<u8>, String> {
    let value = parse_json(text).expect("JSON");
    shape.encode("value", &value, Encode::default()).map_err(|error| error.to_string())
}

#[test]
fn integers_of_every_width_are_exact() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let mut b = Builder::new(order);
        for (size, bytes) in [(1, 1), (2, 2), (4, 4), (8, 8), (16, 16)] {
            let (unsigned, signed) = (b.int("u", size, 0), b.int("s", size, 1));
            let ones = vec![0xff; bytes];
            let max = u128::MAX >> (128 - size * 8);
            let quote = if size == 16 { "\"" } else { "" };
            assert_eq!(plain(&shape(&b, unsigned), &ones), format!("{quote}{max}{quote}"));
            assert_eq!(plain(&shape(&b, signed), &ones), format!("{quote}-1{quote}"));
            let mut one = vec![0; bytes];
            one[if order == ByteOrder::Little { 0 } else { bytes - 1 }] = 1;
            assert_eq!(plain(&shape(&b, signed), &one), format!("{quote}1{quote}"));
            let written = shape(&b, unsigned).encode("value", &Value::U64(1), Encode::default());
            assert_eq!(written, Ok(one));
        }
    }
}

#[test]
fn wide_integers_are_quoted_on_request() {
    let mut b = Builder::new(ByteOrder::Little);
    let (u64_int, s64_int) = (b.int("u64", 8, 0), b.int("s64", 8, 1));
    let quoted = Format { int64: Int64Form::String, ..PLAIN };
    let edge = 1_u64 << 53;
    for (value, text) in [(edge, "9007199254740992"), (edge + 1, "\"9007199254740993\"")] {
        assert_eq!(json(&shape(&b, u64_int), &value.to_le_bytes(), quoted), text);
    }
    let low = i64::MIN.to_le_bytes();
    assert_eq!(json(&shape(&b, s64_int), &low, quoted), "\"-9223372036854775808\"");
    assert_eq!(encoded(&shape(&b, s64_int), "\"-9223372036854775808\""), Ok(low.to_vec()));
}

#[test]
fn characters_are_numbers_and_their_arrays_text() {
    let mut b = Builder::new(ByteOrder::Little);
    let (character, byte, tiny) =
        (b.int("char", 1, 1), b.int("unsigned char", 1, 0), b.int("signed char", 1, 1));
    let marked = b.int("letter", 1, 2);
    let truth = b.int("_Bool", 1, 4);
    let [text, bytes, numbers, letters, truths] =
        [character, byte, tiny, marked, truth].map(|it| b.array(it, character, 4));
    let rows = b.array(text, character, 2);
    assert_eq!(plain(&shape(&b, character), b"A"), "65");
    assert_eq!(plain(&shape(&b, text), b"ab\0x"), "\"ab\"");
    assert_eq!(plain(&shape(&b, letters), b"abcd"), "\"abcd\"");
    assert_eq!(plain(&shape(&b, bytes), &[0, 1, 2, 255]), "[0,1,2,255]");
    assert_eq!(plain(&shape(&b, numbers), &[0, 1, 2, 255]), "[0,1,2,-1]");
    assert_eq!(plain(&shape(&b, truths), &[0, 1, 2, 0]), "[false,true,true,false]");
    assert_eq!(plain(&shape(&b, rows), b"a\0\0\0bcde"), "[\"a\",\"bcde\"]");
    let hex = Format { bytes: BytesForm::Hex, ..PLAIN };
    assert_eq!(json(&shape(&b, bytes), &[0, 1, 2, 255], hex), "\"000102ff\"");
    assert_eq!(json(&shape(&b, text), b"a\xffb\0", hex), "\"61ff62\"");
    assert_eq!(json(&shape(&b, text), b"ab\0\0", hex), "\"ab\"", "text stays text");
    assert_eq!(plain(&shape(&b, text), b"a\xffb\0"), "\"a\u{fffd}b\"");
    assert_eq!(plain(&shape(&b, text), b"\"\\\x1b\x7f"), r#""\"\\\u001b\u007f""#);
}

#[test]
fn floats_print_the_shortest_text_that_reads_back() {
    let mut b = Builder::new(ByteOrder::Little);
    let [half, float, double, long] = [2, 4, 8, 16].map(|size| b.float("float", size));
    let of32 = |it: f32| plain(&shape(&b, float), &it.to_le_bytes());
    let of64 = |it: f64| plain(&shape(&b, double), &it.to_le_bytes());
    assert_eq!(of32(0.1), "0.1");
    assert_eq!(of64(0.1), "0.1");
    assert_eq!(of64(-0.0), "-0.0");
    assert_eq!(of64(1e300), "1e300");
    assert_eq!(of64(f64::NAN), "\"NaN\"");
    assert_eq!(of32(f32::INFINITY), "\"Infinity\"");
    assert_eq!(of64(f64::NEG_INFINITY), "\"-Infinity\"");
    for (bits, text) in [
        (0x3c00_u16, "1.0"),
        (0xc000, "-2.0"),
        (0x7bff, "65504.0"),
        (0x0001, "5.9604645e-8"),
        (0x7c00, "\"Infinity\""),
        (0xfc00, "\"-Infinity\""),
        (0x7e00, "\"NaN\""),
    ] {
        assert_eq!(plain(&shape(&b, half), &bits.to_le_bytes()), text);
    }
    assert_eq!(plain(&shape(&b, long), &[0xab; 16]), format!("\"{}\"", "ab".repeat(16)));
    assert_eq!(encoded(&shape(&b, long), &format!("\"{}\"", "ab".repeat(16))), Ok(vec![0xab; 16]));
    assert_eq!(encoded(&shape(&b, double), "3"), Ok(3_f64.to_le_bytes().to_vec()));
    assert_eq!(encoded(&shape(&b, float), "\"NaN\"").map(|it| it.len()), Ok(4));
    assert!(encoded(&shape(&b, double), "\"three\"").is_err());
}

#[test]
fn pointers_are_addresses_that_nobody_follows() {
    let mut b = Builder::new(ByteOrder::Little);
    let pointer = b.ptr(TypeId(1));
    let it = shape(&b, pointer);
    assert_eq!(plain(&it, &0xffff_8881_0000_0000_u64.to_le_bytes()), "\"0xffff888100000000\"");
    assert_eq!(plain(&it, &[0; 8]), "null");
    assert_eq!(encoded(&it, "\"0xffff888100000000\"").map(|it| it[4]), Ok(0x81));
    assert_eq!(encoded(&it, "null"), Ok(vec![0; 8]));
}

#[test]
fn enumerators_are_found_whatever_the_compiler_said_of_their_sign() {
    let mut b = Builder::new(ByteOrder::Little);
    let old = b.enumeration("old", 4, false, &[("OFF", 0), ("BAD", u32::MAX)]);
    let new = b.enumeration("new", 4, true, &[("OFF", 0), ("ALSO", 0), ("BAD", u32::MAX)]);
    let cut = b.enumeration("cut", 8, false, &[("LOW", 5)]);
    let wide = b.enum64("wide", true, &[("DEEP", u64::MAX), ("HUGE", 1 << 40)]);
    let ones = [0xff; 8];
    assert_eq!(plain(&shape(&b, old), &ones), "\"BAD\"");
    assert_eq!(plain(&shape(&b, new), &ones), "\"BAD\"");
    assert_eq!(plain(&shape(&b, new), &[0; 4]), "\"OFF\"", "the first of two names");
    assert_eq!(plain(&shape(&b, cut), &5_u64.to_le_bytes()), "\"LOW\"");
    assert_eq!(plain(&shape(&b, wide), &ones), "\"DEEP\"");
    assert_eq!(plain(&shape(&b, old), &[6, 0, 0, 0]), "6", "a set of bits stays a number");
    let number = Format { enums: EnumForm::Number, ..PLAIN };
    let both = Format { enums: EnumForm::Both, ..PLAIN };
    assert_eq!(json(&shape(&b, old), &ones, number), "4294967295");
    assert_eq!(json(&shape(&b, new), &ones, number), "-1");
    assert_eq!(json(&shape(&b, new), &ones, both), r#"{"value":-1,"name":"BAD"}"#);
    assert_eq!(json(&shape(&b, new), &[9, 0, 0, 0], both), r#"{"value":9,"name":null}"#);
    for id in [old, new] {
        for text in ["\"BAD\"", "-1", "4294967295", "\"0xffffffff\""] {
            assert_eq!(encoded(&shape(&b, id), text), Ok(vec![0xff; 4]), "{text}");
        }
    }
    assert_eq!(
        encoded(&shape(&b, old), "\"WORSE\""),
        Err("value: no enumerator 'WORSE'; there are OFF, BAD".to_owned())
    );
    assert!(encoded(&shape(&b, old), "4294967296").is_err());
}

#[test]
fn anonymous_members_are_lifted_each_under_its_name() {
    let mut b = Builder::new(ByteOrder::Little);
    let int = b.int("int", 4, 1);
    let first = b.structure("", 8, &[("a", int, 0, 0), ("b", int, 32, 0)]);
    let second = b.union("", 4, &[("c", int, 0, 0), ("d", int, 0, 0)]);
    let whole =
        b.structure("whole", 16, &[("", first, 0, 0), ("", second, 64, 0), ("e", int, 96, 0)]);
    let it = shape(&b, whole);
    let bytes: Vec<u8> = (1..=4_i32).flat_map(i32::to_le_bytes).collect();
    assert_eq!(plain(&it, &bytes), r#"{"a":1,"b":2,"c":3,"d":3,"e":4}"#);
    assert_eq!(encoded(&it, r#"{"e":4,"a":1,"b":2,"d":3}"#), Ok(bytes));
    assert_eq!(
        encoded(&it, r#"{"a":1,"b":2,"c":3,"d":3,"e":4}"#),
        Err("value: one member of c, d is needed, not 2".to_owned())
    );
    assert!(encoded(&it, r#"{"a":1,"b":2,"e":4}"#).is_err(), "none of the union");
    assert_eq!(encoded(&it, r#"{"a":1,"..":true}"#).map(|it| it.len()), Ok(16));
    let twice = b.structure("twice", 12, &[("", first, 0, 0), ("a", int, 64, 0)]);
    let error = Shape::of(&b.table(), twice).expect_err("one key twice");
    assert_eq!(error, BtfError::SameName { id: twice, name: "a".to_owned() });
}

#[test]
fn bitfields_are_extracted_in_both_byte_orders() {
    let spec = |int: TypeId, truth: TypeId, state: TypeId, order: ByteOrder| {
        // C lays bits out from the least significant end on one machine, from the other on others;
        // the offset in the table counts from the same end.
        let members: [MemberSpec<'_>; 4] =
            [("low", int, 0, 4), ("on", truth, 4, 1), ("state", state, 5, 3), ("high", int, 8, 24)];
        (members, order)
    };
    for (order, bytes) in
        [(ByteOrder::Little, 0x0000_0a3e_u32.to_le_bytes()), (ByteOrder::Big, [0xe9, 0, 0, 0x0a])]
    {
        let mut b = Builder::new(order);
        let (int, truth) = (b.int("int", 4, 1), b.int("_Bool", 1, 4));
        let state = b.enumeration("state", 4, false, &[("ONE", 1)]);
        let (members, _) = spec(int, truth, state, order);
        let id = b.structure("s", 4, &members);
        let it = shape(&b, id);
        let want = r#"{"low":-2,"on":true,"state":"ONE","high":10}"#;
        assert_eq!(plain(&it, &bytes), want, "{order}");
        assert_eq!(encoded(&it, want), Ok(bytes.to_vec()), "{order}");
    }
}

#[test]
fn a_bitfield_may_span_nine_bytes() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let mut b = Builder::new(order);
        let wide = b.int("unsigned long", 8, 0);
        let id = b.structure("packed", 9, &[("a", wide, 0, 4), ("b", wide, 4, 64)]);
        let it = shape(&b, id);
        let text = r#"{"a":5,"b":18446744073709551615}"#;
        let bytes = encoded(&it, text).expect("it fits");
        assert_eq!(bytes[1..8], [0xff; 7]);
        assert_eq!(plain(&it, &bytes), text);
    }
}

#[test]
fn bitfields_of_old_compilers_are_types_of_few_bits() {
    let mut b = Builder::new(ByteOrder::Little);
    let narrow = b.narrow_int(4, 1, 0, 3);
    let shifted = b.narrow_int(4, 0, 3, 5);
    let id = b.structure("old", 4, &[("a", narrow, 0, 0), ("b", shifted, 0, 0)]);
    let it = shape(&b, id);
    assert_eq!(plain(&it, &[0b1111_1111, 0, 0, 0]), r#"{"a":-1,"b":31}"#);
    assert_eq!(encoded(&it, r#"{"a":-1,"b":2}"#), Ok(vec![0b0001_0111, 0, 0, 0]));
    assert_eq!(plain(&shape(&b, narrow), &[6, 0, 0, 0]), "-2");
}

#[test]
fn arrays_without_length_take_what_is_left() {
    let mut b = Builder::new(ByteOrder::Little);
    let short = b.int("short", 2, 1);
    let rest = b.array(short, short, 0);
    let id =
        b.structure("packet", 4, &[("a", short, 0, 0), ("b", short, 16, 0), ("rest", rest, 32, 0)]);
    let middle = b.structure("middle", 4, &[("none", rest, 0, 0), ("b", short, 16, 0)]);
    let it = shape(&b, id);
    assert!(it.is_flexible() && it.size() == 4);
    assert_eq!(plain(&it, &[1, 0, 2, 0]), r#"{"a":1,"b":2,"rest":[]}"#);
    assert_eq!(plain(&it, &[1, 0, 2, 0, 3, 0, 4, 0, 9]), r#"{"a":1,"b":2,"rest":[3,4]}"#);
    assert_eq!(encoded(&it, r#"{"a":1,"b":2,"rest":[3]}"#), Ok(vec![1, 0, 2, 0, 3, 0]));
    assert_eq!(encoded(&it, r#"{"a":1,"b":2}"#), Ok(vec![1, 0, 2, 0]));
    assert!(!shape(&b, middle).is_flexible());
    assert_eq!(plain(&shape(&b, middle), &[0, 0, 1, 0, 7, 7]), r#"{"none":[],"b":1}"#);
    let list = b.array(id, short, 2);
    assert!(!shape(&b, list).is_flexible(), "nothing is left inside an array");
}

#[test]
fn padding_is_left_out_unless_asked_for() {
    let mut b = Builder::new(ByteOrder::Little);
    let int = b.int("int", 4, 1);
    let id =
        b.structure("s", 12, &[("a", int, 0, 0), ("_pad", int, 32, 0), ("__pad2", int, 64, 0)]);
    let it = shape(&b, id);
    let bytes = [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0];
    assert_eq!(plain(&it, &bytes), r#"{"a":1}"#);
    let all = Format { all: true, ..PLAIN };
    assert_eq!(json(&it, &bytes, all), r#"{"a":1,"_pad":2,"__pad2":3}"#);
    assert_eq!(encoded(&it, r#"{"a":1}"#).map(|it| it[4..].to_vec()), Ok(vec![0; 8]));
}

#[test]
fn what_has_no_value_is_null() {
    let mut b = Builder::new(ByteOrder::Little);
    let int = b.int("int", 4, 1);
    let fwd = b.fwd("hidden", false);
    let proto = b.proto(int, &[]);
    let id = b.structure("s", 4, &[("a", int, 0, 0), ("hidden", fwd, 32, 0)]);
    let nothing = b.structure("nothing", 0, &[]);
    let crowd = b.array(nothing, int, u32::MAX >> 4);
    for none in [TypeId::VOID, fwd, proto, crowd] {
        assert_eq!(plain(&shape(&b, none), &[]), "null");
        assert!(encoded(&shape(&b, none), "1").is_err());
    }
    assert_eq!(plain(&shape(&b, id), &[1, 0, 0, 0]), r#"{"a":1,"hidden":null}"#);
    assert_eq!(plain(&shape(&b, nothing), &[]), "{}");
}

#[test]
fn sections_are_tables_of_variables() {
    let mut b = Builder::new(ByteOrder::Little);
    let int = b.int("int", 4, 1);
    let constant = b.refer(10, "", int);
    let (one, two) = (b.var("one", constant, 1), b.var("two", int, 0));
    let section = b.datasec(".rodata", 8, &[(one, 0, 4), (two, 4, 4)]);
    let short = b.datasec(".data", 4, &[(one, 0, 4), (two, 4, 4)]);
    assert_eq!(plain(&shape(&b, section), &[1, 0, 0, 0, 2, 0, 0, 0]), r#"{"one":1,"two":2}"#);
    assert_eq!(plain(&shape(&b, one), &[1, 0, 0, 0]), "1");
    assert!(Shape::of(&b.table(), short).is_err());
}

#[test]
fn short_samples_name_both_sizes() {
    let mut b = Builder::new(ByteOrder::Little);
    let int = b.int("int", 4, 1);
    let id = b.structure("event", 4, &[("a", int, 0, 0)]);
    let mut out = "kept".to_owned();
    let error = shape(&b, id).write_json(&[0; 3], PLAIN, &mut out).expect_err("too short");
    assert_eq!(error.to_string(), "size 3, type event needs 4");
    assert_eq!(out, "kept");
}

#[test]
fn hostile_types_are_refused_in_time() {
    let mut b = Builder::new(ByteOrder::Little);
    let int = b.int("int", 4, 1);
    // Each level has the one below twice: 2 to the power of 30 members.
    let mut wide = b.structure("s", 0, &[]);
    for at in 0..30 {
        let _ = at;
        wide = b.structure("s", 0, &[("a", wide, 0, 0), ("b", wide, 0, 0)]);
    }
    let own = b.structure("own", 4, &[("a", TypeId(int.0 + 32), 0, 0)]);
    let outside = b.structure("outside", 4, &[("a", int, 32, 0)]);
    let far = b.structure("far", 4, &[("a", int, u32::MAX - 7, 0)]);
    let odd = b.structure("odd", 4, &[("a", wide, 1, 3)]);
    let long = b.array(int, int, u32::MAX);
    let many = b.array(int, int, 1 << 25);
    let btf = b.table();
    assert_eq!(own, TypeId(int.0 + 32));
    for id in [wide, own, outside, far, odd, long, many] {
        assert!(Shape::of(&btf, id).is_err(), "{id:?}");
    }
}

fn config() -> (Builder, Shape) {
    let mut b = Builder::new(ByteOrder::Little);
    let (int, word, character) = (b.int("int", 4, 1), b.int("__u64", 8, 0), b.int("char", 1, 1));
    let byte = b.int("unsigned char", 1, 0);
    let (name, mac) = (b.array(character, int, 8), b.array(byte, int, 6));
    let stat = b.structure("stat", 16, &[("bytes", word, 0, 0), ("errors", int, 64, 0)]);
    let stats = b.array(stat, int, 3);
    let either = b.union("either", 8, &[("number", word, 0, 0), ("text", name, 0, 0)]);
    let truth = b.int("_Bool", 1, 4);
    let id = b.structure(
        "config",
        80,
        &[
            ("name", name, 0, 0),
            ("stats", stats, 64, 0),
            ("mac", mac, 448, 0),
            ("on", truth, 496, 0),
            ("either", either, 512, 0),
            ("level", int, 576, 0),
        ],
    );
    let shape = shape(&b, id);
    (b, shape)
}

const CONFIG: &str = r#"{"name":"edge-1","stats":[{"bytes":1,"errors":-1},{"bytes":2,"errors":0},
    {"bytes":18446744073709551615,"errors":0}],"mac":[1,2,3,4,5,6],"on":true,
    "either":{"text":"ab"},"level":-5}"#;

#[test]
fn what_is_encoded_decodes_to_the_same() {
    let (_, it) = config();
    let bytes = encoded(&it, CONFIG).expect("it fits");
    assert_eq!(bytes[20..24], [0; 4], "gaps are zero");
    let value = it.decode(&bytes, false).expect("whole");
    assert_eq!(value.at("name"), Some(&Value::from("edge-1")));
    assert_eq!(value.at("stats[2].bytes"), Some(&Value::U64(u64::MAX)));
    assert_eq!(value.at("stats[0].errors"), Some(&Value::I64(-1)));
    assert_eq!(value.at("mac"), Some(&Value::Bytes(vec![1, 2, 3, 4, 5, 6])));
    assert_eq!(value.at("either.text"), Some(&Value::from("ab")));
    for nothing in ["", "stats[3]", "stats[x]", "stats[0", "name.x", "none", "mac[0]"] {
        assert_eq!(value.at(nothing).filter(|_| !nothing.is_empty()), None, "{nothing}");
    }
}

#[test]
fn refusals_name_the_member_at_fault() {
    let (_, it) = config();
    for (from, to, want) in [
        ("\"edge-1\"", "3", "value.name: text is needed, not an integer"),
        ("edge-1", "edge-one", "value.name: 8 bytes do not fit, at most 7"),
        ("edge-1", "a\\u0000b", "value.name: text with a NUL inside"),
        (
            "\"bytes\":2",
            "\"bytes\":-2",
            "value.stats[1].bytes: negative value -2 for an unsigned type",
        ),
        (
            "\"errors\":-1",
            "\"errors\":2147483648",
            "value.stats[0].errors: 2147483648 is out of range of a signed type of 32 bits",
        ),
        ("\"bytes\":2", "\"bytes\":2.5", "value.stats[1].bytes: an integer is needed, not a float"),
        (
            "\"bytes\":2",
            "\"bytes\":\"many\"",
            "value.stats[1].bytes: 'many' is no number of the type",
        ),
        (
            "\"bytes\":2",
            "\"bites\":2",
            "value.stats[1]: no member 'bites'; there are bytes, errors",
        ),
        ("\"bytes\":2,", "", "value.stats[1]: members are missing: bytes"),
        ("{\"bytes\":1,\"errors\":-1},", "", "value.stats: 2 elements, 3 are needed"),
        ("[1,2,3,4,5,6]", "[1,2,3]", "value.mac: 3 elements, 6 are needed"),
        (
            "[1,2,3,4,5,6]",
            "[1,2,3,4,5,256]",
            "value.mac[5]: 256 is out of range of a signed type of 8 bits",
        ),
        (
            "[1,2,3,4,5,6]",
            "\"mac\"",
            "value.mac: a list or hexadecimal digits is needed, not other text",
        ),
        ("true", "\"yes\"", "value.on: true or false is needed, not text"),
        ("{\"text\":\"ab\"}", "{}", "value.either: one member of number, text is needed, not 0"),
        ("{\"text\":\"ab\"}", "7", "value.either: a table is needed, not an integer"),
        ("\"level\":-5", "\"level\":1,\"level\":2", "value: member 'level' is given twice"),
    ] {
        assert!(CONFIG.contains(from), "{from}");
        assert_eq!(encoded(&it, &CONFIG.replace(from, to)), Err(want.to_owned()), "{to}");
    }
    let hex = CONFIG.replace("[1,2,3,4,5,6]", "\"01:02:03:04:05:06\"");
    assert_eq!(encoded(&it, &hex), encoded(&it, CONFIG));
}

#[test]
fn members_may_be_left_out_on_request() {
    let (_, it) = config();
    let value = parse_json(r#"{"level": 1}"#).expect("JSON");
    let strict = it.encode("entry", &value, Encode::default()).expect_err("most are missing");
    assert!(
        strict.to_string().starts_with("entry: one member of")
            || strict.to_string().contains("missing")
    );
    let lenient = Encode { defaults: true, ..Encode::default() };
    let bytes = it.encode("entry", &value, lenient).expect("the rest is zero");
    assert_eq!(bytes.iter().filter(|&&byte| byte != 0).count(), 1);
    let marked = parse_json(r#"{"level": 1, "..": true}"#).expect("JSON");
    assert_eq!(it.encode("entry", &marked, Encode::default()), Ok(bytes));
    let full = parse_json(r#"{"name":"12345678","..":0}"#).expect("JSON");
    assert!(it.encode("entry", &full, Encode::default()).is_err());
    assert!(it.encode("entry", &full, Encode { no_nul: true, defaults: false }).is_ok());
}

#[test]
fn json_input_keeps_what_it_is_given() {
    let value = parse_json(r#"{"b":[1,-1,1.5,true,null,"x"],"a":18446744073709551615}"#);
    let value = value.expect("JSON");
    let Value::Map(members) = &value else { panic!("an object") };
    assert_eq!(&*members[0].0, "b", "in the order given");
    assert_eq!(value.at("a"), Some(&Value::U64(u64::MAX)));
    assert_eq!(value.at("b[3]"), Some(&Value::Bool(true)));
    for text in ["", "{", "1 2", "nul", "{\"a\":}"] {
        assert!(parse_json(text).is_err(), "{text:?}");
    }
    assert!(parse_json(&"[".repeat(100_000)).is_err(), "no stack is deep enough");
}
