// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Merges the files of a daemon and applies the table of keys to what they assign.
//!
//! Owns the order in which assignments count and the complaints about what is unknown.

use std::collections::BTreeSet;

use log::Level;
use plinth::config::ini::{Entry, Ini};

use super::keys::{self, KEYS, Key, Set};
use super::{Diagnostic, Role, Settings, controller};
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
        for entry in ini.entries {
            if self.knows_section(&entry.section) {
                assigned.push(Assigned { path: path.to_owned(), entry });
            }
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
        let role = self.role;
        for key in KEYS.iter().filter(|key| key.roles.contains(&role)) {
            let of_key: Vec<&Assigned> = assigned
                .iter()
                .filter(|at| at.entry.section == key.section && at.entry.key == key.name)
                .collect();
            match key.set {
                Set::Controller => self.controllers(&of_key),
                Set::Exclude => self.exclusions(&of_key),
                Set::Parameter(_) | Set::Setting(_) => self.scalar(key, of_key.last().copied()),
            }
        }
    }

    fn scalar(&mut self, key: &Key, last: Option<&Assigned>) {
        let Some(at) = last else { return };
        let value = at.entry.value.as_deref().unwrap_or_default();
        let result = match key.set {
            Set::Parameter(set) => set(&mut self.settings.parameters, value),
            Set::Setting(set) => set(&mut self.settings, value),
            Set::Controller | Set::Exclude => Ok(()),
        };
        if let Err(error) = result {
            let (section, name) = (key.section, key.name);
            let value = value.escape_debug();
            let text = format!("[{section}] {name}: invalid value '{value}': {error}");
            self.complain(at, at.entry.line, text);
        }
    }

    fn controllers(&mut self, entries: &[&Assigned]) {
        for at in entries {
            for (line, text) in at.entry.lines() {
                if text == RESET {
                    self.settings.controllers.clear();
                    continue;
                }
                let (entry, complaints) = controller::parse(text, line);
                for complaint in complaints {
                    self.complain(at, line, complaint);
                }
                let tid = |entry: &controller::Configured| {
                    Tid::new(&entry.wanted(self.role), &TidDefaults::default())
                };
                if self.settings.controllers.iter().any(|known| tid(known) == tid(&entry)) {
                    self.complain(at, line, "controller is configured already".to_owned());
                    continue;
                }
                self.settings.controllers.push(entry);
            }
        }
    }

    fn exclusions(&mut self, entries: &[&Assigned]) {
        for at in entries {
            for (line, text) in at.entry.lines() {
                if text == RESET {
                    self.settings.excludes.clear();
                    continue;
                }
                let (exclusion, complaints) = controller::parse_exclusion(text, line);
                self.settings.excludes.extend(exclusion);
                for complaint in complaints {
                    self.complain(at, line, complaint);
                }
            }
        }
    }
}
