// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What stafd tells stacd: all discovery controllers with their log pages, as JSON text.
//!
//! Owns both directions of `get_all_log_pages`. The reader trusts nothing: stafd may be another
//! implementation, or be gone mid-way. It accepts an answer whole or not at all, and it keeps apart
//! a page that is empty from a page that nobody has fetched yet: only the first may cost a
//! connection.

use serde_json::{Map, Value, json};

use super::fetch::RECORDS_MAX;
use super::logpage::Entry;
use super::tid::Fields;

/// An answer longer than this is refused unread.
pub const TEXT_MAX: usize = 64 << 20;
/// An answer with more discovery controllers than this is refused.
pub const CONTROLLERS_MAX: usize = 4096;

/// What a log page is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validity {
    /// Nobody has fetched it: nothing follows from it.
    #[default]
    Nothing,
    /// Fetched before stafd was restarted.
    Cached,
    /// Fetched by the stafd that runs now.
    Fetched,
}

impl Validity {
    /// The word in the JSON text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Cached => "cached",
            Self::Fetched => "fetched",
        }
    }
}

/// One discovery controller of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The controller as stafd names it.
    pub fields: Fields,
    /// What its page is worth.
    pub validity: Validity,
    /// Its log page entries.
    pub entries: Vec<Entry>,
}

impl Source {
    /// What tells this controller from all others, also across answers.
    #[must_use]
    pub fn key(&self) -> String {
        let fields = self.fields.pairs().map(|(_, text)| text.trim().to_lowercase());
        fields.join("|")
    }
}

/// Writes one discovery controller the way stacd reads it. `controller` is its dictionary.
#[must_use]
pub fn encode(controller: &Map<String, Value>, validity: Validity, entries: &[Entry]) -> Value {
    let pages: Vec<Value> = entries.iter().map(|entry| json!(entry.dictionary())).collect();
    json!({
        "discovery-controller": controller,
        "log-pages": pages,
        "log-pages-valid": validity.as_str(),
    })
}

/// Reads an answer.
///
/// # Errors
/// One sentence that says what is wrong with it.
pub fn decode(text: &str) -> Result<Vec<Source>, String> {
    if text.len() > TEXT_MAX {
        return Err(format!("the answer has {} bytes, more than {TEXT_MAX}", text.len()));
    }
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let Value::Array(list) = value else { return Err("not a list".to_owned()) };
    if list.len() > CONTROLLERS_MAX {
        return Err(format!("{} controllers, more than {CONTROLLERS_MAX}", list.len()));
    }
    list.iter()
        .enumerate()
        .map(|(at, item)| source(item).map_err(|what| format!("item {at}: {what}")))
        .collect()
}

fn source(item: &Value) -> Result<Source, &'static str> {
    let controller = item.get("discovery-controller").and_then(Value::as_object);
    let controller = controller.ok_or("no dictionary 'discovery-controller'")?;
    let pages = item.get("log-pages").and_then(Value::as_array).ok_or("no list 'log-pages'")?;
    if pages.len() as u64 > RECORDS_MAX {
        return Err("too many entries in 'log-pages'");
    }
    let entries = pages.iter().map(|page| page.as_object().map(Entry::from_dictionary));
    let entries: Vec<Entry> = entries.collect::<Option<_>>().ok_or("an entry is no dictionary")?;
    let text = |key: &str| controller.get(key).and_then(Value::as_str).unwrap_or("");
    let mut fields = Fields::default();
    let names: Vec<&'static str> = fields.pairs().iter().map(|(name, _)| *name).collect();
    for name in names {
        if let Some(field) = fields.get_mut(name) {
            text(name).trim().clone_into(field);
        }
    }
    let validity = match item.get("log-pages-valid").and_then(Value::as_str) {
        Some("fetched") => Validity::Fetched,
        Some("cached") => Validity::Cached,
        Some(_) => Validity::Nothing,
        // The reference sends no such word: its page counts if there is one, or if the controller
        // is connected and may well have none.
        None if entries.is_empty() && text("connected") != "True" => Validity::Nothing,
        None => Validity::Fetched,
    };
    Ok(Source { fields, validity, entries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(extra: &str) -> String {
        format!(
            r#"[{{"discovery-controller":{{"transport":"tcp","traddr":"10.0.0.1","trsvcid":"8009",
            "subsysnqn":"nqn.d","host-traddr":"","host-iface":"eth0","host-nqn":"nqn.h"{extra}"#
        )
    }

    // R082
    #[test]
    fn an_answer_of_either_implementation_is_read() {
        let ours = answer(
            r#"},"log-pages-valid":"cached","log-pages":[{"trtype":"tcp","subtype":"nvme",
            "traddr":"10.0.0.2","trsvcid":"4420","subnqn":"nqn.s","eflags":"4"}]}]"#,
        );
        let sources = decode(&ours).unwrap();
        assert_eq!(sources.len(), 1);
        assert_eq!(sources[0].validity, Validity::Cached);
        assert_eq!(sources[0].fields.host_iface, "eth0");
        assert!(sources[0].entries[0].ncc());
        let theirs = answer(r#","connected":"True"},"log-pages":[]}]"#);
        assert_eq!(decode(&theirs).unwrap()[0].validity, Validity::Fetched);
    }

    // R089
    #[test]
    fn a_page_nobody_fetched_is_not_an_empty_page() {
        for text in [
            answer(r#","connected":"False"},"log-pages":[]}]"#),
            answer(r#"},"log-pages":[]}]"#),
            answer(r#"},"log-pages-valid":"none","log-pages":[]}]"#),
        ] {
            assert_eq!(decode(&text).unwrap()[0].validity, Validity::Nothing, "{text}");
        }
    }

    // R089
    #[test]
    fn malformed_answers_are_refused_with_a_reason() {
        for (text, reason) in [
            ("", "not JSON"),
            ("{}", "not a list"),
            ("[1]", "item 0: no dictionary"),
            (r#"[{"discovery-controller":{}}]"#, "item 0: no list"),
            (r#"[{"discovery-controller":{},"log-pages":[3]}]"#, "item 0: an entry is no"),
        ] {
            let error = decode(text).unwrap_err();
            assert!(error.starts_with(reason), "{text:?}: {error}");
        }
        assert!(decode(&"[".repeat(100_000)).is_err(), "nesting is bounded");
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "[\\[\\]{}\":,a-z0-9-]{0,200}") {
            let decoded = decode(&text);
            prop_assert!(decoded.is_ok() || decoded.is_err());
        }
    }
}
