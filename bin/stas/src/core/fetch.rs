// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fetches one discovery log page: which commands, in which order, and when the result counts.
//!
//! Owns the sequence header, entries, header of the NVM Express Base Specification (Get Log Page,
//! log page identifier 70h) and its limits. Sending commands is left to the caller: every answer
//! goes into [`Fetch::answer`], which says what to send next or how it ended. The last read of the
//! entries, and the headers, are sent with RAE clear: only that re-arms the controller's
//! notification of the next change.

use std::fmt;
use std::time::Duration;

use plinth::time::Time;

use super::logpage::{ENTRY_LEN, Entry, HEADER_LEN, Header, Page};
use super::port::{AdminCommand, AdminError};

/// Log page identifier of the discovery log.
pub const LID_DISCOVERY: u8 = 0x70;
/// The most that one command transfers.
pub const CHUNK_LEN: u64 = 4096;
/// A page with more entries than this is refused.
pub const RECORDS_MAX: u64 = 65_536;
/// A fetch that takes longer is given up.
pub const TIME_MAX: Duration = Duration::from_secs(30);
/// How often the entries are read, when the page keeps changing.
pub const ATTEMPTS_MAX: u32 = 6;

/// Why a fetch brought no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// A command failed.
    Command(AdminError),
    /// The page changed during each of the allowed attempts.
    KeepsChanging,
    /// The number of entries changed although the generation did not.
    Inconsistent,
    /// A command brought fewer bytes than asked for.
    Short,
    /// The controller claims more entries than [`RECORDS_MAX`].
    TooLarge(u64),
    /// The entries have a format of a later revision.
    Format(u16),
    /// [`TIME_MAX`] passed.
    TooSlow,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(AdminError::Status(status)) => {
                write!(f, "the controller refused Get Log Page with NVMe status {status:#06x}")
            }
            Self::Command(AdminError::Errno(errno)) => {
                write!(f, "Get Log Page failed with errno {errno}")
            }
            Self::KeepsChanging => {
                write!(f, "the log page changed during every attempt to read it")
            }
            Self::Inconsistent => {
                write!(f, "the log page changed its length but not its generation")
            }
            Self::Short => write!(f, "the controller sent less of the log page than asked for"),
            Self::TooLarge(count) => {
                write!(f, "the log page claims {count} entries, more than {RECORDS_MAX}")
            }
            Self::Format(format) => write!(f, "the log page has record format {format}, not 0"),
            Self::TooSlow => write!(f, "the log page took longer than {} s", TIME_MAX.as_secs()),
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send this command and bring its answer.
    Send(AdminCommand),
    /// The page, whole and of one generation.
    Done(Page),
    /// No page; whatever was cached stays valid.
    Failed(FetchError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    FirstHeader,
    Entries,
    LastHeader,
}

/// One fetch in progress.
#[derive(Clone, Debug)]
pub struct Fetch {
    lsp: u8,
    attempts_left: u32,
    until: Time,
    phase: Phase,
    genctr: u64,
    numrec: u64,
    received: Vec<Entry>,
    /// Entries received, whether kept or not.
    count: u64,
}

impl Fetch {
    /// A fetch begun at `now`; `lsp` goes into every command. Send the command that comes with it.
    #[must_use]
    pub fn start(now: Time, lsp: u8, attempts_max: u32) -> (Self, AdminCommand) {
        let fetch = Self {
            lsp,
            attempts_left: attempts_max,
            until: now + TIME_MAX,
            phase: Phase::FirstHeader,
            genctr: 0,
            numrec: 0,
            received: Vec::new(),
            count: 0,
        };
        let command = fetch.header_command();
        (fetch, command)
    }

    /// Takes the answer to the command that was asked for last.
    pub fn answer(&mut self, now: Time, answer: Result<&[u8], AdminError>) -> Step {
        let bytes = match answer {
            Ok(bytes) => bytes,
            Err(error) => return Step::Failed(FetchError::Command(error)),
        };
        if now >= self.until {
            return Step::Failed(FetchError::TooSlow);
        }
        let next = match self.phase {
            Phase::FirstHeader => self.first_header(bytes),
            Phase::Entries => self.entries(bytes),
            Phase::LastHeader => self.last_header(bytes),
        };
        next.unwrap_or_else(Step::Failed)
    }

    fn first_header(&mut self, bytes: &[u8]) -> Result<Step, FetchError> {
        let header = Self::checked(bytes)?;
        Ok(self.begin(header))
    }

    /// Turns to the entries of the generation that `header` announces.
    fn begin(&mut self, header: Header) -> Step {
        (self.genctr, self.numrec) = (header.genctr, header.numrec);
        self.received.clear();
        self.count = 0;
        if self.numrec == 0 {
            return self.finish();
        }
        self.phase = Phase::Entries;
        Step::Send(self.entries_command())
    }

    fn entries(&mut self, bytes: &[u8]) -> Result<Step, FetchError> {
        let AdminCommand::GetLog { len, .. } = self.entries_command() else {
            return Err(FetchError::Short);
        };
        let wanted = usize::try_from(len).unwrap_or(usize::MAX);
        for raw in bytes.get(..wanted).ok_or(FetchError::Short)?.chunks_exact(ENTRY_LEN) {
            self.count += 1;
            self.received.extend(Entry::decode(raw).filter(Entry::has_address));
        }
        if self.count < self.numrec {
            return Ok(Step::Send(self.entries_command()));
        }
        self.phase = Phase::LastHeader;
        Ok(Step::Send(self.header_command()))
    }

    fn last_header(&mut self, bytes: &[u8]) -> Result<Step, FetchError> {
        let header = Self::checked(bytes)?;
        if header.genctr != self.genctr {
            self.attempts_left = self.attempts_left.saturating_sub(1);
            return if self.attempts_left == 0 {
                Err(FetchError::KeepsChanging)
            } else {
                Ok(self.begin(header))
            };
        }
        if header.numrec != self.numrec {
            return Err(FetchError::Inconsistent);
        }
        Ok(self.finish())
    }

    fn finish(&mut self) -> Step {
        self.received.shrink_to_fit();
        Step::Done(Page { genctr: self.genctr, entries: std::mem::take(&mut self.received) })
    }

    fn checked(bytes: &[u8]) -> Result<Header, FetchError> {
        let header = Header::decode(bytes).ok_or(FetchError::Short)?;
        if header.numrec > RECORDS_MAX {
            return Err(FetchError::TooLarge(header.numrec));
        }
        if header.recfmt != 0 && header.numrec > 0 {
            return Err(FetchError::Format(header.recfmt));
        }
        Ok(header)
    }

    const fn header_command(&self) -> AdminCommand {
        AdminCommand::GetLog {
            lid: LID_DISCOVERY,
            lsp: self.lsp,
            rae: false,
            offset: 0,
            len: HEADER_LEN,
        }
    }

    fn entries_command(&self) -> AdminCommand {
        let entry_len = ENTRY_LEN as u64;
        let left = self.numrec.saturating_sub(self.count).saturating_mul(entry_len);
        AdminCommand::GetLog {
            lid: LID_DISCOVERY,
            lsp: self.lsp,
            rae: left > CHUNK_LEN,
            offset: (self.count + 1).saturating_mul(entry_len),
            len: u32::try_from(left.min(CHUNK_LEN)).unwrap_or(0),
        }
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
