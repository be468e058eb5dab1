// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TOML to a tree.

use plinth::config::toml::{DeTable, DeValue, Spanned};

use super::{Entry, Node, Place, Table, Value};
use crate::diag::Diagnostic;

/// Reads a text of the number `file`.
pub(crate) fn parse(text: &str, file: u32) -> Result<Node, Vec<Diagnostic>> {
    let at = |offset| place(file, offset);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Node { place: at(0), value: Value::Table(convert(table.into_inner(), file)) });
    }
    let diagnostic = |error: &plinth::config::toml::SyntaxError| {
        let start = error.span().unwrap_or_default().start;
        let message = error.message().trim().replace('\n', "; ");
        Diagnostic::error("MV001", "", message).at(at(start))
    };
    Err(errors.iter().map(diagnostic).collect())
}

fn place(file: u32, offset: usize) -> Place {
    Place { file, offset: u32::try_from(offset).unwrap_or(u32::MAX) }
}

fn convert(table: DeTable<'_>, file: u32) -> Table {
    let entry = |(key, node): (Spanned<_>, _)| {
        let at = place(file, key.span().start);
        let name: std::borrow::Cow<'_, str> = key.into_inner();
        (name.into_owned(), Entry { key: at, node: value(node, file) })
    };
    table.into_iter().map(entry).collect()
}

fn value(node: Spanned<DeValue<'_>>, file: u32) -> Node {
    let place = place(file, node.span().start);
    let value = match node.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Integer(number) => {
            let (text, radix) = (number.as_str(), number.radix());
            match (i64::from_str_radix(text, radix), u64::from_str_radix(text, radix)) {
                (Ok(number), _) => Value::Int(number),
                (_, Ok(number)) => Value::Other(number.to_string()),
                _ => Value::Other(text.to_owned()),
            }
        }
        DeValue::Float(number) => Value::Other(number.as_str().to_owned()),
        DeValue::Datetime(time) => Value::Date(time.to_string()),
        DeValue::Array(items) => {
            Value::List(items.into_iter().map(|item| value(item, file)).collect())
        }
        DeValue::Table(table) => Value::Table(convert(table, file)),
    };
    Node { place, value }
}
