// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rust sources as a reader of rules sees them: without comments, without the content of literals.
//!
//! Owns the small lexer. It knows the shapes that hide text (comments, strings, characters) and
//! nothing of the grammar; every newline stays, so that line numbers stay true.

/// `text` with comments and the content of string and character literals replaced by blanks.
#[must_use]
pub fn bare(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&first) = chars.get(at) {
        let end = hidden(&chars, at);
        if end > at {
            out.extend(chars.iter().take(end).skip(at).map(|&c| if c == '\n' { c } else { ' ' }));
            at = end;
            continue;
        }
        out.push(first);
        at += 1;
        if is_word(first) {
            while let Some(&next) = chars.get(at).filter(|&&c| is_word(c)) {
                // `r"` and `br#"` are prefixes of literals, not words.
                if hidden(&chars, at) > at && matches!(next, 'r') {
                    break;
                }
                out.push(next);
                at += 1;
            }
        }
    }
    out
}

/// `text` without comments, literals and the module of unit tests at its end.
#[must_use]
pub fn product(text: &str) -> String {
    let bare = bare(text);
    let tests = bare.match_indices("#[cfg(test)]\n").find(|(at, attribute)| {
        let next = bare.get(at + attribute.len()..).and_then(|rest| rest.lines().next());
        next.is_some_and(|line| has_word(line, "mod") && line.contains('{'))
    });
    match tests {
        Some((at, _)) => bare.get(..at).unwrap_or_default().to_owned(),
        None => bare,
    }
}

/// The files of the modules that `text`, the source at `path`, declares for tests only.
#[must_use]
pub fn test_modules(path: &str, text: &str) -> Vec<String> {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let home = match name {
        "mod.rs" | "lib.rs" | "main.rs" => directory.to_owned(),
        name => format!("{directory}/{}", name.trim_end_matches(".rs")),
    };
    let (mut found, mut lines) = (Vec::new(), text.lines());
    while let Some(line) = lines.next() {
        // Those that tests of other crates share have a feature besides.
        if !["#[cfg(test)]", "#[cfg(any(test, feature = \"testing\"))]"].contains(&line.trim()) {
            continue;
        }
        let mut renamed = None;
        for next in lines.by_ref() {
            if let Some(path) = next.trim().strip_prefix("#[path = \"") {
                renamed = Some(path.trim_end_matches("\"]").to_owned());
            } else if !next.trim().starts_with('#') {
                let module = next.trim_end_matches(';').rsplit(' ').next().unwrap_or_default();
                match renamed {
                    Some(path) => found.push(format!("{directory}/{path}")),
                    None if next.ends_with(';') => {
                        found.push(format!("{home}/{module}.rs"));
                        found.push(format!("{home}/{module}/mod.rs"));
                    }
                    None => {}
                }
                break;
            }
        }
    }
    found
}

/// Whether `word` stands in `text` with no letter, digit or underscore on either side.
#[must_use]
pub fn has_word(text: &str, word: &str) -> bool {
    count_word(text, word) > 0
}

