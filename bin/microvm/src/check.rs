// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Holds one layer of a description to the table of keys.
//!
//! Owns what can be said of a value without looking at another one: unknown keys, wrong types,
//! words outside a choice, control characters. It also brings values to one form, so that layers
//! can be merged: sizes become numbers of MiB, and paths that are taken from the directory of the
//! description become absolute. What is wrong stays in its place, marked, so that the merged tree
//! tells which options are judged no further; keys that must be there are looked for in that tree.

use std::collections::BTreeMap;

use plinth::near::nearest;

use crate::diag::{Diagnostic, Report};
use crate::merge::RESET;
use crate::schema::{GONE, Key, Kind, RANGE};
use crate::source::{Entry, Node, Place, Table, Value};

/// Unknown keys of one table for which the one that was meant is looked for: that takes its time,
/// and whoever has more has not mistyped them.
const GUESSES_MAX: usize = 100;

/// Checks the tables of one file.
pub struct Checker<'a> {
    base: &'a str,
    report: &'a mut Report,
    beside: &'static [&'static str],
}

impl<'a> Checker<'a> {
    /// Checks tables of a file in the absolute directory `base`; findings go to `report`.
    pub fn new(base: &'a str, report: &'a mut Report) -> Self {
        Self { base, report, beside: &[] }
    }

