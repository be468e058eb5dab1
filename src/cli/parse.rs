// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parsing a command line against the tables.
//!
//! Splitting words into options and values is lexopt's; choosing the entry, abbreviations, counting
//! positionals and the wording of errors are ours. Setters run in the order of the words; those for
//! environment variables run last, for options that were not given.

use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;

use lexopt::{Arg, Parser};

use super::{Arity, Command, Flag, Positional, Program};
use crate::near::nearest;
use crate::sorting;
use crate::text::quote;

/// A command line that was not understood; names the word at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl UsageError {
    /// For faults that only the program sees, such as two options that exclude each other.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for UsageError {}

/// What the command line asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<A> {
    /// To run, with what the setters recorded.
    Run {
        /// The name of the chosen command; `None` when none was given or the program has none.
        command: Option<&'static str>,
        /// What was recorded.
        args: A,
    },
    /// To print this help and succeed.
    Help(String),
    /// To print the version and succeed.
    Version,
    /// To print this completion script and succeed.
    Completions(String),
}

/// What a dashed word stands for.
enum Word<A: 'static> {
    Help,
    Version,
    Completions,
    Flag(&'static Flag<A>),
}

// Written by hand: deriving would ask the same of `A`.
impl<A> Clone for Word<A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<A> Copy for Word<A> {}