/// How often `word` stands in `text` as a whole word.
#[must_use]
pub fn count_word(text: &str, word: &str) -> usize {
    text.match_indices(word)
        .filter(|&(at, _)| {
            let before = text.get(..at).and_then(|part| part.chars().next_back());
            let after = text.get(at + word.len()..).and_then(|part| part.chars().next());
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
        .count()
}

/// The names of all functions defined in `text`.
#[must_use]
pub fn functions(text: &str) -> Vec<String> {
    let bare = bare(text);
    bare.match_indices("fn ")
        .filter(|&(at, _)| {
            !bare.get(..at).and_then(|part| part.chars().next_back()).is_some_and(is_word)
        })
        .filter_map(|(at, _)| {
            let rest = bare.get(at + 3..)?.trim_start();
            let name: String = rest.chars().take_while(|&c| is_word(c)).collect();
            (!name.is_empty()).then_some(name)
        })
        .collect()
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins there.
fn hidden(chars: &[char], at: usize) -> usize {
    match (chars.get(at), chars.get(at + 1)) {
        (Some('/'), Some('/')) => find(chars, at, |c| c == '\n'),
        (Some('/'), Some('*')) => block_comment(chars, at),
        (Some('"'), _) => quoted(chars, at),
        (Some('r'), Some('"' | '#')) => raw(chars, at),
        (Some('\''), Some('\\')) => find(chars, at + 3, |c| c == '\'') + 1,
        (Some('\''), Some(_)) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

fn find(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    (from..chars.len())
        .find(|&at| chars.get(at).copied().is_some_and(&wanted))
        .unwrap_or(chars.len())
}

fn block_comment(chars: &[char], at: usize) -> usize {
    let (mut depth, mut end) = (0_usize, at);
    while end < chars.len() {
        match (chars.get(end), chars.get(end + 1)) {
            (Some('/'), Some('*')) => (depth, end) = (depth + 1, end + 2),
            (Some('*'), Some('/')) => (depth, end) = (depth - 1, end + 2),
            _ => end += 1,
        }
        if depth == 0 {
            break;
        }
    }
    end
}

fn quoted(chars: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(&c) = chars.get(end) {
        end += if c == '\\' { 2 } else { 1 };
        if c == '"' {
            break;
        }
    }
    end.min(chars.len())
}

/// A raw string; `at` when these characters are a raw identifier (`r#type`) instead.
fn raw(chars: &[char], at: usize) -> usize {
    let hashes = chars.iter().skip(at + 1).take_while(|&&c| c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let mut end = at + 2 + hashes;
    while end < chars.len() {
        let closing = chars.iter().skip(end + 1).take(hashes).filter(|&&c| c == '#').count();
        if chars.get(end) == Some(&'"') && closing == hashes {
            return end + 1 + hashes;
        }
        end += 1;
    }
    chars.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        for (source, left) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            ("f(\"x\\\"y\", 'z', '\\'', '\\n')", "f(      ,    ,     ,     )"),
            ("let r = r#\"unsafe \" x\"#;", "let r =                ;"),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("for r in ring {}", "for r in ring {}"),
            ("let s = \"a\nb\"; c", "let s =   \n  ; c"),
        ] {
            let got = bare(source);
            assert_eq!(
                got.split_whitespace().collect::<Vec<_>>(),
                left.split_whitespace().collect::<Vec<_>>(),
                "{source}"
            );
            assert_eq!(got.lines().count(), source.lines().count(), "{source}");
        }
    }

    #[test]
    fn words_are_found_whole_only() {
        assert!(has_word("use mio::Poll;", "mio"));
        assert!(!has_word("use promio::Poll; mio_x()", "mio"));
        assert_eq!(count_word("unsafe { unsafe_code } unsafe", "unsafe"), 2);
    }

    #[test]
    fn functions_are_listed_by_name() {
        let text =
            "pub fn one() {} // fn no()\nconst fn two<T>() {} let s = \"fn three()\"; pubfn x";
        assert_eq!(functions(text), ["one", "two"]);
    }

    #[test]
    fn unit_tests_at_the_end_are_no_product() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }";
        assert!(has_word(&product(text), "a"));
        assert!(!has_word(&product(text), "b"));
        assert!(!has_word(&product("#[cfg(test)]\npub(super) mod t {\n b }"), "b"));
        assert!(has_word(&product("#[cfg(test)]\nmod tests;\nfn c() {}"), "c"));
    }

    #[test]
    fn modules_for_tests_only_are_known() {
        let text = "mod a;\n#[cfg(test)]\nmod b;\n#[cfg(test)]\n#[path = \"c_tests.rs\"]\nmod c;";
        assert_eq!(
            test_modules("src/x/mod.rs", text),
            ["src/x/b.rs", "src/x/b/mod.rs", "src/x/c_tests.rs",]
        );
        assert_eq!(
            test_modules("src/x.rs", "#[cfg(test)]\nmod tests;"),
            ["src/x/tests.rs", "src/x/tests/mod.rs",]
        );
        let shared = "#[cfg(any(test, feature = \"testing\"))]\npub mod testing;";
        assert_eq!(test_modules("src/lib.rs", shared), ["src/testing.rs", "src/testing/mod.rs"]);
    }
}
