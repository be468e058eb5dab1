// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Changes single keys of an INI text and leaves everything else as it is.
//!
//! Owns the edit as a function from text to text: comments, order, blank lines and unknown lines
//! survive. Writing the file is left to the caller. The dialect is that of [`plinth::config::ini`].

/// Sets `key` in `section` to `value`, a single line. The last assignment of the key is replaced
/// and earlier ones are removed; without one, the key is added at the end of the section, and a
/// missing section at the end of the text.
#[must_use]
pub fn set(text: &str, section: &str, key: &str, value: &str) -> String {
    let value = value.replace(['\r', '\n'], " ");
    let assignment = format!("{key} = {}", value.trim());
    let mut lines = lines(text);
    let found = assignments(&lines, section, key);
    if let Some((last, earlier)) = found.split_last() {
        let (margin, ending) = (margin(&lines, last.start), ending(&lines, last.start));
        lines.splice(last.clone(), [format!("{margin}{assignment}{ending}")]);
        for range in earlier.iter().rev() {
            lines.drain(range.clone());
        }
        return lines.concat();
    }
    let ending = ending(&lines, 0);
    end_last_line(&mut lines, ending);
    match end_of_section(&lines, section) {
        Some(at) => {
            // As deep as the next line that counts, which would else continue the new one.
            let next = (at..lines.len()).find(|&next| !says_nothing(&lines, next));
            let margin = next.map(|next| margin(&lines, next)).unwrap_or_default();
            lines.insert(at, format!("{margin}{assignment}{ending}"));
        }
        None => {
            if lines.last().is_some_and(|line| !line.trim().is_empty()) {
                lines.push(ending.to_owned());
            }
            lines.push(format!("[{section}]{ending}{assignment}{ending}"));
        }
    }
    lines.concat()
}

/// Removes every assignment of `key` in `section`.
#[must_use]
pub fn unset(text: &str, section: &str, key: &str) -> String {
    let mut lines = lines(text);
    for range in assignments(&lines, section, key).iter().rev() {
        lines.drain(range.clone());
    }
    lines.concat()
}

/// The lines of a text with their ends.
fn lines(text: &str) -> Vec<String> {
    text.split_inclusive('\n').map(str::to_owned).collect()
}

/// The line end in use at a line: that of the line itself, else a plain one.
fn ending(lines: &[String], at: usize) -> &'static str {
    if lines.get(at).is_some_and(|line| line.ends_with("\r\n")) { "\r\n" } else { "\n" }
}

/// The blanks that a line begins with.
fn margin(lines: &[String], at: usize) -> String {
    let line = lines.get(at).map_or("", String::as_str);
    line.chars().take_while(|c| c.is_whitespace()).collect()
}

fn says_nothing(lines: &[String], at: usize) -> bool {
    lines.get(at).is_none_or(|line| matches!(classify(line, None), Line::Nothing))
}

fn end_last_line(lines: &mut [String], ending: &str) {
    if let Some(last) = lines.last_mut().filter(|last| !last.ends_with('\n')) {
        last.push_str(ending);
    }
}

/// What a line is to the reader of the dialect.
enum Line<'a> {
    Header(&'a str),
    Key { indent: usize, name: String },
    Continued,
    Nothing,
}

/// Classifies one line after a key at indentation `of_key`.
fn classify(line: &str, of_key: Option<usize>) -> Line<'_> {
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    let content = line.trim();
    let indent = line.chars().take_while(|c| c.is_whitespace()).count();
    if content.is_empty() || content.starts_with(['#', ';']) {
        Line::Nothing
    } else if of_key.is_some_and(|of_key| indent > of_key) {
        Line::Continued
    } else if let Some((name, _)) = content.strip_prefix('[').and_then(|rest| rest.rsplit_once(']'))
    {
        Line::Header(name)
    } else {
        let name = content.split_once('=').map_or(content, |(key, _)| key);
        Line::Key { indent, name: name.trim().to_lowercase() }
    }
}

/// The lines of each assignment of `key` in `section`, with its continued lines; comments that
/// follow stay outside.
fn assignments(lines: &[String], section: &str, key: &str) -> Vec<std::ops::Range<usize>> {
    let (mut found, mut inside, mut of_key) = (Vec::new(), false, None);
    let mut open = false;
    for (at, line) in lines.iter().enumerate() {
        match classify(line, of_key) {
            Line::Header(name) => {
                (inside, of_key, open) = (name == section, None, false);
            }
            Line::Key { indent, name } => {
                of_key = Some(indent);
                open = inside && name == key;
                if open {
                    found.push(at..at + 1);
                }
            }
            Line::Continued if open => {
                if let Some(last) = found.last_mut() {
                    last.end = at + 1;
                }
            }
            Line::Continued | Line::Nothing => {}
        }
    }
    found
}

