// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why a scenario did not come to its end: a sentence, made from whatever error was at hand.

use std::error::Error;
use std::fmt;

/// A finding, or an error that kept the scenario from finding anything.
///
/// It is not an [`Error`] itself, so that every error converts into it.
#[derive(Clone, PartialEq, Eq)]
pub struct Trouble(String);

/// What scenarios and their helpers return.
pub type Outcome<T = ()> = Result<T, Trouble>;

impl Trouble {
    /// A finding in these words.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// Says what was being done when the trouble came.
    #[must_use]
    pub fn during(self, what: &str) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: Error> From<E> for Trouble {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self(text)
    }
}

/// Errors of the file system do not name the file; this adds it.
pub trait Naming<T> {
    /// Puts `what` before the error.
    ///
    /// # Errors
    /// The same error, named.
    fn named(self, what: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: Into<Trouble>> Naming<T> for Result<T, E> {
    fn named(self, what: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| error.into().during(&what.to_string()))
    }
}

/// A finding unless `holds`.
///
/// # Errors
/// `what`, when it does not hold.
pub fn ensure(holds: bool, what: impl fmt::Display) -> Outcome {
    if holds { Ok(()) } else { Err(Trouble::new(what.to_string())) }
}

/// A finding unless both are equal.
///
/// # Errors
/// `what` with both values, when they differ.
pub fn ensure_eq<T: PartialEq + fmt::Debug + ?Sized>(what: &str, found: &T, wanted: &T) -> Outcome {
    let equal = found == wanted;
    ensure(equal, format_args!("{what} is {found:?}, not {wanted:?}"))
}
