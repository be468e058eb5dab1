// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loads TOML into a program's own types, and names the place of everything that is wrong.
//!
//! Owns the way from texts to a value: syntax, the merge of layers, and the collection of problems.
//! The files are found by [`super::layers`]; what a value means is checked by the program, which
//! reports problems of its own through [`Sources`]. Tables of several layers are merged key by key;
//! every other value, arrays included, replaces the one below.
//!
//! [`parse`] makes the value by serde: every table's type says `#[serde(deny_unknown_fields)]`,
//! which makes unknown keys errors, and a field whose place is needed later is a [`Spanned`].
//! [`read()`] hands out the merged tables instead, for programs that take them apart themselves and
//! so need no derived code.
//!
//! Positions work across files because every text has its own range in one numbering of bytes.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use serde_core::de::DeserializeOwned;
use toml::de::{DeArray, Deserializer};

use super::layers::{self, Layer, LayerError};
use crate::file::Root;

pub use toml::Spanned;
pub use toml::de::{DeInteger, DeTable, DeValue, Error as SyntaxError};

/// Problems that are reported at once; more help nobody.
pub const PROBLEMS_MAX: usize = 100;

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Line and column, both from one; the column in characters. `None` concerns the whole file.
    pub position: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    /// `path:line:column: message`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// All that is wrong with a configuration: at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    /// One line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}{problem}")?;
        }
        Ok(())
    }
}

impl Error for Problems {}

impl From<Vec<LayerError>> for Problems {
    /// Files that cannot be read: each concerns the whole file.
    fn from(errors: Vec<LayerError>) -> Self {
        let problem = |it: LayerError| Problem {
            message: it.source.to_string(),
            path: it.path,
            position: None,
        };
        Self(errors.into_iter().map(problem).collect())
    }
}

/// A value, and where its parts came from.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The value.
    pub value: T,
    /// The files it was made from.
    pub sources: Sources,
}

/// The texts that a configuration was made from.
#[derive(Clone, Debug, Default)]
pub struct Sources(Vec<Source>);

#[derive(Clone, Debug)]
struct Source {
    layer: Layer,
    /// Where this text begins in the numbering that all texts share.
    base: usize,
}

impl Sources {
    fn new(layers: Vec<Layer>) -> Self {
        let mut base = 0;
        let mut sources = Vec::new();
        for layer in layers {
            let len = layer.text.len() + 1; // the end of a text is a place too
            sources.push(Source { layer, base });
            base += len;
        }
        Self(sources)
    }

    /// The files, lowest first.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.iter().map(|source| &source.layer.path)
    }

    /// A problem at the place of a [`Spanned`] value.
    #[must_use]
    pub fn problem(&self, span: &Range<usize>, message: impl Into<String>) -> Problem {
        let message = message.into();
        match self.0.iter().rfind(|source| source.base <= span.start) {
            Some(source) => {
                let position = position(&source.layer.text, span.start - source.base);
                Problem { path: source.layer.path.clone(), position: Some(position), message }
            }
            None => Problem { path: PathBuf::new(), position: None, message },
        }
    }

    fn of_toml(&self, error: &toml::de::Error, base: usize) -> Problem {
        let span = error.span().unwrap_or_default();
        self.problem(
            &(span.start + base..span.end + base),
            error.message().trim().replace('\n', "; "),
        )
    }
}

/// Line and column of the byte at `offset`.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// Loads the configuration `name`, such as `plinth/guest.toml`, from all its files.
///
/// # Errors
/// Everything that is wrong with it: unreadable files, else syntax, else keys and values.
pub fn load<T: DeserializeOwned>(root: &Root, name: &str) -> Result<Loaded<T>, Problems> {
    let layers = layers::find(root, name).map_err(Problems::from)?;
    parse(layers)
}

/// Merges `layers`, lowest first, and makes a value from them.
///
/// # Errors
/// Everything that is wrong: syntax, else keys and values.
pub fn parse<T: DeserializeOwned>(layers: Vec<Layer>) -> Result<Loaded<T>, Problems> {
    read(layers, deserialize)
}

