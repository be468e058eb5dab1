// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Command lines as data: one table per program drives parsing, help and completions.
//!
//! Owns the tables' form, the parser ([`Program::parse`]), the help text ([`Program::help`]) and
//! the completion scripts ([`Program::completions`]). Tables are plain statics, so that tests
//! compare them with the manual pages. Parsing only records: the setters store what was said,
//! validation follows in the program. Nothing here prints or exits.
//!
//! Follows the GNU conventions: long options may be abbreviated to a unique prefix and take
//! `--option=value`, short ones may be joined (`-sf FILE`), `--` ends the options. `--help` (`-h`),
//! `--version` (`-v`) and the hidden `--completions SHELL` exist in every program and need no
//! entry.

mod complete;
mod help;
mod parse;

use std::ffi::OsString;

pub use complete::SHELLS;
pub use parse::{Outcome, UsageError};

/// Stores one occurrence of a flag or word; the value is empty for a switch. An error's text is the
/// reason alone, such as `not a number`: the parser puts the word at fault before it.
pub type Set<A> = fn(&mut A, OsString) -> Result<(), String>;

/// An option.
///
/// Tables name the type where a builder method follows: `Flag::<Args>::option(..).default("x")`.
#[derive(Debug)]
pub struct Flag<A: 'static> {
    /// The letter of the short form.
    pub short: Option<char>,
    /// The name of the long form, without dashes.
    pub long: &'static str,
    /// What the value is called, in capitals; `None` for a switch.
    pub value: Option<&'static str>,
    /// One phrase without full stop.
    pub help: &'static str,
    /// The value that stands when the option is absent; shown, not applied.
    pub default: Option<&'static str>,
    /// The environment variable that stands in for the option when that is absent.
    pub env: Option<&'static str>,
    /// The values that make sense, for completions; the setter checks.
    pub choices: &'static [&'static str],
    /// Records one occurrence.
    pub set: Set<A>,
}

impl<A> Flag<A> {
    /// An option without value.
    #[must_use]
    pub const fn switch(
        short: Option<char>,
        long: &'static str,
        help: &'static str,
        set: Set<A>,
    ) -> Self {
        Self { short, long, value: None, help, default: None, env: None, choices: &[], set }
    }

    /// An option with a value, called `value` in the help.
    #[must_use]
    pub const fn option(
        short: Option<char>,
        long: &'static str,
        value: &'static str,
        help: &'static str,
        set: Set<A>,
    ) -> Self {
        Self { short, long, value: Some(value), help, default: None, env: None, choices: &[], set }
    }

    /// The same, with a default to show.
    #[must_use]
    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// The same, with a variable that is looked at when the option is absent.
    #[must_use]
    pub const fn env(mut self, env: &'static str) -> Self {
        self.env = Some(env);
        self
    }

    /// The same, with the values that completions offer.
    #[must_use]
    pub const fn choices(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }
}

/// How often a positional word may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly once.
    Required,
    /// At most once.
    Optional,
    /// Any number of times; only the last positional of a table.
    Many,
    /// As [`Arity::Many`], and at least once.
    Some,
}

/// A word that is neither option nor command.
#[derive(Debug)]
pub struct Positional<A: 'static> {
    /// What it is called, in capitals.
    pub name: &'static str,
    /// One phrase without full stop.
    pub help: &'static str,
    /// How often it may stand.
    pub arity: Arity,
    /// Records one occurrence.
    pub set: Set<A>,
}

/// A subcommand.
#[derive(Debug)]
pub struct Command<A: 'static> {
    /// The word that selects it.
    pub name: &'static str,
    /// One phrase without full stop.
    pub summary: &'static str,
    /// Options that only this command has.
    pub flags: &'static [Flag<A>],
    /// The words after it.
    pub positionals: &'static [Positional<A>],
}

/// A whole program.
#[derive(Debug)]
pub struct Program<A: 'static> {
    /// The name, as in `argv[0]`.
    pub name: &'static str,
    /// One phrase without full stop.
    pub summary: &'static str,
    /// Options that stand before or after the command.
    pub flags: &'static [Flag<A>],
    /// Words, for a program without commands.
    pub positionals: &'static [Positional<A>],
    /// The commands; empty for a program that does one thing.
    pub commands: &'static [Command<A>],
}

impl<A> Program<A> {
    /// The command of this name.
    #[must_use]
    pub fn command(&self, name: &str) -> Option<&'static Command<A>> {
        self.commands.iter().find(|command| command.name == name)
    }
}

#[cfg(test)]
mod tests;
