// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads the INI dialect of the storage daemons: sections, repeated keys, continued lines.
//!
//! Owns the syntax only. What a section or a key means, and which of several assignments counts, is
//! left to the program. Every accepted entry knows its line, so that later complaints can name it.
//!
//! The dialect: `[Name]` opens a section, compared exactly, and repeated sections are one; the first
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
