// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Layers of a description, laid over each other.
//!
//! Tables merge key by key. Of other values the last one stands, with three exceptions that the
//! schema names: lists of words and lines of text are appended, and tables of a list merge with
//! those of the layer below that agree in their identifying keys. A list whose first element is
//! `"!reset"` forgets what is below.

use crate::schema::{Key, Kind};
use crate::source::{Entry, Node, Table, Value};

/// The element that forgets the layers below.
pub const RESET: &str = "!reset";

/// Lays `upper` over `lower`; both are held to `keys` already.
pub fn merge(lower: &mut Table, upper: Table, keys: &'static [Key]) {
    for (name, above) in upper {
        let kind = keys.iter().find(|key| key.name == name).map(|key| key.kind);
        let value = match lower.remove(&name) {
            Some(below) if below.node.value != Value::Wrong => {
                Node { place: above.node.place, value: join(below.node, above.node, kind) }
            }
            _ => fresh(above.node, kind),
        };
        lower.insert(name, Entry { key: above.key, node: value });
    }
}

/// A value with nothing below it.
fn fresh(node: Node, kind: Option<Kind>) -> Node {
    let nothing = match &node.value {
        Value::List(_) => Value::List(Vec::new()),
        Value::Table(_) => Value::Table(Table::new()),
        _ => return node,
    };
    let place = node.place;
    Node { place, value: join(Node { place, value: nothing }, node, kind) }
}

fn join(below: Node, above: Node, kind: Option<Kind>) -> Value {
    match (below.value, above.value, kind) {
        (Value::Table(mut lower), Value::Table(upper), Some(Kind::Table(keys))) => {
            merge(&mut lower, upper, keys);
            Value::Table(lower)
        }
        (Value::Table(mut lower), Value::Table(upper), Some(Kind::LinesByName)) => {
            for (name, above) in upper {
                let joined = match lower.remove(&name) {
                    Some(below) => lines(below.node.value, above.node.value),
                    None => above.node.value,
                };
                let node = Node { place: above.node.place, value: joined };
                lower.insert(name, Entry { key: above.key, node });
            }
            Value::Table(lower)
        }
        (Value::Table(lower), Value::Table(upper), Some(Kind::Any)) => any(lower, upper),
        (Value::Table(mut lower), Value::Table(upper), _) => {
            lower.extend(upper);
            Value::Table(lower)
        }
        (Value::List(lower), Value::List(upper), Some(Kind::Words)) => {
            let (mut all, upper) = kept(lower, upper);
            all.extend(upper);
            Value::List(all)
        }
        (Value::List(lower), Value::List(upper), Some(Kind::Tables(keys, identity))) => {
            let (mut all, upper) = kept(lower, upper);
            let below = all.len();
            for node in upper {
                place_table(&mut all, below, node, keys, identity);
            }
            Value::List(all)
        }
        (lower @ Value::Text(_), upper @ Value::Text(_), Some(Kind::Lines)) => lines(lower, upper),
        (_, above, _) => above,
    }
}

/// What is kept of the layer below, and the upper one without the word that forgets it.
fn kept(lower: Vec<Node>, mut upper: Vec<Node>) -> (Vec<Node>, Vec<Node>) {
    if upper.first().and_then(Node::text) == Some(RESET) {
        upper.remove(0);
        return (Vec::new(), upper);
    }
    (lower, upper)
}

/// Merges a table with the one of the layers below, the first `below` of `all`, that it agrees
/// with; or appends it. Two of one layer that agree are a mistake, which the rules find.
fn place_table(
    all: &mut Vec<Node>,
    below: usize,
    node: Node,
    keys: &'static [Key],
    identity: &'static [&'static str],
) {
    let same = |other: &Node| {
        !identity.is_empty()
            && identity.iter().all(|name| match (other.get(name), node.get(name)) {
                (Some(a), Some(b)) => a.value == b.value && a.value != Value::Wrong,
                _ => false,
            })
    };
    match (all.iter_mut().take(below).find(|other| same(other)), node) {
        (
            Some(Node { value: Value::Table(lower), place }),
            Node { value: Value::Table(upper), place: at },
        ) => {
            merge(lower, upper, keys);
            *place = at;
        }
        (_, node) => all.push(match node {
            Node { value: Value::Table(upper), place } => {
                let mut table = Table::new();
                merge(&mut table, upper, keys);
                Node { place, value: Value::Table(table) }
            }
            other => other,
        }),
    }
}

fn lines(below: Value, above: Value) -> Value {
    match (below, above) {
        (Value::Text(lower), Value::Text(upper)) if lower.ends_with('\n') => {
            Value::Text(lower + &upper)
        }
        (Value::Text(lower), Value::Text(upper)) => Value::Text(lower + "\n" + &upper),
        (_, above) => above,
    }
}

/// Tables that nobody here knows merge deeply; all else is replaced.
fn any(mut lower: Table, upper: Table) -> Value {
    for (name, above) in upper {
        let value = match (lower.remove(&name).map(|it| it.node.value), above.node.value) {
            (Some(Value::Table(below)), Value::Table(above)) => any(below, above),
            (_, above) => above,
        };
        let node = Node { place: above.node.place, value };
        lower.insert(name, Entry { key: above.key, node });
    }
    Value::Table(lower)
}
