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
use super::secret::{self, Secret};
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

    /// Replaces a host key that is kept elsewhere by the key itself; `read` returns the text of the
    /// place. Says what went wrong, after which nothing connects without a secret of its own.
    pub fn resolve_key(&mut self, path: &str, read: &mut secret::Read<'_>) -> Option<Diagnostic> {
        let error = self.key.as_mut()?.resolve(read).err()?;
        Some(Diagnostic::new(Level::Error, path, None, format!("[Host] key: {error}")))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NQN: &str = "nqn.2014-08.org.nvmexpress:uuid:01234567-89ab-cdef-0123-456789abcdef";
    const ID: &str = "01234567-89ab-cdef-0123-456789abcdef";
    const OTHER: &str = "76543210-89ab-cdef-0123-456789abcdef";
    const SECRET: &str = "DHHC-1:00:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:";

    /// The default files, and a few that values point to.
    fn read(path: &str) -> Result<String, String> {
        match path {
            NQN_FILE => Ok(format!("{NQN}\n")),
            ID_FILE => Ok(format!("{ID}\n")),
            "/dev/null" => Ok(String::new()),
            "/words" => Ok("  nqn.a  trailing words\nnqn.b\n".to_owned()),
            "/blank-first" => Ok("\nnqn.b\n".to_owned()),
            "/key" => Ok(format!("{SECRET}\n")),
            _ => Err(format!("{path}: no such file")),
        }
    }

    fn load(text: &str) -> Result<(Identity, Vec<Diagnostic>), IdentityError> {
        Identity::load("/etc/stas/sys.conf", Some(text), &mut read)
    }

    fn loaded(text: &str) -> Identity {
        load(text).expect("a usable identity").0
    }

    // R066, R067
    #[test]
    fn literal_values_are_taken_as_they_are() {
        let text = format!("[Host]\nnqn=nqn.x\nid={OTHER}\nkey={SECRET}\nsymname=My host\n");
        let (identity, diagnostics) = load(&text).expect("usable");
        assert_eq!((identity.nqn.as_str(), identity.id.as_str()), ("nqn.x", OTHER));
        assert_eq!(identity.symname.as_deref(), Some("My host"));
        assert!(identity.key_set());
        assert_eq!(diagnostics, []);
        let shown = format!("{identity:?} {:?}", identity.key);
        assert!(shown.contains("***") && !shown.contains(SECRET), "{shown}");
    }

    // R067
    #[test]
    fn without_values_the_default_files_count() {
        let missing = Identity::load("/etc/stas/sys.conf", None, &mut read).expect("usable").0;
        for identity in [missing, loaded(""), loaded("[Host]\n"), loaded("[Host]\nnqn=\nid\n")] {
            assert_eq!((identity.nqn.as_str(), identity.id.as_str()), (NQN, ID));
            assert_eq!((identity.symname.as_deref(), identity.key_set()), (None, false));
        }
    }

    // R066
    #[test]
    fn values_may_point_to_files() {
        for (value, expected) in [
            ("file:///dev/null", ""),
            ("file:///words", "nqn.a"),
            ("file:///blank-first", ""),
            ("nqn.literal", "nqn.literal"),
        ] {
            let identity = loaded(&format!("[Host]\nnqn={value}\n"));
            assert_eq!((identity.nqn.as_str(), identity.id.as_str()), (expected, ID), "{value}");
        }
        assert!(loaded("[Host]\nkey=file:///key\n").key_set());
        assert_eq!(loaded("[Host]\nsymname=file:///words\n").symname.as_deref(), Some("nqn.a"));
    }

    // R067
    #[test]
    fn an_unusable_identity_is_fatal() {
        let long = |bytes: usize| format!("nqn.{}", "x".repeat(bytes - 4));
        assert_eq!(loaded(&format!("[Host]\nnqn={}\n", long(223))).nqn, long(223));
        for (text, message) in [
            (
                "nqn=qnq.2014-08.org".to_owned(),
                "invalid host NQN 'qnq.2014-08.org' (nqn. and at most 223 bytes)".to_owned(),
            ),
            (
                format!("nqn={}", long(224)),
                format!("invalid host NQN '{}' (nqn. and at most 223 bytes)", long(224)),
            ),
            (
                "nqn=file:///missing".to_owned(),
                "Error reading mandatory Host NQN (see stasadm --help): /missing: no such file"
                    .to_owned(),
            ),
            (
                "id=file:///missing".to_owned(),
                "Error reading mandatory Host ID (see stasadm --help): /missing: no such file"
                    .to_owned(),
            ),
        ] {
            let error = load(&format!("[Host]\n{text}\n")).expect_err("unusable");
            assert_eq!(error.to_string(), message);
        }
        for absent in [NQN_FILE, ID_FILE] {
            let mut partly = |path: &str| {
                if path == absent { Err("gone".to_owned()) } else { read(path) }
            };
            let error = Identity::load("sys.conf", None, &mut partly).expect_err("no identity");
            assert!(error.to_string().starts_with("Error reading mandatory Host"));
        }
    }

    // R067
    #[test]
    fn an_unreadable_name_or_key_is_survived() {
        let text = "[Host]\nsymname=file:///missing\nkey=file:///missing\n";
        let (identity, diagnostics) = load(text).expect("usable");
        assert_eq!((identity.symname.as_deref(), identity.key_set()), (None, false));
        let told: Vec<(Level, Option<u32>)> =
            diagnostics.iter().map(|told| (told.level, told.line)).collect();
        assert_eq!(told, [(Level::Warn, Some(3)), (Level::Warn, Some(2))]);
    }

    // R171, R199
    #[test]
    fn a_malformed_key_forbids_connections_without_one() {
        let (identity, diagnostics) = load("[Host]\nkey=hunter2\n").expect("usable");
        assert_eq!(identity.key, Some(Secret::Invalid));
        assert_eq!(diagnostics[0].level, Level::Error);
        assert!(!diagnostics[0].text.contains("hunter2"));
    }

    // R035, R037, R038
    #[test]
    fn doubtful_lines_are_told() {
        for (text, expected) in [
            ("[Hots]\nnqn=x\n", "/etc/stas/sys.conf:1: unknown section [Hots], ignored"),
            ("[Host]\nname=x\n", "/etc/stas/sys.conf:2: [Host] unknown key 'name', ignored"),
            ("[Host]\nid\n", "/etc/stas/sys.conf:2: [Host] id: no value, the default is used"),
            ("[Host]\nid=x\n", "/etc/stas/sys.conf:2: [Host] id: host ID is no UUID"),
            ("nqn=x\n", "/etc/stas/sys.conf:1: text before the first section; the file is ignored"),
            (
                "[Host]\nsymname=a # b\n",
                "/etc/stas/sys.conf:2: [Host] symname: a comment belongs to the value",
            ),
        ] {
            let (_, mut diagnostics) = load(text).expect("usable");
            diagnostics.retain(|told| told.level != Level::Debug);
            let told: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
            assert_eq!(told, [expected], "{text:?}");
        }
    }

    #[test]
    fn only_what_is_needed_is_read() {
        let mut seen = BTreeSet::new();
        let mut spy = |path: &str| {
            seen.insert(path.to_owned());
            read(path)
        };
        let text = format!("[Host]\nnqn=nqn.x\nid={ID}\nkey={SECRET}\n");
        assert!(Identity::load("sys.conf", Some(&text), &mut spy).is_ok());
        assert_eq!(seen, BTreeSet::new());
    }
}
