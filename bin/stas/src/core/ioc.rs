// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is particular to an I/O controller: who wants it, and what the log page says about it.
//!
//! Events of the connection are the kernel's business; nothing is ever sent over it from here.

use super::fleet;
use super::logpage::Entry;
use super::port::OpId;
use super::settings::{Parameters, Settings};

/// Why an I/O controller is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The configuration file names it.
    Configured,
    /// A discovery log page names it.
    Discovered,
    /// Somebody else connected it, and an audit found it.
    Foreign,
}

impl Origin {
    /// The word in the state file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Discovered => "discovered",
            Self::Foreign => "foreign",
        }
    }

    /// Reads the word; one that is not known means the most careful origin.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        [Self::Configured, Self::Foreign]
            .into_iter()
            .find(|origin| origin.as_str() == word)
            .unwrap_or(Self::Discovered)
    }
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Ioc {
    /// Why it is here.
    pub origin: Origin,
    /// The log page entry that names it.
    pub entry: Option<Entry>,
    /// The discovery controllers whose pages named it when last seen.
    pub reporters: Vec<String>,
}

impl Ioc {
    /// Takes the entry of the latest log page. Whether the controller deserves a new attempt at
    /// once: its discovery controller has found its way back to the centralized one, or the
    /// controller demands less.
    pub fn update(&mut self, entry: Option<Entry>) -> bool {
        let before = self.entry.take();
        self.entry = entry;
        let ended = |flag: fn(&Entry) -> bool| {
            before.as_ref().is_some_and(flag) && !self.entry.as_ref().is_some_and(flag)
        };
        ended(Entry::ncc) || ended(Entry::requires_tls)
    }
}

impl fleet::Role for Ioc {
    const DISCOVERY: bool = false;

    fn operation(&self) -> Option<OpId> {
        None
    }

    fn lost(&mut self) {}

    fn gives_up(&self, attempts: u32, settings: &Settings) -> bool {
        let limit = settings.attempts_on_ncc;
        limit > 0 && attempts >= limit && self.entry.as_ref().is_some_and(Entry::ncc)
    }

    fn refuses(&self, parameters: &Parameters) -> Option<&'static str> {
        let secure = parameters.tls == Some(true) || parameters.tls_key.is_some();
        let required = self.entry.as_ref().is_some_and(Entry::requires_tls);
        (required && !secure)
            .then_some("the log page requires TLS, and no key is configured for it")
    }

    fn may_disable_sqflow(&self) -> bool {
        self.entry.as_ref().is_some_and(Entry::may_disable_sqflow)
    }
}
