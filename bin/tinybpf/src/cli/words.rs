// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The words after a command, one after the other; references take one or two of them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::vec::IntoIter;

use plinth::cli::UsageError;
use plinth::err::{Failure, USAGE};

use super::Args;
use crate::reference::Reference;

/// A usage error with this text.
pub(super) fn usage(text: impl Into<String>) -> Failure {
    Failure::new(USAGE, UsageError::new(text))
}

/// What is left of the words.
#[derive(Debug)]
pub(super) struct Words {
    rest: IntoIter<OsString>,
}

impl Words {
    pub(super) fn of(args: &Args) -> Self {
        Self { rest: args.words.clone().into_iter() }
    }

    /// Whether words are left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.as_slice().is_empty()
    }

    /// The next word as text; `what` names it when it is missing.
    pub(super) fn text(&mut self, what: &str) -> Result<String, Failure> {
        let word = self.rest.next().ok_or_else(|| usage(format!("{what} is missing")))?;
        word.into_string().map_err(|_| usage(format!("{what} is not UTF-8")))
    }

    /// The next word as a path.
    pub(super) fn path(&mut self, what: &str) -> Result<PathBuf, Failure> {
        let word = self.rest.next().ok_or_else(|| usage(format!("{what} is missing")))?;
        Ok(word.into())
    }

    /// The next reference: `id 7` as two words, `/sys/fs/bpf/x` or `id:7` as one.
    pub(super) fn reference(&mut self, what: &str) -> Result<Reference, Failure> {
        let mut text = self.text(what)?;
        if matches!(text.as_str(), "id" | "pin" | "name" | "tag") {
            if let Some(second) = self.rest.next() {
                let second = second.into_string().map_err(|_| usage("a reference is not UTF-8"))?;
                text = format!("{text} {second}");
            }
        }
        Reference::parse(&text).map_err(|error| usage(error.to_string()))
    }

    /// That no word is left.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        match self.rest.next() {
            None => Ok(()),
            Some(word) => Err(usage(format!(
                "unexpected argument {}",
                plinth::text::quote(&word.to_string_lossy())
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Words {
        Words::of(&Args { words: words.iter().map(OsString::from).collect(), ..Args::default() })
    }

    #[test]
    fn references_take_one_word_or_two() {
        let mut all = words(&["id", "7", "/sys/fs/bpf/x", "name:a", "rest"]);
        for want in [
            Reference::Id(7),
            Reference::Pin("/sys/fs/bpf/x".to_owned()),
            Reference::Name("a".to_owned()),
        ] {
            assert_eq!(all.reference("x").expect("a reference"), want);
        }
        assert!(!all.is_empty());
        assert_eq!(all.text("x").expect("a word"), "rest");
        assert!(all.end().is_ok());
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        let missing = words(&[]).text("the key").expect_err("nothing there");
        assert_eq!((missing.exit, missing.to_string().as_str()), (2, "the key is missing"));
        let missing = words(&["pin"]).reference("MAP").expect_err("half of it");
        assert_eq!(missing.exit, 2);
        assert!(words(&["x"]).end().is_err());
    }
}
