// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Both notations give the same tree, and every value knows its place.

use super::*;

fn tree(name: &str, text: &str) -> (Files, Result<Node, Vec<Diagnostic>>) {
    let mut files = Files::default();
    let file = files.add(name, text);
    let parsed = files.parse(file);
    (files, parsed)
}

fn at(files: &Files, place: Place) -> (usize, usize) {
    let position = files.position(place);
    (position.line, position.column)
}

#[test]
fn both_notations_give_the_same_values() {
    let toml = "a = 1\nb = [true, \"x\"]\n[c]\nd = \"é\"\n";
    let json = "{\"a\": 1, \"gone\": null,\n \"b\": [true, \"x\"], \"c\": {\"d\": \"\\u00e9\"}}";
    let (_, first) = tree("a.toml", toml);
    let (_, second) = tree("a.JSON", json);
    assert_eq!(first.unwrap().value.to_json(), second.unwrap().value.to_json());
}

#[test]
fn values_know_where_they_stand() {
    let (files, node) = tree("a.toml", "x = 1\n[[list]]\nid = \"é\"; \n");
    let errors = node.unwrap_err();
    assert_eq!(at(&files, errors[0].place.unwrap()).0, 3);

    let (files, node) = tree("a.toml", "x = 1\n[[list]]\n  id = 2\n");
    let node = node.unwrap();
    assert_eq!(at(&files, node.locate("list[0].id")), (3, 3));
    assert_eq!(at(&files, node.locate("list[0].other")).0, 2);
    assert_eq!(at(&files, node.locate("list[7]")), at(&files, node.locate("list")));

    let (files, node) = tree("a.json", "{\n \"list\": [\n  {\"id\": 2}]}");
    assert_eq!(at(&files, node.unwrap().locate("list[0].id")), (3, 10));
}

#[test]
fn damaged_json_is_located() {
    for (text, place) in [
        ("{\n \"a\": 1,\n \"a\": 2}", (3, 7)),
        ("{\n \"a\": }", (2, 7)),
        ("{\"a\": [1,\n2", (2, 1)),
        ("", (1, 1)),
        ("{\n \"a\": 1e999}", (2, 7)),
    ] {
        let (files, node) = tree("a.json", text);
        let errors = node.unwrap_err();
        assert_eq!(errors[0].code, "MV001");
        assert_eq!(at(&files, errors[0].place.unwrap()), place, "{text}");
    }
    let deep = "[".repeat(5000) + &"]".repeat(5000);
    assert!(tree("a.json", &deep).1.is_err());
}

#[test]
fn a_place_has_its_line_and_its_column_in_characters() {
    let text = "é = 1\n\nb = 2\n";
    let mut files = Files::default();
    let file = files.add("a.toml", text);
    let found = |offset| at(&files, Place { file, offset });
    for (offset, want) in
        [(0, (1, 1)), (2, (1, 2)), (6, (1, 6)), (7, (2, 1)), (8, (3, 1)), (10, (3, 3))]
    {
        assert_eq!(found(offset), want, "{offset}");
    }
    // Behind the end, and inside of a character.
    assert_eq!((found(14), found(999), found(1)), ((4, 1), (4, 1), (1, 1)));
}

#[test]
fn a_mark_in_front_is_no_text_and_a_broken_character_has_its_place() {
    let (files, node) = tree("a.toml", "\u{feff}a = 1\n");
    assert_eq!(at(&files, node.unwrap().locate("a")), (1, 1));
    assert!(tree("a.json", "\u{feff}{}").1.is_ok());
    let (files, node) = tree("a.json", "{ \"a\": é }");
    assert_eq!(at(&files, node.unwrap_err()[0].place.unwrap()), (1, 8));
}

#[test]
fn free_keys_may_have_points_and_brackets() {
    let text = "[s]\n\"a.b\" = 1\n\"a[0].b\" = 2\na = [{ c = 3 }]\n\"\" = 4\n";
    let (files, node) = tree("a.toml", text);
    let node = node.unwrap();
    for (path, line) in [("s.a.b", 2), ("s.a[0].b", 3), ("s.a[0].c", 4), ("s.a.x", 4), ("s.b", 1)] {
        assert_eq!(at(&files, node.locate(path)).0, line, "{path}");
    }
    assert_eq!((node.follow("s.a.b").1, node.follow("s.a.x").1), (true, false));
}

#[test]
fn large_numbers_and_dates_are_kept_apart() {
    let (_, node) = tree("a.toml", "a = 0xffff_ffff_ffff_ffff\nb = 1979-05-27\n");
    let node = node.unwrap();
    assert_eq!(node.get("a").unwrap().value.to_json().as_u64(), Some(u64::MAX));
    assert_eq!(node.get("b").unwrap().value, Value::Date("1979-05-27".to_owned()));
}
