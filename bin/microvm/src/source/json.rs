// SPDX-License-Identifier: Apache-2.0 OR MIT
//! JSON to a tree.
//!
//! Values are taken as pieces of the text first, so that each knows where it stood; keys do not,
//! and stand where their values do.

use serde::Deserializer as _;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Entry, Node, Place, Table, Value};
use crate::diag::Diagnostic;

/// How deep values may nest; the parser's own limit.
const DEPTH_MAX: u32 = 100;

pub(super) fn parse(text: &str, file: u32) -> Result<Node, Box<Diagnostic>> {
    let reader = Reader { text, file };
    let raw: &RawValue = serde_json::from_str(text)
        .map_err(|error| reader.problem(&error, Place { file, offset: 0 }))?;
    Ok(reader.node(raw, 0)?.unwrap_or(Node { place: Place { file, offset: 0 }, ..Node::default() }))
}

struct Reader<'a> {
    text: &'a str,
    file: u32,
}

impl<'a> Reader<'a> {
    fn place(&self, raw: &RawValue) -> Place {
        // A raw value borrows from the text, so that the distance is its offset.
        let offset = raw.get().as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        Place { file: self.file, offset: u32::try_from(offset).unwrap_or(u32::MAX) }
    }

    /// A diagnostic for what the parser says about the text that begins at `base`.
    fn problem(&self, error: &serde_json::Error, base: Place) -> Box<Diagnostic> {
        let start = usize::try_from(base.offset).unwrap_or(usize::MAX);
        let from = self.text.get(start..).unwrap_or_default();
        let lines = from.split_inclusive('\n').take(error.line().saturating_sub(1));
        let offset = start + lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
        let text = error.to_string();
        let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        Box::new(Diagnostic::error("MV001", "", message).at(Place { offset, ..base }))
    }

    /// The value; `None` for `null`.
    fn node(&self, raw: &'a RawValue, depth: u32) -> Result<Option<Node>, Box<Diagnostic>> {
        let place = self.place(raw);
        let text = raw.get();
        let problem = |error| self.problem(&error, place);
        if depth > DEPTH_MAX {
            let problem = Diagnostic::error("MV001", "", "nested too deeply");
            return Err(Box::new(problem.at(place)));
        }
        let value = match text.as_bytes().first() {
            None | Some(b'n') => return Ok(None),
            Some(b't') => Value::Bool(true),
            Some(b'f') => Value::Bool(false),
            Some(b'"') => Value::Text(serde_json::from_str(text).map_err(problem)?),
            Some(b'[') => {
                let mut parser = serde_json::Deserializer::from_str(text);
                let items = parser.deserialize_seq(Items).map_err(problem)?;
                let nodes = items.into_iter().map(|item| self.node(item, depth + 1));
                Value::List(nodes.filter_map(Result::transpose).collect::<Result<_, _>>()?)
            }
            Some(b'{') => {
                let mut parser = serde_json::Deserializer::from_str(text);
                let members = parser.deserialize_map(Members).map_err(problem)?;
                self.table(members, depth)?
            }
            Some(_) => match text.parse::<i64>() {
                Ok(number) => Value::Int(number),
                Err(_) => {
                    if serde_json::from_str::<f64>(text).is_err() {
                        let problem = Diagnostic::error("MV001", "", "number out of range");
                        return Err(Box::new(problem.at(place)));
                    }
                    Value::Other(text.to_owned())
                }
            },
        };
        Ok(Some(Node { place, value }))
    }

    fn table(
        &self,
        members: Vec<(String, &'a RawValue)>,
        depth: u32,
    ) -> Result<Value, Box<Diagnostic>> {
        let mut table = Table::new();
        for (name, raw) in members {
            let Some(node) = self.node(raw, depth + 1)? else { continue };
            let place = node.place;
            if table.contains_key(&name) {
                let text = format!("duplicate key {name:?}");
                return Err(Box::new(Diagnostic::error("MV001", "", text).at(place)));
            }
            table.insert(name, Entry { key: place, node });
        }
        Ok(Value::Table(table))
    }
}

struct Items;

impl<'de> Visitor<'de> for Items {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(items)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}
