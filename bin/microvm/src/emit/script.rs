// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One script.

use super::Options;
use crate::quote::shell;

/// Collects the lines of a script.
pub(super) struct Script {
    shell: String,
    source: String,
    helper: String,
    embedded: bool,
    needs_helper: bool,
    needs_package: bool,
    lines: Vec<String>,
}

impl Script {
    /// An empty script, for `shell` if it holds commands of the user's.
    pub(super) fn new(options: &Options, shell: Option<&str>) -> Self {
        Self {
            shell: shell.unwrap_or("/bin/sh").to_owned(),
            source: options.source.clone(),
            helper: options.helper.clone(),
            embedded: options.embed.is_some(),
            needs_helper: false,
            needs_package: false,
            lines: Vec::new(),
        }
    }

    /// The script calls this program.
    pub(super) const fn uses_helper(&mut self) -> &mut Self {
        self.needs_helper = true;
        self
    }

    /// The script needs to know where its package is.
    pub(super) const fn uses_package(&mut self) -> &mut Self {
        self.needs_package = true;
        self
    }

    /// Adds a line.
    pub(super) fn line(&mut self, line: impl Into<String>) -> &mut Self {
        self.lines.push(line.into());
        self
    }

    /// Adds commands of the user's as they stand, as a group, so that they may set variables. Those
    /// that speak of the helper program find it.
    pub(super) fn body(&mut self, body: &str) -> &mut Self {
        self.needs_helper |= body.contains("$MICROVM") || body.contains("${MICROVM");
        self.line("{").line(":").line(body.trim_end_matches('\n')).line("}")
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        // A comment ends with its line, and file names may hold anything else.
        let source = plinth::text::escape_control(&self.source).into_owned();
        let mut text = format!("#!{}\n", self.shell);
        text.push_str(&format!("# microvm {version}\n"));
        text.push_str(&format!("# Generated from {source} — do not edit\n"));
        if self.lines.iter().any(|line| has_literal(line)) {
            text.push_str(
                "# shellcheck disable=SC2016 # texts of the description stay as they are\n",
            );
        }
        text.push_str("set -eu\n");
        if self.needs_package || (self.needs_helper && self.embedded) {
            text.push_str("here=${0%/*}\n");
            text.push_str("[ \"$here\" != \"$0\" ] || here=.\n");
            // That variable would send a relative path elsewhere, and print where.
            text.push_str("package=$(CDPATH='' cd -- \"$here/..\" && pwd -P)\n");
        }
        if self.needs_helper {
            if self.embedded {
                text.push_str("MICROVM=$package/libexec/microvm\n");
            } else {
                let helper = shell(&self.helper);
                text.push_str(&format!("[ -n \"${{MICROVM-}}\" ] || MICROVM={helper}\n"));
            }
        }
        for line in self.lines {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

/// Does something stand in single quotes that a shell would expand outside of them?
fn has_literal(line: &str) -> bool {
    let (mut single, mut double) = (false, false);
    for c in line.chars() {
        match c {
            '\'' if !double => single = !single,
            '"' if !single => double = !double,
            '$' | '`' if single => return true,
            _ => {}
        }
    }
    false
}
