// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The runtime directory: the state file, the socket's place, and the lock that keeps daemons
//! single.
//!
//! Owns the directory and what is in it. The text of the state file belongs to the core. Where the
//! directory cannot be made, a daemon lives without it: state is then kept in memory only.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use plinth::file::{Lock, replace_atomic};

/// The longest state file that is read, in bytes.
pub const STATE_LEN_MAX: usize = 64 << 20;
/// Access to the state file: it names every target of the host.
const MODE: u32 = 0o600;

/// The directory of one daemon.
#[derive(Debug)]
pub struct State {
    directory: PathBuf,
    /// Whether the last write failed: one that follows is not reported again.
    failing: bool,
}

/// How a claim for the directory ended.
#[derive(Debug)]
pub enum Claim {
    /// It is ours for as long as this value lives.
    Ours(Lock),
    /// Another process has it.
    Taken,
    /// It cannot be used.
    Unusable(io::Error),
}

impl State {
    /// The directory that `RUNTIME_DIRECTORY` names (the first, when there are several), else
    /// `/run/<program>`.
    #[must_use]
    pub fn of(program: &str, runtime_directory: Option<OsString>) -> Self {
        let named = runtime_directory.and_then(|value| value.into_string().ok());
        let first = named.as_deref().and_then(|value| value.split(':').next());
        let directory = match first {
            Some(path) if path.starts_with('/') => PathBuf::from(path),
            _ => Path::new("/run").join(program),
        };
        Self { directory, failing: false }
    }

    /// Makes the directory when it is missing, and claims it against other processes.
    #[must_use]
    pub fn claim(&self) -> Claim {
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&self.directory);
        match made.and_then(|()| Lock::try_exclusive(&self.directory.join("lock"))) {
            Ok(Some(lock)) => Claim::Ours(lock),
            Ok(None) => Claim::Taken,
            Err(error) => Claim::Unusable(error),
        }
    }

    /// Where the state file is.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.join("last-known-config.json")
    }

    /// Where the control socket is.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("ctl.sock")
    }

    /// The text of the state file, when there is one.
    ///
    /// # Errors
    /// It is there and cannot be read, or is not text.
    pub fn read(&self) -> io::Result<Option<String>> {
        match plinth::file::read(&self.file(), STATE_LEN_MAX) {
            Ok(bytes) => String::from_utf8(bytes)
                .map(Some)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the state file. A failure is one warning, until a write succeeds again.
    pub fn save(&mut self, text: &str) {
        let result = replace_atomic(&self.file(), text.as_bytes(), MODE);
        match &result {
            Err(error) if !self.failing => {
                log::warn!("Cannot write {}: {error}", self.file().display());
            }
            _ => {}
        }
        self.failing = result.is_err();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use plinth::testing::Place;

    use super::*;

    fn place() -> (Place, State) {
        let place = Place::new();
        let state = State::of("stafd", Some(place.join("run/stafd").into()));
        (place, state)
    }

    #[test]
    fn the_directory_is_the_service_managers_or_the_usual_one() {
        let of = |value: Option<&str>| State::of("stafd", value.map(OsString::from)).file();
        let usual = PathBuf::from("/run/stafd/last-known-config.json");
        assert_eq!(of(None), usual);
        assert_eq!(of(Some("")), usual);
        assert_eq!(of(Some("relative")), usual);
        assert_eq!(of(Some("/a:/b")), PathBuf::from("/a/last-known-config.json"));
    }

    #[test]
    fn a_missing_directory_is_made_and_claimed_once() {
        let (_place, state) = place();
        let Claim::Ours(lock) = state.claim() else { panic!("free") };
        assert!(matches!(state.claim(), Claim::Taken));
        drop(lock);
        assert!(matches!(state.claim(), Claim::Ours(_)));
    }

    #[test]
    fn what_was_saved_is_read_and_is_nobody_elses_business() {
        let (_place, mut state) = place();
        assert_eq!(state.read().unwrap(), None);
        let Claim::Ours(_lock) = state.claim() else { panic!("free") };
        state.save("{}");
        state.save("{\"version\":1}");
        assert_eq!(state.read().unwrap().as_deref(), Some("{\"version\":1}"));
        let mode = fs::metadata(state.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, MODE);
        fs::write(state.file(), b"\xff").unwrap();
        assert!(state.read().is_err());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_survived() {
        let (place, _) = place();
        place.file("file", "");
        let mut state = State::of("stafd", Some(place.join("file/stafd").into()));
        assert!(matches!(state.claim(), Claim::Unusable(_)));
        state.save("{}");
        assert!(state.failing);
        assert!(state.read().is_err() || state.read().unwrap().is_none());
    }
}