impl<A: Default> Program<A> {
    /// Parses `words`, the program's own name not among them. `env` looks up a variable.
    ///
    /// # Errors
    /// A [`UsageError`] for the first word that fits no table, or that its setter refuses.
    pub fn parse<I>(
        &self,
        words: I,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Outcome<A>, UsageError>
    where
        I: IntoIterator<Item = OsString>,
    {
        let mut parser = Parser::from_args(words);
        let mut run = Run {
            program: self,
            args: A::default(),
            command: None,
            words: 0,
            seen: BTreeSet::new(),
        };
        while let Some(arg) = parser.next().map_err(wording)? {
            let (shown, word) = match arg {
                Arg::Value(value) => {
                    run.value(value)?;
                    continue;
                }
                Arg::Short(letter) => (format!("-{letter}"), run.short(letter)?),
                Arg::Long(name) => (format!("--{name}"), run.long(name)?),
            };
            match word {
                Word::Help => return Ok(Outcome::Help(self.help(run.command))),
                Word::Version => return Ok(Outcome::Version),
                Word::Completions => {
                    let shell = parser.value().map_err(wording)?;
                    return self.completions_for(&shell);
                }
                Word::Flag(flag) => run.flag(flag, &shown, &mut parser)?,
            }
        }
        run.finish(env)
    }

    fn completions_for(&self, shell: &OsStr) -> Result<Outcome<A>, UsageError> {
        let script = shell.to_str().and_then(|name| self.completions(name));
        script.map(Outcome::Completions).ok_or_else(|| {
            UsageError(format!("no completions for {}", quote(&shell.to_string_lossy())))
        })
    }
}

struct Run<'p, A: 'static> {
    program: &'p Program<A>,
    args: A,
    command: Option<&'static Command<A>>,
    words: usize,
    seen: BTreeSet<&'static str>,
}

impl<A> Run<'_, A> {
    fn flags(&self) -> impl Iterator<Item = &'static Flag<A>> + use<A> {
        let own = self.command.map_or(&[][..], |command| command.flags);
        own.iter().chain(self.program.flags)
    }

    fn positionals(&self) -> &'static [Positional<A>] {
        self.command.map_or(self.program.positionals, |command| command.positionals)
    }

    fn short(&self, letter: char) -> Result<Word<A>, UsageError> {
        if let Some(flag) = self.flags().find(|flag| flag.short == Some(letter)) {
            return Ok(Word::Flag(flag));
        }
        match letter {
            'h' => Ok(Word::Help),
            'v' => Ok(Word::Version),
            _ => Err(UsageError(format!("unknown option {}", quote(&format!("-{letter}"))))),
        }
    }

    fn long(&self, name: &str) -> Result<Word<A>, UsageError> {
        if name == "completions" {
            return Ok(Word::Completions); // hidden: never the meaning of an abbreviation
        }
        let built_in = [("help", Word::Help), ("version", Word::Version)];
        let mut found: Vec<(&str, Word<A>)> = built_in
            .into_iter()
            .chain(self.flags().map(|flag| (flag.long, Word::Flag(flag))))
            .filter(|(long, _)| long.starts_with(name) && !name.is_empty())
            .collect();
        if let Some(exact) = found.iter().find(|(long, _)| *long == name) {
            return Ok(exact.1);
        }
        match found.as_slice() {
            [(_, only)] => Ok(*only),
            [] => {
                let known = ["help", "version"].into_iter().chain(self.flags().map(|it| it.long));
                let hint = meant(nearest(name, known, 1).first().map(|it| format!("--{it}")));
                let shown = quote(&format!("--{name}"));
                Err(UsageError(format!("unknown option {shown}{hint}")))
            }
            _ => {
                sorting::sort_by_key(&mut found, |(long, _)| *long);
                let names: Vec<String> = found.iter().map(|(l, _)| format!("--{l}")).collect();
                let shown = quote(&format!("--{name}"));
                Err(UsageError(format!("ambiguous option {shown}: {}", names.join(", "))))
            }
        }
    }

    /// The command that was probably meant, as the end of a message. What other programs have as
    /// commands are options here.
    fn near_command(&self, word: &str) -> String {
        if matches!(word, "help" | "version") {
            return meant(Some(format!("--{word}")));
        }
        let names = self.program.commands.iter().map(|command| command.name);
        meant(nearest(word, names, 1).first().map(|name| (*name).to_owned()))
    }

    fn flag(
        &mut self,
        flag: &'static Flag<A>,
        shown: &str,
        parser: &mut Parser,
    ) -> Result<(), UsageError> {
        let value = match flag.value {
            Some(_) => parser
                .value()
                .map_err(|_| UsageError(format!("option {} needs a value", quote(shown))))?,
            None => OsString::new(),
        };
        let said = value.to_string_lossy().into_owned();
        self.seen.insert(flag.long);
        (flag.set)(&mut self.args, value).map_err(|reason| match flag.value {
            Some(_) => UsageError(format!("option --{}: {}: {reason}", flag.long, quote(&said))),
            None => UsageError(format!("option --{}: {reason}", flag.long)),
        })
    }

    fn value(&mut self, value: OsString) -> Result<(), UsageError> {
        let said = quote(&value.to_string_lossy());
        if self.command.is_none() && !self.program.commands.is_empty() {
            let command = value.to_str().and_then(|name| self.program.command(name));
            let unknown = || {
                let hint = self.near_command(&value.to_string_lossy());
                UsageError(format!("unknown command {said}{hint}"))
            };
            self.command = Some(command.ok_or_else(unknown)?);
            return Ok(());
        }
        let table = self.positionals();
        let last = table.last().filter(|last| matches!(last.arity, Arity::Many | Arity::Some));
        let Some(entry) = table.get(self.words).or(last) else {
            return Err(UsageError(format!("unexpected argument {said}")));
        };
        self.words += 1;
        (entry.set)(&mut self.args, value)
            .map_err(|reason| UsageError(format!("{}: {said}: {reason}", entry.name)))
    }

    fn finish(mut self, env: impl Fn(&str) -> Option<OsString>) -> Result<Outcome<A>, UsageError> {
        let mut rest = self.positionals().iter().skip(self.words);
        let is_needed = |arity| matches!(arity, Arity::Required | Arity::Some);
        if let Some(missing) = rest.find(|entry| is_needed(entry.arity)) {
            return Err(UsageError(format!("argument {} is missing", missing.name)));
        }
        for flag in self.flags().filter(|flag| !self.seen.contains(flag.long)) {
            let Some(name) = flag.env else { continue };
            let Some(value) = env(name).filter(|value| !value.is_empty()) else { continue };
            let said = quote(&value.to_string_lossy());
            (flag.set)(&mut self.args, value)
                .map_err(|reason| UsageError(format!("variable {name}: {said}: {reason}")))?;
        }
        Ok(Outcome::Run { command: self.command.map(|command| command.name), args: self.args })
    }
}

/// What was probably meant, as the end of a message.
fn meant(name: Option<String>) -> String {
    name.map(|name| format!("; did you mean {}?", quote(&name))).unwrap_or_default()
}

/// lexopt's errors that are not replaced by better ones, in our words.
fn wording(error: lexopt::Error) -> UsageError {
    match error {
        lexopt::Error::UnexpectedValue { option, value } => UsageError(format!(
            "option {} takes no value, but was given {}",
            quote(&option),
            quote(&value.to_string_lossy())
        )),
        lexopt::Error::MissingValue { option: Some(option) } => {
            UsageError(format!("option {} needs a value", quote(&option)))
        }
        other => UsageError(crate::text::escape_control(&other.to_string()).into_owned()),
    }
}
