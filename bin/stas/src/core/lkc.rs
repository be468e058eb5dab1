// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The last known configuration: what a daemon remembers over its own restart.
//!
//! Owns the format of the state file: JSON, with a version. A file that is damaged, or of another
//! version, is as good as none. Secrets and connection parameters are not remembered; the
//! configuration has them. Reading and writing the file is left to the shell.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::logpage::{Entry, Page};
use super::tid::{Fields, Tid};

const VERSION: u64 = 1;

/// One remembered controller.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Its identity, as spelled.
    pub fields: Fields,
    /// Where it came from, in the owner's words.
    pub origin: String,
    /// stafd: its log page.
    pub page: Option<Page>,
    /// stacd: the discovery controllers that reported it.
    pub reporters: Vec<String>,
}

/// Everything that is remembered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The controllers of the table.
    pub controllers: Vec<Known>,
    /// Candidates whose connect was in flight at the end and is to be undone.
    pub pending: Vec<Fields>,
    /// Host names of the configuration and their addresses.
    pub hosts: BTreeMap<String, IpAddr>,
}

fn fields_json(fields: &Fields) -> Map<String, Value> {
    fields.pairs().iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect()
}

/// Reads the seven fields of an identity out of a dictionary; what is missing stays empty.
#[must_use]
pub fn fields_from(map: &Map<String, Value>) -> Fields {
    let mut fields = Fields::default();
    let names: Vec<&'static str> = fields.pairs().iter().map(|(name, _)| *name).collect();
    for name in names {
        if let (Some(field), Some(text)) =
            (fields.get_mut(name), map.get(name).and_then(Value::as_str))
        {
            text.clone_into(field);
        }
    }
    fields
}

/// The dictionary of an identity, as spelled.
#[must_use]
pub fn identity(tid: &Tid) -> Map<String, Value> {
    fields_json(tid.fields())
}

impl State {
    /// The text of the file.
    #[must_use]
    pub fn encode(&self) -> String {
        let controllers: Vec<Value> = self
            .controllers
            .iter()
            .map(|known| {
                let mut map = fields_json(&known.fields);
                map.insert("origin".to_owned(), json!(known.origin));
                if let Some(page) = &known.page {
                    let entries: Vec<_> = page.entries.iter().map(Entry::dictionary).collect();
                    map.insert("genctr".to_owned(), json!(page.genctr));
                    map.insert("log-pages".to_owned(), json!(entries));
                }
                if !known.reporters.is_empty() {
                    map.insert("reported-by".to_owned(), json!(known.reporters));
                }
                Value::Object(map)
            })
            .collect();
        let pending: Vec<Value> =
            self.pending.iter().map(|fields| Value::Object(fields_json(fields))).collect();
        let mut text = json!({
            "version": VERSION,
            "controllers": controllers,
            "pending-connect": pending,
            "hosts": self.hosts,
        })
        .to_string();
        text.push('\n');
        text
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// One sentence that says what is wrong; the caller starts empty.
    pub fn decode(text: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        match value.get("version").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(other) => return Err(format!("version {other} is not understood")),
            None => return Err("no version".to_owned()),
        }
        let list =
            |key: &str| value.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let maps = |key: &str| list(key).iter().filter_map(Value::as_object);
        Ok(Self {
            controllers: maps("controllers").map(known).collect(),
            pending: maps("pending-connect").map(fields_from).collect(),
            hosts: value.get("hosts").and_then(Value::as_object).map(addresses).unwrap_or_default(),
        })
    }
}

fn addresses(map: &Map<String, Value>) -> BTreeMap<String, IpAddr> {
    let address = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    map.iter().filter_map(|(name, value)| Some((name.clone(), address(value)?))).collect()
}

fn known(map: &Map<String, Value>) -> Known {
    let texts = |key: &str| map.get(key).and_then(Value::as_array);
    let page = texts("log-pages").map(|entries| Page {
        genctr: map.get("genctr").and_then(Value::as_u64).unwrap_or(0),
        entries: entries.iter().filter_map(Value::as_object).map(Entry::from_dictionary).collect(),
    });
    let reporters = texts("reported-by").map_or(&[][..], Vec::as_slice);
    Known {
        fields: fields_from(map),
        origin: map.get("origin").and_then(Value::as_str).unwrap_or_default().to_owned(),
        page,
        reporters: reporters.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::logpage::{ENTRY_LEN, tests::raw};
    use super::*;

    fn state() -> State {
        let fields = Fields {
            transport: "tcp".into(),
            traddr: "FE80::1".into(),
            trsvcid: "8009".into(),
            host_nqn: "nqn.h".into(),
            ..Fields::default()
        };
        let entry = Entry::decode(&raw(3, 2, "10.0.0.2", "4420", "nqn.s")).unwrap();
        assert_eq!(raw(3, 2, "", "", "").len(), ENTRY_LEN);
        State {
            controllers: vec![Known {
                fields: fields.clone(),
                origin: "configured".into(),
                page: Some(Page { genctr: 7, entries: vec![entry] }),
                reporters: vec!["x".into()],
            }],
            pending: vec![fields],
            hosts: [("array".to_owned(), "10.0.0.1".parse().unwrap())].into(),
        }
    }

    // R159, R160
    #[test]
    fn what_is_written_reads_back() {
        assert_eq!(State::decode(&state().encode()), Ok(state()));
        assert_eq!(State::decode(&State::default().encode()), Ok(State::default()));
    }

    // R160
    #[test]
    fn damaged_files_and_other_versions_are_refused() {
        for (text, reason) in [
            ("", "not JSON"),
            ("garbage", "not JSON"),
            ("{}", "no version"),
            (r#"{"version":2}"#, "version 2 is not understood"),
        ] {
            assert!(State::decode(text).unwrap_err().starts_with(reason), "{text:?}");
        }
        let text = state().encode();
        for end in 0..text.len() - 2 {
            assert!(State::decode(&text[..end]).is_err(), "cut at {end}");
        }
    }
}
