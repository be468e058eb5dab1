// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the Python printer: against CPython's own output, and invariants of the layout.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[test]
fn the_layout_is_that_of_cpython() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/ctl/pprint");
    let mut seen = 0;
    for file in fs::read_dir(dir).expect("the fixtures are there") {
        let path = file.expect("a directory entry").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let input = fs::read_to_string(&path).expect("a value");
        let value: Value = serde_json::from_str(&input).expect("JSON");
        let expected = fs::read_to_string(path.with_extension("txt")).expect("what CPython says");
        assert_eq!(literal(&value) + "\n", expected, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 60, "only {seen} cases");
}

#[test]
fn every_ascii_character_is_spelled_as_python_spells_it() {
    for c in (0..128_u8).map(char::from) {
        let expected = match c {
            '\n' => "'\\n'".into(),
            '\r' => "'\\r'".into(),
            '\t' => "'\\t'".into(),
            '\\' => "'\\\\'".into(),
            '\'' => "\"'\"".into(),
            ' '..='~' => format!("'{c}'"),
            _ => format!("'\\x{:02x}'", u32::from(c)),
        };
        assert_eq!(quoted(&c.to_string()), expected);
    }
}

#[test]
fn a_narrow_page_only_adds_lines() {
    let value = json!({ "a": ["b c d", "e"], "f": { "g": 1 } });
    assert_eq!(literal_within(&value, 40), "{'a': ['b c d', 'e'], 'f': {'g': 1}}");
    let narrow = "{'a': ['b c '\n       'd',\n       'e'],\n 'f': {'g': 1}}";
    assert_eq!(literal_within(&value, 14), narrow);
    assert_eq!(literal_within(&json!([{}, "", []]), 0), "[{},\n '',\n []]");
}

/// Reads back what [`literal`] printed: enough of Python's grammar for that, and nothing more.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn blank(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\n']);
    }

    fn eat(&mut self, token: &str) -> bool {
        self.blank();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self) -> Value {
        self.blank();
        match self.rest.chars().next().expect("a value") {
            '\'' | '"' => Value::String(self.strings()),
            '(' => {
                assert!(self.eat("("));
                let text = self.strings();
                assert!(self.eat(")"));
                Value::String(text)
            }
            '[' => self.list(),
            '{' => self.dictionary(),
            _ => self.word(),
        }
    }

    fn list(&mut self) -> Value {
        let mut items = Vec::new();
        assert!(self.eat("["));
        while !self.eat("]") {
            assert!(items.is_empty() || self.eat(","));
            items.push(self.value());
        }
        Value::Array(items)
    }

    fn dictionary(&mut self) -> Value {
        let mut map = Map::new();
        assert!(self.eat("{"));
        while !self.eat("}") {
            assert!(map.is_empty() || self.eat(","));
            let key = self.strings();
            assert!(self.eat(":"));
            let value = self.value();
            assert!(map.insert(key, value).is_none());
        }
        Value::Object(map)
    }

    fn word(&mut self) -> Value {
        let end = self.rest.find([',', ']', '}']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "None" => Value::Null,
            "True" => true.into(),
            "False" => false.into(),
            _ if word.contains(['.', 'e']) => word.parse::<f64>().expect("a number").into(),
            _ => serde_json::from_str(word).expect("a number"),
        }
    }

    /// Adjacent literals are one.
    fn strings(&mut self) -> String {
        let mut text = String::new();
        self.blank();
        while let Some(quote @ ('\'' | '"')) = self.rest.chars().next() {
            self.rest = &self.rest[1..];
            loop {
                let c = self.char();
                match c {
                    '\\' => text.push(self.escaped()),
                    _ if c == quote => break,
                    _ => text.push(c),
                }
            }
            self.blank();
        }
        text
    }

    fn char(&mut self) -> char {
        let mut chars = self.rest.chars();
        let c = chars.next().expect("not at the end");
        self.rest = chars.as_str();
        c
    }

    fn escaped(&mut self) -> char {
        let digits = match self.char() {
            'n' => return '\n',
            'r' => return '\r',
            't' => return '\t',
            'x' => 2,
            'u' => 4,
            'U' => 8,
            c => return c,
        };
        let (code, rest) = self.rest.split_at(digits);
        self.rest = rest;
        char::from_u32(u32::from_str_radix(code, 16).expect("hexadecimal")).expect("a character")
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no such number", |x| x.is_finite())
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a'\" \n\\\\]{0,60}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let key = "[a-c'\" ]{0,9}";
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_the_same(value in any_value(), width in 0_usize..130) {
        let text = literal_within(&value, width);
        let mut reader = Reader { rest: &text };
        prop_assert_eq!(reader.value(), value);
        prop_assert_eq!(reader.rest, "");
    }

    #[test]
    fn a_line_passes_the_edge_only_where_it_cannot_be_broken(value in any_value()) {
        let text = literal(&value);
        for line in text.lines().filter(|line| count(line) > WIDTH) {
            // One entry is left: brackets and keys before it, one word, brackets behind it.
            let entry = line.trim_matches([' ', '[', ']', '{', '}', '(', ')', ',']);
            prop_assert!(!entry.contains("', '") && !entry.contains("], ["), "{}", line);
        }
    }

    #[test]
    fn no_control_character_reaches_the_terminal(value in any_value()) {
        let text = literal(&value);
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    }
}
