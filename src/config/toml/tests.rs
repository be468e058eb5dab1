// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the TOML loader: values, merging, and above all the places of problems.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::config::layers::tests::Tree;

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Config {
    name: String,
    memory: u32,
    tags: Vec<String>,
    disk: Vec<Disk>,
    net: Net,
    extra: BTreeMap<String, i64>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Disk {
    path: String,
    #[serde(default)]
    readonly: bool,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Net {
    address: String,
    mtu: Option<u16>,
}

fn layers(texts: &[&str]) -> Vec<Layer> {
    let layer = |(at, text): (usize, &&str)| Layer {
        path: PathBuf::from(format!("/{at}.toml")),
        text: (*text).to_owned(),
    };
    texts.iter().enumerate().map(layer).collect()
}

fn value(texts: &[&str]) -> Config {
    parse::<Config>(layers(texts)).unwrap_or_else(|problems| panic!("{problems}")).value
}

fn problems<T: DeserializeOwned + fmt::Debug>(texts: &[&str]) -> Vec<String> {
    let problems = parse::<T>(layers(texts)).expect_err("something is wrong");
    assert_eq!(problems.to_string().lines().count(), problems.0.len());
    problems.0.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_is_the_default() {
    assert_eq!(value(&[]), Config::default());
    assert_eq!(value(&["", "# nothing\n"]), Config::default());
}

#[test]
fn tables_are_merged_and_everything_else_replaced() {
    let merged = value(&[
        "name = 'a'\nmemory = 1\ntags = ['x', 'y']\n[net]\naddress = 'first'\nmtu = 1500\n",
        "memory = 2\ntags = ['z']\n[net]\naddress = 'second'\n[[disk]]\npath = '/a'\n",
        "extra.one = 1\nextra.two = 2\n[[disk]]\npath = '/b'\nreadonly = true\n",
        "[extra]\ntwo = 3\n",
    ]);
    assert_eq!((merged.name.as_str(), merged.memory), ("a", 2));
    assert_eq!(merged.tags, ["z"]);
    assert_eq!(merged.net, Net { address: "second".to_owned(), mtu: Some(1500) });
    assert_eq!(merged.disk, [Disk { path: "/b".to_owned(), readonly: true }]);
    assert_eq!(merged.extra.into_values().collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn all_problems_are_told_at_once_each_at_its_place() {
    let got = problems::<Config>(&[
        "name = 3\nmemroy = 1\nmemory = 'much'\n",
        "tags = ['a', 1, 2]\n\n[net]\n  mtu = 70000\n  colour = 'red'\n[[disk]]\n  readonly = 1\n",
    ]);
    let want = [
        "/0.toml:1:8: invalid type: integer `3`, expected a string",
        "/0.toml:2:1: unknown field `memroy`, expected one of",
        "/0.toml:3:10: invalid type: string \"much\", expected u32",
        "/1.toml:1:14: invalid type: integer `1`, expected a string",
        "/1.toml:1:17: invalid type: integer `2`, expected a string",
        "/1.toml:4:9: invalid value: integer `70000`, expected u16",
        "/1.toml:5:3: unknown field `colour`, expected",
        "/1.toml:7:14: invalid type: integer `1`, expected a boolean",
    ];
    for place in want {
        assert!(got.iter().any(|it| it.starts_with(place)), "{place}\n{}", got.join("\n"));
    }
    assert_eq!(got.len(), want.len(), "{}", got.join("\n"));
}

#[test]
fn a_missing_key_is_told_at_its_table() {
    let got = problems::<Config>(&["memory = 1\n[[disk]]\nreadonly = true\n[[disk]]\npath = 1\n"]);
    let got: Vec<_> = got.iter().map(String::as_str).collect();
    assert_eq!(
        got,
        [
            "/0.toml:2:1: missing field `path`",
            "/0.toml:5:8: invalid type: integer `1`, expected a string",
        ],
        "that the second disk now has no path either is no news"
    );
}

#[test]
fn a_key_missing_from_the_document_itself_is_told_once() {
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its errors matter")]
    struct Strict {
        name: String,
        memory: u32,
    }
    assert_eq!(problems::<Strict>(&["other = 1\n"]), ["/0.toml:1:1: missing field `name`"]);
    let got = problems::<Strict>(&["name = 'a'\n", "memory = 'x'\n"]);
    assert_eq!(got, ["/1.toml:1:10: invalid type: string \"x\", expected u32"]);
    assert_eq!(problems::<Strict>(&[]), [": missing field `name`"]);
}

#[test]
fn a_problem_with_an_overridden_value_is_none() {
    assert_eq!(value(&["memory = 'much'\n", "memory = 5\n"]).memory, 5);
}

#[test]
fn the_file_at_fault_is_the_one_that_spoke_last() {
    let got = problems::<Config>(&["nmae = 'a'\n", "\n\n  nmae = 'b'\n"]);
    assert!(got[0].starts_with("/1.toml:3:3: unknown field `nmae`"), "{got:?}");
    assert_eq!(got.len(), 1);
}

#[test]
fn all_syntax_errors_of_all_files_are_told() {
    let got =
        problems::<Config>(&["memory = \n", "name = 'a'\n[net\n", "memory = 1\nmemory = 2\n"]);
    for place in ["/0.toml:1:", "/1.toml:2:", "/2.toml:2:1: "] {
        assert!(got.iter().any(|it| it.starts_with(place)), "{place}\n{}", got.join("\n"));
    }
}

#[test]
fn columns_count_characters() {
    let got = problems::<Config>(&["extra = { 'ä€𝄞' = 'x' }\n"]);
    assert!(got[0].starts_with("/0.toml:1:19: invalid type"), "{got:?}");
}

#[test]
fn a_program_can_point_at_a_value() {
    #[derive(Debug, Deserialize)]
    struct Pointed {
        list: Vec<Spanned<i64>>,
    }
    let loaded = parse::<Pointed>(layers(&["list = [1]\n", "list = [\n  2,\n  3,\n]\n"]));
    let Loaded { value, sources } = loaded.expect("well-formed");
    let last = value.list.last().expect("two of them");
    assert_eq!(*last.get_ref(), 3);
    let problem = sources.problem(&last.span(), "too odd");
    assert_eq!(problem.to_string(), "/1.toml:3:3: too odd");
    assert_eq!(sources.paths().count(), 2);
}

#[test]
fn a_program_can_take_the_merged_tables_apart_itself() {
    let texts = ["name = 'a'\nmemory = 1\n", "memory = 0x10\n"];
    let loaded = read(layers(&texts), |table, sources| {
        let memory = table.get("memory").expect("both files have it");
        let DeValue::Integer(number) = memory.get_ref() else { panic!("{memory:?}") };
        assert_eq!((number.as_str(), number.radix()), ("10", 16));
        assert_eq!(sources.problem(&memory.span(), "x").to_string(), "/1.toml:1:10: x");
        Ok(table.len())
    });
    assert_eq!(loaded.expect("well-formed").value, 2);
    let refused = read(layers(&texts), |_, sources| {
        Err::<(), _>(Problems(vec![sources.problem(&(0..0), "no")]))
    });
    assert_eq!(refused.expect_err("refused").to_string(), "/0.toml:1:1: no");
    let broken = read(layers(&["memory = \n"]), |_, _| -> Result<(), _> { panic!("not asked") });
    assert!(broken.expect_err("no TOML").to_string().starts_with("/0.toml:1:"));
}

#[test]
fn the_number_of_problems_is_limited() {
    let text: String = (0..PROBLEMS_MAX + 50).map(|at| format!("key{at} = 1\n")).collect();
    assert_eq!(problems::<Config>(&[&text]).len(), PROBLEMS_MAX);
}

#[test]
fn files_are_found_and_unreadable_ones_named() {
    let tree = Tree::new(
        "toml-load",
        &[
            ("/usr/lib/app/x.toml", "memory = 1\nname = 'vendor'\n"),
            ("/etc/app/x.toml.d/50.toml", "name = 'admin'\n"),
        ],
    );
    let loaded = load::<Config>(&tree.root(), "app/x.toml").expect("well-formed");
    assert_eq!((loaded.value.name.as_str(), loaded.value.memory), ("admin", 1));
    assert_eq!(loaded.sources.paths().count(), 2);
    let broken = Tree::new("toml-load-broken", &[("/etc/app/x.toml/sub", "")]);
    let problems = load::<Config>(&broken.root(), "app/x.toml").expect_err("a directory");
    assert!(problems.to_string().starts_with("/etc/app/x.toml: "), "{problems}");
}

proptest! {
    #[test]
    fn any_text_is_taken_without_panic(
        texts in proptest::collection::vec(
            "([a-z\\[\\]{}=.,\"'# \n0-9é]|name|net|disk|memory|mtu){0,40}", 0..3),
    ) {
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        if let Err(problems) = parse::<Config>(layers(&texts)) {
            prop_assert!(!problems.0.is_empty());
            prop_assert!(problems.0.len() <= PROBLEMS_MAX);
        }
    }

    #[test]
    fn damage_is_always_told_somewhere(
        at in any::<proptest::sample::Index>(), byte in 0_u8..128,
    ) {
        let text = "name = 'a'\nmemory = 1\ntags = ['x']\n[net]\nmtu = 1\n[[disk]]\npath = '/'\n";
        let mut bytes = text.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let text = String::from_utf8(bytes).expect("ASCII");
        if let Err(problems) = parse::<Config>(layers(&[&text])) {
            prop_assert!(problems.0.iter().all(|it| it.position.is_some()));
        }
    }
}