    /// The same where these names can stand beside the keys as well, and may be meant.
    #[must_use]
    pub const fn beside(mut self, names: &'static [&'static str]) -> Self {
        self.beside = names;
        self
    }

    /// Checks `table`, whose path is `prefix`: empty, or with a point at its end. What is wrong is
    /// marked so.
    pub fn table(&mut self, table: &mut Table, keys: &'static [Key], prefix: &str) {
        let mut strangers = 0;
        for (name, entry) in table.iter_mut() {
            let path = format!("{prefix}{name}");
            let is_fine = match keys.iter().find(|key| key.name == name) {
                Some(key) => self.value(&mut entry.node, key, &path),
                None => {
                    strangers += 1;
                    let beside = if prefix.is_empty() { self.beside } else { &[] };
                    let keys = if strangers > GUESSES_MAX { &[] } else { keys };
                    self.report.push(unknown(name, &path, keys, beside).at(entry.key));
                    false
                }
            };
            if !is_fine {
                entry.node.value = Value::Wrong;
            }
        }
    }

    /// Checks one value; whether it can stay.
    fn value(&mut self, node: &mut Node, key: &'static Key, path: &str) -> bool {
        let place = node.place;
        match (key.kind, &mut node.value) {
            (Kind::Bool, Value::Bool(_)) | (Kind::TextOrOff, Value::Bool(false)) => true,
            (Kind::Int(min, max, code), Value::Int(value)) => {
                // What fits its type is left to the rule, if there is one.
                let is_judged = code != RANGE && u32::try_from(*value).is_ok();
                let within = (min..=max).contains(value) || is_judged;
                if !within {
                    let range =
                        if min == max { min.to_string() } else { format!("{min} to {max}") };
                    let text = format!("\"{path}\" must be {range}, found {value}");
                    self.report.push(Diagnostic::error(code, path, text).at(place));
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
            (Kind::Text | Kind::TextOrOff | Kind::Path, Value::Text(text)) if text.is_empty() => {
                self.empty(node, path)
            }
            (Kind::Version, Value::Text(text)) => is_version(text) || self.version(node, path),
            (Kind::Text | Kind::AnyText | Kind::TextOrOff, Value::Text(text)) => {
                let text = text.clone();
                self.plain(&text, node, path)
            }
            (Kind::Path, Value::Text(text)) => {
                *text = join(self.base, text);
                let text = text.clone();
                self.plain(&text, node, path)
            }
            (Kind::Lines, Value::Text(text)) => lines(text) || self.control(node, path),
            (Kind::Choice(words), Value::Text(text)) | (Kind::IntOr(words), Value::Text(text)) => {
                words.contains(&text.as_str()) || self.choice(node, path, words)
            }
            (Kind::Words, Value::List(items)) => self.words(items, path),
            (Kind::Tables(keys, _), Value::List(items)) => self.tables(items, keys, path),
            (Kind::Table(keys), Value::Table(table)) => {
                self.table(table, keys, &format!("{path}."));
                true
            }
            (Kind::Texts | Kind::LinesByName | Kind::Paths, Value::Table(table)) => {
                self.named(table, key.kind, path)
            }
            (Kind::Any, Value::Table(_)) => self.any(node, path),
            (kind, _) => self.refuse(node, path, expected(kind)),
        }
    }

    /// The elements of a list of words.
    fn words(&mut self, items: &mut [Node], path: &str) -> bool {
        for (index, item) in items.iter_mut().enumerate() {
            let path = format!("{path}[{index}]");
            let is_fine = match item.text() {
                Some(RESET) if index > 0 => self.late(item, &path),
                Some(text) => is_plain(text) || self.control(item, &path),
                None => self.refuse(item, &path, "a string"),
            };
            if !is_fine {
                item.value = Value::Wrong;
            }
        }
        true
    }

    /// The elements of a list of tables.
    fn tables(&mut self, items: &mut [Node], keys: &'static [Key], path: &str) -> bool {
        for (index, item) in items.iter_mut().enumerate() {
            let path = format!("{path}[{index}]");
            let is_reset = item.text() == Some(RESET);
            let is_fine = match &mut item.value {
                Value::Table(table) => {
                    self.table(table, keys, &format!("{path}."));
                    true
                }
                _ if is_reset => index == 0 || self.late(item, &path),
                _ => self.refuse(item, &path, "a table"),
            };
            if !is_fine {
                item.value = Value::Wrong;
            }
        }
        true
    }

    /// The values of a table whose keys are free.
    fn named(&mut self, table: &mut Table, kind: Kind, path: &str) -> bool {
        for (name, Entry { node, .. }) in table.iter_mut() {
            let path = format!("{path}.{name}");
            let fine = match (kind, &mut node.value) {
                (Kind::Texts, Value::Bool(false)) => true,
                (Kind::LinesByName, Value::Text(text)) => lines(text) || self.control(node, &path),
                (Kind::Paths, Value::Text(text)) if text.is_empty() => self.empty(node, &path),
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
                node.value = Value::Wrong;
            }
        }
        true
    }

    /// A table that is handed on: JSON has no other numbers than finite ones, and no dates.
    fn any(&mut self, node: &Node, path: &str) -> bool {
        match &node.value {
            Value::Other(text) => {
                is_exact(text) || self.refuse(node, path, "a finite number that fits 64 bits")
            }
            Value::Date(_) => self.refuse(node, path, "a string, in quotes"),
            Value::List(items) => {
                let items = items.iter().enumerate();
                let wrong = items.filter(|(at, it)| !self.any(it, &format!("{path}[{at}]")));
                wrong.count() == 0
            }
            Value::Table(table) => {
                let wrong = table
                    .iter()
                    .filter(|(name, entry)| !self.any(&entry.node, &format!("{path}.{name}")));
                wrong.count() == 0
            }
            _ => true,
        }
    }

    /// A text that ends in an argument, a line of a file or a unit.
    fn plain(&mut self, text: &str, node: &Node, path: &str) -> bool {
        is_plain(text) || self.control(node, path)
    }

    fn empty(&mut self, node: &Node, path: &str) -> bool {
        let text = format!("\"{path}\" must not be empty");
        self.report.push(Diagnostic::error("MV004", path, text).at(node.place));
        false
    }

    fn version(&mut self, node: &Node, path: &str) -> bool {
        let text = format!("\"{path}\" must be a version, found {}", node.value.describe());
        let hint = "digits with points between, such as 9.1, without \"v\"";
        self.report.push(Diagnostic::error("MV004", path, text).hint(hint).at(node.place));
        false
    }

    /// The word that forgets what is below, behind the first element.
    fn late(&mut self, node: &Node, path: &str) -> bool {
        let text = format!("\"{path}\" is {RESET:?}, which must stand first");
        self.report.push(Diagnostic::error("MV004", path, text).at(node.place));
        false
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

/// Takes out of the merged table what is marked as wrong: the path of each option by its place and
/// that of its key. In lists something harmless stands for it, so that the others keep their
/// indices.
pub fn settle(table: &mut Table, keys: &'static [Key]) -> BTreeMap<Place, String> {
    let mut found = BTreeMap::new();
    settle_table(table, keys, "", &mut found);
    found
}

fn settle_table(
    table: &mut Table,
    keys: &'static [Key],
    prefix: &str,
    found: &mut BTreeMap<Place, String>,
) {
    table.retain(|name, Entry { key, node }| {
        let path = format!("{prefix}{name}");
        let kind = keys.iter().find(|key| key.name == name).map(|key| key.kind);
        match (&mut node.value, kind) {
            (Value::Wrong, _) => {
                found.insert(node.place, path.clone());
                found.insert(*key, path);
                return false;
            }
            (Value::Table(table), Some(Kind::Table(keys))) => {
                settle_table(table, keys, &format!("{path}."), found);
            }
            (Value::Table(table), Some(Kind::Texts | Kind::LinesByName | Kind::Paths)) => {
                settle_table(table, &[], &format!("{path}."), found);
            }
            (Value::List(items), _) => {
                for (at, item) in items.iter_mut().enumerate() {
                    let path = format!("{path}[{at}]");
                    match (&mut item.value, kind) {
                        (Value::Wrong, _) => {
                            found.insert(item.place, path);
                            item.value = match kind {
                                Some(Kind::Tables(..)) => Value::Table(Table::new()),
                                _ => Value::Text(String::new()),
                            };
                        }
                        (Value::Table(table), Some(Kind::Tables(keys, _))) => {
                            settle_table(table, keys, &format!("{path}."), found);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        true
    });
}

fn unknown(
    name: &str,
    path: &str,
    keys: &'static [Key],
    beside: &'static [&'static str],
) -> Diagnostic {
    if let Some(gone) = GONE.iter().find(|gone| gone.path == path) {
        let text = format!("\"{path}\" has no meaning without Nix");
        return Diagnostic::error("MV003", path, text).hint(gone.hint);
    }
    let plain = |text: &str| text.replace(['-', '_'], "").to_ascii_lowercase();
    let names = || keys.iter().map(|key| key.name).chain(beside.iter().copied());
    let same = names().find(|other| plain(other) == plain(name));
    let meant = || meant(name).filter(|meant| names().any(|name| name == *meant));
    let near = || nearest(name, names(), 1).first().copied();
    let place = if path == name { String::new() } else { format!(" in \"{}\"", parent(path)) };
    let text = match same.or_else(meant).or_else(near) {
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
        Kind::Text | Kind::AnyText | Kind::Version | Kind::Path | Kind::Choice(_) | Kind::Lines => {
            "a string"
        }
        Kind::Words | Kind::Tables(..) => "a list",
        Kind::Any => "a table of finite numbers, strings and lists",
        Kind::Texts | Kind::LinesByName | Kind::Paths | Kind::Table(_) => "a table",
    }
}

/// Can the number be handed on as it is?
fn is_exact(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<u64>().is_ok();
    }
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Can it be an argument, a line of a file or of a unit?
fn is_plain(text: &str) -> bool {
    !text.contains(['\0', '\n', '\r'])
}

/// Makes line breaks those of this system; whether nothing else controls.
fn lines(text: &mut String) -> bool {
    if text.contains('\r') {
        *text = text.replace("\r\n", "\n");
    }
    !text.contains(['\0', '\r'])
}

/// Is it numbers with points between?
fn is_version(text: &str) -> bool {
    let is_number = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
    text.split('.').all(is_number)
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
