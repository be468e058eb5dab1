// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Changes single keys of an INI text and leaves everything else as it is.
//!
//! Owns the edit as a function from text to text: comments, order, blank lines and unknown lines
//! survive. Writing the file is left to the caller. The dialect is that of [`plinth::config::ini`].

/// Sets `key` in `section` to `value`, a single line. The last assignment of the key is replaced and
/// earlier ones are removed; without one, the key is added at the end of the section, and a missing
/// section at the end of the text.
#[must_use]
pub fn set(text: &str, section: &str, key: &str, value: &str) -> String {
    let value = value.replace(['\r', '\n'], " ");
    let assignment = format!("{key} = {}", value.trim());
    let mut lines = lines(text);
    let found = assignments(&lines, section, key);
    if let Some((last, earlier)) = found.split_last() {
        let ending = ending(&lines, last.start);
        lines.splice(last.clone(), [format!("{assignment}{ending}")]);
        for range in earlier.iter().rev() {
            lines.drain(range.clone());
        }
        return lines.concat();
    }
    let ending = ending(&lines, 0);
    end_last_line(&mut lines, ending);
    match end_of_section(&lines, section) {
        Some(at) => lines.insert(at, format!("{assignment}{ending}")),
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
