// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host's names, from `sys.conf` and the files that it points to.
//!
//! Owns the rules of where each name comes from and which are valid. Reading files is left to the
//! caller, who passes a function. Deriving new names is left to [`super::hostid`].

use std::collections::BTreeMap;
use std::fmt;

use log::Level;
use plinth::config::ini::Ini;

use super::hostid;
use super::secret::Secret;
use super::settings::{Diagnostic, has_comment};

/// The longest NQN, in bytes (NVM Express Base Specification, "NVMe Qualified Names").
pub const NQN_LEN_MAX: usize = 223;

/// Where the host NQN is read from when `sys.conf` says nothing.
pub const NQN_FILE: &str = "/etc/nvme/hostnqn";
/// Where the host ID is read from when `sys.conf` says nothing.
pub const ID_FILE: &str = "/etc/nvme/hostid";
/// Where the host key is read from when `sys.conf` says nothing.
pub const KEY_FILE: &str = "/etc/nvme/hostkey";

/// How this host introduces itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The host NQN; empty when its file is empty.
    pub nqn: String,
    /// The host ID, a UUID; empty when its file is empty.
    pub id: String,
    /// The symbolic name.
    pub symname: Option<String>,
    /// The DH-HMAC-CHAP key for controllers that have none of their own.
    pub key: Option<Secret>,
}

/// Why a host has no identity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file of the host NQN cannot be read.
    Nqn(String),
    /// The file of the host ID cannot be read.
    Id(String),
    /// The host NQN is not one.
    InvalidNqn(String),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nqn(cause) => {
                write!(f, "Error reading mandatory Host NQN (see stasadm --help): {cause}")
            }
            Self::Id(cause) => {
                write!(f, "Error reading mandatory Host ID (see stasadm --help): {cause}")
            }
            Self::InvalidNqn(nqn) => {
                write!(f, "invalid host NQN '{nqn}' (nqn. and at most {NQN_LEN_MAX} bytes)")
            }
        }
    }
}

impl std::error::Error for IdentityError {}

impl Identity {
    /// Whether a host key is known.
    #[must_use]
    pub const fn key_set(&self) -> bool {
        self.key.is_some()
    }

    /// Reads `sys.conf`: its text, or `None` when there is no such file. `read` returns the text of
    /// the file at an absolute path, or why it cannot.
    ///
    /// # Errors
    /// The host NQN or the host ID cannot be read, or the NQN is invalid.
    pub fn load(
        path: &str,
        text: Option<&str>,
        read: &mut dyn FnMut(&str) -> Result<String, String>,
    ) -> Result<(Self, Vec<Diagnostic>), IdentityError> {
        let mut conf = Conf { path, values: BTreeMap::new(), out: Vec::new(), read };
        conf.parse(text.unwrap_or_default());
        let nqn = conf.mandatory("nqn", NQN_FILE).map_err(IdentityError::Nqn)?;
        if !nqn.is_empty() && !is_nqn(&nqn) {
            return Err(IdentityError::InvalidNqn(nqn));
        }
        let id = conf.mandatory("id", ID_FILE).map_err(IdentityError::Id)?;
        if !id.is_empty() && !hostid::is_uuid(&id) {
            conf.tell(Level::Warn, "id", "host ID is no UUID");
        }
        let key = conf.key();
        let symname = conf.symname();
        Ok((Self { nqn, id, symname, key }, conf.out))
    }
}

/// Whether `nqn` has the form of an NQN.
#[must_use]
pub fn is_nqn(nqn: &str) -> bool {
    nqn.starts_with("nqn.") && nqn.len() <= NQN_LEN_MAX
}

/// The first word of the first line of a file: all that counts of it.
#[must_use]
pub fn first_word(text: &str) -> &str {
    let line = text.split('\n').next().unwrap_or_default();
    line.split_whitespace().next().unwrap_or_default()
}

