// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads the INI dialect of the storage daemons: sections, repeated keys, continued lines.
//!
//! Owns the syntax only. What a section or a key means, and which of several assignments counts, is
//! left to the program. Every accepted entry knows its line, so that later complaints can name it.
//!
//! The dialect: `[Name]` opens a section, compared exactly, and repeated sections are one; the
//! first
//! `=` of a line separates key from value; blanks around both are dropped; keys are lower-cased; a
//! line that begins with `#` or `;` is a comment, and there are no other comments; a line indented
//! deeper than its key continues the value. Values are never interpreted.

use std::fmt;

/// A file as read: its sections and entries, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ini {
    /// Every assignment, in the order of the file.
    pub entries: Vec<Entry>,
    /// Every section header with its line, empty and repeated sections included.
    pub sections: Vec<(String, u32)>,
}

/// One assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The section, as spelled.
    pub section: String,
    /// The key in lower case; empty when the line begins with `=`.
    pub key: String,
    /// The value; lines of a continued value are joined by newlines. `None` without `=`.
    pub value: Option<String>,
    /// The line of the key, from 1.
    pub line: u32,
    /// The line of each further line of the value.
    continued: Vec<u32>,
}

impl Entry {
    /// The lines of the value that are not empty, each with its line number.
    pub fn lines(&self) -> impl Iterator<Item = (u32, &str)> {
        let numbers = std::iter::once(self.line).chain(self.continued.iter().copied());
        let texts = self.value.as_deref().unwrap_or_default().split('\n');
        numbers.zip(texts).filter(|(_, text)| !text.is_empty())
    }
}

/// Why a text is not INI at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IniError {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong with it.
    pub reason: IniReason,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IniReason {
    /// Something other than a comment stands before the first section.
    OutsideSection,
    /// A section header has no closing bracket, or no name.
    Header,
    /// The line contains a NUL character: this is no text file.
    Nul,
}

impl fmt::Display for IniReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutsideSection => "text before the first section",
            Self::Header => "section header without a name or a closing bracket",
            Self::Nul => "NUL character in a text file",
        })
    }
}

impl fmt::Display for IniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for IniError {}

impl Ini {
    /// Reads a whole text. A byte order mark and CRLF line ends are accepted.
    ///
    /// # Errors
    /// The first line that makes the rest of the text doubtful: see [`IniReason`].
    pub fn parse(text: &str) -> Result<Self, IniError> {
        let mut ini = Self::default();
        let mut indent_of_key = None;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, raw) in (1..).zip(text.split('\n')) {
            let fail = |reason| Err(IniError { line, reason });
            if raw.contains('\0') {
                return fail(IniReason::Nul);
            }
            let (indent, content) = (indent(raw), raw.trim());
            if content.is_empty() || content.starts_with(['#', ';']) {
                continue;
            }
            if indent_of_key.is_some_and(|of_key| indent > of_key) {
                ini.continue_last(line, content);
            } else if content.starts_with('[') {
                let Some(name) = header(content) else { return fail(IniReason::Header) };
                ini.sections.push((name.to_owned(), line));
                indent_of_key = None;
            } else if let Some((section, _)) = ini.sections.last() {
                let entry = entry(section, line, content);
                ini.entries.push(entry);
                indent_of_key = Some(indent);
            } else {
                return fail(IniReason::OutsideSection);
            }
        }
        Ok(ini)
    }

    fn continue_last(&mut self, line: u32, content: &str) {
        let Some(last) = self.entries.last_mut() else { return };
        let value = last.value.get_or_insert_with(String::new);
        value.push('\n');
        value.push_str(content);
        last.continued.push(line);
    }
}

fn indent(raw: &str) -> usize {
    raw.chars().take_while(|c| c.is_whitespace()).count()
}

/// The name in `[name]`, up to the last bracket; what follows it is ignored.
fn header(content: &str) -> Option<&str> {
    let inside = content.strip_prefix('[')?;
    let (name, _) = inside.rsplit_once(']')?;
    (!name.is_empty()).then_some(name)
}

