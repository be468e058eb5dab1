// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Merges the files of a daemon and applies the table of keys to what they assign.
//!
//! Owns the order in which assignments count and the complaints about what is unknown or doubtful.
//! Of several assignments the last counts, except for lists, where all count up to a `!reset`.

use std::collections::{BTreeMap, BTreeSet};

use log::Level;
use plinth::config::ini::{Entry, Ini};

use super::keys::{self, ALIASES, Alias, KEYS, Key, Set};
use super::{Configured, Diagnostic, Role, Settings, Timing, controller};
use crate::core::tid::{Tid, TidDefaults};

/// The value that empties a list.
const RESET: &str = "!reset";

/// One assignment and the file that it stands in.
struct Assigned {
    path: String,
    entry: Entry,
}

pub(super) fn settings(role: Role, files: &[(&str, &str)]) -> (Settings, Vec<Diagnostic>) {
    let mut reader = Reader { role, settings: Settings::new(role), out: Vec::new() };
    let mut assigned = Vec::new();
    for &(path, text) in files {
        reader.file(path, text, &mut assigned);
    }
    reader.apply(&assigned);
    reader.timing(&assigned);
    (reader.settings, reader.out)
}

struct Reader {
    role: Role,
    settings: Settings,
    out: Vec<Diagnostic>,
}

impl Reader {
    fn complain(&mut self, at: &Assigned, line: u32, text: String) {
        self.out.push(Diagnostic::new(Level::Warn, &at.path, Some(line), text));
    }

    fn knows_section(&self, section: &str) -> bool {
        section == keys::DEBUG
            || KEYS.iter().any(|key| key.section == section && key.roles.contains(&self.role))
    }

    fn knows_key(&self, section: &str, name: &str) -> bool {
        if section == keys::DEBUG {
            return Timing::KEYS.contains(&name);
        }
        KEYS.iter()
            .any(|key| key.section == section && key.name == name && key.roles.contains(&self.role))
    }

    /// Collects the assignments of one file that mean something, and reports the others.
    fn file(&mut self, path: &str, text: &str, assigned: &mut Vec<Assigned>) {
        let ini = match Ini::parse(text) {
            Ok(ini) => ini,
            Err(error) => {
                let reason = format!("{}; the file is ignored", error.reason);
                self.out.push(Diagnostic::unreadable(path, Some(error.line), &reason));
                return;
            }
        };
        self.unknown_sections(path, &ini);
        let mut unknown: BTreeMap<String, (u32, Vec<String>)> = BTreeMap::new();
        for entry in ini.entries {
            let (section, key) = (entry.section.as_str(), entry.key.as_str());
            if !self.knows_section(section) {
                continue;
            }
            if self.knows_key(section, key) || alias(section, key).is_some() {
                assigned.push(Assigned { path: path.to_owned(), entry });
            } else {
                let place = unknown.entry(entry.section).or_insert((entry.line, Vec::new()));
                place.1.push(entry.key.escape_debug().to_string());
            }
        }
        for (section, (line, names)) in unknown {
            let text = format!("[{section}] unknown keys, ignored: {}", names.join(", "));
            self.out.push(Diagnostic::new(Level::Error, path, Some(line), text));
        }
    }

    fn unknown_sections(&mut self, path: &str, ini: &Ini) {
        let mut seen = BTreeSet::new();
        let unknown: Vec<&(String, u32)> = ini
            .sections
            .iter()
            .filter(|(name, _)| !self.knows_section(name) && seen.insert(name.as_str()))
            .collect();
        if let Some((_, line)) = unknown.first() {
            let names: Vec<String> =
                unknown.iter().map(|(name, _)| format!("[{}]", name.escape_debug())).collect();
            let text = format!("unknown sections, ignored: {}", names.join(", "));
            self.out.push(Diagnostic::new(Level::Error, path, Some(*line), text));
        }
    }

    fn apply(&mut self, assigned: &[Assigned]) {
        for old in ALIASES {
            self.report_alias(old, assigned);
        }
        let role = self.role;
        for key in KEYS.iter().filter(|key| key.roles.contains(&role)) {
            let at = |section: &str, name: &str| -> Vec<&Assigned> {
                let here = |at: &&Assigned| at.entry.section == section && at.entry.key == name;
                assigned.iter().filter(here).collect()
            };
            match key.set {
                Set::Controller => self.controllers(&at(key.section, key.name)),
                Set::Exclude => {
                    let is_entry = |at: &&Assigned| {
                        let names = [key.name, "blacklist"];
                        at.entry.section == key.section && names.contains(&at.entry.key.as_str())
                    };
                    self.exclusions(&assigned.iter().filter(is_entry).collect::<Vec<_>>());
                }
                Set::Parameter(_) | Set::Setting(_) => {
                    let last = at(key.section, key.name).last().copied();
                    let last = last.or_else(|| {
                        let now = Some((key.section, key.name));
                        let old = ALIASES.iter().find(|alias| alias.now == now)?;
                        at(old.section, old.name).last().copied()
                    });
                    self.scalar(key, last);
                }
            }
        }
    }

