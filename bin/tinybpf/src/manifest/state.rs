// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is remembered between runs: per object, what it was made from and which pins it has.
//!
//! Owns the form of the state file: JSON, with a version. A damaged file is as good as none, since
//! what is pinned can be compared again; it is never fatal.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use plinth::sorting;

const VERSION: u64 = 1;

/// What an object was made from, as lower-case hexadecimal digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// The object file.
    pub object: String,
    /// What the manifest says ([`super::Object::canonical`]).
    pub table: String,
    /// The custom type information; empty if there is none.
    pub btf: String,
}

/// What a pin holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PinKind {
    /// A link. Links go first when an object is removed.
    Link,
    /// A program.
    Program,
    /// A map.
    Map,
}

impl PinKind {
    /// The word in the file and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Program => "program",
            Self::Map => "map",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Link, Self::Program, Self::Map].into_iter().find(|it| it.name() == name)
    }
}

/// A pin that an object has, or may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinRecord {
    /// What it holds.
    pub kind: PinKind,
    /// The kernel's number; `None` as long as it is not known to exist.
    pub id: Option<u32>,
    /// Where a link is attached.
    pub hook: Option<String>,
    /// Whether it goes when the object is removed; maps that others made are only used.
    pub is_ours: bool,
}

/// What is known of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The manifest that wants it.
    pub manifest: String,
    /// What it was made from.
    pub digests: Digests,
    /// Whether the last run came to its end with it.
    pub is_done: bool,
    /// Every pin that is the object's, and until it is done every one that may become so.
    pub pins: BTreeMap<String, PinRecord>,
    /// The directories that were made for it.
    pub directories: Vec<String>,
}

/// Everything that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// By the object's name.
    pub objects: BTreeMap<String, Record>,
}

impl State {
    /// The text of the file.
    #[must_use]
    pub fn encode(&self) -> String {
        let objects: Map<String, Value> =
            sorting::gather(self.objects.iter().map(|(name, it)| (name.clone(), it.encode())));
        let mut text = json!({ "version": VERSION, "objects": objects }).to_string();
        text.push('\n');
        text
    }

    /// Reads the file; `None` for a text of another form or version.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        if value.get("version").and_then(Value::as_u64) != Some(VERSION) {
            return None;
        }
        let objects = value.get("objects")?.as_object()?;
        let mut state = Self::default();
        for (name, it) in objects {
            state.objects.insert(name.clone(), Record::decode(it)?);
        }
        Some(state)
    }
}

impl Record {
    fn encode(&self) -> Value {
        let pins: Map<String, Value> = sorting::gather(self.pins.iter().map(|(path, it)| {
            let pin = json!({
                "kind": it.kind.name(), "id": it.id, "hook": it.hook, "ours": it.is_ours,
            });
            (path.clone(), pin)
        }));
        json!({
            "manifest": self.manifest,
            "object": self.digests.object,
            "table": self.digests.table,
            "btf": self.digests.btf,
            "done": self.is_done,
            "pins": pins,
            "directories": self.directories,
        })
    }

    fn decode(value: &Value) -> Option<Self> {
        let text = |key: &str| Some(value.get(key)?.as_str()?.to_owned());
        let mut pins = BTreeMap::new();
        for (path, pin) in value.get("pins")?.as_object()? {
            let kind = PinKind::from_name(pin.get("kind")?.as_str()?)?;
            let id = pin.get("id").and_then(Value::as_u64);
            let id = id.map(u32::try_from).transpose().ok()?;
            let hook = pin.get("hook").and_then(Value::as_str).map(str::to_owned);
            let is_ours = pin.get("ours")?.as_bool()?;
            pins.insert(path.clone(), PinRecord { kind, id, hook, is_ours });
        }
        let directories = value.get("directories")?.as_array()?.iter();
        Some(Self {
            manifest: text("manifest")?,
            digests: Digests { object: text("object")?, table: text("table")?, btf: text("btf")? },
            is_done: value.get("done")?.as_bool()?,
            pins,
            directories: directories
                .map(|it| Some(it.as_str()?.to_owned()))
                .collect::<Option<_>>()?,
        })
    }
}