fn entry(section: &str, line: u32, content: &str) -> Entry {
    let (key, value) = match content.split_once('=') {
        Some((key, value)) => (key.trim(), Some(value.trim().to_owned())),
        None => (content, None),
    };
    Entry {
        section: section.to_owned(),
        key: key.to_lowercase(),
        value,
        line,
        continued: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Section, key, value and line of every entry.
    fn entries(text: &str) -> Vec<(String, String, Option<String>, u32)> {
        let ini = Ini::parse(text).expect("the text is INI");
        ini.entries.into_iter().map(|e| (e.section, e.key, e.value, e.line)).collect()
    }

    fn entry(
        section: &str,
        key: &str,
        value: &str,
        line: u32,
    ) -> (String, String, Option<String>, u32) {
        (section.to_owned(), key.to_owned(), Some(value.to_owned()), line)
    }

    // R034
    #[test]
    fn keys_and_values_are_split_at_the_first_equals_sign() {
        let text = "[A]\nKey = a = b\n\tTwo=x\t \nempty=\nlone\n=nameless\n";
        assert_eq!(entries(text)[..1], [entry("A", "key", "a = b\nTwo=x", 2)]);
        let ini = Ini::parse(text).expect("the text is INI");
        let keys: Vec<(&str, Option<&str>)> =
            ini.entries.iter().map(|e| (e.key.as_str(), e.value.as_deref())).collect();
        assert_eq!(
            keys,
            [
                ("key", Some("a = b\nTwo=x")),
                ("empty", Some("")),
                ("lone", None),
                ("", Some("nameless"))
            ]
        );
    }

    // R034
    #[test]
    fn sections_merge_and_repeated_keys_keep_their_order() {
        let text = "[A]\nk=1\n[B]\nk=2\n[A]\nk=3\nk=4\n";
        assert_eq!(
            entries(text),
            [
                entry("A", "k", "1", 2),
                entry("B", "k", "2", 4),
                entry("A", "k", "3", 6),
                entry("A", "k", "4", 7)
            ]
        );
        let ini = Ini::parse(text).expect("the text is INI");
        let names: Vec<&str> = ini.sections.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["A", "B", "A"]);
    }

    // R034
    #[test]
    fn names_of_sections_are_taken_literally() {
        let ini = Ini::parse("[ I/O stuff ]\n[a]b]  trailing\n").expect("the text is INI");
        assert_eq!(ini.sections, [(" I/O stuff ".to_owned(), 1), ("a]b".to_owned(), 2)]);
    }

    // R034, R038
    #[test]
    fn only_whole_lines_are_comments() {
        let text = "# before\n; too\n[A]\n  # indented\nk=v # not a comment\n;k=w\n";
        assert_eq!(entries(text), [entry("A", "k", "v # not a comment", 5)]);
    }

    // R034
    #[test]
    fn deeper_indented_lines_continue_a_value() {
        let text = "[A]\nlist=one\n  two\n\n  # between\n\tthree\nnext=1\n";
        let ini = Ini::parse(text).expect("the text is INI");
        let lines: Vec<(u32, &str)> = ini.entries[0].lines().collect();
        assert_eq!(lines, [(2, "one"), (3, "two"), (6, "three")]);
        assert_eq!(ini.entries[1].key, "next");
        let from_header = Ini::parse("[A]\n  a=1\n  b=2\n").expect("the text is INI");
        assert_eq!(from_header.entries.len(), 2, "equally indented keys are keys");
        let valueless = Ini::parse("[A]\nlist=\n  one\nflag\n  two\n").expect("the text is INI");
        let all: Vec<(u32, &str)> = valueless.entries.iter().flat_map(Entry::lines).collect();
        assert_eq!(all, [(3, "one"), (5, "two")]);
    }

    // R034
    #[test]
    fn carriage_returns_byte_order_mark_and_tabs_do_not_matter() {
        let plain = "[A]\nk=v\nl=w\n";
        for odd in ["[A]\r\nk=v\r\nl=w\r\n", "\u{feff}[A]\nk\t=\tv\nl =w", "[A]\n\nk= v \nl=w\n"] {
            let strip = |text: &str| -> Vec<(String, Option<String>)> {
                entries(text).into_iter().map(|(_, key, value, _)| (key, value)).collect()
            };
            assert_eq!(strip(odd), strip(plain), "{odd:?}");
        }
    }

    // R037
    #[test]
    fn what_is_no_ini_is_refused_with_its_line() {
        for (text, line, reason) in [
            ("k=v\n[A]\n", 1, IniReason::OutsideSection),
            ("# fine\n\ngarbage\n", 3, IniReason::OutsideSection),
            ("[A]\nk=v\n[B\n", 3, IniReason::Header),
            ("[]\n", 1, IniReason::Header),
            ("[A]\nk=\0\n", 2, IniReason::Nul),
        ] {
            assert_eq!(Ini::parse(text), Err(IniError { line, reason }), "{text:?}");
        }
        let error = Ini::parse("x").expect_err("no section");
        assert_eq!(error.to_string(), "line 1: text before the first section");
    }

    #[test]
    fn an_empty_text_has_no_entries() {
        for text in ["", "\n\n", "# only a comment"] {
            assert_eq!(Ini::parse(text), Ok(Ini::default()));
        }
    }

    proptest! {
        // R034
        #[test]
        fn no_text_makes_the_reader_panic(text in any::<String>()) {
            let _ = Ini::parse(&text).is_ok();
        }

        #[test]
        fn entries_of_doubtful_text_keep_their_lines(
            body in "([ \t]{0,2}[a=#;\\[\\]\r\n! ]{0,8}\n){0,12}",
        ) {
            let text = format!("[S]\n{body}");
            if let Ok(ini) = Ini::parse(&text) {
                let lines: Vec<&str> = text.split('\n').collect();
                for entry in &ini.entries {
                    for (number, content) in entry.lines() {
                        let raw = lines[usize::try_from(number).expect("small") - 1];
                        prop_assert!(raw.contains(content), "{raw:?} {content:?}");
                    }
                    prop_assert_eq!(entry.key.trim(), &entry.key);
                }
            }
        }

        #[test]
        fn assignments_come_back_as_written(
            key in "[a-z][a-z-]{0,8}",
            value in "[!-~]([ -~]{0,12}[!-~])?",
        ) {
            let text = format!("[S]\n{key} = {value}\n");
            let ini = Ini::parse(&text).expect("the text is INI");
            prop_assert_eq!(&ini.entries[0].key, &key);
            prop_assert_eq!(ini.entries[0].value.as_deref(), Some(value.as_str()));
        }
    }
}
