// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptions as trees of values that know where they stand.
//!
//! Owns the tree, the texts it came from, and the two notations, TOML and JSON. What keys mean is
//! the schema's. A `null` of JSON is an absent key, as an unset option is.

mod json;
mod toml;

use std::collections::BTreeMap;
use std::path::Path;

use crate::diag::Diagnostic;

pub(crate) use toml::parse as parse_toml;

/// The most bytes of one description; a fleet of ten thousand machines has less.
pub const TEXT_MAX: usize = 8 << 20;

/// A byte of a text. Ordered by file, then by offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The number of the text in [`Files`].
    pub file: u32,
    /// The offset; texts are smaller than 4 GiB.
    pub offset: u32,
}

/// A place as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file as it was named.
    pub path: String,
    /// From one.
    pub line: usize,
    /// From one, in characters.
    pub column: usize,
}

/// A text that a description was read from.
#[derive(Clone, Debug)]
struct File {
    path: String,
    text: String,
    /// Where its lines begin.
    lines: Vec<usize>,
}

/// The texts that descriptions were read from.
#[derive(Clone, Debug, Default)]
pub struct Files(Vec<File>);

impl Files {
    /// Adds a text, and gives its number.
    pub fn add(&mut self, path: impl Into<String>, text: impl Into<String>) -> u32 {
        let (path, mut text) = (path.into(), text.into());
        // A mark of the byte order in front is no part of the text.
        if text.starts_with('\u{feff}') {
            text = text.split_off('\u{feff}'.len_utf8());
        }
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(ends).collect();
        self.0.push(File { path, text, lines });
        u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX)
    }

    /// How many texts there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The name of the text with this number.
    #[must_use]
    pub fn path(&self, file: u32) -> &str {
        self.get(file).map_or("", |file| &file.path)
    }

    fn get(&self, file: u32) -> Option<&File> {
        self.0.get(usize::try_from(file).ok()?)
    }

    /// Line and column of a place.
    #[must_use]
    pub fn position(&self, place: Place) -> Position {
        let Some(File { path, text, lines }) = self.get(place.file) else {
            return Position { path: String::new(), line: 1, column: 1 };
        };
        let mut offset = usize::try_from(place.offset).unwrap_or(usize::MAX).min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = lines.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|at| lines.get(at)).copied().unwrap_or(0);
        let column = text.get(start..offset).unwrap_or_default().chars().count() + 1;
        Position { path: path.clone(), line, column }
    }

    /// Reads the text with this number: JSON if its name ends so, TOML otherwise.
    ///
    /// # Errors
    /// MV001, with what the parser says.
    pub fn parse(&self, file: u32) -> Result<Node, Vec<Diagnostic>> {
        let Some(File { path, text, .. }) = self.get(file) else { return Ok(Node::default()) };
        if Path::new(path).extension().is_some_and(|it| it.eq_ignore_ascii_case("json")) {
            json::parse(text, file).map_err(|error| vec![*error])
        } else {
            toml::parse(text, file)
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Where.
    pub place: Place,
    /// What.
    pub value: Value,
}

/// A table: values by their keys.
pub type Table = BTreeMap<String, Entry>;

/// A value in a table, and where its key stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// Where the key stands.
    pub key: Place,
    /// What it is set to.
    pub node: Node,
}

/// What a description is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a point, or too large.
    Other(String),
    /// A date or a time.
    Date(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(Table),
    /// What was found wrong, and is judged no further.
    Wrong,
}

impl Default for Value {
    fn default() -> Self {
        Self::Table(Table::new())
    }
}

impl Value {
    /// What it is, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Bool(value) => format!("boolean {value}"),
            Self::Int(value) => format!("integer {value}"),
            Self::Other(text) => format!("number {text}"),
            Self::Date(text) => format!("date or time {text}"),
            Self::Text(text) => format!("string {text:?}"),
            Self::List(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::Wrong => "what is wrong".to_owned(),
        }
    }

    /// The same as JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::Other(text) => match text.parse::<u64>() {
                Ok(number) => Json::from(number),
                Err(_) => text.parse::<f64>().map_or(Json::Null, Json::from),
            },
            Self::Date(_) | Self::Wrong => Json::Null,
            Self::Text(text) => Json::String(text.clone()),
            Self::List(items) => items.iter().map(|item| item.value.to_json()).collect(),
            Self::Table(table) => {
                let pairs = table.iter().map(|(key, it)| (key.clone(), it.node.value.to_json()));
                Json::Object(pairs.collect())
            }
        }
    }
}

impl Node {
    /// The table, if it is one.
    #[must_use]
    pub const fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a key of a table.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.table()?.get(key).map(|entry| &entry.node)
    }

    /// Where the option `path`, such as `interfaces[0].tap.bridge`, stands; where it is absent,
    /// the innermost table around it.
    #[must_use]
    pub fn locate(&self, path: &str) -> Place {
        self.follow(path).0.unwrap_or(self.place)
    }

    /// Follows the path of an option: where its last step that is there stands, and whether that
    /// is the whole path.
    #[must_use]
    pub fn follow(&self, path: &str) -> (Option<Place>, bool) {
        let (mut at, mut place, mut rest) = (self, None, path);
        while !rest.is_empty() {
            let step = at.table().and_then(|table| step(table, rest));
            let Some((entry, indices, behind)) = step else { return (place, false) };
            (at, place, rest) = (&entry.node, Some(entry.key), behind);
            for index in indices.split(['[', ']']).filter_map(|it| it.parse::<usize>().ok()) {
                let Value::List(items) = &at.value else { return (place, false) };
                let Some(item) = items.get(index) else { return (place, false) };
                (at, place) = (item, Some(item.place));
            }
        }
        (place, true)
    }
}

/// The first step of a path: the entry, the indices of its elements, and what is behind. A free
/// key can have points and brackets of its own, so that the longest one counts.
fn step<'a, 'b>(table: &'a Table, path: &'b str) -> Option<(&'a Entry, &'b str, &'b str)> {
    let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
    let ends: Vec<usize> = ends.collect();
    ends.into_iter().rev().find_map(|end| {
        let (piece, behind) = path.split_at_checked(end)?;
        let behind = behind.strip_prefix('.').unwrap_or(behind);
        if let Some(entry) = table.get(piece) {
            return Some((entry, "", behind));
        }
        let (name, indices) = piece.split_once('[')?;
        let is_index = |byte: u8| byte.is_ascii_digit() || b"[]".contains(&byte);
        let entry = table.get(name).filter(|_| indices.bytes().all(is_index))?;
        Some((entry, indices, behind))
    })
}

#[cfg(test)]
mod tests;