    /// Warns of an old key, once.
    fn report_alias(&mut self, old: &Alias, assigned: &[Assigned]) {
        let is_old = |at: &&Assigned| at.entry.section == old.section && at.entry.key == old.name;
        let Some(at) = assigned.iter().find(is_old) else { return };
        let effect = match old.now {
            Some((section, name)) if self.knows_key(section, name) => {
                format!("is deprecated, use [{section}] {name}")
            }
            _ => "has no effect".to_owned(),
        };
        self.complain(at, at.entry.line, format!("[{}] {} {effect}", old.section, old.name));
    }

    fn scalar(&mut self, key: &Key, last: Option<&Assigned>) {
        let Some(at) = last else { return };
        let given = at.entry.value.as_deref();
        let value = match (at.entry.key.as_str(), given) {
            ("sticky-connections", given) => match sticky(given) {
                Some(scope) => scope,
                None => return,
            },
            (_, given) => given.unwrap_or_default(),
        };
        let result = match key.set {
            Set::Parameter(set) => set(&mut self.settings.parameters, value),
            Set::Setting(set) => set(&mut self.settings, value),
            Set::Controller | Set::Exclude => Ok(()),
        };
        if let Err(error) = result {
            let (section, name) = (&at.entry.section, &at.entry.key);
            let shown = value.escape_debug();
            let mut text = format!("[{section}] {name}: invalid value '{shown}': {error}");
            if has_comment(value) {
                text.push_str("; a comment after a value belongs to the value");
            }
            self.complain(at, at.entry.line, text);
        }
    }

    fn controllers(&mut self, entries: &[&Assigned]) {
        // Which line configures a controller already.
        let mut known: BTreeMap<Tid, u32> = BTreeMap::new();
        for at in entries {
            self.check_comment(at);
            for (line, text) in at.entry.lines() {
                if text == RESET {
                    self.settings.controllers.clear();
                    known.clear();
                    continue;
                }
                let (entry, complaints) = controller::parse(text, line);
                for complaint in complaints {
                    self.complain(at, line, format!("controller: {complaint}"));
                }
                if let Some(field) = entry.missing(self.role) {
                    let text = format!("controller: no {field} given, it will not be connected");
                    self.complain(at, line, text);
                }
                if let Some(first) = known.get(&self.tid(&entry)) {
                    let text = format!("controller: the same as in line {first}, ignored");
                    self.complain(at, line, text);
                } else {
                    known.insert(self.tid(&entry), line);
                    self.settings.controllers.push(entry);
                }
            }
        }
    }

    /// What makes two entries the same controller.
    fn tid(&self, entry: &Configured) -> Tid {
        let defaults = TidDefaults { host_nqn: "", ignore_iface: self.settings.ignore_iface };
        Tid::new(&entry.wanted(self.role), &defaults)
    }

    fn exclusions(&mut self, entries: &[&Assigned]) {
        for at in entries {
            self.check_comment(at);
            let value = at.entry.value.as_deref().unwrap_or_default();
            if value.is_empty() {
                let text = "exclude: no field to compare, ignored".to_owned();
                self.complain(at, at.entry.line, text);
            }
            for (line, text) in at.entry.lines() {
                if text == RESET {
                    self.settings.excludes.clear();
                    continue;
                }
                let (exclusion, complaints) = controller::parse_exclusion(text, line);
                self.settings.excludes.extend(exclusion);
                for complaint in complaints {
                    self.complain(at, line, format!("exclude: {complaint}"));
                }
            }
        }
    }

    /// Semicolons separate fields here, so only the other sign is suspicious.
    fn check_comment(&mut self, at: &Assigned) {
        for (line, text) in at.entry.lines() {
            if text.contains(" #") || text.contains("\t#") {
                let name = &at.entry.key;
                let text = format!("{name}: a comment after a value belongs to the value");
                self.complain(at, line, text);
            }
        }
    }

    fn timing(&mut self, assigned: &[Assigned]) {
        for at in assigned.iter().filter(|at| at.entry.section == keys::DEBUG) {
            let value = at.entry.value.as_deref().unwrap_or_default();
            if let Err(error) = self.settings.timing.set(&at.entry.key, value) {
                let text = format!("[Debug] {}: {error}", at.entry.key);
                self.complain(at, at.entry.line, text);
            }
        }
    }
}

fn alias(section: &str, name: &str) -> Option<&'static Alias> {
    ALIASES.iter().find(|alias| alias.section == section && alias.name == name)
}

/// What the old switch means as a scope; nothing unless it was on.
fn sticky(value: Option<&str>) -> Option<&'static str> {
    value.filter(|value| value.eq_ignore_ascii_case("enabled")).map(|_| "no-disconnect")
}

/// Whether a value looks as if a comment followed it.
pub(crate) fn has_comment(value: &str) -> bool {
    [" #", "\t#", " ;", "\t;"].iter().any(|start| value.contains(start))
}
