// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Holds one layer of a description to the table of keys.
//!
//! Owns what can be said of a value without looking at another one: unknown keys, wrong types,
//! words outside a choice, control characters. It also brings values to one form, so that layers
//! can be merged: sizes become numbers of MiB, and paths that are taken from the directory of the
//! description become absolute. Keys that must be there are looked for in the merged tree.

use plinth::near::nearest;

use crate::diag::{Diagnostic, Report};
use crate::schema::{GONE, Key, Kind};
use crate::source::{Entry, Node, Table, Value};

/// Checks the tables of one file.
pub struct Checker<'a> {
    /// The absolute directory of the file.
    pub base: &'a str,
    /// Where findings go.
    pub report: &'a mut Report,
}

impl Checker<'_> {
    /// Checks `table`, whose path is `prefix`: empty, or with a point at its end. What is wrong is
    /// taken out.
    pub fn table(&mut self, table: &mut Table, keys: &'static [Key], prefix: &str) {
        let mut wrong = Vec::new();
        for (name, entry) in table.iter_mut() {
            let path = format!("{prefix}{name}");
            match keys.iter().find(|key| key.name == name) {
                Some(key) => {
                    if !self.value(&mut entry.node, key, &path) {
                        wrong.push(name.clone());
                    }
                }
                None => {
                    self.report.push(unknown(name, &path, keys).at(entry.key));
                    wrong.push(name.clone());
                }
            }
        }
        table.retain(|name, _| !wrong.contains(name));
    }

    /// Checks one value; whether it can stay.
    fn value(&mut self, node: &mut Node, key: &'static Key, path: &str) -> bool {
        let place = node.place;
        match (key.kind, &mut node.value) {
            (Kind::Bool, Value::Bool(_)) | (Kind::TextOrOff, Value::Bool(false)) => true,
            (Kind::Int(min, max), Value::Int(value)) => {
                let within = (min..=max).contains(value);
                if !within {
                    let range =
                        if min == max { min.to_string() } else { format!("{min} to {max}") };
                    let text = format!("\"{path}\" must be {range}, found {value}");
                    self.report.push(Diagnostic::error("MV004", path, text).at(place));
                }
                within
            }
            (Kind::Size | Kind::IntOr(_), Value::Int(value)) => {
                let sensible = *value >= 0;
                if !sensible {
                    let text = format!("\"{path}\" must not be negative, found {value}");
                    self.report.push(Diagnostic::error("MV004", path, text).at(place));
                }
                sensible
            }
            (Kind::Size, Value::Text(text)) => match mebibytes(text) {
                Some(size) => {
                    node.value = Value::Int(size);
                    true
                }
                None => self.refuse(node, path, "a number of MiB, such as 512, \"512M\" or \"2G\""),
            },
            (Kind::Text | Kind::TextOrOff, Value::Text(text)) => {
                let text = text.clone();
                self.plain(&text, node, path)
            }
            (Kind::Path, Value::Text(text)) => {
                *text = join(self.base, text);
                let text = text.clone();
                self.plain(&text, node, path)
            }
            (Kind::Lines, Value::Text(text)) => !text.contains('\0') || self.control(node, path),
            (Kind::Choice(words), Value::Text(text)) | (Kind::IntOr(words), Value::Text(text)) => {
                words.contains(&text.as_str()) || self.choice(node, path, words)
            }
            (Kind::Words, Value::List(items)) => {
                let before = items.len();
                let mut kept = std::mem::take(items);
                let mut index = 0;
                kept.retain(|item| {
                    let fine = self.word(item, &format!("{path}[{index}]"));
                    index += 1;
                    fine
                });
                let whole = kept.len() == before;
                node.value = Value::List(kept);
                whole
            }
            (Kind::Tables(keys, _), Value::List(items)) => self.tables(items, keys, path),
            (Kind::Table(keys), Value::Table(table)) => {
                self.table(table, keys, &format!("{path}."));
                true
            }
            (Kind::Texts | Kind::LinesByName | Kind::Paths, Value::Table(table)) => {
                self.named(table, key.kind, path)
            }
            (Kind::Any, Value::Table(table)) => {
                table.values().all(|entry| is_finite(&entry.node))
                    || self.refuse(node, path, expected(key.kind))
            }
            (kind, _) => self.refuse(node, path, expected(kind)),
        }
    }

    /// The elements of a list of tables.
    fn tables(&mut self, items: &mut Vec<Node>, keys: &'static [Key], path: &str) -> bool {
        for (index, item) in items.iter_mut().enumerate() {
            let path = format!("{path}[{index}]");
            let is_reset = index == 0 && item.text() == Some(crate::merge::RESET);
            match &mut item.value {
                Value::Table(table) => self.table(table, keys, &format!("{path}.")),
                _ if is_reset => {}
                _ => {
                    self.refuse(item, &path, "a table");
                }
            }
        }
        items.retain(|item| item.table().is_some() || item.text() == Some(crate::merge::RESET));
        true
    }

    /// The values of a table whose keys are free.
    fn named(&mut self, table: &mut Table, kind: Kind, path: &str) -> bool {
        let mut wrong = Vec::new();
        for (name, Entry { node, .. }) in table.iter_mut() {
            let path = format!("{path}.{name}");
            let fine = match (kind, &mut node.value) {
                (Kind::Texts, Value::Bool(false)) => true,
                (Kind::LinesByName, Value::Text(text)) => {
                    !text.contains('\0') || self.control(node, &path)
                }
                (Kind::Texts | Kind::Paths, Value::Text(text)) => {
                    if matches!(kind, Kind::Paths) {
                        *text = join(self.base, text);
                    }
                    let text = format!("{name}{text}");
                    self.plain(&text, node, &path)
                }
                _ => self.refuse(node, &path, "a string"),
            };
            if !fine {
                wrong.push(name.clone());
            }
        }
        table.retain(|name, _| !wrong.contains(name));
        true
    }

    fn word(&mut self, item: &Node, path: &str) -> bool {
        match item.text() {
            Some(text) => {
                let text = text.to_owned();
                self.plain(&text, item, path)
            }
            None => self.refuse(item, path, "a string"),
        }
    }

    /// A text that ends in an argument, a line of a file or a unit.
    fn plain(&mut self, text: &str, node: &Node, path: &str) -> bool {
        !text.contains(['\0', '\n', '\r']) || self.control(node, path)
    }

    fn control(&mut self, node: &Node, path: &str) -> bool {
        let name = path.rsplit('.').next().unwrap_or(path);
        let text = format!("control character in \"{name}\"");
        self.report.push(Diagnostic::error("MV009", path, text).at(node.place));
        false
    }

    fn choice(&mut self, node: &Node, path: &str, words: &[&str]) -> bool {
        let found = node.text().unwrap_or_default();
        if words.is_empty() {
            return self.refuse(node, path, "a number");
        }
        if path == "virtiofsd.threadPoolSize" {
            let text = format!("\"{path}\" must be a number or \"nproc\", found {found:?}");
            self.report.push(Diagnostic::error("MV156", path, text).at(node.place));
            return false;
        }
        let text = format!("\"{path}\" must be one of {}; found {found:?}", words.join(", "));
        let mut diagnostic = Diagnostic::error("MV005", path, text).at(node.place);
        if let [meant] = nearest(found, words.iter().copied(), 1)[..] {
            diagnostic = diagnostic.hint(format!("did you mean {meant:?}?"));
        }
        self.report.push(diagnostic);
        false
    }

    fn refuse(&mut self, node: &Node, path: &str, expected: &str) -> bool {
        let text = format!("\"{path}\" must be {expected}, found {}", node.value.describe());
        self.report.push(Diagnostic::error("MV004", path, text).at(node.place));
        false
    }
}