/// Merges `layers`, lowest first, and has `make` turn the tables into a value.
///
/// The places in the tables are those that [`Sources::problem`] understands; the outermost table's
/// own is the beginning, `0..0`.
///
/// # Errors
/// Everything that is wrong: syntax, else what `make` complains about.
pub fn read<T>(
    layers: Vec<Layer>,
    make: impl FnOnce(DeTable<'_>, &Sources) -> Result<T, Problems>,
) -> Result<Loaded<T>, Problems> {
    let sources = Sources::new(layers);
    let (mut merged, mut problems) = (DeTable::new(), Vec::new());
    for source in &sources.0 {
        let (table, errors) = DeTable::parse_recoverable(&source.layer.text);
        problems.extend(errors.iter().map(|error| sources.of_toml(error, source.base)));
        merge(&mut merged, table.into_inner(), source.base);
    }
    if !problems.is_empty() {
        problems.truncate(PROBLEMS_MAX);
        return Err(Problems(problems));
    }
    match make(merged, &sources) {
        Ok(value) => Ok(Loaded { value, sources }),
        Err(problems) => Err(problems),
    }
}

/// Lays `upper`, whose positions begin at `base`, over `lower`.
fn merge<'a>(lower: &mut DeTable<'a>, upper: DeTable<'a>, base: usize) {
    for (key, value) in upper {
        // The key goes too, since its position is that of the new value.
        let below = lower.remove_entry(&**key.get_ref()).map(|(_, below)| below.into_inner());
        let span = shift(value.span(), base);
        let value = match (below, value.into_inner()) {
            (Some(DeValue::Table(mut below)), DeValue::Table(above)) => {
                merge(&mut below, above, base);
                DeValue::Table(below)
            }
            (_, value) => rebase(value, base),
        };
        let key = Spanned::new(shift(key.span(), base), key.into_inner());
        lower.insert(key, Spanned::new(span, value));
    }
}

/// The same value with positions that begin at `base`.
fn rebase(value: DeValue<'_>, base: usize) -> DeValue<'_> {
    match value {
        DeValue::Table(table) => {
            let mut moved = DeTable::new();
            merge(&mut moved, table, base);
            DeValue::Table(moved)
        }
        DeValue::Array(array) => {
            let mut moved = DeArray::new();
            for item in array {
                let span = shift(item.span(), base);
                moved.push(Spanned::new(span, rebase(item.into_inner(), base)));
            }
            DeValue::Array(moved)
        }
        other => other,
    }
}

const fn shift(span: Range<usize>, base: usize) -> Range<usize> {
    span.start + base..span.end + base
}

/// Makes the value, or finds out all that prevents it: whatever is complained about is taken out,
/// and the rest tried again. A table that lost something may be refused for that alone; this is no
/// news, so that it goes without a word.
fn deserialize<T: DeserializeOwned>(
    mut table: DeTable<'_>,
    sources: &Sources,
) -> Result<T, Problems> {
    let mut problems = Vec::new();
    let mut damaged: Vec<Range<usize>> = Vec::new();
    loop {
        // The document itself has a position that nothing else has.
        let whole = Spanned::new(usize::MAX..usize::MAX, table.clone());
        let error = match T::deserialize(Deserializer::from(whole)) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => return Err(Problems(problems)),
            Err(error) => error,
        };
        let span = error.span();
        if !span.as_ref().is_some_and(|span| damaged.contains(span)) {
            problems.push(match &span {
                Some(span) if span.start != usize::MAX => sources.of_toml(&error, 0),
                _ => sources.problem(&(0..0), error.message().trim().replace('\n', "; ")),
            });
        }
        let removed = span.and_then(|span| remove(&mut table, &span, usize::MAX..usize::MAX));
        match removed {
            Some(parent) if problems.len() < PROBLEMS_MAX => damaged.push(parent),
            _ => return Err(Problems(problems)),
        }
    }
}

/// Takes out the entry or the element at `span`, which is that of its key or of its value, and
/// returns the span of what it was in. An array of tables has the span of its first table, so that
/// the innermost counts.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>, own: Range<usize>) -> Option<Range<usize>> {
    if let Some(parent) = table.iter_mut().find_map(|(_, value)| remove_inside(value, span)) {
        return Some(parent);
    }
    let mut at = table.iter().filter(|(key, value)| key.span() == *span || value.span() == *span);
    let key = at.next()?.0.get_ref().clone();
    table.remove(&*key).map(|_| own)
}

fn remove_inside(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<Range<usize>> {
    let own = value.span();
    match value.get_mut() {
        DeValue::Table(table) => remove(table, span, own),
        DeValue::Array(array) => {
            if let Some(parent) = array.iter_mut().find_map(|item| remove_inside(item, span)) {
                return Some(parent);
            }
            let old = std::mem::replace(array, DeArray::new());
            for item in old.iter().filter(|it| it.span() != *span) {
                array.push(item.clone());
            }
            (array.len() < old.len()).then_some(own)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
