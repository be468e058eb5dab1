// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is said about a description: a code, a place, a sentence, and often what to do.
//!
//! Owns the form of a diagnostic and the order of several. All that is wrong is said in one run;
//! the modules that find it append to a [`Report`]. A warning never changes what is generated.

use std::fmt;

use plinth::text::escape_control;
use serde_json::{Value, json};

use crate::source::{Files, Place};

/// How grave a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is generated.
    Error,
    /// Worth a thought.
    Warning,
}

impl Severity {
    /// As it stands in a line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// The codes that may be warnings, as microvm-diagnostics(7) says.
pub const WARNINGS: &[&str] = &[
    "MV103", "MV104", "MV106", "MV114", "MV118", "MV123", "MV127", "MV132", "MV139", "MV143",
    "MV146", "MV170", "MV227", "MV231", "MV232", "MV233",
];

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// `MV` and three digits; stable, so that scripts and `-W` can name it.
    pub code: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// The machine, when there are several.
    pub vm: Option<String>,
    /// The option, such as `interfaces[0].id`; empty for the whole description.
    pub path: String,
    /// Where it stands.
    pub place: Option<Place>,
    /// What is wrong: one sentence without full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error about the option at `path`.
    pub fn error(code: &'static str, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            vm: None,
            path: path.into(),
            place: None,
            message: message.into(),
            hint: None,
        }
    }

    /// A warning about the option at `path`.
    pub fn warning(
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, path, message) }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same at a known place.
    #[must_use]
    pub const fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// The lines that are printed: `FILE:LINE:COL: error[MV120]: …`, and the hint.
    #[must_use]
    pub fn text(&self, files: &Files) -> String {
        let mut text = match self.place.map(|place| files.position(place)) {
            Some(at) => format!("{}:{}:{}: ", escape_control(&at.path), at.line, at.column),
            None => String::new(),
        };
        text.push_str(&format!("{}[{}]: ", self.severity.name(), self.code));
        if let Some(vm) = &self.vm {
            text.push_str(&format!("{}: ", escape_control(vm)));
        }
        text.push_str(&escape_control(&self.message));
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\n  hint: {}", escape_control(hint)));
        }
        text
    }

    /// The finding as JSON: `code`, `severity`, `message` and `path`, and where known `hint`, `vm`
    /// and `span`.
    #[must_use]
    pub fn to_json(&self, files: &Files) -> Value {
        let mut value = json!({
            "code": self.code,
            "severity": self.severity.name(),
            "message": self.message,
            "path": self.path,
        });
        let span = self.place.map(|place| {
            let at = files.position(place);
            json!({
                "file": at.path, "line": at.line, "column": at.column, "offset": place.offset,
            })
        });
        let known = [
            ("hint", self.hint.clone().map(Value::from)),
            ("vm", self.vm.clone().map(Value::from)),
            ("span", span),
        ];
        if let Value::Object(members) = &mut value {
            let known = known.into_iter().filter_map(|(key, it)| Some((key.to_owned(), it?)));
            members.extend(known);
        }
        value
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub struct Report(Vec<Diagnostic>);

impl Report {
    /// Adds a finding.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds what another report holds.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Is there an error among them?
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|it| it.severity == Severity::Error)
    }

    /// Is there nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The findings; sorted once [`Report::sort`] was called.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// The findings, to be changed: completed with a place, or made graver.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Diagnostic> {
        self.0.iter_mut()
    }

    /// Keeps the findings that `keep` says.
    pub fn retain(&mut self, keep: impl FnMut(&Diagnostic) -> bool) {
        self.0.retain(keep);
    }

    /// All of them as a list of JSON objects.
    #[must_use]
    pub fn to_json(&self, files: &Files) -> Value {
        self.0.iter().map(|it| it.to_json(files)).collect()
    }

    /// Sorts by file and place, then by code. What is said of several machines because they share
    /// the place is said once.
    pub fn sort(&mut self) {
        let key = |it: &Diagnostic| (it.place, it.code, it.path.clone(), it.message.clone());
        self.0.sort_by_cached_key(|it| (key(it), it.vm.clone()));
        let mut others: usize = 0;
        let mut kept: Vec<Diagnostic> = Vec::with_capacity(self.0.len());
        let and_others = |kept: &mut Vec<Diagnostic>, others: usize| {
            let vm = kept.last_mut().and_then(|last| last.vm.as_mut());
            if let Some(vm) = vm.filter(|_| others > 0) {
                let end = if others == 1 { "" } else { "s" };
                vm.push_str(&format!(" and {others} other{end}"));
            }
        };
        for it in self.0.drain(..) {
            if kept.last().is_some_and(|last| key(last) == key(&it)) {
                others += usize::from(kept.last().is_some_and(|last| last.vm != it.vm));
                continue;
            }
            and_others(&mut kept, others);
            others = 0;
            kept.push(it);
        }
        and_others(&mut kept, others);
        self.0 = kept;
    }

    /// All of them as lines.
    #[must_use]
    pub fn text(&self, files: &Files) -> String {
        self.0.iter().map(|it| it.text(files) + "\n").collect()
    }
}

impl fmt::Display for Report {
    /// How many of each there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.0.iter().filter(|it| it.severity == Severity::Error).count();
        write!(f, "{errors} error{}", if errors == 1 { "" } else { "s" })
    }
}