/// Reports keys that must be there and are not.
pub fn required(table: &Table, keys: &'static [Key], prefix: &str, report: &mut Report) {
    for key in keys {
        let path = format!("{prefix}{}", key.name);
        match (table.get(key.name).map(|entry| &entry.node), key.kind) {
            (None, _) if key.required => {
                let text = match prefix.strip_suffix('.') {
                    // The kernel has a rule of its own.
                    None => continue,
                    Some(of) => format!("{of} needs \"{}\"", key.name),
                };
                report.push(Diagnostic::error("MV006", path, text));
            }
            (Some(Node { value: Value::Table(inner), .. }), Kind::Table(keys)) => {
                required(inner, keys, &format!("{path}."), report);
            }
            (Some(Node { value: Value::List(items), .. }), Kind::Tables(keys, _)) => {
                for (index, item) in items.iter().enumerate() {
                    let inner = item.table().into_iter();
                    inner.for_each(|it| required(it, keys, &format!("{path}[{index}]."), report));
                }
            }
            _ => {}
        }
    }
}

fn unknown(name: &str, path: &str, keys: &'static [Key]) -> Diagnostic {
    if let Some(gone) = GONE.iter().find(|gone| gone.path == path) {
        let text = format!("\"{path}\" has no meaning without Nix");
        return Diagnostic::error("MV003", path, text).hint(gone.hint);
    }
    let plain = |text: &str| text.replace(['-', '_'], "").to_ascii_lowercase();
    let same = keys.iter().map(|key| key.name).find(|other| plain(other) == plain(name));
    let near = || nearest(name, keys.iter().map(|key| key.name), 1).first().copied();
    let place = if path == name { String::new() } else { format!(" in \"{}\"", parent(path)) };
    let text = match same.or_else(|| meant(name)).or_else(near) {
        Some(meant) => format!("unknown key \"{name}\"{place}; did you mean \"{meant}\"?"),
        None => format!("unknown key \"{name}\"{place}"),
    };
    Diagnostic::error("MV002", path, text)
}

