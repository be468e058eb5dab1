// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The help text, from the tables alone: the same on every terminal.

use super::{Arity, Command, Flag, Positional, Program};

/// Columns of the output; help texts are wrapped here.
const WIDTH: usize = 80;
/// The column where descriptions begin.
const INDENT: usize = 26;

impl<A> Program<A> {
    /// The help of the program, or of one of its commands.
    #[must_use]
    pub fn help(&self, command: Option<&Command<A>>) -> String {
        let mut out = self.usage(command);
        let summary = command.map_or(self.summary, |command| command.summary);
        out.push_str(&format!("\n{}.\n", capitalised(summary)));
        let positionals = command.map_or(self.positionals, |command| command.positionals);
        if !positionals.is_empty() {
            out.push_str("\nArguments:\n");
            positionals.iter().for_each(|entry| describe(&mut out, entry.name, entry.help));
        }
        if command.is_none() && !self.commands.is_empty() {
            out.push_str("\nCommands:\n");
            self.commands.iter().for_each(|entry| describe(&mut out, entry.name, entry.summary));
        }
        out.push_str("\nOptions:\n");
        let own = command.map_or(&[][..], |command| command.flags);
        own.iter().chain(self.flags).for_each(|entry| flag(&mut out, entry));
        let taken = |letter| own.iter().chain(self.flags).any(|f| f.short == Some(letter));
        for (letter, rest, text) in [
            ('h', "--help", "print this help and exit"),
            ('v', "--version", "print the version and exit"),
        ] {
            let names =
                if taken(letter) { format!("    {rest}") } else { format!("-{letter}, {rest}") };
            describe(&mut out, &names, text);
        }
        out
    }

    /// The line that begins the help: which words go where.
    #[must_use]
    pub fn usage(&self, command: Option<&Command<A>>) -> String {
        let mut out = format!("Usage: {}", self.name);
        let positionals = match command {
            Some(command) => {
                out.push_str(&format!(" {} [OPTION]...", command.name));
                command.positionals
            }
            None => {
                out.push_str(" [OPTION]...");
                if !self.commands.is_empty() {
                    out.push_str(" COMMAND ...");
                }
                self.positionals
            }
        };
        positionals.iter().for_each(|entry| out.push_str(&placed(entry)));
        out.push('\n');
        out
    }
}

fn placed<A>(entry: &Positional<A>) -> String {
    match entry.arity {
        Arity::Required => format!(" {}", entry.name),
        Arity::Optional => format!(" [{}]", entry.name),
        Arity::Many => format!(" [{}]...", entry.name),
        Arity::Some => format!(" {}...", entry.name),
    }
}

fn flag<A>(out: &mut String, flag: &Flag<A>) {
    let mut names = match flag.short {
        Some(letter) => format!("-{letter}, --{}", flag.long),
        None => format!("    --{}", flag.long),
    };
    if let Some(value) = flag.value {
        names.push_str(&format!(" {value}"));
    }
    let mut text = flag.help.to_owned();
    if let Some(default) = flag.default {
        text.push_str(&format!(" (default: {default})"));
    }
    if let Some(env) = flag.env {
        text.push_str(&format!(" [${env}]"));
    }
    describe(out, &names, &text);
}

/// One entry: the names, then the text wrapped into its column, below the names where they are
/// long.
fn describe(out: &mut String, names: &str, text: &str) {
    let mut line = format!("  {names}");
    if line.chars().count() + 2 > INDENT {
        out.push_str(&line);
        out.push('\n');
        line.clear();
    }
    line.extend(std::iter::repeat_n(' ', INDENT.saturating_sub(line.chars().count())));
    let mut fresh = true;
    for word in text.split_whitespace() {
        if !fresh && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = " ".repeat(INDENT);
            fresh = true;
        }
        if !fresh {
            line.push(' ');
        }
        line.push_str(word);
        fresh = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