/// Where a key is added: after the last header, key or continued line of the section.
fn end_of_section(lines: &[String], section: &str) -> Option<usize> {
    let (mut end, mut inside, mut of_key) = (None, false, None);
    for (at, line) in lines.iter().enumerate() {
        match classify(line, of_key) {
            Line::Nothing => continue,
            Line::Header(name) => (inside, of_key) = (name == section, None),
            Line::Key { indent, .. } => of_key = Some(indent),
            Line::Continued => {}
        }
        if inside {
            end = Some(at + 1);
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use plinth::config::ini::Ini;
    use proptest::prelude::*;

    use super::*;

    const TEMPLATE: &str = "# Our host\n[Host]\n# Its name:\nnqn=file:///etc/nvme/hostnqn\n\n\
                            ; and number\nid=file:///etc/nvme/hostid # no comment\n#symname=\n\n\
                            [Other]\nnqn=untouched\nodd line\n";

    // R031
    #[test]
    fn a_value_is_replaced_in_place() {
        assert_eq!(
            set(TEMPLATE, "Host", "nqn", "nqn.new"),
            TEMPLATE.replace("nqn=file:///etc/nvme/hostnqn", "nqn = nqn.new")
        );
        assert_eq!(
            set(TEMPLATE, "Host", "id", "1"),
            TEMPLATE.replace("id=file:///etc/nvme/hostid # no comment", "id = 1")
        );
    }

    // R031
    #[test]
    fn a_missing_key_is_added_to_its_section() {
        let after = "id=file:///etc/nvme/hostid # no comment\n";
        assert_eq!(
            set(TEMPLATE, "Host", "symname", "me"),
            TEMPLATE.replace(after, &format!("{after}symname = me\n"))
        );
        assert_eq!(set(TEMPLATE, "Other", "x", "1"), format!("{TEMPLATE}x = 1\n"));
        assert_eq!(set("[Host]", "Host", "x", "1"), "[Host]\nx = 1\n");
    }

    // R031
    #[test]
    fn a_missing_section_is_added_at_the_end() {
        for (text, expected) in [
            ("", "[Host]\nid = 1\n"),
            ("# only a comment", "# only a comment\n\n[Host]\nid = 1\n"),
            ("[A]\nk=v\n\n", "[A]\nk=v\n\n[Host]\nid = 1\n"),
            ("[host]\nid=2\n", "[host]\nid=2\n\n[Host]\nid = 1\n"),
        ] {
            assert_eq!(set(text, "Host", "id", "1"), expected);
        }
    }

    // R031
    #[test]
    fn repeated_and_continued_assignments_become_one() {
        let text = "[Host]\nID=1\nx=2\nid=3\n  4\n\n  # between\n  5\ny=6\n[B]\n[Host]\nz=7\n";
        assert_eq!(set(text, "Host", "id", "9"), "[Host]\nx=2\nid = 9\ny=6\n[B]\n[Host]\nz=7\n");
        assert_eq!(unset(text, "Host", "id"), "[Host]\nx=2\ny=6\n[B]\n[Host]\nz=7\n");
        let added = set(text, "Host", "w", "8");
        assert_eq!(added, format!("{text}w = 8\n"));
    }

    // R029
    #[test]
    fn only_the_option_is_cleared() {
        let text = "[Host]\nsymname = a\n# kept\nnqn=b\n";
        assert_eq!(unset(text, "Host", "symname"), "[Host]\n# kept\nnqn=b\n");
        assert_eq!(unset(TEMPLATE, "Host", "symname"), TEMPLATE);
        assert_eq!(unset("", "Host", "symname"), "");
    }

    // R031
    #[test]
    fn indented_neighbours_do_not_become_part_of_the_value() {
        for (text, expected) in [
            ("[Host]\n  id=1\n  nqn=2\n", "[Host]\n  id = 9\n  nqn=2\n"),
            ("[Host]\n  [B]\n", "[Host]\n  id = 9\n  [B]\n"),
            ("[Host]\n  nqn=2\n  # end\n [B]\n", "[Host]\n  nqn=2\n id = 9\n  # end\n [B]\n"),
        ] {
            assert_eq!(set(text, "Host", "id", "9"), expected);
        }
    }

    // R031
    #[test]
    fn line_ends_stay_as_they_are() {
        let text = "[Host]\r\nid=1\r\n";
        assert_eq!(set(text, "Host", "id", "2"), "[Host]\r\nid = 2\r\n");
        assert_eq!(set(text, "Host", "nqn", "x"), "[Host]\r\nid=1\r\nnqn = x\r\n");
        assert_eq!(set("[Host]\nid=1", "Host", "id", "2"), "[Host]\nid = 2\n");
    }

    // R031
    #[test]
    fn a_value_stays_on_its_line() {
        assert_eq!(
            set("[Host]\n", "Host", "symname", " a\n[B]\r\nc "),
            "[Host]\nsymname = a [B]  c\n"
        );
    }

    /// The value that a reader of the text sees.
    fn value(text: &str, key: &str) -> Option<String> {
        let ini = Ini::parse(text).expect("still INI");
        let mut entries = ini.entries.into_iter().rev();
        let last = entries.find(|entry| entry.section == "Host" && entry.key == key);
        last.and_then(|entry| entry.value)
    }

    proptest! {
        // R031
        #[test]
        fn an_edit_is_what_a_reader_sees(
            body in "((  |\t)?(id|nqn|\\[Host\\]|\\[B\\]|#c|;|x)?( ?= ?[a-z]{0,3})?\r?\n){0,12}",
            new in "[a-z0-9]{1,6}",
        ) {
            let text = format!("[B]\n{body}");
            prop_assume!(Ini::parse(&text).is_ok());
            let nqn = value(&text, "nqn");
            let edited = set(&text, "Host", "id", &new);
            prop_assert_eq!(value(&edited, "id"), Some(new.clone()), "{}", edited);
            prop_assert_eq!(value(&edited, "nqn"), nqn.clone(), "{}", edited);
            prop_assert_eq!(&set(&edited, "Host", "id", &new), &edited);
            let cleared = unset(&edited, "Host", "id");
            prop_assert_eq!(value(&cleared, "id"), None, "{}", cleared);
            prop_assert_eq!(value(&cleared, "nqn"), nqn, "{}", cleared);
        }
    }
}