/// Words that people use for a key of another name.
fn meant(name: &str) -> Option<&'static str> {
    const WORDS: [(&str, &str); 9] = [
        ("memory", "mem"),
        ("ram", "mem"),
        ("cpus", "vcpu"),
        ("name", "hostName"),
        ("initrd", "initrdPath"),
        ("cmdline", "kernelParams"),
        ("disks", "volumes"),
        ("networks", "interfaces"),
        ("uuid", "machineId"),
    ];
    WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(name)).map(|(_, key)| *key)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

const fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false",
        Kind::Int(..) => "an integer",
        Kind::IntOr([]) => "an integer",
        Kind::IntOr(_) => "an integer or \"nproc\"",
        Kind::Size => "a number of MiB, such as 512, \"512M\" or \"2G\"",
        Kind::TextOrOff => "a string or false",
        Kind::Text | Kind::Path | Kind::Choice(_) | Kind::Lines => "a string",
        Kind::Words | Kind::Tables(..) => "a list",
        Kind::Any => "a table of finite numbers, strings and lists",
        Kind::Texts | Kind::LinesByName | Kind::Paths | Kind::Table(_) => "a table",
    }
}

/// Are all numbers in it numbers, as JSON knows them?
fn is_finite(node: &Node) -> bool {
    match &node.value {
        Value::Other(text) => text.parse::<f64>().is_ok_and(f64::is_finite),
        Value::List(items) => items.iter().all(is_finite),
        Value::Table(table) => table.values().all(|entry| is_finite(&entry.node)),
        _ => true,
    }
}

/// `512M`, `2G` or `512` in MiB.
fn mebibytes(text: &str) -> Option<i64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'M' => (text.get(..text.len() - 1)?, 1),
        b'G' => (text.get(..text.len() - 1)?, 1024),
        b'T' => (text.get(..text.len() - 1)?, 1024 * 1024),
        _ => (text, 1),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<i64>().ok()?.checked_mul(factor)
}

/// `path` from the directory `base`, without `.` and without `..` that can be resolved by the
/// text alone.
#[must_use]
pub fn join(base: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut steps: Vec<&str> = Vec::new();
    for step in whole.split('/') {
        match step {
            "" | "." => {}
            step => steps.push(step),
        }
    }
    format!("/{}", steps.join("/"))
}
