// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is particular to a discovery controller: its origin, its log page, and its patience.
//!
//! Owns the cached page and the fetch in progress. A failed fetch never clears the cache. What is
//! done with a page is left to the [`finder`](super::finder).

use plinth::time::Time;

use super::fetch::Fetch;
use super::fleet;
use super::logpage::{Entry, Page, SUBTYPE_REFERRAL};
use super::port::OpId;
use super::report::Validity;
use super::settings::{Settings, Timing};
use super::timer::Timer;

/// Where a discovery controller comes from, by precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A configuration file names it.
    Configured,
    /// Another discovery controller refers to it.
    Referral,
    /// mDNS announced it.
    Discovered,
}

impl Origin {
    /// The word on the bus and in the state file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Referral => "referral",
            Self::Discovered => "discovered",
        }
    }

    /// Reads the word.
    ///
    /// # Errors
    /// The word is none of the three.
    pub fn parse(word: &str) -> Result<Self, String> {
        [Self::Configured, Self::Referral, Self::Discovered]
            .into_iter()
            .find(|origin| origin.as_str() == word)
            .ok_or_else(|| format!("unknown origin '{}'", word.escape_debug()))
    }
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Dc {
    /// Where it comes from; unknown until the first reconcile.
    pub origin: Option<Origin>,
    /// The last page that was fetched.
    pub page: Page,
    /// What that page is worth.
    pub validity: Validity,
    /// The fetch in progress and the command it waits for.
    pub fetch: Option<(OpId, Fetch)>,
    /// Fetch once more when this one is over.
    pub again: bool,
    /// A fetch was started at some time.
    pub started: bool,
    /// Fetches that failed since the last that did not.
    pub failures: u32,
    /// Why the last one failed.
    pub error: String,
    /// Starts the next fetch after a failure.
    pub retry: Timer,
    /// Runs while it is neither announced nor connected.
    pub unresponsive: Timer,
    /// That timer ran out, and nothing changed since.
    pub overdue: bool,
    /// It wants no lasting connection, and is asked now and then.
    pub polled: bool,
    /// It was reported as not responding.
    pub reported: bool,
    /// A uevent `connected` that tells nothing new is still to come: that of a first connect, or
    /// the one that follows `rediscover`.
    pub echo_due: bool,
}

impl Dc {
    /// A discovery controller of which nothing is known.
    #[must_use]
    pub fn new(origin: Option<Origin>, timing: &Timing) -> Self {
        Self {
            origin,
            page: Page::default(),
            validity: Validity::Nothing,
            fetch: None,
            again: false,
            started: false,
            failures: 0,
            error: String::new(),
            retry: Timer::new(timing.log_page_retry),
            unresponsive: Timer::new(timing.log_page_retry),
            overdue: false,
            polled: false,
            reported: false,
            echo_due: false,
        }
    }

    /// The entries that refer to other discovery controllers.
    pub fn referrals(&self) -> impl Iterator<Item = &Entry> {
        self.page.entries.iter().filter(|entry| entry.subtype == SUBTYPE_REFERRAL)
    }

    /// Takes over what another entry knows of the same target.
    pub fn learn_from(&mut self, other: &Self) {
        if other.validity != Validity::Nothing {
            self.page = other.page.clone();
            self.validity = Validity::Cached;
        }
    }

    /// Takes a fetched page; whether its referrals differ from those before.
    pub fn accept(&mut self, page: Page) -> bool {
        let before: Vec<Entry> = self.referrals().cloned().collect();
        self.page = page;
        self.validity = Validity::Fetched;
        (self.failures, self.error) = (0, String::new());
        !before.iter().eq(self.referrals())
    }

    /// The state of the fetch, in the reference's form; `None` before the first one.
    #[must_use]
    pub fn operation_text(&self, now: Time) -> Option<String> {
        if !self.started {
            return None;
        }
        let running = self.fetch.is_some();
        let completed = !running && self.failures == 0;
        let mut pairs = vec![
            ("fail count", self.failures.to_string()),
            ("completed", python_bool(completed)),
            ("alive", python_bool(running || self.retry.is_running())),
        ];
        if self.retry.is_running() {
            pairs.push(("retry timer", super::python::string(&self.retry.text(now))));
        }
        if !self.error.is_empty() {
            pairs.push(("error", super::python::string(&self.error)));
        }
        Some(super::python::dict(pairs))
    }
}

/// A truth value as Python prints it.
#[must_use]
pub fn python_bool(value: bool) -> String {
    if value { "True" } else { "False" }.to_owned()
}

impl fleet::Role for Dc {
    const DISCOVERY: bool = true;

    fn operation(&self) -> Option<OpId> {
        self.fetch.as_ref().map(|(op, _)| *op)
    }

    fn lost(&mut self) {
        self.fetch = None;
        self.again = false;
        self.echo_due = false;
        self.retry.stop();
    }

    fn inherit(&mut self, from: &mut Self) {
        self.learn_from(from);
        if self.fetch.is_none() {
            self.fetch = from.fetch.take();
            self.started |= from.started;
        }
    }

    fn cede(&mut self) {
        (self.page, self.validity) = (Page::default(), Validity::Nothing);
    }

    /// Discovery controllers are retried for ever.
    fn gives_up(&self, _attempts: u32, _settings: &Settings) -> bool {
        false
    }
}

#[cfg(test)]
#[path = "poll_tests.rs"]
mod poll_tests;
