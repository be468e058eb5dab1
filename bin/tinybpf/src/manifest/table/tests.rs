// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of typed tables, by the manifest's: every type, every complaint, every place.

use super::super::read::parse;
use super::*;

fn problems(text: &str) -> Vec<String> {
    let problems = parse("/m.toml", text).expect_err("something is wrong");
    problems.0.iter().map(ToString::to_string).collect()
}

#[test]
fn tables_are_typed_and_every_problem_is_told_once_in_the_order_of_the_text() {
    let text = r#"
version = 4294967296
mount = "bpf"
colour = 1

[[object]]
name = 3
required = "yes"
when = { arch = [1, "arm"], features = 2, kernel = true, cpu = 1 }
set = { a = 1979-05-27, b = 1e999, c = [0xffffffffffffffffffffffffffffffffff], d = 1 }

[[object.map]]
max_entries = -1
freeze = 1.5
entries = [ { key = 0, valeu = 1 }, 7 ]
"#;
    let want = [
        "2:11: invalid value: integer `4294967296`, expected u32",
        "3:9: invalid type: string \"bpf\", expected a sequence",
        "4:1: unknown field `colour`, expected one of `version`, `pin_root`, `mount`, `on_error`, \
         `state`, `object`",
        "6:1: missing field `path`",
        "7:8: invalid type: integer `3`, expected a string",
        "8:12: invalid type: string \"yes\", expected a boolean",
        "9:18: invalid type: integer `1`, expected a string",
        "9:40: invalid type: integer `2`, expected a string or a sequence of them",
        "9:52: invalid type: boolean `true`, expected a string",
        "9:58: unknown field `cpu`, expected one of `kernel`, `arch`, `features`, `path_exists`",
        "10:13: invalid type: date or time, expected a value",
        "10:29: floating-point number overflowed",
        "10:41: integer number overflowed",
        "12:1: missing field `name`",
        "13:15: invalid value: integer `-1`, expected u32",
        "14:10: invalid type: floating point `1.5`, expected a boolean",
        "15:13: missing field `value`",
        "15:24: unknown field `valeu`, expected `key` or `value`",
        "15:37: invalid type: integer `7`, expected a table",
    ];
    assert_eq!(problems(text), want.map(|it| format!("/m.toml:{it}")));
    let numbers = [
        ("9223372036854775808", "integer `9223372036854775808`"),
        ("18446744073709551616", "integer beyond 64 bits"),
    ];
    for (number, found) in numbers {
        let want = format!("/m.toml:1:11: invalid value: {found}, expected u32");
        assert_eq!(problems(&format!("version = {number}")), [want]);
    }
    let many: String = (0..200).map(|at| format!("k{at} = 1\n")).collect();
    assert_eq!(problems(&many).len(), PROBLEMS_MAX);
    assert_eq!(problems(""), ["/m.toml:1:1: missing field `version`"]);
}

#[test]
fn values_of_every_kind_are_read() {
    let head = "version = 1\n[[object]]\nname = \"x\"\npath = \"/x\"\n";
    let tail = "set = { a = 1.5, b = -7, c = 18446744073709551615, d = true, e = [\"x\", inf], \
         f = { g = 0b11, h = 0xffffffffffffffffffffffffffffffff } }";
    let text = format!("{head}{tail}");
    let manifest = parse("/m.toml", &text).unwrap_or_else(|it| panic!("{it}"));
    let set = &manifest.objects[0].set;
    let got: Vec<&Value> = set.values().map(Spanned::get_ref).collect();
    let inner = vec![("g".into(), Value::I64(3)), ("h".into(), Value::U128(u128::MAX))];
    let list = vec![Value::from("x"), Value::F64(f64::INFINITY)];
    let [list, inner] = [Value::List(list), Value::Map(inner)];
    let [float, negative] = [Value::F64(1.5), Value::I64(-7)];
    let [wide, truth] = [Value::U64(u64::MAX), Value::Bool(true)];
    assert_eq!(got, [&float, &negative, &wide, &truth, &list, &inner]);
    assert_eq!(set["e"].span().start, text.find("[\"x").expect("it is there"));
}
