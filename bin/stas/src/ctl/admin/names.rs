// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the host's names come from, one by one.
//!
//! The daemons take the names of `sys.conf` whole or not at all ([`crate::core::identity`]);
//! whoever repairs them wants to see each with its origin and its fault. The rules are the same: a
//! value of the configuration, read from a file where it begins with `file://`, else the first word
//! of the default file.

use plinth::config::ini::Ini;

use super::SECTION;
use crate::core::hostid;
use crate::core::identity::{ID_FILE, NQN_FILE, NQN_LEN_MAX, first_word, is_nqn};

/// One of the host's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// Its key in the configuration.
    pub(super) key: &'static str,
    /// What it is called.
    pub(super) what: &'static str,
    /// What it is, when it is anything.
    pub(super) value: Option<String>,
    /// The file that it is in, or should be in.
    pub(super) origin: String,
    /// What is wrong with it.
    pub(super) problem: Option<String>,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) nqn: Name,
    pub(super) id: Name,
    pub(super) symname: Name,
}

type Read<'a> = &'a dyn Fn(&str) -> Result<String, String>;

impl Names {
    /// Reads the configuration `text` of the file `config`, and the files that it names.
    pub(super) fn find(config: &str, text: &str, read: Read<'_>) -> Self {
        let ini = Ini::parse(text).unwrap_or_default();
        let find = |key, what, default| Name::find(key, what, default, config, &ini, read);
        let mut nqn = find("nqn", "host NQN", Some(NQN_FILE));
        nqn.judge(is_nqn, || format!("not \"nqn.\" and at most {NQN_LEN_MAX} bytes"));
        let mut id = find("id", "host ID", Some(ID_FILE));
        id.judge(hostid::is_uuid, || "not a UUID".into());
        Self { nqn, id, symname: find("symname", "symbolic name", None) }
    }
}

impl Name {
    fn find(
        key: &'static str,
        what: &'static str,
        default: Option<&str>,
        config: &str,
        ini: &Ini,
        read: Read<'_>,
    ) -> Self {
        let assigned = ini
            .entries
            .iter()
            .rev()
            .filter(|entry| entry.section == SECTION && entry.key == key)
            .find_map(|entry| entry.value.as_deref().filter(|value| !value.is_empty()));
        let mut name = Self { key, what, value: None, origin: config.to_owned(), problem: None };
        let file = match assigned {
            Some(value) => match value.strip_prefix("file://") {
                Some(file) => file,
                None => {
                    name.value = Some(value.to_owned());
                    return name;
                }
            },
            None => match default {
                Some(default) => default,
                None => return name,
            },
        };
        file.clone_into(&mut name.origin);
        match read(file) {
            Ok(text) => {
                name.value = Some(first_word(&text).to_owned()).filter(|word| !word.is_empty());
                if name.value.is_none() {
                    name.problem = Some("the file is empty".into());
                }
            }
            Err(error) => name.problem = Some(error),
        }
        name
    }

    fn judge(&mut self, is_good: fn(&str) -> bool, problem: impl FnOnce() -> String) {
        if self.value.as_deref().is_some_and(|value| !is_good(value)) {
            self.problem = Some(problem());
        }
    }
}