/// The only section.
const SECTION: &str = "Host";
/// Its keys.
const KEYS: [&str; 4] = ["nqn", "id", "key", "symname"];

/// `sys.conf` while it is read.
struct Conf<'a> {
    path: &'a str,
    values: BTreeMap<String, (String, u32)>,
    out: Vec<Diagnostic>,
    read: &'a mut dyn FnMut(&str) -> Result<String, String>,
}

impl Conf<'_> {
    fn parse(&mut self, text: &str) {
        let ini = match Ini::parse(text) {
            Ok(ini) => ini,
            Err(error) => {
                let reason = format!("{}; the file is ignored", error.reason);
                self.out.push(Diagnostic::unreadable(self.path, Some(error.line), &reason));
                return;
            }
        };
        for (name, line) in ini.sections.iter().filter(|(name, _)| name != SECTION) {
            let text = format!("unknown section [{}], ignored", name.escape_debug());
            self.out.push(Diagnostic::new(Level::Error, self.path, Some(*line), text));
        }
        for entry in ini.entries.into_iter().filter(|entry| entry.section == SECTION) {
            let value = entry.value.filter(|value| !value.is_empty());
            match value {
                _ if !KEYS.contains(&entry.key.as_str()) => {
                    let text =
                        format!("[Host] unknown key '{}', ignored", entry.key.escape_debug());
                    self.out.push(Diagnostic::new(Level::Error, self.path, Some(entry.line), text));
                }
                Some(value) => {
                    if has_comment(&value) {
                        let key = &entry.key;
                        let text = format!("[Host] {key}: a comment belongs to the value");
                        self.out.push(Diagnostic::new(
                            Level::Warn,
                            self.path,
                            Some(entry.line),
                            text,
                        ));
                    }
                    self.values.insert(entry.key, (value, entry.line));
                }
                None => {
                    let text = format!("[Host] {}: no value, the default is used", entry.key);
                    self.out.push(Diagnostic::new(Level::Warn, self.path, Some(entry.line), text));
                }
            }
        }
    }

    fn tell(&mut self, level: Level, key: &str, text: &str) {
        let line = self.values.get(key).map(|(_, line)| *line);
        self.out.push(Diagnostic::new(level, self.path, line, format!("[Host] {key}: {text}")));
    }

    /// The value of `key`, read from the file that it names where it names one.
    fn value(&mut self, key: &str) -> Option<Result<String, String>> {
        let (value, _) = self.values.get(key)?;
        Some(match value.strip_prefix("file://") {
            Some(file) => (self.read)(file).map(|text| first_word(&text).to_owned()),
            None => Ok(value.clone()),
        })
    }

    fn mandatory(&mut self, key: &str, file: &str) -> Result<String, String> {
        match self.value(key) {
            Some(told) => told,
            None => (self.read)(file).map(|text| first_word(&text).to_owned()),
        }
    }

    fn key(&mut self) -> Option<Secret> {
        let told = self.value("key");
        let configured = told.is_some();
        let word = match told
            .unwrap_or_else(|| (self.read)(KEY_FILE).map(|text| first_word(&text).to_owned()))
        {
            Ok(word) if word.is_empty() => return None,
            Ok(word) => word,
            Err(cause) => {
                let level = if configured { Level::Warn } else { Level::Debug };
                self.tell(level, "key", &format!("no host key: {cause}"));
                return None;
            }
        };
        Some(Secret::parse(&word).unwrap_or_else(|error| {
            let text = format!("{error}; controllers without a secret will not be connected");
            self.tell(Level::Error, "key", &text);
            Secret::Invalid
        }))
    }

    fn symname(&mut self) -> Option<String> {
        match self.value("symname")? {
            Ok(name) => Some(name).filter(|name| !name.is_empty()),
            Err(cause) => {
                self.tell(Level::Warn, "symname", &format!("no symbolic name: {cause}"));
                None
            }
        }
    }
}
